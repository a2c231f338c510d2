"""Recording: rendered frames → a video file that plays everywhere, even after the run was killed."""

from __future__ import annotations

import logging
from pathlib import Path

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from pipeline.errors import SinkError
from pipeline.picture.detections import RenderedFrame
from pipeline.sinks.encoder import TICKS, Codec, Encoder, Preset, reason_of_libav
from pipeline.sinks.muxed_file import MuxedFile
from pipeline.sinks.soundtrack import SoundSource, Soundtrack
from pipeline.sinks.writable import refuse_deleted, refuse_no_path, refuse_unwritable
from pipeline.whole_file import make_parents

logger = logging.getLogger(__name__)

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_FLUSH_MILLISECONDS = 500  # a killed recording loses the frames since the last fragment, or cluster, began


class Recording:
    """Writes rendered frames as H.264 or VP9, 4:2:0, in the first frame's size.

    A file's frames keep their media times, so that size, duration and a variable rate stay the source's; a live
    source's frames keep the times at which they were captured. An odd width or height is made even by repeating the
    last column or row; pixels that are not square stay so; later frames of another shape are fitted into the first
    one's. Planes are encoded as they are, in the colour matrix of the first frame; pixels become BT.601.

    path: .mp4, .mov (fragmented while written, so that a killed recording plays, and made an ordinary seekable file
    at the end), .mkv, or .webm, which takes VP9 instead and three times as long.
    frames_per_second: declared by the source; a hint for players, which moves no frame.
    preset: of libx264, ultrafast by default; veryfast takes twice as long for half the bytes, and slower ones gain
    nothing more without lookahead.
    sound: of the file whose frames are written; it is closed with the recording. Of a live source it is left out.
    Raises SinkError if it cannot be written there, or for a preset with another codec.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        frames_per_second: float | None = None,
        is_live: bool = False,
        codec: Codec = "libx264",
        preset: Preset | None = None,
        sound: SoundSource | None = None,
    ) -> None:
        refuse_no_path(path, "a recording")
        self._path = Path(path)
        if self._path.suffix.lower() not in _FORMATS:
            raise SinkError(f"{path}: a recording must end in {', '.join(_FORMATS)}, got {self._path.suffix!r}")
        if self._path.suffix.lower() == ".webm" and codec == "libx264":
            codec = "libvpx-vp9"
        elif self._path.suffix.lower() == ".webm":
            raise SinkError(f"{path}: a .webm takes VP9, got output.codec {codec}; leave that out, or end in .mp4")
        refuse_unwritable(self._path, "a recording")
        self._encoder = Encoder(str(path), frames_per_second=frames_per_second, codec=codec, preset=preset)
        self._is_live = is_live
        self._sound = sound
        self._soundtrack: Soundtrack | None = None
        self._file: MuxedFile | None = None
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._began_at_seconds = self._last_seconds = 0.0
        self._last_ticks = -1
        self._is_broken = False

    def write(self, item: RenderedFrame) -> None:
        """Encode a frame. Raises SinkError if it cannot be written; the file stays playable up to there."""
        frame = item.result.frame
        seconds = frame.captured_at_seconds if self._is_live else frame.pts_seconds
        try:
            if self._stream is None or self._container is None:
                self._began_at_seconds = seconds
                self._container, self._stream = self._open(item)
            ticks = max(self._last_ticks + 1, round((seconds - self._began_at_seconds) * TICKS))
            self._container.mux(self._stream.encode(self._encoder.picture(item, ticks)))
            self._last_ticks, self._last_seconds = ticks, seconds
            if self._soundtrack is not None:
                self._soundtrack.write_until(seconds)
        except (FFmpegError, OSError) as error:
            self._is_broken = True
            raise SinkError(f"{self._path}: cannot be written any further: {reason_of_libav(error)}") from error

    def close(self) -> None:
        """Finish the file. May be called more than once. Raises SinkError if the end cannot be written."""
        container, self._container = self._container, None
        try:
            self._finish(container)
        finally:
            # Whoever keeps the sink, as a run keeps that of a source that was removed, must not keep an encoder with
            # its pictures, 44 MB at 1080p, which lives as long as its stream.
            self._stream = self._soundtrack = None
            if self._file is not None:
                self._file.close()
            if self._sound is not None:
                self._sound.close()

    def _finish(self, container: OutputContainer | None) -> None:
        if container is None or self._stream is None:
            return
        try:
            try:
                container.mux(self._stream.encode(None))
                if self._soundtrack is not None:
                    self._soundtrack.write_until(self._last_seconds + float(1 / self._encoder.rate))
                    self._soundtrack.close()
            finally:
                container.close()
            if self._file is not None and self._file.failure is not None:
                raise self._file.failure  # which libav forgets
        except (FFmpegError, OSError) as error:
            if not self._is_broken:  # else `write` has raised
                raise SinkError(f"{self._path}: its end cannot be written: {reason_of_libav(error)}") from error
        if not self._is_broken:
            refuse_deleted(self._path, "the recording")

    def _open(self, item: RenderedFrame) -> tuple[OutputContainer, VideoStream]:
        self._encoder.take_shape(item)
        file_format = _FORMATS[self._path.suffix.lower()]
        make_parents(self._path)
        self._file = MuxedFile(self._path)
        try:
            container = av.open(self._file, "w", format=file_format, options=self._muxer_options(file_format))
        except BaseException:
            self._file.close()
            raise
        stream = self._add_stream(container)
        if self._sound is not None and not self._is_live:
            try:
                self._soundtrack = Soundtrack(self._sound, container, began_at_seconds=self._began_at_seconds)
            except (FFmpegError, ValueError) as error:
                logger.warning("%s: recorded without its sound: %s", self._path, reason_of_libav(error))
        return container, stream

    def _muxer_options(self, file_format: str) -> dict[str, str]:
        # Where the sound pauses, the pictures of half a second wait for it, not those of ten.
        options = {"flush_packets": "1", "max_interleave_delta": str(1000 * _FLUSH_MILLISECONDS)}
        if file_format in ("matroska", "webm"):
            return options | {"cluster_time_limit": str(_FLUSH_MILLISECONDS)}
        # Hybrid alone writes its header with the first fragment; with these flags, a file plays from the first second.
        flags = "empty_moov+frag_keyframe+default_base_moof"
        if not self._is_live:  # its index of all frames would grow in memory for ever
            flags = "hybrid_fragmented+" + flags
        options |= {"movflags": flags, "frag_duration": str(1000 * _FLUSH_MILLISECONDS)}
        return options | {"video_track_timescale": str(TICKS)}

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        encoder = self._encoder
        stream = container.add_stream(encoder.codec, rate=encoder.rate, options=encoder.options)
        assert isinstance(stream, VideoStream)
        encoder.set_up(stream.codec_context)
        return stream
