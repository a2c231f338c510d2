"""How much of what is truly there did a detector find?"""

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
    there: int
    found: int
    false: int


class TruthTally:
    """A sink that compares every so-manieth result with what its source knows to be there.

    To know it costs more than to detect; each frame's truth would make the run wait for its own examination.
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
        said = np.array([item.class_name(int(class_id)) for class_id in item.detections.class_ids], dtype=str)  # [N]
        boxes = item.detections.boxes_xyxy
        iou = intersection_over_union(boxes, truth.boxes_xyxy)  # [N, M]
        iou[said[:, None] != there[None, :]] = 0.0
        ignored = intersection_over_union(boxes, self._source.ignored(item.frame.index).boxes_xyxy)  # [N, L]
        is_false = ~np.any(ignored >= 0.5, axis=1)  # [N]
        matched, _ = match_greedily(iou, at_least=0.5, by=(turns(item.detections.scores), iou))
        is_false[matched] = False
        self._there.update(there.tolist())
        self._found.update(said[matched].tolist())
        self._false.update(said[is_false].tolist())

    def close(self) -> None: ...

    def tally(self) -> tuple[ClassTally, ...]:
        """The counts of each class that was there or was reported."""
        names = [name for name in self._class_names if self._there[name] or self._false[name]]
        names += sorted(set(self._false) - set(self._class_names))
        return tuple(ClassTally(name, self._there[name], self._found[name], self._false[name]) for name in names)
