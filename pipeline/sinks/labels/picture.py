"""Labelled picture: a result → what every format of labels says of it, its boxes within the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.picture.detection_rows import DetectionRow
from pipeline.picture.detections import Detections, Result
from pipeline.sinks.picture_names import PictureNames


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture and the objects in it.

    rows: as tables have them, with boxes that are clipped to the picture, which they did not miss.
    detections: the same objects, with the masks and points that there are. class_names: of the detector.
    """

    name: str  # a relative path with slashes
    image: str | None  # the file or address, of an image
    size_wh: tuple[int, int]
    rows: Sequence[DetectionRow]
    detections: Detections
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, result: Result, names: PictureNames) -> LabelledPicture:
        """The picture of a result; boxes that lie outside of it are left out, no label can have them."""
        width, height = result.frame.size_wh
        corners = np.array([width, height] * 2, np.float32)
        clipped = [row.with_box(np.clip(row.box, 0, corners).tolist()) for row in result.rows()]
        inside = [index for index, row in enumerate(clipped) if row.x1 < row.x2 and row.y1 < row.y2]
        return cls(
            names.name_of(result.frame),
            result.frame.image,
            (width, height),
            [clipped[index] for index in inside],
            result.detections.select(np.array(inside, np.int64)),
            result.class_names,
        )


def names_up_to(class_names: Sequence[str], highest: int) -> list[str]:
    """The names of classes 0 to `highest` or as many as have names; `class 7` where there is none."""
    return [*class_names, *(f"class {class_id}" for class_id in range(len(class_names), highest + 1))]
