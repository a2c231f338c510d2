"""Between stage: the frames of a source that a network looked at, and others → all, with the objects of the others.

Where something moves the network looks at every Nth frame alone. The objects of a recorded source are interpolated: a
frame waits until the network has looked at a later one. Those of a live source, which must not wait, are predicted with
constant velocity; of them every how many are looked at may follow the load.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.flow.stage import Stage
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections, Result
from pipeline.picture.gate.carrying import merged
from pipeline.picture.gate.gate import GateOptions
from pipeline.picture.gate.interpolation import Moment, Span
from pipeline.picture.gate.load import Load
from pipeline.picture.gate.pacing import MOST_HELD
from pipeline.picture.gate.packing import Packer
from pipeline.picture.letterbox import ResizeMode
from pipeline.picture.suppression import SuppressionOptions
from pipeline.stages.gate import CarriedFrame, GatedFrame, GateStatistics, Gating, Link, Seen, missed


class GatingBetween(Gating):
    """The two halves of the gate of each source, of whose moving objects a network looks at every Nth frame.

    shown, packer, resize, lag: as in `Gating`; the frames that wait are added to `lag`. recorded: the sources whose
    frames may wait; one may be added as long as none of its frames has come. load: chooses every how many frames of
    live sources are looked at; None: as the options say.
    """

    def __init__(
        self,
        options: GateOptions,
        shown: Callable[[str], SuppressionOptions],
        *,
        recorded: Collection[str],
        lag: int,
        packer: Packer | None = None,
        resize: ResizeMode = "letterbox-center",
        load: Load | None = None,
    ) -> None:
        super().__init__(options, shown, packer=packer, resize=resize, lag=lag + MOST_HELD + 1)
        self._recorded = set(recorded)
        self._load = load

    def add_recorded(self, source_id: str) -> None:
        """Let the frames of a source wait for later ones."""
        self._recorded.add(source_id)

    def carry_of(self, source_id: str, nms: Stage[Any, Result], class_names: tuple[str, ...]) -> Between:
        """The second half, with NMS in it. It holds items."""
        looks_ahead, load = source_id in self._recorded, self._load_of(source_id)
        return Between(nms, class_names, self.link_of(source_id), lambda: self.shown(source_id), looks_ahead, load=load)

    def statistics(self) -> dict[str, GateStatistics]:
        """See `Gating`; with the steps that the load made it take."""
        gates = super().statistics()
        for source_id, gate in gates.items():
            load = self._load_of(source_id)
            if load is not None:
                gates[source_id] = replace(gate, every=load.every, steps=load.steps)
        return gates

    def options_of(self, source_id: str) -> GateOptions:
        """See `Gating`."""
        return replace(super().options_of(source_id), load=self._load_of(source_id))

    def _load_of(self, source_id: str) -> Load | None:
        return None if source_id in self._recorded else self._load


class Between:
    """Suppresses what a network proposes in the frames of one source, and says where its objects are in the others.

    Every item comes back once, in order; with `looks_ahead`, after later ones have come.
    """

    def __init__(
        self,
        nms: Stage[Any, Result],
        class_names: tuple[str, ...],
        link: Link,
        shown: Callable[[], SuppressionOptions],
        looks_ahead: bool,
        *,
        load: Load | None = None,
    ) -> None:
        self._nms, self._class_names, self._link, self._shown = nms, class_names, link, shown
        self._looks_ahead = looks_ahead
        self._load = load
        self._held: deque[GatedFrame] = deque()
        self._last: GatedFrame | None = None  # that has come, whether the network looked at it or not
        self._now: Moment | None = None  # of the last frame whose objects are known; None: of this file there is none
        self._planned: Moment | None = None  # the same without the checks of frames whose turn had not come
        self._checks: deque[tuple[GatedFrame, Detections]] = deque()  # of such frames, which wait for a later one
        self._num_looks = 0  # up to the last frame that the network looked at

    def process(self, item: Any) -> Iterable[Result]:
        """The results that are ready. Raises what NMS raises."""
        if isinstance(item, CarriedFrame):
            return [*self._begun_anew(item.frame), *self._left_out(item.frame)]
        (result,) = self._nms.process(item)
        frame = result.frame
        assert isinstance(frame, GatedFrame)
        return [*self._begun_anew(frame), *self._looked_at(frame, result)]

    def drain(self) -> Iterable[Result]:
        """The frames that wait, whose objects are predicted."""
        ready = self._released(None)
        self._settle_checks(None)
        return ready

    def close(self) -> None:
        """Close NMS."""
        self._nms.close()

    def _begun_anew(self, frame: GatedFrame) -> list[Result]:
        """What waits, where a frame is of another file or size, or of an earlier time; nothing of it goes on."""
        last, self._last = self._last, frame
        is_same = last is not None and (last.source_id, last.size_wh) == (frame.source_id, frame.size_wh)
        if last is None or (is_same and frame.pts_seconds >= last.pts_seconds):
            return []
        ready = self._released(None)
        self._settle_checks(None)
        self._now = self._planned = None
        return ready

    def _left_out(self, frame: GatedFrame) -> list[Result]:
        """A frame that the network did not look at, or those that had waited for it."""
        self._link.tell_carried(is_lost=frame.num_looks != self._num_looks)
        now = self._now
        if frame.look.reason == "nothing" and now is not None:  # all is as it was in the last frame that was looked at
            self._now = Moment.at_rest(now.detections, frame.pts_seconds)
            ready = self._released(self._now, now)
            self._settle_checks(None)
            self._planned = self._now
            return [*ready, self._result(frame, self._now.predicted(frame.pts_seconds, frame.size_wh))]
        self._held.append(frame)
        if not self._looks_ahead:
            return self._released(None)
        if len(self._held) <= MOST_HELD:
            return []
        self._settle_checks(None)
        return self._released(None)

    def _looked_at(self, frame: GatedFrame, result: Result) -> list[Result]:
        """A frame that the network looked at, behind those that had waited for it."""
        before, look = self._now, frame.look
        if frame.packing is not None:  # what is outside of the parts is as it was, where it was
            old = Detections.empty() if before is None else before.detections
            own = merged(result.detections, old, frame.packing.regions_xyxy, frame.size_wh)
            result = replace(result, detections=own)
        detections = result.detections
        seconds = frame.pts_seconds
        now = Moment.at_rest(detections, seconds) if before is None else before.followed_by(detections, seconds)
        is_cut = look.reason == "light"  # nothing before it is to be seen in it
        ready = self._released(None if is_cut else now)
        is_known = frame.num_looks == self._num_looks + 1  # none was lost since
        if self._load is not None:
            self._load.observe(frame.captured_at_seconds, num_lost=frame.num_looks - self._num_looks - 1)
        self._now, self._num_looks = now, frame.num_looks
        if look.is_early and self._looks_ahead and is_known:
            self._checks.append((frame, detections))
            return [*ready, result]
        self._settle_checks(now if is_known and not is_cut else None)
        expected = self._expected(before, frame)
        has_missed = bool(missed(detections, expected, self._shown()).any()) if look.is_check and is_known else None
        self._tell(frame, detections, has_missed, _surprise(detections, expected))
        self._planned = self._planned if look.is_early else now
        return [*ready, result]

    def _expected(self, before: Moment | None, frame: GatedFrame) -> Detections:
        """What would be shown in a frame if the network had not looked at it, nor at a later one."""
        moment = self._planned if frame.look.is_early else before
        return Detections.empty() if moment is None else moment.predicted(frame.pts_seconds, frame.size_wh)

    def _released(self, after: Moment | None, before: Moment | None = None) -> list[Result]:
        """The frames that wait, with their objects between two frames, or, without the second one, as predicted."""
        before = before or self._now
        if before is None:
            ready = [self._result(frame, Detections.empty()) for frame in self._held]
        else:
            at = before.predicted if after is None else Span(before, after).at
            ready = [self._result(frame, at(frame.pts_seconds, frame.size_wh)) for frame in self._held]
        self._held.clear()
        return ready

    def _settle_checks(self, after: Moment | None) -> None:
        """Say what the checks that wait have missed, between what is planned; None: nobody can say."""
        if not self._checks:
            return
        span = None if after is None or self._planned is None else Span(self._planned, after)
        for frame, detections in self._checks:
            has_missed = None
            if span is not None:
                shown = span.at(frame.pts_seconds, frame.size_wh)
                has_missed = bool(missed(detections, shown, self._shown()).any())
            self._tell(frame, detections, has_missed, None)
        self._checks.clear()

    def _tell(self, frame: GatedFrame, detections: Detections, has_missed: bool | None, surprise: float | None) -> None:
        shown = detections.select(detections.scores >= self._shown().thresholds_of(detections.class_ids))
        boxes, seconds = shown.boxes_xyxy, frame.pts_seconds
        self._link.tell_seen(Seen(frame.number, boxes, frame.size_wh, seconds, has_missed, surprise), frame)

    def _result(self, frame: GatedFrame, detections: Detections) -> Result:
        return Result(frame, detections, self._class_names, is_carried=True)


def _surprise(detections: Detections, expected: Detections) -> float | None:
    """How far detections are from those that were expected: the mean of 1 − IoU; None without detections."""
    if not len(detections):
        return None
    overlap = np.nan_to_num(intersection_over_union(detections.boxes_xyxy, expected.boxes_xyxy))  # [N, M]
    return float(1 - overlap.max(axis=1, initial=0).mean())
