"""Picture files: pixels → an image file in the format of its suffix, without EXIF and colour profiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pipeline.errors import SinkError, reason_of
from pipeline.picture.frame import PixelArray
from pipeline.picture.image_file import WRITTEN_SUFFIXES, encoded
from pipeline.sinks.picture_names import fitted
from pipeline.whole_file import write_whole


def write_picture(path: Path, pixels: PixelArray, *, what: str) -> None:
    """Write uint8 [H, W, 3] BGR; its folder is made where there is none. A kill leaves whole files.

    what: the output, in the error. Raises SinkError if it cannot be written, or not in this format.
    """
    try:
        content = encoded(pixels, path.suffix.lower())
    except SinkError as error:
        raise SinkError(f"{path}: {what}: {error}") from error
    try:
        write_whole(path, content)
    except OSError as error:
        raise SinkError(f"{path}: {what} cannot be written: {reason_of(error)}") from error


def writable_names(names: Iterable[str]) -> dict[str, str]:
    """The name under which each picture can be written: its own, or where its format is only read, with .jpg.

    >>> writable_names(["bus.png", "cat.heic", "cat.hdr"])
    {'bus.png': 'bus.png', 'cat.heic': 'cat.heic.jpg', 'cat.hdr': 'cat.hdr.jpg'}
    """
    written = {name: _writable_name(name) for name in names}
    times = Counter(written.values())
    return {
        name: other if times[other] == 1 else name if other == name else _with_ending(name, ".jpg")
        for name, other in written.items()
    }


def _writable_name(name: str) -> str:
    path = PurePosixPath(name)
    return name if path.suffix.lower() in WRITTEN_SUFFIXES else _with_ending(str(path.with_suffix("")), ".jpg")


def _with_ending(name: str, ending: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(fitted(path.name, ending)))
