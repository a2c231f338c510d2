"""Media clock: times go on where the clock of a stream jumps or wraps, and stay as they are elsewhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.picture.frame import TimedPicture
from pipeline.sources.video.media_clock import MediaClock
from pipeline.sources.video.source import VideoSource
from pipeline.testing import StepClock

TICKS = 90_000
WRAP_SECONDS = 2**33 / TICKS
NUM_FRAMES = 25


@dataclass
class Packet:
    """A picture of a stream without reordered frames, at 25 frames/s."""

    pts: int | None
    dts: int | None
    duration: int | None = 3600
    is_keyframe: bool = True


def packet_at(seconds: float) -> Packet:
    return Packet(round(seconds * TICKS), round(seconds * TICKS))


def clock_of(now: StepClock | None = None) -> MediaClock:
    return MediaClock(time_base=Fraction(1, TICKS), frame_seconds=0.04, arrival=now)


def carried(clock: MediaClock, packets: Iterable[Packet]) -> list[float]:
    """Seconds at which they are shown."""
    times = []
    for packet in packets:
        clock.carry_on(packet)
        assert packet.pts is not None
        times.append(packet.pts / TICKS)
    return times


def run_of(first_seconds: float, num: int = 3) -> list[Packet]:
    return [packet_at(first_seconds + 0.04 * index) for index in range(num)]


@pytest.mark.parametrize("second_seconds", [3600.0, 20.0, 1.0, 99.9, 40_000.0])
def test_what_follows_a_jump_follows_at_once(second_seconds: float) -> None:
    clock = clock_of()
    times = carried(clock, run_of(100.0) + run_of(second_seconds))
    assert times == pytest.approx([100.0 + 0.04 * index for index in range(6)])
    message = f"jumped once by {second_seconds - 100.12:+.1f} s after 0.1 s; the times go on without the jump"
    assert clock.damage == (f"the clock of the stream {message}",)


def test_each_jump_is_counted() -> None:
    clock = clock_of()
    carried(clock, run_of(0.0) + run_of(500.0) + run_of(3.0))
    assert clock.num_jumps == 2
    assert clock.damage[0].startswith("the clock of the stream jumped 2 times, first by +499.9 s after 0.1 s")


def test_a_pause_of_some_seconds_is_a_pause() -> None:
    clock = clock_of()
    assert carried(clock, run_of(0.0) + run_of(9.0)) == pytest.approx([0, 0.04, 0.08, 9, 9.04, 9.08])
    assert clock.damage == ()


def test_a_clock_that_wraps_goes_on() -> None:
    clock = clock_of()
    packets = run_of(WRAP_SECONDS - 0.1, 50)
    for packet in packets:
        assert packet.pts is not None
        packet.pts = packet.dts = packet.pts % 2**33
    assert np.diff(carried(clock, packets)) == pytest.approx(0.04)
    assert clock.damage == ()
    assert carried(clock, run_of(5.0)) == pytest.approx([5 + WRAP_SECONDS + 0.04 * index for index in range(3)])


def test_reordered_pictures_are_no_jump() -> None:
    shown = [0, 4, 2, 1, 3, 8, 6, 5, 7]
    packets = [Packet(3600 * (position + 3), 3600 * order) for order, position in enumerate(shown)]
    clock = clock_of()
    assert carried(clock, packets) == pytest.approx([0.04 * (position + 3) for position in shown])
    for packet in packets:  # where the file holds the times of showing alone
        packet.dts = None
    clock = clock_of()
    assert carried(clock, packets) == pytest.approx([0.04 * (position + 3) for position in shown])
    assert clock.damage == ()


def test_a_time_of_decoding_that_was_guessed_from_before_the_jump_is_not_believed() -> None:
    after = run_of(50.0, 4)
    after[0].dts = round(0.12 * TICKS)  # libav's guess for a packet that has none: the next in its window
    after[1].dts, after[2].dts, after[3].dts = after[0].pts, after[1].pts, after[2].pts
    clock = clock_of()
    times = carried(clock, run_of(0.0) + after)
    assert times == pytest.approx([0.04 * index for index in range(7)], abs=0.041)
    assert (np.diff(times) > 0).all()
    assert clock.num_jumps == 1


def test_what_is_shown_first_after_a_jump_is_shown_after_what_was_shown_last() -> None:
    before = [Packet(3600 * (index + 2), 3600 * index) for index in range(3)]  # shown two frames after decoding
    times = carried(clock_of(), before + run_of(700.0))
    assert times == pytest.approx([0.08, 0.12, 0.16, 0.2, 0.24, 0.28])


def test_packets_without_times_are_left_alone() -> None:
    clock, packet = clock_of(), Packet(None, None)
    clock.carry_on(packet)
    assert (packet.pts, packet.dts) == (None, None)
    assert carried(clock, run_of(7.0, 1)) == [7.0]


def test_of_a_live_stream_a_gap_as_long_as_the_wait_is_a_true_one() -> None:
    now = StepClock(1000.0)
    clock = clock_of(now)
    carried(clock, run_of(0.0))
    now.advance(30.0)
    assert carried(clock, run_of(30.0)) == pytest.approx([30.0, 30.04, 30.08])
    assert clock.damage == ()
    now.advance(0.04)
    assert carried(clock, run_of(90.0, 1)) == pytest.approx([30.12])
    assert clock.num_jumps == 1


# Files


def write_part(path: Path, first_seconds: float, *, hole_seconds: float = 0.0) -> Path:
    """A second of video whose clock begins there; before the third key frame, nothing is shown for so long."""
    kind = "mpeg2video" if path.suffix == ".mpg" else "libx264"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind, Fraction(25), options={"g": "8", "bf": "2"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        packets: list[av.Packet[VideoStream]] = []
        for index in range(NUM_FRAMES):
            frame = VideoFrame.from_ndarray(np.full((48, 64), 40 + 7 * index, np.uint8), format="gray")
            packets += stream.encode(frame.reformat(format="yuv420p"))
        packets += stream.encode(None)
        num_keys = 0
        for packet in packets:
            assert packet.pts is not None
            assert packet.dts is not None
            num_keys += packet.is_keyframe
            late = round((first_seconds + (hole_seconds if num_keys > 2 else 0)) / packet.time_base)
            packet.pts, packet.dts = packet.pts + late, packet.dts + late
            container.mux(packet)
    return path


def joined(folder: Path, kind: str, *starts_seconds: float) -> Path:
    path = folder / f"joined.{kind}"
    parts = [write_part(folder / f"{index}.{kind}", at) for index, at in enumerate(starts_seconds)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def read(source: VideoSource, *, every: int = 1) -> list[TimedPicture]:
    timed_pictures = list(source.pictures(threading.Event(), every=every))
    source.close()
    return timed_pictures


def times_of(timed_pictures: list[TimedPicture]) -> list[float]:
    return [timed.pts_seconds for timed in timed_pictures]


def assert_goes_on(source: VideoSource, num_parts: int = 2) -> None:
    timed_pictures = read(source)
    assert len(timed_pictures) == num_parts * NUM_FRAMES
    assert np.diff(times_of(timed_pictures)) == pytest.approx(0.04, abs=0.002)
    (line,) = source.damage  # and neither replaced timestamps nor a duration that did not come
    assert line.startswith("the clock of the stream jumped")


@pytest.mark.parametrize("kind", ["ts", "mpg"])
@pytest.mark.parametrize("starts_seconds", [(0, 3600), (3600, 0), (0, 0), (70, 5, 90_000)])
def test_joined_recordings_last_as_long_as_their_pictures(
    kind: str, starts_seconds: tuple[float, ...], tmp_path: Path
) -> None:
    assert_goes_on(VideoSource(joined(tmp_path, kind, *starts_seconds)), len(starts_seconds))


def test_joined_recordings_in_a_pipe_do_too(tmp_path: Path) -> None:
    content = joined(tmp_path, "ts", 0, 3600).read_bytes()
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb") as pipe:
        with os.fdopen(writable, "wb") as writer:
            writer.write(content)  # a few kB: the pipe holds them
        assert_goes_on(VideoSource(pipe))


def test_a_playlist_that_says_discontinuity_does_too(tmp_path: Path) -> None:
    names = [write_part(tmp_path / f"{at}.ts", at).name for at in (3600, 0)]
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n"
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(
        f"{head}#EXTINF:1.0,\n{names[0]}\n#EXT-X-DISCONTINUITY\n#EXTINF:1.0,\n{names[1]}\n#EXT-X-ENDLIST\n"
    )
    assert_goes_on(VideoSource(playlist))


@pytest.mark.parametrize("every", [2, 7])
@pytest.mark.parametrize("starts_seconds", [(0, 3600), (3600, 0)])
def test_numbers_count_on_over_a_jump(every: int, starts_seconds: tuple[float, ...], tmp_path: Path) -> None:
    path = joined(tmp_path, "ts", *starts_seconds)
    complete, some = read(VideoSource(path)), read(VideoSource(path), every=every)
    assert times_of(some) == pytest.approx(times_of(complete[::every]))
    assert [timed.number for timed in some[1:]] == list(range(every, len(complete), every))
    assert all(np.array_equal(a.picture.pixels, b.picture.pixels) for a, b in zip(some, complete[::every], strict=True))


@pytest.mark.parametrize("kind", ["ts", "mpg"])
def test_a_recording_in_which_the_clock_wraps_goes_on(kind: str, tmp_path: Path) -> None:
    source = VideoSource(write_part(tmp_path / f"wraps.{kind}", WRAP_SECONDS - 2.0))
    times = times_of(read(source))
    assert np.diff(times) == pytest.approx(0.04, abs=0.002)
    assert source.damage == ()


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_where_a_clock_cannot_jump_a_long_gap_stays(kind: str, tmp_path: Path) -> None:
    source = VideoSource(write_part(tmp_path / f"hole.{kind}", 0.0, hole_seconds=100.0))
    steps = np.diff(times_of(read(source)))
    assert steps.max() == pytest.approx(100.04, abs=0.002)
    assert np.delete(steps, steps.argmax()) == pytest.approx(0.04, abs=0.002)
    assert source.damage == ()
