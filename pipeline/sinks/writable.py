"""Writable: the path of an output → an error before the work begins if it cannot be written; files stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from tempfile import TemporaryFile

from pipeline.errors import SinkError, reason_of
from pipeline.whole_file import make_parents

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


def is_regular(path: Path) -> bool:
    """Whether it is a file or folder, or none yet: not a device or a named pipe, which several may write to.

    False as well for what cannot be a path, which whoever opens it says.
    """
    try:
        path.lstat()
        return path.is_file() or path.is_dir() or not path.exists()  # not: a link that leads nowhere yet
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # ValueError: a zero byte
        return False


def refuse_deleted(path: Path, what: str) -> None:
    """Raise SinkError for an output that was written and is not there any more: its content is lost."""
    if not path.exists():
        raise SinkError(f"{path}: {what} cannot be kept: somebody deleted the file during the run")


def refuse_unwritable(path: Path, what: str) -> None:
    """Raise SinkError unless a file can be written there; nothing is left of the trial, and an old file stays as it is.

    Folders above it that are missing must be such as can be made: `make_parents` makes them with the first write.
    what: the output, in the error.
    """
    refuse_no_path(path, what)
    try:
        target = path.resolve() if path.is_symlink() else path
        existed = target.exists()
        if existed and not target.is_file() and not target.is_dir():
            return  # a device or a named pipe: opening it would use it
        with _parents_for_now(target):
            target.open("ab").close()
            if not existed:
                target.unlink()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = getattr(error, "strerror", None) or error
        raise SinkError(f"{path}: {what} cannot be written there: {reason}") from error
    except ValueError as error:
        raise SinkError(f"{str(path)!r}: {what} must have a path without a zero byte") from error


def refuse_unwritable_folder(folder: Path, what: str) -> None:
    """Raise SinkError unless files can be written into a folder; one that is not there yet is not there afterwards.

    It is tried, because permissions alone do not say it: in /proc, and on a disk that is read-only, root has them all.
    """
    refuse_no_path(folder, what)
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except (OSError, RuntimeError, ValueError) as error:
        raise SinkError(f"{str(folder)!r}: {what} cannot be written there: {reason_of(error)}") from error
    if not nearest.is_dir():
        raise SinkError(f"{folder}: {what} must be written into a folder, and {nearest} is a file")
    try:
        with _parents_for_now(folder / "trial"), TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SinkError(f"{folder}: {what} cannot be written there: {reason_of(error)}") from error


@contextmanager
def _parents_for_now(path: Path) -> Iterator[None]:
    """Make the folders above a path that are missing, and remove them again."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        make_parents(path)
        yield
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
