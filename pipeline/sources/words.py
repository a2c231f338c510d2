"""Source words: what a person types for a source → what it looks like, its path or its number, or a clear error."""

from __future__ import annotations

import difflib
import glob
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pipeline.errors import SourceError
from pipeline.masking import masked_address
from pipeline.sources.address_user import with_escaped_user
from pipeline.sources.file_sets import IMAGE_SUFFIXES
from pipeline.user_path import path_of_url, user_path

DEMO_CLIP = "demo:street"

_CAMERA_NODES = ("/dev/video", "/dev/v4l/")
_HEIF_HEAD_BYTES = 64


def is_drawn(word: str) -> bool:
    """Whether a word means a drawn street, whose truth is known: one drawn on the way, or the clip of one."""
    return word.startswith(("sim:", DEMO_CLIP))


def source_id_of(word: str) -> str:
    """What the source that a word means is called where nobody names it: a path, or an address without its secrets."""
    return masked_address(word) if is_address(word) else typed_path(word)


def is_camera(word: str) -> bool:
    """Whether this is the number of a camera of this machine, or its path."""
    return word.isdecimal() or word.startswith(_CAMERA_NODES)


def device_of(word: str) -> int | str:
    """What OpenCV opens a camera by: its number or its path."""
    return int(word) if word.isdecimal() else word


def is_clip(word: str) -> bool:
    """Whether this is the clip. Raises SourceError for another word of its scheme."""
    if word.startswith("demo:") and word != DEMO_CLIP:
        raise SourceError(f"the video that comes with streamdet is {DEMO_CLIP}, got {word!r}")
    return word == DEMO_CLIP


def is_address(word: str) -> bool:
    """Whether this is an address on the network; one of file:// is a path."""
    is_file = word.lower().startswith("file://")
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", word) is not None and not is_file


def may_be_file(address: str) -> bool:
    """Whether there may be a file at an address, which has an end, as well as a camera."""
    return address.lower().startswith(("http://", "https://"))


def is_image_address(word: str) -> bool:
    """Whether this is an http address with an image's suffix; a camera's stream may have one too."""
    if not is_address(word):
        return False
    try:
        parts = urlsplit(with_escaped_user(word))
    except ValueError as error:
        raise SourceError(f"{masked_address(word)} cannot be read as an address: {error}") from error
    return parts.scheme in ("http", "https") and PurePosixPath(parts.path).suffix.lower() in IMAGE_SUFFIXES


def is_folder(word: str) -> bool:
    """Whether this is a folder or a glob. Raises SourceError for a path that does not exist."""
    path = existing_path(word)
    return path.is_dir() or not path.exists()


def is_list(word: str) -> bool:
    """Whether this is a list of files. Raises SourceError for a path that does not exist."""
    return existing_path(word).suffix.lower() == ".txt"


def is_image(word: str) -> bool:
    """Whether this is an image file, by its suffix or its first bytes. Raises SourceError as `is_list` does."""
    path = existing_path(word)
    return path.suffix.lower() in IMAGE_SUFFIXES or _is_heif_still(path)


def _is_heif_still(path: Path) -> bool:
    """Whether it is a HEIC under another name, of which libav would take one tile for the picture."""
    from pipeline.sources.heif import is_still

    if not path.is_file():  # a pipe is read once
        return False
    try:
        with path.open("rb") as file:
            return is_still(file.read(_HEIF_HEAD_BYTES))
    except OSError:  # whoever opens it next says why
        return False


def existing_path(word: str) -> Path:
    """The path that a word means, or a glob as it is. Raises SourceError, with the nearest name, if there is none."""
    path = user_path(word, raises=SourceError)
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{masked_address(word)[:200]!r} cannot be the path of a source: {reason}") from error
    if not exists and not glob.has_magic(typed_path(word)):
        raise SourceError(_missing(path))
    return path


def typed_path(word: str) -> str:
    """A path as it was typed, without file://."""
    return path_of_url(word) if word.lower().startswith("file://") else word


def _missing(path: Path) -> str:
    shown = masked_address(str(path))
    if not path.parent.is_dir():
        return f"{shown}: there is no folder {masked_address(str(path.parent))}"
    names = [sibling.name for sibling in path.parent.iterdir()]
    nearest = difflib.get_close_matches(path.name, names, n=1)
    suggestion = f"; did you mean {path.with_name(nearest[0])}?" if nearest else ""
    return f"{shown}: there is no such file{suggestion}"
