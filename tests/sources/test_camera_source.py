"""Webcam source: it delivers the better pixel format, and never hangs."""

from __future__ import annotations

import logging
from collections.abc import Container
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.sources.options import CameraOptions
from pipeline.sources.reconnecting import ReconnectingSource
from pipeline.sources.webcam import WebcamSource
from pipeline.testing import StepClock

YUYV, MJPG = (cv2.VideoWriter.fourcc(*name) for name in ("YUYV", "MJPG"))


class Camera:
    """A USB camera: its rate depends on the format, and some of its reads, counted from 1, may fail."""

    def __init__(self, clock: StepClock, *, rates: dict[int, float], failing_reads: Container[int] = ()) -> None:
        self.clock, self.rates, self.failing_reads = clock, rates, failing_reads
        self.is_there = True
        self.openings: list[dict[int, float]] = []  # what was set, opening by opening
        self.num_reads = self.num_grabbed = self.num_released = 0

    def open(self, device: int | str) -> Capture:
        self.openings.append({cv2.CAP_PROP_FRAME_WIDTH: 640, cv2.CAP_PROP_FRAME_HEIGHT: 480})
        return Capture(self, self.openings[-1])

    @property
    def last(self) -> dict[int, float]:
        return self.openings[-1]


class Capture:
    """What `cv2.VideoCapture` would be for that camera."""

    def __init__(self, camera: Camera, properties: dict[int, float]) -> None:
        self.camera, self.properties = camera, properties

    def isOpened(self) -> bool:  # noqa: N802 - as OpenCV spells it
        return self.camera.is_there

    def set(self, property_id: int, value: float, /) -> bool:
        is_known = property_id != cv2.CAP_PROP_FOURCC or value in self.camera.rates
        if is_known:
            self.properties[property_id] = value
        return is_known

    def get(self, property_id: int, /) -> float:
        return self.properties.get(property_id, 0.0)

    def read(self) -> tuple[bool, Any]:
        camera = self.camera
        if not self._wait():
            return False, None
        width, height = int(self.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self.get(cv2.CAP_PROP_FRAME_HEIGHT))
        return True, np.full((height, width, 3), camera.num_reads % 256, np.uint8)

    def grab(self) -> bool:
        self.camera.num_grabbed += 1
        return self._wait()

    def _wait(self) -> bool:
        camera = self.camera
        camera.num_reads += 1
        if camera.num_reads in camera.failing_reads:
            camera.clock.advance(2.0)  # the timeout of V4L's select
            return False
        camera.clock.advance(1 / camera.rates.get(int(self.get(cv2.CAP_PROP_FOURCC)), 30.0))
        return True

    def release(self) -> None:
        self.camera.num_released += 1


@pytest.fixture
def clock() -> StepClock:
    return StepClock(1000.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which formats of cameras are remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "streamdet" / "cameras"


def open_webcam(camera: Camera, options: CameraOptions | None = None) -> WebcamSource:
    return WebcamSource(0, options=options, open_capture=camera.open, clock=camera.clock)


def test_a_camera_is_live_and_counts_time_from_its_first_picture(clock: StepClock) -> None:
    source = open_webcam(Camera(clock, rates={YUYV: 25.0}))
    stop = Event()
    pictures = source.pictures(stop)
    timed_pictures = [next(pictures) for _ in range(3)]
    assert [timed.pts_seconds for timed in timed_pictures] == pytest.approx([0.0, 0.04, 0.08])
    assert {timed.picture.size_wh for timed in timed_pictures} == {(640, 480)}
    assert (source.source_id, source.is_live, source.size_wh, source.num_frames) == ("0", True, (640, 480), None)
    stop.set()
    assert list(pictures) == []
    source.close()


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({YUYV: 10.0, MJPG: 30.0}, MJPG),  # 720p over USB 2
        ({YUYV: 29.9, MJPG: 30.0}, YUYV),  # as many, and without compression
        ({YUYV: 30.0}, YUYV),
        ({MJPG: 30.0}, MJPG),
    ],
)
def test_the_format_that_delivers_more_is_taken_and_remembered(
    rates: dict[int, float], best: int, clock: StepClock
) -> None:
    camera = Camera(clock, rates=rates)
    began = clock.now_seconds
    open_webcam(camera).close()
    assert camera.last[cv2.CAP_PROP_FOURCC] == best
    assert clock.now_seconds - began < len(rates) * 1.3
    assert camera.num_released == len(camera.openings)

    again = Camera(clock, rates=rates)
    open_webcam(again).close()
    assert len(again.openings) == 1
    assert again.last[cv2.CAP_PROP_FOURCC] == best


def test_another_size_is_measured_anew(clock: StepClock, cache: Path) -> None:
    camera = Camera(clock, rates={YUYV: 30.0, MJPG: 30.0})
    open_webcam(camera)
    open_webcam(camera, CameraOptions(width=1280, height=720))
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', "\x00"])
def test_a_corrupt_memory_is_ignored(content: str, clock: StepClock, cache: Path) -> None:
    open_webcam(Camera(clock, rates={YUYV: 30.0, MJPG: 30.0})).close()
    (path,) = cache.iterdir()
    path.write_text(content)
    camera = Camera(clock, rates={YUYV: 10.0, MJPG: 30.0})
    open_webcam(camera)
    assert camera.last[cv2.CAP_PROP_FOURCC] == MJPG
    assert "MJPG" in path.read_text()


