"""Parts of a video: a file → stretches between key frames whose pictures, read alone, are those of the whole file.

A part holds the pictures that are shown from one key frame up to another. In an open GOP, pictures that are shown
before a key frame are decoded after it, and refer to it and to what came before: they belong to the part before it,
which is therefore decoded on until a later picture comes out. Numbers are ranks of times, as a decoder counts them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import av.error
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import TimedPicture
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.frame_decoder import Packets
from pipeline.sources.video.source import VideoSource

_SHORTEST_SHARE = 1.5  # of a part's length; a file that is not longer stays whole


class SeamError(SourceError):
    """A part that is not what the index says: only a decode of the whole file tells what its pictures are."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a video, in ticks of its stream."""

    begin_pts: int | None  # of the key frame that is shown first; None: from the beginning of the file
    begin_dts: int  # of the same, to be sought; 0 at the beginning
    end_pts: int | None  # of the first picture that is not of the part; None: to the end of the file
    first_number: int  # of its first picture, in the whole file
    num_frames: int


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """What is known of a video without decoding it. parts: none where it must be read as a whole, for `reason`."""

    parts: tuple[Part, ...]
    seconds: float | None  # its length; None: not known
    num_frames: int | None  # as declared, or counted where it was read to its end
    reason: str = ""  # why it is one part


def index_video(path: Path, *, part_seconds: float) -> VideoIndex:
    """Where a video can be cut into parts of at least `part_seconds`. Raises SourceError for what is not a video."""
    source = _IndexedVideo(path, decode=DecodeOptions(threads=1))
    try:
        return source.index(part_seconds)
    finally:
        source.close()


class PartSource(VideoSource):
    """One part of a video file: its pictures, with the numbers and times that they have in the whole file."""

    def __init__(self, path: Path, part: Part, *, source_id: str | None = None, decode: DecodeOptions) -> None:
        self._part = part
        super().__init__(path, source_id=source_id, decode=decode)

    @property
    def num_frames(self) -> int | None:
        return self._part.num_frames

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        """As of a FrameSource; every: counted from the first picture of the whole file on.

        Raises SeamError, perhaps after some pictures, where they are not those that the index promises.
        """
        self._frames, self._first = self._frames_of_part(self._packets_of_part(), stop), None
        for timed in super().pictures(stop):
            if (timed.number or 0) % every == 0:
                yield timed

    def _frames_of_part(self, packets: Packets, stop: Stop) -> Iterator[VideoFrame]:
        part, num = self._part, 0
        last_pts: int | None = None
        self._decoder.flush()
        for frame in self._decoder.frames(packets):
            if frame.pts is None or (last_pts is not None and frame.pts <= last_pts):
                raise self._seam_error("its pictures are out of order")
            last_pts = frame.pts
            if part.end_pts is not None and frame.pts >= part.end_pts:
                break
            if part.begin_pts is None or frame.pts >= part.begin_pts:
                if frame.is_corrupt:
                    raise self._seam_error("it has damage")
                self._chosen.number = part.first_number + num
                num += 1
                yield frame
        if num != part.num_frames and not stop.is_set():
            raise self._seam_error(f"it has {num} pictures, and its index {part.num_frames}")

    def _packets_of_part(self) -> Iterator[Packet[VideoStream] | None]:
        """The packets of the file from the first one of the part on."""
        if self._part.begin_pts is None:
            return self._packets.rewound()
        packets = self._sought(self._part.begin_dts)
        if packets is None:  # a demuxer that lands behind the key frame, as some do in short GOPs
            packets = self._sought(None)
        if packets is None:
            raise self._seam_error("its key frame is not where it was")
        return packets

    def _sought(self, dts: int | None) -> Iterator[Packet[VideoStream] | None] | None:
        """The packets from the key frame of the part on; None if it does not come. dts: None: from the beginning."""
        container, stream = self._video.container, self._video.stream
        try:
            container.seek((stream.start_time or 0) if dts is None else dts, stream=stream, backward=True)
        except av.error.FFmpegError:
            return None
        packets = self._reader.packets()
        for packet in packets:
            if packet is None or (dts is not None and packet.dts is not None and packet.dts > dts):
                return None
            if packet.is_keyframe and packet.pts == self._part.begin_pts:
                return chain([packet], packets)
        return None

    def _seam_error(self, what: str) -> SeamError:
        return SeamError(f"{self.source_id}: a part of it cannot be read alone: {what}; read the whole file")

    def _note_end(self, last_seconds: float | None) -> None:
        """A part ends where it ends: what is declared is of the file."""


