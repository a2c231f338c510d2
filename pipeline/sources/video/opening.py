"""OpenVideo: an address, a path or an open binary file → libav's container and the one stream that is shown."""

from __future__ import annotations

import errno
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import av.logging
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from pipeline.errors import SourceError, SourceRefusedError
from pipeline.masking import masked_text, without_pieces
from pipeline.sources.download import sends_something
from pipeline.sources.options import DecodeOptions, NetworkOptions
from pipeline.sources.pipe import PipeReader, open_pipe
from pipeline.sources.video.input import open_input
from pipeline.sources.video.lost_framing import RTSP_SCHEMES, WatchedConnection, port_of
from pipeline.sources.video.on_gpu import gpu_decoder, what_is_missing
from pipeline.sources.video.tcp_sockets import sockets_to

USE_CPU = "set decode.device=cpu"
TEXT_CODECS = frozenset({"ansi", "bintext", "xbin", "idf"})  # libav plays any .txt and .bin as ANSI art

# An address with options of its own, such as tcp://host:554?timeout=0.
_LIBAVS_ADDRESS = re.compile(r"Connection to \w+://\S+ failed: ")
_DEPENDENT = 0x80000  # AV_DISPOSITION_DEPENDENT: a tile of a HEIC
_REFUSALS: Mapping[type[av.error.FFmpegError], str] = {
    av.error.HTTPUnauthorizedError: "check the user and the password in its address",
    av.error.HTTPForbiddenError: "this user may not see it",
    av.error.HTTPNotFoundError: "check the path in its address",
}
"""What a server of HTTP or RTSP says 401, 403 and 404 for, which do not go away by themselves: the way out."""
_JPEG_PROBE_BYTES = "2048"  # enough for a format that is named: no need to watch it for seconds
_SHARE_OF_A_LOOK = 4  # a quarter of the patience, to see whether a server that was slow is mute
_opening_lock = threading.Lock()
_num_opening = 0


