"""Web files: what is there after a whole transfer, a broken one, a redirect, and a server that stops."""

from __future__ import annotations

import io
import random
from http.client import HTTPMessage
from pathlib import Path
from urllib.request import Request

import pytest

from pipeline.web_file import DownloadError, _Redirects, fetch
from tests.support.file_server import FileServer, Reply, serving

CONTENT = random.Random(0).randbytes(300_000)


def fetched(server: FileServer, path: str, **options: float) -> bytes:
    into = io.BytesIO()
    fetch(server.address + path, into, **{"timeout_seconds": 20.0, **options})  # type: ignore[arg-type]
    return into.getvalue()


@pytest.mark.parametrize("has_length", [True, False])
def test_a_file_comes_as_it_is_and_the_watcher_sees_it_grow(has_length: bool) -> None:
    seen: list[tuple[int, int | None]] = []
    with serving({"/a%20b.onnx": Reply(CONTENT, has_length=has_length)}) as server:
        into = io.BytesIO()
        fetch(f"{server.address}/a%20b.onnx", into, watch=lambda done, total: seen.append((done, total)))
    assert into.getvalue() == CONTENT
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT) if has_length else None)


def test_a_cut_transfer_goes_on_where_it_broke_off_if_the_server_can() -> None:
    with serving({"/a": Reply(CONTENT, cut_after=100_000, tag='"v1"')}) as server:
        assert fetched(server, "/a") == CONTENT
        assert server.requests[1][1]["range"] == "bytes=100000-"
        assert server.requests[1][1]["if-range"] == '"v1"'


def test_a_cut_transfer_begins_anew_where_nothing_tells_that_the_file_is_the_same() -> None:
    with serving({"/a": Reply(CONTENT, cut_after=100_000)}) as server:
        assert fetched(server, "/a") == CONTENT
        assert "range" not in server.requests[1][1]


def test_a_transfer_that_is_always_cut_is_given_up_with_how_far_it_came() -> None:
    with serving({"/a": Reply(CONTENT, cut_after=100_000, is_cut_always=True)}) as server:
        with pytest.raises(DownloadError, match=r"cut off after 100,000 of 300,000 bytes$"):
            fetched(server, "/a")
        assert len(server.requests) <= 5


def test_a_server_that_stops_sending_is_given_up() -> None:
    reply = Reply(CONTENT, cut_after=1000, is_cut_always=True, stalls=True)
    with (
        serving({"/a": reply}) as server,
        pytest.raises(DownloadError, match="the server sends nothing, after 1,000 of"),
    ):
        fetched(server, "/a", timeout_seconds=0.3)


def test_an_absent_file_is_told_from_a_server_that_fails() -> None:
    with serving({"/broken": Reply(status=500)}) as server:
        with pytest.raises(DownloadError, match="answers 404 Not Found") as absent:
            fetched(server, "/no")
        with pytest.raises(DownloadError, match="answers 500") as failure:
            fetched(server, "/broken")
    assert (absent.value.is_absent, failure.value.is_absent) == (True, False)


def test_nobody_who_listens_and_a_host_that_does_not_exist_have_a_reason() -> None:
    with serving({}) as server:
        gone = server.address
    with pytest.raises(DownloadError, match=r"[Rr]efused"):
        fetch(f"{gone}/a", io.BytesIO())
    with pytest.raises(DownloadError, match="its host is not known here, or there is no network"):
        fetch("http://no-such-host.invalid/a", io.BytesIO())


def test_a_file_of_another_size_is_refused_before_and_while_it_comes() -> None:
    replies = {"/a": Reply(CONTENT), "/unsized": Reply(CONTENT, has_length=False)}
    with serving(replies) as server:
        with pytest.raises(DownloadError, match="must have 10 bytes, the server has a file of 300,000"):
            fetched(server, "/a", num_bytes=10)
        with pytest.raises(DownloadError, match="the server sends more"):
            fetched(server, "/unsized", num_bytes=10)
        with pytest.raises(DownloadError, match="cut off after 300,000 of 300,001 bytes"):
            fetched(server, "/unsized", num_bytes=300_001)


def test_a_redirect_is_followed_and_takes_the_password_to_no_other_server() -> None:
    with serving({"/b": Reply(CONTENT)}) as other:
        moved = Reply(status=302, headers={"Location": f"{other.address}/b"})
        with serving({"/a": moved}) as server:
            into = io.BytesIO()
            fetch(server.address.replace("//", "//user:p%40ss@") + "/a", into)
            assert server.requests[0][1]["authorization"] == "Basic dXNlcjpwQHNz"
            assert "authorization" not in other.requests[0][1]
    assert into.getvalue() == CONTENT


@pytest.mark.parametrize("target", ["http://b.invalid/x", "ftp://b.invalid/x"])
def test_a_redirect_to_less_protection_is_not_followed(target: str) -> None:
    with pytest.raises(DownloadError, match=r"from https to (http|ftp), which is not followed"):
        _Redirects().redirect_request(
            Request("https://a.invalid/x"),
            io.BytesIO(),
            302,
            "Found",
            HTTPMessage(),
            target,
        )


def test_a_disk_that_takes_no_more_is_the_reason() -> None:
    with (
        serving({"/a": Reply(CONTENT)}) as server,
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(DownloadError, match="cannot be written: No space left on device"),
    ):
        fetch(f"{server.address}/a", full)
