"""Segmented recording: rendered frames → recordings of limited length or size, one after another, without a gap."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import SinkError
from pipeline.events import event
from pipeline.flow.stage import Sink
from pipeline.picture.detections import RenderedFrame
from pipeline.segment_limits import DEFAULT_PATTERN, SegmentLimit
from pipeline.sinks.segment_archive import SegmentArchive
from pipeline.sinks.segment_index import Segment

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # how often the disk is looked at
_RETRY_SECONDS = 30.0  # after the disk refused a write, whatever it says is free
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))


class SegmentedRecording:
    """Records a source in segments, each of which begins with a key frame.

    The first frame after a segment's limit begins the next one. Where the disk is too full, although every older
    segment was deleted, recording stops with a warning, and goes on when there is room; frames that come meanwhile
    are counted and not recorded.

    path: folder, name and format of the segments, such as `recordings/door.mp4`.
    open_recording: opens what writes one file; each segment has its own. archive: this sink leaves it when it closes.
    is_live: frames have the times at which they were captured, else their media times.
    clock: the monotonic clock of `captured_at_seconds`.
    """

    def __init__(
        self,
        path: Path,
        *,
        open_recording: Callable[[Path], Sink[RenderedFrame]],
        archive: SegmentArchive,
        limit: SegmentLimit,
        pattern: str = DEFAULT_PATTERN,
        is_live: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._pattern = path, pattern
        self._open_recording = open_recording
        self._archive: SegmentArchive | None = archive
        self._limit, self._is_live = limit, is_live
        self._clock, self._wall_clock = clock, wall_clock
        self._segment: _OpenSegment | None = None
        self._look_at_seconds = float("-inf")
        self._is_stopped = False
        self._num_missed = 0  # frames that came while recording was stopped

    def write(self, item: RenderedFrame) -> None:
        """Record a frame. Raises SinkError if it cannot be written for another reason than a full disk."""
        frame = item.result.frame
        seconds = frame.captured_at_seconds if self._is_live else frame.pts_seconds
        self._look_at_disk()
        if self._is_stopped:
            self._num_missed += 1
            return
        if self._segment is not None and self._segment.is_full(seconds, self._limit):
            self._finish()
        while not self._has_written(item, seconds):
            if not self._open_archive.delete_oldest("the disk is full"):
                self._stop()
                self._look_at_seconds = self._clock() + _RETRY_SECONDS
                self._num_missed += 1
                return

    def close(self) -> None:
        """Finish the last segment. May be called more than once. Raises SinkError if its end cannot be written."""
        archive, self._archive = self._archive, None
        if archive is None:
            return
        try:
            self._finish(archive)
        finally:
            archive.leave()
            if self._num_missed:
                logger.warning("%s: %d frames were not recorded, the disk was full", self._path, self._num_missed)

    @property
    def _open_archive(self) -> SegmentArchive:
        assert self._archive is not None, "written to after it was closed"
        return self._archive

    def _has_written(self, item: RenderedFrame, seconds: float) -> bool:
        """False where the disk is full. Raises SinkError for other reasons."""
        try:
            if self._segment is None:
                self._segment = self._begun(item, seconds)
            self._segment.write(item, seconds)
        except SinkError as error:
            self._break_off()
            if not _is_for_want_of_room(error):
                raise
            return False
        return True

    def _begun(self, item: RenderedFrame, seconds: float) -> _OpenSegment:
        frame, archive = item.result.frame, self._open_archive
        segment = archive.begin(
            pattern=self._pattern,
            name=self._path.stem,
            suffix=self._path.suffix,
            source=frame.source_id,
            wall_seconds=self._wall_clock() - (self._clock() - frame.captured_at_seconds),
            pts=frame.pts_seconds,
        )
        part = archive.part_path(segment)
        try:
            return _OpenSegment(segment, part, self._open_recording(part), seconds)
        except SinkError:
            archive.salvage(segment)
            raise

    def _finish(self, archive: SegmentArchive | None = None) -> None:
        """Close the segment and give it its name; where its end cannot be written, keep what plays."""
        segment, self._segment = self._segment, None
        archive = archive or self._open_archive
        if segment is None:
            return
        try:
            segment.recording.close()
        except SinkError as error:
            if archive.part_path(segment.entry).exists():  # else somebody deleted it, which ends no recording
                archive.salvage(segment.entry)
                if not _is_for_want_of_room(error):
                    raise
                return
        archive.finish(segment.entry, frames=segment.num_frames, duration=segment.duration_seconds)

    def _break_off(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.recording.close()  # after a failed write it does not raise
            self._open_archive.salvage(segment.entry)

    def _look_at_disk(self) -> None:
        now = self._clock()
        if now < self._look_at_seconds:
            return
        self._look_at_seconds = now + _LOOK_SECONDS
        if not self._is_stopped:
            if not self._open_archive.make_room():
                self._finish()
                self._stop()
            return
        self._open_archive.delete_beyond_keep()  # what is too old goes, whether something is recorded or not
        if self._open_archive.has_room_again():
            self._is_stopped = False
            logger.warning(
                "%s: recording goes on, %d frames were not recorded",
                self._path,
                self._num_missed,
                extra=event("recording_resumed", file=str(self._path), frames_missed=self._num_missed),
            )
            self._num_missed = 0

    def _stop(self) -> None:
        self._is_stopped = True
        logger.warning(
            "%s: recording stopped, the disk is full and no older segment is left to delete; it goes on when there "
            "is room",
            self._path,
            extra=event("recording_stopped", file=str(self._path)),
        )


class _OpenSegment:
    """A segment that is being written."""

    def __init__(self, entry: Segment, part: Path, recording: Sink[RenderedFrame], began_at_seconds: float) -> None:
        self.entry, self.recording = entry, recording
        self.num_frames = 0
        self._part = part
        self._began_at_seconds = self._last_at_seconds = began_at_seconds

    @property
    def duration_seconds(self) -> float:
        """From its first frame to the end of its last, which lasts as long as the others do on average."""
        span = self._last_at_seconds - self._began_at_seconds
        return span * self.num_frames / (self.num_frames - 1) if self.num_frames > 1 else 0.0

    def is_full(self, seconds: float, limit: SegmentLimit) -> bool:
        """Whether a frame of that time belongs to the next segment."""
        if limit.seconds is not None and seconds - self._began_at_seconds >= limit.seconds:
            return True
        return limit.num_bytes is not None and self._num_bytes() >= limit.num_bytes

    def write(self, item: RenderedFrame, seconds: float) -> None:
        self.recording.write(item)
        self.num_frames += 1
        self._last_at_seconds = max(self._last_at_seconds, seconds)

    def _num_bytes(self) -> int:
        try:
            return self._part.stat().st_size
        except OSError:  # not begun, or gone
            return 0


def _is_for_want_of_room(error: SinkError) -> bool:
    return getattr(error.__cause__, "errno", None) in _NO_ROOM  # of an OSError, or of libav's
