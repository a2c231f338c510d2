"""How much of what is truly there did a detector find?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.picture.detections import Detections, Result
from pipeline.picture.suppression import intersection_over_union


@dataclass(frozen=True, slots=True)
class ClassTally:
    """Objects of one class over all frames: truly there, found at IoU >= 0.5, and reported where nothing is."""

    name: str
    there: int
    found: int
    false: int


class TruthTally:
    """A sink that compares each result with the truth.

    truth: the objects of a frame by its index, in source pixels, class ids into `class_names`.
    """

    def __init__(self, truth: Callable[[int], Detections], class_names: tuple[str, ...]) -> None:
        self._truth = truth
        self._class_names = class_names
        self._there: Counter[str] = Counter()
        self._found: Counter[str] = Counter()
        self._false: Counter[str] = Counter()

    def write(self, item: Result) -> None:
        truth = self._truth(item.frame.index)
        there = np.array([self._class_names[class_id] for class_id in truth.class_ids], dtype=str)  # [M]
        said = np.array([item.class_name(int(class_id)) for class_id in item.detections.class_ids], dtype=str)  # [N]
        iou = intersection_over_union(item.detections.boxes_xyxy, truth.boxes_xyxy)  # [N, M]
        iou = np.where(said[:, None] == there[None, :], iou, 0.0).astype(np.float32)
        self._there.update(there.tolist())
        for index in np.argsort(-item.detections.scores, kind="stable"):  # the surest chooses first
            best = int(iou[index].argmax()) if len(truth) else 0
            if len(truth) and iou[index, best] >= 0.5:
                self._found[str(said[index])] += 1
                iou[:, best] = 0.0  # each object is found once
            else:
                self._false[str(said[index])] += 1

    def close(self) -> None: ...

    def tally(self) -> tuple[ClassTally, ...]:
        """The counts of each class that was there or was reported."""
        names = [name for name in self._class_names if self._there[name] or self._false[name]]
        names += sorted(set(self._false) - set(self._class_names))
        return tuple(ClassTally(name, self._there[name], self._found[name], self._false[name]) for name in names)
