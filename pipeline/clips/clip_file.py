"""Clip file: packets in decoding order → an MP4 or Matroska file with the same pictures, nothing encoded anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.clips.ring import PacketSpan, StampedPacket
from pipeline.errors import SinkError
from pipeline.sinks.encoder import TICKS, reason_of_libav
from pipeline.sinks.soundtrack import SoundSource, Soundtrack
from pipeline.whole_file import make_parents

logger = logging.getLogger(__name__)

OpenSound = Callable[[], SoundSource | None]

SUFFIXES = {
    **dict.fromkeys(("h264", "hevc", "av1", "mpeg4"), ".mp4"),
    **dict.fromkeys(("vp8", "vp9", "mjpeg", "mpeg1video", "mpeg2video", "theora", "ffv1"), ".mkv"),
}
"""The container for each codec: what most players expect."""

_FORMATS = {".mp4": "mp4", ".mkv": "matroska"}


def write_clip(path: Path, span: PacketSpan, *, open_sound: OpenSound = lambda: None) -> None:
    """Write a clip that begins with its first picture at 0 s. A failure or a kill leaves nothing in its place.

    path: its suffix is that of the codec. open_sound: the sound of the file that the packets are from.
    Raises SinkError if it cannot be written.
    """
    beside = path.with_name(f".{path.name[:200]}.part")
    try:
        make_parents(path)
        with av.open(str(beside), "w", format=_FORMATS[path.suffix], options=_options(path.suffix)) as container:
            _write(container, span, open_sound)
        beside.replace(path)
    except (FFmpegError, OSError, ValueError) as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise SinkError(f"{path}: a clip cannot be written: {reason_of_libav(error)}") from error


def _options(suffix: str) -> dict[str, str]:
    return {"movflags": "+faststart"} if suffix == ".mp4" else {}


def _write(container: OutputContainer, span: PacketSpan, open_sound: OpenSound) -> None:
    assert isinstance(span.stream.parameters, VideoStream)
    video = container.add_stream_from_template(span.stream.parameters, opaque=True)
    if span.stream.codec == "hevc" and container.format.name == "mp4":
        video.codec_context.codec_tag = "hvc1"  # without which Apple's players show nothing
    began_at_seconds = span.packets[0].pts_seconds
    sound = open_sound()
    try:
        track = _soundtrack(sound, container, began_at_seconds)
        for packet, seconds in muxable(span.packets, video):
            container.mux(packet)
            if track is not None:
                track.write_until(seconds)
        if track is not None:
            track.write_until(max(packet.pts_seconds for packet in span.packets))
            track.close()
    finally:
        if sound is not None:
            sound.close()


def _soundtrack(sound: SoundSource | None, container: OutputContainer, began_at_seconds: float) -> Soundtrack | None:
    if sound is None:
        return None
    try:
        return Soundtrack(sound, container, began_at_seconds=began_at_seconds)
    except (FFmpegError, ValueError) as error:
        logger.warning("a clip is written without its sound: %s", reason_of_libav(error))
        return None


def muxable(packets: Sequence[StampedPacket], video: VideoStream) -> Iterator[tuple[Packet[VideoStream], float]]:
    """The packets for a file, in decoding order, each with its media time.

    Decoding times are made of the times at which pictures are shown: the same in rising order, as much earlier as no
    picture needs to be decoded after it is shown. Those of a source may be missing, and are of no use beyond it.
    """
    ticks = [round((packet.pts_seconds - packets[0].pts_seconds) * TICKS) for packet in packets]
    ordered = sorted(ticks)
    delay = max((early - shown for early, shown in zip(ordered, ticks, strict=True)), default=0)
    last_dts: int | None = None
    for stamped, shown, early in zip(packets, ticks, ordered, strict=True):
        packet: Packet[VideoStream] = Packet(stamped.data)  # type: ignore[assignment]
        packet.stream, packet.time_base = video, Fraction(1, TICKS)
        packet.dts = early - delay if last_dts is None else max(last_dts + 1, early - delay)
        packet.pts, last_dts = max(shown, packet.dts), packet.dts
        packet.is_keyframe = stamped.is_keyframe
        yield packet, stamped.pts_seconds
