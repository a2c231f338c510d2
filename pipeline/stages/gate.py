"""Gate stages: frames → those that a network looks at, and those that carry on the objects of the last that it did.

`Gate` stands before preprocessing and `Carry` around NMS, each a stage of one source. What stands between them never
sees a frame that is carried: it goes past (`past` of `Flow.then`), in its order. `Gating` has what both halves of a
source share, because they run in different threads: what `Carry` learns of a frame, `Gate` hears a fixed number of
frames later, by when it is known however the threads ran, so that a file gives the same results in every run.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.flow.stage import Stage
from pipeline.picture.boxes import FloatArray, intersection_over_union
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.picture.gate.carrying import carried_on, merged
from pipeline.picture.gate.gate import Gate as FrameGate
from pipeline.picture.gate.gate import GateOptions, Look, Reason
from pipeline.picture.gate.load import Step
from pipeline.picture.gate.luma import luma_cells
from pipeline.picture.gate.misses import MissRate
from pipeline.picture.gate.packing import Packer, Packing
from pipeline.picture.letterbox import Letterbox, ResizeMode
from pipeline.picture.suppression import SuppressionOptions

_SAME_IOU = 0.5
_SURE_MARGIN = 0.15  # above the threshold: what scores less comes and goes by itself
_MOST_IN_VAIN = 8  # after as many frames that could not be packed, one in that many is tried: to try takes long
_FIRST_LOOK = Look("start")


@dataclass(frozen=True, slots=True)
class GatedFrame(Frame):
    """A frame that a network is to look at.

    number: of the source's frames, from 0 on. num_looks: of the frames up to this one that were to be looked at.
    packing: of the parts that are looked at; None: all of it is.
    """

    look: Look = _FIRST_LOOK
    number: int = 0
    num_looks: int = 0
    packing: Packing | None = None


@dataclass(frozen=True, slots=True)
class CarriedFrame:
    """A frame that no network looks at."""

    frame: GatedFrame


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """What came of the frames of one source, or of several."""

    num_looks: Mapping[Reason, int] = field(default_factory=dict)  # frames that a network looked at, by why
    num_carried: int = 0
    num_packed: int = 0  # of the frames that a network looked at, those of which it saw parts alone
    misses: MissRate = field(default_factory=MissRate)  # in frames that were looked at although nothing had changed
    num_open: int = 0  # of the sources, those of which every frame is looked at because too much was missed
    every: int | None = None  # of live frames that change, every nth is looked at now; None: no load chooses n
    steps: tuple[Step, ...] = ()  # of that, the last ones
    num_undecoded: int = 0  # that the source left out because nothing changed

    @property
    def num_inferred(self) -> int:
        """Frames that a network looked at."""
        return sum(self.num_looks.values())

    @property
    def duty(self) -> float | None:
        """The share of frames that a network looked at; None before the first."""
        num = self.num_inferred + self.num_carried + self.num_undecoded
        return self.num_inferred / num if num else None

    def __add__(self, other: GateStatistics) -> GateStatistics:
        num_checked = self.misses.num_checked + other.misses.num_checked
        num_missed = self.misses.num_missed + other.misses.num_missed
        return GateStatistics(
            dict(Counter(self.num_looks) + Counter(other.num_looks)),
            self.num_carried + other.num_carried,
            self.num_packed + other.num_packed,
            MissRate(num_checked, num_missed),
            self.num_open + other.num_open,
            max((every for every in (self.every, other.every) if every is not None), default=None),
            tuple(sorted({*self.steps, *other.steps})),  # sources of one model have them in common
            self.num_undecoded + other.num_undecoded,
        )


class Gating:
    """The two halves of the gate of each source.

    shown: the least scores of a source's detections that count. packer: packs what has changed for the network, which
    resizes frames in that mode; None: it looks at whole frames. lag: frames after which `Gate` hears of a result; more
    than there can be on the way between the two halves of a recorded source.
    """

    def __init__(
        self,
        options: GateOptions,
        shown: Callable[[str], SuppressionOptions],
        *,
        packer: Packer | None = None,
        resize: ResizeMode = "letterbox-center",
        lag: int = 0,
    ) -> None:
        self._options = replace(options, has_parts=packer is not None)
        self.shown, self._packer, self._resize, self._lag = shown, packer, resize, lag
        self._lock = threading.Lock()
        self._links: dict[str, Link] = {}

    def gate_of(self, source_id: str) -> Gate:
        """The first half of a source's gate."""
        seed = sum(source_id.encode(errors="replace"))
        return Gate(
            self.options_of(source_id), self.link_of(source_id), seed=seed, packer=self._packer, resize=self._resize
        )

    def options_of(self, source_id: str) -> GateOptions:
        """What is left out of the frames of a source."""
        return self._options

    def carry_of(self, source_id: str, nms: Stage[Any, Result], class_names: tuple[str, ...]) -> Stage[Any, Result]:
        """The second half, with NMS in it."""
        return Carry(nms, class_names, self.link_of(source_id), lambda: self.shown(source_id))

    def statistics(self) -> dict[str, GateStatistics]:
        """A snapshot, by source; may be called from any thread."""
        with self._lock:
            links = dict(self._links)
        return {source_id: link.statistics() for source_id, link in links.items()}

    def link_of(self, source_id: str) -> Link:
        """What the two halves of the gate of a source share."""
        with self._lock:
            return self._links.setdefault(source_id, Link(self._lag))


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a frame that a network looked at."""

    number: int
    boxes_xyxy: FloatArray  # [N, 4]
    size_wh: tuple[int, int]
    pts_seconds: float
    has_missed: bool | None  # an object that would have been missing; None: nobody can say
    surprise: float | None = None  # how far it was from what had been expected, [0, 1]; None: nobody can say


class Link:
    """What the two halves of a source's gate tell each other, and what is counted."""

    def __init__(self, lag: int) -> None:
        self._lag = lag
        self._lock = threading.Lock()
        self._seen: deque[Seen] = deque()
        self._is_lost = False
        self._num_looks: Counter[Reason] = Counter()
        self._num_carried = self._num_packed = 0
        self._misses, self._is_open = MissRate(), False

    def seen_before(self, number: int) -> list[Seen]:
        """What came of the frames that are far enough before this one, once each, in order."""
        with self._lock:
            ripe = [seen for seen in self._seen if seen.number <= number - self._lag]
            for _ in ripe:
                self._seen.popleft()
        return ripe

    def was_lost(self) -> bool:
        """Whether a frame that was to be looked at has not come through since the last call."""
        with self._lock:
            was_lost, self._is_lost = self._is_lost, False
            return was_lost

    def tell_check(self, *, has_missed: bool) -> None:
        """Count a frame that was looked at although nothing had changed."""
        with self._lock:
            self._misses = self._misses.with_check(has_missed=has_missed)

    def tell_open(self, *, is_open: bool) -> None:
        """Keep whether every frame is looked at now."""
        with self._lock:
            self._is_open = is_open

    def tell_seen(self, seen: Seen, frame: GatedFrame) -> None:
        with self._lock:
            self._seen.append(seen)
            self._num_looks[frame.look.reason] += 1
            self._num_packed += frame.packing is not None

    def tell_carried(self, *, is_lost: bool) -> None:
        with self._lock:
            self._num_carried += 1
            self._is_lost |= is_lost

    def statistics(self) -> GateStatistics:
        with self._lock:
            return GateStatistics(
                dict(self._num_looks), self._num_carried, self._num_packed, self._misses, int(self._is_open)
            )


