"""Packets: a source that demuxes → its coded packets with the media times of its pictures, to whoever listens.

Who shows a stream need not decode and encode it: he takes the packets of the camera as they are. A source to which
nobody listens does nothing for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class CodedPacket(Protocol):
    """The part of `av.Packet` that a listener uses. `bytes(packet)` is its data."""

    @property
    def is_keyframe(self) -> bool: ...

    def __bytes__(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class CodedStream:
    """What a decoder must know of a stream before its first packet.

    obstacle: why the packets do not show what the pictures show, such as a turn by the container; None: they do.
    parameters: all of it, as PyAV's stream of which one in a new file can be made; None: those of no container.
    """

    codec: str  # libav's name, such as h264
    extradata: bytes  # as the container has it: avcC, or Annex B, or nothing
    size_wh: tuple[int, int] | None = None  # of its upright pictures, in pixels
    obstacle: str | None = None
    parameters: object | None = None


class PacketListener(Protocol):
    """Hears the packets of a source in the thread that reads them, so it must be quick and never wait."""

    def begin(self, stream: CodedStream) -> None:
        """A stream begins: the first, or another one after a break. Nothing refers to packets before."""

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        """A packet in decoding order, with the media time of its picture; None where it has none."""


@runtime_checkable
class HasPackets(Protocol):
    """A source whose coded packets can be heard."""

    def listen(self, listener: PacketListener) -> None:
        """Let someone hear all packets from the first one on; to be called before `pictures`, and once."""


class SharedPackets:
    """The packets of a source for several listeners, each of which hears all of them."""

    def __init__(self, source: HasPackets) -> None:
        self._source = source
        self._listeners: list[PacketListener] = []

    def listen(self, listener: PacketListener) -> None:
        self._listeners.append(listener)
        if len(self._listeners) == 1:
            self._source.listen(self)

    def begin(self, stream: CodedStream) -> None:
        for listener in self._listeners:
            listener.begin(stream)

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        for listener in self._listeners:
            listener.take(packet, pts_seconds)


class ShiftedPackets:
    """Passes packets on with later times; what comes before the shift is known is held until then.

    A stream that was opened again counts from its own beginning, and where that lies in the whole is known with its
    first picture, which comes a few packets later.
    """

    def __init__(self, listener: PacketListener, *, shift_seconds: float | None = None) -> None:
        self._listener = listener
        self._shift_seconds = shift_seconds
        self._held: list[tuple[CodedPacket, float | None]] = []

    def begin(self, stream: CodedStream) -> None:
        self._listener.begin(stream)

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        if self._shift_seconds is None:
            self._held.append((packet, pts_seconds))
        else:
            self._listener.take(packet, None if pts_seconds is None else pts_seconds + self._shift_seconds)

    def shift(self, seconds: float) -> None:
        """Say by how much the times are to be later, from the first packet on."""
        self._shift_seconds = seconds
        held, self._held = self._held, []
        for packet, pts_seconds in held:
            self.take(packet, pts_seconds)
