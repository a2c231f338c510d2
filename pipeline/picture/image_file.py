"""Image files: BGR pixels → the bytes of an image file, or the file, in the format that its suffix names."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import cv2

from pipeline.errors import SinkError, reason_of
from pipeline.picture.frame import PixelArray
from pipeline.whole_file import write_whole

WRITTEN_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".avif", ".ppm", ".pnm", ".ras", ".sr"),
)
"""The formats that a picture can be written in."""

_LARGEST_SIDE = {
    ".jpg": 65500,
    ".jpeg": 65500,
    ".jpe": 65500,
    ".webp": 16383,
}  # beyond it, OpenCV writes about it on stderr
_QUALITY = {
    ".jpg": cv2.IMWRITE_JPEG_QUALITY,
    ".jpeg": cv2.IMWRITE_JPEG_QUALITY,
    ".jpe": cv2.IMWRITE_JPEG_QUALITY,
    ".webp": cv2.IMWRITE_WEBP_QUALITY,
    ".avif": cv2.IMWRITE_AVIF_QUALITY,
}


def encoded(pixels: PixelArray, suffix: str, *, quality: int = 95) -> bytes:
    """The file of a picture uint8 [H, W, 3] BGR. quality: of JPEG, WebP and AVIF, 1..100.

    Raises SinkError for a picture that is too large for the format, or a format that this OpenCV does not write.
    """
    largest = _LARGEST_SIDE.get(suffix)
    height, width = pixels.shape[:2]
    if largest is not None and max(width, height) > largest:
        raise SinkError(f"{suffix} holds pictures of up to {largest} pixels a side, got {width}×{height}; take .png")
    try:
        is_written, content = cv2.imencode(suffix, pixels, [_QUALITY[suffix], quality] if suffix in _QUALITY else [])
    except cv2.error as error:
        raise SinkError(f"OpenCV cannot write {suffix}: {error.err}; take .png") from error
    if not is_written:
        raise SinkError(f"OpenCV cannot write a picture of {width}×{height} as {suffix}; take .png")
    return content.tobytes()


def write_image(path: str | PathLike[str], pixels: PixelArray, *, source: str | None = None) -> Path:
    """Write a picture uint8 [H, W, 3] BGR, and the folders above it; returns the path, ~ resolved.

    A failure leaves what was there before. source: the file that the picture was read from, which is not overwritten.
    Raises SinkError, with the suffixes that there are, for another, and for what cannot be written there.
    """
    target = _path(path)
    suffix = refuse_no_picture(target)
    try:
        if source is not None and target.exists() and Path(source).exists() and target.samefile(source):
            raise SinkError(f"{target}: a picture must not overwrite the one that it was drawn on; take another name")
        content = encoded(pixels, suffix)
        write_whole(target, content)
    except SinkError:
        raise
    except (OSError, ValueError) as error:
        raise SinkError(f"{str(target)[:200]}: the picture cannot be written there: {reason_of(error)}") from error
    return target


def refuse_no_picture(path: Path) -> str:
    """The suffix of a picture's file, in small letters. Raises SinkError, with those that there are, for another."""
    suffix = path.suffix.lower()
    if suffix not in WRITTEN_SUFFIXES:
        raise SinkError(f"{path}: a picture's name must end in {', '.join(WRITTEN_SUFFIXES)}, got {suffix or 'none'}")
    return suffix


def _path(word: str | PathLike[str]) -> Path:
    """The path, ~ resolved. Raises SinkError for an address and a home folder that nobody knows."""
    if not isinstance(word, str | PathLike):
        raise SinkError(f"a picture must have a path, got {type(word).__name__}")
    if "://" in str(word):
        raise SinkError("a picture must have a path on this machine, got an address")
    try:
        return Path(word).expanduser()
    except RuntimeError as error:
        raise SinkError(f"{word}: this home folder is not known; write the path in full") from error
