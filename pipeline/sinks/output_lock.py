"""Output lock: the path of an output → the right to write it, which one run of a user has at a time on a machine.

The lock is on a file of its own, because an output that is not begun yet must not appear; the system lets go of it
when a process ends, in whatever way.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from pipeline.errors import SinkError
from pipeline.flow.stage import Sink

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")


class OutputLock:
    """Held from the beginning to `release`. Raises SinkError where another run holds it.

    Where no lock can be taken, as on a read-only machine or on Windows, it holds nothing.

    lock_file: to be locked instead of one of this machine, such as a file in the output itself, where that is a folder
    that several machines share.
    """

    def __init__(self, path: str | Path, *, lock_file: Path | None = None) -> None:
        self._descriptor: int | None = None
        self._num_holders = 1
        folder = _folder()
        if fcntl is None or (folder is None and lock_file is None):
            return
        name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
        self._lock_file = lock_file or (folder or Path()) / f"{name}.lock"
        with suppress(PermissionError):
            self._descriptor = _locked(self._lock_file, path)

    def held_again(self) -> OutputLock:
        """The same lock for another sink of this run, to be released once more."""
        self._num_holders += 1
        return self

    def release(self) -> None:
        """Let others write, once everybody who holds it has released it. May be called more often."""
        self._num_holders -= 1
        if self._num_holders > 0:
            return
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                self._lock_file.unlink()
            os.close(descriptor)


class LockedSink(Generic[T]):
    """A sink whose output is locked until it is closed."""

    def __init__(self, sink: Sink[T], lock: OutputLock) -> None:
        self.sink, self._lock = sink, lock
        self._is_locked = True

    def write(self, item: T) -> None:
        """Raises what the sink raises."""
        self.sink.write(item)

    def close(self) -> None:
        """Close the sink, then unlock. Raises what the sink raises."""
        try:
            self.sink.close()
        finally:
            if self._is_locked:  # it may be closed more than once
                self._is_locked = False
                self._lock.release()


def _locked(lock_file: Path, path: str | Path) -> int:
    """The descriptor of a locked file, which whoever held it before may have deleted in between."""
    while True:
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 20).decode("ascii", "replace")
            os.close(descriptor)
            raise SinkError(
                f"{path}: another run, process {owner}, is writing it; name another file, or end that run"
            ) from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), lock_file.stat()):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                return descriptor
        os.close(descriptor)


def _folder() -> Path | None:
    """A folder of this user's alone; None where there is none, or somebody else has made it."""
    if not hasattr(os, "getuid"):
        return None
    folder = Path(tempfile.gettempdir()) / f"streamdet-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    return folder if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() else None
