"""Sending, a program of its own: packets of H.264 on standard input → a server or receiver, by libav.

A process of its own, because libav may wait for ever for a server, and PyAV, which opens an output without a timeout,
holds the interpreter meanwhile. It can be killed, and kills itself where nobody else would.

In: a line of JSON, an `Order`, then packets: ticks, whether
it is a key frame, the number of bytes, the bytes. Out: a line `sent` for each packet, at last `failed REASON`.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, NamedTuple, TypedDict

TICKS = 90_000  # a second
HEAD = struct.Struct(">QBI")  # of a packet: ticks, key frame, bytes


class Order(TypedDict):
    """What to send, where to."""

    address: str
    muxer: str
    options: dict[str, str]
    width: int
    height: int
    rate: str  # a fraction
    patience_seconds: float


class EncodedFrame(NamedTuple):
    """One packet of H.264 in Annex B, with its time."""

    ticks: int
    is_keyframe: bool
    content: bytes

    def as_bytes(self) -> bytes:
        """As the program reads it."""
        return HEAD.pack(self.ticks, self.is_keyframe, len(self.content)) + self.content


def read_packets(stream: BinaryIO) -> Iterator[EncodedFrame]:
    """Every complete packet of a stream."""
    while len(head := stream.read(HEAD.size)) == HEAD.size:
        ticks, is_keyframe, num_bytes = HEAD.unpack(head)
        content = stream.read(num_bytes)
        if len(content) < num_bytes:
            return
        yield EncodedFrame(ticks, bool(is_keyframe), content)


def send(order: Order, packets: Iterator[EncodedFrame], out: BinaryIO) -> None:
    """Send every packet; times begin with 0. Raises what libav raises."""
    import av

    patience_seconds = order["patience_seconds"]
    container = av.open(order["address"], "w", format=order["muxer"], options=order["options"])
    rate = Fraction(order["rate"])
    stream = container.add_mux_stream("h264", rate=rate, width=order["width"], height=order["height"])
    stream.time_base = Fraction(1, TICKS)
    first_ticks: int | None = None
    for frame in packets:
        first_ticks = frame.ticks if first_ticks is None else first_ticks
        packet = av.Packet(frame.content)
        packet.stream, packet.is_keyframe = stream, frame.is_keyframe
        packet.pts = packet.dts = frame.ticks - first_ticks
        packet.time_base = stream.time_base
        _die_after(patience_seconds)
        container.mux(packet)  # the first one connects
        _die_after(0)
        out.write(b"sent\n")
        out.flush()
    _die_after(patience_seconds)
    container.close()


def _die_after(seconds: float) -> None:
    """Let the system end this process, whatever libav waits for; 0: let it live."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def main() -> int:
    """Read the order and the packets, send them, and say how it went."""
    source, out = sys.stdin.buffer, sys.stdout.buffer
    order = json.loads(source.readline() or b"{}")
    if not order:
        return 0
    try:
        send(order, read_packets(source), out)
    except Exception as error:  # whatever it is, it is a line for whoever started this
        reason = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
        out.write(f"failed {reason}\n".encode())
        out.flush()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
