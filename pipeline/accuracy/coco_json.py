"""COCO JSON: a file → images with the objects in them.

https://cocodataset.org/#format-data: boxes are left, top, width, height in pixels, counted from 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.accuracy.outline import box_of_polygons, box_of_rle
from pipeline.accuracy.truth import LabelledData, LabelledImage, Shape, Truth, marked, refuse_outside, same_id
from pipeline.errors import ConfigError, reason_of
from pipeline.picture.detections import Detections

Id = int | float | str

_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "")


def read_coco_json(path: Path) -> LabelledData:
    """Read images, objects, and crowds, which are ignored; the images are not looked for.

    Images are in the order of their ids, which decides between equal scores, as it does where pycocotools reads.
    Ids may be numbers or strings, also one instead of the other. Some tools write the outline alone, or the
    box alone, or count from 0: an annotation may lack box, area, crowd and number; the certain rest is read.
    Raises ConfigError, which names the entry, for anything else, for an image or category that an annotation names and
    the file does not have, for one that is there twice, and for a box outside its image.
    """
    sections = _sections(path)
    categories = _entries(sections["categories"], "category", path)
    class_names = {key: _name(category, "name") for key, category in categories.items()}
    images = _entries(sections["images"], "image", path)
    file_names = {key: _name(image, "file_name") for key, image in images.items()}
    _refuse_images_named_twice(file_names, path)
    sizes = {key: _size_of(image) for key, image in images.items()}
    class_indices = {key: index for index, key in enumerate(class_names)}
    rows = _rows_by_image(sections["annotations"], class_indices, sizes, path)
    labelled = tuple(
        LabelledImage(file_names[key], image.id, _truth(rows[key]), sizes[key])
        for key, image in sorted(images.items(), key=lambda item: _order(item[1].id))
    )
    category_ids = tuple(category.id for category in categories.values())
    return LabelledData(str(path), tuple(class_names.values()), category_ids, labelled, (path,))


def find_coco_json(folder: Path) -> LabelledData | None:
    """The labels of a folder of images: the one COCO JSON in it, beside it, or in `annotations`; or None.

    Raises ConfigError for several, and for a JSON file of another kind.
    """
    parents = (folder, folder / "annotations", folder.parent)
    paths = [path for parent in parents if parent.is_dir() for path in _json_files(parent)]
    paths = [path for path in paths if path.name.startswith("instances") or path.parent != folder.parent]
    if not paths:
        return None
    if len(paths) > 1:
        raise ConfigError(f"{folder}: one COCO JSON must be with the images, found {', '.join(map(str, paths))}")
    return read_coco_json(paths[0])


def _json_files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == ".json" and not path.name.startswith("._") and path.is_file()
    ]


class _Entry(NamedTuple):
    """A category or an image."""

    id: Id
    fields: Mapping[str, object]
    where: str  # for errors


class _Row:
    """An annotation: its box, area and class, and whether it is a crowd."""

    __slots__ = ("area", "box_xyxy", "class_index", "is_crowd", "shape")

    def __init__(self, annotation: Mapping[str, object], class_index: int, where: str) -> None:
        self.box_xyxy = _box_of(annotation, where)
        left, top, right, bottom = self.box_xyxy
        area = annotation.get("area")
        self.area = (right - left) * (bottom - top) if area in (None, "") else _number(area, f"{where}: area")
        self.is_crowd = _truth_value(annotation.get("iscrowd"), f"{where}: iscrowd")
        self.class_index = class_index
        self.shape = Shape(annotation.get("segmentation") or None, _points_of(annotation, where))


def _sections(path: Path) -> dict[str, list[object]]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} must hold COCO's images, annotations and categories: {reason_of(error)}") from error
    for name in ("images", "annotations", "categories"):
        if not isinstance(values, dict) or not isinstance(values.get(name), list):
            has = ", ".join(map(str, list(values)[:8])) if isinstance(values, dict) else f"a {type(values).__name__}"
            raise ConfigError(
                f"{path} must hold COCO's images, annotations and categories: it has no list {name}, only {has or '{}'}"
            )
    sections: dict[str, list[object]] = values
    return sections


def _entries(values: Sequence[object], what: str, path: Path) -> dict[str, _Entry]:
    """Entries with an id, by the key of it; one that is written twice alike counts once."""
    entries: dict[str, _Entry] = {}
    for number, fields in enumerate(values, 1):
        where = f"{path}: {what} {number} of {len(values)}"
        if not isinstance(fields, dict):
            raise ConfigError(f"{where}: must be an object with an id, got {_in_words(fields)}")
        value = _id(fields, "id", where)
        entry = _Entry(value, fields, f"{path}: {what} {_in_words(value)}")
        if entries.setdefault(same_id(value), entry).fields != fields:
            raise ConfigError(f"{where}: the id {value} must be of one {what}, two have it")
    return entries


def _rows_by_image(
    annotations: Sequence[object],
    class_indices: Mapping[str, int],
    sizes: Mapping[str, tuple[int, int] | None],
    path: Path,
) -> dict[str, list[_Row]]:
    """The annotations of each image, by its key; classes and sizes are by key as well."""
    rows: dict[str, list[_Row]] = {key: [] for key in sizes}
    for number, value in enumerate(annotations, 1):
        annotation, where = _annotation(value, number, path)
        image_key, category_key = (same_id(_id(annotation, name, where)) for name in ("image_id", "category_id"))
        if category_key not in class_indices:
            raise ConfigError(f"{where}: category {annotation['category_id']} is not among the file's categories")
        if image_key not in rows:
            raise ConfigError(f"{where}: image {annotation['image_id']} is not among the file's images")
        row = _Row(annotation, class_indices[category_key], where)
        refuse_outside(row.box_xyxy, sizes[image_key], where=where)
        rows[image_key].append(row)
    return rows


def _annotation(value: object, number: int, path: Path) -> tuple[Mapping[str, object], str]:
    """The fields of an annotation, and its name for errors. Raises ConfigError where it is not an object."""
    if not isinstance(value, dict):
        where = f"{path}: annotation {number}"
        raise ConfigError(f"{where}: must be an object with image_id, category_id and bbox, got {_in_words(value)}")
    return value, f"{path}: annotation {value.get('id', number)}"


def _refuse_images_named_twice(file_names: Mapping[str, str], path: Path) -> None:
    first: dict[str, str] = {}
    for number, name in file_names.items():
        if first.setdefault(name, number) != number:
            raise ConfigError(
                f"{path}: image {number} and image {first[name]} are both {name}, so that each would have a part of "
                "its objects; give them one id"
            )


def _id(fields: Mapping[str, object], name: str, where: str) -> Id:
    value = fields.get(name)
    if value is None:
        path, _, what = where.rpartition(": ")
        raise ConfigError(f"{path} must hold COCO's images, annotations and categories: {what} has no {name}")
    is_whole = not isinstance(value, float) or value.is_integer()
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not is_whole or value == "":
        raise ConfigError(f"{where}: {name} must be a whole number or a string, got {_in_words(value)}")
    return value


def _order(value: Id) -> tuple[bool, float, str]:
    """Numbers by size, then strings by letters."""
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")


def _name(entry: _Entry, key: str) -> str:
    value = entry.fields.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise ConfigError(f"{entry.where}: {key} must be a name, got {_in_words(value)}")
    return str(value)


def _points_of(annotation: Mapping[str, object], where: str) -> tuple[float, ...]:
    """x, y and v of each keypoint, flat; () where there are none."""
    points = annotation.get("keypoints") or []
    if not isinstance(points, list) or len(points) % 3:
        raise ConfigError(f"{where}: keypoints must be x, y and v of each point, got {_in_words(points)}")
    return tuple(_number(value, f"{where}: keypoints") for value in points)


def _box_of(annotation: Mapping[str, object], where: str) -> tuple[float, float, float, float]:
    bbox = annotation.get("bbox")
    if bbox in (None, [], ""):
        return _box_of_outline(annotation.get("segmentation"), where)
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise ConfigError(f"{where}: bbox must be left, top, width and height, got {_in_words(bbox)}")
    left, top, width, height = (_number(side, f"{where}: bbox", finite=False) for side in bbox)
    return left, top, left + width, top + height


def _box_of_outline(outline: object, where: str) -> tuple[float, float, float, float]:
    try:
        box = box_of_rle(outline) if isinstance(outline, dict) else box_of_polygons(outline)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ConfigError(f"{where}: its segmentation, for want of a bbox, must be an outline: {error}") from error
    if box is None:
        raise ConfigError(
            f"{where}: must have a bbox of left, top, width and height, or a segmentation; it has neither"
        )
    return box


def _number(value: object, where: str, *, finite: bool = True) -> float:
    number = _as_float(value)
    if number is None:
        raise ConfigError(f"{where} must be a number, got {_in_words(value)}")
    if finite and not (math.isfinite(number) and number >= 0):
        raise ConfigError(f"{where} must be a number from 0 on, got {_in_words(value)}")
    return number


def _as_float(value: object) -> float | None:
    """A number, also as a string; NaN for true and false, None for anything else."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def _truth_value(value: object, where: str) -> bool:
    word = "" if value is None else str(value).strip().lower()
    if word not in (*_YES, *_NO):
        raise ConfigError(f"{where} must be 0 or 1, got {_in_words(value)}")
    return word in _YES


def _size_of(image: _Entry) -> tuple[int, int] | None:
    """Width and height; None where the file leaves one of them open, as 0, null or not at all."""
    sides = [image.fields.get(name) for name in ("width", "height")]
    if any(side in (None, "", 0, "0") for side in sides):
        return None
    width, height = (int(_number(side, f"{image.where}: width and height")) for side in sides)
    return (width, height) if width and height else None


def _truth(rows: list[_Row]) -> Truth:
    objects, crowds = ([row for row in rows if row.is_crowd is is_crowd] for is_crowd in (False, True))
    areas = np.array([row.area for row in objects], np.float64)
    shapes = tuple(row.shape for row in (*objects, *crowds))
    has_any = any(shape != Shape() for shape in shapes)
    return Truth(_marked(objects), areas, _marked(crowds), shapes if has_any else None)


def _marked(rows: list[_Row]) -> Detections:
    return marked([row.box_xyxy for row in rows], [row.class_index for row in rows])


def _in_words(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "…"
