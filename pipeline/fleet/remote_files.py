"""Remote files: an address that fsspec opens, such as s3://bucket/videos/ → its videos, and copies of them to read.

A copy of a video is made whole, because a video is read from its end to its beginning and in between; a process keeps
the last one, for the next segment of the same file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import ConfigError, MissingExtraError, SinkError, SourceError, first_line
from pipeline.fleet.remote_address import is_remote
from pipeline.sources.file_sets import VIDEO_SUFFIXES, natural_order


class FileStatus(NamedTuple):
    """What tells a file from a later one of the same name."""

    num_bytes: int
    changed_at_ns: int


def remote_videos(word: str) -> list[str]:
    """The video, the videos below a folder, or those that a glob matches. Raises ConfigError where there is none."""
    with _failures_of(word, ConfigError):
        files, path = _file_system(word)
        if any(letter in path for letter in "*?["):
            paths = files.glob(path)
        else:
            paths = [path] if files.isfile(path) else files.find(path)
    scheme = word.partition("://")[0]
    videos = [f"{scheme}://{one.lstrip('/')}" for one in paths if Path(one).suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        raise ConfigError(f"{word}: must be videos, got no file, no folder with a video and no glob that matches one")
    return sorted(videos, key=lambda address: natural_order(Path(address)))


def file_status(path: str) -> FileStatus:
    """Of a file here or elsewhere. Raises OSError where it is not; of one elsewhere, SourceError, which is one."""
    if not is_remote(path):
        status = Path(path).stat()
        return FileStatus(status.st_size, status.st_mtime_ns)
    with _failures_of(path, SourceError):
        files, inside = _file_system(path)
        info = files.info(inside)
        changed = info.get("LastModified") or info.get("updated") or info.get("last_modified") or info.get("created")
        return FileStatus(int(info["size"]), _nanoseconds(changed))


@contextmanager
def local_path(path: str) -> Iterator[Path]:
    """The path of a file, or of a copy of it on this machine. Raises SourceError where none can be made."""
    if not is_remote(path):
        yield Path(path)
        return
    global _copy
    if _copy is None or _copy.address != path:
        if _copy is not None:
            _copy.folder.cleanup()
        folder = tempfile.TemporaryDirectory(prefix="streamdet-", ignore_cleanup_errors=True)
        _copy = None
        target = Path(folder.name) / Path(path).name
        try:
            with _failures_of(path, SourceError):
                files, inside = _file_system(path)
                files.get_file(inside, str(target))
        except BaseException:
            folder.cleanup()
            raise
        _copy = _Copy(path, folder, target)
    yield _copy.path


class RemoteFolder:
    """The files below an address. Everything raises SinkError, which is an OSError, where the storage does not do it.

    Raises MissingExtraError where a library of it is missing.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        with _failures_of(self.address, SinkError):
            self._files, self._path = _file_system(self.address)

    def read(self, name: str) -> bytes | None:
        """The content; None: there is no such file."""
        with _failures_of(self._address_of(name), SinkError), suppress(FileNotFoundError):
            content: bytes = self._files.cat_file(self._path_of(name))
            return content
        return None

    def read_all(self, folder: str) -> dict[str, bytes]:
        """The contents of a folder, several at once, by name."""
        names = self.names(folder)
        with _failures_of(self._address_of(folder), SinkError):
            contents = self._files.cat([self._path_of(f"{folder}/{name}") for name in names]) if names else {}
        return {path.rpartition("/")[2]: content for path, content in contents.items()}

    def write(self, name: str, content: bytes) -> None:
        """Put a content there, whole or not at all."""
        with _failures_of(self._address_of(name), SinkError, "written"):
            self._files.pipe_file(self._path_of(name), content)

    def remove(self, name: str) -> None:
        """Let there be no such file."""
        with _failures_of(self._address_of(name), SinkError, "removed"), suppress(FileNotFoundError):
            self._files.rm_file(self._path_of(name))

    def names(self, folder: str) -> list[str]:
        """The files and folders in a folder, or in this one, as they are now; none where there is none."""
        with _failures_of(self._address_of(folder), SinkError), suppress(FileNotFoundError):
            self._files.invalidate_cache()
            paths = self._files.ls(self._path_of(folder), detail=False)
            names = [path.rstrip("/").rpartition("/")[2] for path in paths if path.rstrip("/") != self._path_of(folder)]
            return sorted(filter(None, names))
        return []

    def _path_of(self, name: str) -> str:
        return f"{self._path}/{name}".rstrip("/")

    def _address_of(self, name: str) -> str:
        return f"{self.address}/{name}".rstrip("/")


class _Copy(NamedTuple):
    address: str
    folder: tempfile.TemporaryDirectory[str]
    path: Path


_copy: _Copy | None = None  # of this process


def _file_system(address: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError(f'{address} needs fsspec: pip install "streamdet[s3]"') from error
    files, path = url_to_fs(address)
    return files, path


@contextmanager
def _failures_of(
    address: str, kind: type[ConfigError | SourceError | SinkError], deed: str = "opened"
) -> Iterator[None]:
    """Say in a line of ours what a library of a storage says."""
    try:
        yield
    except (ConfigError, SourceError, SinkError, MissingExtraError):
        raise
    except ImportError as error:
        raise MissingExtraError(f'{address} needs {error.name or error}: pip install "streamdet[s3]"') from error
    except FileNotFoundError as error:
        raise kind(f"{address}: cannot be {deed}: {os.strerror(2)}") from error
    except Exception as error:  # of s3fs, gcsfs, adlfs and what they are built on
        raise kind(f"{address}: cannot be {deed}: {first_line(error)}") from error


def _nanoseconds(changed: object) -> int:
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    return int(changed.timestamp() * 1_000_000) * 1000 if isinstance(changed, datetime) else 0