class _IndexedVideo(VideoSource):
    """A video whose packets are read for their times."""

    def index(self, part_seconds: float) -> VideoIndex:
        """To be called once, instead of `pictures`."""
        seconds = self._declared_seconds()
        reason = self._reason_not_to_cut(seconds, part_seconds)
        if reason:
            return VideoIndex((), seconds, self._times.header.num_frames, reason)
        ticks = _Ticks(self._first.pts if self._first is not None and self._first.pts is not None else 0)
        least_ticks = part_seconds / self._times.header.time_base
        for packet in self._packets.rewound():
            if packet is None:
                break
            if packet.is_corrupt or not ticks.add(packet):
                return VideoIndex((), seconds, self._times.header.num_frames, "its times are missing or out of order")
            if ticks.may_cut(packet, least_ticks) and self._begins_at(packet):
                ticks.cut(packet)
        if self._damage.num_broken_reads:
            return VideoIndex((), seconds, self._times.header.num_frames, "its container is broken")
        return ticks.index(float(self._times.header.time_base), self._times.header.step_seconds)

    def _declared_seconds(self) -> float | None:
        end, first = self._times.header.end_seconds, self._first
        begin = None if first is None else self._times.media_seconds(first)
        if end is not None and begin is not None and end > begin:
            return end - begin
        num = self._times.header.num_frames
        return None if num is None else num * self._times.header.step_seconds

    def _reason_not_to_cut(self, seconds: float | None, part_seconds: float) -> str:
        """Why it stays whole, as far as its header and its first picture tell; empty: it may be cut."""
        if seconds is not None and seconds <= part_seconds * _SHORTEST_SHARE:
            return "it is short"
        if self._times.media_clock is not None:
            return f"times may jump in {self.format_name}"
        if self._first is None or self._first.pts is None:
            return "its pictures have no times"
        if not self._can_skip(self._first):
            return f"{self.codec_name} does not always begin anew at a key frame"
        return ""

    def _begins_at(self, key: Packet[VideoStream]) -> bool:
        """Whether a key frame can be decoded without what comes before it."""
        return [(frame.pts, frame.is_corrupt) for frame in self._decoder.frames_of_key(key)] == [(key.pts, False)]


class _Ticks:
    """Times of packets in decoding order → cuts, and the numbers of the pictures between them."""

    def __init__(self, first_pts: int) -> None:
        self._first_pts = first_pts  # of the first picture that a decoder gives; earlier times have none
        self._shown: list[int] = []
        self._greatest: int | None = None
        self._cuts: list[tuple[int, int]] = []  # pts and dts of key frames
        self._is_clean_key = False  # of the packet added last: all before it in the file is shown before it

    def add(self, packet: Packet[VideoStream]) -> bool:
        """Whether the packet's time can be one of a sound file."""
        self._is_clean_key = False
        if packet.is_discard:  # by an edit list: decoded, and not shown
            return True
        pts = packet.pts
        if pts is None:
            return False
        if packet.is_keyframe and self._greatest is not None:
            if pts <= self._greatest:
                return False
            self._is_clean_key = True
        if pts >= self._first_pts:
            self._shown.append(pts)
        self._greatest = pts if self._greatest is None else max(self._greatest, pts)
        return True

    def may_cut(self, packet: Packet[VideoStream], least_ticks: float) -> bool:
        """Whether the packet added last is a key frame, far enough from the last cut."""
        last_pts = self._cuts[-1][0] if self._cuts else self._first_pts
        return self._is_clean_key and packet.dts is not None and (packet.pts or 0) - last_pts >= least_ticks

    def cut(self, packet: Packet[VideoStream]) -> None:
        """Let a part begin with the packet added last."""
        pts, dts = packet.pts or 0, packet.dts or 0  # both are there, says `may_cut`
        self._cuts.append((pts, min(pts, dts)))

    def index(self, tick_seconds: float, step_seconds: float) -> VideoIndex:
        """The index of all packets that were added."""
        shown = sorted(self._shown)
        seconds = (shown[-1] - shown[0]) * tick_seconds + step_seconds if shown else 0.0
        if any(earlier == later for earlier, later in pairwise(shown)):
            return VideoIndex((), seconds, len(shown), "several pictures have one time")
        if not self._cuts:
            return VideoIndex((), seconds, len(shown), "it has no key frame to cut at")
        begins: list[tuple[int | None, int]] = [(None, 0), *self._cuts]
        ends = [*(pts for pts, _ in self._cuts), None]
        numbers = [0, *(bisect_left(shown, pts) for pts, _ in self._cuts), len(shown)]
        parts = tuple(
            Part(begin_pts, begin_dts, end_pts, first, last - first)
            for (begin_pts, begin_dts), end_pts, (first, last) in zip(begins, ends, pairwise(numbers), strict=True)
        )
        return VideoIndex(parts, seconds, len(shown))
