"""Map storage: a folder of this machine, or an address → the files of a map, each of them whole or not there.

LocalStorage     written beside its place, synced, renamed; the ledger grows by lines; a lock of the system
RemoteStorage    an object is there when all of it is, which has no rename and cannot grow: so an object for each
                 line of the ledger, written after the result it speaks of; a lock that shows signs of life
"""

from __future__ import annotations

import json
import logging
import os
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from pipeline.errors import ConfigError, SinkError
from pipeline.fleet.remote_address import is_remote
from pipeline.fleet.remote_files import RemoteFolder
from pipeline.json_values import JsonObject
from pipeline.sinks.output_lock import OutputLock
from pipeline.whole_file import WholeFile

logger = logging.getLogger(__name__)

RESULTS, SETTINGS = "detections", "settings.json"
_LOCK, _LEDGER, _LEDGER_FOLDER = ".lock", "ledger.jsonl", "ledger"
_BEAT_SECONDS = 5.0  # between two signs of life of a remote lock
_SILENT_BEATS = 3  # after which its holder is dead


class MapStorage(Protocol):
    """Files by their names, such as manifest.parquet and detections/000000-00001.parquet.

    Everything raises OSError where the storage does not do it. A second run that begins gets a SinkError.
    """

    def read(self, name: str) -> bytes | None:
        """The content; None: there is no such file."""

    def write(self, name: str, content: bytes) -> None:
        """Put a content in place of what is there; when this returns, it is not lost with the power."""

    def remove(self, name: str) -> None:
        """Let there be no such file."""

    def results(self) -> list[str]:
        """The names in the folder of results, with what a killed run left half-written there."""

    def enter(self, entry: JsonObject) -> None:
        """Add a line to the ledger, with the same promise as `write`."""

    def entries(self) -> Iterator[JsonObject]:
        """The lines of the ledger, those that void others behind them. Raises SinkError for one that is none."""

    def close(self) -> None:
        """Let another run have it."""


def storage_of(path: Path | str) -> MapStorage:
    """The storage that a word means, locked.

    Raises OSError, SinkError where another run has it, and ConfigError where it holds something else than a map.
    """
    return RemoteStorage(path) if isinstance(path, str) and is_remote(path) else LocalStorage(Path(path))


class LocalStorage:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_dir():
            _refuse_others(str(path), [child.name for child in path.iterdir()])
        (path / RESULTS).mkdir(parents=True, exist_ok=True)
        self._lock = OutputLock(path, lock_file=path / _LOCK)

    def read(self, name: str) -> bytes | None:
        with suppress(FileNotFoundError):
            return (self._path / name).read_bytes()
        return None

    def write(self, name: str, content: bytes) -> None:
        with WholeFile(self._path / name) as file:
            file.file.write(content)
            file.finish(durable=True)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def results(self) -> list[str]:
        return [path.name for path in (self._path / RESULTS).iterdir()]

    def enter(self, entry: JsonObject) -> None:
        with (self._path / _LEDGER).open("ab") as file:
            file.write(f"{json.dumps(entry)}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> Iterator[JsonObject]:
        """Of the last line, if a kill has cut it off, nothing is left."""
        path = self._path / _LEDGER
        if not path.exists():
            return
        content = path.read_bytes()
        lines, _, rest = content.rpartition(b"\n")
        if rest:
            os.truncate(path, len(content) - len(rest))
        for number, line in enumerate(lines.splitlines(), 1):
            yield _entry(line, f"{path}, line {number}")

    def close(self) -> None:
        self._lock.release()


class RemoteStorage:
    """A folder of a storage that fsspec opens. beat_seconds: between two signs of life, by which others know of us."""

    def __init__(self, address: str, *, beat_seconds: float = _BEAT_SECONDS) -> None:
        self._folder = RemoteFolder(address)
        _refuse_others(self._folder.address, self._folder.names(""))
        self._lock = _RemoteLock(self._folder, beat_seconds)

    def read(self, name: str) -> bytes | None:
        return self._folder.read(name)

    def write(self, name: str, content: bytes) -> None:
        self._lock.refuse_loss()
        self._folder.write(name, content)

    def remove(self, name: str) -> None:
        self._folder.remove(name)

    def results(self) -> list[str]:
        return self._folder.names(RESULTS)

    def enter(self, entry: JsonObject) -> None:
        name = f"whole-{entry['whole']}" if "whole" in entry else entry["segment"]
        self.write(f"{_LEDGER_FOLDER}/{name}.json", json.dumps(entry).encode())

    def entries(self) -> Iterator[JsonObject]:
        contents = self._folder.read_all(_LEDGER_FOLDER)
        for name in sorted(contents, key=lambda name: (name.startswith("whole-"), name)):
            yield _entry(contents[name], f"{self._folder.address}/{_LEDGER_FOLDER}/{name}")

    @property
    def is_lost(self) -> bool:
        """Whether another run has taken it."""
        return self._lock.is_lost

    def close(self) -> None:
        self._lock.close()


class _RemoteLock:
    """An object that its holder writes again and again. Where two come at one moment, the later one has it.

    No harm is done until the other sees that: both would write the same results by the same names.
    """

    def __init__(self, folder: RemoteFolder, beat_seconds: float) -> None:
        self._folder, self._beat_seconds = folder, beat_seconds
        self._id, self._num_beats = uuid.uuid4().hex, 0
        self._ending = threading.Event()
        self.is_lost = False
        self._refuse_living()
        self._beat()
        self._thread = threading.Thread(target=self._beat_often, name="lock of a map", daemon=True)
        self._thread.start()

    def refuse_loss(self) -> None:
        """Raise SinkError where another run has taken it."""
        if self.is_lost:
            raise SinkError(f"{self._folder.address}: another run has begun to write it")

    def abandon(self) -> None:
        """Show no further sign of life, and leave the lock, as a kill does."""
        self._ending.set()
        self._thread.join()

    def close(self) -> None:
        """Let another run have it."""
        self.abandon()
        if not self.is_lost:
            with suppress(OSError):
                self._folder.remove(_LOCK)

    def _refuse_living(self) -> None:
        """Raise SinkError where a lock shows a sign of life; one that does not was left by a killed run."""
        before = self._folder.read(_LOCK)
        if before is None:
            return
        logger.warning("%s: looking whether another run is writing it", self._folder.address)
        for _ in range(_SILENT_BEATS):
            self._ending.wait(self._beat_seconds)
            now = self._folder.read(_LOCK)
            if now is None:
                return
            if now != before:
                raise SinkError(f"{self._folder.address}: another run is writing it; name another --out")

    def _beat_often(self) -> None:
        while not self._ending.wait(self._beat_seconds):
            try:
                content = self._folder.read(_LOCK)
                self.is_lost = content is not None and not content.startswith(self._id.encode())
                if self.is_lost:
                    return
                self._beat()
            except OSError as error:
                logger.debug("no sign of life: %s", error)

    def _beat(self) -> None:
        self._num_beats += 1
        self._folder.write(_LOCK, f"{self._id} {self._num_beats}".encode())


def _refuse_others(path: str, names: Collection[str]) -> None:
    """Raise ConfigError for a folder with files that are not of a map."""
    strangers = sorted({*names} - {SETTINGS, _LOCK, RESULTS})
    if strangers and SETTINGS not in names:
        raise ConfigError(f"--out must be a new folder, or that of a map, got {path}, which holds {strangers[0]}")


def _entry(line: bytes, where: str) -> JsonObject:
    try:
        entry: JsonObject = json.loads(line)
    except ValueError as error:
        raise SinkError(f"{where}: is not an entry; name another --out") from error
    return entry
