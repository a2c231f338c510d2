"""Live view: results and packets of one source → what its viewers are sent; nothing is done for it unwatched.

Results come in the thread of the sink, packets in the one that reads the source, and neither waits here. Everything
else happens in the loop of the server.
"""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from pipeline.picture.counting.event import Event
from pipeline.picture.detections import Result
from pipeline.serve.encode import ViewEncoder, jpeg_of
from pipeline.serve.messages import Mode, boxes_message, end_message, init_message, media_message
from pipeline.serve.remux import Init, NotRemuxable, Remuxer, Segment
from pipeline.serve.viewer import Unit, Viewer
from pipeline.sources.packets import CodedPacket, CodedStream, HasPackets

_MOST_PACKETS = 600  # of a GOP that is kept; of a longer one, viewers wait for the next
_LEAST_SECONDS = 0.06  # between two messages of one remux: waking up and sending cost more than all that is in them
_MOST_SECONDS = 0.1  # that packets wait for boxes that are to go with them,
_MOST_SECONDS_OF_EACH = 0.5  # and where each picture has boxes of its own
_STEP_OF_EACH_SECONDS = 0.1  # of media time between results, up to which each picture is taken to have some
_SAME_SECONDS = 0.002  # media times may be rounded
_MOST_EVENTS = 100  # that are kept for who comes later
_MOST_FPS = 30.0  # of a recorded source that is read as fast as it can be


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """How a source is shown.

    name: as people see it. is_paced: its media time passes as the clock does; else viewers get the time since its
    first frame instead. obstacle: why its own packets must not be shown; None: they may.
    """

    name: str
    class_names: Sequence[str] = ()
    is_paced: bool = True
    obstacle: str | None = None


class _Shown(NamedTuple):
    """A result, its media time in this view, and the events that are to be told with it."""

    result: Result
    pts_seconds: float
    events: Sequence[Event]


class _Gop:
    """The packets since the last key frame. Used from the thread that reads, and from the loop."""

    def __init__(self) -> None:
        self.stream: CodedStream | None = None
        self.packets: list[tuple[CodedPacket, float | None]] = []

    def begin(self, stream: CodedStream) -> None:
        self.stream, self.packets = stream, []

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        if packet.is_keyframe or len(self.packets) >= _MOST_PACKETS:
            self.packets = []
        if packet.is_keyframe or self.packets:
            self.packets.append((packet, pts_seconds))


