"""Teacher: unlabelled frames → labels by a strong detector, and how closely another detector agrees with them.

A teacher is not the truth. Nobody is blamed for missing an object that it misses, everybody must find an object that
it invents, and a detector that errs as it does looks better than one that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.truth import Truth, marked
from pipeline.detector.detector import DetectFunction
from pipeline.picture.boxes import areas, intersection_over_union, match_greedily, share_inside, turns
from pipeline.picture.detections import Detections, FloatArray
from pipeline.picture.frame import ArrayPicture, Picture
from pipeline.picture.suppression import SuppressionOptions, suppress

Mask = npt.NDArray[np.bool_]

SMALL_PX = 32.0**2
"""An object of fewer square pixels is small, as COCO has it."""
SMALL_SHARE = SMALL_PX / (640 * 480)
"""The same share of any frame as COCO's small objects have of a typical picture of COCO."""

_OVERLAP = 0.2
# A box that ends within this of the border of its tile may go on behind it.
_CUT_PX = 2.0
# A cut box of which this share lies in an uncut one of its class is a part of that one.
_PART_SHARE = 0.7
_SAME_OBJECT_IOU = 0.5


class Tiled:
    """A detector that looks at the whole frame and at overlapping tiles of it, each as large as the network.

    rows, columns: of tiles, which overlap by a fifth. What a border between tiles has cut off is left out where the
    whole object was detections, and of boxes of a class that overlap by more than `iou_threshold` the best stays.
    """

    def __init__(self, detector: DetectFunction, *, rows: int, columns: int, iou_threshold: float = 0.5) -> None:
        self._detector = detector
        self._rows, self._columns = rows, columns
        self._iou_threshold = iou_threshold

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """The detections in each picture, best first."""
        return [self._detect(picture) for picture in pictures]

    def _detect(self, picture: Picture) -> Detections:
        parts = self._detector([picture])
        is_cut = [np.zeros(len(parts[0]), np.bool_)]
        pixels = picture.copy_pixels()  # the picture itself would keep its pixels for as long as it lives
        for left, top, right, bottom in tiles_of(picture.size_wh, rows=self._rows, columns=self._columns):
            (inside,) = self._detector([ArrayPicture(np.ascontiguousarray(pixels[top:bottom, left:right]))])
            shifted = _shifted(inside, left, top)
            parts.append(shifted)
            is_cut.append(_is_cut(shifted.boxes_xyxy, (left, top, right, bottom), picture.size_wh))
        boxes = np.concatenate([part.boxes_xyxy for part in parts])  # [N, 4]
        scores = np.concatenate([part.scores for part in parts])  # [N]
        class_ids = np.concatenate([part.class_ids for part in parts])  # [N]
        cut = np.concatenate(is_cut)  # [N]
        same_class = class_ids[:, None] == class_ids[None]  # [N, N]
        in_whole = (share_inside(boxes, boxes) >= _PART_SHARE) & same_class & ~cut[None]  # [N, N]
        together = Detections(boxes, scores, class_ids).select(~(cut & in_whole.any(axis=1)))
        options = SuppressionOptions(iou_threshold=self._iou_threshold, max_detections=max(1, len(together)))
        kept, _ = suppress(together.boxes_xyxy, together.scores, together.class_ids, options)
        return together.select(kept)


