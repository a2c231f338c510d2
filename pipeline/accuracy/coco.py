"""How accurate are detections, as COCO counts it?

AP is the mean over IoU thresholds .50 to .95 and classes, as pycocotools computes it (Lin et al. 2014,
https://arxiv.org/abs/1405.0312).
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, MissingExtraError
from pipeline.picture.detections import Detections

# What COCO's classes are called in Pascal VOC, and the other way round.
_VOC_NAMES = {
    "potted plant": "pottedplant",
    "motorcycle": "motorbike",
    "tv": "tvmonitor",
    "airplane": "aeroplane",
    "couch": "sofa",
    "dining table": "diningtable",
}
_ALIASES = _VOC_NAMES | {voc: coco for coco, voc in _VOC_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Labels:
    """The objects that people marked in some images, in COCO's form."""

    path: Path
    image_ids: dict[str, int]  # by the file's name
    annotations: tuple[dict[str, Any], ...]
    category_ids: dict[str, int]  # by class name

    @classmethod
    def find(cls, folder: Path) -> Labels | None:
        """The labels of a folder of images: the one COCO JSON in it, beside it, or in `annotations`; or None.

        Raises ConfigError for several, and for a JSON file that is none.
        """
        places = (folder, folder / "annotations", folder.parent)
        found = [path for place in places if place.is_dir() for path in sorted(place.glob("*.json"))]
        found = [path for path in found if path.name.startswith("instances") or path.parent != folder.parent]
        if not found:
            return None
        if len(found) > 1:
            raise ConfigError(f"{folder}: one COCO JSON must be with the images, found {', '.join(map(str, found))}")
        return cls.read(found[0])

    @classmethod
    def read(cls, path: Path) -> Labels:
        """Read COCO JSON. Raises ConfigError for a missing file and for anything else in it."""
        try:
            values = json.loads(path.read_text())
            return cls(
                path,
                {Path(image["file_name"]).name: image["id"] for image in values["images"]},
                tuple(_annotation(each, number) for number, each in enumerate(values["annotations"], 1)),
                {category["name"]: category["id"] for category in values["categories"]},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} must hold COCO's images, annotations and categories: {error!r}") from error


def precision_on_labels(
    found: Sequence[Detections], image_names: Sequence[str], class_names: Sequence[str], labels: Labels
) -> tuple[float, float]:
    """AP and AP50 of what was found in images, given by their files' names. Classes that have no labels do not count.

    Raises ConfigError if no image, or no class, has labels, and MissingExtraError without pycocotools.
    """
    categories = [
        labels.category_ids.get(name, labels.category_ids.get(_ALIASES.get(name, ""))) for name in class_names
    ]
    numbers = [labels.image_ids.get(name) for name in image_names]
    if not any(each is not None for each in numbers) or not any(each is not None for each in categories):
        raise ConfigError(
            f"{labels.path}: must label some of the images and of the model's classes, it has none of them"
        )
    rows: list[dict[str, Any]] = []
    for detections, image_id in zip(found, numbers, strict=True):
        if image_id is None:
            continue
        boxes = np.concatenate(
            [detections.boxes_xyxy[:, :2], detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2]], axis=1
        )
        for box, score, class_id in zip(
            boxes.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), strict=True
        ):
            if class_id < len(categories) and categories[class_id] is not None:
                rows.append({"image_id": image_id, "category_id": categories[class_id], "bbox": box, "score": score})
    image_ids = [each for each in numbers if each is not None]
    truth = [each for each in labels.annotations if each["image_id"] in set(image_ids)]
    return _coco_precision(truth, rows, image_ids, list(labels.category_ids.values()))


def precision_against(
    found: Sequence[Detections], reference: Sequence[Detections], *, score_threshold: float
) -> tuple[float, float]:
    """AP and AP50 where what another detector is sure of, from `score_threshold` on, is taken for the truth.

    Raises MissingExtraError without pycocotools.
    """
    truth: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for image_id, (ours, theirs) in enumerate(zip(found, reference, strict=True)):
        sure = theirs.select(theirs.scores >= np.float32(score_threshold))
        for detections, to in ((sure, truth), (ours, rows)):
            for (x1, y1, x2, y2), score, class_id in zip(
                detections.boxes_xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), strict=True
            ):
                to.append(
                    {
                        "id": len(to) + 1,
                        "image_id": image_id,
                        "category_id": class_id,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": 0,
                        "score": score,
                    }
                )
    if not truth:
        return (1.0, 1.0) if not any(row["score"] >= score_threshold for row in rows) else (0.0, 0.0)
    return _coco_precision(truth, rows, list(range(len(found))), sorted({each["category_id"] for each in truth}))


def _annotation(values: dict[str, Any], number: int) -> dict[str, Any]:
    """What counts of an annotation. Some tools write the box alone, or count from 0, which COCO's API misreads."""
    _, _, width, height = values["bbox"]
    return {
        "id": number,
        "image_id": values["image_id"],
        "category_id": values["category_id"],
        "bbox": values["bbox"],
        "area": values.get("area", width * height),
        "iscrowd": values.get("iscrowd", 0),
    }


def _coco_precision(
    truth: list[dict[str, Any]], rows: list[dict[str, Any]], image_ids: list[int], category_ids: list[int]
) -> tuple[float, float]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError('AP needs pycocotools: pip install "streamdet[export]"') from error
    if not rows:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        dataset = COCO()
        dataset.dataset = {
            "info": {},
            "images": [{"id": each} for each in image_ids],
            "annotations": truth,
            "categories": [{"id": each} for each in category_ids],
        }
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return max(0.0, float(evaluation.stats[0])), max(0.0, float(evaluation.stats[1]))
