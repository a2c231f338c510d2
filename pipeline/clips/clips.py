"""Clips: results and packets of one source → a video file of the seconds around each of its events.

Packets are cut out as they are, from the key frame before on. A source that gives none, or whose pictures must not be
shown as they come, is encoded all the time, so that the seconds before an event are there; see `FramePackets`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.clips.clip_file import SUFFIXES, OpenSound, write_clip
from pipeline.clips.frame_packets import FramePackets
from pipeline.clips.ring import PacketRing, PacketSpan
from pipeline.events import event as log_event
from pipeline.json_values import Json
from pipeline.picture.counting.as_json import event_as_json
from pipeline.picture.counting.event import Event
from pipeline.picture.detection_rows import round_time
from pipeline.picture.detections import Result
from pipeline.sinks.events.files import EventFileKind, EventFiles
from pipeline.sinks.events.names import event_stem
from pipeline.sinks.growing_file import GrowingFile
from pipeline.sinks.line_file import LineFile
from pipeline.sinks.writable import refuse_unwritable_folder
from pipeline.sources.packets import CodedPacket, CodedStream, HasPackets

logger = logging.getLogger(__name__)

INDEX = "clips.jsonl"
_LATE_SECONDS = 3.0  # between an event and the frame that shows it: an object is missed only after a while
_LONGEST_SECONDS = 120.0  # of events that go on and on; the next one begins another clip


@dataclass(frozen=True, slots=True)
class ClipOptions:
    """What is kept around an event. most_bytes: of packets in memory; a clip that needs more begins later."""

    before_seconds: float = 5.0
    after_seconds: float = 5.0
    most_bytes: int = 256_000_000


@dataclass(slots=True)
class _Pending:
    """A clip that is not complete: the span of its events, with the seconds around them."""

    start_seconds: float
    end_seconds: float
    events: list[Event] = field(default_factory=list)


class Clips:
    """Writes `folder/street-crossed-gate-ID.mp4`, named by the first event, and a line of `clips.jsonl` for each clip.

    Events whose seconds overlap share a clip. Files take their names when they are complete, and
    none replaces another. stem_of: a source_id → its word in names. packets: the source, where its packets may be cut
    out; it is listened to from now on. open_sound: that of the file that the source reads.
    Raises SinkError where the folder cannot be written.
    """

    event_file_kind: EventFileKind = "clip"

    def __init__(
        self,
        folder: str | Path,
        options: ClipOptions | None = None,
        *,
        stem_of: Callable[[str], str],
        packets: HasPackets | None = None,
        open_sound: OpenSound = lambda: None,
        frames_per_second: float | None = None,
    ) -> None:
        self._folder, self._options, self._stem_of = Path(folder), options or ClipOptions(), stem_of
        refuse_unwritable_folder(self._folder, "clips")
        self.event_files = EventFiles()
        self._index = GrowingFile(self._folder / INDEX, "the index of clips", appends_to=LineFile(b'{"file": '))
        self._ring = self._new_ring()
        self._open_sound, self._frames_per_second = open_sound, frames_per_second
        self._is_encoding = packets is None
        self._frame_packets: FramePackets | None = None
        self._pending: _Pending | None = None
        self._newest: tuple[str, float] | None = None  # source_id and media time of the frame that came last
        if packets is not None:
            packets.listen(self)

    # The listener, in the thread that reads the source.

    def begin(self, stream: CodedStream) -> None:
        obstacle = _obstacle_of(stream)
        if obstacle is not None and not self._is_encoding:
            self._is_encoding = True
            logger.info("clips are encoded, because %s", obstacle)
        elif not self._is_encoding:
            self._ring.begin(stream)

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        if self._is_encoding:
            return
        if pts_seconds is None:
            self._is_encoding = True
            logger.info("clips are encoded, because a packet has no time")
        else:
            self._ring.take(packet, pts_seconds)

    # The sink, in its thread.

    def write(self, item: Result) -> None:
        """Take a frame; begin and finish clips. Raises SinkError if a clip cannot be written."""
        frame = item.frame
        seconds = frame.pts_seconds
        goes_on = self._newest is None or (self._newest[0] == frame.source_id and seconds >= self._newest[1])
        if not goes_on or (self._is_encoding and self._frame_packets is None):
            self._finish_pending()
        self._newest = (frame.source_id, seconds)
        if self._is_encoding:
            self._encode(item, goes_on=goes_on)
        if self._pending is not None and seconds >= self._pending.end_seconds + self._options.before_seconds:
            self._finish_pending()
        for event in item.events:
            self._add(event)
        oldest = seconds - self._options.before_seconds - _LATE_SECONDS
        self._ring.keep_from(oldest if self._pending is None else min(oldest, self._pending.start_seconds))

    def close(self) -> None:
        """Write the last clip, with what there is of it. May be called more than once. Raises SinkError."""
        try:
            self._finish_pending()
        finally:
            self._index.close()

    def _new_ring(self) -> PacketRing:
        return PacketRing(most_bytes=self._options.most_bytes)

    def _encode(self, item: Result, *, goes_on: bool) -> None:
        """Put a frame into the ring, a new one where packets were in it, or those of another file."""
        if self._frame_packets is None or not goes_on:
            self._ring = self._new_ring()
            self._frame_packets = FramePackets(
                self._ring, name=item.frame.source_id, frames_per_second=self._frames_per_second
            )
        self._frame_packets.put(item)

    def _add(self, event: Event) -> None:
        """Begin a clip with an event, or keep it in the one that is not complete."""
        before, after = self._options.before_seconds, self._options.after_seconds
        start, end = event.pts_seconds - before, event.pts_seconds + after
        pending = self._pending
        if pending is not None and max(end, pending.end_seconds) - pending.start_seconds > _longest(before + after):
            self._finish_pending()
            pending = None
        if pending is None:
            pending = self._pending = _Pending(start, end)
        pending.start_seconds, pending.end_seconds = min(start, pending.start_seconds), max(end, pending.end_seconds)
        pending.events.append(event)

    def _finish_pending(self) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        first = pending.events[0]
        span = self._ring.span(pending.start_seconds, pending.end_seconds, at_seconds=first.pts_seconds)
        if span is None:
            logger.warning("%s: no clip of event %s: there is no picture of its time", first.source_id, first.id)
            return
        if span.is_cut_short:
            logger.warning(
                "%s: the clip of event %s begins late, because its packets take more than clip_memory",
                first.source_id,
                first.id,
            )
        path = self._free_path(event_stem(self._stem_of(first.source_id), first, ending=SUFFIXES[span.stream.codec]))
        write_clip(path, span, open_sound=self._open_sound)
        self.event_files.keep([event.id for event in pending.events], path)
        self._index.write(json.dumps(_index_line(path, span, pending), allow_nan=False).encode() + b"\n")
        logger.info("%s: clip", path, extra=log_event("clip", file=str(path), source=first.source_id))

    def _free_path(self, name: str) -> Path:
        path, number = self._folder / name, 2
        while path.exists():
            path, number = (self._folder / name).with_stem(f"{Path(name).stem}-{number}"), number + 1
        return path


def _longest(span_seconds: float) -> float:
    return max(_LONGEST_SECONDS, span_seconds)


def _obstacle_of(stream: CodedStream) -> str | None:
    """Why the packets of a stream cannot be cut out; None: they can."""
    if stream.obstacle is not None:
        return stream.obstacle
    if stream.parameters is None or stream.codec not in SUFFIXES:
        return f"{stream.codec} is put into no file"
    return None


def _index_line(path: Path, span: PacketSpan, pending: _Pending) -> dict[str, Json]:
    """What a clip shows: from_s and to_s are the media times of its first and last picture."""
    shown = [packet.pts_seconds for packet in span.packets]
    return {
        "file": path.name,
        "source": pending.events[0].source_id,
        "from_s": round_time(min(shown)),
        "to_s": round_time(max(shown)),
        "frames": len(shown),
        "events": [event_as_json(event) for event in pending.events],
    }
