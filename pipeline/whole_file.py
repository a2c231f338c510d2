"""Whole files: content is written so that all of it is there or nothing has changed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import IO

# The folder does not let it be exchanged, which says nothing about the file itself.
_NOT_EXCHANGEABLE = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV, errno.ENAMETOOLONG, errno.EINVAL)
)


def make_parents(path: Path) -> None:
    """Make the folders above a file that is about to be written. Raises OSError."""
    folder = (path.resolve() if path.is_symlink() else path).parent
    if not folder.exists():  # else a file in its place would be said to exist, instead of to be no folder
        folder.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file: a failure or a kill leaves what was there before. Raises OSError if it cannot be written.

    A link stays, and the file that it leads to is written, which keeps its permissions; a device or pipe is written to.
    Where the folder does not let the file be exchanged, as one that is mounted by itself, it is written in place.
    Missing folders are made.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        _write_to_device(path, content)
        return
    make_parents(path)
    beside = _beside(path)
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        if mode is not None:
            beside.touch(mode=mode & 0o700)  # nobody else reads it before it has the permissions of the file
        beside.write_bytes(content)
        if mode is not None:
            beside.chmod(mode)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        if error.errno not in _NOT_EXCHANGEABLE:
            raise
        path.write_bytes(content)


class WholeFile:
    """A file that is written piece by piece beside its place, and takes it when it is finished.

    `file` takes the pieces. Leaving the `with` block, or `close`, before `finish` was called leaves what was there
    before. A link stays, and the file that it leads to is replaced; a device or pipe, and a file whose folder takes no
    other, is written in place. Missing folders are made. Raises OSError if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve() if path.is_symlink() else path
        self._beside: Path | None = None
        if not self._path.exists() or self._path.is_file():
            make_parents(self._path)
            self._beside = _beside(self._path)
            try:
                self.file = self._beside.open("wb")
                return
            except OSError as error:
                if error.errno not in _NOT_EXCHANGEABLE or not self._path.exists():
                    raise
                self._beside = None
        self.file = self._path.open("wb")

    def finish(self, *, durable: bool = False) -> None:
        """Put the file in its place. durable: return when neither it nor its name can be lost with the power."""
        if durable:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.file.close()
        if self._beside is not None:
            self._beside.replace(self._path)
            self._beside = None
            if durable:
                sync_folder(self._path.parent)

    def close(self) -> None:
        """Throw away what was not finished. May be called more than once."""
        with contextlib.suppress(OSError):
            self.file.close()
        if self._beside is not None:
            with contextlib.suppress(OSError):
                self._beside.unlink(missing_ok=True)

    def __enter__(self) -> WholeFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_all(file: IO[bytes], content: bytes) -> None:
    """Write all of it to an unbuffered file, of which a disk that gets full takes a part without an error.

    Raises OSError; the part stays, for the caller to cut off.
    """
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power, where the system has a call for it. Raises OSError."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_to_device(path: Path, content: bytes) -> None:
    """Write to a device or a pipe. Raises OSError, instead of waiting, for a pipe that nobody reads."""
    try:
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno == errno.ENXIO and path.is_fifo():
            raise OSError(errno.ENXIO, "nobody reads this pipe", str(path)) from error
        raise
    with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
        os.set_blocking(descriptor, True)
        file.write(content)


def _beside(path: Path) -> Path:
    """A name in the same folder that nobody has."""
    return path.with_name(f".{os.getpid()}.{path.name[:200].encode('ascii', 'replace').decode()}.part")
