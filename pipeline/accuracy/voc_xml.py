"""What does a folder of Pascal VOC's XML say is in its images?

Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4: `xmin` … `ymax` are the first and last pixels of a
box, the image's first pixel being 1. Here such a box is xmin - 1, ymin - 1, xmax, ymax.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, marked, refuse_outside
from pipeline.errors import ConfigError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc_folder(folder: Path) -> LabelledData:
    """Read every XML file of a folder, or of its `Annotations`; objects that are `difficult` are ignored.

    The classes are the names that occur, in alphabetical order; images and classes are numbered from 1.
    Raises ConfigError where there is no XML file, for one that is no annotation, and for a box outside its image.
    """
    inside = folder / "Annotations"
    paths = sorted((inside if inside.is_dir() else folder).glob("*.xml"))
    if not paths:
        raise ConfigError(f"{folder}: there must be Pascal VOC's XML files in it, or in its folder Annotations")
    pages = [_Page(path) for path in paths]
    names = sorted({name for page in pages for name in page.names})
    places = {name: place for place, name in enumerate(names)}
    images = tuple(
        LabelledImage(page.file_name, number, page.truth(places), page.size_wh) for number, page in enumerate(pages, 1)
    )
    return LabelledData(str(folder), tuple(names), tuple(range(1, len(names) + 1)), images)


class _Page:
    """What one XML file says."""

    def __init__(self, path: Path) -> None:
        self.names: list[str] = []
        self._boxes: list[tuple[float, ...]] = []
        self._difficult: list[bool] = []
        try:
            root = ElementTree.parse(path).getroot()
            size = tuple(int(float(_text(root, f"size/{side}", "0"))) for side in ("width", "height"))
            self.size_wh = (size[0], size[1]) if all(size) else None
            self.file_name = _text(root, "filename", path.stem)
            for each in root.findall("object"):
                first_x, first_y, last_x, last_y = (float(_text(each, f"bndbox/{name}")) for name in _CORNERS)
                # Tools that count from 0 would come out at -1.
                box = (max(0.0, first_x - 1), max(0.0, first_y - 1), last_x, last_y)
                refuse_outside(box, self.size_wh, where=str(path))
                self.names.append(_text(each, "name"))
                self._boxes.append(box)
                self._difficult.append(_text(each, "difficult", "0") == "1")
        except (OSError, ElementTree.ParseError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{path} must be an annotation in Pascal VOC's XML: {error}") from error
        if root.tag != "annotation":
            raise ConfigError(f"{path} must be an annotation in Pascal VOC's XML, it is <{root.tag}>")

    def truth(self, places: dict[str, int]) -> Truth:
        easy, difficult = (
            marked(
                [self._boxes[number] for number in chosen],
                [places[self.names[number]] for number in chosen],
            )
            for chosen in (
                [number for number, each in enumerate(self._difficult) if each is wanted] for wanted in (False, True)
            )
        )
        return Truth.of(easy, difficult)


def _text(element: ElementTree.Element, path: str, default: str | None = None) -> str:
    text = (element.findtext(path) or default or "").strip()
    if not text:
        raise ValueError(f"<{element.tag}> has no {path}")
    return text
