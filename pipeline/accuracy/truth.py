"""Truth: labelled images, and the objects in them that people, or the machine that drew them, have marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections

LARGEST_SIDE = 1e9
"""Pixels, beyond which a box is not taken for one; float32 holds more, and areas as well."""

MOST_BOXES = 20_000
"""In one image; each is compared with each, and no data set that people labelled comes near."""

AreaArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """What COCO's labels say of an object beyond its box, as they have it: polygons or RLE, and x, y, v of points."""

    segmentation: object = None
    keypoints: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """The objects of one image, in its pixels; class ids are indices into `LabelledData.class_names`."""

    objects: Detections  # score 1; with track_ids where the data has identities
    areas: AreaArray  # [N] square pixels by which COCO tells small from large: of the outline, where it was drawn
    ignored: Detections  # to find one is neither right nor wrong: a crowd, a difficult object, one hidden too much
    shapes: tuple[Shape, ...] | None = None  # of the objects, then of the ignored ones; None: the format has none

    @classmethod
    def of(cls, objects: Detections, ignored: Detections | None = None) -> Truth:
        """Objects that are as large as their boxes."""
        sides = (objects.boxes_xyxy[:, 2:] - objects.boxes_xyxy[:, :2]).astype(np.float64)  # [N, 2]
        return cls(objects, sides.prod(axis=1), Detections.empty() if ignored is None else ignored)


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image and its objects."""

    name: str  # as the labels have it
    image_id: int | float | str  # in a file of results
    truth: Truth
    size_wh: tuple[int, int] | None = None  # that the labels were drawn for, None where they do not say
    path: Path | None = None  # None: not looked for, or no file but a frame
    pts_seconds: float | None = None  # media time, of a frame
    label_file: Path | None = None  # that is about this image alone, and usually bears its name


@dataclass(frozen=True, slots=True)
class LabelledData:
    """Images and their labels."""

    origin: str  # what the user typed, for errors
    class_names: tuple[str, ...]
    category_ids: tuple[int | float | str, ...]  # of the classes, in a file of results
    images: tuple[LabelledImage, ...]
    label_files: tuple[Path, ...] = ()  # that were read

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is read: of labels and of images."""
        return (*self.label_files, *(image.path for image in self.images if image.path is not None))

    def first(self, num_images: int | None) -> LabelledData:
        """The same data with at most `num_images` images; None: all."""
        return replace(self, images=self.images[:num_images])

    def num_objects_by_class(self) -> npt.NDArray[np.int64]:
        """How many objects each class has [C], without the ignored ones."""
        return np.bincount(
            np.concatenate([np.zeros(0, np.int64), *(image.truth.objects.class_ids for image in self.images)]),
            minlength=len(self.class_names),
        )


def marked(boxes_xyxy: Sequence[Sequence[float]], class_ids: Sequence[int]) -> Detections:
    """Boxes that are known to be there: their score is 1."""
    return Detections(
        np.array(boxes_xyxy, np.float64).reshape(-1, 4).astype(np.float32),
        np.ones(len(class_ids), np.float32),
        np.array(class_ids, np.int64),
    )


def refuse_crowded(num_boxes: int, *, where: str) -> None:
    """Raise ConfigError, which begins with `where`, for an image with more boxes than could be judged in an hour."""
    if num_boxes > MOST_BOXES:
        raise ConfigError(f"{where}: an image must have at most {MOST_BOXES:,} boxes, got {num_boxes:,}")


def same_id(value: object) -> str:
    """One string for the ids 2, "2" and 2.0, which tools write for one another."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def refuse_outside(box_xyxy: Sequence[float], size_wh: tuple[int, int] | None, *, where: str) -> None:
    """Raise ConfigError, which begins with `where`, for a box that cannot be in an image of that size."""
    x1, y1, x2, y2 = box_xyxy
    if not (all(abs(side) < LARGEST_SIDE for side in box_xyxy) and x1 <= x2 and y1 <= y2):
        raise ConfigError(f"{where}: a box must have finite corners and no negative side, got {_written(box_xyxy)}")
    if size_wh is not None and (x2 < 0 or y2 < 0 or x1 > size_wh[0] or y1 > size_wh[1]):
        raise ConfigError(
            f"{where}: the box {_written(box_xyxy)} lies outside its image of {size_wh[0]}×{size_wh[1]}; "
            "the labels may be of another size of the image"
        )


def _written(box_xyxy: Sequence[float]) -> str:
    return "(" + ", ".join(f"{corner:g}" for corner in box_xyxy) + ")"
