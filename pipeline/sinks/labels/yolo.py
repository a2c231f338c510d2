"""YOLO labels: pictures → a folder with data.yaml and labels/NAME.txt, for the pictures in its images/.

https://docs.ultralytics.com/datasets/detect: a line an object, its class, then the centre and the size of its box as
shares of the picture. Scores have no place there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from pipeline.sinks.labels.label_sink import FolderLabels
from pipeline.sinks.labels.picture import LabelledPicture, names_up_to
from pipeline.whole_file import write_whole


class YoloLabels(FolderLabels):
    """Writes an empty file for a picture without objects: it was looked at."""

    what, suffix = "YOLO labels", ".txt"
    _highest, _num_names = -1, -1  # the highest class id yet, and how many names data.yaml has

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
        if len(names) != self._num_names:
            write_whole(self._data_yaml, data_yaml(names))
            self._num_names = len(names)

    def _name_of(self, picture: LabelledPicture) -> str | Path:
        """Of a picture that is in images/ already, its path there: images/a/b.jpg has labels/a/b.txt."""
        if picture.image is None or "://" in picture.image:
            return picture.name
        path, images = Path(picture.image).absolute(), (self._path / "images").absolute()
        return path.relative_to(images) if path.is_relative_to(images) else picture.name

    def _content(self, picture: LabelledPicture) -> bytes:
        width, height = picture.size_wh
        lines = []
        for row in picture.rows:
            centre = (row.x1 + row.x2) / 2 / width, (row.y1 + row.y2) / 2 / height
            size = (row.x2 - row.x1) / width, (row.y2 - row.y1) / height
            lines.append(" ".join([str(row.class_id), *(f"{share:.6f}" for share in (*centre, *size))]))
        return "".join(f"{line}\n" for line in lines).encode()


def data_yaml(class_names: list[str]) -> bytes:
    """A data.yaml whose pictures are in images/ beside it; the same ones are there to train and to validate."""
    values = {"train": "images", "val": "images", "nc": len(class_names), "names": dict(enumerate(class_names))}
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return text.encode("utf-8", "backslashreplace")
