"""File sets: a folder or a glob → the images and the videos in it, in the order that a person expects."""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

IMAGE_NAMES = "avif bmp dib exr hdr heic heif hif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm ras sr tif tiff webp"
VIDEO_NAMES = (
    "264 265 3g2 3gp asf avi dav divx dv f4v flv gif h264 h265 hevc ivf m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpeg mpg "
    "mts mxf nut ogm ogv ts vob webm wmv y4m"
)
IMAGE_SUFFIXES = frozenset(f".{name}" for name in IMAGE_NAMES.split())
VIDEO_SUFFIXES = frozenset(f".{name}" for name in VIDEO_NAMES.split())


@dataclass(frozen=True, slots=True)
class FileSet:
    """Images and videos, told by their suffixes, each in natural order (img2 before img10), and all other files."""

    images: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()

    @classmethod
    def of(cls, path: Path) -> FileSet:
        """The files in a folder, without those below and hidden ones; what a glob matches where there is no folder."""
        if path.is_dir():
            candidates = [child for child in path.iterdir() if not child.name.startswith(".")]
        else:
            candidates = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - may be absolute
        ordered = sorted(candidates, key=natural_order)
        images = [file for file in ordered if file.suffix.lower() in IMAGE_SUFFIXES]
        videos = [file for file in ordered if file.suffix.lower() in VIDEO_SUFFIXES and not file.is_dir()]
        read = {*images, *videos}
        return cls(tuple(images), tuple(videos), tuple(file for file in ordered if file not in read))

    def warn_of_others(self, path: Path, what: str, *, read: Collection[Path]) -> None:
        """Log how many files of each suffix are left out, and why: `what`."""
        all_files = (*self.images, *self.videos, *self.others)
        left_out = Counter(_kind_of(file) for file in set(all_files) - set(read))
        if left_out:
            by_number = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
            kinds = ", ".join(f"{num} {kind}" for kind, num in by_number)
            logger.warning("%s: %d of %d left out, %s: %s", path, left_out.total(), len(all_files), what, kinds)


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """A sorting key: digits compare as numbers, the rest as text; equal ones by their exact names."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], str(path)


def _kind_of(path: Path) -> str:
    return "folder" if path.is_dir() else path.suffix.lower() or "without a suffix"
