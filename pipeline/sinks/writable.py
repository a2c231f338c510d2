"""Writable: the path of an output → an error before the work begins if it cannot be written; files stay as they are."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from pipeline.errors import SinkError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # Path leaves one slash; C:/ is a drive


def refuse_no_path(word: str | Path, what: str) -> None:
    """Raise SinkError, which calls the output `what`, for a word that names no file or folder.

    An address is not told: it may end in the key of a stream.
    """
    if not isinstance(word, str | PathLike):
        raise SinkError(f"{what} must have a path, got {type(word).__name__}")
    if str(word) == "-":
        raise SinkError(f"{what} must have a path, got -; only --jsonl - writes to standard output")
    address = _ADDRESS.match(str(word))
    if address is not None:
        raise SinkError(f"{what} must have a path on this machine, got an address, {address[0]}/***; name a file")


def refuse_unwritable(path: Path, what: str) -> None:
    """Raise SinkError unless a file can be written there; an old one stays as it is. what: the output, in the error."""
    refuse_no_path(path, what)
    try:
        target = path.resolve() if path.is_symlink() else path
        existed = target.exists()
        if existed and not target.is_file() and not target.is_dir():
            return  # a device or a named pipe: opening it would use it
        target.open("ab").close()
        if not existed:
            target.unlink()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = getattr(error, "strerror", None) or error
        raise SinkError(f"{path}: {what} cannot be written there: {reason}") from error
    except ValueError as error:
        raise SinkError(f"{str(path)!r}: {what} must have a path without a zero byte") from error
