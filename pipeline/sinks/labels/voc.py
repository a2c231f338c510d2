"""Pascal VOC labels: pictures → a folder with NAME.xml for each.

Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4: boxes are whole pixels, the first of a picture being
1, and `xmax`, `ymax` the last ones inside. Scores have no place there.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from xml.etree import ElementTree

from pipeline.picture.detection_rows import DetectionRow
from pipeline.sinks.labels.label_sink import FolderLabels
from pipeline.sinks.labels.picture import LabelledPicture
from pipeline.sinks.labels.xml_text import add, xml_of


class VocLabels(FolderLabels):
    """Writes a file without objects for a picture without any."""

    what, suffix = "VOC labels", ".xml"

    def _content(self, picture: LabelledPicture) -> bytes:
        name = PurePosixPath(picture.name)
        root = ElementTree.Element("annotation")
        if name.parent.name:
            add(root, "folder", name.parent.name)
        add(root, "filename", name.name)
        add(add(root, "source"), "database", "streamdet")
        size = add(root, "size")
        for side, pixels in zip(("width", "height", "depth"), (*picture.size_wh, 3), strict=True):
            add(size, side, pixels)
        add(root, "segmented", 0)
        for row in picture.rows:
            _add_object(root, row, picture.size_wh)
        return xml_of(root) + b"\n"


def _add_object(root: ElementTree.Element, row: DetectionRow, size_wh: tuple[int, int]) -> None:
    element = add(root, "object")
    add(element, "name", row.class_name)
    add(element, "pose", "Unspecified")
    add(element, "truncated", 0)
    add(element, "difficult", 0)
    (xmin, xmax), (ymin, ymax) = _pixels(row.x1, row.x2, size_wh[0]), _pixels(row.y1, row.y2, size_wh[1])
    box = add(element, "bndbox")
    for tag, pixel in zip(("xmin", "ymin", "xmax", "ymax"), (xmin, ymin, xmax, ymax), strict=True):
        add(box, tag, pixel)


def _pixels(start: float, end: float, length: int) -> tuple[int, int]:
    """The first and the last pixel, counted from 1, of a side that has at least one."""
    first = min(round(start) + 1, length)
    return first, max(round(end), first)
