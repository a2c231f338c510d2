"""COCO labels: pictures → one JSON with images, annotations and categories.

https://cocodataset.org/#format-data: boxes are left, top, width, height in pixels. Category ids are class ids + 1, as
COCO counts from 1. Masks are compressed run lengths, oriented boxes polygons of four corners, keypoints x, y, 2 where
the detector is sure enough of one and 0, 0, 0 where it is not; `score` is ours, and readers leave it alone.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

from pipeline.picture.detection_rows import DetectionRow
from pipeline.picture.keypoints import COCO_EDGES, COCO_POINTS, SURE_SCORE, point_names
from pipeline.picture.quadrilaterals import quadrilateral_areas
from pipeline.sinks.labels.label_sink import FileLabels
from pipeline.sinks.labels.picture import LabelledPicture, names_up_to
from pipeline.version import __version__
from pipeline.whole_file import WholeFile


class CocoLabels(FileLabels):
    """Annotations wait in a file without a name until all images are written."""

    what = "COCO labels"
    keeps = frozenset(("masks", "keypoints", "corners"))
    _annotations: IO[bytes] | None = None
    _num_images = _num_annotations = _num_points = 0
    _highest = -1
    _class_names: tuple[str, ...] = ()

    def _begin(self, picture: LabelledPicture) -> bytes:
        self._annotations = tempfile.TemporaryFile(dir=self._path.resolve().parent)  # noqa: SIM115 - closed at the end
        self._class_names = picture.class_names
        info = {"description": f"Detections by streamdet {__version__}"}
        return b'{"info": ' + _json(info) + b',\n"images": ['

    def _piece(self, picture: LabelledPicture) -> bytes:
        assert self._annotations is not None
        self._num_images += 1
        width, height = picture.size_wh
        for annotation in self._annotations_of(picture):
            self._num_annotations += 1
            lead = b"\n" if self._num_annotations == 1 else b",\n"
            self._annotations.write(lead + _json({"id": self._num_annotations} | annotation))
        image = {"id": self._num_images, "file_name": picture.name, "width": width, "height": height}
        return (b"\n" if self._num_images == 1 else b",\n") + _json(image)

    def _annotations_of(self, picture: LabelledPicture) -> Iterator[dict[str, object]]:
        detections = picture.detections
        masks, keypoints, corners = detections.masks, detections.keypoints, detections.corners
        areas = [] if corners is None else quadrilateral_areas(corners).tolist()
        for index, row in enumerate(picture.rows):
            self._highest = max(self._highest, row.class_id)
            annotation = {"image_id": self._num_images, "category_id": row.class_id + 1, **_box(row), "iscrowd": 0}
            if masks is not None:
                annotation |= {"segmentation": masks.rle(index), "area": int(np.count_nonzero(masks.crop(index)))}
            if corners is not None:
                polygon = [round(value, 2) for value in corners[index].reshape(-1).tolist()]
                annotation |= {"segmentation": [polygon], "area": round(areas[index], 2)}
            if keypoints is not None:
                self._num_points = keypoints.shape[1]
                annotation |= _points(keypoints[index])
            yield annotation | {"score": row.score}

    def _end(self, file: WholeFile) -> None:
        assert self._annotations is not None
        file.file.write(b'],\n"annotations": [')
        self._annotations.seek(0)
        shutil.copyfileobj(self._annotations, file.file)
        file.file.write(b'],\n"categories": ' + _json(self._categories()) + b"}\n")
        self._annotations.close()

    def _give_up(self) -> None:
        super()._give_up()
        if self._annotations is not None:
            self._annotations.close()

    def _categories(self) -> list[dict[str, object]]:
        is_coco = self._num_points == len(COCO_POINTS)
        skeleton = [[start + 1, end + 1] for start, end in COCO_EDGES] if is_coco else []
        of_points = {"keypoints": point_names(self._num_points), "skeleton": skeleton} if self._num_points else {}
        names = names_up_to(self._class_names, self._highest)
        return [{"id": number, "name": name, "supercategory": ""} | of_points for number, name in enumerate(names, 1)]


def _box(row: DetectionRow) -> dict[str, object]:
    width, height = round(row.x2 - row.x1, 2), round(row.y2 - row.y1, 2)
    return {"bbox": [row.x1, row.y1, width, height], "area": round(width * height, 2)}


def _points(points: npt.NDArray[np.float32]) -> dict[str, object]:
    """The keypoints [points, 3] of a detection, flat."""
    flat: list[float] = []
    for x, y, score in points.tolist():
        flat += [round(x, 2), round(y, 2), 2] if score >= SURE_SCORE and np.isfinite([x, y]).all() else [0, 0, 0]
    return {"keypoints": flat, "num_keypoints": sum(1 for visible in flat[2::3] if visible)}


def _json(value: object) -> bytes:
    return json.dumps(value, allow_nan=False).encode()
