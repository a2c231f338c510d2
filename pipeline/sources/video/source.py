"""Video source: a file, a network stream or a pipe → upright pictures with their media times."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import BinaryIO

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.cuda_driver import tolerate_capture
from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.masking import masked_address
from pipeline.picture.frame import TimedPicture
from pipeline.sources.idle import Idle
from pipeline.sources.options import DecodeOptions, NetworkOptions, Span
from pipeline.sources.packets import CodedStream, PacketListener
from pipeline.sources.video.chosen_frames import ChosenFrames
from pipeline.sources.video.damage import Damage
from pipeline.sources.video.forward_times import ForwardTimes
from pipeline.sources.video.frame_decoder import FrameDecoder, Packets
from pipeline.sources.video.frame_pictures import FramePictures
from pipeline.sources.video.idle_packets import KEY_SECONDS, IdlePackets
from pipeline.sources.video.liveness import declared_liveness, glance
from pipeline.sources.video.opening import OpenVideo
from pipeline.sources.video.orientation import Orientation
from pipeline.sources.video.packet_reader import PacketReader
from pipeline.sources.video.parameters import kept_parameters
from pipeline.sources.video.rewindable import Rewindable
from pipeline.sources.video.seen_packets import SeenPackets
from pipeline.sources.video.stream_times import StreamTimes

logger = logging.getLogger(__name__)


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
        self._options = decode or DecodeOptions()
        self._span = span or Span()
        self.key_frames_alone = False
        """Set before `pictures`: after the first one only key frames are decoded, one a second; all packets come."""
        self.idle: Idle | None = None
        """Set before `pictures`: says when key frames alone need be decoded. Of a codec of which a packet need not be a
        picture, and of interlaced video, every picture is."""
        self._clock = clock
        self._num_undecoded_before = 0
        self._idle_packets: IdlePackets[Packet[VideoStream]] | None = None
        self._file = address if isinstance(address, Path) and address.is_file() else None
        self._damage = Damage()
        self._end_seconds: float | None = None  # set when the last frame has been read
        self._listener: PacketListener | None = None

        with ExitStack() as undo:
            network = network or NetworkOptions()
            is_again = seen is not None and seen.was_open
            self._video = OpenVideo(
                address, source_id=self.source_id, network=network, decode=self._options, is_again=is_again
            )
            undo.callback(self._video.close)
            if self._video.connection is not None:
                undo.callback(self._video.connection.close)
            self._packets = self._begin_reading(network, max_age_seconds, seen)
            if self.is_live and not self._span.is_all:
                raise SourceError(f"{self.source_id}: --start and --end are for recorded videos, and it is live")
            self._decoder = FrameDecoder(
                self._video,
                source_id=self.source_id,
                options=self._options,
                is_live=self.is_live,
                damage=self._damage,
                has_gap=self._reader.take_gap,
            )
            undo.callback(self._decoder.flush)  # parks its threads, so that none logs while it is freed
            self._codec_name = self._decoder.codec_name  # kept when it is closed
            self._chosen = ChosenFrames(self._span, self._times, self._damage)
            self._pictures = FramePictures(
                self._video,
                source_id=self.source_id,
                is_on_gpu=self._options.device == "cuda",
                damage=self._damage,
            )
            self._frames = self._decoder.frames(self._needed(self._packets))
            self._first: VideoFrame | None = self._first_frame()  # None once it was handed out
            self.size_wh: tuple[int, int] | None = self._pictures.of(self._first).size_wh
            if seen is not None:
                seen.was_open = True
            self._undo = undo.pop_all()

    @property
    def is_live(self) -> bool:
        return self._times.header.is_live

    @property
    def is_playlist(self) -> bool:
        """Whether it is a live stream that comes a segment at a time."""
        return self._times.header.is_playlist

    @property
    def num_skipped(self) -> int:
        """Frames of a live stream that were left out undecoded because they came too late."""
        catch_up = self._times.catch_up
        return catch_up.num_skipped if catch_up else 0

    @property
    def frames_per_second(self) -> float | None:
        return self._times.header.frames_per_second

    @property
    def num_frames(self) -> int | None:
        return self._times.header.num_frames

    @property
    def format_name(self) -> str:
        """libav's name of the container format."""
        return self._times.header.format_name

    @property
    def codec_name(self) -> str:
        """libav's name of the codec, such as h264."""
        return self._codec_name

    @property
    def damage(self) -> tuple[str, ...]:
        clock = self._times.media_clock
        lines = [*self._damage.lines(), *self._times.damage]
        if self._end_seconds is not None and not self.is_live:
            lines += self._damage.shortfall(
                self._times.header,
                num_seen=self._chosen.num_seen,
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
        return self._reader.first_packet if self._is_undecided else None

    def listen(self, listener: PacketListener) -> None:
        self._listener = self._reader.listener = listener

    def read_still(self) -> bytes | None:
        """The bytes of the image file that this is, if it holds no other picture, else None; only before `pictures`."""
        if self.format_name not in ("image2", "mjpeg") and not self.format_name.endswith("_pipe"):
            return None
        image, following, *_ = (*self._packets.peek(2), None, None)
        if image is None or (following is not None and b"MPF\0" not in bytes(image)):
            return None  # in a JPEG with that mark (Multi-Picture Format), what follows are its previews
        return bytes(image)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        self._reader.stop = stop
        self._begin_listening(every)
        if self._options.device == "cuda":
            tolerate_capture()  # in the thread that decodes
        if self._video.pipe:
            self._video.pipe.stop = stop
        self._choose_frames(every)
        header, chosen = self._times.header, self._chosen
        times = ForwardTimes(step_seconds=every * header.step_seconds)
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
            given_at_seconds = self._times.given_at_seconds(frame)
            if self.is_playlist and not self._wait_until(given_at_seconds, stop):
                return
            if chosen.span_seconds is not None:
                seconds: float | None = chosen.span_seconds
            else:
                seconds = self._times.media_seconds(frame) if header.has_times else self._clock() - started_at_seconds
            last_seconds = times.next(seconds)
            self._damage.num_backwards = times.num_backwards
            self._damage.num_frames += 1
            self._damage.num_corrupt += frame.is_corrupt
            picture = self._pictures.of(frame)
            if self.idle is not None:
                self.idle.hand_out(picture)
                chosen.number = None if self.is_live else self._damage.num_frames - 1 + self._num_undecoded
            yield TimedPicture(picture, last_seconds, chosen.number, captured_at_seconds=given_at_seconds)

    def close(self) -> None:
        self._undo.close()
        # A closed source is kept for its damage: not so the decoder, with threads and pictures of its own.
        self._frames, self._packets, self._first, self._idle_packets = iter(()), Rewindable(iter(())), None, None
        with suppress(AttributeError):  # it was closed before
            del self._decoder, self._video, self._reader, self._pictures

    def _begin_reading(
        self, network: NetworkOptions, max_age_seconds: float | None, seen: SeenPackets | None
    ) -> Rewindable[Packet[VideoStream] | None]:
        """Settle whether it is live, for which some packets may have to be read, and return all of them."""
        video = self._video
        is_live = declared_liveness(video.container, scheme=video.scheme, is_multipart=video.is_multipart)
        self._is_undecided = is_live is None
        times_of = partial(StreamTimes.of, video, max_age_seconds=max_age_seconds, clock=self._clock)
        self._times = times_of(is_live=is_live is not False)
        self._reader = PacketReader(
            video,
            self._times,
            source_id=self.source_id,
            read_timeout_seconds=network.read_timeout_s,
            is_undecided=self._is_undecided,
            seen=seen,
            damage=self._damage,
            clock=self._clock,
        )
        packets = self._reader.packets()
        if not self._is_undecided:
            return Rewindable(packets)
        rate = 1 / self._times.header.step_seconds
        first_packets, is_file = glance(packets, frames_per_second=rate, clock=self._clock)
        self._times = self._reader.times = times_of(is_live=not is_file)
        return Rewindable(packets, first=first_packets)

    def _begin_listening(self, every: int) -> None:
        """Tell a listener of the stream and of the packets that were read already."""
        early = self._reader.take_early()
        if self._listener is None or self._first is None:
            return
        obstacle = None
        if every > 1 or not self._span.is_all:
            obstacle = "only some pictures are taken"
        elif not self._times.header.has_times:
            obstacle = "the stream has no times"
        elif not Orientation.of(self._first).is_upright:
            obstacle = "the pictures lie turned or mirrored"
        parameters = kept_parameters(self._video.stream)
        stream = CodedStream(self._codec_name, self._decoder.extradata, self.size_wh, obstacle, parameters)
        self._listener.begin(stream)
        for packet in early:
            self._reader.tell(packet)

    def _choose_frames(self, every: int) -> None:
        """Take the frames that are asked for, of the file or as long as nothing changes; before any is handed out."""
        first, decoder = self._first, self._decoder
        if first is not None and (every > 1 or not self._span.is_all):
            packets = self._packets.rewound() if self._can_skip(first) else None
            self._frames = self._chosen.frames(every, first, self._frames, packets, decoder)
            self._first = first if self._span.is_all else None
        self._packets.forget()
        if self.idle is not None and self._first is not None:
            self._num_undecoded_before = self.idle.num_undecoded
            self._follow(self.idle, self._first)
        if self.key_frames_alone:
            decoder.flush()
            self._frames = decoder.frames(self._key_frames(self._packets))

    def _wait_until(self, at_seconds: float | None, stop: Stop) -> bool:
        """Whether that time has come, and not the stop."""
        wait_seconds = 0.0 if at_seconds is None else at_seconds - self._clock()
        return wait_seconds <= 0 or not stop.wait(wait_seconds)

    def _note_end(self, last_seconds: float | None) -> None:
        """Take note of the media time at which the last frame ends. last_seconds: of the last one handed out."""
        header, chosen = self._times.header, self._chosen
        if last_seconds is None and self._span.start_s:
            seconds = chosen.last_seen_seconds + header.step_seconds - chosen.first_seconds
            raise SourceError(f"{self.source_id}: --start {self._span.start_s:g} s is past its end, at {seconds:.1f} s")
        if self._span.end_s is not None or self.key_frames_alone:
            return
        chosen.num_seen = max(chosen.num_seen, self._damage.num_frames + self._num_undecoded)
        left_out = None if self._idle_packets is None else self._idle_packets.last_left_out
        if left_out is not None:
            chosen.last_seen_seconds = max(chosen.last_seen_seconds, float(left_out * header.time_base))
        if last_seconds is None:
            self._end_seconds = 0.0
        else:
            self._end_seconds = max(last_seconds, chosen.last_seen_seconds) + header.step_seconds

    def _first_frame(self) -> VideoFrame:
        frame = next(self._frames, None)
        if frame is None:
            if self._reader.is_repeating:
                raise SourceError(f"{self.source_id}: its playlist stands still")
            is_pipe = self._video.pipe is not None
            cure = "send MPEG-TS, Matroska or fragmented MP4 through a pipe" if is_pipe else "is it damaged?"
            raise SourceError(f"{self.source_id}: not one picture can be decoded{self._damage.because}; {cure}")
        return frame

    def _needed(self, packets: Packets) -> Packets:
        """The packets that are decoded while a gate looks on; before `pictures`, and without a gate, all."""
        for packet in packets:
            if self._idle_packets is None:
                yield packet
            else:
                yield from self._idle_packets.needed(packet)

    def _follow(self, idle: Idle, first: VideoFrame) -> None:
        """Leave out from now on what nobody need see; first: the frame that was decoded first."""
        if not self._decoder.has_pictures_as_packets:
            obstacle = f"its codec is {self._codec_name}"
        elif first.interlaced_frame:
            obstacle = "it is interlaced"
        elif not self._times.header.has_times:
            obstacle = "it has no times"
        else:
            tick, reader = self._times.header.time_base, self._reader
            self._idle_packets = IdlePackets(idle, seconds_of=lambda pts: float(pts * tick), stop=lambda: reader.stop)
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
            seconds = inf if stamp is None else float(stamp * self._times.header.time_base)
            if packet is not None and packet.is_keyframe and not 0 <= seconds - last_seconds < KEY_SECONDS:
                last_seconds = seconds
                yield packet
                yield None  # not left to decoders, some of which wait for two more key frames

    def _can_skip(self, first: VideoFrame) -> bool:
        """Whether a packet tells which picture it is, and decoding can begin at a later key frame."""
        decoder = self._decoder
        is_skippable = decoder.is_intra or (decoder.has_pictures_as_packets and not first.interlaced_frame)
        return first.pts is not None and is_skippable and not self.is_live and self._video.pipe is None
