"""Frame decoder: the packets of a video → its frames; what cannot be decoded is counted as damage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import av.error
from av.codec.context import ThreadType
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import SourceError
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.damage import Damage
from pipeline.sources.video.opening import USE_CPU, OpenVideo

SKIPPABLE_CODECS = frozenset({"av1", "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp9"})
"""A packet of theirs is a picture, which those of VP8 need not be, and after a key frame they begin anew."""

Packets: TypeAlias = "Iterable[Packet[VideoStream] | None]"
"""Packets in decoding order, and None where the decoder must be drained and flushed."""


class FrameDecoder:
    """The decoder of an open video, for one thread.

    has_gap: whether the next packet refers to nothing before it, so that what is in the decoder is forgotten.
    Raises SourceError for a codec that the GPU does not decode, where it is to.
    """

    def __init__(
        self,
        video: OpenVideo,
        *,
        source_id: str,
        options: DecodeOptions,
        is_live: bool,
        damage: Damage,
        has_gap: Callable[[], bool],
    ) -> None:
        self._video, self._damage, self._has_gap = video, damage, has_gap
        self._context = video.stream.codec_context
        if options.device == "cuda":
            if not self._context.is_hwaccel:
                raise SourceError(f"{source_id}: the GPU does not decode {self._context.name}; {USE_CPU}")
            self._context.thread_count = 1
        else:
            # Frame threads are quick but hold a frame each; live, the newest frame matters more.
            self._context.thread_type = ThreadType.SLICE if is_live else ThreadType.AUTO
            self._context.thread_count = options.threads or min(4, os.cpu_count() or 1)
        self.codec_name: str = self._context.codec.canonical_name
        """libav's name of the codec, such as h264."""
        self.is_intra: bool = self._context.codec.intra_only
        """Whether no packet refers to another."""

    @property
    def has_pictures_as_packets(self) -> bool:
        """Whether a packet of the codec is a picture, and decoding can begin at a later key frame."""
        return self.is_intra or self.codec_name in SKIPPABLE_CODECS

    @property
    def extradata(self) -> bytes:
        """The codec's parameters, as the container has them; empty where the packets do."""
        return bytes(self._context.extradata or b"")

    def frames(self, packets: Packets) -> Iterator[VideoFrame]:
        """The frames of packets, in the order in which they are shown."""
        for packet in packets:
            frames: list[VideoFrame] = []
            if self._has_gap():
                self.flush()
            try:
                frames = self._context.decode(packet)
            except EOFError:
                return
            except av.error.FFmpegError as error:
                self._damage.num_undecodable += 1
                self._damage.reason = self._video.reason(error)
            yield from frames
            if packet is None:
                self.flush()  # it has ended, and can begin anew

    def frames_of_key(self, key: Packet[VideoStream]) -> list[VideoFrame]:
        """The frames of a key frame alone; none where it needs others. What the decoder held is forgotten."""
        self.flush()
        try:
            return [*self._context.decode(key), *self._context.decode(None)]
        except av.error.FFmpegError:
            return []
        finally:
            self.flush()

    def flush(self) -> None:
        """Forget what it holds; parks its threads, too."""
        self._context.flush_buffers()
