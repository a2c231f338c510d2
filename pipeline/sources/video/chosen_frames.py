"""Chosen frames: a video → every nth of its frames, of a span or of all, with the numbers that they have in the file.

Of a recorded file, hardly more is decoded than those need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice, tee
from math import ceil

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.sources.options import Span
from pipeline.sources.video.damage import Damage
from pipeline.sources.video.frame_decoder import FrameDecoder, Packets
from pipeline.sources.video.needed_packets import MOST_WAITING, NeededPackets
from pipeline.sources.video.stream_times import StreamTimes

_ROUNDING_SECONDS = 1e-6  # a time that is typed with six digits means the frame that has it


class ChosenFrames:
    """The frames that are taken, and how far the file was read for them."""

    def __init__(self, span: Span, times: StreamTimes, damage: Damage) -> None:
        self._span, self._times, self._damage = span, times, damage
        self.number: int | None = None
        """Of the last frame, where some are left out."""
        self.num_seen = 0
        """Frames of the file, those left out included."""
        self.last_seen_seconds = 0.0
        """The media time of the last of them."""
        self.first_seconds = 0.0
        """The media time of the first frame of the file, where there is a span."""
        self.span_seconds: float | None = None
        """The media time of the frame of a span that was decoded last."""

    def frames(
        self,
        every: int,
        first: VideoFrame,
        following: Iterable[VideoFrame],
        packets: Packets | None,
        decoder: FrameDecoder,
    ) -> Iterator[VideoFrame]:
        """Every nth frame after the first; where there is a span, every nth of that, with the first if it is in it.

        following: the frames after the first. packets: all of the file, where a packet tells which picture it is, and
        decoding can begin at a later key frame; else None.
        """
        if not self._span.is_all:
            self.first_seconds = self._times.media_seconds(first) or 0.0
        if first.pts is not None and packets is not None:
            return self._nth_needed(every, first.pts, packets, decoder)
        if self._span.is_all:
            return self._nth_decoded(every, following)
        return self._nth_of_span(every, chain([first], following))

    def _nth_of_span(self, every: int, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Every nth of the decoded frames of the span."""
        num_in_span = 0
        for number, frame in enumerate(frames):
            self.num_seen = number + 1
            self.last_seen_seconds = self._next_seconds(frame)
            if self._is_past_span():
                return
            if self._is_in_span():
                if num_in_span % every == 0:
                    self.number = number
                    yield frame
                num_in_span += 1

    def _next_seconds(self, frame: VideoFrame) -> float:
        """The media time of a frame, of a span or before it; where that does not go forward, a step after the last."""
        seconds, last = self._times.media_seconds(frame), self.span_seconds
        if last is not None and (seconds is None or seconds <= last):
            seconds = last + self._times.header.step_seconds
        self.span_seconds = seconds or 0.0
        return self.span_seconds

    def _is_in_span(self) -> bool:
        """Whether the frame of which the time was asked last is in the span."""
        since_first = (self.span_seconds or 0.0) - self.first_seconds
        return since_first >= self._span.start_s - _ROUNDING_SECONDS and not self._is_past_span()

    def _is_past_span(self) -> bool:
        end, since_first = self._span.end_s, (self.span_seconds or 0.0) - self.first_seconds
        return end is not None and since_first >= end - _ROUNDING_SECONDS

    def _nth_decoded(self, every: int, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Every nth of all decoded frames, of which the first has been read."""
        for number, frame in enumerate(frames, 1):
            self.num_seen = number + 1
            self.last_seen_seconds = self._times.media_seconds(frame) or 0.0
            if number % every == 0:
                self.number = number
                yield frame

    def _nth_needed(self, every: int, first_pts: int, packets: Packets, decoder: FrameDecoder) -> Iterator[VideoFrame]:
        """Either from as few packets as possible; where a frame is lost, the next one that was decoded.

        packets: of the whole file, from the first one on.
        """
        has_span = not self._span.is_all
        tick, ends = self._times.header.time_base, (self._span.start_s, self._span.end_s) if has_span else (None, None)
        begin, end = (None if at is None else first_pts + ceil((at - _ROUNDING_SECONDS) / tick) for at in ends)
        packets, ahead = tee(packets)
        begins_anew = decoder.is_intra or _begins_anew(ahead, decoder)
        needed: NeededPackets[Packet[VideoStream]] = NeededPackets(
            every, first_pts=first_pts, span=(begin, end), is_intra=decoder.is_intra, begins_anew=begins_anew
        )
        del ahead
        decoder.flush()
        self._damage.num_undecodable = 0  # the packets of the first picture are decoded again
        first_number = None if has_span else 0
        next_number = 0 if has_span else every
        for frame in decoder.frames(needed.choose(packets)):
            number = needed.number_of(frame.pts)
            if has_span:
                self._next_seconds(frame)
                if not self._is_in_span():
                    continue
            first_number = number if first_number is None else first_number
            if number >= next_number:
                next_number = number - (number - first_number) % every + every
                self.number = number
                yield frame
        self.num_seen = needed.num_pictures
        self.last_seen_seconds = float(needed.last_pts * self._times.header.time_base)


def _begins_anew(packets: Packets, decoder: FrameDecoder) -> bool:
    """Whether the second key frame can be decoded without earlier frames; not so with a rolling intra refresh."""
    ahead = islice(packets, 1, 2 * MOST_WAITING)
    key = next((packet for packet in ahead if packet is not None and packet.is_keyframe), None)
    return key is not None and any(
        frame.pts == key.pts and not frame.is_corrupt for frame in decoder.frames_of_key(key)
    )
