"""Webcam source: a camera of this machine → its pictures, in the pixel format in which it delivers most of them."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, PixelArray, TimedPicture
from pipeline.remembered import recall, remember
from pipeline.sources.options import CameraOptions

logger = logging.getLogger(__name__)

PIXEL_FORMATS = ("YUYV", "MJPG")
MEASURE_SECONDS = 1.0
SILENCE_SECONDS = 5.0  # a camera that gives no picture for this long has failed
RAW_WINS_AT = 0.95  # of the rate of MJPG: raw pixels have no compression artefacts

_RETRY_SECONDS = 0.02  # a read that fails at once must not spin
_REMEMBERED_AS = "cameras"


class VideoCapture(Protocol):
    """The part of `cv2.VideoCapture` that is used."""

    def isOpened(self) -> bool: ...  # noqa: N802

    def set(self, propId: int, value: float, /) -> bool: ...  # noqa: N803

    def get(self, propId: int, /) -> float: ...  # noqa: N803

    def read(self) -> tuple[bool, npt.NDArray[np.generic] | None]: ...

    def grab(self) -> bool: ...

    def release(self) -> None: ...


class WebcamSource:
    """A camera by index or device path; `pts_seconds` counts from its first picture.

    With `pixel_format="auto"`, a camera that is opened for the first time in a size and rate is measured in every
    format for a second, and the better one is remembered. Raises SourceError for a camera that does not exist, may not
    be used, is busy, or falls silent.
    """

    is_live = True
    num_frames = None

    def __init__(
        self,
        device: int | str,
        *,
        source_id: str | None = None,
        options: CameraOptions | None = None,
        open_capture: Callable[[int | str], VideoCapture] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source_id = str(device) if source_id is None else source_id
        self._options = options or CameraOptions()
        self._device = device
        self._node = node_of(device)
        self._clock = clock
        self._is_real = open_capture is None
        self._open_capture = open_capture or _open_with_opencv
        self._num_failed_reads = 0
        if self._has_node:
            _refuse_absent(self._node)
        self._capture = self._open(self._choose_format())
        self.size_wh: tuple[int, int] | None = self._size_of_first_picture()
        if self._options.size_wh not in (None, self.size_wh):
            logger.warning("camera %s gives %s instead of %s pixels", device, self.size_wh, self._options.size_wh)
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

    @property
    def _has_node(self) -> bool:
        """Whether the camera's file under /dev tells if the camera exists."""
        return self._is_real and sys.platform == "linux"

    def _size_of_first_picture(self) -> tuple[int, int]:
        try:
            pixels = self._read(threading.Event())
        except SourceError:
            self.close()
            raise
        assert pixels is not None
        return pixels.shape[1], pixels.shape[0]

    def _read(self, stop: Stop) -> PixelArray | None:
        """The next picture, or None once `stop` is set."""
        pixels: PixelArray | None = None

        def read() -> bool:
            nonlocal pixels
            is_read, image = self._capture.read()
            pixels = np.asarray(image, np.uint8) if is_read and image is not None else None
            return pixels is not None

        self._until(stop, read)
        return pixels

    def _until(self, stop: Stop, succeeds: Callable[[], bool]) -> None:
        """Try until it succeeds or `stop` is set. Raises SourceError if the camera is gone, or silent for too long."""
        silent_since = self._clock()
        while not stop.is_set():
            if succeeds():
                return
            self._num_failed_reads += 1
            if self._has_node and not self._node.exists():
                raise SourceError(f"camera {self.source_id}: {self._node} is gone; was it unplugged?")
            if self._clock() - silent_since > SILENCE_SECONDS:
                raise SourceError(
                    f"camera {self.source_id}: gave no picture for {SILENCE_SECONDS:g} s; "
                    "was it unplugged, or is another program using it?"
                )
            stop.wait(_RETRY_SECONDS)

    def _open(self, pixel_format: str | None) -> VideoCapture:
        capture = self._open_capture(self._device)
        if not capture.isOpened():
            raise SourceError(f"camera {self.source_id}: cannot be opened; is another program using it?")
        options = self._options
        if pixel_format:  # first, because a driver offers sizes and rates by format
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixel_format))
        if options.size_wh:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.size_wh[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size_wh[1])
        if options.fps:
            capture.set(cv2.CAP_PROP_FPS, options.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest of four
        return capture

    def _choose_format(self) -> str | None:
        """The pixel format from the options, from memory or from a measurement; None if the camera offers no choice."""
        options = self._options
        if options.pixel_format != "auto":
            return options.pixel_format
        key = (_model(self._node), options.size_wh, options.fps)
        remembered = (recall(_REMEMBERED_AS, *key) or {}).get("pixel_format")
        if remembered in PIXEL_FORMATS:
            return str(remembered)
        fastest = self._fastest_format()
        if fastest is not None:
            remember(_REMEMBERED_AS, {"pixel_format": fastest}, *key)
        return fastest

    def _fastest_format(self) -> str | None:
        rates = {name: rate for name in PIXEL_FORMATS if (rate := self._measured_rate(name))}
        if not rates:
            return None
        logger.info("camera %s delivers %s", self.source_id, {name: f"{rate:.1f} fps" for name, rate in rates.items()})
        return max(rates, key=lambda name: rates[name] / (RAW_WINS_AT if name == "YUYV" else 1.0))

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


def _open_with_opencv(device: int | str) -> VideoCapture:
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # seconds that a read may wait
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our errors say what it would print
    return cv2.VideoCapture(device, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)


def node_of(device: int | str) -> Path:
    """The file of a camera under /dev, which need not exist."""
    return Path(f"/dev/video{device}" if isinstance(device, int) else device)


def refuse_absent(device: int | str) -> None:
    """Raise SourceError for a camera that does not exist or may not be used, where its file under /dev tells."""
    if sys.platform == "linux":
        _refuse_absent(node_of(device))


def _refuse_absent(node: Path) -> None:
    if not node.exists():
        cameras = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "no camera"
        raise SourceError(f"{node}: there is no such camera; this machine has {cameras}")
    if not os.access(node, os.R_OK | os.W_OK):
        raise SourceError(
            f"{node}: this user may not use the camera; run `sudo usermod -aG video $USER` and log in again"
        )


def _model(node: Path) -> str:
    """The camera's name for itself, so that another one in its place is measured anew."""
    try:
        return Path("/sys/class/video4linux", node.resolve().name, "name").read_text().strip()
    except OSError:
        return str(node)
