"""Model cache: a name's file comes once, is checked, and a failure leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.detector.model_cache import local_file, model_from_cache, models_folder, remembered_hash
from pipeline.detector.published import PublishedModel
from pipeline.errors import ModelError
from pipeline.web_file import Watch
from tests.support.file_server import FileServer, Reply, serving


class Lines:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    @contextlib.contextmanager
    def watching(self, model: PublishedModel) -> Iterator[Watch]:
        yield lambda done, total: None


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache of Zoë's"))
    monkeypatch.delenv("STREAMDET_MODELS", raising=False)


@pytest.fixture
def content(small_detector: Path) -> bytes:
    return small_detector.read_bytes()


def row(server: FileServer, content: bytes | None, path: str = "/files/yolox_nano.onnx") -> PublishedModel:
    """A published detector; its hash is that of the content, unpublished for None."""
    return PublishedModel(
        "yolox-nano",
        server.address + path,
        3.7,
        (416, 416),
        25.8,
        num_bytes=None if content is None else len(content),
        sha256=None if content is None else hashlib.sha256(content).hexdigest(),
    )


def left() -> list[str]:
    """The names in the cache folder."""
    return sorted(path.name for path in models_folder().iterdir()) if models_folder().is_dir() else []


def test_a_file_comes_once_and_works_without_a_network_afterwards(content: bytes) -> None:
    heard = Lines()
    with serving({"/files/yolox_nano.onnx": Reply(content)}) as server:
        model = row(server, content)
        path = model_from_cache(model, heard)
    assert path.read_bytes() == content
    assert path == models_folder() / "yolox-nano.onnx" == local_file(model)
    assert path.stat().st_mode & 0o777 == 0o644
    assert heard.lines[0].startswith("downloading yolox-nano: Apache-2.0, 3.7 MB, from 127.0.0.1:")
    heard.lines.clear()
    assert model_from_cache(model, heard) == path  # the server is gone
    assert heard.lines == []
    assert left() == ["yolox-nano.onnx"]


def test_another_content_is_refused_with_both_hashes_and_leaves_nothing(content: bytes) -> None:
    other = content[:-1] + bytes([content[-1] ^ 1])
    with serving({"/files/yolox_nano.onnx": Reply(other)}) as server, pytest.raises(ModelError) as error:
        model_from_cache(row(server, content), Lines())
    assert hashlib.sha256(content).hexdigest() in str(error.value)
    assert hashlib.sha256(other).hexdigest() in str(error.value)
    assert left() == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (None, "the server answers 404 Not Found"),
        (Reply(status=503), "the server answers 503 Service Unavailable"),
        (Reply(b"x" * 5000, cut_after=10, is_cut_always=True), "bytes, the server has a file of 5,000"),
    ],
    ids=["404", "503", "other size"],
)
def test_what_fails_is_one_line_with_the_way_out_and_leaves_nothing(
    reply: Reply | None, reason: str, content: bytes
) -> None:
    with (
        serving({} if reply is None else {"/files/yolox_nano.onnx": reply}) as server,
        pytest.raises(ModelError, match=reason) as error,
    ):
        model_from_cache(row(server, content), Lines())
    assert "\n" not in str(error.value)
    assert "set STREAMDET_MODELS to a folder with yolox-nano.onnx or yolox_nano.onnx, or" in str(error.value)
    assert left() == []


def test_a_cut_download_and_a_server_that_stalls_leave_nothing(content: bytes) -> None:
    cut = Reply(content, cut_after=100, is_cut_always=True)
    for reply, reason in ((cut, "cut off after 100 of"), (replace(cut, stalls=True), "the server sends nothing")):
        with serving({"/files/yolox_nano.onnx": reply}) as server, pytest.raises(ModelError, match=reason):
            model_from_cache(row(server, content), Lines(), timeout_seconds=0.3)
        assert left() == []


def test_a_page_instead_of_the_file_is_refused_where_no_hash_is_published() -> None:
    with (
        serving({"/files/yolox_nano.onnx": Reply(b"<html>log in first</html>")}) as server,
        pytest.raises(ModelError, match="it is not an ONNX file"),
    ):
        model_from_cache(row(server, None), Lines())
    assert left() == []


def test_an_unpublished_hash_is_remembered_as_sha256sum_reads_it_and_holds_from_then_on(content: bytes) -> None:
    heard = Lines()
    replies = {"/files/yolox_nano.onnx": Reply(content)}
    with serving(replies) as server:
        model = row(server, None)
        path = model_from_cache(model, heard)
        digest = hashlib.sha256(content).hexdigest()
        assert (models_folder() / "yolox-nano.onnx.sha256").read_text() == f"{digest}  yolox-nano.onnx\n"
        assert remembered_hash(model) == digest
        assert any("nobody has published its SHA-256" in line and digest in line for line in heard.lines)
        path.unlink()
        replies["/files/yolox_nano.onnx"] = Reply(content + content)
        with pytest.raises(ModelError, match=rf"came first with the SHA-256 {digest}.*delete .*\.sha256 to trust"):
            model_from_cache(model, Lines())
    assert left() == ["yolox-nano.onnx.sha256"]


def test_a_damaged_file_in_the_cache_is_replaced_and_stays_where_it_cannot_be(content: bytes) -> None:
    heard = Lines()
    with serving({"/files/yolox_nano.onnx": Reply(content)}) as server:
        model = row(server, content)
        path = model_from_cache(model, heard)
        path.write_bytes(content[:100])
        assert model_from_cache(model, heard).read_bytes() == content
    assert any("is damaged" in line for line in heard.lines)
    path.write_bytes(b"other")
    with pytest.raises(ModelError, match="cannot be downloaded"):
        model_from_cache(model, heard)
    assert path.read_bytes() == b"other"


def test_a_mirror_is_taken_before_the_published_address(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = {"/mirror/yolox_nano.onnx": Reply(content), "/files/yolox_nano.onnx": Reply(content)}
    with serving(replies) as server:
        monkeypatch.setenv("STREAMDET_MODELS", f"{server.address}/mirror/")
        model_from_cache(row(server, content), Lines())
        assert server.paths == ["/mirror/yolox-nano.onnx", "/mirror/yolox_nano.onnx"]


def test_what_a_mirror_has_not_comes_from_the_published_address(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Lines()
    with serving({"/files/yolox_nano.onnx": Reply(content)}) as server:
        monkeypatch.setenv("STREAMDET_MODELS", server.address.replace("//", "//me:secret@") + "/mirror")
        model_from_cache(row(server, content), heard)
    assert "secret" not in "".join(heard.lines)
    assert left() == ["yolox-nano.onnx"]


def test_a_mirror_with_another_file_is_an_error(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"/mirror/yolox-nano.onnx": Reply(content[::-1])}) as server:
        monkeypatch.setenv("STREAMDET_MODELS", f"{server.address}/mirror")
        with pytest.raises(ModelError, match="what came is removed"):
            model_from_cache(row(server, content), Lines())
        assert server.paths == ["/mirror/yolox-nano.onnx"]


@pytest.mark.parametrize("name", ["yolox-nano.onnx", "yolox_nano.onnx"])
def test_a_folder_of_files_is_used_where_it_lies_and_checked(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models 100% ours"
    folder.mkdir()
    monkeypatch.setenv("STREAMDET_MODELS", str(folder))
    with serving({}) as server:
        model = row(server, content)
        (folder / name).write_bytes(content)
        assert model_from_cache(model, Lines()) == folder / name
        (folder / name).write_bytes(content[:-1])
        with pytest.raises(ModelError, match="replace it, or unset STREAMDET_MODELS"):
            model_from_cache(model, Lines())
        assert server.requests == []
    assert (folder / name).read_bytes() == content[:-1]  # it is the user's
    assert left() == []


def test_a_mirror_that_is_no_folder_is_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMDET_MODELS", str(tmp_path / "no"))
    with serving({}) as server, pytest.raises(ModelError, match=r"must be a folder or an http\(s\) address, got"):
        model_from_cache(row(server, content), Lines())


def test_a_cache_that_cannot_be_written_names_the_way_out(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with (
        serving({"/files/yolox_nano.onnx": Reply(content)}) as server,
        pytest.raises(ModelError, match=r"cannot be kept in .*Not a directory; XDG_CACHE_HOME names another"),
    ):
        model_from_cache(row(server, content), Lines())


def test_several_at_once_do_not_harm_each_other(content: bytes) -> None:
    paths: list[Path] = []
    with serving({"/files/yolox_nano.onnx": Reply(content)}) as server:
        model = row(server, content)
        threads = [threading.Thread(target=lambda: paths.append(model_from_cache(model, Lines()))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {path.read_bytes() for path in paths} == {content}
    assert len(paths) == 4
    assert left() == ["yolox-nano.onnx"]


def test_what_a_killed_download_left_is_removed_when_it_is_old(content: bytes) -> None:
    models_folder().mkdir(parents=True)
    old, new = (models_folder() / f".yolox-nano.onnx.{name}.part" for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(b"part")
    os.utime(old, (0, 0))
    with serving({"/files/yolox_nano.onnx": Reply(content)}) as server:
        model_from_cache(row(server, content), Lines())
    assert left() == [new.name, "yolox-nano.onnx"]
