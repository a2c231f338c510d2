"""COCO's AP: detections and the truth of images → how accurate they are, as COCO counts it.

AP is the mean over IoU thresholds .50 to .95 and classes, as pycocotools computes it (Lin et al. 2014,
https://arxiv.org/abs/1405.0312).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from pipeline.accuracy.classes import in_classes_of_data, match_classes
from pipeline.accuracy.truth import LabelledData, Truth, marked
from pipeline.errors import ConfigError, MissingExtraError
from pipeline.picture.boxes import convert
from pipeline.picture.detections import Detections, FloatArray
from pipeline.picture.quadrilaterals import quadrilateral_areas, quadrilateral_iou

COCO_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""AP and AR over IoU .50 to .95 unless one is named; of small, medium and large objects (up to 32², 96², beyond);
AR with 1, 10 or 100 detections an image and class."""

IouType = Literal["bbox", "segm", "keypoints", "oriented"]

RECALLS: npt.NDArray[np.float64] = np.linspace(0, 1, 101)
"""Where COCO reads precision off."""


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """How accurate the detections of one class are."""

    class_id: int
    num_objects: int  # without the ignored ones
    ap: float
    ap50: float
    ar100: float
    precisions: npt.NDArray[np.float64]  # [101] at RECALLS, IoU .5; 0 beyond the recall that was reached


@dataclass(frozen=True, slots=True)
class CocoAccuracy:
    """How accurate detections are; of classes that have objects."""

    numbers: Mapping[str, float | None]  # by COCO_NUMBERS; None: there is no object of that kind
    classes: tuple[ClassAccuracy, ...]


def coco_accuracy(detections: Sequence[Detections], truths: Sequence[Truth]) -> CocoAccuracy:
    """Judge the detections of images by the truth, image by image.

    Detections of a class that has no object count for nothing, an ignored object counts as a crowd, and of one
    image and class the best 100 count. Raises MissingExtraError without pycocotools.
    """
    truth_rows: list[_Row] = []
    detection_rows: list[_Row] = []
    for image_id, (in_image, truth) in enumerate(zip(detections, truths, strict=True)):
        truth_rows += _rows(truth.objects, image_id, areas=truth.areas, is_crowd=False)
        truth_rows += _rows(truth.ignored, image_id, is_crowd=True)
        detection_rows += _rows(in_image, image_id, is_crowd=False)
    objects = np.concatenate([np.zeros(0, np.int64), *(truth.objects.class_ids for truth in truths)])
    class_ids, nums = np.unique(objects, return_counts=True)  # [C], [C]
    if not len(class_ids):
        return CocoAccuracy(dict.fromkeys(COCO_NUMBERS), ())
    images = [{"id": image_id} for image_id in range(len(truths))]
    evaluation = evaluation_of(truth_rows, detection_rows, images, class_ids.tolist())
    precision, recall = evaluation.precision, evaluation.recall
    return CocoAccuracy(
        {name: _number(value) for name, value in zip(COCO_NUMBERS, evaluation.numbers, strict=True)},
        tuple(
            ClassAccuracy(
                class_id,
                num,
                float(precision[..., index].mean()),
                float(precision[0, :, index].mean()),
                float(recall[:, index].mean()),
                precision[0, :, index],
            )
            for index, (class_id, num) in enumerate(zip(class_ids.tolist(), nums.tolist(), strict=True))
        ),
    )


def precision_on_labels(
    detections: Sequence[Detections], image_names: Sequence[str], class_names: Sequence[str], labels: LabelledData
) -> tuple[float, float]:
    """AP and AP50 of the detections of images, named by their files; classes without labels do not count.

    Raises ConfigError if no image, or no class, has labels, and MissingExtraError without pycocotools.
    """
    classes = match_classes(class_names, labels.class_names)
    truths = {Path(image.name).name: image.truth for image in labels.images}
    judged = [
        (in_classes_of_data(in_image, classes), truths[name])
        for in_image, name in zip(detections, image_names, strict=True)
        if name in truths
    ]
    if not judged or (classes < 0).all():
        raise ConfigError(
            f"{labels.origin}: must label some of the images and of the model's classes, it has none of them"
        )
    return _ap_and_ap50([in_image for in_image, _ in judged], [truth for _, truth in judged])


def precision_against(
    detections: Sequence[Detections], reference: Sequence[Detections], *, score_threshold: float
) -> tuple[float, float]:
    """AP and AP50 where the detections of another detector, from `score_threshold` on, are taken for the truth.

    Raises MissingExtraError without pycocotools.
    """
    sure = [in_image.select(in_image.scores >= np.float32(score_threshold)) for in_image in reference]
    if not any(map(len, sure)):
        is_sure = any((in_image.scores >= score_threshold).any() for in_image in detections)
        return (0.0, 0.0) if is_sure else (1.0, 1.0)
    truths = [Truth.of(marked(in_image.boxes_xyxy.tolist(), in_image.class_ids.tolist())) for in_image in sure]
    return _ap_and_ap50(detections, truths)


