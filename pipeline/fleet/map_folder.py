"""Map folder: manifest, ledger and results of a map → what is done, what is missing, and a place for what is new.

    settings.json        what the results depend on: a rerun must agree
    manifest.parquet     the segments, the longest first
    ledger.jsonl         a line for each result, written once that is on the disk
    detections/          a Parquet file for each segment, named after it
    failed.jsonl         the inputs of the last run that could not be done, with the reasons

A result is written beside its place, synced and renamed, and only then entered in the ledger. A process that is killed
in between leaves a result that counts for nothing, and whose name the next run takes again: nothing is there twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import ConfigError, SinkError, reason_of
from pipeline.fleet.manifest import read_manifest, write_manifest
from pipeline.fleet.segments import InputFile, Segment, whole_file
from pipeline.json_values import JsonObject
from pipeline.sinks.output_lock import OutputLock
from pipeline.whole_file import WholeFile

_LOCK = ".lock"


class MapFolder:
    """A folder that one run has at a time, from its beginning to `close`.

    settings: what the results depend on. Raises SinkError where another run has it or it cannot be written, and
    ConfigError where its results were made with other settings, or something else is in it.
    """

    def __init__(self, path: Path, settings: JsonObject) -> None:
        self.path = path
        self.detections = path / "detections"
        try:
            _refuse_others(path)
            self.detections.mkdir(parents=True, exist_ok=True)
            self._lock = OutputLock(path, lock_file=path / _LOCK)
        except OSError as error:
            raise error if isinstance(error, SinkError) else self._sink_error(error) from error
        try:
            self._agree(settings)
            self._segments = {segment.name: segment for segment in read_manifest(self._manifest)}
            self._done: dict[str, JsonObject] = {}
            self._whole: set[int] = set()  # numbers of files that cannot be cut after all
            self._replay()
        except OSError as error:
            self._lock.release()
            raise self._sink_error(error) from error
        except BaseException:
            self._lock.release()
            raise

    @property
    def files(self) -> dict[str, InputFile]:
        """The files of the manifest by their paths."""
        return {segment.file.path: segment.file for segment in self._segments.values()}

    def segments(self) -> list[Segment]:
        """All that are to be done or done, the longest first."""
        return sorted(self._segments.values(), key=lambda segment: (-segment.cost, segment.name))

    def missing(self) -> list[Segment]:
        """Those that have no result yet, the longest first."""
        return [segment for segment in self.segments() if segment.name not in self._done]

    def is_superseded(self, segment: Segment) -> bool:
        """Whether its file is done as a whole instead."""
        return segment.part is not None and segment.file.number in self._whole

    def add(self, segments: Iterable[Segment]) -> None:
        """Take further segments into the manifest, which `save_manifest` writes."""
        self._segments |= {segment.name: segment for segment in segments}

    def save_manifest(self) -> None:
        """Write the manifest. Raises SinkError."""
        try:
            write_manifest(self._manifest, self.segments())
        except OSError as error:
            raise self._sink_error(error) from error

    def commit(self, segment: Segment, content: bytes, *, num_frames: int, damage: Sequence[str]) -> None:
        """Keep the result of a segment: when this returns, it is not lost with the power. Raises SinkError."""
        entry: JsonObject = {
            "segment": segment.name,
            "frames": num_frames,
            "file": segment.file.path,
            "damage": list(damage),
        }
        try:
            with WholeFile(self.result_of(segment)) as file:
                file.file.write(content)
                file.finish(durable=True)
            self._enter(entry)
        except OSError as error:
            raise self._sink_error(error) from error
        self._done[segment.name] = entry

    def make_whole(self, file: InputFile) -> Segment:
        """Let a file be one segment from now on; what was done of its parts is void. Raises SinkError."""
        old = [segment for segment in self._segments.values() if segment.file == file]
        uncut = whole_file(file, sum(part.seconds for part in old), sum(part.num_frames for part in old))
        try:
            self._enter({"whole": file.number})  # first: without it, a rerun would take the parts for done
            self._void(file.number)
            self.add([uncut])
            write_manifest(self._manifest, self.segments())
        except OSError as error:
            raise self._sink_error(error) from error
        return uncut

    def save_failures(self, failures: Sequence[JsonObject]) -> None:
        """Write the list of what could not be done; none: no list. Raises SinkError."""
        path = self.path / "failed.jsonl"
        try:
            if not failures:
                path.unlink(missing_ok=True)
                return
            with WholeFile(path) as file:
                file.file.writelines(f"{json.dumps(failure)}\n".encode() for failure in failures)
                file.finish(durable=True)
        except OSError as error:
            raise self._sink_error(error) from error

    def result_of(self, segment: Segment) -> Path:
        """The file of its result."""
        return self.detections / f"{segment.name}.parquet"

    def close(self) -> None:
        """Let another run have it."""
        self._lock.release()

    def __enter__(self) -> MapFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _manifest(self) -> Path:
        return self.path / "manifest.parquet"

    @property
    def _ledger(self) -> Path:
        return self.path / "ledger.jsonl"

    def _agree(self, settings: JsonObject) -> None:
        """Raise ConfigError where the results were made with other settings; keep these where there were none."""
        path = self.path / "settings.json"
        if not path.exists():
            with WholeFile(path) as file:
                file.file.write(json.dumps(settings, indent=1).encode())
                file.finish(durable=True)
            return
        try:
            kept = json.loads(path.read_bytes())
        except ValueError as error:
            raise ConfigError(f"{path}: is not what a map wrote; name another --out") from error
        for key in sorted({*kept, *settings}):
            if kept.get(key) != settings.get(key):
                raise ConfigError(
                    f"{self.path} was mapped with {key} {_shown(kept.get(key))}, got {_shown(settings.get(key))}; "
                    "name another --out, or repeat the old command"
                )

    def _replay(self) -> None:
        """Read the ledger, and clear away what earlier runs left unfinished."""
        for entry in self._entries():
            if "whole" in entry:
                self._void(entry["whole"])
            elif (self.detections / f"{entry['segment']}.parquet").exists():
                self._done[entry["segment"]] = entry
        for file in self.files.values():
            if file.number in self._whole and whole_file(file).name not in self._segments:
                self.add([whole_file(file)])  # killed before the manifest had it
        self._segments = {name: entry for name, entry in self._segments.items() if not self.is_superseded(entry)}
        for path in self.detections.iterdir():
            is_result = path.suffix == ".parquet" and path.stem in self._done
            if not is_result and (path.suffix == ".parquet" or path.name.endswith(".part")):
                path.unlink()

    def _entries(self) -> Iterator[JsonObject]:
        """The lines of the ledger. The last one, if a kill has cut it off, is removed."""
        if not self._ledger.exists():
            return
        content = self._ledger.read_bytes()
        lines, _, rest = content.rpartition(b"\n")
        if rest:
            os.truncate(self._ledger, len(content) - len(rest))
        for number, line in enumerate(lines.splitlines(), 1):
            try:
                entry = json.loads(line)
                yield entry
            except ValueError as error:
                raise SinkError(f"{self._ledger}, line {number}: is not an entry; name another --out") from error

    def _enter(self, entry: JsonObject) -> None:
        with self._ledger.open("ab") as file:
            file.write(f"{json.dumps(entry)}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def _void(self, number: int) -> None:
        """Forget the parts of a file and their results."""
        self._whole.add(number)
        for segment in [segment for segment in self._segments.values() if self.is_superseded(segment)]:
            del self._segments[segment.name]
            self._done.pop(segment.name, None)
            with suppress(FileNotFoundError):
                self.result_of(segment).unlink()

    def _sink_error(self, error: OSError) -> SinkError:
        done = f"{len(self._done)} results are kept" if getattr(self, "_done", None) else "nothing is lost"
        return SinkError(
            f"{self.path}: cannot be written: {reason_of(error)}; {done}; mend that and run the same command again"
        )


def _refuse_others(path: Path) -> None:
    """Raise ConfigError for a folder with files that are not of a map."""
    if path.is_dir() and not (path / "settings.json").exists():
        strangers = [child.name for child in path.iterdir() if child.name not in (_LOCK, "detections")]
        if strangers:
            raise ConfigError(f"--out must be a new folder, or that of a map, got {path}, which holds {strangers[0]}")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
