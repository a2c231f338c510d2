"""Liveness: an address, its header and its first packets → whether it is a live stream, or a file with an end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from av.container import InputContainer

LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp"})
"""An address of another scheme may be live only if its container has neither a duration nor a length."""

PLAYLISTS = frozenset({"hls", "dash", "sdp"})
"""Formats that refer to the video elsewhere: their own length says nothing."""

GLANCE_SECONDS, RUSH_SECONDS = 0.5, 20.0
"""An address that gives its end, or RUSH_SECONDS of video, within GLANCE_SECONDS is a file."""

P = TypeVar("P")


def num_bytes(container: InputContainer) -> int | None:
    """The length of the container, where the server declares it."""
    size: int | None = container.size  # before PyAV 19, libav's error number if it has none
    return size if size is not None and size > 0 else None


def declared_liveness(container: InputContainer, *, scheme: str, is_multipart: bool) -> bool | None:
    """Whether this is a live stream, by its address and header; None where neither tells.

    scheme: of the address, in lower case; empty for files and pipes.
    """
    if not scheme:
        return False
    if is_multipart or scheme in LIVE_SCHEMES:
        return True
    if container.format.name in PLAYLISTS:
        return container.duration is None
    has_end = container.duration is not None or num_bytes(container) is not None
    return False if has_end else None


def glance(
    packets: Iterator[P | None], *, frames_per_second: float, clock: Callable[[], float]
) -> tuple[list[P | None], bool]:
    """The packets that come within GLANCE_SECONDS, and whether they are those of a file; None is its end."""
    began_at_seconds, most = clock(), round(RUSH_SECONDS * frames_per_second)
    seen: list[P | None] = []
    for packet in packets:
        seen.append(packet)
        if packet is None or len(seen) > most:
            return seen, True
        if clock() - began_at_seconds > GLANCE_SECONDS:
            break
    return seen, False
