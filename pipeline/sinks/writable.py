"""Writable: whether an output can be written, found out before the work and without touching what is there."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import SinkError


def refuse_unwritable(path: Path, what: str) -> None:
    """Raise SinkError, which calls the output `what`, unless a file can be written there; an old one stays as it is."""
    try:
        target = path.resolve() if path.is_symlink() else path
        existed = target.exists()
        if existed and not target.is_file() and not target.is_dir():
            return  # a device or a named pipe, where to open it is to use it
        target.open("ab").close()
        if not existed:
            target.unlink()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = getattr(error, "strerror", None) or error
        raise SinkError(f"{path}: {what} cannot be written there: {reason}") from error
    except ValueError as error:
        raise SinkError(f"{str(path)!r}: {what} must have a path without a zero byte") from error