def tiles_of(size_wh: tuple[int, int], *, rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """Overlapping tiles that cover a frame, row by row: left, top, right and bottom in pixels; none for 1 × 1."""
    if rows == columns == 1:
        return []
    lefts, tops = _sections(size_wh[0], columns), _sections(size_wh[1], rows)
    return [(left, top, right, bottom) for top, bottom in tops for left, right in lefts]


@dataclass(frozen=True, slots=True)
class Labels:
    """What a teacher says of one frame."""

    sure: Detections
    unsure: Detections  # to find one of these is neither right nor wrong

    @classmethod
    def of(cls, detections: Detections, *, sure_score: float) -> Labels:
        """Sure from a score on, and unsure from half of it on; what scores less is forgotten."""
        is_sure = detections.scores >= np.float32(sure_score)
        is_unsure = ~is_sure & (detections.scores >= np.float32(sure_score / 2))
        return cls(detections.select(is_sure), detections.select(is_unsure))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where a detector and its teacher differ in one frame."""

    is_missed: Mask  # [M], of what the teacher is sure of
    is_extra: Mask  # [N], of what the detector shows
    weight: float  # the sum of the scores of both


@dataclass(frozen=True, slots=True)
class Recall:
    """How many of some objects were detections."""

    num_found: int
    num_objects: int

    @property
    def share(self) -> float | None:
        """None where no such object exists."""
        return self.num_found / self.num_objects if self.num_objects else None


@dataclass(frozen=True, slots=True)
class TeacherAgreement:
    """How closely a detector agrees with its teacher."""

    ap: float  # COCO's AP and AP50, with what the teacher is sure of for the truth
    ap50: float
    all: Recall  # at IoU .5, of what the detector shows
    small: Recall  # of objects smaller than SMALL_PX
    small_for_frame: Recall  # of objects smaller than SMALL_SHARE of their frame
    frames: tuple[Disagreement, ...]

    @classmethod
    def of(
        cls,
        detections: Sequence[Detections],
        labels: Sequence[Labels],
        frame_sizes_wh: Sequence[tuple[int, int]],
        *,
        shown_score: float,
    ) -> TeacherAgreement:
        """Frame by frame. AP is of all detections, the rest of those that score at least `shown_score`.

        Raises MissingExtraError without pycocotools.
        """
        truths = [
            Truth.of(marked(label.sure.boxes_xyxy.tolist(), label.sure.class_ids.tolist()), label.unsure)
            for label in labels
        ]
        numbers = coco_accuracy(detections, truths).numbers
        frames = tuple(
            disagreement(shown(of_frame, shown_score), label)
            for of_frame, label in zip(detections, labels, strict=True)
        )
        sizes = np.concatenate([areas(label.sure.boxes_xyxy) for label in labels])  # [M], over all frames
        shares = np.concatenate(
            [areas(label.sure.boxes_xyxy) / (w * h) for label, (w, h) in zip(labels, frame_sizes_wh, strict=True)]
        )  # [M]
        is_found = ~np.concatenate([frame.is_missed for frame in frames])  # [M]
        kinds = (np.ones_like(is_found), sizes < SMALL_PX, shares < SMALL_SHARE)  # [M] each
        every, small, small_for_frame = (Recall(int((is_found & kind).sum()), int(kind.sum())) for kind in kinds)
        return cls(numbers["AP"] or 0.0, numbers["AP50"] or 0.0, every, small, small_for_frame, frames)


def shown(detections: Detections, score: float) -> Detections:
    """The detections from a score on."""
    return detections.select(detections.scores >= np.float32(score))


def disagreement(detections: Detections, labels: Labels) -> Disagreement:
    """The labels of a frame that no detection matches, and the detections that match no label.

    As COCO matches: the best score first takes the object of its class that it overlaps most, from IoU .5 on. What
    lies in an unsure object of its class is not an extra one.
    """
    sure, unsure = labels.sure, labels.unsure
    overlap = intersection_over_union(detections.boxes_xyxy, sure.boxes_xyxy)  # [N, M]
    overlap = np.where(detections.class_ids[:, None] == sure.class_ids[None], overlap, 0)  # [N, M]
    rows, columns = match_greedily(
        overlap, at_least=_SAME_OBJECT_IOU, by=(turns(detections.scores), overlap)
    )  # [P], [P]
    is_missed, is_extra = np.ones(len(sure), np.bool_), np.ones(len(detections), np.bool_)
    is_missed[columns] = is_extra[rows] = False
    same_class = detections.class_ids[:, None] == unsure.class_ids[None]  # [N, U]
    in_unsure = (share_inside(detections.boxes_xyxy, unsure.boxes_xyxy) >= _SAME_OBJECT_IOU) & same_class  # [N, U]
    is_extra &= ~in_unsure.any(axis=1)
    weight = float(sure.scores[is_missed].sum() + detections.scores[is_extra].sum())
    return Disagreement(is_missed, is_extra, weight)


def _sections(length: int, num: int) -> list[tuple[int, int]]:
    """Starts and ends, in pixels, of parts of equal length that overlap and cover all."""
    part = min(length, int(np.ceil(length / (1 + (num - 1) * (1 - _OVERLAP)))))
    return [(start, start + part) for start in np.linspace(0, length - part, num).round().astype(int).tolist()]


def _shifted(detections: Detections, left: int, top: int) -> Detections:
    offset = np.array([left, top, left, top], np.float32)
    return Detections(detections.boxes_xyxy + offset, detections.scores, detections.class_ids)


def _is_cut(boxes_xyxy: FloatArray, tile: tuple[int, int, int, int], size_wh: tuple[int, int]) -> Mask:
    """Which boxes [N, 4] end at a border of their tile that is none of the frame."""
    left, top, right, bottom = tile
    width, height = size_wh
    return np.asarray(
        ((boxes_xyxy[:, 0] <= left + _CUT_PX) & (left > 0))
        | ((boxes_xyxy[:, 1] <= top + _CUT_PX) & (top > 0))
        | ((boxes_xyxy[:, 2] >= right - _CUT_PX) & (right < width))
        | ((boxes_xyxy[:, 3] >= bottom - _CUT_PX) & (bottom < height))
    )
