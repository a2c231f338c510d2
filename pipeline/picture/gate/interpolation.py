"""Interpolation: the objects of two frames that a network looked at → where they are at a time between, or after.

An object that is in both frames goes from one box to the other in a straight line. One that is in the first alone, or
in the second alone, is taken to have gone, or come, half-way between them: it is shown in the half that is nearer to
the frame in which it is, and nowhere else. What is not known yet is predicted with the velocity of the last two frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import FloatArray, Indices, intersection_over_union
from pipeline.picture.detections import Detections
from pipeline.picture.gate.carrying import carried_on, together
from pipeline.picture.masks import Masks
from pipeline.picture.run_lengths import MaskArray
from pipeline.picture.tracking.assignment import assign

_LEAST_IOU = 0.1
_WIDENING = 0.5  # of a box's width and height, on each side: fast objects no longer overlap themselves
_MOST_GROWTH = 2.0  # of the area of one that is matched so: it is the same object, only elsewhere
_MOST_SECONDS = 1.0  # for which an object is predicted to move; then it stands

_Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moment:
    """The objects of a frame, its media time, and how fast the sides of their boxes move, in pixels a second."""

    detections: Detections
    seconds: float
    velocities: FloatArray  # [N, 4]; 0 where it is not known

    @classmethod
    def at_rest(cls, detections: Detections, seconds: float) -> Moment:
        """Objects that do not move, as far as is known."""
        return cls(detections, seconds, np.zeros((len(detections), 4), np.float32))

    def followed_by(self, detections: Detections, seconds: float) -> Moment:
        """The objects of a later frame, with the velocity of those that are in this one too."""
        rows, columns = _pairs(self, detections, seconds)
        velocities = np.zeros((len(detections), 4), np.float32)
        if seconds > self.seconds:
            moved = detections.boxes_xyxy[columns] - self.detections.boxes_xyxy[rows]  # [P, 4]
            velocities[columns] = moved / np.float32(seconds - self.seconds)
        return Moment(detections, seconds, velocities)

    def predicted(self, seconds: float, size_wh: tuple[int, int]) -> Detections:
        """The objects at a later time, cut off at the edges of a frame of that size and marked as carried.

        One that has left the frame is left out; after a second none moves on.
        """
        lead = min(max(0.0, seconds - self.seconds), _MOST_SECONDS)
        is_moving = self.velocities.any(axis=1)  # [N]
        boxes = self.detections.boxes_xyxy + np.float32(lead) * self.velocities  # [N, 4]
        inside = np.clip(boxes, 0, np.tile(np.asarray(size_wh, np.float32), 2))  # [N, 4]
        boxes[is_moving] = inside[is_moving]
        is_there = ~is_moving | ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))  # [N]
        return carried_on(_moved_to(self.detections, boxes).select(is_there))


class Span:
    """The time from one frame to a later one, with the pairs of objects that are in both."""

    def __init__(self, before: Moment, after: Moment) -> None:
        self._before, self._after = before, after
        self._rows, self._columns = _pairs(before, after.detections, after.seconds)

    def at(self, seconds: float, size_wh: tuple[int, int]) -> Detections:
        """The objects at a time within the span, in a frame of that size; best first, marked as carried."""
        before, after = self._before, self._after
        length = after.seconds - before.seconds
        share = min(1.0, max(0.0, (seconds - before.seconds) / length)) if length > 0 else 0.0
        rows, columns = self._rows, self._columns
        old, new = before.detections.select(rows), after.detections.select(columns)
        boxes = _between(old.boxes_xyxy, new.boxes_xyxy, share)  # [P, 4]
        scores = _between(old.scores, new.scores, share)  # [P]
        if share <= 0.5:
            lonely = np.delete(np.arange(len(before.detections)), rows)
            alone = replace(before, detections=before.detections.select(lonely), velocities=before.velocities[lonely])
            others, source = alone.predicted(seconds, size_wh), old
        else:
            lonely = np.delete(np.arange(len(after.detections)), columns)
            others, source = after.detections.select(lonely), new
        both = together(replace(_moved_to(source, boxes), scores=scores), others)
        return carried_on(both.select(np.argsort(-both.scores, kind="stable")))


def _between(old: FloatArray, new: FloatArray, share: float) -> FloatArray:
    """Arrays of one shape: the first at 0, the second at 1, and in a straight line between them."""
    first = old.astype(np.float64)
    return np.asarray(first + share * (new - first), np.float32)


def _pairs(before: Moment, detections: Detections, seconds: float) -> tuple[Indices, Indices]:
    """Rows [P] of the objects of a moment and columns [P] of those of a later one that are the same, of one class.

    First those that overlap where they are predicted, or where they were; of the others, those that do when their
    boxes are widened, where they are about as large.
    """
    lead = min(max(0.0, seconds - before.seconds), _MOST_SECONDS)
    old, new = before.detections.boxes_xyxy, detections.boxes_xyxy  # [N, 4], [M, 4]
    predicted = old + np.float32(lead) * before.velocities  # [N, 4]
    same_class = before.detections.class_ids[:, None] == detections.class_ids[None]  # [N, M]
    overlap = np.maximum(_overlap(predicted, new), _overlap(old, new)) * same_class  # [N, M]
    rows, columns = assign(np.where(overlap >= _LEAST_IOU, overlap, 0))
    wide = _overlap(_widened(predicted), _widened(new)) * (same_class & _is_as_large(old, new))  # [N, M]
    wide[rows], wide[:, columns] = 0, 0
    more_rows, more_columns = assign(np.where(wide >= _LEAST_IOU, wide, 0))
    return np.concatenate([rows, more_rows]), np.concatenate([columns, more_columns])


def _overlap(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """IoU [N, M]; 0 for boxes without area."""
    return np.nan_to_num(intersection_over_union(a_xyxy, b_xyxy))


def _widened(boxes_xyxy: FloatArray) -> FloatArray:
    margin = np.float32(_WIDENING) * (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2])  # [N, 2]
    return np.concatenate([boxes_xyxy[:, :2] - margin, boxes_xyxy[:, 2:] + margin], axis=1)


def _is_as_large(a_xyxy: FloatArray, b_xyxy: FloatArray) -> npt.NDArray[np.bool_]:
    """Which boxes [N, 4] and [M, 4] have areas [N, M] that differ by less than a factor."""
    areas = [(boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=1) for boxes in (a_xyxy, b_xyxy)]
    a, b = areas[0][:, None], areas[1][None]  # [N, 1], [1, M]
    return np.asarray((a <= _MOST_GROWTH * b) & (b <= _MOST_GROWTH * a), np.bool_)


def _moved_to(detections: Detections, boxes_xyxy: FloatArray) -> Detections:
    """The same objects in other boxes [N, 4], with all that lies in a box moved and scaled along with it."""
    old, new = detections.boxes_xyxy.astype(np.float64), boxes_xyxy.astype(np.float64)  # [N, 4]
    sides = old[:, 2:] - old[:, :2]  # [N, 2]
    scale = np.divide(new[:, 2:] - new[:, :2], sides, out=np.ones_like(sides), where=sides > 0)  # [N, 2]
    offset = new[:, :2] - scale * old[:, :2]  # [N, 2]
    keypoints, corners, masks = detections.keypoints, detections.corners, detections.masks
    if keypoints is not None:
        keypoints = keypoints.copy()
        keypoints[..., :2] = scale[:, None] * keypoints[..., :2] + offset[:, None]  # [N, points, 2]
    if corners is not None:
        corners = np.asarray(scale[:, None] * corners + offset[:, None], np.float32)  # [N, 4, 2]
    if masks is not None:
        masks = _moved_masks(masks, scale, offset)
    return replace(detections, boxes_xyxy=boxes_xyxy, keypoints=keypoints, corners=corners, masks=masks)


def _moved_masks(masks: Masks, scale: _Boxes, offset: _Boxes) -> Masks:
    """Masks whose pixels are at scale [N, 2] · x + offset [N, 2], cut off at the edges of the picture."""
    moved = [
        _moved_crop(masks.crop(index), masks.left_tops[index], masks.size_wh, scale[index], offset[index])
        for index in range(len(masks))
    ]
    return Masks(masks.size_wh, [crop for crop, _ in moved], [left_top for _, left_top in moved])


def _moved_crop(
    crop: MaskArray, left_top: tuple[int, int], size_wh: tuple[int, int], scale: _Boxes, offset: _Boxes
) -> tuple[MaskArray, tuple[int, int]]:
    """A crop [h, w] and its position in the picture, both after that."""
    begin = np.rint(scale * left_top + offset)  # [2]
    width, height = np.maximum(1, np.rint(scale * crop.shape[::-1])).astype(int).tolist() if crop.size else (0, 0)
    if crop.size and (height, width) != crop.shape:
        pixels = cv2.resize(crop.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        crop = np.asarray(pixels, np.bool_)
    left, top = begin.astype(int).tolist()
    rows, columns = _visible(top, height, size_wh[1]), _visible(left, width, size_wh[0])
    return crop[rows, columns], (min(max(0, left), size_wh[0]), min(max(0, top), size_wh[1]))


def _visible(begin: int, length: int, most: int) -> slice:
    """The part of a span that lies within [0, most], counted from its beginning."""
    first = min(max(0, -begin), length)
    return slice(first, max(first, min(length, most - begin)))
