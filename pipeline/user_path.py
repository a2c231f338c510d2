"""Paths as people type them: a word with ~ or file:// in it becomes a Path."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from pipeline.errors import ConfigError, StreamdetError


def user_path(word: str | Path, *, raises: type[StreamdetError] = ConfigError) -> Path:
    """The path that a word means. `raises`, for a home folder that nobody knows."""
    text = str(word)
    if text.lower().startswith("file://"):
        text = path_of_url(text)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise raises(
            f"{text}: nobody knows which folder {Path(text).parts[0]} is on this machine; write the whole path"
        ) from error


def exists(path: Path) -> bool:
    """Whether something is there; no for a name that no file could have, which is too long or has a zero byte."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether a regular file is there; no as for `exists`."""
    return exists(path) and path.is_file()


def path_of_url(address: str) -> str:
    """The path in a file:// address, with %20 and the like resolved; `localhost` before it is this machine."""
    rest = address[len("file://") :]
    return unquote(rest[len("localhost") :] if rest.lower().startswith("localhost/") else rest)
