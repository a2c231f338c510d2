"""A trial of the installation: a tiny video read, one recorded, the demo network run, by the very code that `run` uses.

Each part returns what it did, in words, and raises whatever a run would raise.
"""

from __future__ import annotations

import base64
import tempfile
import threading
from pathlib import Path

import numpy as np

from pipeline.errors import DeviceError, SinkError, SourceError
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame, PixelArray

_NUM_FRAMES = 3
_COLOUR_BGR = (0x90, 0x60, 0x30)
_STREET = "sim:traffic?seed=1&seconds=0.2&fps=30&size=640x360"
# ffmpeg -f lavfi -i color=c=0x306090:s=64x48:r=10:d=0.3 -c:v libx264 -pix_fmt yuv420p, without x264's own words
_VIDEO = base64.b64decode(
    "GkXfo6NChoEBQveBAULygQRC84EIQoKIbWF0cm9za2FCh4EEQoWBAhhTgGcBAAAAAAACLRFNm3TAv4Tgjk3dTbuLU6uEFUmpZlOsgaFNu4tTq4QW"
    "VK5rU6yBzE27jFOrhBJUw2dTrIIBU027jFOrhBxTu2tTrIICEewBAAAAAAAAUwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAFUmpZqa/hJvFfS4q17GDD0JATYCETGF2ZldBhExhdmZEiYhAcsAA"
    "AAAAABZUrmtAgb+E8BRN2K4BAAAAAAAActeBAXPFiAAAAAAAAAABnIEAIrWcg3VuZIiBAIaPVl9NUEVHNC9JU08vQVZDg4EBI+ODhAX14QDgibCB"
    "QLqBMJqBAmOirQFkAAr/4QAYZ2QACqzZRHsBEAAAAwAQAAADAUDxIllgAQAGaOvjyyLA/fj4ABJUw2fYv4QFB6Q1c3PPY8CLY8WIAAAAAAAAAAFn"
    "yJlFo4dFTkNPREVSRIeMTGF2YyBsaWJ4MjY0Z8iiRaOIRFVSQVRJT05Eh5QwMDowMDowMC4zMDAwMDAwMDAAAB9DtnXcv4Tk2boE54EAo6uBAACA"
    "AAAAI2WIhAA///7mdfgUzv7KSAYYNLjrFXKecBbOdNDh9VKAxncxo5KBAMgAAAAACkGaImxDf/6n7kCjkIEAZAAAAAAIAZ5BeQ3/DekcU7trl7+E"
    "aeXiJbuPs4EAt4r3gQHxggGw8IEJ"
)


def read_video() -> str:
    """Read an H.264 video that was made elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.mkv"
        path.write_bytes(_VIDEO)
        _check(_frames_of(path))
    return f"reads a video: {_NUM_FRAMES} frames of H.264"


def record_video() -> str:
    """Record what a detector would have found in as many frames, and read it back."""
    from pipeline.sinks.recording import Recording

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.mp4"
        recording = Recording(path, frames_per_second=10)
        for index in range(_NUM_FRAMES):
            pixels = np.full((48, 64, 3), _COLOUR_BGR, np.uint8)
            frame = Frame.from_pixels(pixels, index=index, pts_seconds=index / 10)
            recording.write(RenderedFrame(Result(frame, Detections.empty(), ()), pixels))
        recording.close()
        try:
            _check(_frames_of(path))
        except SourceError as error:
            raise SinkError(f"what was recorded is not what is read back: {error}") from error
    return f"records a video: {_NUM_FRAMES} frames with libx264"


def run_demo_network() -> str:
    """Detect in a fifth of a second of drawn street, on the device that `auto` means."""
    from pipeline.app.run.python_api import detect

    plainly = {"batch": 1, "inflight": 1, "cuda_graph": False, "channels_last": False}  # found by no trial on a GPU
    results = list(detect(_STREET, settings={f"engine.{name}": value for name, value in plainly.items()}))
    num_objects = sum(len(result.detections) for result in results)
    if not num_objects:
        raise DeviceError(f"the demo network finds nothing in {len(results)} frames of a street full of cars")
    return f"runs the demo network: {num_objects} objects in {len(results)} frames"


def _frames_of(path: Path) -> list[PixelArray]:
    from pipeline.sources.video.source import VideoSource

    source = VideoSource(path)
    try:
        return [timed.picture.pixels for timed in source.pictures(threading.Event())]
    finally:
        source.close()


def _check(frames: list[PixelArray]) -> None:
    if len(frames) != _NUM_FRAMES:
        raise SourceError(f"a video of {_NUM_FRAMES} frames gives {len(frames)}")
    furthest = max(int(np.abs(frame.astype(int) - _COLOUR_BGR).max()) for frame in frames)
    if furthest > 8:  # 4:2:0 and the encoder take some levels
        raise SourceError(f"a video of one colour is read with another, {furthest} levels off")
