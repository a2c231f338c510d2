"""YOLO datasets: a data.yaml and the files that it names → images with the objects in them.

https://docs.ultralytics.com/datasets/detect: beside `images/…/name.jpg` stands `labels/…/name.txt` with a line an
object: class, then centre x, centre y, width and height as shares of the image's, or the corners of an outline. Where
data.yaml has `kpt_shape`, the box is followed by points: https://docs.ultralytics.com/datasets/pose.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.accuracy.outline import crosses_itself
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, marked
from pipeline.errors import ConfigError, reason_of
from pipeline.picture.boxes import convert
from pipeline.text_file import read_text
from pipeline.user_path import exists, is_file
from pipeline.yaml_file import read_yaml

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset((".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
_SPLITS = ("val", "test", "train")
# Tools round to a few digits, so that a box at the border may come out a little beyond it.
_ROUNDING = 1e-3
_MOST_POINT_NUMBERS = 4 + 3 * 600  # of a box and its points; the most that anybody marks are a face's 478


def read_yolo_folder(path: Path) -> LabelledData:
    """Read the validation images of a data.yaml, or of the one in a folder; else those of `test`, or of `train`.

    An image without a label file has no objects. Images are numbered from 1, classes as in the file. Each image is
    read, because its size is in no label.
    Raises ConfigError for a file that cannot be read or says something else, a class that it does not name, a box
    outside its image, points that no kpt_shape announces, and where not one image has a label file.
    """
    path = _yaml_of(path)
    values = _read_yaml(path)
    class_names = _class_names(values, path)
    num_point_numbers = _num_point_numbers(values.get("kpt_shape"), path)
    split, paths = _images_of_split(values, path)
    labels = list(map(_label_file, paths))
    if not any(is_file(label) for label in labels):
        raise ConfigError(f"{path}: {split} must have labels beside its {len(paths)} images, such as {labels[0]}")
    class_indices = {number: index for index, number in enumerate(class_names)}
    rows = [_read_labels(label, class_indices) for label in labels]
    if num_point_numbers is None:
        _refuse_points([row for in_image in rows for row in in_image], path)
    images = tuple(
        _labelled(number, image, label, in_image, num_point_numbers)
        for number, (image, label, in_image) in enumerate(zip(paths, labels, rows, strict=True), 1)
    )
    read = (path, *(label for label in labels if is_file(label)))
    return LabelledData(str(path), tuple(class_names.values()), tuple(class_names), images, read)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a file of labels."""

    class_index: int
    shares: tuple[float, ...]  # all numbers after the class
    where: str


def _yaml_of(path: Path) -> Path:
    """The file itself, or the one in a folder."""
    candidates = [path / name for name in ("data.yaml", "dataset.yaml")] if path.is_dir() else []
    return next((candidate for candidate in candidates if candidate.is_file()), path)


def _read_yaml(path: Path) -> Mapping[str, object]:
    try:
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise TypeError(f"it holds a {type(values).__name__}")
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path} must be a YAML file with names and val, as YOLO datasets have it: {reason}"
        ) from error
    return values


def _class_names(values: Mapping[str, object], path: Path) -> dict[int, str]:
    """Names by number. Raises ConfigError unless there are as many as `nc` says."""
    names = _numbered_names(values.get("names"), path)
    try:
        by_number = {int(str(number)): str(name) for number, name in names.items()}
    except ValueError as error:
        raise ConfigError(f"{path}: names must have whole numbers before them: {error}") from error
    num = values.get("nc")
    if len(by_number) != len(names) or (num is not None and str(num) != str(len(by_number))):
        raise ConfigError(
            f"{path}: nc and names must be of as many classes, nc is {num}, and {len(by_number)} are named"
        )
    return by_number


def _numbered_names(names: object, path: Path) -> Mapping[object, object]:
    """A list, numbers before names, where the numbers may be written as strings, or all names in one string."""
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise ConfigError(
            f"{path} must be a YAML file with names and val, as YOLO datasets have it: names must be a list of names, "
            f"or numbers before names, got {names!r}"[:400]
        )
    return names


