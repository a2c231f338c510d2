"""Shared source: each picture is read once and comes to every branch in order, or is counted as skipped there."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.opened_sources import open_sources
from pipeline.errors import SourceError
from pipeline.flow.running import Running
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, TimedPicture
from pipeline.sources.kinds import identity_of
from pipeline.sources.shared import SharedBranch, shared_by
from pipeline.sources.states import SourceStates
from pipeline.stages.capture import Capture
from pipeline.testing import StepClock
from tests.support.tiny_detector import write_boxes_detector

PICTURE = ArrayPicture(np.zeros((2, 3, 3), np.uint8))


class Film:
    """A source of `num` pictures, numbered in their times, which breaks behind them where it is told to."""

    source_id, size_wh, frames_per_second, damage = "film", (3, 2), 10.0, ("a torn edge",)

    def __init__(self, num: int, *, is_live: bool = False, failure: Exception | None = None) -> None:
        self.num_frames, self.is_live, self._failure = num, is_live, failure
        self.states = SourceStates(is_live=is_live)
        self.num_read = self.num_closed = self.num_skipped = 0
        self.waited: list[bool] = []

    def keep_states(self, states: SourceStates) -> None:
        self.states = states

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for number in range(0, self.num_frames, every):
            if stop.is_set():
                return
            self.num_read += 1
            yield TimedPicture(PICTURE, float(number))
        if self._failure is not None:
            raise self._failure
        self.waited.append(stop.wait(0))

    def close(self) -> None:
        self.num_closed += 1


def times(branch: SharedBranch, num: int | None = None, *, every: int = 1) -> list[float]:
    return [timed.pts_seconds for timed in islice(branch.pictures(threading.Event(), every=every), num)]


@pytest.mark.parametrize("seed", range(5))
def test_branches_in_threads_of_their_own_see_every_picture_once_though_some_leave_early(seed: int) -> None:
    chance = random.Random(seed)
    film = Film(chance.choice([0, 1, 2, 200]))
    branches = shared_by(film, 4)
    limits = [None, None, chance.randrange(6), chance.randrange(150)]
    seen: dict[int, list[float]] = {}

    def read(number: int) -> None:
        seen[number] = times(branches[number], limits[number])
        branches[number].close()

    threads = [threading.Thread(target=read, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    all_times = [float(number) for number in range(film.num_frames)]
    assert seen == {number: all_times[:limit] for number, limit in enumerate(limits)}
    assert (film.num_read, film.num_closed) == (film.num_frames, 1)
    assert [branch.num_skipped for branch in branches] == [0] * 4


@pytest.mark.parametrize("every", [1, 3])
def test_a_branch_that_is_slower_than_a_camera_loses_the_oldest_and_counts_them(every: int) -> None:
    film = Film(30, is_live=True)
    stop = threading.Event()
    quick, slow = (Capture(branch, every=every) for branch in shared_by(film, 2))
    frames = {capture: [(frame.index, frame.pts_seconds) for frame in capture.items(stop)] for capture in (quick, slow)}
    assert frames[quick] == [(number, float(number)) for number in range(0, 30, every)]
    assert frames[slow] == frames[quick][-3:]
    assert (quick.num_skipped, slow.num_skipped) == (0, 30 // every - 3)
    assert slow.num_skipped + len(frames[slow]) == len(frames[quick])


def test_what_a_camera_itself_skips_is_skipped_in_every_branch_where_it_was() -> None:
    film = Film(6, is_live=True)
    first, second = (Capture(branch) for branch in shared_by(film, 2))
    frames, others = (capture.items(threading.Event()) for capture in (first, second))
    indices = [next(frames).index, next(frames).index]
    film.num_skipped = 10
    assert [*indices, next(frames).index] == [0, 1, 12]
    assert [next(others).index for _ in range(3)] == [0, 1, 12]


def test_a_camera_whose_pictures_wait_keeps_the_moment_at_which_they_came() -> None:
    clock = StepClock(7.0)
    first, second = shared_by(Film(1, is_live=True), 2, clock=clock)
    stop = threading.Event()
    assert [timed.captured_at_seconds for timed in first.pictures(stop)] == [7.0]
    clock.advance(1)
    assert [timed.captured_at_seconds for timed in second.pictures(stop)] == [7.0]


def test_what_breaks_the_source_reaches_every_branch_and_only_the_notes_are_its_own() -> None:
    film = Film(2, failure=SourceError("film: broke"))
    failures = []
    for branch in shared_by(film, 2):
        with pytest.raises(SourceError, match="film: broke") as caught:
            times(branch)
        caught.value.add_note("in a branch")
        failures.append(caught.value)
    assert [failure.__notes__ for failure in failures] == [["in a branch"]] * 2
    assert failures[0] is not failures[1]


def test_a_source_that_is_lost_is_lost_for_every_branch_and_one_that_left_changes_nothing() -> None:
    film = Film(5, is_live=True)
    first, second = shared_by(film, 2)
    film.states.lose("cable", retry_in_seconds=2)
    assert [(one.states.state.name, one.states.state.reason) for one in (first, second)] == [("lost", "cable")] * 2
    first.states.end()
    film.states.connect()
    assert second.states.state.name == "connecting"
    second.states.see_picture()
    assert second.states.num_breaks == 1
    first.close()
    assert film.num_closed == 0
    assert times(second) == [0, 1, 2, 3, 4]
    second.close()
    second.close()
    assert film.num_closed == 1


def test_a_source_is_told_to_stop_when_no_branch_needs_it() -> None:
    film = Film(100)
    first, second = shared_by(film, 2)
    stop = threading.Event()
    pictures = second.pictures(stop)
    next(pictures)
    first.close()
    stop.set()
    assert list(pictures) == []
    assert film.num_read < 5


def num_times_open(path: Path) -> int:
    return [file.path for file in psutil.Process().open_files()].count(str(path.resolve()))


def test_one_video_under_two_names_is_open_once_and_both_models_account_for_every_frame(
    small_video: Path, small_detector: Path, tmp_path: Path
) -> None:
    model = write_boxes_detector(tmp_path / "ships.onnx", [(4, 4, 20, 20, 0.7, 1)], class_names=("boat", "ship", "x"))
    sources = [
        {"url": str(small_video), "name": "cats", "model": str(small_detector)},
        {"url": str(small_video), "name": "ships", "model": str(model)},
        {"url": str(small_video), "name": "few", "model": str(model)},
    ]
    options = {"sources": tuple(sources), "output.show": False, "engine.device": "cpu"}
    gc.collect()  # what earlier tests left open
    num_before = num_times_open(small_video)
    assembly = assemble(load_config(options=options))
    num_open = num_times_open(small_video) - num_before
    with Running(assembly.flow, results=True) as running:
        classes = [(result.frame.source_id, result.frame.index, result.class_name(1)) for result in running]
    assert num_open == 1
    assert sorted(classes) == sorted(
        (name, index, second)
        for name, second in (("cats", "dog"), ("ships", "ship"), ("few", "ship"))
        for index in range(30)
    )
    counts = running.statistics().frames_by_source
    assert {(one.captured, one.delivered) for one in counts.values()} == {(30, 30)}


@pytest.mark.parametrize("words", [("0", "0"), ("0", "/dev/video0"), ("{links}/cam", "00", "/dev/video0")])
def test_one_webcam_is_open_once_in_whatever_words(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[int | str] = []

    def open_webcam(device: int | str, **options: object) -> Film:
        devices.append(device)
        return Film(3, is_live=True)

    monkeypatch.setattr("pipeline.sources.webcam.WebcamSource", open_webcam)
    monkeypatch.setattr("pipeline.sources.words._CAMERA_NODES", ("/dev/video", str(tmp_path)))
    (tmp_path / "cam").symlink_to("/dev/video0")  # which need not exist
    words = tuple(word.format(links=tmp_path) for word in words)
    sources = tuple({"url": word, "isolate": False} for word in (*words, "1"))
    with ExitStack() as undo:
        opened = open_sources(load_config(options={"sources": sources}), undo, waits=False)
    assert devices == [0 if words[0] == "0" else words[0], 1]
    assert list(opened) == ["film", *(word if word != words[0] else "film#2" for word in words[1:]), list(opened)[-1]]


def test_two_words_for_a_file_are_one_source_and_for_a_folder_two_that_are_read_apart(
    small_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.avi").symlink_to(small_video)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "photos/a.png")
    words = (str(small_video), "link.avi", small_video.as_uri(), "photos", "./photos/")
    with ExitStack() as undo:
        opened = open_sources(load_config(options={"sources": words}), undo)
        times = [
            [timed.pts_seconds for timed in islice(source.pictures(threading.Event()), 2)] for source in opened.values()
        ]
    video, link, address, *folders = opened.values()
    assert (list(opened)[1], list(opened)[3:]) == ("link.avi", ["photos", "./photos/"])
    assert all(isinstance(source, SharedBranch) and source.file == small_video for source in (video, link, address))
    assert not any(isinstance(source, SharedBranch) for source in folders)
    assert times[0] == times[1] == times[2]
    assert times[3] == times[4]


def test_words_that_mean_no_source_are_told_apart_until_they_are_opened(tmp_path: Path) -> None:
    assert identity_of("rtsp://h/a") == identity_of("rtsp://h/a") != identity_of("rtsp://h/b")
    assert identity_of(f"{tmp_path}/away.mp4") == f"{tmp_path}/away.mp4"
    assert identity_of("demo:nothing") == "demo:nothing"
    assert identity_of("a\0b") == "a\0b"
    (tmp_path / "null").symlink_to(os.devnull)
    assert identity_of(f"{tmp_path}/null") == identity_of(os.devnull) != identity_of("/dev/zero")
