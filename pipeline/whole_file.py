"""Whole files: content is written so that all of it is there or nothing has changed."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

# The folder does not let it be exchanged, which says nothing about the file itself.
_NOT_EXCHANGEABLE = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV, errno.ENAMETOOLONG, errno.EINVAL)
)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file: a failure or a kill leaves what was there before. Raises OSError if it cannot be written.

    A link stays, and the file that it leads to is written; a device or pipe is written to. Where the folder does not
    let the file be exchanged, as one that is mounted by itself, it is written in place.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    beside = path.with_name(f".{os.getpid()}.{path.name[:200].encode('ascii', 'replace').decode()}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        if error.errno not in _NOT_EXCHANGEABLE:
            raise
        path.write_bytes(content)