class Gate:
    """Lets the frames of one source through to the network that it must look at, and others go past it."""

    def __init__(
        self, options: GateOptions, link: Link, *, seed: int, packer: Packer | None, resize: ResizeMode
    ) -> None:
        self._options, self._link, self._seed, self._packer, self._resize = options, link, seed, packer, resize
        self._objects = np.zeros((0, 4), np.float32)  # boxes [N, 4] of the last frame that is known
        self._num_in_vain = 0  # frames in a row whose parts were too large to be packed
        self._gate = FrameGate(options, seed=seed)
        self._kind: tuple[str, tuple[int, int]] | None = None  # of the frames that it compares
        self._pts_seconds = -np.inf
        self._number = self._num_looks = 0
        self._first_number = 0  # of the frames that it compares

    def process(self, frame: Frame) -> Iterable[GatedFrame | CarriedFrame]:
        """One frame, with what is to be done with it."""
        self._begin_anew_where_needed(frame)
        for seen in self._link.seen_before(self._number):
            if seen.has_missed is not None:
                self._link.tell_check(has_missed=seen.has_missed)
            if seen.number >= self._first_number:
                self._learn(seen)
        if self._link.was_lost():
            self._gate.lose()
        look, packing = self._decided(frame)
        self._num_looks += look.is_needed
        gated = GatedFrame(
            frame.picture,
            frame.source_id,
            frame.index,
            frame.pts_seconds,
            frame.captured_at_seconds,
            frame.image,
            look,
            self._number,
            self._num_looks,
            packing,
        )
        self._number += 1
        return (gated if look.is_needed else CarriedFrame(gated),)

    def drain(self) -> Iterable[GatedFrame | CarriedFrame]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _learn(self, seen: Seen) -> None:
        """Take to the gate what came of a frame since it began anew."""
        self._gate.keep_awake(seen.boxes_xyxy, seen.size_wh, seen.pts_seconds)
        self._objects = seen.boxes_xyxy
        if seen.surprise is not None:
            self._gate.weigh(seen.surprise)
        if seen.has_missed is not None:
            self._gate.check(has_missed=seen.has_missed)
            self._link.tell_open(is_open=self._gate.is_open)

    def _decided(self, frame: Frame) -> tuple[Look, Packing | None]:
        """What is to be done, and what of the frame is looked at, where that is not all of it."""
        if frame.image is not None:
            return Look("image"), None
        luma = luma_cells(frame.picture)
        look = self._gate.decide(luma, frame.pts_seconds)
        if look.cells is None or self._packer is None:
            return look, None
        packing = None
        if self._num_in_vain < _MOST_IN_VAIN or self._num_in_vain % _MOST_IN_VAIN == 0:
            letterbox = Letterbox.fit(frame.size_wh, self._packer.network_wh, self._resize)
            packing = self._packer.pack(look.cells, letterbox, self._objects)
        self._num_in_vain = self._num_in_vain + 1 if packing is None else 0
        if packing is None:
            self._gate.look_at_all(luma)
        return look, packing

    def _begin_anew_where_needed(self, frame: Frame) -> None:
        """Compare nothing with what is of another file or size, or of a later time, as where a file begins anew."""
        kind = frame.source_id, frame.size_wh
        if kind != self._kind or frame.pts_seconds < self._pts_seconds:
            self._gate = FrameGate(self._options, seed=self._seed)
            self._objects = np.zeros((0, 4), np.float32)
            self._first_number, self._num_in_vain = self._number, 0
            self._link.tell_open(is_open=False)
        self._kind, self._pts_seconds = kind, frame.pts_seconds


