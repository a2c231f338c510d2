"""Stream address: what can be sent to is told from files, shown without secrets, and made one for each source."""

from __future__ import annotations

import pytest

from pipeline.errors import SinkError
from pipeline.sinks.network.address import StreamAddress, is_address


@pytest.mark.parametrize("word", ["rtsp://h/s", "RTMP://h/a/k", "udp://h:1", "http://h/x", "srt://h:1?mode=caller"])
def test_an_address_is_one(word: str) -> None:
    assert is_address(word)


@pytest.mark.parametrize("word", [None, "o.mp4", "-", "C:/o.mp4", "a/b:c.mp4", "file:///o.mp4", "rtsp.mp4", ""])
def test_a_file_is_none(word: str | None) -> None:
    assert not is_address(word)


@pytest.mark.parametrize(
    ("word", "muxer", "full", "shown"),
    [
        ("rtsp://joe:pw@h:8554/cam", "rtsp", "rtsp://joe:pw@h:8554/cam", "rtsp://***@h:8554/cam"),
        ("RTSPS://h/cam", "rtsp", "rtsps://h/cam", "rtsps://h/cam"),
        ("rtmp://h/live/ab-12", "flv", "rtmp://h/live/ab-12", "rtmp://h/live/***"),
        ("rtmps://h:443/rtmp/k?x=1/2", "flv", "rtmps://h:443/rtmp/k?x=1/2", "rtmps://h:443/rtmp/***"),
        ("rtmp://h", "flv", "rtmp://h", "rtmp://h"),
        (
            "udp://239.0.0.1:5000",
            "mpegts",
            "udp://239.0.0.1:5000?pkt_size=1316&bitrate=50000000",
            "udp://239.0.0.1:5000",
        ),
        ("udp://h:1?ttl=4", "mpegts", "udp://h:1?ttl=4&pkt_size=1316&bitrate=50000000", "udp://h:1?ttl=4"),
        (
            "udp://h:1?bitrate=9&pkt_size=188",
            "mpegts",
            "udp://h:1?bitrate=9&pkt_size=188",
            "udp://h:1?bitrate=9&pkt_size=188",
        ),
        ("udp://[::1]:5000", "mpegts", "udp://[::1]:5000?pkt_size=1316&bitrate=50000000", "udp://[::1]:5000"),
        ("srt://h:1?passphrase=s", "mpegts", "srt://h:1?passphrase=s", "srt://h:1?passphrase=***"),
    ],
)
def test_an_address_is_opened_in_full_and_shown_without_secrets(word: str, muxer: str, full: str, shown: str) -> None:
    address = StreamAddress.parse(word)
    assert (address.muxer, address.full, address.shown) == (muxer, full, shown)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("http://joe:s3cret@h/x", "must be a file or an address of rtsp://.*srt://, got http://"),
        ("rtsp://", "must have a host behind rtsp://"),
        ("rtmp:///live/s3cret", "must have a host behind rtmp://"),
        ("udp://239.0.0.1", "must have a port, such as udp://host:5000, got udp://239"),
        ("srt://h?passphrase=s3cret", "must have a port, such as srt://host:5000"),
    ],
)
def test_what_cannot_be_sent_to_is_refused_without_its_secrets(word: str, words: str) -> None:
    with pytest.raises(SinkError, match=words) as refused:
        StreamAddress.parse(word)
    assert "s3cret" not in str(refused.value)


def test_each_of_several_sources_has_a_stream_of_its_own_where_streams_have_names() -> None:
    assert StreamAddress.parse("rtsp://u:p@h/cam/?t=1").of_source("yard 2").full == "rtsp://u:p@h/cam-yard%202?t=1"
    with pytest.raises(SinkError, match="udp://h:1 takes one stream; put all sources into one picture with --mosaic"):
        StreamAddress.parse("udp://h:1").of_source("yard")
