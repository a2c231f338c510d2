"""Which pictures does an image file, a folder of images or a glob hold?"""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, PixelArray, TimedPicture
from pipeline.sources.heif import heif_picture, is_heif
from pipeline.sources.pictures_in_file import num_pictures
from pipeline.sources.video.still import heif_pixels, is_broken_jpeg
from pipeline.user_path import user_path

LOG = logging.getLogger(__name__)

_NAMES = "avif bmp dib exr hdr heic heif hif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm ras sr tif tiff webp"
IMAGE_SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())


class ImagesSource:
    """Images in natural order (img2 before img10), each in its own size, as 8-bit BGR, turned as EXIF says.

    `pts_seconds` is the position in `paths`, so that `paths[int(pts_seconds)]` is the file even where one before
    it could not be read. Raises SourceError where there is no image.

    paths: the images themselves, where somebody else has chosen them; `word` is only a name then.
    """

    is_live = False
    size_wh = None
    frames_per_second = None

    def __init__(self, word: str | Path, *, paths: Sequence[Path] | None = None) -> None:
        self.source_id = str(word)
        self.paths = _find(user_path(word, raises=SourceError)) if paths is None else tuple(paths)
        self.num_frames: int | None = len(self.paths)
        self._damage: list[str] = []
        self._several: list[tuple[str, int]] = []  # files with several pictures, and how many

    @property
    def damage(self) -> tuple[str, ...]:
        return (*self._damage, *_said_of(self._several))

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        """Raises SourceError if not one of them could be read."""
        positions = range(0, len(self.paths), every)
        for position in positions:
            if stop.is_set():
                return
            path = self.paths[position]
            try:
                content = _content_of(path)
                pixels = decode_image(content, name=str(path))
            except SourceError as error:
                self._damage.append(str(error))
                continue
            num = num_pictures(content)
            if num > 1:
                self._several.append((str(path), num))
            yield TimedPicture(ArrayPicture(pixels), float(position))
        if len(self._damage) == len(positions):
            raise SourceError(f"{self.source_id}: not one image could be read; the first: {self._damage[0]}")

    def close(self) -> None:
        pass


class StillSource:
    """One image that came from an address or through a pipe. Raises SourceError for one that cannot be decoded."""

    is_live = False
    frames_per_second = None

    def __init__(self, content: bytes, *, source_id: str) -> None:
        self.source_id = source_id
        self.num_frames: int | None = 1
        self._picture = ArrayPicture(decode_image(content, name=source_id))
        num = num_pictures(content)
        self.damage: tuple[str, ...] = tuple(_said_of([(source_id, num)] if num > 1 else []))
        self.size_wh: tuple[int, int] | None = self._picture.size_wh

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        if not stop.is_set():
            yield TimedPicture(self._picture, 0.0)

    def close(self) -> None:
        pass


def read_image(path: Path) -> PixelArray:
    """uint8 [H, W, 3] BGR. Raises SourceError with the reason for what is no image or a broken one."""
    return decode_image(_content_of(path), name=str(path))


def decode_image(content: bytes, *, name: str) -> PixelArray:
    """The bytes of an image file → uint8 [H, W, 3] BGR. Raises SourceError as `read_image` does."""
    if not content:
        raise SourceError(f"{name}: is empty (0 bytes)")
    if is_broken_jpeg(content):
        raise SourceError(f"{name}: is a broken JPEG")
    if is_heif(content):
        return _decode_heif(content, name)
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise SourceError(f"{name}: cannot be decoded: {error.err}") from error
    if pixels is None:
        raise SourceError(f"{name}: is not an image that can be decoded")
    return np.asarray(pixels, np.uint8)


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


def _said_of(several: Sequence[tuple[str, int]]) -> Iterator[str]:
    """What is left out of files with several pictures, in a line."""
    if not several:
        return
    (name, num), others = several[0], len(several) - 1
    more = f"; so it is with {others} more" if others else ""
    yield f"{name}: one of its {num} pictures is read, the others are left out{more}"


def _decode_heif(content: bytes, name: str) -> PixelArray:
    """HEIC and AVIF: OpenCV reads the latter alone, and turns neither."""
    try:
        picture = heif_picture(content)
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        except cv2.error:
            pixels = None
        upright = picture.upright(heif_pixels(content, picture) if pixels is None else np.asarray(pixels, np.uint8))
    except ValueError as error:
        raise SourceError(f"{name}: {error}; convert it to JPEG or PNG") from error
    return upright


def _find(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        there = [each for each in path.iterdir() if not each.name.startswith(".")]
        wanted = "no image in this folder"
    elif path.exists():
        return (path,)
    else:
        there = [Path(each) for each in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - it may be absolute
        wanted = "no image matches"
    found = [each for each in there if each.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise SourceError(f"{path}: {wanted}; image files are {_NAMES}")
    left_out = Counter(_kind_of(each) for each in there if each.suffix.lower() not in IMAGE_SUFFIXES)
    if left_out:
        kinds = ", ".join(
            f"{num} {kind}" for kind, num in sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
        )
        LOG.warning("%s: %d of %d left out, being no images: %s", path, left_out.total(), len(there), kinds)
    return tuple(sorted(found, key=_natural))


def _kind_of(path: Path) -> str:
    return "folder" if path.is_dir() else path.suffix.lower() or "without a suffix"


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Digits compare as numbers and the rest as text; what is equal so far, by its exact name."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], str(path)
