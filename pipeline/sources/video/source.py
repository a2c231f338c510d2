"""Which pictures does a video file, a network stream or a pipe hold, and at what times?"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, tee
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
import av.error
import av.logging
from av.codec.context import ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.cuda_driver import tolerate_capture
from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.masking import masked_address, masked_text, without_pieces
from pipeline.picture.frame import TimedPicture
from pipeline.picture.pixel_aspect import SQUARE
from pipeline.sources.pipe import PipeReader
from pipeline.sources.video.input import open_input
from pipeline.sources.video.liveness import LIVE_SCHEMES, PLAYLISTS, glance, num_bytes
from pipeline.sources.video.media_clock import MediaClock
from pipeline.sources.video.needed_packets import MOST_WAITING, NeededPackets
from pipeline.sources.video.on_gpu import GpuPicture, gpu_decoder, what_is_missing
from pipeline.sources.video.orientation import Orientation
from pipeline.sources.video.picture import VideoPicture

SKIPPABLE_CODECS = frozenset({"av1", "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp9"})
"""A packet of theirs is a picture, which those of VP8 need not be, and after a key frame they begin anew."""

MAX_BROKEN_READS = 100  # in a row: a container that gives nothing but errors has ended

_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT: a format whose clock may jump, as that of MPEG-TS
_DEPENDENT = 0x80000  # AV_DISPOSITION_DEPENDENT: a tile of a HEIC
_ON_CPU = "set decode.device=cpu"
TEXT_CODECS = frozenset({"ansi", "bintext", "xbin", "idf"})  # libav plays any .txt and .bin as ANSI art
_LIBAVS_ADDRESS = re.compile(
    r"Connection to \w+://\S+ failed: "
)  # with options of its own, as tcp://host:554?timeout=0
_opening_lock = threading.Lock()
_num_opening = 0


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """How a video is opened and read; the timeouts are for networks and pipes, a file is waited for."""

    open_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 10.0  # also the longest that a stream that has fallen silent takes to stop
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    decode_threads: int | None = None  # None: as many as there are cores, up to 4
    decode_device: Literal["cpu", "cuda"] = "cpu"  # cuda: by the GPU's decoder, or an error; the frames stay there


class VideoSource:
    """The largest video stream of a file, a URL, or an open binary file; what cannot seek is read as a pipe.

    Raises SourceError, with the reason, for what holds no picture. The first picture is decoded at once, so that
    the size is known and a stream that only looks like video is refused.
    """

    def __init__(
        self,
        address: str | Path | BinaryIO,
        *,
        source_id: str | None = None,
        options: VideoOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        name = source_id or str(address if isinstance(address, str | Path) else getattr(address, "name", "stream"))
        self.source_id = masked_address(name) if isinstance(address, str) else name
        self._options = options or VideoOptions()
        self._clock = clock
        self._scheme = address.split("://")[0].lower() if isinstance(address, str) and "://" in address else ""
        self._address = address
        self._is_multipart = False  # a camera pushes JPEGs
        self._pipe: PipeReader | None = None
        self._stop: Stop | None = None
        self._num_packets = self._num_frames = self._num_discarded = 0
        self._num_undecodable = self._num_broken_reads = self._num_corrupt = self._num_backwards = 0
        self._first_packet: tuple[int | None, bytes] | None = None
        self._reason = ""
        self._aspect: Fraction | None = None  # of the pixels of the last frame
        self._coded_aspect: Fraction | None = None
        self._odd_degrees = 0.0  # by which pictures are to be turned, and are not
        self._number: int | None = None  # of the last frame, where some are left out
        self._num_found = 0  # frames of the file, those between the wanted ones included
        self._last_found_seconds = 0.0
        self._end_seconds: float | None = None  # set when the last frame has been read

        with ExitStack() as undo:
            self._undo = undo
            self._container = self._open(address)
            self._stream = self._choose_stream()
            self._is_undecided = self._tells_nothing()
            self._describe(is_live=self._is_undecided or self._is_stream())
            packets: Iterator[Packet[VideoStream] | None] = self._packets()
            if self._is_undecided:
                rate = self.frames_per_second or 25.0
                seen, is_file = glance(packets, frames_per_second=rate, clock=self._clock)
                packets = chain(seen, packets)
                self._describe(is_live=not is_file)
            self._set_up_decoder()
            packets, self._packets_again = tee(packets)  # keeps those that the first picture takes
            self._frames = self._decode(packets)
            self._first = next(self._frames, None)
            if self._first is None:
                cure = "send MPEG-TS, Matroska or fragmented MP4 through a pipe" if self._pipe else "is it damaged?"
                raise SourceError(f"{self.source_id}: not one picture can be decoded{self._because}; {cure}")
            self.size_wh: tuple[int, int] | None = self._picture_of(self._first).size_wh
            self._undo = undo.pop_all()

    @property
    def damage(self) -> tuple[str, ...]:
        lines = []
        if self._num_undecodable:
            lines.append(f"{self._num_undecodable} of {self._num_packets} packets not decodable{self._because}")
        if self._num_broken_reads:
            lines.append(f"the container is broken in {self._num_broken_reads} places{self._because}")
        if self._num_corrupt:
            lines.append(f"{self._num_corrupt} of {self._num_frames} frames decoded with errors")
        if self._num_backwards:
            lines.append(f"{self._num_backwards} of {self._num_frames} timestamps did not go forward and were replaced")
        lines.extend(self._media_clock.damage if self._media_clock else ())
        if self._odd_degrees:
            lines.append(
                f"its display matrix turns by {self._odd_degrees:+.0f}° beyond a quarter turn, which is left out"
            )
        if self._end_seconds is not None and not self.is_live:
            lines.extend(self._shortfall(self._end_seconds))
        return tuple(lines)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        self._stop = stop
        if self._options.decode_device == "cuda":
            tolerate_capture()  # in the thread that decodes
        if self._pipe:
            self._pipe.stop = stop
        if every > 1 and self._first is not None:
            self._frames = self._each(every, self._first)
        self._packets_again = iter(())
        step = 1 / (self.frames_per_second or 25.0)
        started_at = self._clock()
        previous: float | None = None
        while not stop.is_set():
            frame, self._first = self._first or next(self._frames, None), None
            if frame is None:
                if not stop.is_set():
                    self._num_found = max(self._num_found, self._num_frames)
                    self._end_seconds = 0.0 if previous is None else max(previous, self._last_found_seconds) + step
                return
            seconds = self._media_seconds(frame) if self._has_times else self._clock() - started_at
            if previous is not None and (seconds is None or seconds <= previous):
                self._num_backwards += seconds is not None
                seconds = previous + every * step
            previous = seconds or 0.0
            self._num_frames += 1
            self._num_corrupt += frame.is_corrupt
            yield TimedPicture(self._picture_of(frame), previous, self._number)

    def close(self) -> None:
        self._undo.close()

    def _picture_of(self, frame: VideoFrame) -> VideoPicture | GpuPicture:
        orientation = Orientation.of(frame)
        self._odd_degrees = self._odd_degrees or orientation.odd_degrees
        if self._options.decode_device == "cpu":
            return VideoPicture(frame, orientation=orientation, stored_pixel_aspect=self._pixel_aspect())
        if frame.format.name != "cuda":
            raise SourceError(f"{self.source_id}: was not decoded on the GPU, but to {frame.format.name}; {_ON_CPU}")
        if not orientation.is_upright:
            raise SourceError(f"{self.source_id}: is {orientation}, which the GPU leaves so; {_ON_CPU}")
        return GpuPicture(frame, stored_pixel_aspect=self._pixel_aspect())

    def _pixel_aspect(self) -> Fraction:
        """That of the frame decoded last: the container's, until that of the bitstream changes."""
        coded = self._stream.codec_context.sample_aspect_ratio
        if self._aspect is None or coded != self._coded_aspect:
            ratio = (self._stream.sample_aspect_ratio if self._aspect is None else None) or coded or SQUARE
            self._aspect, self._coded_aspect = Fraction(ratio.numerator, ratio.denominator), coded
        return self._aspect

    @property
    def _because(self) -> str:
        return f" ({self._reason})" if self._reason else ""

    def read_still(self) -> bytes | None:
        """The file of the picture, where it is an image and holds no other, else None; before `pictures` alone."""
        if self.format_name not in ("image2", "mjpeg") and not self.format_name.endswith("_pipe"):
            return None
        self._packets_again, ahead = tee(self._packets_again)
        image, following = next(ahead, None), next(ahead, None)
        if image is None or (following is not None and b"MPF\0" not in bytes(image)):
            return None  # in a JPEG that says so (Multi-Picture Format), what follows are its previews
        return bytes(image)

    @property
    def beginning(self) -> tuple[int | None, bytes] | None:
        """Time and bytes of the first packet, where this may be a file; if so, it begins again with the same."""
        return self._first_packet if self._is_undecided else None

    def _open(self, address: str | Path | BinaryIO) -> InputContainer:
        """Open it; in a multipart stream that libav's demuxer does not understand, look for the JPEGs alone."""
        refusal: SourceError | None = None
        try:
            container = self._opened(address)
            self._is_multipart = container.format.name == "mpjpeg"
            if not self._is_multipart or _shows_pictures(container):
                return container
            container.close()
        except SourceError as error:
            if self._scheme not in ("http", "https") or not _may_be_jpegs(error.__cause__):
                raise
            refusal = error
        try:
            container = self._opened(address, as_format="mjpeg")
        except SourceError as error:
            raise refusal or error from error.__cause__
        if refusal is not None and not _shows_pictures(container):
            container.close()
            raise refusal
        return container

    def _opened(self, address: str | Path | BinaryIO, *, as_format: str | None = None) -> InputContainer:
        options, undo = self._options, self._undo
        timeouts = (options.open_timeout_seconds, options.read_timeout_seconds) if self._scheme else None
        target: str | BinaryIO | PipeReader
        if isinstance(address, str | Path) and not self._scheme and Path(address).is_fifo():
            address = undo.enter_context(Path(address).open("rb", buffering=0))  # noqa: SIM115 - closed with the rest
        if isinstance(address, str | Path):
            target = str(address) if self._scheme else f"file:{address}"  # so that "a:b.mp4" is no protocol
        elif address.seekable():
            target = address
        else:
            target = self._pipe = PipeReader(address, patience_seconds=options.open_timeout_seconds)
        # Times that are missing are filled in here: libav would hold packets back for it, and gets it wrong.
        flags = {"fflags": "-genpts"}
        if self._scheme in ("rtsp", "rtsps"):
            flags["rtsp_transport"] = options.rtsp_transport
        if as_format is not None:  # what is known need not be watched for seconds
            flags["probesize"] = "2048"
        is_on_gpu = options.decode_device == "cuda"
        try:
            with _hearing_libav(), gpu_decoder() if is_on_gpu else nullcontext() as decoder:
                container = open_input(target, as_format=as_format, options=flags, timeouts=timeouts, decoder=decoder)
        except av.error.FFmpegError as error:
            error.args = (*error.args[:2], self.source_id, *error.args[3:])  # its address would stand in a traceback
            missing = what_is_missing() if is_on_gpu else None
            if missing is not None:
                raise SourceError(f"{self.source_id}: cannot be decoded on the GPU: {missing}; {_ON_CPU}") from error
            raise SourceError(f"{self.source_id}: {self._refusal(error, address)}") from error
        except RuntimeError as error:  # av's word for streams none of which its GPU decoder takes
            if not is_on_gpu:
                raise
            raise SourceError(f"{self.source_id}: the GPU decodes none of its streams; {_ON_CPU}") from error
        undo.callback(container.close)
        return container

    def _refusal(self, error: av.error.FFmpegError, address: str | Path | BinaryIO) -> str:
        reason = _reason(error, self._address)
        if isinstance(error, av.error.ExitError):
            waited = f"{self._options.open_timeout_seconds:g} s"
            return f"no answer within {waited}; is it on and reachable? (network.open_timeout_s sets the wait)"
        if isinstance(error, EOFError):
            return "ended before a picture came"
        if isinstance(error, av.error.InvalidDataError):
            if isinstance(address, str | Path) and not self._scheme and Path(address).stat().st_size == 0:
                return "is empty (0 bytes); record or copy it again"
            if "moov atom not found" in reason:
                return "its index is missing (moov atom not found): it was cut off while being written; copy it again"
            return f"is not a video that can be read ({reason})"
        return f"cannot be opened: {reason}"

    def _choose_stream(self) -> VideoStream:
        container = self._container
        kinds = ", ".join(_kind(stream) for stream in container.streams) or "nothing"
        streams = [stream for stream in container.streams.video if _kind(stream).startswith("video")]
        if not streams:
            raise SourceError(f"{self.source_id}: no video stream; as {container.format.name} it holds {kinds}")
        streams = [stream for stream in streams if stream.codec_context is not None]
        if not streams:
            raise SourceError(f"{self.source_id}: this build of av has no decoder for its video; it holds {kinds}")
        if any(stream.disposition.value & _DEPENDENT for stream in streams):
            raise SourceError(f"{self.source_id}: its picture is made of tiles; save it as a file that ends in .heic")
        return max(streams, key=lambda stream: stream.codec_context.width * stream.codec_context.height)

    def _tells_nothing(self) -> bool:
        """Whether neither address nor header tells if this is a live stream or a file."""
        is_known = self._is_multipart or self._scheme in LIVE_SCHEMES or self._container.format.name in PLAYLISTS
        has_end = self._container.duration is not None or num_bytes(self._container) is not None
        return bool(self._scheme) and not is_known and not has_end

    def _is_stream(self) -> bool:
        """Whether it is live as far as address and header tell."""
        is_playlist = self._container.format.name in PLAYLISTS and self._container.duration is None
        return self._scheme in LIVE_SCHEMES or (bool(self._scheme) and (self._is_multipart or is_playlist))

    def _describe(self, *, is_live: bool) -> None:
        """Take note of what the headers declare; libav forgets it when the container is closed."""
        container, stream = self._container, self._stream
        self.is_live = is_live
        rate = stream.average_rate or (None if self.is_live else stream.guessed_rate)
        self.frames_per_second = float(rate) if rate and 0 < rate < 1000 else None
        self.num_frames = stream.frames or None
        self._time_base = stream.time_base or Fraction(1, 1_000_000)
        self.format_name = container.format.name
        # libav counts 25 JPEGs a second, whatever the camera does: there, the time is that of arrival.
        self._has_times = not (is_live and self.format_name in ("mpjpeg", "mjpeg"))
        self._media_clock: MediaClock | None = None
        if self.is_live or container.format.flags & _TS_DISCONT:
            self._media_clock = MediaClock(
                time_base=self._time_base,
                frame_seconds=1 / (self.frames_per_second or 25.0),
                arrival=self._clock if self.is_live else None,
            )
        self._declared_end_seconds: float | None = None
        if stream.duration is not None:
            self._declared_end_seconds = float((stream.duration + (stream.start_time or 0)) * self._time_base)
        elif container.duration is not None and len(container.streams) == 1:
            self._declared_end_seconds = (container.duration + (container.start_time or 0)) / av.time_base

    def _set_up_decoder(self) -> None:
        decoder, undo = self._stream.codec_context, self._undo
        if self._options.decode_device == "cuda":
            if not decoder.is_hwaccel:
                raise SourceError(f"{self.source_id}: the GPU does not decode {decoder.name}; {_ON_CPU}")
            decoder.thread_count = 1
            undo.callback(decoder.flush_buffers)
            return
        # Frame threads are quick but hold a frame each; live, the newest frame matters more.
        decoder.thread_type = ThreadType.SLICE if self.is_live else ThreadType.AUTO
        decoder.thread_count = self._options.decode_threads or min(4, os.cpu_count() or 1)
        undo.callback(decoder.flush_buffers)  # parks its threads, see _hearing_libav

    def _decode(self, packets: Iterable[Packet[VideoStream] | None]) -> Iterator[VideoFrame]:
        decoder = self._stream.codec_context
        for packet in packets:
            frames: list[VideoFrame] = []
            try:
                frames = decoder.decode(packet)
            except EOFError:
                return
            except av.error.FFmpegError as error:
                self._num_undecodable += 1
                self._reason = _reason(error, self._address)
            yield from frames
            if packet is None:
                decoder.flush_buffers()  # it has ended, and can begin anew

    def _each(self, every: int, first: VideoFrame) -> Iterator[VideoFrame]:
        """Each `every`-th frame after the first; of a recorded file, hardly more is decoded than those need."""
        codec = self._stream.codec_context.codec
        is_skippable = codec.intra_only or (codec.canonical_name in SKIPPABLE_CODECS and not first.interlaced_frame)
        if not is_skippable or self.is_live or self._pipe or first.pts is None:
            return self._counted(every, self._frames)
        return self._needed(every, first.pts, self._packets_again)

    def _counted(self, every: int, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Each `every`-th of all frames, of which the first has been read."""
        for number, frame in enumerate(frames, 1):
            self._num_found = number + 1
            self._last_found_seconds = self._media_seconds(frame) or 0.0
            if number % every == 0:
                self._number = number
                yield frame

    def _needed(
        self, every: int, first_pts: int, packets: Iterable[Packet[VideoStream] | None]
    ) -> Iterator[VideoFrame]:
        """The same, decoded of no more packets than must be; for one that is lost, the next one that was decoded."""
        decoder = self._stream.codec_context
        packets, ahead = tee(packets)
        is_intra = decoder.codec.intra_only
        needed: NeededPackets[Packet[VideoStream]] = NeededPackets(
            every, first_pts=first_pts, is_intra=is_intra, begins_anew=is_intra or self._begins_anew(ahead)
        )
        del ahead
        decoder.flush_buffers()
        self._num_undecodable = 0  # what the first picture took is decoded again
        wanted_from = every
        for frame in self._decode(needed.choose(packets)):
            number = needed.number_of(frame.pts)
            if number >= wanted_from:
                wanted_from = number - number % every + every
                self._number = number
                yield frame
        self._num_found = needed.num_pictures
        self._last_found_seconds = float(needed.last_pts * self._time_base)

    def _begins_anew(self, packets: Iterable[Packet[VideoStream] | None]) -> bool:
        """Whether the decoder gives the second key frame without what is before; not where stripes are refreshed."""
        decoder = self._stream.codec_context
        ahead = islice(packets, 1, 2 * MOST_WAITING)
        key = next((packet for packet in ahead if packet is not None and packet.is_keyframe), None)
        if key is None:
            return False
        decoder.flush_buffers()
        try:
            frames = [*decoder.decode(key), *decoder.decode(None)]
        except av.error.FFmpegError:
            return False
        return any(frame.pts == key.pts and not frame.is_corrupt for frame in frames)

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """Every packet that can be read, then None, which makes the decoder give back what it holds."""
        num_in_a_row = 0
        while num_in_a_row < MAX_BROKEN_READS:
            try:
                for packet in self._container.demux(self._stream):
                    if self._stop and self._stop.is_set():
                        return
                    if packet.size:  # an empty one would end the decoder
                        num_in_a_row = 0
                        self._num_packets += 1
                        if self._first_packet is None and self._is_undecided:
                            self._first_packet = packet.pts, bytes(packet)
                        self._num_discarded += packet.is_discard
                        if self._media_clock:
                            self._media_clock.carry_on(packet)
                        yield packet
                break
            except av.error.FFmpegError as error:
                if self._is_undecided and error.errno == errno.EIO:
                    break  # so ends a file of no declared length
                self._reason = _reason(error, self._address)
                if self._container.format.name == "mpjpeg" and isinstance(error, av.error.InvalidDataError):
                    self._read_raw_multipart()
                    continue
                if self._scheme and not isinstance(error, av.error.InvalidDataError):
                    raise SourceError(f"{self.source_id}: {self._breakdown(error)}") from error
                self._num_broken_reads += 1
                num_in_a_row += 1
        yield None

    def _read_raw_multipart(self) -> None:
        """Connect again, and from now on believe nothing that stands between the JPEGs."""
        self._container.close()
        self._container = self._opened(self._address, as_format="mjpeg")
        self._stream = self._choose_stream()

    def _breakdown(self, error: av.error.FFmpegError) -> str:
        if isinstance(error, av.error.ExitError):
            return f"fell silent for {self._options.read_timeout_seconds:g} s (network.read_timeout_s sets the wait)"
        return f"broke off: {self._reason}"

    def _media_seconds(self, frame: VideoFrame) -> float | None:
        stamp = frame.dts if frame.pts is None else frame.pts
        return None if stamp is None else float(stamp * self._time_base)

    def _shortfall(self, end_seconds: float) -> Iterator[str]:
        """What was declared and did not come; headers are known to lie, so this accuses nobody."""
        if self.num_frames is not None:
            num_declared = self.num_frames - self._num_discarded  # an edit list may hide frames on purpose
            if self._num_found < num_declared:
                yield f"{num_declared} frames declared, {self._num_found} read"
        elif self._media_clock and self._media_clock.num_jumps:
            return  # what was declared is what the last clock says
        elif self._declared_end_seconds is not None and end_seconds < self._declared_end_seconds - 1.0:
            yield f"declared to last until {self._declared_end_seconds:.1f} s, read until {end_seconds:.1f} s"


@contextmanager
def _hearing_libav() -> Iterator[None]:
    """Keep libav's last words for the error that av raises; nothing is printed.

    Only while something is opened: a decoder's thread that logs waits for the GIL, which av holds while it waits for
    that thread when a decoder is freed, or which is gone for good when the process ends.
    """
    global _num_opening
    with _opening_lock:
        _num_opening += 1
        av.logging.set_level(av.logging.PANIC)
    try:
        yield
    finally:
        with _opening_lock:
            _num_opening -= 1
            if not _num_opening:
                av.logging.set_level(None)


def _may_be_jpegs(error: BaseException | None) -> bool:
    """Whether what libav could not recognise may be JPEGs in sloppy parts, which it reads if it is told so."""
    is_short = isinstance(error, OSError) and error.errno == errno.EIO  # so ends what declares no length
    return is_short or isinstance(error, av.error.InvalidDataError | av.error.ExitError)


def _shows_pictures(container: InputContainer) -> bool:
    return any(stream.codec_context is not None and stream.codec_context.width for stream in container.streams.video)


def decodable(codecs: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the named codecs that this build of av can decode."""
    return tuple(codec for codec in codecs if codec in av.codecs_available)


def _reason(error: av.error.FFmpegError, address: object) -> str:
    """One line: what libav logged last, or what its code means, without what the address hides."""
    log: Any = error.log  # (level, name, text)
    text = " ".join(str(log[2] if log else error.strerror).split()).rstrip(".")
    text = _LIBAVS_ADDRESS.sub("", text)
    return without_pieces(masked_text(text), address) if isinstance(address, str) else masked_text(text)


def _kind(stream: Stream) -> str:
    """What a stream is, as `video (h264)`; a cover picture or ANSI art is no video."""
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown codec"
    if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
        return f"cover picture ({codec})"
    return f"{'text' if codec in TEXT_CODECS else stream.type} ({codec})"
