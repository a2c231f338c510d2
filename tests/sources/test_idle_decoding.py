"""Idle decoding: where nothing changes key frames alone are decoded, and what is left are the pictures of the video."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.picture.frame import ArrayPicture, TimedPicture
from pipeline.sources.idle import CALM_SECONDS, Idle
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.idle_packets import IdlePackets
from pipeline.sources.video.source import VideoSource
from tests.support.gop_videos import H264, OPEN_H264, OPEN_HEVC, write_gop_video
from tests.support.videos import read_all

NUM_PICTURES, GOP_PICTURES, RATE = 150, 10, 25
Coding = tuple[str, str, dict[str, str]]  # file name, encoder and its options
CODINGS: tuple[Coding, ...] = (
    ("closed.mp4", "libx264", H264),
    ("key-frames-alone.mkv", "libx264", {"g": "1"}),
    ("hevc.mp4", "libx265", {"x265-params": "keyint=10:min-keyint=10:bframes=3:open-gop=0:log-level=none"}),
    ("b.mp4", "mpeg4", {"bf": "2", "g": "12"}),
    ("hidden.webm", "libvpx-vp9", {"g": "10", "lag-in-frames": "10", "deadline": "realtime", "cpu-used": "8"}),
)
UNTOUCHED: tuple[Coding, ...] = (
    ("vp8.webm", "libvpx", {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
    ("interlaced.ts", "libx264", {"x264-params": "keyint=10:bframes=2:tff=1"}),
    ("stripes.mp4", "libx264", {"x264-params": "keyint=10:intra-refresh=1"}),  # no key frame to begin at
    ("open.ts", "libx264", OPEN_H264),
    ("open.mkv", "libx265", OPEN_HEVC),
)


def watched(path: Path, is_calm: Callable[[int], bool], damage: Sequence[str] = ()) -> tuple[list[TimedPicture], Idle]:
    """What a source hands out of which a gate has looked at each picture before the next one is read."""
    source = VideoSource(path, decode=DecodeOptions(threads=2))
    idle = source.idle = Idle(most_gop_seconds=5.0)
    pictures = []
    for timed in source.pictures(threading.Event()):
        pictures.append(timed)
        assert timed.number is not None
        idle.see(timed.picture, timed.pts_seconds, is_calm=is_calm(timed.number))
    assert list(source.damage) == list(damage)
    source.close()
    return pictures, idle


def _written(folder: Path, coding: Coding, num_pictures: int) -> Path:
    name, encoder, options = coding
    return write_gop_video(folder / name, encoder, options, num_frames=num_pictures)


def _is_calm(changed: npt.NDArray[np.bool_], number: int) -> bool:
    return not changed[number]


@pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: coding[0])
def test_what_is_decoded_are_the_pictures_of_the_video_whatever_changes_and_however_it_is_coded(
    tmp_path: Path, coding: Coding
) -> None:
    path = _written(tmp_path, coding, NUM_PICTURES)
    whole = read_all(VideoSource(path))
    for seed in range(4):
        changes = random.Random(seed)
        changed = np.repeat([changes.random() < 0.3 for _ in range(NUM_PICTURES // 15)], 15)
        pictures, idle = watched(path, partial(_is_calm, changed))
        numbers = [timed.number or 0 for timed in pictures]
        assert numbers == sorted(set(numbers))
        assert len(pictures) + idle.num_undecoded == len(whole)
        for timed in pictures:
            expected = whole[timed.number or 0]
            assert timed.pts_seconds == pytest.approx(expected.pts_seconds)
            assert np.array_equal(timed.picture.pixels, expected.picture.pixels), (seed, timed.number)


def test_an_idle_camera_shows_a_key_frame_a_second_and_all_from_the_one_with_a_change_on(tmp_path: Path) -> None:
    """Key frames are .4 s apart; the camera is idle after the first 1 s, and something changes from 90 to 94."""
    path = _written(tmp_path, CODINGS[0], NUM_PICTURES)
    pictures, _ = watched(path, lambda number: not 90 <= number <= 94)
    idle_after = next(key for key in range(0, NUM_PICTURES, GOP_PICTURES) if key > RATE * CALM_SECONDS)  # 30
    numbers = [timed.number for timed in pictures]
    assert [number for number in numbers if number is not None and number <= idle_after] == list(range(idle_after + 1))
    assert [number for number in numbers if idle_after < (number or 0) < 90] == [60]  # the next but two is 1.2 s later
    changed = 90
    calm_again = next(key for key in range(0, NUM_PICTURES, GOP_PICTURES) if key > 95 + RATE * CALM_SECONDS)  # 130
    assert [number for number in numbers if (number or 0) >= changed] == list(range(changed, calm_again + 1))


@pytest.mark.parametrize("coding", UNTOUCHED, ids=lambda coding: coding[0])
def test_where_a_packet_is_no_picture_or_pictures_refer_beyond_a_key_frame_all_are_decoded(
    tmp_path: Path, coding: Coding
) -> None:
    path = _written(tmp_path, coding, 45)
    whole = VideoSource(path)
    num_pictures = len(read_all(whole))
    pictures, idle = watched(path, lambda _: True, whole.damage)
    assert len(pictures) + idle.num_undecoded == num_pictures
    assert idle.num_undecoded <= (1 if coding[0] == "open.ts" else 0)  # its third key frame is the first of an open GOP


class CodedPicture:
    """A packet."""

    is_disposable = is_discard = False

    def __init__(self, pts: int | None, *, is_keyframe: bool = False) -> None:
        self.pts, self.is_keyframe = pts, is_keyframe

    def __repr__(self) -> str:
        return f"{'I' if self.is_keyframe else 'P'}{self.pts}"


def calm_idle() -> Idle:
    idle = Idle(most_gop_seconds=2.0)
    for seconds in (0.0, 1.5):
        idle.see(ArrayPicture(np.zeros((2, 2, 3), np.uint8)), seconds, is_calm=True)
    return idle


def test_a_key_frame_that_is_overdue_is_not_waited_for() -> None:
    """Key frames came every second; after that at 3 s none comes, and at 5.1 s decoding goes on from it."""
    packets = IdlePackets[CodedPicture](calm_idle(), seconds_of=lambda pts: pts / 10)
    stream = [CodedPicture(pts, is_keyframe=pts in (0, 10, 20, 30)) for pts in range(54)]
    needed = {packet.pts: [*map(repr, packets.needed(packet))] for packet in stream}
    assert [needed[pts] for pts in range(20)] == [[repr(packet)] for packet in stream[:20]]  # two GOPs, to know them
    assert needed[20] == ["I20", "None"]
    assert needed[30] == ["I30", "None"]
    assert all(not needed[pts] for pts in (*range(21, 30), *range(31, 51)))
    assert needed[51] == ["I30", *(f"P{pts}" for pts in range(31, 52))]
    assert needed[52] == ["P52"]
    assert [packets.hides(pts) for pts in (30, 51, 52, None)] == [True, True, False, False]


def test_a_gate_that_never_sees_a_live_picture_is_not_waited_for_and_a_recorded_one_waits_until_the_run_ends() -> None:
    idle, stop = calm_idle(), threading.Event()
    assert idle.is_calm(stop)
    idle.hand_out(ArrayPicture(np.zeros((2, 2, 3), np.uint8)))
    stop.set()
    assert not idle.is_calm(stop)  # at once
    idle.may_lose_pictures()
    assert not idle.is_calm(threading.Event())  # after a quarter of a second


def test_every_picture_is_shown_once_or_counted_though_they_come_in_another_order() -> None:
    """GOPs of any length, each closed, in which some pictures come before those that are shown before them."""
    num_undecoded = 0
    for seed in range(20):
        chance = random.Random(seed)
        stream = _reordered(chance)
        shown, idle = _shown_of(stream, [chance.random() < 0.8 for _ in range(len(stream) // 10 + 1)])
        assert shown == sorted(set(shown))
        assert len(shown) + idle.num_undecoded == len(stream)
        num_undecoded += idle.num_undecoded
    assert num_undecoded > 100


def _reordered(chance: random.Random) -> list[CodedPicture]:
    """A stream of ten pictures a second, in which some are coded with reference to a later one."""
    stream, pts = list[CodedPicture](), 0
    for _ in range(12):
        stream.append(CodedPicture(pts, is_keyframe=True))
        end = pts + chance.choice([5, 10, 10, 10, 60])
        while (last := pts) < end - 1:
            pts = min(end - 1, last + chance.randint(1, 4))
            stream += [CodedPicture(between) for between in (pts, *range(last + 1, pts))]
        pts = end
    return stream


def _shown_of(stream: Sequence[CodedPicture], is_calm: Sequence[bool]) -> tuple[list[int], Idle]:
    """The timestamps that a decoder shows which holds three pictures. is_calm: by second."""
    idle, shown, held = Idle(most_gop_seconds=2.0), list[int](), list[int]()
    packets = IdlePackets[CodedPicture](idle, seconds_of=lambda ticks: ticks / 10)
    for packet in (*stream, None):
        for needed in packets.needed(packet):
            held.extend([] if needed is None or needed.pts is None else [needed.pts])
            while len(held) > (0 if needed is None else 3):
                held.sort()
                first = held.pop(0)
                if not packets.hides(first):
                    shown.append(first)
                    picture = ArrayPicture(np.zeros((2, 2, 3), np.uint8))
                    idle.see(picture, first / 10, is_calm=is_calm[first // 10])
    return shown, idle
