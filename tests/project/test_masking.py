"""Masking: no output shows a secret of an address, wherever it stands and of whatever characters it is."""

from __future__ import annotations

import io
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.app.bench.report import Bench, Candidate, Machine, report_of_bench
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.output import recording_paths
from pipeline.app.standard_streams import Outlet
from pipeline.errors import ConfigError, SinkError, SourceError
from pipeline.masking import masked_address, masked_text, without_pieces
from pipeline.sinks.jsonl import JsonLines
from pipeline.sinks.network.address import StreamAddress
from pipeline.sinks.recording import Recording
from pipeline.sinks.writable import refuse_unwritable
from pipeline.sources.opening import open_source

SECRET = "Geheim"
anything = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
in_a_value = st.text(st.characters(codec="utf-8", exclude_characters="\0&"), max_size=12)


@st.composite
def addresses(draw: st.DrawFn) -> str:
    """Of cameras and streams that want a secret somewhere; a scheme that libav does not have, so that none is asked."""
    free = f"{draw(anything)}{SECRET}{draw(anything)}"
    value = f"{draw(in_a_value)}{SECRET}{draw(in_a_value)}"
    user = draw(st.sampled_from(["admin", "joe", "me@mail.com", "a/b", ""]))
    host = draw(st.sampled_from(["192.168.0.2", "camera.local:554", "[::1]:8554"]))
    key = draw(
        st.sampled_from(["password", "pwd", "token", "api_key", "auth", "X-Amz-Signature", "sig", "secret", "p"])
    )
    return "nosuch://" + draw(
        st.sampled_from(
            [
                f"{user}:{free}@{host}/live",
                f"{free}@{host}/live",
                f"{user}:{free}@{host}/x?{key}={value}&channel=1",
                f"{host}/snap.cgi?cmd=Snap&{key}={value}",
                f"{host}/user=admin&password={value}&channel=1&stream=0.sdp?",
                f"{host}/user=admin_password={SECRET}_channel=1_stream=0.sdp?real_stream",
                f"{host}/0/admin:{SECRET}/main",
                f"{host}/live/joe/{SECRET}/12.ts",
                f"{host}/relay?src={quote(f'rtsp://admin:{free}@10.0.0.9/s', safe='')}&mode=tcp",
            ]
        )
    )


@given(addresses())
def test_no_address_shows_its_secret(address: str) -> None:
    shown = masked_address(address)
    assert SECRET not in shown
    assert masked_address(shown) == shown


@given(addresses())
def test_no_output_shows_the_secret_of_an_address(address: str) -> None:
    with pytest.raises(SourceError) as refused:
        open_source(address)
    with pytest.raises(ConfigError) as wrong:
        load_config(options={"sources": address})  # a string where a list is wanted, the commonest slip
    with pytest.raises(ConfigError) as strange:
        load_config(options={"sources": [{"url": address}], address: 1})
    machine = Machine("", 1, None, None, {})
    bench = Bench((address,), None, 1, 1.0, 1.0, machine, (), (Candidate("x", RunConfig(sources=(address,))),))
    screen = io.StringIO()
    Outlet(screen, words=[address]).write(f"Error: unexpected argument ({address}), or {address!r}\n")
    paths = recording_paths("o.mp4", [masked_address(address), "other"])
    cause = refused.value.__cause__
    for text in (
        *map(str, (refused.value, cause, wrong.value, strange.value)),
        json.dumps(report_of_bench(bench), ensure_ascii=False),
        screen.getvalue(),
        *paths.values(),
    ):
        assert SECRET not in text


@given(addresses())
def test_an_address_that_is_sent_to_shows_no_secret(address: str) -> None:
    try:
        text = StreamAddress.parse(address).shown
    except SinkError as error:
        text = str(error)
    assert SECRET not in text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:pw@10.0.0.1/s", "rtsp://admin:***@10.0.0.1/s"),  # every camera has an admin
        ("rtsp://joe:pw@10.0.0.1/s", "rtsp://***@10.0.0.1/s"),
        ("rtsp:/admin:pw@10.0.0.1/s", "rtsp:/admin:***@10.0.0.1/s"),
        ("admin:pw@10.0.0.1/s", "***@10.0.0.1/s"),
        ("u:pw@10.0.0.1:9/s", "***@10.0.0.1:9/s"),  # no drive
        ("rtsp://admin:pw", "rtsp://***"),
        ("http://h/video?usr=a&pwd=b&res=hd", "http://h/video?usr=***&pwd=***&res=hd"),
        ("rtsps://10.0.0.1:7441/aB3dE5fG7hI9kL1m?enableSrtp", "rtsps://10.0.0.1:7441/***?enableSrtp"),
        ("srt://h:9?passphrase=pw&mode=caller", "srt://h:9?passphrase=***&mode=caller"),
    ],
)
def test_what_is_no_secret_stays_to_tell_one_camera_from_another(address: str, shown: str) -> None:
    assert masked_address(address) == shown


@pytest.mark.parametrize(
    "word",
    [
        "http://camera:8080/hls/stream1/index.m3u8",
        "rtsp://[::1]:8554/cam",
        "rtmp://h/bcs/channel0_main.bcs?channel=0&stream=0",
        "file:///home/me@work/a.mp4",
        "C:/me@work/a.mp4",
        "C:\\me@work\\a.mp4",
        "me@work/a.mp4",
        "data/key=3/a.mp4",
        "sim:traffic?seed=1&seconds=2",
        "/dev/video0",
        "-",
    ],
)
def test_an_address_without_a_secret_stays_as_it_is(word: str) -> None:
    assert masked_address(word) == word
    assert masked_text(f"{word}: gone") == f"{word}: gone"


def test_addresses_in_a_text_are_masked_and_the_sentence_is_not() -> None:
    text = "cannot open 'rtsp://joe:pw@h/s': refused (see rtsp://h/a?token=b)."
    assert masked_text(text) == "cannot open 'rtsp://***@h/s': refused (see rtsp://h/a?token=***)."


def test_a_file_that_is_there_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "10:30@yard.mp4").write_bytes(b"x" * 99)
    with pytest.raises(SourceError, match=r"/10:30@yard\.mp4: "):
        open_source(str(tmp_path / "10:30@yard.mp4"))


def test_a_piece_of_a_password_that_somebody_took_for_a_host_is_masked_too() -> None:
    told = without_pieces("Failed to resolve hostname SECRET: Name or service", "rtsp://user:p@SECRET/w@camera:9/x")
    assert told == "Failed to resolve hostname ***: Name or service"
    assert without_pieces("cannot reach camera", "rtsp://user:pw@camera/x") == "cannot reach camera"
    assert without_pieces("no answer from SECRET", "a/file") == "no answer from SECRET"


def test_the_key_of_a_stream_that_somebody_wants_to_write_to_is_not_told() -> None:
    for output in (Recording, JsonLines, lambda path: refuse_unwritable(Path(path), "the report")):
        with pytest.raises(
            SinkError, match=r"must have a path on this machine, got an address, rtmp://\*\*\*"
        ) as refused:
            output(f"rtmp://h/app/{SECRET}")
        assert SECRET not in str(refused.value)
