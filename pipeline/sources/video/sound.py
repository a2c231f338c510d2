"""Sound: a video file → the packets of its best audio stream, with their media times."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import av.error
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Discard

from pipeline.sources.video.input import open_input
from pipeline.sources.video.media_clock import MediaClock

logger = logging.getLogger(__name__)

_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT: a format whose clock may jump, such as MPEG-TS
_MOST_BROKEN_READS = 100  # in a row
_SEEK_FROM_SECONDS = 2.0  # a beginning that is nearer is read


class Sound:
    """The audio stream of a file, which is read apart from its video, in step with whoever takes the packets.

    To be used from one thread.
    """

    def __init__(self, path: Path, stream: AudioStream) -> None:
        self._path = path
        self.stream = stream

    @classmethod
    def of(cls, path: Path) -> Sound | None:
        """The sound of a file; None where it has none that can be decoded, or cannot be read."""
        try:
            container = open_input(f"file:{path}", options={"fflags": "-genpts"}, timeouts=None, decoder=None)
        except (av.error.FFmpegError, OSError):
            return None  # whoever reads its video says why
        streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
        if not streams:
            container.close()
            return None
        best = container.streams.best("audio")
        chosen = best if isinstance(best, AudioStream) and best in streams else streams[0]
        for stream in container.streams:
            if stream is not chosen:
                stream.discard = Discard.all  # so that the bytes of its packets are not even read
        return cls(path, chosen)

    def packets(self, from_seconds: float) -> Iterator[tuple[float, Packet[AudioStream]]]:
        """Every packet that begins at a media time or later, with that time in seconds; ends where reading does."""
        container, time_base = self.stream.container, self.stream.time_base
        assert isinstance(container, av.container.InputContainer)
        if not time_base:
            return
        clock = None
        if container.format.flags & _TS_DISCONT:
            clock = MediaClock(time_base=time_base, frame_seconds=0.02)
        elif from_seconds > _SEEK_FROM_SECONDS:
            try:
                container.seek(int((from_seconds - _SEEK_FROM_SECONDS / 2) * av.time_base))
            except av.error.FFmpegError:
                logger.debug("%s: cannot be sought, and is read from its beginning", self._path)
        for packet in self._readable():
            if clock is not None:
                clock.carry_on(packet)
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None and stamp * time_base >= from_seconds:
                yield float(stamp * time_base), packet

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self.stream.container.close()

    def _readable(self) -> Iterator[Packet[AudioStream]]:
        num_errors_in_a_row = 0
        container = self.stream.container
        assert isinstance(container, av.container.InputContainer)
        while num_errors_in_a_row < _MOST_BROKEN_READS:
            try:
                for packet in container.demux(self.stream):
                    num_errors_in_a_row = 0
                    if packet.size:
                        yield packet
                return
            except av.error.FFmpegError:  # whoever reads its video says why
                num_errors_in_a_row += 1
