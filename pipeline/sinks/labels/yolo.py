"""YOLO labels: pictures → a folder with data.yaml and labels/NAME.txt, for the pictures in its images/.

https://docs.ultralytics.com/datasets/detect: a line an object, its class, then the centre and the size of its box as
shares of the picture; of a mask the outline of its largest part instead, as in /datasets/segment; and behind a box
x, y, 2 for each keypoint, or 0, 0, 0 where the detector is not sure of one, as in /datasets/pose; of an oriented box
its four corners, as in /datasets/obb, moved into the picture. Scores have no place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from pipeline.picture.keypoints import SURE_SCORE
from pipeline.sinks.labels.label_sink import FolderLabels
from pipeline.sinks.labels.picture import LabelledPicture, names_up_to
from pipeline.whole_file import write_whole


class YoloLabels(FolderLabels):
    """Writes an empty file for a picture without objects: it was looked at."""

    what, suffix = "YOLO labels", ".txt"
    keeps = frozenset(("masks", "keypoints", "corners"))
    _highest = -1  # class id yet
    _written: tuple[int, int] | None = None  # in data.yaml: how many names and how many keypoints

    @property
    def _folder(self) -> Path:
        return self._path / "labels"

    @property
    def _data_yaml(self) -> Path:
        return self._path / "data.yaml"

    def _old_labels(self) -> Iterator[Path]:
        yield from super()._old_labels()
        if self._data_yaml.exists():
            yield self._data_yaml

    def _write(self, picture: LabelledPicture) -> None:
        super()._write(picture)
        self._highest = max(self._highest, *(row.class_id for row in picture.rows), -1)
        names = names_up_to(picture.class_names, self._highest)
        keypoints = picture.detections.keypoints
        num_points = 0 if keypoints is None else keypoints.shape[1]
        if self._written != (len(names), num_points):
            write_whole(self._data_yaml, data_yaml(names, num_points=num_points))
            self._written = (len(names), num_points)

    def _name_of(self, picture: LabelledPicture) -> str | Path:
        """Of a picture that is in images/ already, its path there: images/a/b.jpg has labels/a/b.txt."""
        if picture.image is None or "://" in picture.image:
            return picture.name
        path, images = Path(picture.image).absolute(), (self._path / "images").absolute()
        return path.relative_to(images) if path.is_relative_to(images) else picture.name

    def _content(self, picture: LabelledPicture) -> bytes:
        lines = [" ".join([str(row.class_id), *_shape_of(picture, index)]) for index, row in enumerate(picture.rows)]
        return "".join(f"{line}\n" for line in lines).encode()


def _shape_of(picture: LabelledPicture, index: int) -> list[str]:
    """The corners of an oriented box, the outline of an object, or its box and keypoints."""
    if picture.detections.corners is not None:
        corners = picture.detections.corners[index].clip(0, np.array(picture.size_wh, np.float32))  # [4, 2]
        return _shares(corners.tolist(), picture.size_wh)
    row, masks, keypoints = picture.rows[index], picture.detections.masks, picture.detections.keypoints
    if masks is not None and keypoints is None:  # a line has one or the other
        outline = (masks.outline(index) + 0.5).tolist()
        corners = [(row.x1, row.y1), (row.x2, row.y1), (row.x2, row.y2), (row.x1, row.y2)]
        return _shares(outline if len(outline) >= 3 else corners, picture.size_wh)
    box = ((row.x1 + row.x2) / 2, (row.y1 + row.y2) / 2), (row.x2 - row.x1, row.y2 - row.y1)
    words = _shares(box, picture.size_wh)
    for x, y, score in [] if keypoints is None else keypoints[index].tolist():
        # A point that is not a number fails the comparison.
        is_there = score >= SURE_SCORE and 0 <= x <= picture.size_wh[0] and 0 <= y <= picture.size_wh[1]
        words += [*_shares([(x, y)], picture.size_wh), "2"] if is_there else ["0", "0", "0"]
    return words


def _shares(pairs: Iterable[Sequence[float]], size_wh: tuple[int, int]) -> list[str]:
    return [f"{value / side:.6f}" for pair in pairs for value, side in zip(pair, size_wh, strict=True)]


def data_yaml(class_names: list[str], *, num_points: int = 0) -> bytes:
    """A data.yaml whose pictures are in images/ beside it; the same ones are there to train and to validate."""
    values: dict[str, object] = {"train": "images", "val": "images", "nc": len(class_names)}
    values["names"] = dict(enumerate(class_names))
    if num_points:
        values["kpt_shape"] = [num_points, 3]
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return text.encode("utf-8", "backslashreplace")