def test_a_camera_that_lets_nobody_choose_is_taken_as_it_is(clock: StepClock, cache: Path) -> None:
    camera = Camera(clock, rates={})
    open_webcam(camera)
    assert cv2.CAP_PROP_FOURCC not in camera.last
    assert not cache.exists()


def test_what_is_asked_for_is_set_without_measuring(clock: StepClock, caplog: pytest.LogCaptureFixture) -> None:
    camera = Camera(clock, rates={YUYV: 30.0, MJPG: 60.0})
    options = CameraOptions(width=320, height=240, fps=60.0, pixel_format="MJPG")
    with caplog.at_level(logging.WARNING):
        source = open_webcam(camera, options)
    assert camera.openings == [
        {
            cv2.CAP_PROP_FOURCC: MJPG,
            cv2.CAP_PROP_FRAME_WIDTH: 320,
            cv2.CAP_PROP_FRAME_HEIGHT: 240,
            cv2.CAP_PROP_FPS: 60.0,
            cv2.CAP_PROP_BUFFERSIZE: 1,
        }
    ]
    assert (source.size_wh, source.frames_per_second) == ((320, 240), 60.0)
    assert not caplog.messages


def test_a_camera_that_falls_silent_is_given_up(clock: StepClock) -> None:
    camera = Camera(clock, rates={YUYV: 30.0}, failing_reads=range(5, 99))
    source = open_webcam(camera, CameraOptions(pixel_format="YUYV"))
    with pytest.raises(SourceError, match=r"^camera 0: gave no picture for 5 s; was it unplugged"):
        list(source.pictures(Event()))
    assert source.damage == ("3 reads of the camera failed",)


def test_a_camera_that_never_gives_a_picture_is_refused(clock: StepClock) -> None:
    camera = Camera(clock, rates={YUYV: 30.0}, failing_reads=range(1, 99))
    with pytest.raises(SourceError, match="gave no picture"):
        open_webcam(camera)
    assert camera.num_released == len(camera.openings)


def test_a_read_that_fails_now_and_then_is_counted(clock: StepClock) -> None:
    camera = Camera(clock, rates={YUYV: 30.0}, failing_reads=(3, 4))
    pictures = (source := open_webcam(camera, CameraOptions(pixel_format="YUYV"))).pictures(Event())
    assert [next(pictures).picture.pixels[0, 0, 0] for _ in range(3)] == [2, 5, 6]
    assert source.damage == ("2 reads of the camera failed",)


def test_pictures_between_are_grabbed_and_not_decoded(clock: StepClock) -> None:
    camera = Camera(clock, rates={YUYV: 25.0})
    source = open_webcam(camera, CameraOptions(pixel_format="YUYV"))
    pictures = source.pictures(Event(), every=3)
    timed_pictures = [next(pictures) for _ in range(3)]
    assert [timed.picture.pixels[0, 0, 0] for timed in timed_pictures] == [2, 5, 8]
    assert [timed.pts_seconds for timed in timed_pictures] == pytest.approx([0.0, 0.12, 0.24])
    assert camera.num_grabbed == 4


def test_a_grab_that_fails_is_a_read_that_fails(clock: StepClock) -> None:
    camera = Camera(clock, rates={YUYV: 30.0}, failing_reads=(3, *range(7, 99)))
    source = open_webcam(camera, CameraOptions(pixel_format="YUYV"))
    pictures = source.pictures(Event(), every=3)
    assert [next(pictures).picture.pixels[0, 0, 0] for _ in range(2)] == [2, 6]
    with pytest.raises(SourceError, match="gave no picture for 5 s"):
        next(pictures)
    assert source.damage == ("4 reads of the camera failed",)


def test_a_busy_camera_is_named(clock: StepClock) -> None:
    camera = Camera(clock, rates={})
    camera.is_there = False
    with pytest.raises(SourceError, match=r"camera 0: cannot be opened; is another program using it\?"):
        open_webcam(camera)


def test_a_camera_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(SourceError, match=r"/dev/video97: there is no such camera; this machine has "):
        WebcamSource(97)


def test_a_camera_that_may_not_be_used_says_how_to_be_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "video0"
    node.touch()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(SourceError, match=r"may not use the camera; run `sudo usermod -aG video \$USER`"):
        WebcamSource(str(node))


def test_a_camera_that_was_unplugged_comes_back(clock: StepClock) -> None:
    camera = Camera(clock, rates={YUYV: 25.0}, failing_reads=range(60, 80))

    class Stop(Event):
        def wait(self, timeout: float | None = None) -> bool:
            clock.advance(timeout or 0.0)
            return False

    def open_again() -> WebcamSource:
        return open_webcam(camera)

    source = ReconnectingSource(open_again(), open_again, reconnect_seconds=60, clock=clock, randomness=lambda: 0.5)
    pictures = source.pictures(Stop())
    times = [next(pictures).pts_seconds for _ in range(60)]
    assert max(after - before for before, after in pairwise(times)) > 5
    assert times == sorted(times)
    assert source.damage[0].startswith("breaks in the stream: ")
