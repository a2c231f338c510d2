"""Traffic source: `sim:traffic?seed=1` → pictures of a drawn street, with ground truth, and faults on request."""

from __future__ import annotations

import difflib
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import get_args
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.flow.stage import Stop
from pipeline.picture.detections import Detections
from pipeline.picture.frame import ArrayPicture, PixelArray, TimedPicture
from pipeline.sources.street.scene import LightName, Street
from pipeline.sources.street.view import CLASS_NAMES, StreetView

SCHEME = "sim:traffic"


_LONGEST_WAIT_SECONDS = 3600.0  # for a late frame


@dataclass(frozen=True, slots=True)
class TrafficOptions:
    """The scene, and how its frames arrive. Equal options give equal bytes. Raises ConfigError for impossible values.

    seconds: may be infinite. light: the seed's choice if None.
    realtime: frames come at the pace of the clock. jitter_seconds: the most by which a frame is late, in realtime.
    stall_seconds: in realtime, no frame comes for this long at the end of every `stall_every_seconds`; then the late
    frames come at once, as from a network camera.
    corrupt: share of the frames that arrive with broken bands; their truth is that of the unbroken frame.
    """

    seed: int = 1
    seconds: float = 20.0
    fps: float = 30.0
    size_wh: tuple[int, int] = (640, 360)
    density: float = 1.0  # 0 none, 1 ordinary, 2 crowded
    light: LightName | None = None
    realtime: bool = False
    stall_seconds: float = 0.0
    stall_every_seconds: float = 5.0
    jitter_seconds: float = 0.0
    corrupt: float = 0.0

    def __post_init__(self) -> None:
        width, height = self.size_wh
        stall = f"{self.stall_seconds:g}/{self.stall_every_seconds:g}"
        limits: tuple[tuple[str, bool, str, object], ...] = (
            ("seed", self.seed >= 0, "be at least 0", self.seed),
            ("seconds", self.seconds > 0, "be more than 0", self.seconds),
            ("seconds", self.seconds <= 1e9 or self.seconds == math.inf, "be at most 1e9, or inf", self.seconds),
            ("fps", 0 < self.fps <= 1000, "lie within 0 and 1000", self.fps),
            ("size", min(width, height) >= 32 and max(width, height) <= 7680, "lie within 32 and 7680 each way",
             f"{width}x{height}"),
            ("density", 0 <= self.density <= 3, "lie within 0 and 3", self.density),
            ("corrupt", 0 <= self.corrupt <= 1, "lie within 0 and 1", self.corrupt),
            ("jitter", 0 <= self.jitter_seconds < math.inf, "be at least 0 seconds", self.jitter_seconds),
            ("stall", 0 <= self.stall_seconds < self.stall_every_seconds < math.inf, "be less than its period", stall),
            ("jitter", not self.jitter_seconds > _LONGEST_WAIT_SECONDS, "be at most an hour", self.jitter_seconds),
            ("stall", not self.stall_seconds > _LONGEST_WAIT_SECONDS, "last at most an hour", stall),
            ("jitter", self.realtime or not self.jitter_seconds, "come with realtime=1", self.jitter_seconds),
            ("stall", self.realtime or not self.stall_seconds, "come with realtime=1", stall),
        )  # fmt: skip
        for name, holds, limit, value in limits:
            if not holds:
                raise ConfigError(f"{SCHEME}: {name} must {limit}, got {value}")

    @property
    def num_frames(self) -> int | None:
        return None if math.isinf(self.seconds) else max(1, round(self.seconds * self.fps))


