"""Segment archive: segments that begin and end → files with their names, their index, and the oldest deleted in time.

A segment is written as `NAME.part.mp4` and gets its name when it is whole. What a killed run left unfinished is taken
up when the next one begins to record there: it gets its name if it plays, and is removed if it does not.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path, PurePosixPath
from weakref import WeakValueDictionary

from pipeline.errors import SinkError, reason_of
from pipeline.events import event
from pipeline.segment_limits import SegmentLimit, segment_stem, utc_text
from pipeline.sinks.recording_probe import cut_torn_end, probe_recording
from pipeline.sinks.segment_index import Segment, SegmentIndex

logger = logging.getLogger(__name__)

_RESUME_SHARE = 1.1  # of the low-water mark must be free before a recording that stopped goes on
_LEAST_TO_RESUME_BYTES = 10**6


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder."""
    return shutil.disk_usage(folder).free


class SegmentArchive:
    """The segments of a run in one folder, of all of its sources; may be used from any thread.

    index: the path of the index. keep: finished segments that are older go, and the oldest while all together are
    larger. min_free_bytes: the low-water mark; the oldest segments go while less is free on the disk.
    Raises SinkError if the folder cannot be written, or another run records there.
    """

    def __init__(
        self,
        index: Path,
        *,
        keep: SegmentLimit = SegmentLimit(),
        min_free_bytes: int = 0,
        wall_clock: Callable[[], float] = time.time,
        free_bytes: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.folder = index.parent
        self._keep, self._min_free_bytes = keep, min_free_bytes
        self._wall_clock, self._free_bytes = wall_clock, free_bytes
        self._lock = threading.RLock()
        self._num_users = 0
        self._is_recovered = False
        self._undeletable: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{self.folder}: segments cannot be written there: {reason_of(error)}") from error
        self._index = SegmentIndex(index)

    def enter(self) -> None:
        """Count one more sink that records here."""
        with self._lock:
            self._num_users += 1

    def leave(self) -> None:
        """Count one less; the last one closes the index."""
        with self._lock:
            self._num_users -= 1
            if self._num_users == 0:
                self._index.close()

    @property
    def is_closed(self) -> bool:
        """Whether the last sink has left."""
        return self._num_users == 0

    def segments(self) -> tuple[Segment, ...]:
        """All of them, in the order in which they began."""
        with self._lock:
            return tuple(self._index.segments.values())

    def begin(self, *, pattern: str, name: str, suffix: str, source: str, wall_seconds: float, pts: float) -> Segment:
        """Book a segment, which is to be written to `part_path`. Raises SinkError if its folder cannot be made."""
        with self._lock:
            self._recover()
            segment = Segment(
                self._free_name(segment_stem(pattern, name, wall_seconds), suffix),
                source,
                utc_text(wall_seconds),
                round(pts, 6),
            )
            folder = (self.folder / segment.file).parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SinkError(f"{folder}: segments cannot be written there: {reason_of(error)}") from error
            self._index.put(segment)
            return segment

    def part_path(self, segment: Segment) -> Path:
        """Where a segment is written before it has its name."""
        path = self.folder / segment.file
        return path.with_name(f"{path.stem}.part{path.suffix}")

    def finish(self, segment: Segment, *, frames: int, duration: float) -> None:
        """Give a segment that is whole its name. Raises SinkError if it cannot be renamed."""
        _to_disk(self.part_path(segment))  # before it has its name, also where the power fails
        with self._lock:
            finished = self._named(replace(segment, frames=frames, duration=round(duration, 3), complete=True))
        if finished is not None:
            logger.info(
                "%s: finished", self.folder / finished.file, extra=event("segment_finished", **asdict(finished))
            )

    def salvage(self, segment: Segment) -> None:
        """Keep what plays of a segment that was broken off, and remove one of which nothing does."""
        with self._lock:
            part = self.part_path(segment)
            path = part if part.exists() else self.folder / segment.file  # killed between its name and its line
            with suppress(OSError):  # it is gone, or as it is
                cut_torn_end(path)
            frames, duration = probe_recording(path)
            if not frames:
                path.unlink(missing_ok=True)
                self._index.remove(segment.file)
                logger.info("%s: removed, it holds no frame", path, extra=event("segment_removed", file=segment.file))
                return
            kept = self._named(replace(segment, frames=frames, duration=round(duration, 3), complete=False))
        if kept is not None:
            logger.warning(
                "%s: its end was lost, %d frames are kept",
                self.folder / kept.file,
                frames,
                extra=event("segment_recovered", **asdict(kept)),
            )

    def make_room(self) -> bool:
        """Delete the oldest finished segments until the limits hold; False where the disk is too full all the same."""
        with self._lock:
            self._recover()
            self._delete_beyond_keep()
            while self._free() < self._min_free_bytes:
                if not self.delete_oldest("the disk is nearly full"):
                    return False
            return True

    def delete_beyond_keep(self) -> None:
        """Delete finished segments that are older than is kept, or the oldest while all are larger."""
        with self._lock:
            self._recover()
            self._delete_beyond_keep()

    def has_room_again(self) -> bool:
        """Whether enough is free to go on after a stop: a tenth more than the low-water mark."""
        return self._free() >= max(_RESUME_SHARE * self._min_free_bytes, _LEAST_TO_RESUME_BYTES)

    def delete_oldest(self, reason: str) -> bool:
        """Delete the oldest finished segment; False where there is none."""
        with self._lock:
            oldest = next((segment for segment in self._finished() if self._delete(segment, reason)), None)
        return oldest is not None

    def _delete_beyond_keep(self) -> None:
        finished = self._finished()
        oldest_kept_seconds = self._wall_clock() - (self._keep.seconds or float("inf"))
        num_bytes = sum(map(self._num_bytes, self._index.segments.values()))
        for segment in finished:
            is_too_old = segment.end_wall_seconds < oldest_kept_seconds
            is_too_much = self._keep.num_bytes is not None and num_bytes > self._keep.num_bytes
            if not (is_too_old or is_too_much):
                continue  # and not the end: one that began later may have ended sooner
            if self._delete(segment, "older than is kept" if is_too_old else "more than is kept"):
                num_bytes -= segment.bytes or 0

    def _delete(self, segment: Segment, reason: str) -> bool:
        path = self.folder / segment.file
        try:
            path.unlink(missing_ok=True)
            if path.parent != self.folder and not any(path.parent.iterdir()):
                path.parent.rmdir()
        except OSError as error:
            if path.exists():
                self._undeletable.add(segment.file)
                logger.warning("%s: cannot be deleted: %s", path, reason_of(error))
                return False
        self._index.remove(segment.file)
        logger.info("%s: deleted, %s", path, reason, extra=event("segment_deleted", file=segment.file, reason=reason))
        return True

    def _num_bytes(self, segment: Segment) -> int:
        if segment.bytes is not None:
            return segment.bytes
        try:
            return self.part_path(segment).stat().st_size
        except OSError:  # not begun, or gone
            return 0

    def _finished(self) -> list[Segment]:
        return [
            segment
            for segment in self._index.segments.values()
            if segment.is_finished and segment.file not in self._undeletable
        ]

    def _named(self, segment: Segment) -> Segment | None:
        """The segment under its name, with its size; None where somebody has taken the file away."""
        part, path = self.part_path(segment), self.folder / segment.file
        try:
            if part.exists():
                part.replace(path)
            segment = replace(segment, bytes=path.stat().st_size)
        except FileNotFoundError:
            logger.warning("%s: is gone, somebody else deleted it", part)
            self._index.remove(segment.file)
            return None
        except OSError as error:
            raise SinkError(f"{path}: cannot be given its name: {reason_of(error)}") from error
        self._index.put(segment)
        return segment

    def _recover(self) -> None:
        """Take up, once, what an earlier run left behind."""
        if self._is_recovered:
            return
        self._is_recovered = True
        for segment in self.segments():
            if not segment.is_finished:
                self.salvage(segment)
            elif not (self.folder / segment.file).exists():
                self._index.remove(segment.file)

    def _free(self) -> int:
        try:
            return self._free_bytes(self.folder)
        except OSError:  # the folder is gone; whoever writes there says so
            return self._min_free_bytes

    def _free_name(self, stem: str, suffix: str) -> str:
        """A name that no file has, and no segment."""
        for number in count(1):
            file = str(PurePosixPath(f"{stem}{'' if number == 1 else f'-{number}'}{suffix}"))
            path = self.folder / file
            if file not in self._index.segments and not path.exists():
                return file
        raise AssertionError


_open_archives: WeakValueDictionary[Path, SegmentArchive] = WeakValueDictionary()
_opening = threading.Lock()


def shared_archive(index: Path, *, keep: SegmentLimit, min_free_bytes: int) -> SegmentArchive:
    """The archive of an index, one in this process: the cameras of a run share their limits, oldest segment first.

    Each call is to be met by one of `leave`. Raises SinkError if the folder cannot be written, or another run has it.
    """
    with _opening:
        path = index.absolute()
        archive = _open_archives.get(path)
        if archive is None or archive.is_closed:
            archive = SegmentArchive(path, keep=keep, min_free_bytes=min_free_bytes)
            _open_archives[path] = archive
        archive.enter()
        return archive


def _to_disk(path: Path) -> None:
    with suppress(OSError), path.open("rb") as file:
        os.fsync(file.fileno())
