"""Looping source: a short source goes on like a long one, and nothing is counted twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import Frame, TimedPicture
from pipeline.sources.looping import LoopingSource, can_be_read_again
from pipeline.sources.opening import open_source
from pipeline.sources.source import FrameSource
from pipeline.stages.capture import Capture


def looping(word: str | Path) -> LoopingSource:
    return LoopingSource(open_source(str(word)), partial(open_source, str(word)))


def timed_pictures(source: FrameSource, num: int, *, every: int = 1) -> list[TimedPicture]:
    return list(islice(source.pictures(threading.Event(), every=every), num))


class StopAtWait:
    """A stop that notes for how long it is waited, and lets nobody wait."""

    def __init__(self) -> None:
        self.waits_seconds: list[float] = []

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float | None = None) -> bool:
        self.waits_seconds.append(seconds or 0.0)
        return False


def image(path: Path, level: int = 0) -> Path:
    cv2.imwrite(str(path), np.full((48, 64, 3), level, np.uint8))
    return path


def test_numbers_and_media_times_of_a_video_go_on(small_video: Path) -> None:
    source = looping(small_video)
    read = timed_pictures(source, 75)
    assert [timed.number for timed in read] == list(range(75))
    assert [timed.pts_seconds for timed in read] == pytest.approx([number / 10 for number in range(75)])
    assert source.num_loops == 2
    source.close()


def test_each_seventh_frame_stays_in_step_where_the_video_begins_anew(small_video: Path) -> None:
    source = looping(small_video)
    read = timed_pictures(source, 12, every=7)  # 0, 7, 14, 21 and 28 of 30, and again
    assert [timed.number for timed in read] == list(range(0, 84, 7))
    assert [later.pts_seconds - timed.pts_seconds for timed, later in pairwise(read)] == pytest.approx([0.7] * 11)
    source.close()


def test_a_folder_begins_anew_with_its_first_image(tmp_path: Path) -> None:
    for level in (10, 20, 30):
        image(tmp_path / f"{level}.png", level)
    read = timed_pictures(looping(tmp_path), 7)
    assert [int(timed.picture.pixels[0, 0, 0]) for timed in read] == [10, 20, 30, 10, 20, 30, 10]
    assert [timed.pts_seconds for timed in read] == [0, 1, 2, 3, 4, 5, 6]


def test_one_image_is_read_again_and_again(tmp_path: Path) -> None:
    source = looping(image(tmp_path / "a.png"))
    assert [(timed.number, timed.pts_seconds) for timed in timed_pictures(source, 3)] == [(0, 0), (1, 1), (2, 2)]
    assert source.num_loops == 2


def test_damage_is_that_of_one_pass(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    source = looping(tmp_path)
    assert len(timed_pictures(source, 5)) == 5
    assert len(source.damage) == 1
    assert "b.png: is empty" in source.damage[0]


def test_where_it_plays_live_the_pace_goes_on(small_video: Path) -> None:
    def now() -> float:
        return 0.0

    capture = Capture(looping(small_video), is_live=True, max_frames=65, clock=now)
    stop = StopAtWait()
    frames: list[Frame] = list(capture.items(stop))
    assert stop.waits_seconds == pytest.approx([number / 10 for number in range(65)])
    assert [frame.index for frame in frames] == list(range(65))
    capture.close()


def test_it_stops_when_it_is_to_stop(small_video: Path) -> None:
    source, stop = looping(small_video), threading.Event()
    read = source.pictures(stop)
    assert len(list(islice(read, 40))) == 40
    stop.set()
    assert list(read) == []
    assert source.num_loops == 1
    source.close()


def test_what_holds_no_picture_is_not_read_for_ever() -> None:
    class Nothing:
        source_id, is_live, size_wh, frames_per_second, num_frames = "nothing", False, None, None, 0
        damage: tuple[str, ...] = ()

        def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
            return iter(())

        def close(self) -> None: ...

    source = LoopingSource(Nothing(), Nothing)
    assert timed_pictures(source, 1) == []
    assert source.num_loops == 0


def test_a_file_that_is_gone_by_then_is_an_error(tmp_path: Path) -> None:
    path = image(tmp_path / "a.png")
    source = looping(path)
    read = source.pictures(threading.Event())
    next(read)
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.png: there is no such file"):
        next(read)


def test_files_folders_and_drawn_streets_can_be_read_again_but_no_stream(small_video: Path, tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    for word in (str(small_video), str(tmp_path), f"{tmp_path}/*.png", "sim:traffic?seconds=1&size=64x48"):
        assert can_be_read_again(word, open_source(word)), word
    live = "sim:traffic?seconds=1&size=64x48&realtime=1"
    assert not can_be_read_again(live, open_source(live))
    video = open_source(str(small_video))
    for word in ("-", "https://example.com/black.mp4"):  # whatever comes out of them
        assert not can_be_read_again(word, video)
