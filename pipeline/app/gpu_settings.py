"""GPU settings: a detector on this GPU → batch, CUDA graph, layout and inferences at once, found by a short trial.

Each candidate runs for a moment as it would in a run, on blank frames, in a flow of its own; what was found is
remembered by file, GPU, versions and kind of run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypedDict, TypeVar

import numpy as np

from pipeline.detector.engine import OrtEngine
from pipeline.errors import DeviceError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.flow.stage import Stop
from pipeline.picture.frame import Frame
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.nv12 import Nv12
from pipeline.remembered import recall, remember
from pipeline.stages.detect import Detect
from pipeline.stages.detect_planes import DetectPlanes
from pipeline.stages.preprocess import NetworkInput

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_BATCH = 16
_SECONDS = 0.3  # a candidate
_GAIN = 1.05  # what costs memory, start-up or latency must bring so much
_MOST_INFLIGHT = 3
_ALMOST = 0.9  # of the highest rate, for which half the batch is taken, because a frame then waits half as long


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """How a network is run on a GPU; the fields are those of the configuration's `engine` section."""

    batch: int = 1
    cuda_graph: bool = False
    channels_last: bool = False
    inflight: int = 2


class FixedSettings(TypedDict, total=False):
    """The GPU settings that the user has set, which are not tried."""

    batch: int
    cuda_graph: bool
    channels_last: bool
    inflight: int


Open = Callable[[GpuSettings], OrtEngine]
Rate = Callable[[OrtEngine, GpuSettings], float]
"""Frames a second of an engine with these settings."""


def best_settings(
    open_engine: Open, *, fixed: FixedSettings, most_batch: int, rate: Rate, key: tuple[object, ...]
) -> tuple[GpuSettings, str]:
    """The settings with which frames go through fastest, and why.

    Runs are recorded as CUDA graphs wherever that is possible, because starting one then costs next to nothing.

    fixed: settings that are not tried, because somebody has said them. key: what decides about it beside them.
    """
    types = {name: type(value) for name, value in asdict(GpuSettings()).items()}
    memory = recall("gpu", *key, sorted(fixed.items()), most_batch, fields={**types, "reason": str})
    if memory is not None:
        return GpuSettings(**{name: memory[name] for name in types}), f"{memory['reason']}, as found before"
    logger.info(
        "which batch, layout and number of inferences at once are best is tried on this GPU, once for this model"
    )
    trial = _Trial(open_engine, rate)
    best = replace(GpuSettings(batch=most_batch, cuda_graph=True), **fixed)
    if "cuda_graph" not in fixed and not trial.rate(best):  # it cannot be recorded
        best = replace(best, cuda_graph=False)
    if "channels_last" not in fixed:
        best = trial.better(replace(best, channels_last=True), best)
    if "batch" not in fixed:
        best = trial.with_smallest_batch(best)
    if "inflight" not in fixed:
        best = trial.better(replace(best, inflight=1), best, least_gain=1 / _GAIN)
        best = trial.better(replace(best, inflight=_MOST_INFLIGHT), best)
    trial.close()
    reason = f"{_words(best)}: {trial.rate(best):.0f} frames/s of blank frames"
    remember("gpu", {**asdict(best), "reason": reason}, *key, sorted(fixed.items()), most_batch)
    return best, reason


def blank_rate(engine: OrtEngine, settings: GpuSettings, *, frame_wh: tuple[int, int], on_device: bool) -> float:
    """Frames a second through detection alone, on blank frames that are already decoded, or prepared.

    on_device: whether a network that takes planes finds them there, as the GPU's decoder leaves them.
    """
    batch, workers = settings.batch, settings.inflight
    options: dict[str, Any] = {"name": "detect", "max_batch": batch, "workers": workers, "turns": engine.turns}
    options["capacity"] = 2 * batch * workers
    stop_after = _Until(_SECONDS)
    if engine.spec.pixels == "nv12":
        picture: Any = _BlankPicture(engine.blank_planes(frame_wh, on_device=on_device))
        frame = Frame(picture, "blank", 0, 0.0, 0.0)
        flow = Flow.from_sources(_Blanks(frame, stop_after)).then_batched(_KeptDetectPlanes(engine), **options)
    else:
        letterbox = Letterbox.fit(engine.spec.network_wh, engine.spec.network_wh, engine.spec.resize)
        frame = Frame.from_pixels(np.zeros((1, 1, 3), np.uint8))
        prepared = NetworkInput(frame, letterbox, engine.blank_input()[:1], lambda: None)
        flow = Flow.from_sources(_Blanks(prepared, stop_after)).then_batched(_KeptDetect(engine), **options)
    began = time.monotonic()
    with Running(flow) as running:
        running.wait()
    return running.statistics().frames.delivered / (time.monotonic() - began)


class _Trial:
    """Rates of settings, each measured once; 0 for those that this network cannot have."""

    def __init__(self, open_engine: Open, rate: Rate) -> None:
        self._open, self._rate = open_engine, rate
        self._rates: dict[GpuSettings, float] = {}
        self._opened: tuple[GpuSettings, OrtEngine] | None = None  # which serves any number of inferences at once

    def rate(self, settings: GpuSettings) -> float:
        if settings not in self._rates:
            try:
                engine = self._engine(replace(settings, inflight=1))
            except DeviceError:
                return self._rates.setdefault(settings, 0.0)
            self._rates[settings] = self._rate(engine, settings)
        return self._rates[settings]

    def _engine(self, settings: GpuSettings) -> OrtEngine:
        if self._opened is None or self._opened[0] != settings:
            self.close()
            self._opened = settings, self._open(settings)
        return self._opened[1]

    def close(self) -> None:
        """Close the engine that is open."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def better(self, other: GpuSettings, best: GpuSettings, *, least_gain: float = _GAIN) -> GpuSettings:
        """The other settings where their rate is higher by that factor, else the best until now."""
        return other if self.rate(other) > least_gain * self.rate(best) else best

    def with_smallest_batch(self, best: GpuSettings) -> GpuSettings:
        """The same with half the batch, and half of that, as long as that keeps almost the rate."""
        while best.batch > 1:
            half = replace(best, batch=best.batch // 2)
            if self.rate(half) < _ALMOST * self.rate(best):
                break
            best = half
        return best


class _KeptDetectPlanes(DetectPlanes):
    def close(self) -> None:
        """Whoever opened the engine may go on with it."""


class _KeptDetect(Detect):
    def close(self) -> None:
        """As `_KeptDetectPlanes.close`."""


class _Until:
    """Says when some time has passed since it was first asked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None

    def is_over(self) -> bool:
        if self._end is None:
            self._end = time.monotonic() + self._seconds
        return time.monotonic() >= self._end


class _Blanks(Generic[T]):
    """A recorded source of the same item, over and over."""

    source_id = "blank"
    is_live = False

    def __init__(self, item: T, until: _Until) -> None:
        self._item, self._until = item, until

    def items(self, stop: Stop) -> Iterator[T]:
        while not stop.is_set() and not self._until.is_over():
            yield self._item

    def close(self) -> None:
        """Nothing is held."""


class _BlankPicture:
    """A picture of which there are only planes."""

    def __init__(self, planes: Nv12) -> None:
        self._planes = planes
        self.size_wh = planes.size_wh

    def nv12(self) -> Nv12:
        return self._planes


def _words(settings: GpuSettings) -> str:
    words = [f"batch {settings.batch}", f"{settings.inflight} at once"]
    words += ["CUDA graph"] * settings.cuda_graph + ["channels last"] * settings.channels_last
    return ", ".join(words)
