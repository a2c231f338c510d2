"""Truth tally: results and the truth of their source → objects there, found and falsely reported, by class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from pipeline.picture.boxes import intersection_over_union, match_greedily, turns
from pipeline.picture.detections import Result
from pipeline.sources.source import HasGroundTruth


@dataclass(frozen=True, slots=True)
class ClassTally:
    """Objects of one class over all frames: truly there, found at IoU >= 0.5, and reported where nothing is."""

    name: str
    num_there: int
    num_found: int
    num_false: int


class TruthTally:
    """A sink that compares every `every`th result with the truth of its source.

    Where the truth is drawn on the way, it costs more than detection: with that of every frame, the run would wait for
    its own examination.
    """

    def __init__(self, source: HasGroundTruth, *, every: int = 5) -> None:
        self._source = source
        self._every = every
        self.num_frames = 0
        self._class_names = source.class_names
        self._there: Counter[str] = Counter()
        self._found: Counter[str] = Counter()
        self._false: Counter[str] = Counter()

    def write(self, item: Result) -> None:
        if item.frame.index % self._every:
            return
        self.num_frames += 1
        truth = self._source.truth(item.frame.index)
        there = np.array([self._class_names[class_id] for class_id in truth.class_ids], dtype=str)  # [M]
        names = np.array([item.class_name(int(class_id)) for class_id in item.detections.class_ids], dtype=str)  # [N]
        boxes = item.detections.boxes_xyxy
        iou = intersection_over_union(boxes, truth.boxes_xyxy)  # [N, M]
        iou[names[:, None] != there[None, :]] = 0.0
        ignored = intersection_over_union(boxes, self._source.ignored(item.frame.index).boxes_xyxy)  # [N, L]
        is_false = ~np.any(ignored >= 0.5, axis=1)  # [N]
        matched, _ = match_greedily(iou, at_least=0.5, by=(turns(item.detections.scores), iou))
        is_false[matched] = False
        self._there.update(there.tolist())
        self._found.update(names[matched].tolist())
        self._false.update(names[is_false].tolist())

    def close(self) -> None: ...

    def tally(self) -> tuple[ClassTally, ...]:
        """The counts of each class that was there or was reported."""
        names = [name for name in self._class_names if self._there[name] or self._false[name]]
        names += sorted(set(self._false) - set(self._class_names))
        return tuple(ClassTally(name, self._there[name], self._found[name], self._false[name]) for name in names)
