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

from pipeline.picture.counting.event import Event
from pipeline.picture.detections import Result
from pipeline.serve.encode import ViewEncoder, jpeg_of
from pipeline.serve.messages import Mode, boxes_message, end_message, init_message
from pipeline.serve.remux import Init, NotRemuxable, Remuxer, Segment
from pipeline.serve.viewer import Viewer
from pipeline.sources.packets import CodedPacket, CodedStream, HasPackets

_MOST_PACKETS = 600  # of a GOP that is kept; of a longer one, viewers wait for the next
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

    def put(self, segment: Segment, start_text: Callable[[Init], str]) -> None:
        """Give a fragment to all viewers."""
        if segment.init is not None:
            self.init = segment.init
        if segment.is_keyframe:
            self._num_in_last_gop, self.gop = len(self.gop), []
        self.gop.append(segment)
        for viewer in self.viewers:
            self._give(viewer, segment, start_text)

    def join(self, viewer: Viewer, start_text: Callable[[Init], str]) -> None:
        """Let a viewer begin with the last key frame."""
        self.viewers.add(viewer)
        for segment in self.gop:
            self._give(viewer, segment, start_text)

    def forget(self) -> None:
        """Keep nothing of a stream that is over."""
        self.init, self.gop = None, []

    def _give(self, viewer: Viewer, segment: Segment, start_text: Callable[[Init], str]) -> None:
        if self.init is None:
            return
        if segment.is_keyframe and not viewer.has_start(self.init):
            viewer.put_start(start_text(self.init), self.init)
        viewer.put_segment(segment, gop=max(self._num_in_last_gop, len(self.gop)))


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
        self._is_remuxing = False
        self._num_remuxes = 0  # tells packets of an earlier remux, which are still on their way to the loop
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
        self._call(self._take_result, result, seconds, tuple(self._unsent))
        self._unsent = []

    def close(self) -> None:
        """The source has ended, and so do its viewers. May be called more than once."""
        self.is_over = True
        self._call(self._end)

    # The listener, in the thread that reads the source.

    def begin(self, stream: CodedStream) -> None:
        with self._lock:
            self._gop.begin(stream)
        self._call(self._begin_stream)

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        with self._lock:
            self._gop.take(packet, pts_seconds)
            if self._is_remuxing:
                self._call(self._take_packet, self._num_remuxes, packet, pts_seconds)

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
        has_to_encode = bool(self._encoded.viewers or self._jpegs)
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
            if stream is not None and self._undecided and not stream.obstacle:
                self._is_remuxing = True  # from here on, packets come through the loop
        if stream is None or not self._undecided:
            return
        viewers, self._undecided = self._undecided, set()
        try:
            if stream.obstacle:
                raise NotRemuxable(stream.obstacle)
            if self._remuxer is None:
                self._remuxer = Remuxer(stream.codec, stream.extradata)
                for packet, pts_seconds in packets:
                    self._put(self._remuxer, packet, pts_seconds)
        except NotRemuxable as reason:
            self._remuxed.viewers |= viewers
            self._give_remuxing_up(reason)
            return
        for viewer in viewers:
            self._remuxed.join(viewer, self._remux_text)

    def _take_packet(self, remux: int, packet: CodedPacket, pts_seconds: float | None) -> None:
        if self._remuxer is None or remux != self._num_remuxes:
            return  # of a stream before, or nobody watches any more
        try:
            self._put(self._remuxer, packet, pts_seconds)
        except NotRemuxable as reason:
            self._give_remuxing_up(reason)

    def _put(self, remuxer: Remuxer, packet: CodedPacket, pts_seconds: float | None) -> None:
        segment = remuxer.put(bytes(packet), pts_seconds, is_keyframe=packet.is_keyframe)
        if segment is not None:
            self._remuxed.put(segment, self._remux_text)

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
            self._is_remuxing = False
            self._num_remuxes += 1
        self._remuxer = None
        self._remuxed.forget()

    # Boxes and encoding.

    def _take_result(self, result: Result, pts_seconds: float, events: Sequence[Event]) -> None:
        text = boxes_message(result, pts_seconds, now_seconds=self._clock(), events=events)
        if self._jpegs:
            self._events_for_jpegs.extend(events)
        for viewer in self._remuxed.viewers | self._encoded.viewers:
            viewer.put_text(text)
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
                for segment in await asyncio.to_thread(self._encoder.encode, result, seconds):
                    self._encoded.put(segment, self._encode_text)
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
        for viewer in self._viewers():
            viewer.end(end_message())
        if self._encoding is not None:
            self._encoding.cancel()
            self._encoding = None
