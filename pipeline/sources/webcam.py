"""Which pictures does a camera on this machine give, and in which pixel format does it give most of them?"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from pipeline.cache_folder import cache_folder
from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, PixelArray, TimedPicture
from pipeline.sources.options import CameraOptions

LOG = logging.getLogger(__name__)

PIXEL_FORMATS = ("YUYV", "MJPG")
MEASURE_SECONDS = 1.0
SILENCE_SECONDS = 5.0  # a camera that gives no picture for this long has failed
RAW_WINS_AT = 0.95  # of the rate of MJPG: raw pixels have no compression artefacts


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool: ...  # noqa: N802

    def set(self, propId: int, value: float, /) -> bool: ...  # noqa: N803

    def get(self, propId: int, /) -> float: ...  # noqa: N803

    def read(self) -> tuple[bool, Any]: ...

    def grab(self) -> bool: ...

    def release(self) -> None: ...


class WebcamSource:
    """A camera by index or device path; `pts_seconds` counts from its first picture.

    With `pixel_format="auto"`, a camera that is opened for the first time in a size and rate is measured in each
    format for a second, and the better one is remembered in `cache_path`. Raises SourceError for a camera that is
    not there, may not be used, is busy, or falls silent.
    """

    is_live = True
    num_frames = None

    def __init__(
        self,
        device: int | str,
        *,
        source_id: str | None = None,
        options: CameraOptions | None = None,
        open_capture: Callable[[int | str], Capture] | None = None,
        clock: Callable[[], float] = time.monotonic,
        cache_path: Path | None = None,
    ) -> None:
        self.source_id = str(device) if source_id is None else source_id
        self._options = options or CameraOptions()
        self._device = device
        self._node = Path(f"/dev/video{device}" if isinstance(device, int) else device)
        self._clock = clock
        self._is_real = open_capture is None
        self._open_capture = open_capture or _open_with_opencv
        self._num_failed_reads = 0
        if self._is_real and sys.platform == "linux":
            _refuse_absent(self._node)
        self._capture = self._open(self._choose_format(cache_path or cache_folder() / "cameras.json"))
        try:
            first = self._read(threading.Event())
        except SourceError:
            self.close()
            raise
        assert first is not None
        self.size_wh: tuple[int, int] | None = (first.shape[1], first.shape[0])
        if self._options.size_wh not in (None, self.size_wh):
            LOG.warning("camera %s gives %s instead of %s pixels", device, self.size_wh, self._options.size_wh)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = rate if rate > 0 else None

    @property
    def damage(self) -> tuple[str, ...]:
        return (f"{self._num_failed_reads} reads of the camera failed",) if self._num_failed_reads else ()

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        first_at_seconds: float | None = None
        while (pixels := self._read(stop)) is not None:
            now_seconds = self._clock()
            first_at_seconds = now_seconds if first_at_seconds is None else first_at_seconds
            yield TimedPicture(ArrayPicture(pixels), now_seconds - first_at_seconds)
            for _ in range(every - 1):
                self._until(stop, self._capture.grab)

    def close(self) -> None:
        self._capture.release()

    def _read(self, stop: Stop) -> PixelArray | None:
        """The next picture, or None once `stop` is set."""
        pixels: PixelArray | None = None

        def read() -> bool:
            nonlocal pixels
            is_read, given = self._capture.read()
            pixels = np.asarray(given, np.uint8) if is_read and given is not None else None
            return pixels is not None

        self._until(stop, read)
        return pixels

    def _until(self, stop: Stop, succeeds: Callable[[], bool]) -> None:
        """Try until it does, or `stop` is set. Raises SourceError for a camera that is gone, or silent for too long."""
        silent_since = self._clock()
        while not stop.is_set():
            if succeeds():
                return
            self._num_failed_reads += 1
            if self._is_real and sys.platform == "linux" and not self._node.exists():
                raise SourceError(f"camera {self.source_id}: {self._node} is gone; was it unplugged?")
            if self._clock() - silent_since > SILENCE_SECONDS:
                raise SourceError(
                    f"camera {self.source_id}: gave no picture for {SILENCE_SECONDS:g} s; "
                    "was it unplugged, or is another program using it?"
                )
            stop.wait(0.02)  # a read that fails at once must not spin

    def _open(self, pixel_format: str | None) -> Capture:
        capture = self._open_capture(self._device)
        if not capture.isOpened():
            raise SourceError(f"camera {self.source_id}: cannot be opened; is another program using it?")
        options = self._options
        if pixel_format:  # first, for a driver offers sizes and rates by format
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixel_format))
        if options.size_wh:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.size_wh[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size_wh[1])
        if options.fps:
            capture.set(cv2.CAP_PROP_FPS, options.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest of four
        return capture

    def _choose_format(self, cache_path: Path) -> str | None:
        """The format that was asked for, remembered or measured; None if the camera lets nobody choose."""
        options = self._options
        if options.pixel_format != "auto":
            return options.pixel_format
        key = f"{_model(self._node)}, {options.size_wh or 'any size'}, {options.fps or 'any'} fps"
        remembered = _read_cache(cache_path)
        if remembered.get(key) in PIXEL_FORMATS:
            return remembered[key]
        rates = {each: rate for each in PIXEL_FORMATS if (rate := self._measured_rate(each))}
        if not rates:
            return None
        LOG.info("camera %s delivers %s", self.source_id, {each: f"{rate:.1f} fps" for each, rate in rates.items()})
        chosen = max(rates, key=lambda each: rates[each] / (RAW_WINS_AT if each == "YUYV" else 1.0))
        _write_cache(cache_path, {**remembered, key: chosen})
        return chosen

    def _measured_rate(self, pixel_format: str) -> float:
        """Frames a second over `MEASURE_SECONDS` after the first picture; 0 if it cannot give this format."""
        capture = self._open(pixel_format)
        try:
            if int(capture.get(cv2.CAP_PROP_FOURCC)) != cv2.VideoWriter.fourcc(*pixel_format):
                return 0.0
            ticks: list[float] = []
            opened_at = self._clock()
            while not ticks or ticks[-1] - ticks[0] < MEASURE_SECONDS:
                if capture.read()[0]:
                    ticks.append(self._clock())
                elif self._clock() - opened_at > 2 * MEASURE_SECONDS:
                    return 0.0
            return (len(ticks) - 1) / (ticks[-1] - ticks[0])
        finally:
            capture.release()


def _open_with_opencv(device: int | str) -> Capture:
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # seconds that a read may wait
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it would print, we raise
    return cv2.VideoCapture(device, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)


def _refuse_absent(node: Path) -> None:
    if not node.exists():
        there = ", ".join(sorted(str(each) for each in Path("/dev").glob("video*"))) or "no camera"
        raise SourceError(f"{node}: there is no such camera; this machine has {there}")
    if not os.access(node, os.R_OK | os.W_OK):
        raise SourceError(
            f"{node}: this user may not use the camera; run `sudo usermod -aG video $USER` and log in again"
        )


def _model(node: Path) -> str:
    """What the camera calls itself, so that another one in its place is measured anew."""
    try:
        return Path("/sys/class/video4linux", node.resolve().name, "name").read_text().strip()
    except OSError:
        return str(node)


def _read_cache(path: Path) -> dict[str, str]:
    try:
        cache = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return cache if isinstance(cache, dict) else {}


def _write_cache(path: Path, cache: dict[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(cache, indent=1))
        fresh.replace(path)
    except OSError as error:
        LOG.warning("the camera's best format cannot be remembered: %s", error)
