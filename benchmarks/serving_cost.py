"""Serving cost: packets and boxes of a camera in; processor time of what viewers of them cost, alone, out.

    python -m benchmarks.serving_cost VIDEO [--viewers 0 1 20] [--seconds 20]

VIDEO is H.264 without B-frames, such as a camera's recording; its packets and ten boxes for each frame are given to a
view at 25 frames/s, without decoding and detecting anything. The viewers are a process of their own, which reads and
decodes nothing. What this process spends is nearly all the view's and the server's, so it can be measured on a busy
machine too, where `benchmarks.serving`, which compares whole runs, cannot.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from benchmarks.machine import describe_machine
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.serve.server import LiveServer
from pipeline.serve.trust import Policy
from pipeline.serve.view import LiveView, ViewOptions
from pipeline.sources.packets import CodedPacket, CodedStream, PacketListener
from tests.support.live_surface import FakeSurface

if TYPE_CHECKING:
    from pipeline.serve.surface import Surface

_FPS = 25.0
_WARM_UP_FRAMES = 75
_DETECTION_SECONDS = 0.012  # from a packet to its boxes


class Camera:
    """The packets of a file, again and again, to whoever listens."""

    def __init__(self, video: Path) -> None:
        self.listener: PacketListener | None = None
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            self.stream = CodedStream(context.name, bytes(context.extradata or b""), (context.width, context.height))
            self._packets: list[CodedPacket] = [packet for packet in container.demux(stream) if packet.dts is not None]

    def listen(self, listener: PacketListener) -> None:
        self.listener = listener

    def packet(self, number: int) -> CodedPacket:
        """Of a frame; the first is a key frame."""
        return self._packets[number % len(self._packets)]


def cost_ms(video: Path, num_viewers: int, seconds: float) -> float:
    """Processor time of this process, in milliseconds a frame."""
    camera = Camera(video)
    view = LiveView(ViewOptions("clip", ("car",)), packets=camera)
    surface: Surface = FakeSurface({"clip": view})
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with LiveServer(listening, surface, Policy(port=port)):
        words = ["-m", "benchmarks.serving", "--watch", str(port), "/ws/view/clip", str(num_viewers)]
        viewers = subprocess.Popen([sys.executable, *words]) if num_viewers else None
        try:
            return _spent_ms(camera, view, round(_FPS * seconds))
        finally:
            if viewers is not None:
                viewers.terminate()
                viewers.wait()


def _spent_ms(camera: Camera, view: LiveView, num_frames: int) -> float:
    assert camera.listener is not None
    camera.listener.begin(camera.stream)
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 900, (10, 4)).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    detections = Detections(boxes, rng.uniform(0, 1, 10).astype(np.float32), np.zeros(10, np.int64))
    pixels, began, spent = np.zeros((8, 8, 3), np.uint8), time.monotonic(), 0.0
    for number in range(_WARM_UP_FRAMES + num_frames):
        if number == _WARM_UP_FRAMES:
            spent = time.process_time()
        time.sleep(max(0.0, began + number / _FPS - time.monotonic()))
        camera.listener.take(camera.packet(number), number / _FPS)
        time.sleep(_DETECTION_SECONDS)
        frame = Frame.from_pixels(pixels, index=number, pts_seconds=number / _FPS)
        view.write(Result(frame, detections, ("car",)))
    return 1000 * (time.process_time() - spent) / num_frames


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each number of viewers, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--viewers", type=int, nargs="+", default=[0, 1, 20])
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args(arguments)
    print(describe_machine())
    print(f"{'viewers':>8}{'core-ms a frame':>17}{'core-ms/s more':>16}{'a frame, viewer':>17}")
    unwatched: float | None = None
    for num in options.viewers:
        cost = cost_ms(options.video, num, options.seconds)
        unwatched = cost if unwatched is None else unwatched
        more = cost - unwatched
        print(f"{num:8}{cost:17.3f}{_FPS * more:16.1f}{more / max(1, num):17.3f}", flush=True)


if __name__ == "__main__":
    main()
