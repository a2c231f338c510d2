"""Path identity: a path → what is the same under every name, link and hard link of what is there."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple


class FileNumber(NamedTuple):
    """Of a file or a folder that exists: its device, and its number there."""

    device: int
    inode: int


class SpecialNumber(NamedTuple):
    """Of a device, such as a camera, however many files stand for it; of a pipe or a socket, as of a file.

    kind: as `stat.S_IFMT` gives it. inode: 0 of a device.
    """

    kind: int
    device: int
    inode: int


def path_identity(path: Path) -> Hashable:
    """A FileNumber or SpecialNumber; of what does not exist the whole path; None for a name that no file can have.

    >>> path_identity(Path("a/../b")) == path_identity(Path("b"))
    True
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return _whole_path(path)
    kind = stat.S_IFMT(status.st_mode)
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        return FileNumber(status.st_dev, status.st_ino)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return SpecialNumber(kind, status.st_rdev, 0)
    return SpecialNumber(kind, status.st_dev, status.st_ino)


def _whole_path(path: Path) -> str | None:
    try:
        return os.path.normcase(path.resolve())
    except (OSError, ValueError, RuntimeError):  # RuntimeError: of links in a circle
        return None
