"""Which pictures does an image file, a folder of images or a glob hold?"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, PixelArray, Shot
from pipeline.sources.video_still import is_broken_jpeg

_NAMES = "avif bmp dib exr hdr jp2 jpe jpeg jpg pbm pgm png pnm ppm ras sr tif tiff webp"
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
        self.paths = _find(Path(word).expanduser()) if paths is None else tuple(paths)
        self.num_frames: int | None = len(self.paths)
        self._damage: list[str] = []

    @property
    def damage(self) -> tuple[str, ...]:
        return tuple(self._damage)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[Shot]:
        """Raises SourceError if not one of them could be read."""
        positions = range(0, len(self.paths), every)
        for position in positions:
            if stop.is_set():
                return
            try:
                pixels = read_image(self.paths[position])
            except SourceError as error:
                self._damage.append(str(error))
                continue
            yield Shot(ArrayPicture(pixels), float(position))
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
        self.damage: tuple[str, ...] = ()
        self._picture = ArrayPicture(decode_image(content, name=source_id))
        self.size_wh: tuple[int, int] | None = self._picture.size_wh

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[Shot]:
        if not stop.is_set():
            yield Shot(self._picture, 0.0)

    def close(self) -> None:
        pass


def read_image(path: Path) -> PixelArray:
    """uint8 [H, W, 3] BGR. Raises SourceError with the reason for what is no image or a broken one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    return decode_image(content, name=str(path))


def decode_image(content: bytes, *, name: str) -> PixelArray:
    """The bytes of an image file → uint8 [H, W, 3] BGR. Raises SourceError as `read_image` does."""
    if not content:
        raise SourceError(f"{name}: is empty (0 bytes)")
    if is_broken_jpeg(content):
        raise SourceError(f"{name}: is a broken JPEG")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise SourceError(f"{name}: cannot be decoded: {error.err}") from error
    if pixels is None:
        raise SourceError(f"{name}: is not an image that can be decoded")
    return np.asarray(pixels, np.uint8)


def _find(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        found = [each for each in path.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES]
        wanted = "no image in this folder"
    elif path.exists():
        return (path,)
    else:
        found = [Path(each) for each in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - it may be absolute
        found = [each for each in found if each.suffix.lower() in IMAGE_SUFFIXES]
        wanted = "no image matches"
    if not found:
        raise SourceError(f"{path}: {wanted}; image files are {_NAMES}")
    return tuple(sorted(found, key=_natural))


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Digits compare as numbers and the rest as text; what is equal so far, by its exact name."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], str(path)
