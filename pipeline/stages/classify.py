"""Classify stage: the results of one source → the same with attributes, which a second model gave to crops of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from pipeline.picture.boxes import FloatArray
from pipeline.picture.crops import crops_of
from pipeline.picture.detections import Attribute, Detections, Result
from pipeline.picture.frame import PixelArray

_NO_TRACK = -1
_FORGOTTEN_AFTER = 1000  # frames in which a track was not seen

Attributes = tuple[Attribute, ...]


class Classifies(Protocol):
    """A second model: `pipeline.detector.classifier.Classifier`, or a fake."""

    def scores_of(self, crops: Sequence[PixelArray]) -> FloatArray:
        """The score of each class, float32 [N, classes], of crops uint8 [h, w, 3] BGR."""


@dataclass(frozen=True, slots=True)
class ClassifyOptions:
    """What is classified, and how much is kept.

    class_names: of the second model. top: the most attributes of an object, the best first. min_score: of each of them.
    every: a track is classified again after as many frames; between them it keeps what it has.
    """

    class_names: tuple[str, ...]
    top: int = 1
    min_score: float = 0.25
    every: int = 10


@dataclass(slots=True)
class _Labelled:
    """What a track has, the frame in which it was classified, and that in which it was last seen."""

    attributes: Attributes
    classified: int
    seen: int


class Classify:
    """Lets a second model name what the objects of one source are, beside their class.

    All crops of a frame go to the model at once. Where objects are followed, a track is classified when it is first
    seen and every `every` frames after that, so that the cost depends on the number of objects, not of frames.

    class_ids: of the first model, whose objects are looked at.
    """

    def __init__(self, model: Classifies, class_ids: Collection[int], options: ClassifyOptions) -> None:
        self._model, self._class_ids, self._options = model, class_ids, options
        self._source_id: str | None = None
        self._tracks: dict[tuple[int, int], _Labelled] = {}  # by track id and class id

    def process(self, result: Result) -> Iterable[Result]:
        """One Result. Raises OutputError where the second model gives NaN."""
        frame, detections = result.frame, result.detections
        if frame.source_id != self._source_id or frame.image is not None:  # ids mean others in the next file
            self._source_id, self._tracks = frame.source_id, {}
        keys = _keys_of(detections)
        attributes = [self._kept(key, frame.index) for key in keys]
        due = self._due(detections, attributes, frame.size_wh)
        if due:
            crops = crops_of(frame.pixels, detections.boxes_xyxy[due])
            for index, chosen in zip(due, self._named(self._model.scores_of(crops)), strict=True):
                attributes[index] = chosen
                self._keep(keys[index], chosen, frame.index)
        self._forget(frame.index)
        complete = tuple(chosen or () for chosen in attributes)
        return (replace(result, detections=replace(detections, attributes=complete)),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held; the model is shared with other sources."""

    def _kept(self, key: tuple[int, int], frame_index: int) -> Attributes | None:
        """What a track has; None where it must be classified, or belongs to no track."""
        track = self._tracks.get(key)
        if track is None:
            return None
        track.seen = frame_index
        return track.attributes if frame_index - track.classified < self._options.every else None

    def _due(
        self, detections: Detections, attributes: Sequence[Attributes | None], size_wh: tuple[int, int]
    ) -> list[int]:
        """The detections that must be classified now: of a class that is looked at, and at least partly inside."""
        boxes, class_ids = detections.boxes_xyxy, detections.class_ids.tolist()
        touches = (boxes[:, 2:] > 0) & (boxes[:, :2] < np.array(size_wh))  # [N, 2], by axis
        is_inside = np.asarray(touches.all(axis=1), np.bool_)  # [N]
        return [
            index
            for index, kept in enumerate(attributes)
            if kept is None and is_inside[index] and class_ids[index] in self._class_ids
        ]

    def _named(self, scores: FloatArray) -> list[Attributes]:
        """The best classes of scores [N, classes]."""
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self._options.top]  # [N, top]
        names, least = self._options.class_names, self._options.min_score
        return [
            tuple(Attribute(names[i], round(float(row[i]), 4)) for i in ids if row[i] >= least)
            for row, ids in zip(scores, best.tolist(), strict=True)
        ]

    def _keep(self, key: tuple[int, int], attributes: Attributes, frame_index: int) -> None:
        if key[0] != _NO_TRACK:
            self._tracks[key] = _Labelled(attributes, frame_index, frame_index)

    def _forget(self, frame_index: int) -> None:
        """Forget tracks that ended long ago, which a tracker never gives again."""
        if len(self._tracks) > _FORGOTTEN_AFTER:
            oldest = frame_index - _FORGOTTEN_AFTER
            self._tracks = {key: track for key, track in self._tracks.items() if track.seen >= oldest}


def _keys_of(detections: Detections) -> list[tuple[int, int]]:
    """Track id and class id of each detection."""
    track_ids = [_NO_TRACK] * len(detections) if detections.track_ids is None else detections.track_ids.tolist()
    return list(zip(track_ids, detections.class_ids.tolist(), strict=True))
