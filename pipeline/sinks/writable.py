"""Can an output be written, found out before the work and without touching what is there?"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import SinkError


def refuse_unwritable(path: Path, what: str) -> None:
    """Raise SinkError, which calls the output `what`, unless a file can be written there; an old one stays as it is."""
    existed = path.exists()
    if existed and not path.is_file() and not path.is_dir():
        return  # a device or a named pipe, where to open it is to use it
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise SinkError(f"{path}: {what} cannot be written there: {error.strerror or error}") from error
