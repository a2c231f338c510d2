"""Carrying: what a network detects in parts of a frame, and the objects before → the objects of the whole frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import FloatArray, intersection_over_union, share_inside
from pipeline.picture.detections import Detections
from pipeline.picture.masks import Masks

_LOOKED_AT_SHARE = 0.5  # of an object: where as much lies in a part, that part decides about it
_SAME_IOU = 0.5
_CONFIRMED_SHARE = 0.6  # of a box at an inner edge: where as much lies in an object before, it is a piece of that
_EDGE_PX = 2.0


def carried_on(detections: Detections) -> Detections:
    """The same detections, marked."""
    return replace(detections, carried=np.ones(len(detections), np.bool_))


def merged(
    detections: Detections, before: Detections, regions_xyxy: FloatArray, size_wh: tuple[int, int]
) -> Detections:
    """The objects of a frame of which a network looked at some regions [R, 4], all in pixels of the frame; best first.

    detections: in the regions. before: the objects of the frame before, of which those outside of the regions are
    carried. A box that ends at an inner edge of its region is cut by it: it is dropped, and the object before of which
    it is a piece, if there is one, confirmed and carried.
    """
    same_class = detections.class_ids[:, None] == before.class_ids[None]  # [N, M]
    is_same = (intersection_over_union(detections.boxes_xyxy, before.boxes_xyxy) >= _SAME_IOU) & same_class  # [N, M]
    is_piece = (share_inside(detections.boxes_xyxy, before.boxes_xyxy) >= _CONFIRMED_SHARE) & same_class  # [N, M]
    is_outside = share_inside(before.boxes_xyxy, regions_xyxy).max(axis=1, initial=0) < _LOOKED_AT_SHARE  # [M]
    is_cut = _ends_inside(detections.boxes_xyxy, regions_xyxy, size_wh)  # [N]
    is_confirmed = (is_piece & is_cut[:, None]).any(axis=0)  # [M]
    is_cut |= (is_piece & ~is_same & is_outside).any(axis=1)  # just before the edge
    is_seen_again = is_same[~is_cut].any(axis=0)  # [M]
    kept = before.select((is_outside | is_confirmed) & ~is_seen_again)
    whole_ones = detections.select(~is_cut)
    both = together(whole_ones, kept)
    return both.select(np.argsort(-both.scores, kind="stable"))


def _ends_inside(boxes: FloatArray, regions: FloatArray, size_wh: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which boxes [N, 4] end at an edge of their region [R, 4] that is none of the frame."""
    if not len(boxes) or not len(regions):
        return np.zeros(len(boxes), np.bool_)
    own = regions[share_inside(boxes, regions).argmax(axis=1)]  # [N, 4]
    limits = np.array((0, 0, *size_wh), np.float32)
    is_inner = np.abs(own - limits) > _EDGE_PX  # [N, 4]
    return np.asarray(((np.abs(boxes - own) <= _EDGE_PX) & is_inner).any(axis=1), np.bool_)


def together(new: Detections, old: Detections) -> Detections:
    """Both, of which the old ones are marked; masks, keypoints and corners stay where both have them."""
    if not len(old):
        return replace(new, carried=np.zeros(len(new), np.bool_))
    if not len(new):
        return carried_on(old)

    def joined(name: str) -> npt.NDArray[np.float32] | None:
        one, two = getattr(new, name), getattr(old, name)
        return None if one is None or two is None else np.concatenate([one, two])

    masks = None if new.masks is None or old.masks is None else Masks.joined([new.masks, old.masks])
    return Detections(
        np.concatenate([new.boxes_xyxy, old.boxes_xyxy]),
        np.concatenate([new.scores, old.scores]),
        np.concatenate([new.class_ids, old.class_ids]),
        masks,
        keypoints=joined("keypoints"),
        corners=joined("corners"),
        carried=np.repeat([False, True], [len(new), len(old)]),
    )
