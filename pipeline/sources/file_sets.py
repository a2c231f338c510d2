"""File sets: a folder, a glob or a list in a text file → its images and its videos, in order."""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SourceError, reason_of
from pipeline.masking import masked_address
from pipeline.text_file import read_text
from pipeline.user_path import exists, is_file, user_path

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
        if exists(path) and path.is_dir():
            candidates = [child for child in path.iterdir() if not child.name.startswith(".")]
        else:
            candidates = [Path(match) for match in _matches(str(path))]
        ordered = sorted(candidates, key=natural_order)
        images = [file for file in ordered if file.suffix.lower() in IMAGE_SUFFIXES]
        videos = [file for file in ordered if file.suffix.lower() in VIDEO_SUFFIXES and not file.is_dir()]
        read = {*images, *videos}
        return cls(tuple(images), tuple(videos), tuple(file for file in ordered if file not in read))

    @classmethod
    def of_list(cls, path: Path, *, keeps_missing: bool = False) -> FileSet:
        """The files that a text file names, as `list_entries` reads it, in its order, each once.

        A folder or a glob stands for its images and videos. keeps_missing: a path with the suffix of a video is a video
        where no such file is, too. Raises SourceError, with the line, for anything else.
        """
        images: list[Path] = []
        videos: list[Path] = []
        others: list[Path] = []
        for where, entry in list_entries(path):
            if re.match("[A-Za-z][A-Za-z0-9+.-]*://", entry) is not None:
                raise SourceError(
                    f"{where}: must be a file, a folder or a glob, got {masked_address(entry)}; streams belong into a "
                    "file that ends in .streams"
                )
            file = Path(entry)
            if is_file(file):
                (images if file.suffix.lower() in IMAGE_SUFFIXES else videos).append(file)
                continue
            files = cls.of(file)
            if keeps_missing and not exists(file) and not files.videos and file.suffix.lower() in VIDEO_SUFFIXES:
                files = cls(videos=(file,))
            if not files.images and not files.videos:
                raise SourceError(f"{where}: there is no image or video {entry}")
            images, videos, others = [*images, *files.images], [*videos, *files.videos], [*others, *files.others]
        return cls(*(tuple(dict.fromkeys(files)) for files in (images, videos, others)))

    def warn_of_others(self, path: Path, what: str, *, read: Collection[Path]) -> None:
        """Log how many files of each suffix are left out, and why: `what`."""
        all_files = (*self.images, *self.videos, *self.others)
        left_out = Counter(_kind_of(file) for file in set(all_files) - set(read))
        if left_out:
            by_number = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
            kinds = ", ".join(f"{num} {kind}" for kind, num in by_number)
            logger.warning("%s: %d of %d left out, %s: %s", path, left_out.total(), len(all_files), what, kinds)


def _matches(pattern: str) -> list[str]:
    try:
        return glob.glob(pattern, recursive=True)  # noqa: PTH207 - may be absolute
    except (OSError, ValueError, RecursionError, re.error):
        return []  # not a name that a file could have


def list_entries(path: Path) -> Iterator[tuple[str, str]]:
    """Where it stands, and the source of each line; blank lines and those that begin with # are none.

    A relative path is one from the list's folder on. Raises SourceError for what is not text.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: the list of sources cannot be read: {reason_of(error)}") from error
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield f"{path}, line {number}", _from_folder(path.parent, entry)


def _from_folder(folder: Path, entry: str) -> str:
    """An entry of a list as a word: a path from the list's folder on; an address or a camera's number as it is."""
    if re.match("[A-Za-z][A-Za-z0-9+.-]*:", entry) is not None or entry.isdecimal():
        return str(user_path(entry, raises=SourceError)) if entry.lower().startswith("file://") else entry
    return str(folder / user_path(entry, raises=SourceError))


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """A sorting key: digits compare as numbers, the rest as text; equal ones by their exact names."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], str(path)


def _kind_of(path: Path) -> str:
    return "folder" if path.is_dir() else path.suffix.lower() or "without a suffix"