def boxes_xywh(boxes_xyxy: FloatArray) -> npt.NDArray[np.float64]:
    """Left, top, width and height [N, 4], to a thousandth of a pixel.

    As much as float32 corners are good for up to 4096 pixels; and a number written with three decimals comes out as
    it was, which decides where an IoU meets a threshold exactly.
    """
    return np.round(convert(boxes_xyxy.astype(np.float64), "xyxy", "xywh"), 3)


def _ap_and_ap50(detections: Sequence[Detections], truths: Sequence[Truth]) -> tuple[float, float]:
    numbers = coco_accuracy(detections, truths).numbers
    return numbers["AP"] or 0.0, numbers["AP50"] or 0.0


class _Row(TypedDict):
    """An annotation, or a detection, in the names of COCO."""

    image_id: int
    category_id: int
    bbox: Sequence[float]  # left, top, width, height
    area: float
    score: float
    iscrowd: int


class Evaluation(NamedTuple):
    """What pycocotools counted; precision and recall for objects of all sizes and the most detections an image."""

    numbers: npt.NDArray[np.float64]  # [12], as COCO_NUMBERS, or [10] of keypoints; -1: of no object
    precision: npt.NDArray[np.float64]  # [10, 101, C] by IoU, recall and class
    recall: npt.NDArray[np.float64]  # [10, C]


def _rows(
    detections: Detections, image_id: int, *, is_crowd: bool, areas: npt.NDArray[np.float64] | None = None
) -> list[_Row]:
    boxes = boxes_xywh(detections.boxes_xyxy)  # [N, 4]
    areas = boxes[:, 2] * boxes[:, 3] if areas is None else areas  # [N]
    return [
        {
            "image_id": image_id,
            "category_id": class_id,
            "bbox": box,
            "area": area,
            "score": score,
            "iscrowd": int(is_crowd),
        }
        for class_id, box, area, score in zip(
            detections.class_ids.tolist(), boxes.tolist(), areas.tolist(), detections.scores.tolist(), strict=True
        )
    ]


def evaluation_of(
    truth: Sequence[Mapping[str, object]],
    detections: Sequence[Mapping[str, object]],
    images: Sequence[Mapping[str, object]],
    category_ids: Sequence[int],
    *,
    iou_type: IouType = "bbox",
) -> Evaluation:
    """What COCOeval makes of rows as COCO has them; for `oriented` they have `corners` [4, 2] beside their boxes.

    Raises MissingExtraError without pycocotools.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError('AP needs pycocotools: pip install "streamdet[measure]"') from error
    datasets = []
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        for rows in (truth, detections):
            dataset = COCO()
            dataset.dataset = {
                "images": images,
                # From 1, because it takes the number 0 for no match.
                "annotations": [{**row, "id": number} for number, row in enumerate(rows, 1)],
                "categories": [{"id": category_id} for category_id in category_ids],
            }
            dataset.createIndex()
            datasets.append(dataset)
        evaluation = COCOeval(*datasets, "bbox" if iou_type == "oriented" else iou_type)
        if iou_type == "oriented":
            evaluation.computeIoU = partial(_oriented_ious, evaluation)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    counts = evaluation.eval
    return Evaluation(evaluation.stats, counts["precision"][..., 0, -1], counts["recall"][..., 0, -1])


def _oriented_ious(evaluation: Any, image_id: object, category_id: object) -> npt.NDArray[np.float64] | list[object]:
    """As COCOeval.computeIoU: rotated IoU [D, G], best detections first; with crowds, the shared part of a detection.

    evaluation: a COCOeval, which has no types.
    """
    objects, detections = (rows[image_id, category_id] for rows in (evaluation._gts, evaluation._dts))
    if not objects and not detections:
        return []
    best = sorted(detections, key=lambda row: -row["score"])[: evaluation.params.maxDets[-1]]
    corners = [np.array([row["corners"] for row in rows], np.float32).reshape(-1, 4, 2) for rows in (best, objects)]
    ious = quadrilateral_iou(*corners).astype(np.float64)  # [D, G]
    areas, object_areas = map(quadrilateral_areas, corners)
    shared = ious * (areas[:, None] + object_areas) / (1 + ious)  # [D, G]
    is_crowd = np.array([bool(row["iscrowd"]) for row in objects], np.bool_)  # [G]
    return np.where(is_crowd, shared / np.maximum(areas[:, None], 1e-9), ious)


def _number(value: float) -> float | None:
    return None if value < 0 else float(value)