class _Channel:
    """The viewers of one mode of video, and what a new one of them begins with."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.init: Init | None = None
        self.gop: list[Segment] = []  # since the last key frame
        self._num_in_last_gop = 0

    def put(self, segments: Sequence[Segment], start_text: Callable[[Init], str], texts: Sequence[str] = ()) -> None:
        """Give fragments to all viewers, and texts with the last of them."""
        if not segments:
            return
        begins = [index for index, segment in enumerate(segments) if index == 0 or segment.is_keyframe]
        for begin, end in zip(begins, [*begins[1:], len(segments)], strict=True):
            part = segments[begin:end]
            if part[0].init is not None:
                self.init = part[0].init
            if part[0].is_keyframe:
                self._num_in_last_gop, self.gop = len(self.gop), []
            self.gop += part
            unit = _unit(part, texts if end == len(segments) else ())
            for viewer in self.viewers:
                self._give(viewer, unit, start_text)

    def join(self, viewer: Viewer, start_text: Callable[[Init], str]) -> None:
        """Let a viewer begin with the last key frame."""
        self.viewers.add(viewer)
        if self.gop:
            self._give(viewer, _unit(self.gop), start_text)

    def forget(self) -> None:
        """Keep nothing of a stream that is over."""
        self.init, self.gop = None, []

    def _give(self, viewer: Viewer, unit: Unit, start_text: Callable[[Init], str]) -> None:
        if self.init is None:
            return
        if unit.is_keyframe and not viewer.has_start(self.init):
            viewer.put_start(start_text(self.init), self.init)
        viewer.put_unit(unit, gop=max(self._num_in_last_gop, len(self.gop)))


def _unit(segments: Sequence[Segment], texts: Sequence[str] = ()) -> Unit:
    media = b"".join(segment.data for segment in segments)
    return Unit(media_message(media, texts), len(segments), segments[0].is_keyframe, texts)


class LiveView:
    """The sink of a source whose results and pictures a server shows.

    packets: the source, where its packets can be heard; it is listened to from now on.
    clock: monotonic seconds.
    """

    def __init__(
        self,
        options: ViewOptions,
        *,
        packets: object = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self._clock = clock
        self._lock = threading.Lock()  # of the GOP and of who is told of packets
        self._gop = _Gop()
        self._has_packets = options.obstacle is None and options.is_paced and isinstance(packets, HasPackets)
        self._remuxed_stream: CodedStream | None = None  # whose packets are remuxed; None: nobody watches them
        self._packets: list[tuple[CodedPacket, float | None]] = []  # that wait to be remuxed and sent
        self._results: list[_Shown] = []  # that wait to be sent
        self._sent_at_seconds = float("-inf")
        self._result_seconds = float("-inf")  # media time of the newest result
        self._step_seconds = 1.0  # between results, on average
        self._has_to_encode = False  # so that every picture counts at once
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_watched = False
        self._began_at_seconds: float | None = None
        self._last_put_seconds = float("-inf")
        self._newest: Result | None = None
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)  # those that came last
        self._unsent: list[Event] = []  # of frames that no message tells of
        self.is_over = False
        # Only in the loop:
        self._obstacle = options.obstacle or ("" if self._has_packets else "the source gives pictures, no H.264")
        self._remuxed, self._encoded = _Channel(), _Channel()
        self._jpegs: set[Viewer] = set()
        self._undecided: set[Viewer] = set()  # until the stream has begun
        self._events_for_jpegs: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._remuxer: Remuxer | None = None
        self._encoder: ViewEncoder | None = None
        self._to_encode = asyncio.Event()
        self._encoding: asyncio.Task[None] | None = None
        if self._has_packets and isinstance(packets, HasPackets):
            packets.listen(self)

    # The sink, in its thread.

    def write(self, result: Result) -> None:
        """Take a result. It is kept for snapshots, and sent where someone watches; of its events, none is left out."""
        self._newest = result
        self._events.extend(result.events)
        if self._began_at_seconds is None:
            self._began_at_seconds = result.frame.captured_at_seconds
        if not self._is_watched:
            self._unsent = []
            return
        self._unsent += result.events
        seconds = self._view_seconds(result)
        if not self.options.is_paced and seconds - self._last_put_seconds < 1 / _MOST_FPS:
            return
        self._last_put_seconds = seconds
        with self._lock:
            self._step_seconds += 0.1 * (min(1.0, max(0.0, seconds - self._result_seconds)) - self._step_seconds)
            self._result_seconds = seconds
            self._results.append(_Shown(result, seconds, tuple(self._unsent)))
            is_due = self._has_to_encode or self._is_due(_LEAST_SECONDS)
        self._unsent = []
        if is_due:
            self._call(self._send)

    def close(self) -> None:
        """The source has ended, and so do its viewers. May be called more than once."""
        self.is_over = True
        self._call(self._end)

    # The listener, in the thread that reads the source.

    def begin(self, stream: CodedStream) -> None:
        with self._lock:
            self._gop.begin(stream)
            self._packets = []
        self._call(self._begin_stream)

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        with self._lock:
            self._gop.take(packet, pts_seconds)
            if self._remuxed_stream is None or self._remuxed_stream is not self._gop.stream:
                return
            if packet.is_keyframe and len(self._packets) >= _MOST_PACKETS:  # the loop is busy for long
                self._packets = []
            self._packets.append((packet, pts_seconds))
            is_due = self._is_due(_MOST_SECONDS_OF_EACH if self._is_each_detected else _MOST_SECONDS)
        if is_due:
            self._call(self._send, True)

    @property
    def _is_each_detected(self) -> bool:
        return self._step_seconds <= _STEP_OF_EACH_SECONDS

    def _is_due(self, seconds: float) -> bool:
        """Whether what waits is to be sent now, because nothing was for that long; to be called with the lock."""
        now = self._clock()
        if now - self._sent_at_seconds < seconds:
            return False
        self._sent_at_seconds = now
        return True

    # The server, in its loop.

    @property
    def newest(self) -> Result | None:
        """The result that came last; None: there was none yet. From any thread."""
        return self._newest

    @property
    def recent_events(self) -> tuple[Event, ...]:
        """The events that came last, at most 100, the earliest first. From any thread."""
        return tuple(self._events.copy())

    @property
    def num_viewers(self) -> int:
        """How many watch."""
        return len(self._viewers())

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say in which loop the server runs; to be called there."""
        self._loop = loop

    def join(self, *, as_jpeg: bool = False, as_encode: bool = False) -> Viewer:
        """A new viewer. as_jpeg, as_encode: how the browser wants pictures; by default the best that there is."""
        viewer = Viewer()
        if self.is_over:
            viewer.end(end_message())
            return viewer
        if as_jpeg:
            self._jpegs.add(viewer)
            self._to_encode.set()
        elif as_encode or self._obstacle:
            self._encoded.join(viewer, self._encode_text)
        else:
            self._undecided.add(viewer)
            self._decide()
        self._look_who_watches()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """A viewer has gone."""
        for viewers in (self._remuxed.viewers, self._encoded.viewers, self._jpegs, self._undecided):
            viewers.discard(viewer)
        if not self._remuxed.viewers:
            self._stop_remuxing()
        self._look_who_watches()

    def put_text(self, message: str) -> None:
        """Send a text to all viewers."""
        for viewer in self._viewers():
            viewer.put_text(message)

    def _viewers(self) -> set[Viewer]:
        return self._remuxed.viewers | self._encoded.viewers | self._jpegs | self._undecided

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in the loop, if there is one, without waiting for it."""
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(function, *arguments)
            except RuntimeError:  # the server has been closed
                self._loop = None

    def _view_seconds(self, result: Result) -> float:
        """The media time of a picture in this view."""
        if self.options.is_paced:
            return result.frame.pts_seconds
        return max(0.0, result.frame.captured_at_seconds - (self._began_at_seconds or 0.0))

    def _start_text(self, mode: Mode, init: Init | None = None, reason: str = "") -> str:
        size_wh = (1, 1) if init is None else init.size_wh
        if self._newest is not None:
            size_wh = self._newest.frame.size_wh
        names = self.options.class_names
        return init_message(mode, class_names=names, size_wh=size_wh, init=init, reason=reason)

    def _remux_text(self, init: Init) -> str:
        return self._start_text("remux", init)

    def _encode_text(self, init: Init) -> str:
        return self._start_text("encode", init, self._obstacle or "the browser did not play the source's own stream")

    def _look_who_watches(self) -> None:
        self._is_watched = bool(self._viewers())
        if not self._is_watched:
            with self._lock:
                self._results = []
        has_to_encode = self._has_to_encode = bool(self._encoded.viewers or self._jpegs)
        if has_to_encode and self._encoding is None:
            self._encoding = asyncio.get_running_loop().create_task(self._encode_newest())
        elif not has_to_encode and self._encoding is not None:
            self._encoding.cancel()
            self._encoding, self._encoder = None, None
            self._encoded.forget()

    # Remuxing.

    def _begin_stream(self) -> None:
        """A stream has begun, perhaps another one than before."""
        if self._obstacle and self._obstacle == self.options.obstacle:
            return
        self._obstacle = ""
        self._undecided |= self._remuxed.viewers
        self._remuxed.viewers = set()
        self._stop_remuxing()
        self._decide()

    def _decide(self) -> None:
        """Let those who wait begin with the packets of the source, or where that cannot be, with an encode."""
        with self._lock:
            stream, packets = self._gop.stream, list(self._gop.packets)
            if stream is not None and self._undecided and not stream.obstacle and self._remuxer is None:
                self._remuxed_stream, self._packets = stream, []  # from here on, packets wait to be remuxed
        if stream is None or not self._undecided:
            return
        viewers, self._undecided = self._undecided, set()
        try:
            if stream.obstacle:
                raise NotRemuxable(stream.obstacle)
            if self._remuxer is None:
                self._remuxer = Remuxer(stream.codec, stream.extradata)
                self._remuxed.put(_remuxed(self._remuxer, packets), self._remux_text)
        except NotRemuxable as reason:
            self._remuxed.viewers |= viewers
            self._give_remuxing_up(reason)
            return
        for viewer in viewers:
            self._remuxed.join(viewer, self._remux_text)

    def _remux(self, packets: Sequence[tuple[CodedPacket, float | None]], texts: Sequence[str]) -> bool:
        """Send packets, and texts with them; returns whether there was a picture in them."""
        if self._remuxer is None or not packets:
            return False
        try:
            segments = _remuxed(self._remuxer, packets)
        except NotRemuxable as reason:
            self._give_remuxing_up(reason)
            return False
        self._remuxed.put(segments, self._remux_text, texts)
        return bool(segments)

    def _give_remuxing_up(self, reason: NotRemuxable) -> None:
        """Show the stream encoded from now on."""
        self._obstacle = str(reason)
        viewers, self._remuxed.viewers = self._remuxed.viewers, set()
        self._stop_remuxing()
        for viewer in viewers:
            self._encoded.join(viewer, self._encode_text)
        self._look_who_watches()

    def _stop_remuxing(self) -> None:
        with self._lock:
            self._remuxed_stream, self._packets = None, []
        self._remuxer = None
        self._remuxed.forget()

    # Boxes and encoding.

    def _send(self, sends_all: bool = False) -> None:
        """Send what waits: packets and boxes in one message where the packets are remuxed.

        sends_all: also packets whose boxes have not come. Where each picture has some, it waits for them, so that no
        picture shows without its own.
        """
        with self._lock:
            num = len(self._packets)
            if self._is_each_detected and not sends_all:
                newest = self._result_seconds + _SAME_SECONDS
                num = sum(1 for _ in takewhile(lambda entry: (entry[1] or 0.0) <= newest, self._packets))
            packets, self._packets = self._packets[:num], self._packets[num:]
            results, self._results = self._results, []
            is_current = self._remuxed_stream is self._gop.stream
        now = self._clock()
        texts = [boxes_message(result, seconds, now_seconds=now, events=events) for result, seconds, events in results]
        if self._jpegs:
            self._events_for_jpegs.extend(event for shown in results for event in shown.events)
        are_sent = is_current and self._remux(packets, texts)
        for viewer in self._encoded.viewers if are_sent else self._encoded.viewers | self._remuxed.viewers:
            for text in texts:
                viewer.put_text(text)
        if results:
            self._to_encode.set()

    async def _encode_newest(self) -> None:
        """Encode what came last, again and again, while someone watches it; what comes meanwhile is left out."""
        last: Result | None = None
        while True:
            await self._to_encode.wait()
            self._to_encode.clear()
            result = self._newest
            if result is None or result is last:
                continue
            last, seconds = result, self._view_seconds(result)
            if self._encoded.viewers:
                self._encoder = self._encoder or ViewEncoder(self.options.name)
                segments = await asyncio.to_thread(self._encoder.encode, result, seconds)
                self._encoded.put(segments, self._encode_text)
            if self._jpegs:
                self._put_jpeg(await asyncio.to_thread(jpeg_of, result), result, seconds)

    def _put_jpeg(self, jpeg: bytes, result: Result, seconds: float) -> None:
        events = tuple(self._events_for_jpegs)
        self._events_for_jpegs.clear()
        text = boxes_message(result, seconds, now_seconds=self._clock(), events=events)
        data = struct.pack(">d", seconds) + jpeg
        for viewer in self._jpegs:
            if not viewer.has_jpeg_start:
                viewer.put_start(self._start_text("jpeg"), None)
            viewer.put_picture(data, text)

    def _end(self) -> None:
        self._send(True)
        for viewer in self._viewers():
            viewer.end(end_message())
        if self._encoding is not None:
            self._encoding.cancel()
            self._encoding = None


def _remuxed(remuxer: Remuxer, packets: Sequence[tuple[CodedPacket, float | None]]) -> list[Segment]:
    """The fragments of packets. Raises NotRemuxable."""
    segments = [remuxer.put(bytes(packet), seconds, is_keyframe=packet.is_keyframe) for packet, seconds in packets]
    return [segment for segment in segments if segment is not None]
