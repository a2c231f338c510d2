"""Picture files: pixels → an image file in the format of its suffix, without EXIF and colour profiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import cv2

from pipeline.errors import SinkError, reason_of
from pipeline.picture.frame import PixelArray
from pipeline.whole_file import write_whole

JPEG_SUFFIXES = frozenset((".jpe", ".jpeg", ".jpg"))
WRITABLE_SUFFIXES = JPEG_SUFFIXES | {
    ".bmp",
    ".dib",
    ".png",
    ".pnm",
    ".ppm",
    ".ras",
    ".sr",
    ".tif",
    ".tiff",
    ".webp",
}
QUALITY = 95  # of JPEG and WebP, of 100

_PARAMETERS = {
    **{suffix: [cv2.IMWRITE_JPEG_QUALITY, QUALITY] for suffix in JPEG_SUFFIXES},
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, QUALITY],
}
_LARGEST_SIDE = {**dict.fromkeys(JPEG_SUFFIXES, 65_500), ".webp": 16_383}  # in pixels, of OpenCV's encoders


def write_picture(path: Path, pixels: PixelArray, *, what: str) -> None:
    """Write uint8 [H, W, 3] BGR; its folder is made where there is none. A kill leaves whole files.

    what: the output, in the error. Raises SinkError if it cannot be written, or not in this format.
    """
    suffix = path.suffix.lower()
    (height, width), most = pixels.shape[:2], _LARGEST_SIDE.get(suffix)
    if most is not None and max(width, height) > most:
        raise SinkError(f"{path}: {what} of {width} × {height} pixels is larger than {suffix} can be, {most}; use .png")
    try:
        is_encoded, content = cv2.imencode(suffix, pixels, _PARAMETERS.get(suffix, []))
    except cv2.error as error:
        raise SinkError(f"{path}: {what} cannot be encoded as {suffix}: {error.err}") from error
    if not is_encoded:
        raise SinkError(f"{path}: {what} of {width} × {height} pixels cannot be encoded as {suffix}; use .png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.tobytes())
    except OSError as error:
        raise SinkError(f"{path}: {what} cannot be written: {reason_of(error)}") from error


def writable_names(names: Iterable[str]) -> dict[str, str]:
    """The name under which each picture can be written: its own, or where its format is only read, with .jpg.

    >>> writable_names(["bus.png", "cat.heic", "cat.avif"])
    {'bus.png': 'bus.png', 'cat.heic': 'cat.heic.jpg', 'cat.avif': 'cat.avif.jpg'}
    """
    written = {name: _writable_name(name) for name in names}
    times = Counter(written.values())
    return {
        name: other if times[other] == 1 else name if other == name else f"{name}.jpg"
        for name, other in written.items()
    }


def _writable_name(name: str) -> str:
    path = PurePosixPath(name)
    return name if path.suffix.lower() in WRITABLE_SUFFIXES else str(path.with_suffix(".jpg"))
