"""Pictures on request: those that somebody looks at are those of a decoder that decodes everything."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.picture.frame import PixelArray
from pipeline.sources.packets import CodedPacket, CodedStream
from pipeline.sources.video.on_request import Gop, PicturesOnRequest
from pipeline.sources.video.source import VideoSource
from tests.support.gop_videos import H264, OPEN_H264, OPEN_HEVC, write_gop_video


class Kept(PicturesOnRequest):
    """Keeps every GOP, as the frames on their way would."""

    def __init__(self) -> None:
        super().__init__()
        self.gops: list[Gop] = []

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        super().take(packet, pts_seconds)
        gop = self.gop_at(1e6)
        if gop is not None and not (self.gops and self.gops[-1] is gop):
            self.gops.append(gop)


def read(path: Path) -> tuple[dict[float, PixelArray], Kept]:
    """The pictures of a file by their times, and its packets."""
    kept, source = Kept(), VideoSource(path)
    source.listen(kept)
    pictures = {timed.pts_seconds: timed.picture.pixels for timed in source.pictures(threading.Event())}
    source.close()
    return pictures, kept


def picture_at(kept: Kept, seconds: float) -> PixelArray:
    gop = next(gop for gop in reversed(kept.gops) if gop.begin_ticks <= round(seconds * 1e6))
    picture = gop.picture(seconds)
    assert picture is not None
    return picture.pixels


@pytest.mark.parametrize(
    ("encoder", "options"), [("libx264", H264), ("libx264", OPEN_H264), ("libx265", OPEN_HEVC), ("libx264", None)]
)
def test_pictures_in_any_order_are_those_that_decoding_everything_gives(
    tmp_path: Path, encoder: str, options: dict[str, str] | None
) -> None:
    pictures, kept = read(write_gop_video(tmp_path / "clip.mkv", encoder, options, num_frames=45))
    times = list(pictures)
    assert len(times) == 45
    random = np.random.default_rng(1)
    orders = [times, times[::7], [times[-1], times[0]], random.permutation(times).tolist()]
    for order in orders:
        for seconds in order:
            assert np.array_equal(picture_at(kept, seconds), pictures[seconds]), (order.index(seconds), seconds)


def test_a_time_between_two_pictures_has_the_nearer_one(tmp_path: Path) -> None:
    pictures, kept = read(write_gop_video(tmp_path / "clip.mkv"))
    times = list(pictures)
    assert np.array_equal(picture_at(kept, times[7] + 0.015), pictures[times[7]])
    assert np.array_equal(picture_at(kept, times[7] + 0.025), pictures[times[8]])


def test_what_was_not_heard_or_cannot_be_decoded_is_no_picture() -> None:
    class Rubbish:
        is_keyframe = True

        def __bytes__(self) -> bytes:
            return b"\0\0\0\1\x65rubbish"

    heard = PicturesOnRequest()
    assert heard.gop_at(0.0) is None
    heard.take(Rubbish(), 0.0)  # of no stream that has begun
    heard.begin(CodedStream("h264", b""))
    heard.take(Rubbish(), None)
    assert heard.gop_at(0.0) is None
    heard.take(Rubbish(), 0.0)
    gop = heard.gop_at(0.0)
    assert gop is not None
    assert gop.picture(0.0) is None


def test_old_packets_are_let_go_unless_a_frame_is_on_its_way(tmp_path: Path) -> None:
    class Key:
        is_keyframe = True

        def __bytes__(self) -> bytes:
            return bytes(10)

    heard = PicturesOnRequest()
    heard.begin(CodedStream("h264", b""))
    for seconds in range(100):
        heard.take(Key(), float(seconds))
    assert heard.gop_at(90.0) is None
    kept = heard.gop_at(97.0)
    assert kept is not None
    assert kept.begin_ticks == 97_000_000
