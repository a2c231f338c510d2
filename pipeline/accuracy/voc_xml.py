"""Pascal VOC's XML: a folder of files → images with the objects in them.

Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4: `xmin` … `ymax` are the first and last pixels of a
box, the image's first pixel being 1. Here such a box is xmin - 1, ymin - 1, xmax, ymax.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path, PureWindowsPath

from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, marked, refuse_outside
from pipeline.errors import ConfigError, reason_of
from pipeline.picture.detections import Detections

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no", "unspecified")


def read_voc_folder(folder: Path) -> LabelledData:
    """Read every XML file of a folder, or of its `Annotations`; objects that are `difficult` are ignored.

    The classes are the names that occur, in alphabetical order; images and classes are numbered from 1.
    Raises ConfigError where there is no XML file, for one of another kind, and for a box outside its image.
    """
    inside = folder / "Annotations"
    paths = xml_files(inside if inside.is_dir() else folder)
    if not paths:
        raise ConfigError(f"{folder}: there must be Pascal VOC's XML files in it, or in its folder Annotations")
    pages = [_Page(path) for path in paths]
    names = sorted({name for page in pages for name in page.names})
    class_indices = {name: index for index, name in enumerate(names)}
    images = tuple(
        LabelledImage(page.file_name, number, page.truth(class_indices), page.size_wh, label_file=page.path)
        for number, page in enumerate(pages, 1)
    )
    return LabelledData(str(folder), tuple(names), tuple(range(1, len(names) + 1)), images, tuple(paths))


def xml_files(folder: Path) -> list[Path]:
    """The XML files of a folder, without macOS's on foreign disks, which begin with ._ and are not XML."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".xml" and not path.name.startswith("._"))


class _Page:
    """The content of one XML file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self._boxes: list[tuple[float, ...]] = []
        self._difficult: list[bool] = []
        try:
            root = ElementTree.parse(path).getroot()
        except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: no such encoding
            raise ConfigError(f"{path} must be an annotation in Pascal VOC's XML: {reason_of(error)}") from error
        if root.tag != "annotation":
            raise ConfigError(f"{path} must be an annotation in Pascal VOC's XML, it is <{root.tag}>")
        try:
            size = tuple(int(_number(root, f"size/{side}", "0")) for side in ("width", "height"))
            self.size_wh = (size[0], size[1]) if all(size) else None
            self.file_name = PureWindowsPath(_text(root, "filename", path.stem)).name or path.stem
            for number, element in enumerate(root.findall("object"), 1):
                self._read(element, number)
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{path} must be an annotation in Pascal VOC's XML: {error}") from error

    def _read(self, element: ElementTree.Element, number: int) -> None:
        try:
            first_x, first_y, last_x, last_y = (_number(element, f"bndbox/{name}") for name in _CORNERS)
            name, difficult = _text(element, "name"), _text(element, "difficult", "0").lower()
            if difficult not in (*_YES, *_NO):
                raise ValueError(f"difficult must be 0 or 1, got {difficult!r}")
        except ValueError as error:
            raise ValueError(f"object {number}: {error}") from error
        # Tools that count from 0 would come out at -1.
        box = (max(0.0, first_x - 1), max(0.0, first_y - 1), last_x, last_y)
        try:
            refuse_outside(box, self.size_wh, where=str(self.path))
        except ConfigError as error:
            error.add_note(f"its object {number}")
            raise
        self.names.append(name)
        self._boxes.append(box)
        self._difficult.append(difficult in _YES)

    def truth(self, class_indices: dict[str, int]) -> Truth:
        """The objects of the page; the difficult ones are ignored."""
        return Truth.of(*(self._marked(class_indices, is_difficult=is_difficult) for is_difficult in (False, True)))

    def _marked(self, class_indices: dict[str, int], *, is_difficult: bool) -> Detections:
        chosen = [number for number, difficult in enumerate(self._difficult) if difficult is is_difficult]
        return marked(
            [self._boxes[number] for number in chosen], [class_indices[self.names[number]] for number in chosen]
        )


def _number(element: ElementTree.Element, path: str, default: str | None = None) -> float:
    text = _text(element, path, default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path} must be a number, got {text[:40]!r}")
    return number


def _text(element: ElementTree.Element, path: str, default: str | None = None) -> str:
    text = (element.findtext(path) or default or "").strip()
    if not text:
        raise ValueError(f"<{element.tag}> has no {path}")
    return text
