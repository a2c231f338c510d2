"""Network camera: a video file in; its packets, unchanged and at the pace of a camera, out over TCP, over and over.

    python -m benchmarks.network_camera VIDEO PORT [--rate 30]

Listens for one viewer (`tcp://127.0.0.1:PORT`, MPEG-TS) and ends with it. Nothing is decoded or encoded here.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction

import av


def send(video: str, port: int, rate: float) -> None:
    """Send until the viewer leaves. Packets are sent in their order, one each 1 / rate seconds."""
    with av.open(f"tcp://127.0.0.1:{port}?listen=1", "w", format="mpegts", options={"flush_packets": "1"}) as out:
        sent, began = 0, time.monotonic()
        stream = None
        while True:
            with av.open(video) as container:
                source = container.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(source)
                time_base = Fraction(1, 90_000)
                packets = [packet for packet in container.demux(source) if packet.size and packet.pts is not None]
                pace = 90_000 / rate
                order = {pts: index for index, pts in enumerate(sorted(packet.pts or 0 for packet in packets))}
                first = sent
                for packet in packets:
                    assert packet.pts is not None
                    index = first + order[packet.pts]
                    packet.stream = stream
                    packet.time_base = time_base
                    packet.pts, packet.dts = round((index + 4) * pace), round(sent * pace)
                    time.sleep(max(0.0, began + sent / rate - time.monotonic()))
                    out.mux(packet)
                    sent += 1


@contextlib.contextmanager
def network_camera(video: str, *, rate: float) -> Iterator[str]:
    """The address of a camera that runs meanwhile, for one viewer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.network_camera", video, str(port), "--rate", str(rate)]
    camera = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.0)  # until it listens
        yield f"tcp://127.0.0.1:{port}"
    finally:
        camera.terminate()
        camera.wait()


def main() -> None:
    """Send a video until the viewer leaves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, default=30.0)
    options = parser.parse_args()
    send(options.video, options.port, options.rate)


if __name__ == "__main__":
    main()
