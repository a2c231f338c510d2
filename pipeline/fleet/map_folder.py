"""Map folder: manifest, ledger and results of a map → what is done, what is missing, and a place for what is new.

    settings.json        what the results depend on: a rerun must agree
    manifest.parquet     the segments, the longest first
    ledger.jsonl         a line for each result, written once that is on the disk; elsewhere ledger/, a file for each
    detections/          a Parquet file for each segment, named after it
    failed.jsonl         the inputs of the last run that could not be done, with the reasons

A result is written whole, as `pipeline.fleet.map_storage` says, and only then entered in the ledger. A process that is
killed in between leaves a result that counts for nothing, and whose name the next run takes again: nothing is there
twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import ConfigError, SinkError, reason_of
from pipeline.fleet.manifest import manifest_content, segments_of
from pipeline.fleet.map_storage import RESULTS, SETTINGS, MapStorage, storage_of
from pipeline.fleet.segments import InputFile, Segment, whole_file
from pipeline.json_values import JsonObject

_MANIFEST, _FAILED = "manifest.parquet", "failed.jsonl"


class MapFolder:
    """A folder that one run has at a time, from its beginning to `close`.

    path: of this machine, or an address such as s3://bucket/out. settings: what the results depend on. storage: in
    place of that which the path means. Raises SinkError where another run has it or it cannot be written, and
    ConfigError where its results were made with other settings, or something else is in it.
    """

    def __init__(self, path: Path | str, settings: JsonObject, *, storage: MapStorage | None = None) -> None:
        self.path = path
        self.detections = path / RESULTS if isinstance(path, Path) else f"{path.rstrip('/')}/{RESULTS}"
        try:
            self._storage = storage or storage_of(path)
        except OSError as error:
            raise error if isinstance(error, SinkError) else self._sink_error(error) from error
        try:
            self._agree(settings)
            manifest = self._storage.read(_MANIFEST)
            self._segments = {segment.name: segment for segment in segments_of(manifest, f"{path}/{_MANIFEST}")}
            self._done: dict[str, JsonObject] = {}
            self._whole: set[int] = set()  # numbers of files that cannot be cut after all
            self._replay()
        except OSError as error:
            self._storage.close()
            raise self._sink_error(error) from error
        except BaseException:
            self._storage.close()
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
            self._storage.write(_MANIFEST, manifest_content(self.segments()))
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
            self._storage.write(_result_of(segment), content)
            self._storage.enter(entry)
        except OSError as error:
            raise self._sink_error(error) from error
        self._done[segment.name] = entry

    def make_whole(self, file: InputFile) -> Segment:
        """Let a file be one segment from now on; what was done of its parts is void. Raises SinkError."""
        old = [segment for segment in self._segments.values() if segment.file == file]
        uncut = whole_file(file, sum(part.seconds for part in old), sum(part.num_frames for part in old))
        try:
            self._storage.enter({"whole": file.number})  # first: without it, a rerun would take the parts for done
            self._void(file.number)
            self.add([uncut])
            self._storage.write(_MANIFEST, manifest_content(self.segments()))
        except OSError as error:
            raise self._sink_error(error) from error
        return uncut

    def save_failures(self, failures: Sequence[JsonObject]) -> None:
        """Write the list of what could not be done; none: no list. Raises SinkError."""
        try:
            if failures:
                self._storage.write(_FAILED, "".join(f"{json.dumps(failure)}\n" for failure in failures).encode())
            else:
                self._storage.remove(_FAILED)
        except OSError as error:
            raise self._sink_error(error) from error

    def close(self) -> None:
        """Let another run have it."""
        self._storage.close()

    def __enter__(self) -> MapFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _agree(self, settings: JsonObject) -> None:
        """Raise ConfigError where the results were made with other settings; keep these where there were none."""
        content = self._storage.read(SETTINGS)
        if content is None:
            self._storage.write(SETTINGS, json.dumps(settings, indent=1).encode())
            return
        try:
            kept = json.loads(content)
        except ValueError as error:
            raise ConfigError(f"{self.path}/{SETTINGS}: is not what a map wrote; name another --out") from error
        for key in sorted({*kept, *settings}):
            if kept.get(key) != settings.get(key):
                raise ConfigError(
                    f"{self.path} was mapped with {key} {_shown(kept.get(key))}, got {_shown(settings.get(key))}; "
                    "name another --out, or repeat the old command"
                )

    def _replay(self) -> None:
        """Read the ledger, and clear away what earlier runs left unfinished."""
        results = set(self._storage.results())
        for entry in self._storage.entries():
            if "whole" in entry:
                self._void(entry["whole"])
            elif f"{entry['segment']}.parquet" in results:
                self._done[entry["segment"]] = entry
        for file in self.files.values():
            if file.number in self._whole and whole_file(file).name not in self._segments:
                self.add([whole_file(file)])  # killed before the manifest had it
        self._segments = {name: entry for name, entry in self._segments.items() if not self.is_superseded(entry)}
        for name in results:
            is_result = name.endswith(".parquet") and name.removesuffix(".parquet") in self._done
            if not is_result and name.endswith((".parquet", ".part")):
                self._storage.remove(f"{RESULTS}/{name}")

    def _void(self, number: int) -> None:
        """Forget the parts of a file and their results."""
        self._whole.add(number)
        for segment in [segment for segment in self._segments.values() if self.is_superseded(segment)]:
            del self._segments[segment.name]
            self._done.pop(segment.name, None)
            self._storage.remove(_result_of(segment))

    def _sink_error(self, error: OSError) -> SinkError:
        done = f"{len(self._done)} results are kept" if getattr(self, "_done", None) else "nothing is lost"
        is_ours = isinstance(error, SinkError)  # which says it all
        reason = str(error) if is_ours else f"{self.path}: cannot be written: {reason_of(error)}"
        return SinkError(f"{reason}; {done}; mend that and run the same command again")


def _result_of(segment: Segment) -> str:
    return f"{RESULTS}/{segment.name}.parquet"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
