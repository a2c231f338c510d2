"""Shapes: detections with masks, keypoints or oriented boxes, and the truth of images → COCO's AP of these.

Masks overlap by pixels; keypoints are alike by OKS, with COCO's sigmas (https://cocodataset.org/#keypoints-eval). Both
as pycocotools counts them. Oriented boxes overlap by the exact IoU of their quadrilaterals, in COCO's protocol; those
of the labels are polygons of four corners, as of DOTA (https://captain-whu.github.io/DOTA/). Labels without an outline,
without points, or without four corners count as crowds: they cannot be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.accuracy.coco import COCO_NUMBERS, IouType, boxes_xywh, evaluation_of
from pipeline.accuracy.truth import LabelledData, Shape, Truth
from pipeline.errors import ConfigError
from pipeline.picture.box_outlines import corners_of
from pipeline.picture.detections import Detections
from pipeline.picture.keypoints import COCO_POINTS
from pipeline.picture.quadrilaterals import quadrilateral_areas

KEYPOINT_NUMBERS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
_NUM_VALUES = 3 * len(COCO_POINTS)
_Row = dict[str, object]


def shape_accuracy(detections: Sequence[Detections], data: LabelledData) -> Mapping[str, Mapping[str, float | None]]:
    """The numbers of `masks`, `keypoints` and `oriented_boxes`, where both detections and labels have them.

    A number is None where there is no object of its kind.

    Raises ConfigError for an outline that pycocotools cannot read, MissingExtraError without pycocotools.
    """
    shapes = [shape for image in data.images for shape in image.truth.shapes or ()]
    numbers: dict[str, Mapping[str, float | None]] = {}
    if any(shape.segmentation for shape in shapes) and any(one.masks is not None for one in detections):
        numbers["masks"] = _numbers(detections, data, "segm", COCO_NUMBERS)
    has_points = any(one.keypoints is not None and one.keypoints.shape[1] == len(COCO_POINTS) for one in detections)
    if has_points and any(len(shape.keypoints) == _NUM_VALUES for shape in shapes):
        numbers["keypoints"] = _numbers(detections, data, "keypoints", KEYPOINT_NUMBERS)
    if any(one.corners is not None for one in detections) and any(_corners_of(shape) is not None for shape in shapes):
        numbers["oriented_boxes"] = _numbers(detections, data, "oriented", COCO_NUMBERS)
    return numbers


def _numbers(
    detections: Sequence[Detections], data: LabelledData, iou_type: IouType, names: Sequence[str]
) -> Mapping[str, float | None]:
    truth_rows: list[_Row] = []
    detection_rows: list[_Row] = []
    images: list[_Row] = []
    for image_id, (in_image, image) in enumerate(zip(detections, data.images, strict=True)):
        size_wh = image.size_wh or (None if in_image.masks is None else in_image.masks.size_wh) or (0, 0)
        images.append({"id": image_id, "width": size_wh[0], "height": size_wh[1]})
        truth_rows += ({"image_id": image_id, **row} for row in _truth_rows(image.truth, iou_type))
        rows = _ROWS[iou_type](in_image)
        detection_rows += ({"image_id": image_id, "iscrowd": 0, **row} for row in rows)
    class_ids = sorted({int(class_id) for image in data.images for class_id in image.truth.objects.class_ids})
    try:
        stats = evaluation_of(
            truth_rows,
            detection_rows,
            images,
            class_ids,
            iou_type=iou_type,
        ).numbers
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ConfigError(f"{data.origin}: its outlines must be polygons or RLE of COCO: {error}") from error
    return {name: None if value < 0 else float(value) for name, value in zip(names, stats, strict=True)}


def _truth_rows(truth: Truth, iou_type: str) -> Iterator[_Row]:
    shapes = truth.shapes or (Shape(),) * (len(truth.objects) + len(truth.ignored))
    for part, is_crowd, first in ((truth.objects, False, 0), (truth.ignored, True, len(truth.objects))):
        boxes = boxes_xywh(part.boxes_xyxy).tolist()
        areas = [width * height for _, _, width, height in boxes] if is_crowd else truth.areas.tolist()
        for index, (class_id, box, area) in enumerate(zip(part.class_ids.tolist(), boxes, areas, strict=True)):
            shape = shapes[first + index]
            row = {"category_id": class_id, "bbox": box, "area": area, "iscrowd": int(is_crowd)}
            if iou_type == "segm":
                x, y, width, height = box
                outline = [[x, y, x + width, y, x + width, y + height, x, y + height]]
                yield row | {
                    "segmentation": shape.segmentation or outline,
                    "iscrowd": int(is_crowd or not shape.segmentation),
                }
            elif iou_type == "oriented":
                corners = _corners_of(shape)
                yield row | {
                    "corners": corners_of(part.boxes_xyxy[index].tolist()) if corners is None else corners,
                    "area": area if corners is None else float(quadrilateral_areas(corners[None])[0]),
                    "iscrowd": int(is_crowd or corners is None),
                }
            else:
                points = shape.keypoints if len(shape.keypoints) == _NUM_VALUES else (0.0,) * _NUM_VALUES
                yield row | {"keypoints": points, "num_keypoints": sum(1 for value in points[2::3] if value > 0)}


def _corners_of(shape: Shape) -> npt.NDArray[np.float64] | None:
    """The corners [4, 2] of an outline of one polygon with four; None of any other, and of one that is not convex."""
    outline = shape.segmentation
    if not (isinstance(outline, list) and len(outline) == 1 and isinstance(outline[0], list) and len(outline[0]) == 8):
        return None
    try:
        corners = np.array(outline[0], np.float64).reshape(4, 2)
    except (TypeError, ValueError):
        return None
    sides = np.roll(corners, -1, axis=0) - corners
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)  # [4]
    return corners if np.isfinite(turns).all() and ((turns > 0).all() or (turns < 0).all()) else None


def _oriented_rows(detections: Detections) -> Iterator[_Row]:
    if detections.corners is None:
        return
    boxes, areas = boxes_xywh(detections.boxes_xyxy).tolist(), quadrilateral_areas(detections.corners).tolist()
    for corners, box, area, class_id, score in zip(
        *(detections.corners, boxes, areas, detections.class_ids.tolist(), detections.scores.tolist()), strict=True
    ):
        yield {"category_id": class_id, "score": score, "corners": corners, "bbox": box, "area": area}


def _mask_rows(detections: Detections) -> Iterator[_Row]:
    masks = detections.masks
    if masks is None:
        return
    areas = masks.num_pixels()
    for index, (class_id, score) in enumerate(
        zip(detections.class_ids.tolist(), detections.scores.tolist(), strict=True)
    ):
        yield {"category_id": class_id, "score": score, "segmentation": masks.rle(index), "area": areas[index]}


def _point_rows(detections: Detections) -> Iterator[_Row]:
    """Their areas are those of the boxes around all points, as pycocotools has it of results."""
    if detections.keypoints is None:
        return
    rows = zip(detections.keypoints, detections.class_ids.tolist(), detections.scores.tolist(), strict=True)
    for points, class_id, score in rows:
        points = np.nan_to_num(points.astype(np.float64))
        (left, top), (right, bottom) = points[:, :2].min(axis=0).tolist(), points[:, :2].max(axis=0).tolist()
        box = [left, top, right - left, bottom - top]
        yield {
            "category_id": class_id,
            "score": score,
            "keypoints": points.reshape(-1).tolist(),
            "bbox": box,
            "area": box[2] * box[3],
        }


_ROWS: Mapping[IouType, Callable[[Detections], Iterator[_Row]]] = {
    "segm": _mask_rows,
    "keypoints": _point_rows,
    "oriented": _oriented_rows,
}
