"""Wall clock: a packet of RTP → the camera's own time of day at its picture, which RTCP sender reports tell."""

from __future__ import annotations

import struct

from av.packet import Packet
from av.video.stream import VideoStream

_PRODUCER_REFERENCE_TIME = struct.Struct("=qi")  # AVProducerReferenceTime: microseconds of Unix time, flags


def wall_clock_seconds(packet: Packet[VideoStream]) -> float | None:
    """Seconds of Unix time by the camera's clock, which may be wrong; None before the first report, or without any."""
    if not packet.has_sidedata("prft"):
        return None
    content = bytes(packet.get_sidedata("prft"))
    if len(content) < _PRODUCER_REFERENCE_TIME.size:
        return None
    microseconds, _ = _PRODUCER_REFERENCE_TIME.unpack_from(content)
    return float(microseconds) / 1e6
