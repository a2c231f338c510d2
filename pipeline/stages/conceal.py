"""Privacy stage: results → results whose picture has no recognisable object of the private classes any more.

It runs behind NMS, so before everything that shows, writes or sends a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline.picture.boxes import intersection_over_union, match_greedily
from pipeline.picture.concealing import Area, ConcealedPicture, Manner, areas_around
from pipeline.picture.detections import Detections, Result
from pipeline.picture.suppression import SuppressionOptions

_SAME_IOU = 0.1  # a box that overlaps an earlier one by as much is that object, moved


@dataclass(frozen=True, slots=True)
class ConcealOptions:
    """What is concealed.

    manners: of each private class, by id. margin: the share of a box's side by which its area is larger on every side.
    hold_seconds: of media time, for which the area of an object that is not detected any more stays concealed.
    most_detections: that NMS lets through; a frame with as many may have more, and is concealed as a whole.
    """

    manners: Mapping[int, Manner]
    margin: float
    hold_seconds: float
    most_detections: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """Boxes of private classes with the media time of their detection."""

    detections: Detections
    pts_seconds: np.ndarray[tuple[int], np.dtype[np.float64]]  # [N]


class Conceal:
    """Conceals the private classes in the frames of one source, and lets the detections on that were requested.

    requested: what of the detections goes on; NMS lets more of the private classes through than anybody asked for.
    """

    def __init__(self, options: ConcealOptions, requested: Callable[[], SuppressionOptions]) -> None:
        self._options = options
        self._requested = requested
        self._source_id: str | None = None
        self._seen = _Seen(Detections.empty(), np.zeros(0))

    def process(self, result: Result) -> Iterable[Result]:
        """One Result."""
        frame = result.frame
        picture = ConcealedPicture(frame.picture, self._areas(result))
        detections = _requested(result.detections, self._requested())
        return (replace(result, frame=replace(frame, picture=picture), detections=detections),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _areas(self, result: Result) -> list[Area]:
        options, frame, detections = self._options, result.frame, result.detections
        is_private = np.isin(detections.class_ids, list(options.manners))  # [N]
        private = detections.select(is_private)
        if (
            frame.image is not None or frame.source_id != self._source_id
        ):  # nothing stays from one photograph to another
            self._source_id, self._seen = frame.source_id, _Seen(Detections.empty(), np.zeros(0))
        self._seen = _updated(self._seen, private, frame.pts_seconds, options.hold_seconds)
        if len(detections) >= options.most_detections:
            return [Area(0, 0, *frame.size_wh, "blur")]
        boxes, class_ids = self._seen.detections.boxes_xyxy, self._seen.detections.class_ids
        manners = [options.manners[class_id] for class_id in class_ids.tolist()]
        return areas_around(boxes, manners, frame.size_wh, margin=options.margin)


def _updated(seen: _Seen, private: Detections, now_seconds: float, hold_seconds: float) -> _Seen:
    """The detections of this frame, and the earlier ones that none of them continues, as long as they are held."""
    iou = intersection_over_union(seen.detections.boxes_xyxy, private.boxes_xyxy)  # [M, N]
    continued, _ = match_greedily(iou, at_least=_SAME_IOU, by=[iou])
    age = now_seconds - seen.pts_seconds  # [M]
    stays = (age >= 0) & (age <= hold_seconds)
    stays[continued] = False
    held = seen.detections.select(stays)
    together = Detections(
        np.concatenate([private.boxes_xyxy, held.boxes_xyxy]),
        np.concatenate([private.scores, held.scores]),
        np.concatenate([private.class_ids, held.class_ids]),
    )
    return _Seen(together, np.concatenate([np.full(len(private), now_seconds), seen.pts_seconds[stays]]))


def _requested(detections: Detections, options: SuppressionOptions) -> Detections:
    """The detections that NMS would have let through with these options."""
    is_requested = detections.scores >= options.thresholds_of(detections.class_ids)  # [N]
    if options.keep_class_ids is not None:
        is_requested &= np.isin(detections.class_ids, list(options.keep_class_ids))
    return detections.select(np.flatnonzero(is_requested)[: options.max_detections])
