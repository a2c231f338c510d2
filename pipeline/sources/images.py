"""Image sources: an image file, a folder, a glob or the bytes of an image → upright 8-bit BGR pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, PixelArray, TimedPicture
from pipeline.pixel_limit import MOST_PIXELS, VARIABLE
from pipeline.sources.file_sets import IMAGE_NAMES, FileSet
from pipeline.sources.heif import heif_picture, is_heif
from pipeline.sources.pictures_in_file import num_pictures
from pipeline.sources.video.still import heif_pixels, is_broken_jpeg
from pipeline.user_path import user_path


class ImagesSource:
    """Images in natural order (img2 before img10), in their own sizes, as 8-bit BGR, turned as EXIF says.

    `pts_seconds` is the position in `paths`, so that `paths[int(pts_seconds)]` is the file even after one that
    could not be read. Raises SourceError where there is no image.

    paths: the images, where the caller has chosen them; `word` is then only a name.
    """

    is_live = False
    size_wh = None
    frames_per_second = None

    def __init__(self, word: str | Path, *, paths: Sequence[Path] | None = None) -> None:
        self.source_id = str(word)
        self.paths = _find(user_path(word, raises=SourceError)) if paths is None else tuple(paths)
        self.num_frames: int | None = len(self.paths)
        self._damage: list[str] = []
        self._unreadable: list[str] = []
        self._several: list[tuple[str, int]] = []  # files with several pictures, and how many

    @property
    def images(self) -> tuple[str, ...]:
        """The paths as words."""
        return tuple(map(str, self.paths))

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The images that could not be read."""
        return tuple(self._unreadable)

    @property
    def damage(self) -> tuple[str, ...]:
        return (*self._damage, *_left_out_lines(self._several))

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        """Raises SourceError if none of them could be read."""
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
                self._unreadable.append(str(path))
                continue
            num = num_pictures(content)
            if num > 1:
                self._several.append((str(path), num))
            yield TimedPicture(ArrayPicture(pixels), float(position), image=str(path))
        if len(self._damage) == len(positions):
            raise SourceError(f"{self.source_id}: none of its images could be read; the first: {self._damage[0]}")

    def close(self) -> None:
        pass


class StillSource:
    """One image that came from an address or through a pipe. Raises SourceError for one that cannot be decoded."""

    is_live = False
    frames_per_second = None

    def __init__(self, content: bytes, *, source_id: str) -> None:
        self.source_id = source_id
        self.images = (source_id,)
        self.unreadable: tuple[str, ...] = ()
        self.num_frames: int | None = 1
        self._picture = ArrayPicture(decode_image(content, name=source_id))
        num = num_pictures(content)
        self.damage: tuple[str, ...] = tuple(_left_out_lines([(source_id, num)] if num > 1 else []))
        self.size_wh: tuple[int, int] | None = self._picture.size_wh

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        if not stop.is_set():
            yield TimedPicture(self._picture, 0.0, image=self.source_id)

    def close(self) -> None:
        pass


def read_image(path: Path) -> PixelArray:
    """uint8 [H, W, 3] BGR. Raises SourceError, with the reason, for what is not an image, or a broken one."""
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
        if "MAX_IMAGE" in error.err:
            raise SourceError(
                f"{name}: must have at most {int(os.environ.get(VARIABLE, MOST_PIXELS)):,} pixels; make it smaller, or "
                f"set {VARIABLE}"
            ) from error
        raise SourceError(f"{name}: cannot be decoded: {error.err}") from error
    if pixels is None:
        raise SourceError(f"{name}: is not an image that can be decoded")
    return np.asarray(pixels, np.uint8)


def _content_of(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise SourceError(f"{path}: is not a regular file, which an image must be")
        return path.read_bytes()
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


def _left_out_lines(several: Sequence[tuple[str, int]]) -> Iterator[str]:
    """One line about the pictures that are left out of files with several. several: name and number of pictures."""
    if not several:
        return
    (name, num), others = several[0], len(several) - 1
    more = f"; likewise in {others} more" if others else ""
    yield f"{name}: one of its {num} pictures is read, the others are left out{more}"


def _decode_heif(content: bytes, name: str) -> PixelArray:
    """HEIC and AVIF: OpenCV reads AVIF alone, and applies no rotation to it."""
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
    """The images of a folder or a glob, in natural order, or a file as it is. Raises SourceError if there is none."""
    if path.exists() and not path.is_dir():
        return (path,)
    files = FileSet.of(path)
    if not files.images:
        complaint = "no image in this folder" if path.is_dir() else "no image matches"
        raise SourceError(f"{path}: {complaint}; image files are {IMAGE_NAMES}")
    files.warn_of_others(path, "not images", read=files.images)
    return files.images