def _num_point_numbers(shape: object, path: Path) -> int | None:
    """How many numbers follow the box in each row; None where no points are announced."""
    if shape is None:
        return None
    match shape:
        case [int(num_points), int(num_numbers)] if num_points > 0 and num_numbers in (2, 3):
            return num_points * num_numbers
    raise ConfigError(f"{path}: kpt_shape must be a number of points and 2 or 3 numbers a point, got {shape!r}"[:300])


def _refuse_points(rows: Sequence[_Row], path: Path) -> None:
    """Raise ConfigError where what could be outlines can only be boxes with points behind them.

    Then all rows are equally long, each begins with a box that lies within its image, and either every third number
    behind it says whether a point is seen, or many cross themselves when drawn as outlines, as few outlines do.
    """
    long = [row for row in rows if 6 <= len(row.shares) <= _MOST_POINT_NUMBERS]
    if not long or len({len(row.shares) for row in long}) > 1 or len(long[0].shares) % 2:
        return  # an odd number is refused with its line
    shares = np.array([row.shares for row in long])  # [N, M]
    if _are_points(shares):
        raise ConfigError(
            f"{long[0].where}: its {shares.shape[1]} numbers after the class are not an outline but a box and points; "
            f"say so in {path}: kpt_shape: [{(shares.shape[1] - 4) // 2}, 2], or 3 numbers a point"
        )


