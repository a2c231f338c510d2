"""Soundtrack: the sound of a file → the audio stream of its recording, cut to what is recorded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet

logger = logging.getLogger(__name__)

# Codecs that players expect in each container, and that it takes packet by packet; others become AAC. AC-3 would have
# to be seen before the header of a fragmented MP4 is written.
_COPIED = {
    "mp4": frozenset({"aac", "mp3", "alac"}),
    "mov": frozenset({"aac", "mp3", "alac"}),
    "matroska": frozenset({"aac", "mp3", "alac", "ac3", "eac3", "flac", "opus", "vorbis", "pcm_s16le"}),
    "webm": frozenset({"opus", "vorbis"}),
}
_NEED_EXTRADATA = frozenset({"aac", "alac", "flac", "opus", "vorbis"})  # AAC of a transport stream has none
_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # of AAC
_OPUS_RATE = 48000


class SoundSource(Protocol):
    """The audio stream of a file, and its packets from a media time on, in seconds."""

    @property
    def stream(self) -> AudioStream: ...

    def packets(self, from_seconds: float) -> Iterator[tuple[float, Packet[AudioStream]]]: ...

    def close(self) -> None: ...


class Soundtrack:
    """Adds an audio stream to a container that has written nothing yet, and writes it along with the video.

    Packets are copied where the container and players take their codec; else they are encoded anew. One packet is held
    at a time. began_at_seconds: the media time at which the recording begins.
    """

    def __init__(self, sound: SoundSource, container: OutputContainer, *, began_at_seconds: float) -> None:
        self._container = container
        self._origin = Fraction(began_at_seconds).limit_denominator(1_000_000_000)
        self._last_dts = -1
        name = sound.stream.codec_context.codec.canonical_name
        may_copy = name not in _NEED_EXTRADATA or bool(sound.stream.codec_context.extradata)
        self._is_copied = name in _COPIED[container.format.name] and may_copy
        self._decoder = sound.stream.codec_context
        self._stream = self._added(sound.stream)
        self._packets = sound.packets(began_at_seconds)
        self._waiting = next(self._packets, None)

    def write_until(self, seconds: float) -> None:
        """Write what begins before a media time. Raises FFmpegError or OSError where it cannot be written."""
        while self._waiting is not None and self._waiting[0] < seconds:
            packet = self._waiting[1]
            if self._is_copied:
                self._copy(packet)
            else:
                self._encode(packet)
            self._waiting = next(self._packets, None)

    def close(self) -> None:
        """Write what the encoder still holds, before the container is closed. Raises as `write_until`."""
        if not self._is_copied and self._last_dts >= 0:
            self._mux(self._stream.encode(None))

    def _added(self, source: AudioStream) -> AudioStream:
        if self._is_copied:
            return self._container.add_stream_from_template(source)
        decoder = source.codec_context
        if self._container.format.name == "webm":
            codec, rate = "libopus", _OPUS_RATE
        else:
            codec, rate = "aac", decoder.rate if decoder.rate in _RATES else 48000
        stream = self._container.add_stream(codec, rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono" if decoder.channels == 1 else "stereo"
        return stream

    def _copy(self, packet: Packet[AudioStream]) -> None:
        time_base = packet.time_base
        shift = round(self._origin / time_base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        packet.stream = self._stream
        self._mux([packet])

    def _encode(self, packet: Packet[AudioStream]) -> None:
        frames: list[AudioFrame] = []
        try:
            frames = self._decoder.decode(packet)
        except FFmpegError as error:
            logger.debug("a piece of sound cannot be decoded: %s", error.strerror)
        for frame in frames:
            if frame.pts is None or not frame.time_base:
                continue
            frame.pts -= round(self._origin / frame.time_base)
            if frame.pts >= 0:
                self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[Packet[AudioStream]]) -> None:
        """Write packets with rising times, without what precedes the first picture, such as an encoder's silence."""
        for packet in packets:
            if packet.dts is not None and packet.dts > self._last_dts and packet.dts >= 0:
                self._last_dts = packet.dts
                try:
                    self._container.mux(packet)
                except InvalidDataError as error:  # a damaged piece of the file, and not of the disk
                    logger.debug("a piece of sound cannot be kept: %s", error.strerror)
