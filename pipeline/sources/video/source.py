"""Video source: a file, a network stream or a pipe → upright pictures with their media times."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from itertools import chain, islice, tee
from math import ceil, inf
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import av.error
from av.codec.context import ThreadType
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.cuda_driver import tolerate_capture
from pipeline.errors import LostFramingError, SourceError
from pipeline.flow.stage import Stop
from pipeline.masking import masked_address
from pipeline.picture.frame import TimedPicture
from pipeline.picture.pixel_aspect import SQUARE
from pipeline.sources.idle import Idle
from pipeline.sources.options import DecodeOptions, NetworkOptions, Span
from pipeline.sources.packets import CodedStream, PacketListener
from pipeline.sources.video.camera_clock import CameraClock
from pipeline.sources.video.catch_up import CatchUp
from pipeline.sources.video.damage import Damage
from pipeline.sources.video.forward_times import ForwardTimes
from pipeline.sources.video.header import Header
from pipeline.sources.video.idle_packets import KEY_SECONDS, IdlePackets
from pipeline.sources.video.liveness import declared_liveness, glance
from pipeline.sources.video.lost_framing import LOST_FRAMING, WatchedConnection
from pipeline.sources.video.needed_packets import MOST_WAITING, NeededPackets
from pipeline.sources.video.on_gpu import GpuPicture
from pipeline.sources.video.opening import USE_CPU, OpenVideo
from pipeline.sources.video.orientation import Orientation
from pipeline.sources.video.parameters import kept_parameters
from pipeline.sources.video.picture import VideoPicture
from pipeline.sources.video.playlist_clock import PlaylistClock
from pipeline.sources.video.rewindable import Rewindable
from pipeline.sources.video.seen_packets import SeenPackets
from pipeline.sources.video.wall_clock import wall_clock_seconds

logger = logging.getLogger(__name__)

SKIPPABLE_CODECS = frozenset({"av1", "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp9"})
"""A packet of theirs is a picture, which those of VP8 need not be, and after a key frame they begin anew."""

_ROUNDING_SECONDS = 1e-6  # a time that is typed with six digits means the frame that has it

MAX_BROKEN_READS = 100  # in a row: a container that gives nothing but errors has ended

Packets: TypeAlias = "Iterable[Packet[VideoStream] | None]"
"""Packets in decoding order, and None where the decoder must be drained and flushed."""


class VideoSource:
    """The largest video stream of a file, a URL, or an open binary file; what cannot seek is read as a pipe.

    The first picture is decoded at once, so that the size is known and a stream that only looks like video is refused.
    Its packets are kept until `pictures` begins: `read_still` and every nth picture begin with them again.
    Of a live stream, pictures tell when the camera gave them; a playlist is played at the pace of its times.
    Raises SourceError, with the reason, for what holds no picture.

    max_age_seconds: a live stream that is behind by more is skipped, undecoded, up to its newest key frame.
    seen: what was read of a live stream before it was opened again: a playlist goes on with what is new, and any other
    is not watched for its rate, which is known.
    """

    def __init__(
        self,
        address: str | Path | BinaryIO,
        *,
        source_id: str | None = None,
        network: NetworkOptions | None = None,
        decode: DecodeOptions | None = None,
        span: Span | None = None,
        max_age_seconds: float | None = None,
        seen: SeenPackets | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        name = source_id or str(address if isinstance(address, str | Path) else getattr(address, "name", "stream"))
        self.source_id = masked_address(name) if isinstance(address, str) else name
        self._network = network or NetworkOptions()
        self._options = decode or DecodeOptions()
        self._span = span or Span()
        self._max_age_seconds = max_age_seconds
        self.key_frames_alone = False
        """Set before `pictures`: after the first one only key frames are decoded, one a second; all packets come."""
        self.idle: Idle | None = None
        """Set before `pictures`: says when key frames alone need be decoded. Of a codec of which a packet need not be a
        picture, and of interlaced video, every picture is."""
        self._clock = clock
        self._num_undecoded_before = 0
        self._idle_packets: IdlePackets[Packet[VideoStream]] | None = None
        self._file = address if isinstance(address, Path) and address.is_file() else None
        self._stop: Stop | None = None
        self._camera: CameraClock | PlaylistClock | None = None  # of a live stream with times
        self._catch_up: CatchUp | None = None
        self._seen = seen
        self._is_repeating = bool(seen)  # until the first packet that is new
        self._has_gap = False  # before the next packet that is decoded, which refers to nothing before it
        self._damage = Damage()
        self._first_packet: tuple[int | None, bytes] | None = None
        self._aspect: Fraction | None = None  # of the pixels of the last frame
        self._coded_aspect: Fraction | None = None
        self._number: int | None = None  # of the last frame, where some are left out
        self._num_seen = 0  # frames of the file, those left out included
        self._last_seen_seconds = 0.0
        self._first_seconds = 0.0  # of the first frame of the file
        self._span_seconds: float | None = None  # of the frame of a span that was decoded last
        self._end_seconds: float | None = None  # set when the last frame has been read
        self._listener: PacketListener | None = None
        self._early_packets: list[Packet[VideoStream]] | None = []  # those before `pictures`; None: it has begun

        with ExitStack() as undo:
            self._undo = undo
            self._video = OpenVideo(
                address,
                source_id=self.source_id,
                network=self._network,
                decode=self._options,
                is_again=seen is not None and seen.was_open,
            )
            undo.callback(self._video.close)
            if self._video.connection is not None:
                undo.callback(self._video.connection.close)
            is_live = declared_liveness(
                self._video.container, scheme=self._video.scheme, is_multipart=self._video.is_multipart
            )
            self._is_undecided = is_live is None
            self._set_header(is_live=is_live is not False)
            packets = self._read_packets()
            first_packets: list[Packet[VideoStream] | None] = []
            if self._is_undecided:
                rate = 1 / self._header.step_seconds
                first_packets, is_file = glance(packets, frames_per_second=rate, clock=clock)
                self._set_header(is_live=not is_file)
            if self.is_live and not self._span.is_all:
                raise SourceError(f"{self.source_id}: --start and --end are for recorded videos, and it is live")
            self._decoder = self._set_up_decoder()
            self._codec_name = self._decoder.codec.canonical_name
            self._packets = Rewindable(packets, first=first_packets)
            self._frames = self._decode(self._needed(self._packets))
            self._first: VideoFrame | None = self._first_frame()  # None once it was handed out
            self.size_wh: tuple[int, int] | None = self._picture_of(self._first).size_wh
            if seen is not None:
                seen.was_open = True
            self._undo = undo.pop_all()

    @property
    def is_live(self) -> bool:
        return self._header.is_live

    @property
    def is_playlist(self) -> bool:
        """Whether it is a live stream that comes a segment at a time."""
        return self._header.is_playlist

    @property
    def num_skipped(self) -> int:
        """Frames of a live stream that were left out undecoded because they came too late."""
        return self._catch_up.num_skipped if self._catch_up else 0

    @property
    def frames_per_second(self) -> float | None:
        return self._header.frames_per_second

    @property
    def num_frames(self) -> int | None:
        return self._header.num_frames

    @property
    def format_name(self) -> str:
        """libav's name of the container format."""
        return self._header.format_name

    @property
    def codec_name(self) -> str:
        """libav's name of the codec, such as h264."""
        return self._codec_name

    @property
    def damage(self) -> tuple[str, ...]:
        clock = self._media_clock
        lines = [*self._damage.lines(), *(clock.damage if clock else ())]
        lines += self._catch_up.damage if self._catch_up else ()
        if self._end_seconds is not None and not self.is_live:
            lines += self._damage.shortfall(
                self._header,
                num_seen=self._num_seen,
                end_seconds=self._end_seconds,
                has_jumps=bool(clock and clock.num_jumps),
            )
        return tuple(lines)

    @property
    def file(self) -> Path | None:
        """The file on this machine that it reads, which can be opened again; None for a pipe or an address."""
        return self._file

    @property
    def beginning(self) -> tuple[int | None, bytes] | None:
        """Time and bytes of the first packet, where this may be a file; if so, it begins again with the same."""
        return self._first_packet if self._is_undecided else None

    def listen(self, listener: PacketListener) -> None:
        self._listener = listener

    def read_still(self) -> bytes | None:
        """The bytes of the image file that this is, if it holds no other picture, else None; only before `pictures`."""
        if self.format_name not in ("image2", "mjpeg") and not self.format_name.endswith("_pipe"):
            return None
        image, following, *_ = (*self._packets.peek(2), None, None)
        if image is None or (following is not None and b"MPF\0" not in bytes(image)):
            return None  # in a JPEG with that mark (Multi-Picture Format), what follows are its previews
        return bytes(image)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        self._stop = stop
        self._begin_listening(every)
        if self._options.device == "cuda":
            tolerate_capture()  # in the thread that decodes
        if self._video.pipe:
            self._video.pipe.stop = stop
        if self._first is not None and not self._span.is_all:
            self._frames, self._first = self._in_span(every, self._first), None
        elif every > 1 and self._first is not None:
            self._frames = self._every_nth(every, self._first)
        self._packets.forget()
        if self.idle is not None and self._first is not None:
            self._num_undecoded_before = self.idle.num_undecoded
            self._follow(self.idle, self._first)
        if self.key_frames_alone:
            self._has_gap, self._frames = True, self._decode(self._key_frames(self._packets))
        times = ForwardTimes(step_seconds=every * self._header.step_seconds)
        started_at_seconds = self._clock()
        last_seconds: float | None = None
        while not stop.is_set():
            frame, self._first = self._first or next(self._frames, None), None
            if frame is None:
                if not stop.is_set():
                    self._note_end(last_seconds)
                return
            if self._idle_packets is not None and self._idle_packets.hides(frame.pts):
                continue
            given_at_seconds = self._given_at_seconds(frame)
            if self.is_playlist and not self._wait_until(given_at_seconds, stop):
                return
            if self._span_seconds is not None:
                seconds: float | None = self._span_seconds
            else:
                seconds = self._media_seconds(frame) if self._header.has_times else self._clock() - started_at_seconds
            last_seconds = times.next(seconds)
            self._damage.num_backwards = times.num_backwards
            self._damage.num_frames += 1
            self._damage.num_corrupt += frame.is_corrupt
            picture = self._picture_of(frame)
            if self.idle is not None:
                self.idle.hand_out(picture)
                self._number = None if self.is_live else self._damage.num_frames - 1 + self._num_undecoded
            yield TimedPicture(picture, last_seconds, self._number, captured_at_seconds=given_at_seconds)

    def close(self) -> None:
        self._undo.close()
        # A closed source is kept for its damage: not so the decoder, with threads and pictures of its own.
        self._frames, self._packets, self._first, self._idle_packets = iter(()), Rewindable(iter(())), None, None
        with suppress(AttributeError):  # it was closed before
            del self._decoder, self._video

    def _begin_listening(self, every: int) -> None:
        """Tell a listener of the stream and of the packets that were read already."""
        early, self._early_packets = self._early_packets or [], None
        if self._listener is None or self._first is None:
            return
        obstacle = None
        if every > 1 or not self._span.is_all:
            obstacle = "only some pictures are taken"
        elif not self._header.has_times:
            obstacle = "the stream has no times"
        elif not Orientation.of(self._first).is_upright:
            obstacle = "the pictures lie turned or mirrored"
        extradata = bytes(self._decoder.extradata or b"")
        parameters = kept_parameters(self._video.stream)
        self._listener.begin(CodedStream(self._codec_name, extradata, self.size_wh, obstacle, parameters))
        for packet in early:
            self._tell(packet)

    def _tell(self, packet: Packet[VideoStream]) -> None:
        """Let a listener hear a packet."""
        if self._early_packets is not None:
            self._early_packets.append(packet)
        elif self._listener is not None:
            stamp = packet.pts
            self._listener.take(packet, None if stamp is None else float(stamp * self._header.time_base))

    def _set_header(self, *, is_live: bool) -> None:
        """Take what the container declares, and set the clocks that such a stream needs."""
        header = self._header = Header.of(self._video.container, self._video.stream, is_live=is_live)
        self._media_clock = header.media_clock(self._clock)
        if not header.is_live or not header.has_times:
            return
        max_age = self._max_age_seconds
        if header.is_playlist:
            self._camera = PlaylistClock(clock=self._clock)
        else:
            most_held = None if max_age is None else max_age / 2
            self._camera = CameraClock(clock=self._clock, num_held=header.num_held, most_held_seconds=most_held)
        if max_age is not None:
            self._catch_up = CatchUp(self._camera, max_age_seconds=max_age, clock=self._clock)

    def _given_at_seconds(self, frame: VideoFrame) -> float | None:
        """When the camera gave a frame; None where its stream does not tell."""
        seconds = self._media_seconds(frame)
        return None if self._camera is None or seconds is None else self._camera.given_at_seconds(seconds)

    def _wait_until(self, at_seconds: float | None, stop: Stop) -> bool:
        """Whether that time has come, and not the stop."""
        wait_seconds = 0.0 if at_seconds is None else at_seconds - self._clock()
        return wait_seconds <= 0 or not stop.wait(wait_seconds)

    def _note_end(self, last_seconds: float | None) -> None:
        """Take note of the media time at which the last frame ends. last_seconds: of the last one handed out."""
        if last_seconds is None and self._span.start_s:
            seconds = self._last_seen_seconds + self._header.step_seconds - self._first_seconds
            raise SourceError(f"{self.source_id}: --start {self._span.start_s:g} s is past its end, at {seconds:.1f} s")
        if self._span.end_s is not None or self.key_frames_alone:
            return
        self._num_seen = max(self._num_seen, self._damage.num_frames + self._num_undecoded)
        left_out = None if self._idle_packets is None else self._idle_packets.last_left_out
        if left_out is not None:
            self._last_seen_seconds = max(self._last_seen_seconds, float(left_out * self._header.time_base))
        if last_seconds is None:
            self._end_seconds = 0.0
        else:
            self._end_seconds = max(last_seconds, self._last_seen_seconds) + self._header.step_seconds

    def _first_frame(self) -> VideoFrame:
        frame = next(self._frames, None)
        if frame is None:
            if self._is_repeating:
                raise SourceError(f"{self.source_id}: its playlist stands still")
            is_pipe = self._video.pipe is not None
            cure = "send MPEG-TS, Matroska or fragmented MP4 through a pipe" if is_pipe else "is it damaged?"
            raise SourceError(f"{self.source_id}: not one picture can be decoded{self._damage.because}; {cure}")
        return frame

    def _picture_of(self, frame: VideoFrame) -> VideoPicture | GpuPicture:
        orientation = Orientation.of(frame)
        self._damage.odd_degrees = self._damage.odd_degrees or orientation.odd_degrees
        if self._options.device == "cpu":
            return VideoPicture(frame, orientation=orientation, stored_pixel_aspect=self._pixel_aspect())
        if frame.format.name != "cuda":
            raise SourceError(f"{self.source_id}: was not decoded on the GPU, but to {frame.format.name}; {USE_CPU}")
        if not orientation.is_upright:
            raise SourceError(f"{self.source_id}: is {orientation}, which the GPU leaves so; {USE_CPU}")
        return GpuPicture(frame, stored_pixel_aspect=self._pixel_aspect())

    def _pixel_aspect(self) -> Fraction:
        """That of the frame decoded last: the container's, until that of the bitstream changes."""
        stream = self._video.stream
        coded = stream.codec_context.sample_aspect_ratio
        if self._aspect is None or coded != self._coded_aspect:
            ratio = (stream.sample_aspect_ratio if self._aspect is None else None) or coded or SQUARE
            self._aspect, self._coded_aspect = Fraction(ratio.numerator, ratio.denominator), coded
        return self._aspect

    def _set_up_decoder(self) -> VideoCodecContext:
        decoder = self._video.stream.codec_context
        if self._options.device == "cuda":
            if not decoder.is_hwaccel:
                raise SourceError(f"{self.source_id}: the GPU does not decode {decoder.name}; {USE_CPU}")
            decoder.thread_count = 1
        else:
            # Frame threads are quick but hold a frame each; live, the newest frame matters more.
            decoder.thread_type = ThreadType.SLICE if self.is_live else ThreadType.AUTO
            decoder.thread_count = self._options.threads or min(4, os.cpu_count() or 1)
        self._undo.callback(decoder.flush_buffers)  # parks its threads, so that none logs while it is freed
        return decoder

    def _decode(self, packets: Packets) -> Iterator[VideoFrame]:
        for packet in packets:
            frames: list[VideoFrame] = []
            if self._has_gap:
                self._decoder.flush_buffers()
                self._has_gap = False
            try:
                frames = self._decoder.decode(packet)
            except EOFError:
                return
            except av.error.FFmpegError as error:
                self._damage.num_undecodable += 1
                self._damage.reason = self._video.reason(error)
            yield from frames
            if packet is None:
                self._decoder.flush_buffers()  # it has ended, and can begin anew

    def _needed(self, packets: Packets) -> Packets:
        """The packets that are decoded while a gate looks on; before `pictures`, and without a gate, all."""
        for packet in packets:
            if self._idle_packets is None:
                yield packet
            else:
                yield from self._idle_packets.needed(packet)

    def _follow(self, idle: Idle, first: VideoFrame) -> None:
        """Leave out from now on what nobody need see; first: the frame that was decoded first."""
        codec = self._decoder.codec
        if not codec.intra_only and codec.canonical_name not in SKIPPABLE_CODECS:
            obstacle = f"its codec is {codec.canonical_name}"
        elif first.interlaced_frame:
            obstacle = "it is interlaced"
        elif not self._header.has_times:
            obstacle = "it has no times"
        else:
            tick = self._header.time_base
            self._idle_packets = IdlePackets(idle, seconds_of=lambda pts: float(pts * tick), stop=lambda: self._stop)
            return
        logger.warning("%s: every picture is decoded, whatever gate.decode_idle says: %s", self.source_id, obstacle)

    @property
    def _num_undecoded(self) -> int:
        """Pictures that this source left out while nothing changed."""
        return 0 if self.idle is None else self.idle.num_undecoded - self._num_undecoded_before

    def _key_frames(self, packets: Packets) -> Packets:
        """The packets of key frames, each drained at once; of a codec without others, one a second."""
        last_seconds = -inf
        for packet in packets:
            stamp = packet.pts if packet is not None else None
            seconds = inf if stamp is None else float(stamp * self._header.time_base)
            if packet is not None and packet.is_keyframe and not 0 <= seconds - last_seconds < KEY_SECONDS:
                last_seconds = seconds
                yield packet
                yield None  # not left to decoders, some of which wait for two more key frames

    def _every_nth(self, every: int, first: VideoFrame) -> Iterator[VideoFrame]:
        """Every nth frame after the first; of a recorded file, hardly more is decoded than those need."""
        if first.pts is None or not self._can_skip(first):
            return self._nth_decoded(every, self._frames)
        return self._nth_needed(every, first.pts, self._packets.rewound())

    def _can_skip(self, first: VideoFrame) -> bool:
        """Whether a packet tells which picture it is, and decoding can begin at a later key frame."""
        codec = self._decoder.codec
        is_skippable = codec.intra_only or (codec.canonical_name in SKIPPABLE_CODECS and not first.interlaced_frame)
        return is_skippable and not self.is_live and self._video.pipe is None

    def _in_span(self, every: int, first: VideoFrame) -> Iterator[VideoFrame]:
        """Every nth frame of the span, numbered as in the whole file."""
        self._first_seconds = self._media_seconds(first) or 0.0
        if first.pts is None or not self._can_skip(first):
            return self._nth_of_span(every, chain([first], self._frames))
        tick = self._header.time_base
        ends = (self._span.start_s, self._span.end_s)
        begin, end = (None if at is None else first.pts + ceil((at - _ROUNDING_SECONDS) / tick) for at in ends)
        return self._nth_needed(every, first.pts, self._packets.rewound(), span=(begin, end))

    def _nth_of_span(self, every: int, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """The same of all decoded frames."""
        num_in_span = 0
        for number, frame in enumerate(frames):
            self._num_seen = number + 1
            self._last_seen_seconds = self._next_seconds(frame)
            if self._is_past_span():
                return
            if self._is_in_span():
                if num_in_span % every == 0:
                    self._number = number
                    yield frame
                num_in_span += 1

    def _next_seconds(self, frame: VideoFrame) -> float:
        """The media time of a frame, of a span or before it; where that does not go forward, a step after the last."""
        seconds, last = self._media_seconds(frame), self._span_seconds
        if last is not None and (seconds is None or seconds <= last):
            seconds = last + self._header.step_seconds
        self._span_seconds = seconds or 0.0
        return self._span_seconds

    def _is_in_span(self) -> bool:
        """Whether the frame of which the time was asked last is in the span."""
        since_first = (self._span_seconds or 0.0) - self._first_seconds
        return since_first >= self._span.start_s - _ROUNDING_SECONDS and not self._is_past_span()

    def _is_past_span(self) -> bool:
        end, since_first = self._span.end_s, (self._span_seconds or 0.0) - self._first_seconds
        return end is not None and since_first >= end - _ROUNDING_SECONDS

    def _nth_decoded(self, every: int, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Every nth of all decoded frames, of which the first has been read."""
        for number, frame in enumerate(frames, 1):
            self._num_seen = number + 1
            self._last_seen_seconds = self._media_seconds(frame) or 0.0
            if number % every == 0:
                self._number = number
                yield frame

    def _nth_needed(
        self, every: int, first_pts: int, packets: Packets, *, span: tuple[int | None, int | None] = (None, None)
    ) -> Iterator[VideoFrame]:
        """The same, from as few packets as possible; where a frame is lost, the next one that was decoded.

        packets: of the whole file, from the first one on. span: times of the first frame and of the one after the last.
        """
        packets, ahead = tee(packets)
        is_intra = self._decoder.codec.intra_only
        needed: NeededPackets[Packet[VideoStream]] = NeededPackets(
            every, first_pts=first_pts, span=span, is_intra=is_intra, begins_anew=is_intra or self._begins_anew(ahead)
        )
        del ahead
        self._decoder.flush_buffers()
        self._damage.num_undecodable = 0  # the packets of the first picture are decoded again
        has_span = span != (None, None)
        first_number = None if has_span else 0
        next_number = 0 if has_span else every
        for frame in self._decode(needed.choose(packets)):
            number = needed.number_of(frame.pts)
            if has_span:
                self._next_seconds(frame)
                if not self._is_in_span():
                    continue
            first_number = number if first_number is None else first_number
            if number >= next_number:
                next_number = number - (number - first_number) % every + every
                self._number = number
                yield frame
        self._num_seen = needed.num_pictures
        self._last_seen_seconds = float(needed.last_pts * self._header.time_base)

    def _begins_anew(self, packets: Packets) -> bool:
        """Whether the second key frame can be decoded without earlier frames; not so with a rolling intra refresh."""
        ahead = islice(packets, 1, 2 * MOST_WAITING)
        key = next((packet for packet in ahead if packet is not None and packet.is_keyframe), None)
        if key is None:
            return False
        self._decoder.flush_buffers()
        try:
            frames = [*self._decoder.decode(key), *self._decoder.decode(None)]
        except av.error.FFmpegError:
            return False
        return any(frame.pts == key.pts and not frame.is_corrupt for frame in frames)

    def _read_packets(self) -> Iterator[Packet[VideoStream] | None]:
        """Every packet that can be read, then None, which makes the decoder give back the frames that it holds."""
        num_errors_in_a_row = 0
        while num_errors_in_a_row < MAX_BROKEN_READS:
            try:
                for packet, waited_seconds in self._reads():
                    if self._stop and self._stop.is_set():
                        return
                    if packet.size:  # an empty one would end the decoder
                        num_errors_in_a_row = 0
                        is_new = self._is_new(packet)
                        self._take_note_of(packet)
                        if is_new:
                            self._tell(packet)
                        if self._is_worth_decoding(packet, waited_seconds) and is_new:
                            yield packet
                    self._refuse_silence(waited_seconds)
                break
            except av.error.FFmpegError as error:
                if self._is_undecided and error.errno == errno.EIO:
                    break  # so ends a file of no declared length
                num_errors_in_a_row += self._recover(error)
        yield None

    def _reads(self) -> Iterator[tuple[Packet[VideoStream], float]]:
        """Every packet, and the seconds for which it was waited. Raises SourceError where the framing is lost."""
        connection = self._video.connection
        packets = self._video.container.demux(self._video.stream) if connection is None else self._framed(connection)
        while True:
            asked_at_seconds = self._clock()
            packet = next(packets, None)
            if packet is None:
                return
            yield packet, self._clock() - asked_at_seconds

    def _framed(self, connection: WatchedConnection) -> Iterator[Packet[VideoStream]]:
        """The packets of the video; those of other streams show as well that the framing is right."""
        framing, video = connection.framing, self._video.stream
        packets = self._video.container.demux()
        while True:
            framing.ask()
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                packet = None
                if not framing.has_lost:
                    raise
            if framing.has_lost:
                raise LostFramingError(f"{self.source_id}: {LOST_FRAMING}")
            if packet is None:
                return
            framing.take(packet.size)
            if packet.stream_index == video.index:
                yield cast("Packet[VideoStream]", packet)

    def _refuse_silence(self, waited_seconds: float) -> None:
        """Raise SourceError where libav answered a timeout with the picture that it had held back."""
        if self._video.scheme and self.is_live and waited_seconds >= self._network.read_timeout_s:
            raise SourceError(f"{self.source_id}: {self._silence}")

    def _is_new(self, packet: Packet[VideoStream]) -> bool:
        """Whether a packet of a live playlist was not read before it was opened again; from a key frame on."""
        if self._seen is None or not self.is_playlist:
            return True
        is_new = self._seen.add(packet.pts, bytes(packet))
        self._is_repeating = self._is_repeating and not (is_new and packet.is_keyframe)
        return not self._is_repeating

    def _is_worth_decoding(self, packet: Packet[VideoStream], waited_seconds: float) -> bool:
        """Whether a packet is recent enough, where that matters; after those that are not, the decoder begins anew."""
        stamp = packet.dts if packet.pts is None else packet.pts
        if self._camera is None or stamp is None or self._is_repeating:
            return True
        seconds = float(stamp * self._header.time_base)
        given_at = wall_clock_seconds(packet)
        if given_at is not None and isinstance(self._camera, CameraClock):
            self._camera.note_wall_clock(time.time() - given_at)
        if self._catch_up is None:
            self._camera.arrive(seconds, waited_seconds=waited_seconds)
            return True
        is_worth = self._catch_up.is_worth_decoding(
            seconds, is_keyframe=packet.is_keyframe, waited_seconds=waited_seconds
        )
        self._has_gap |= not is_worth
        return is_worth

    def _take_note_of(self, packet: Packet[VideoStream]) -> None:
        """Count a packet, and make its timestamps go on where the clock of the stream jumps."""
        self._damage.num_packets += 1
        self._damage.num_hidden += packet.is_discard
        if self._first_packet is None and self._is_undecided:
            self._first_packet = packet.pts, bytes(packet)
        if self._media_clock:
            self._media_clock.carry_on(packet)

    def _recover(self, error: av.error.FFmpegError) -> bool:
        """Prepare to read on after an error, and count it if it is damage. Raises SourceError for a lost network."""
        self._damage.reason = self._video.reason(error)
        is_invalid_data = isinstance(error, av.error.InvalidDataError)
        if self._video.container.format.name == "mpjpeg" and is_invalid_data:
            self._video.open_again_as_jpegs()
            return False
        if self._video.scheme and not is_invalid_data:
            raise SourceError(f"{self.source_id}: {self._breakdown(error)}") from error
        self._damage.num_broken_reads += 1
        return True

    def _breakdown(self, error: av.error.FFmpegError) -> str:
        if isinstance(error, av.error.ExitError):
            return self._silence
        return f"broke off: {self._damage.reason}"

    @property
    def _silence(self) -> str:
        return f"fell silent for {self._network.read_timeout_s:g} s (network.read_timeout_s sets the wait)"

    def _media_seconds(self, frame: VideoFrame) -> float | None:
        stamp = frame.dts if frame.pts is None else frame.pts
        return None if stamp is None else float(stamp * self._header.time_base)