def _are_points(shares: npt.NDArray[np.float64]) -> bool:
    """Whether rows [N, M] that are equally long are boxes with points behind them; see `_refuse_points`."""
    corners = convert(shares[:, :4], "cxcywh", "xyxy")  # [N, 4]
    if not ((corners >= -_ROUNDING) & (corners <= 1 + _ROUNDING)).all():
        return False
    if (shares.shape[1] - 4) % 3 == 0 and np.isin(shares[:, 6::3], (0, 1, 2)).all():
        return True  # every third number says whether a point is seen
    sample = shares[:: max(1, len(shares) // 200)]
    return bool(np.mean([crosses_itself(row.reshape(-1, 2)) for row in sample]) >= 0.25)


def _images_of_split(values: Mapping[str, object], path: Path) -> tuple[str, list[Path]]:
    """The name of the first split that the file has, and its images."""
    split = next((split for split in _SPLITS if values.get(split)), None)
    if split is None:
        raise ConfigError(f"{path} must be a YAML file with names and val, as YOLO datasets have it: it has no val")
    root = values.get("path")
    if root is not None and not isinstance(root, str):
        raise ConfigError(f"{path}: path must be a folder, got {root!r}"[:300])
    return split, [image for word in _listed(values[split]) for image in _images_in(word, path, root)]


def _listed(value: object) -> list[str]:
    return [str(word)[:4096] for word in value] if isinstance(value, list) else [str(value)[:4096]]


def _images_in(word: str, yaml_path: Path, root: str | None) -> list[Path]:
    """The images of a folder, or of a text file that lists them."""
    candidates = _candidates(word, yaml_path, root or "")
    path = next((candidate for candidate in candidates if exists(candidate)), None)
    if path is None:
        raise ConfigError(f"{yaml_path}: there must be images at {word}, looked for {candidates[0]}")
    images = _images_below(path) if path.is_dir() else _images_of_list(path, yaml_path)
    if not images:
        raise ConfigError(f"{yaml_path}: there must be images at {word}, {path} has none")
    return images


def _candidates(word: str, yaml_path: Path, root: str) -> list[Path]:
    """The paths that a word may mean, the most likely first."""
    roots = [yaml_path.parent / root, yaml_path.parent]
    if "\\" in root:
        roots.append(yaml_path.parent / root.replace("\\", "/"))
    # Some tools write ../valid/images for what stands beside the file itself, and Windows' have backslashes.
    spellings = dict.fromkeys(form.removeprefix(up) for form in (word, word.replace("\\", "/")) for up in ("", "../"))
    return [base / spelling for base in roots for spelling in spellings]


def _images_below(folder: Path) -> list[Path]:
    return sorted(
        image
        for image in folder.rglob("*")
        if image.suffix.lower() in IMAGE_SUFFIXES and not image.name.startswith("._")
    )


def _images_of_list(path: Path, yaml_path: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error)
        raise ConfigError(f"{yaml_path}: {path} must be a text file with an image a line: {reason}") from error
    images = [path.parent / line for line in lines if line]
    return [image if exists(image) else path.parent / str(image).replace("\\", "/") for image in images]


def _label_file(image: Path) -> Path:
    """`labels` for the last `images` of the path, and .txt, in whatever case."""
    if not image.name:
        return image / ".txt"  # the root of a disk is not an image
    parts = list(image.parts)
    for number in range(len(parts) - 2, -1, -1):
        if parts[number] == "images":
            parts[number] = "labels"
            break
    path = Path(*parts).with_suffix(".txt")
    in_capitals = path.with_suffix(".TXT")
    return in_capitals if not is_file(path) and is_file(in_capitals) else path


def _size_of(path: Path) -> tuple[int, int]:
    """Width and height, turned as EXIF says."""
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if is_file(path) else None
    if pixels is None:
        raise ConfigError(f"{path}: is not an image that can be read")
    return pixels.shape[1], pixels.shape[0]


def _read_labels(path: Path, class_indices: Mapping[int, int]) -> list[_Row]:
    """The rows of a file of labels; one that is there twice counts once, as where YOLO is trained."""
    if not is_file(path):
        return []
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: must be a text file with an object a line: {reason_of(error)}") from error
    rows: dict[tuple[float, ...], _Row] = {}
    num_doubled = 0
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            class_id, *shares = map(float, line.split())
        except ValueError as error:
            raise ConfigError(f"{where}: must be numbers, got {line.strip()[:40]!r}") from error
        if not all(map(math.isfinite, shares)):
            raise ConfigError(f"{where}: a box must lie within its image, got {line.strip()[:40]!r}")
        if class_id not in class_indices:
            raise ConfigError(f"{where}: class {class_id:g} is not among the {len(class_indices)} names")
        num_doubled += (class_id, *shares) in rows
        rows[class_id, *shares] = _Row(class_indices[int(class_id)], tuple(shares), where)
    if num_doubled:
        logger.warning("%s: %d lines are there twice and count once", path, num_doubled)
    return list(rows.values())


def _labelled(
    number: int, image: Path, label: Path, rows: Sequence[_Row], num_point_numbers: int | None
) -> LabelledImage:
    size_wh = _size_of(image)
    boxes = [_box_of(row, size_wh, num_point_numbers) for row in rows]
    truth = Truth.of(marked(boxes, [row.class_index for row in rows]))
    return LabelledImage(str(image), number, truth, size_wh, image, label_file=label)


def _box_of(row: _Row, size_wh: tuple[int, int], num_point_numbers: int | None) -> tuple[float, float, float, float]:
    """Corners x1, y1, x2, y2 in pixels. Raises ConfigError for a box that is not within its image."""
    left, top, right, bottom = corners = _corners_of(row, num_point_numbers)
    if not all(-_ROUNDING <= corner <= 1 + _ROUNDING for corner in corners) or left > right or top > bottom:
        may_be_points = len(row.shares) > 4 and not num_point_numbers
        hint = "; for points behind a box, data.yaml must have kpt_shape" if may_be_points else ""
        raise ConfigError(f"{row.where}: a box must lie within its image, its sides being shares of 0 to 1{hint}")
    width, height = size_wh
    return left * width, top * height, right * width, bottom * height


def _corners_of(row: _Row, num_point_numbers: int | None) -> tuple[float, float, float, float]:
    """Corners x1, y1, x2, y2 as shares of the image's sides: of the box, or around the outline."""
    shares = row.shares
    if len(shares) == 4 or (num_point_numbers is not None and len(shares) == 4 + num_point_numbers):
        x, y, width, height = shares[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if num_point_numbers is not None:
        raise ConfigError(
            f"{row.where}: must be a class, 4 numbers, and the {num_point_numbers} of kpt_shape, got {len(shares)}"
        )
    if len(shares) < 6 or len(shares) % 2:
        raise ConfigError(
            f"{row.where}: must be a class and 4 numbers, or an outline of 3 points or more, got {len(shares)} "
            "numbers; for points behind a box, data.yaml must have kpt_shape"
        )
    xs, ys = shares[::2], shares[1::2]
    return min(xs), min(ys), max(xs), max(ys)
