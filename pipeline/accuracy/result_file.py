"""Result files: detections → JSON and back, in COCO's result format, https://cocodataset.org/#format-results."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.accuracy.coco import boxes_xywh
from pipeline.accuracy.truth import LabelledData, same_id
from pipeline.errors import ConfigError, SinkError, reason_of
from pipeline.picture.detections import Detections
from pipeline.whole_file import write_whole


def write_result_file(path: Path, detections: Sequence[Detections], data: LabelledData) -> None:
    """Write the detections of the images of `data`, in its classes, all or nothing.

    Raises SinkError if it cannot be written.
    """
    rows = [
        {"image_id": image.image_id, "category_id": data.category_ids[class_id], "bbox": box, "score": score}
        for image, in_image in zip(data.images, detections, strict=True)
        for class_id, box, score in zip(
            in_image.class_ids.tolist(),
            boxes_xywh(in_image.boxes_xyxy).tolist(),
            in_image.scores.tolist(),
            strict=True,
        )
    ]
    try:
        write_whole(path, (json.dumps(rows, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise SinkError(f"{path}: the detections cannot be written there: {error.strerror or error}") from error


def read_result_file(path: Path, data: LabelledData) -> list[Detections]:
    """The detections of each image of `data`, in its classes; rows of other images are left out.

    Raises ConfigError for a file that cannot be read or holds something else, a category that the data does not have,
    and where not one row is of the data's images.
    """
    class_indices = {same_id(category_id): index for index, category_id in enumerate(data.category_ids)}
    by_image: dict[str, list[tuple[float, ...]]] = {same_id(image.image_id): [] for image in data.images}
    others = 0
    try:
        rows = json.loads(path.read_bytes())
        if not isinstance(rows, list):
            raise TypeError(f"a list is needed, it is {type(rows).__name__}")
        for number, row in enumerate(rows):
            where = f"{path}: result {number}"
            try:
                left, top, width, height = map(float, row["bbox"])
                score = float(row["score"])
                category, image = same_id(row["category_id"]), same_id(row["image_id"])
            except KeyError as error:
                raise ValueError(f"result {number} has no {error}") from error
            except (ValueError, TypeError) as error:
                raise ValueError(f"result {number} must have 4 numbers as bbox, and one as score: {error}") from error
            if category not in class_indices:
                raise ConfigError(f"{where}: {data.origin} has no category {row['category_id']}")
            if not (0 <= score <= 1 and all(map(math.isfinite, (left, top, width, height)))):
                raise ConfigError(
                    f"{where}: a box must be finite and a score within 0 and 1, got {row['bbox']}, {score:g}"
                )
            if image not in by_image:
                others += 1
                continue
            by_image[image].append((left, top, left + width, top + height, score, class_indices[category]))
    except ConfigError:
        raise
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"{path} must hold COCO's results, a list of image_id, category_id, bbox and score: {reason_of(error)}"
        ) from error
    if rows and others == len(rows):
        raise ConfigError(f"{path}: none of its {others} results is of an image of {data.origin}")
    return [_detections(rows_of_image) for rows_of_image in by_image.values()]


def _detections(rows: Sequence[tuple[float, ...]]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)  # [N, 6]
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))