class TrafficSource:
    """A drawn street, seen from a fixed camera; a FrameSource with ground truth.

    Any frame can be painted without those before it. clock: monotonic seconds.
    """

    def __init__(
        self,
        options: TrafficOptions | None = None,
        *,
        source_id: str = SCHEME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options or TrafficOptions()
        self._source_id = source_id
        self._clock = clock
        self._num_corrupted = 0
        street = Street(seed=self._options.seed, density=self._options.density, light=self._options.light)
        self._view = StreetView(street, size_wh=self._options.size_wh)

    @classmethod
    def from_spec(cls, spec: str, *, clock: Callable[[], float] = time.monotonic) -> TrafficSource:
        """The source that `sim:traffic?seed=1&seconds=20&fps=30&size=640x360` means. Raises ConfigError.

        Options: seed; seconds, or inf; fps; size=WIDTHxHEIGHT; density, 0 to 3; light=day, overcast or dusk;
        realtime=0 or 1, and with it jitter=SECONDS and stall=SECONDS/PERIOD; corrupt=SHARE of the frames.
        """
        return cls(parse_options(spec), source_id=spec, clock=clock)

    @property
    def source_id(self) -> str:
        return self._source_id

    @property
    def is_live(self) -> bool:
        return self._options.realtime

    @property
    def size_wh(self) -> tuple[int, int]:
        return self._options.size_wh

    @property
    def frames_per_second(self) -> float:
        return self._options.fps

    @property
    def num_frames(self) -> int | None:
        return self._options.num_frames

    @property
    def damage(self) -> tuple[str, ...]:
        number = self._num_corrupted
        reason = f"broken on request (corrupt={self._options.corrupt:g})"
        return (f"{number} frame{'s were' if number > 1 else ' was'} {reason}",) if number else ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the class ids in the truth."""
        return CLASS_NAMES

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        frame_index = 0
        start = math.nan
        while self.num_frames is None or frame_index < self.num_frames:
            # Painted before it is due, so that the work costs no punctuality.
            picture = ArrayPicture(self.paint(frame_index))
            if frame_index == 0:
                start = self._clock()  # a late first frame would make the rate read too high
            if stop.is_set() or (self.is_live and not self._wait(start + self._due_seconds(frame_index), stop)):
                return
            self._num_corrupted += self._is_corrupt(frame_index)
            yield TimedPicture(picture, self._pts_seconds(frame_index))
            frame_index += every

    def close(self) -> None: ...

    def paint(self, frame_index: int) -> PixelArray:
        """The frame of that index, uint8 [H, W, 3] BGR, a new array."""
        pixels = self._view.paint(self._pts_seconds(frame_index), noise_index=frame_index)
        if self._is_corrupt(frame_index):
            _break_bands(pixels, Random(f"bands {self._options.seed} {frame_index}"))
        return pixels

    def truth(self, frame_index: int) -> Detections:
        """The labelled objects of a frame: boxes round their visible pixels, clipped to the picture, with score 1.

        Objects that are too small, too hidden or too far outside are not labelled, but in `ignored`.
        """
        return self._view.visible(self._pts_seconds(frame_index))[0]

    def object_map(self, frame_index: int) -> npt.NDArray[np.uint16]:
        """Which object of the truth is in a pixel of a frame, [H, W]: 1 + its row in `truth`, 0 where none is."""
        return self._view.object_map(self._pts_seconds(frame_index))

    def ignored(self, frame_index: int) -> Detections:
        """The visible objects of a frame that are not in its truth; a detection of one is neither right nor wrong.

        The limits are LEAST_VISIBLE, LEAST_INSIDE, LEAST_LONG_SIDE and LEAST_SHORT_SIDE in `view`.
        """
        return self._view.visible(self._pts_seconds(frame_index))[1]

    def outlines(self, frame_index: int) -> Detections:
        """The objects of a frame, however hidden, with boxes of their complete outlines, clipped to the picture.

        Where an object stands, also when something passes in front of it; for what counts and measures speeds.
        """
        return self._view.outlines(self._pts_seconds(frame_index))

    def _pts_seconds(self, frame_index: int) -> float:
        return frame_index / self._options.fps

    def _due_seconds(self, frame_index: int) -> float:
        """When a frame arrives, in seconds from the start."""
        options = self._options
        late = Random(f"jitter {options.seed} {frame_index}").random() * options.jitter_seconds
        due = self._pts_seconds(frame_index) + late
        period = options.stall_every_seconds
        in_period = due % period
        return due + period - in_period if in_period > period - options.stall_seconds else due

    def _wait(self, due: float, stop: Stop) -> bool:
        """Wait until it is time; False if the run ends first."""
        while (rest := due - self._clock()) > 0:
            if stop.wait(min(rest, threading.TIMEOUT_MAX)):
                return False
        return True

    def _is_corrupt(self, frame_index: int) -> bool:
        return Random(f"corrupt {self._options.seed} {frame_index}").random() < self._options.corrupt


def parse_options(spec: str) -> TrafficOptions:
    """`sim:traffic?name=value&…` → options. Raises ConfigError with the wrong option and the nearest right one."""
    scene, _, query = spec.partition("?")
    if scene != SCHEME:
        raise ConfigError(f"{spec}: the one drawn scene is {SCHEME}, got {scene}; did you mean {SCHEME}?")
    values: dict[str, object] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _READERS:
            nearest = difflib.get_close_matches(name, _READERS, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(_READERS)}"
            raise ConfigError(f"{spec}: there is no option {name!r}; {hint}")
        read, shape = _READERS[name]
        try:
            values |= read(text)
        except (ValueError, OverflowError) as error:
            nearest = difflib.get_close_matches(text, get_args(LightName), n=1) if name == "light" else []
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise ConfigError(f"{spec}: {name} must be {shape}, got {text!r}{hint}") from error
    return TrafficOptions(**values)  # type: ignore[arg-type]


def _number(name: str) -> Callable[[str], Mapping[str, object]]:
    def read(text: str) -> Mapping[str, object]:
        value = float(text)
        if math.isnan(value):
            raise ValueError(text)
        return {name: value}

    return read


def _seed(text: str) -> Mapping[str, object]:
    return {"seed": int(text)}


def _size(text: str) -> Mapping[str, object]:
    match = re.fullmatch(r"(\d+)[x×*](\d+)", text)
    if not match:
        raise ValueError(text)
    return {"size_wh": (int(match[1]), int(match[2]))}


def _switch(text: str) -> Mapping[str, object]:
    return {"realtime": bool(("0", "1").index(text))}


def _light(text: str) -> Mapping[str, object]:
    if text not in get_args(LightName):
        raise ValueError(text)
    return {"light": text}


def _stall(text: str) -> Mapping[str, object]:
    length, _, period = text.partition("/")
    return {"stall_seconds": float(length)} | ({"stall_every_seconds": float(period)} if period else {})


_READERS: dict[str, tuple[Callable[[str], Mapping[str, object]], str]] = {
    "seed": (_seed, "a whole number"),
    "seconds": (_number("seconds"), "a number of seconds, or inf"),
    "fps": (_number("fps"), "a number of frames per second"),
    "size": (_size, "WIDTHxHEIGHT in pixels, such as 640x360"),
    "density": (_number("density"), "a number, such as 1"),
    "light": (_light, "day, overcast or dusk"),
    "realtime": (_switch, "0 or 1"),
    "stall": (_stall, "SECONDS or SECONDS/PERIOD, such as 0.8/5"),
    "jitter": (_number("jitter_seconds"), "a number of seconds"),
    "corrupt": (_number("corrupt"), "a share of the frames, such as 0.02"),
}


def _break_bands(pixels: PixelArray, chance: Random) -> None:
    """Break a picture, in place, like a lost packet: bands of blocks become grey, shifted or smeared down."""
    height, width = pixels.shape[:2]
    block = max(8, height // 22)
    for _ in range(chance.randint(2, 3)):
        top = chance.randrange(0, max(1, height - 2 * block))
        start = chance.randrange(0, width // 2)
        band = pixels[top : top + chance.randint(2, 4) * block, start:]
        kind = chance.choice(("grey", "shifted", "smeared"))
        if kind == "grey":
            band[:] = (128, 128 + chance.choice((0, 60)), 128)
        elif kind == "shifted":
            band[:] = np.roll(band, chance.randint(2, 6) * block, axis=1)[..., ::-1]
        else:
            band[:] = band[:1]
