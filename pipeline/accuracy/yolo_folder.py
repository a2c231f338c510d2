"""What does a YOLO dataset, described by a data.yaml, say is in its images?

https://docs.ultralytics.com/datasets/detect: beside `images/…/name.jpg` stands `labels/…/name.txt` with a line an
object: class, then centre x, centre y, width and height as shares of the image's, or the corners of an outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import yaml

from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, marked
from pipeline.errors import ConfigError

_SPLITS = ("val", "test", "train")
_SUFFIXES = frozenset((".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
# Tools round to a few digits, so that a box at the border may come out a little beyond it.
_ROUNDING = 1e-3


def read_yolo_folder(path: Path) -> LabelledData:
    """Read the validation images of a data.yaml, or of the one in a folder; else those of `test`, or of `train`.

    An image without a label file has no objects. Images are numbered from 1, classes as in the file. Each image is
    read, because its size is in no label.
    Raises ConfigError for a file that cannot be read or says something else, a class that it does not name, a box
    outside its image, and where not one image has a label file.
    """
    if path.is_dir():
        path = next((path / name for name in ("data.yaml", "dataset.yaml") if (path / name).is_file()), path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = values["names"]
        class_names = {
            number: str(name) for number, name in (names if isinstance(names, dict) else dict(enumerate(names))).items()
        }
        split = next(each for each in _SPLITS if values.get(each))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ConfigError(
            f"{path} must be a YAML file with names and val, as YOLO datasets have it: {error!r}"
        ) from error
    paths = [each for place in _listed(values[split]) for each in _images_in(place, path, values.get("path"))]
    labels = [_label_file(each) for each in paths]
    if not any(each.is_file() for each in labels):
        raise ConfigError(f"{path}: {split} must have labels beside its {len(paths)} images, such as {labels[0]}")
    places = {number: place for place, number in enumerate(class_names)}
    images = []
    for number, (image, label) in enumerate(zip(paths, labels, strict=True), 1):
        size_wh = _size_of(image)
        images.append(LabelledImage(str(image), number, _read_labels(label, size_wh, places), size_wh, image))
    return LabelledData(str(path), tuple(class_names.values()), tuple(class_names), tuple(images))


def _listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _images_in(word: str, yaml_path: Path, root: str | None) -> list[Path]:
    """The images of a folder, or of a text file that lists them."""
    roots = [yaml_path.parent / (root or ""), yaml_path.parent]
    # Some tools write ../valid/images for what stands beside the file itself.
    places = [base / each for base in roots for each in (word, word.removeprefix("../"))]
    place = next((each for each in places if each.exists()), None)
    if place is None:
        raise ConfigError(f"{yaml_path}: there must be images at {word}, looked for {places[0]}")
    if place.is_dir():
        found = sorted(each for each in place.rglob("*") if each.suffix.lower() in _SUFFIXES)
    else:
        found = [place.parent / line.strip() for line in place.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not found:
        raise ConfigError(f"{yaml_path}: there must be images at {word}, {place} has none")
    return found


def _label_file(image: Path) -> Path:
    """`labels` for the last `images` of the path, and .txt."""
    parts = list(image.parts)
    for number in range(len(parts) - 2, -1, -1):
        if parts[number] == "images":
            parts[number] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _size_of(path: Path) -> tuple[int, int]:
    """Width and height, turned as EXIF says."""
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise ConfigError(f"{path}: is not an image that can be read")
    return pixels.shape[1], pixels.shape[0]


def _read_labels(path: Path, size_wh: tuple[int, int], places: dict[int, int]) -> Truth:
    if not path.is_file():
        return Truth.of(marked([], []))
    boxes, class_ids = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            class_id, *shares = map(float, line.split())
        except ValueError as error:
            raise ConfigError(f"{where}: must be numbers, got {line.strip()[:40]!r}") from error
        if class_id not in places:
            raise ConfigError(f"{where}: class {class_id:g} is not among the {len(places)} names")
        boxes.append(_box_of(shares, size_wh, where=where))
        class_ids.append(places[int(class_id)])
    return Truth.of(marked(boxes, class_ids))


def _box_of(shares: Sequence[float], size_wh: tuple[int, int], *, where: str) -> tuple[float, float, float, float]:
    if len(shares) == 4:
        x, y, width, height = shares
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    elif len(shares) >= 6 and len(shares) % 2 == 0:
        left, right = min(shares[::2]), max(shares[::2])
        top, bottom = min(shares[1::2]), max(shares[1::2])
    else:
        raise ConfigError(f"{where}: must be a class and 4 numbers, or an outline of 3 points or more")
    corners = (left, top, right, bottom)
    if not all(-_ROUNDING <= each <= 1 + _ROUNDING for each in corners) or left > right or top > bottom:
        raise ConfigError(f"{where}: a box must lie within its image, its sides being shares of 0 to 1")
    width, height = size_wh
    return left * width, top * height, right * width, bottom * height