class OpenVideo:
    """An open container and its largest video stream.

    What cannot seek is read as a pipe. A multipart stream that libav's demuxer does not understand is searched for its
    JPEGs alone. Raises SourceError, with the reason and the way out, for what holds no video.

    is_again: it was open before, so that its rate is known; libav would watch 20 frames for that, 4 s at 5/s.
    """

    def __init__(
        self,
        address: str | Path | BinaryIO,
        *,
        source_id: str,
        network: NetworkOptions,
        decode: DecodeOptions,
        is_again: bool = False,
    ) -> None:
        self.pipe: PipeReader | None = None
        self.is_multipart = False  # whether a camera pushes JPEGs as parts of one answer
        self.scheme = address.split("://")[0].lower() if isinstance(address, str) and "://" in address else ""
        self._address = address
        self._source_id = source_id
        self._network = network
        self._is_again = is_again
        self._is_on_gpu = decode.device == "cuda"
        self._undo = ExitStack()
        with ExitStack() as undo:
            undo.callback(self._undo.close)
            is_framed = self.scheme in RTSP_SCHEMES and network.rtsp_transport == "tcp"
            before = sockets_to(port_of(str(address))) if is_framed else frozenset()
            self.container = self._container_with_pictures()
            self.stream = self._largest_stream()
            self.connection = WatchedConnection(str(address), source_id=source_id, before=before) if is_framed else None
            undo.pop_all()

    def close(self) -> None:
        """Close the container and what was opened for it. May be called more than once."""
        self._undo.close()

    def open_again_as_jpegs(self) -> None:
        """Connect again, and from now on read the JPEGs alone and ignore the headers between them."""
        self.container.close()
        self.container = self._opened(as_format="mjpeg")
        self.stream = self._largest_stream()

    def reason(self, error: av.error.FFmpegError) -> str:
        """One line: libav's last message, or the meaning of its code, without the secrets of the address."""
        log: Any = error.log  # (level, name, text)
        text = _LIBAVS_ADDRESS.sub("", " ".join(str(log[2] if log else error.strerror).split()).rstrip("."))
        address = self._address
        return without_pieces(masked_text(text), address) if isinstance(address, str) else masked_text(text)

    def _container_with_pictures(self) -> InputContainer:
        refusal: SourceError | None = None
        try:
            container = self._opened()
            self.is_multipart = container.format.name == "mpjpeg"
            if not self.is_multipart or _shows_pictures(container):
                return container
            container.close()
        except SourceError as error:
            if self.scheme not in ("http", "https") or not _may_be_jpegs(error.__cause__):
                raise
            if isinstance(error.__cause__, av.error.ExitError) and not self._sends_something():
                raise  # a mute server, for which nobody waits twice
            refusal = error
        try:
            container = self._opened(as_format="mjpeg")
        except SourceError as error:
            raise refusal or error from error.__cause__
        if refusal is not None and not _shows_pictures(container):
            container.close()
            raise refusal
        return container

    def _sends_something(self) -> bool:
        """Whether the web server sends a byte of what is there, soon."""
        return sends_something(str(self._address), timeout_seconds=self._network.open_timeout_s / _SHARE_OF_A_LOOK)

    def _opened(self, *, as_format: str | None = None) -> InputContainer:
        network = self._network
        timeouts = (network.open_timeout_s, network.read_timeout_s) if self.scheme else None
        target = self._target()
        options = self._demuxer_options(as_format)
        asked_at_seconds = time.monotonic()
        try:
            with _keeping_libav_quiet(), gpu_decoder() if self._is_on_gpu else nullcontext() as decoder:
                container = open_input(target, as_format=as_format, options=options, timeouts=timeouts, decoder=decoder)
        except av.error.FFmpegError as error:
            error.args = (*error.args[:2], self._source_id, *error.args[3:])  # its address would stand in a traceback
            missing = what_is_missing() if self._is_on_gpu else None
            if missing is not None:
                raise SourceError(f"{self._source_id}: cannot be decoded on the GPU: {missing}; {USE_CPU}") from error
            # libav's RTSP and HLS say "invalid data" where they were interrupted.
            is_mute = timeouts is not None and time.monotonic() - asked_at_seconds >= network.open_timeout_s
            reason = self._network.no_answer if is_mute else self._refusal(error)
            advice = _REFUSALS.get(type(error))
            if advice is not None:
                raise SourceRefusedError(f"{self._source_id}: {reason}; {advice}") from error
            is_of_web = self.scheme in ("http", "https")
            kind = SourceRefusedError if is_of_web and type(error) is av.error.InvalidDataError else SourceError
            raise (SourceError if is_mute else kind)(f"{self._source_id}: {reason}") from error
        except RuntimeError as error:  # PyAV raises it where its GPU decoder takes none of the streams
            if not self._is_on_gpu:
                raise
            raise SourceError(f"{self._source_id}: the GPU decodes none of its streams; {USE_CPU}") from error
        self._undo.callback(container.close)
        return container

    def _target(self) -> str | BinaryIO | PipeReader:
        """What `av.open` is given; a pipe is opened for it."""
        address = self._address
        if isinstance(address, str | Path) and not self.scheme and Path(address).is_fifo():
            address = self._undo.enter_context(open_pipe(Path(address)))
        if isinstance(address, str | Path):
            return str(address) if self.scheme else f"file:{address}"  # so that "a:b.mp4" is not a protocol
        if address.seekable():
            return address
        self.pipe = PipeReader(address, patience_seconds=self._network.open_timeout_s)
        return self.pipe

    def _demuxer_options(self, as_format: str | None) -> dict[str, str]:
        # Missing times are filled in by VideoSource: libav would hold packets back for it, and gets it wrong.
        options = {"fflags": "-genpts"}
        if self.scheme in RTSP_SCHEMES:
            options["rtsp_transport"] = self._network.rtsp_transport
            if self._is_again:
                options["analyzeduration"] = (
                    "1"  # µs; else libav decodes seven pictures to see whether some are reordered
                )
        if self._is_again:
            options["fpsprobesize"] = "0"
        if as_format is not None:
            options["probesize"] = _JPEG_PROBE_BYTES
        return options

    def _refusal(self, error: av.error.FFmpegError) -> str:
        reason = self.reason(error)
        if isinstance(error, av.error.ExitError):
            return self._network.no_answer
        if isinstance(error, EOFError):
            return "ended before a picture came"
        if not isinstance(error, av.error.InvalidDataError):
            return f"cannot be opened: {reason}"
        if self._is_empty_file():
            return "is empty (0 bytes); record or copy it again"
        if "moov atom not found" in reason:
            return "its index is missing (moov atom not found): it was cut off while being written; copy it again"
        return f"is not a video that can be read ({reason})"

    def _is_empty_file(self) -> bool:
        address = self._address
        return isinstance(address, str | Path) and not self.scheme and Path(address).stat().st_size == 0

    def _largest_stream(self) -> VideoStream:
        container, name = self.container, self._source_id
        kinds = ", ".join(_kind(stream) for stream in container.streams) or "nothing"
        streams = [stream for stream in container.streams.video if _kind(stream).startswith("video")]
        if not streams:
            raise SourceError(f"{name}: no video stream; as {container.format.name} it holds {kinds}")
        streams = [stream for stream in streams if stream.codec_context is not None]
        if not streams:
            raise SourceError(f"{name}: this build of av has no decoder for its video; it holds {kinds}")
        if any(stream.disposition.value & _DEPENDENT for stream in streams):
            raise SourceError(f"{name}: its picture is made of tiles; save it as a file that ends in .heic")
        return max(streams, key=lambda stream: stream.codec_context.width * stream.codec_context.height)


def decodable(codecs: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the named codecs that this build of av can decode."""
    return tuple(codec for codec in codecs if codec in av.codecs_available)


@contextmanager
def _keeping_libav_quiet() -> Iterator[None]:
    """Keep libav's last message for the error that PyAV raises, and print nothing.

    Only while something is opened: a decoder's thread that logs waits for the GIL, which PyAV holds while it waits for
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
    """Whether libav may have failed to recognise JPEGs in sloppy parts, which it reads if their format is named."""
    is_short = isinstance(error, OSError) and error.errno == errno.EIO  # the end of what declares no length
    return is_short or isinstance(error, av.error.InvalidDataError | av.error.ExitError)


def _shows_pictures(container: InputContainer) -> bool:
    return any(stream.codec_context is not None and stream.codec_context.width for stream in container.streams.video)


def _kind(stream: Stream) -> str:
    """A stream in words, such as `video (h264)`; a cover picture or ANSI art is not a video."""
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown codec"
    if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
        return f"cover picture ({codec})"
    return f"{'text' if codec in TEXT_CODECS else stream.type} ({codec})"
