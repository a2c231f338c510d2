"""Mapping: video files, a map folder and workers → a result for every segment, and a reason for what has none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ConfigError, SourceError, reason_of
from pipeline.fleet.driving import Driver
from pipeline.fleet.map_folder import MapFolder
from pipeline.fleet.remote_files import file_status
from pipeline.fleet.segments import InputFile, Segment
from pipeline.fleet.workers import Answer, Detected, Indexed, Task, Workers

logger = logging.getLogger(__name__)

OnStep = Callable[[str, int, int], None]
"""Told of progress: what is done (`index` in files, `detect` in frames), how much of it, and of how much."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An input, or a part of one, that could not be done."""

    file: str
    segment: str | None  # None: it could not even be cut
    reason: str


@dataclass(slots=True)
class MapRun:
    """One run over a map folder. Use it once.

    workers: opened only where there is work. on_step: told of progress.
    """

    folder: MapFolder
    workers: Callable[[], Workers[Task, Answer]]
    on_step: OnStep = lambda *_: None
    failures: list[Failure] = field(default_factory=list)
    num_frames: int = 0  # that were done in this run
    num_segments: int = 0
    _total: int = 0
    _num_indexed: int = 0
    _driver: Driver | None = None

    def run(self, paths: Sequence[Path | str]) -> None:
        """Do what is missing of these files, and of what the manifest has already.

        What cannot be done is in `failures` and in the folder; the rest is done. Raises SinkError where the folder
        cannot be written, ConfigError for a file that has changed since it was mapped, and FlowError where workers
        cannot work.
        """
        new = self._new_files(paths)
        if new or self.folder.missing():
            workers = self.workers()
            with workers as running:
                self._driver = Driver(running, workers.deaths, self._on_answer)
                try:
                    self._index(new)
                finally:
                    if self._num_indexed:
                        self.folder.save_manifest()
                self._detect()
        self.failures.sort(key=lambda failure: (failure.file, failure.segment or ""))
        self.folder.save_failures(
            [{"file": failure.file, "segment": failure.segment, "reason": failure.reason} for failure in self.failures]
        )

    def _new_files(self, paths: Sequence[Path | str]) -> list[InputFile]:
        """Those that the manifest does not have, numbered on."""
        kept = self.folder.files
        number = 1 + max((file.number for file in kept.values()), default=-1)
        new: list[InputFile] = []
        for path in dict.fromkeys(map(str, paths)):
            try:
                status = file_status(path)
            except OSError as error:
                if path not in kept:  # else its segments say so, if any is missing
                    is_ours = isinstance(error, SourceError)  # which says it all, of a file elsewhere
                    reason = str(error) if is_ours else f"cannot be opened: {reason_of(error)}"
                    self.failures.append(Failure(path, None, reason.removeprefix(f"{path}: ")))
                continue
            file = InputFile(number + len(new), path, status.num_bytes, status.changed_at_ns)
            old = kept.get(path)
            if old is None:
                new.append(file)
            elif (old.num_bytes, old.changed_at_ns) != (file.num_bytes, file.changed_at_ns):
                raise ConfigError(f"{path} has changed since it was mapped into {self.folder.path}; name another --out")
        return new

    def _index(self, files: Sequence[InputFile]) -> None:
        self._total = len(files)
        assert self._driver is not None
        self._driver.run(files)

    def _detect(self) -> None:
        missing = self.folder.missing()
        self._total = sum(segment.num_frames for segment in missing)
        self.on_step("detect", 0, self._total)
        assert self._driver is not None
        self._driver.run(missing)

    def _on_answer(self, task: Task, answer: Answer) -> Iterable[Task]:
        if isinstance(task, InputFile):
            return self._on_index(task, answer)
        return self._on_segment(task, answer)

    def _on_index(self, file: InputFile, answer: Answer) -> Iterable[Task]:
        self._num_indexed += 1
        if isinstance(answer, Indexed):
            self.folder.add(answer.segments)
        else:
            self.failures.append(Failure(file.path, None, _reason(answer, file.path)))
        self.on_step("index", self._num_indexed, self._total)
        return ()

    def _on_segment(self, segment: Segment, answer: Answer) -> Iterable[Task]:
        if self.folder.is_superseded(segment):
            return ()
        if isinstance(answer, Detected):
            self.folder.commit(segment, answer.content, num_frames=answer.num_frames, damage=answer.damage)
            for line in answer.damage:
                logger.warning("%s: %s", segment.file.path, line)
            self.num_segments += 1
            self.num_frames += answer.num_frames
            self.on_step("detect", self.num_frames, self._total)
            return ()
        reason = _reason(answer, segment.file.path)
        if getattr(answer, "must_be_whole", False):
            logger.info("%s: %s", segment.file.path, reason)
            return self._make_whole(segment.file)
        self.failures.append(Failure(segment.file.path, segment.name, reason))
        return ()

    def _make_whole(self, file: InputFile) -> Iterable[Task]:
        uncut = self.folder.make_whole(file)
        self.failures = [failure for failure in self.failures if failure.file != file.path]
        if self._driver is not None:
            self._driver.drop(lambda task: isinstance(task, Segment) and self.folder.is_superseded(task))
        self._total += uncut.num_frames
        return (uncut,)


def _reason(answer: Answer, path: str) -> str:
    """Why there is no result, without the path, which stands beside it."""
    return getattr(answer, "reason", "no answer").removeprefix(f"{path}: ")
