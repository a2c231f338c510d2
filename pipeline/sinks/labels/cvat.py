"""CVAT's labels: pictures → one XML of the kind "CVAT for images 1.1".

https://docs.cvat.ai/docs/manual/advanced/xml_format: boxes are corners in pixels. Scores have no place there.
"""

from __future__ import annotations

from xml.etree import ElementTree

from pipeline.sinks.labels.label_sink import FileLabels
from pipeline.sinks.labels.picture import LabelledPicture
from pipeline.sinks.labels.xml_text import add, xml_of
from pipeline.whole_file import WholeFile


class CvatLabels(FileLabels):
    """Pictures are numbered from 0 as they come; boxes are marked as made by a machine."""

    what = "CVAT's labels"
    _num_pictures = 0

    def _begin(self, picture: LabelledPicture) -> bytes:
        meta = ElementTree.Element("meta")
        labels = add(add(meta, "task"), "labels")
        for name in dict.fromkeys(picture.class_names):
            add(add(labels, "label"), "name", name)
        head = b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  '
        return head + xml_of(meta, level=1) + b"\n"

    def _piece(self, picture: LabelledPicture) -> bytes:
        width, height = picture.size_wh
        attributes = {"id": self._num_pictures, "name": picture.name, "width": width, "height": height}
        image = ElementTree.Element("image", _texts(attributes))
        for row in picture.rows:
            corners = {"xtl": f"{row.x1:.2f}", "ytl": f"{row.y1:.2f}", "xbr": f"{row.x2:.2f}", "ybr": f"{row.y2:.2f}"}
            box = {"label": row.class_name, "source": "auto", "occluded": 0, **corners, "z_order": 0}
            ElementTree.SubElement(image, "box", _texts(box))
        self._num_pictures += 1
        return b"  " + xml_of(image, level=1) + b"\n"

    def _end(self, file: WholeFile) -> None:
        file.file.write(b"</annotations>\n")


def _texts(attributes: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in attributes.items()}
