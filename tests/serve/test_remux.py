"""Remuxing: the packets of a video as fragmented MP4, against what libav decodes of both."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.serve.remux import NotRemuxable, Remuxer, Segment
from tests.support.coded_videos import coded_video, frames_of, packets_of


def remuxed(content: bytes, *, shift_seconds: float = 0.0) -> list[Segment]:
    segments: list[Segment | None] = []
    remuxer: Remuxer | None = None
    for stream, packet in packets_of(content):
        remuxer = remuxer or Remuxer(stream.codec_context.name, bytes(stream.codec_context.extradata or b""))
        assert packet.pts is not None
        seconds = float(packet.pts * packet.time_base) + shift_seconds
        segments.append(remuxer.put(bytes(packet), seconds, is_keyframe=packet.is_keyframe))
    assert remuxer is not None
    return [segment for segment in segments if segment is not None]


def stream_of(segments: Sequence[Segment]) -> bytes:
    return b"".join((segment.init.data if segment.init else b"") + segment.data for segment in segments)


def decoded(content: bytes) -> list[tuple[float, npt.NDArray[np.uint8]]]:
    return [(float(frame.time or 0.0), np.asarray(frame.to_ndarray(), np.uint8)) for frame in frames_of(content)]


@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska"])
def test_every_picture_comes_out_as_it_was_at_its_time(container: str) -> None:
    content = coded_video(container)
    segments = remuxed(content)
    before, after = decoded(content), decoded(stream_of(segments))
    assert len(segments) == len(before) == len(after) == 30
    for (time, picture), (new_time, new_picture), segment in zip(before, after, segments, strict=True):
        assert new_time == pytest.approx(time, abs=1e-4)
        assert segment.pts_seconds == pytest.approx(time, abs=1e-4)
        assert np.array_equal(picture, new_picture)


def test_a_fragment_is_one_movie_fragment_and_lasts_as_long_as_the_one_before() -> None:
    segments = remuxed(coded_video("mp4"), shift_seconds=1000.0)
    assert all(segment.data[4:8] == b"moof" and segment.data.count(b"mdat") == 1 for segment in segments)
    assert [index for index, segment in enumerate(segments) if segment.is_keyframe] == [0, 10, 20]
    packets = [packet for _, packet in packets_of(stream_of(segments))]
    assert [packet.duration for packet in packets] == [3600] * 30
    assert [packet.pts for packet in packets] == [90_000_000 + 3600 * index for index in range(30)]


def test_decoding_can_begin_at_every_key_frame() -> None:
    segments = remuxed(coded_video("mpegts"))
    assert segments[0].init is not None
    late = decoded(segments[0].init.data + stream_of(segments[20:]))
    assert [time for time, _ in late] == pytest.approx([segment.pts_seconds for segment in segments[20:]])


def test_nothing_is_held_back_for_reordering() -> None:
    (segment, *_) = remuxed(coded_video("mp4"))
    assert segment.init is not None
    ((stream, _),) = packets_of(segment.init.data + segment.data)
    assert not stream.codec_context.has_b_frames


def test_another_size_begins_with_another_init_segment() -> None:
    remuxer = Remuxer("h264", b"")
    segments: list[Segment | None] = []
    for part, size_wh in enumerate(((96, 64), (64, 48))):
        for index, (_, packet) in enumerate(packets_of(coded_video("mpegts", size_wh=size_wh))):
            segments.append(remuxer.put(bytes(packet), part * 2 + index / 25, is_keyframe=packet.is_keyframe))
    inits = [segment.init for segment in segments if segment is not None and segment.init is not None]
    assert [init.size_wh for init in inits] == [(96, 64), (64, 48)]


@pytest.mark.parametrize(
    ("codec", "num_b_frames", "reason"), [("libx264", 2, "B-frames"), ("mpeg4", 0, "the source is mpeg4")]
)
def test_what_browsers_do_not_play_so_is_refused(codec: str, num_b_frames: int, reason: str) -> None:
    with pytest.raises(NotRemuxable, match=reason):
        remuxed(coded_video("mp4", codec=codec, num_b_frames=num_b_frames))


def test_packets_without_times_are_refused() -> None:
    with pytest.raises(NotRemuxable, match="no times"):
        Remuxer("h264", b"").put(b"\0\0\1\x65\x88", None, is_keyframe=True)


def test_a_fragment_begins_at_its_own_time_and_a_gap_makes_none_longer() -> None:
    (_, packet) = next(packets_of(coded_video("mpegts")))
    remuxer, times = Remuxer("h264", b""), [0.0, 0.1, 0.2, 5.2, 5.3, 5.5, 5.7]
    segments = [remuxer.put(bytes(packet), time, is_keyframe=True) for time in times]
    data = stream_of([segment for segment in segments if segment is not None])
    fragments = [packet for _, packet in packets_of(data)]
    assert [packet.pts for packet in fragments] == [round(90_000 * time) for time in times]
    sizes = [data.index(b"trun", index) for index in [match.start() for match in re.finditer(b"moof", data)]]
    durations = [int.from_bytes(data[at + 16 : at + 20], "big") / 90_000 for at in sizes]
    assert durations == pytest.approx([0.04, 0.04, 0.1, 0.1, 0.1, 0.1, 0.2])


def test_times_that_go_back_are_refused() -> None:
    remuxer = Remuxer("h264", b"")
    data = bytes(next(packets_of(coded_video("mpegts")))[1])
    remuxer.put(data, 1.0, is_keyframe=True)
    with pytest.raises(NotRemuxable, match="go back"):
        remuxer.put(data, 0.5, is_keyframe=True)


def test_what_comes_before_the_first_key_frame_is_left_out() -> None:
    remuxer = Remuxer("h264", b"")
    assert remuxer.put(b"\0\0\1\x41\x9a", 0.0, is_keyframe=False) is None
