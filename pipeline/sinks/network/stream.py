"""Network stream: rendered frames → H.264 to an address, through whatever breaks on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import av
from av.codec.context import CodecContext
from av.error import FFmpegError, ProtocolNotFoundError
from av.video.codeccontext import VideoCodecContext

from pipeline.errors import SinkError
from pipeline.picture.detections import RenderedFrame
from pipeline.sinks.encoder import TICKS, Codec, Encoder, Preset, reason_of_libav
from pipeline.sinks.network.address import StreamAddress
from pipeline.sinks.network.sender import Sender
from pipeline.sinks.network.sending import EncodedFrame
from pipeline.sinks.network.statistics import SendStatistics

logger = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.5, 5.0
_LONGEST_PAUSE_SECONDS = 1.0  # that a recorded source is held up for one frame
_LONGEST_SETTLING_SECONDS = 3.0  # less than the grace that a run gives to what hangs when it ends
_FINISH_SECONDS = 2.0


class NetworkStream:
    """Sends rendered frames as H.264, 4:2:0, in the first frame's size, without B-frames, a key frame a second.

    A recorded source is sent at its own pace, as a camera would; a live one is never held up. A server that is away,
    goes away or does not answer is tried again, after half a second, then less often, at least every 5 s; frames
    meanwhile are not sent, nor are those that a receiver is too slow for.

    address: rtsp(s)://, rtmp(s)://, udp:// or srt://. Other arguments are those of `Recording`.
    patience_seconds: how long a server may take to connect, and to take a frame.
    clock, wait: monotonic seconds, and a way to let them pass.
    Raises SinkError for an address that cannot be sent to, and for an encoder that does not work.
    """

    def __init__(
        self,
        address: str | StreamAddress,
        *,
        frames_per_second: float | None = None,
        is_live: bool = False,
        codec: Codec = "libx264",
        preset: Preset | None = None,
        patience_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address = StreamAddress.parse(address) if isinstance(address, str) else address
        _refuse_protocol(self._address)
        self.name = self._address.shown
        self._encoder = Encoder(self.name, frames_per_second=frames_per_second, codec=codec, preset=preset)
        self._context: VideoCodecContext | None = None
        self._pace = Pace(is_live=is_live, clock=clock, wait=wait)
        self._is_live, self._clock, self._patience_seconds = is_live, clock, patience_seconds
        self._sender: Sender | None = None
        self._was_connected = self._is_connected = self._is_closed = False
        self._away_since_seconds: float | None = None
        self._next_attempt_at_seconds = 0.0
        self._delay_seconds = _FIRST_DELAY_SECONDS
        self._needs_keyframe = True
        self._last_ticks = -1
        self._num_frames = self._num_sent_before = self._num_breaks = 0
        self._reason = ""

    def write(self, item: RenderedFrame) -> None:
        """Send a frame, or count it as not sent. Raises SinkError if it cannot be encoded."""
        seconds = self._pace.keep(item)
        self._num_frames += 1
        self._look_after_sender()
        try:
            if self._sender is None:
                if self._clock() >= self._next_attempt_at_seconds:
                    self._connect(item, seconds)
            elif self._is_connected and self._sender.has_room:
                self._sender.send(self._encoded(item, seconds, as_keyframe=self._needs_keyframe))
                self._needs_keyframe = False
            else:
                self._needs_keyframe = True
        except (FFmpegError, OSError) as error:
            raise SinkError(f"{self.name}: cannot be encoded: {reason_of_libav(error)}") from error

    def close(self) -> None:
        """Send the rest and say goodbye. May be called more than once.

        Raises SinkError if there were frames, and the address could never be reached.
        """
        if self._is_closed:
            return
        self._is_closed, self._context = True, None  # with the encoder's pictures, whoever keeps the sink
        if self._sender is not None:
            self._sender.finish(_FINISH_SECONDS)
            self._was_connected = self._was_connected or self._sender.num_sent > 0
            if not self._was_connected:
                self._reason = self._sender.reason
        if self._num_frames and not self._was_connected:
            frames = "the frame was" if self._num_frames == 1 else f"all {self._num_frames} frames were"
            raise SinkError(f"{self.name}: could never be reached: {self._reason}; {frames} not sent")

    def statistics(self) -> SendStatistics:
        """A snapshot, from any thread."""
        sender = self._sender
        num_sent = self._num_sent_before + (0 if sender is None else sender.num_sent)
        return SendStatistics(num_sent, self._num_frames - num_sent, self._num_breaks, self._reason)

    def _connect(self, item: RenderedFrame, seconds: float) -> None:
        """Begin an attempt with a key frame; a recorded source waits for the first one to come to something."""
        is_first = self._context is None
        first = self._encoded(item, seconds, as_keyframe=True)
        self._sender = Sender(
            self._address,
            first,
            size_wh=self._encoder.even_wh,
            rate=self._encoder.rate,
            patience_seconds=self._patience_seconds,
            clock=self._clock,
        )
        self._needs_keyframe = True  # frames will have been left out by the time it is connected
        if is_first and not self._is_live:
            self._sender.settle(min(self._patience_seconds, _LONGEST_SETTLING_SECONDS))
            self._look_after_sender()

    def _look_after_sender(self) -> None:
        """Notice that a connection was made or lost."""
        sender = self._sender
        if sender is None:
            return
        state = sender.state
        if state == "connected" and not self._is_connected:
            self._is_connected = True
            if self._away_since_seconds is not None:
                logger.warning("%s: connected after %.0f s", self.name, self._clock() - self._away_since_seconds)
            self._was_connected, self._away_since_seconds = True, None
            self._delay_seconds = _FIRST_DELAY_SECONDS
        elif state == "lost":
            self._leave(sender)

    def _leave(self, sender: Sender) -> None:
        """Let go of a lost connection, say so once, and set the time of the next attempt."""
        sender.finish(0.0)
        self._num_sent_before += sender.num_sent
        self._num_breaks += self._is_connected
        if self._is_connected or sender.reason != self._reason:
            what = "the connection broke" if self._is_connected else "cannot be reached"
            logger.warning("%s: %s: %s; trying again, and frames are not sent", self.name, what, sender.reason)
        if self._away_since_seconds is None:
            self._away_since_seconds = self._clock()
        self._reason, self._sender, self._is_connected = sender.reason, None, False
        self._next_attempt_at_seconds = self._clock() + self._delay_seconds
        self._delay_seconds = min(2 * self._delay_seconds, _LONGEST_DELAY_SECONDS)

    def _encoded(self, item: RenderedFrame, seconds: float, *, as_keyframe: bool) -> EncodedFrame:
        if self._context is None:
            self._context = self._open_encoder(item)
        ticks = max(self._last_ticks + 1, round(seconds * TICKS))
        packets = self._context.encode(self._encoder.picture(item, ticks, as_keyframe=as_keyframe))
        self._last_ticks = ticks
        return EncodedFrame(ticks, any(packet.is_keyframe for packet in packets), b"".join(map(bytes, packets)))

    def _open_encoder(self, item: RenderedFrame) -> VideoCodecContext:
        """An encoder that gives a packet for each frame, with the parameter sets in each key frame."""
        self._encoder.take_shape(item)
        context = CodecContext.create(self._encoder.codec, "w")
        context.options, context.framerate = self._encoder.options, self._encoder.rate
        self._encoder.set_up(context)
        return context


class Pace:
    """Frames → the seconds since the first at which they are sent; waits for it where a source is recorded."""

    def __init__(self, *, is_live: bool, clock: Callable[[], float], wait: Callable[[float], None]) -> None:
        self._is_live, self._clock, self._wait = is_live, clock, wait
        self._shift_seconds: float | None = None  # from a source's time to the clock
        self._began_at_seconds = 0.0

    def keep(self, item: RenderedFrame) -> float:
        """Wait until a frame is due, at most a second; one that comes late puts all later ones off by as much."""
        frame = item.result.frame
        if self._is_live:
            if self._shift_seconds is None:
                self._shift_seconds = -frame.captured_at_seconds
            return frame.captured_at_seconds + self._shift_seconds
        now = self._clock()
        if self._shift_seconds is None:
            self._shift_seconds, self._began_at_seconds = now - frame.pts_seconds, now
        due = min(max(frame.pts_seconds + self._shift_seconds, now), now + _LONGEST_PAUSE_SECONDS)
        self._shift_seconds = due - frame.pts_seconds
        if due > now:
            self._wait(due - now)
        return due - self._began_at_seconds


def _refuse_protocol(address: StreamAddress) -> None:
    """Raise SinkError where this PyAV has no SRT, by opening an address without a port, which goes nowhere."""
    if address.scheme != "srt":
        return  # every build has the others
    try:
        with av.open("srt://nowhere", "w", format=address.muxer) as container:
            container.add_mux_stream("h264", rate=1, width=16, height=16)
            container.start_encoding()
    except ProtocolNotFoundError as error:
        raise SinkError(
            f"{address.shown}: PyAV's FFmpeg is built without SRT; send to udp://127.0.0.1:5000, and pass that on with "
            "ffmpeg -i udp://127.0.0.1:5000 -c copy -f mpegts srt://…"
        ) from error
    except (FFmpegError, ValueError):
        pass
