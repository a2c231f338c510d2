"""Result files: detections → JSON and back, in COCO's result format, https://cocodataset.org/#format-results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.accuracy.coco import boxes_xywh
from pipeline.accuracy.truth import LARGEST_SIDE, LabelledData, refuse_crowded, same_id
from pipeline.errors import ConfigError, SinkError, reason_of
from pipeline.picture.detections import Detections
from pipeline.whole_file import write_whole

_Result = Mapping[str, Any]  # of JSON, not yet looked at


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
    results = _read_results(path)
    for number, result in enumerate(results):
        row = _row_of(result, number, path)
        _check(row, result, class_indices, where=f"{path}: result {number}", origin=data.origin)
        if row.image_key in by_image:
            by_image[row.image_key].append((*row.box_xyxy, row.score, class_indices[row.category_key]))
        else:
            others += 1
    if results and others == len(results):
        raise ConfigError(f"{path}: none of its {others} results is of an image of {data.origin}")
    for image_key, rows in by_image.items():
        refuse_crowded(len(rows), where=f"{path}: image {image_key}")
    return [_detections(rows) for rows in by_image.values()]


class _Row(NamedTuple):
    """A result."""

    image_key: str
    category_key: str
    box_xyxy: tuple[float, float, float, float]
    score: float


def _read_results(path: Path) -> list[_Result]:
    try:
        results = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(path, reason_of(error)) from error
    if not isinstance(results, list):
        raise _refusal(path, f"a list is needed, it is {type(results).__name__}")
    return results


def _row_of(result: _Result, number: int, path: Path) -> _Row:
    """Read a result. Raises ConfigError, which names it, for one without the four keys and their numbers."""
    try:
        left, top, width, height = map(float, result["bbox"])
        score = float(result["score"])
        category_key, image_key = same_id(result["category_id"]), same_id(result["image_id"])
    except KeyError as error:
        raise _refusal(path, f"result {number} has no {error}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise _refusal(path, f"result {number} must have 4 numbers as bbox, and one as score: {error}") from error
    return _Row(image_key, category_key, (left, top, left + width, top + height), score)


def _refusal(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"{path} must hold COCO's results, a list of image_id, category_id, bbox and score: {reason}")


def _check(row: _Row, result: _Result, class_indices: Mapping[str, int], *, where: str, origin: str) -> None:
    """Raise ConfigError for a category that the data does not have, and for impossible numbers."""
    if row.category_key not in class_indices:
        raise ConfigError(f"{where}: {origin} has no category {result['category_id']}")
    if not (0 <= row.score <= 1 and all(abs(side) < LARGEST_SIDE for side in row.box_xyxy)):
        raise ConfigError(
            f"{where}: a box must be finite and a score within 0 and 1, got {result['bbox']}, {row.score:g}"
        )


def _detections(rows: Sequence[tuple[float, ...]]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)  # [N, 6]
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))