class Carry:
    """Suppresses what a network proposes in the frames of one source, and carries its objects on to the others."""

    def __init__(
        self,
        nms: Stage[Any, Result],
        class_names: tuple[str, ...],
        link: Link,
        shown: Callable[[], SuppressionOptions],
    ) -> None:
        self._nms, self._class_names, self._link, self._shown = nms, class_names, link, shown
        self._last: Result | None = None  # that a network looked at
        self._num_looks = 0  # up to that

    def process(self, item: Any) -> Iterable[Result]:
        """One Result. Raises what NMS raises."""
        if isinstance(item, CarriedFrame):
            return (self._carried(item.frame),)
        (result,) = self._nms.process(item)
        frame = result.frame
        assert isinstance(frame, GatedFrame)
        if frame.packing is not None:
            before, regions = self._last_in(frame), frame.packing.regions_xyxy
            result = replace(result, detections=merged(result.detections, before, regions, frame.size_wh))
        detections = result.detections
        shown = detections.select(detections.scores >= self._shown().thresholds_of(detections.class_ids))
        seen = Seen(frame.number, shown.boxes_xyxy, frame.size_wh, frame.pts_seconds, self._has_missed(result))
        self._link.tell_seen(seen, frame)
        self._last, self._num_looks = result, frame.num_looks
        return (result,)

    def drain(self) -> Iterable[Result]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Close NMS."""
        self._nms.close()

    def _carried(self, frame: GatedFrame) -> Result:
        self._link.tell_carried(is_lost=frame.num_looks != self._num_looks)
        return Result(frame, carried_on(self._last_in(frame)), self._class_names, is_carried=True)

    def _last_in(self, frame: Frame) -> Detections:
        """The last detections, where they are of the same file and size."""
        last = self._last
        if last is None or (last.frame.source_id, last.frame.size_wh) != (frame.source_id, frame.size_wh):
            return Detections.empty()
        return last.detections

    def _has_missed(self, result: Result) -> bool | None:
        """Whether a frame that was looked at to check has an object that would have been missing."""
        frame = result.frame
        assert isinstance(frame, GatedFrame)
        if not frame.look.is_check or frame.num_looks != self._num_looks + 1:
            return None
        return bool(missed(result.detections, self._last_in(frame), self._shown()).any())


def missed(detections: Detections, carried: Detections, shown: SuppressionOptions) -> npt.NDArray[np.bool_]:
    """Which detections [N] are surely there and would be missing if others were shown in their place.

    Surely: with more than the least score that is shown. An object is there that overlaps one of its class by IoU .5.
    """
    is_sure = detections.scores >= np.minimum(shown.thresholds_of(detections.class_ids) + _SURE_MARGIN, 0.9)  # [N]
    overlap = intersection_over_union(detections.boxes_xyxy, carried.boxes_xyxy)  # [N, M]
    same_class = detections.class_ids[:, None] == carried.class_ids[None]  # [N, M]
    is_there = ((overlap >= _SAME_IOU) & same_class).any(axis=1)  # [N]
    return np.asarray(is_sure & ~is_there, np.bool_)
