"""What does a COCO JSON say is in its images?

https://cocodataset.org/#format-data: boxes are left, top, width, height in pixels, counted from 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, marked, refuse_outside
from pipeline.errors import ConfigError


def read_coco_json(path: Path) -> LabelledData:
    """Read images, objects, and crowds, which are ignored; the images are not looked for.

    Images are in the order of their ids, which decides between equal scores, as it does where pycocotools reads.
    Some tools write the box alone, or count from 0: area, crowd and number of an annotation may be missing.
    Raises ConfigError for a file that cannot be read, anything else in it, an image or category that an annotation
    names and the file does not have, and a box outside its image.
    """
    try:
        values = json.loads(path.read_bytes())
        categories = {each["id"]: each["name"] for each in values["categories"]}
        places = {category_id: place for place, category_id in enumerate(categories)}
        rows: dict[int, list[_Row]] = {each["id"]: [] for each in values["images"]}
        sizes = {each["id"]: _size_of(each) for each in values["images"]}
        for number, each in enumerate(values["annotations"], 1):
            where = f"{path}: annotation {each.get('id', number)}"
            if each["category_id"] not in places:
                raise ConfigError(f"{where}: category {each['category_id']} is not among the file's categories")
            if each["image_id"] not in rows:
                raise ConfigError(f"{where}: image {each['image_id']} is not among the file's images")
            row = _Row(each, places)
            refuse_outside(row.box_xyxy, sizes[each["image_id"]], where=where)
            rows[each["image_id"]].append(row)
        images = tuple(
            LabelledImage(each["file_name"], each["id"], _truth(rows[each["id"]]), sizes[each["id"]])
            for each in sorted(values["images"], key=lambda each: each["id"])
        )
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} must hold COCO's images, annotations and categories: {error!r}") from error
    return LabelledData(str(path), tuple(categories.values()), tuple(categories), images)


def find_coco_json(folder: Path) -> LabelledData | None:
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
    return read_coco_json(found[0])


class _Row:
    """What counts of an annotation."""

    __slots__ = ("area", "box_xyxy", "is_crowd", "place")

    def __init__(self, annotation: Mapping[str, Any], places: Mapping[int, int]) -> None:
        left, top, width, height = map(float, annotation["bbox"])
        self.box_xyxy = (left, top, left + width, top + height)
        self.area = float(annotation.get("area", width * height))
        self.is_crowd = bool(annotation.get("iscrowd", 0))
        self.place = places[annotation["category_id"]]


def _truth(rows: list[_Row]) -> Truth:
    objects, crowds = ([row for row in rows if row.is_crowd == is_crowd] for is_crowd in (False, True))
    return Truth(
        marked([row.box_xyxy for row in objects], [row.place for row in objects]),
        np.array([row.area for row in objects], np.float64),
        marked([row.box_xyxy for row in crowds], [row.place for row in crowds]),
    )


def _size_of(image: Mapping[str, Any]) -> tuple[int, int] | None:
    return (int(image["width"]), int(image["height"])) if image.get("width") and image.get("height") else None
