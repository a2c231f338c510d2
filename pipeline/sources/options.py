"""Options of sources: the sections `network`, `decode` and `camera` of a configuration, and what each source takes.

Each default is here and nowhere else. The names are the keys of the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import ConfigError


def _refuse_unless_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be greater than 0, got {value:g}")


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Patience with network cameras, streams and pipes; a file is waited for. Raises ValueError."""

    open_timeout_s: float = 10.0
    read_timeout_s: float = 10.0  # also the longest that a stream that has fallen silent takes to stop
    reconnect_s: float = 30.0  # how long to try to reach a live stream again; 0 fails at once
    rtsp_transport: Literal["tcp", "udp"] = "tcp"

    def __post_init__(self) -> None:
        _refuse_unless_positive(open_timeout_s=self.open_timeout_s, read_timeout_s=self.read_timeout_s)
        if self.reconnect_s < 0:
            raise ValueError(f"reconnect_s must be greater than or equal to 0, got {self.reconnect_s:g}")


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Where videos and streams are decoded. Raises ValueError."""

    device: Literal["cpu", "cuda"] = "cpu"  # cuda: by the GPU's decoder, or an error; the frames stay there
    threads: int | None = None  # None: one for each core, up to 4

    def __post_init__(self) -> None:
        _refuse_unless_positive(threads=self.threads)


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """The size, rate and pixel format that a webcam is set to; None leaves it to the driver. Raises ValueError."""

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    pixel_format: Literal["auto", "YUYV", "MJPG"] = "auto"

    def __post_init__(self) -> None:
        _refuse_unless_positive(width=self.width, height=self.height, fps=self.fps)

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """Width and height in pixels. Raises ConfigError for one without the other.

        Not refused at birth: of a configuration, a file may give one and the command line the other.
        """
        if (self.width is None) != (self.height is None):
            raise ConfigError("camera.width and camera.height must be given together")
        return None if self.width is None or self.height is None else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a video that is read, in seconds from its first picture on: from `start_s` on, before `end_s`."""

    start_s: float = 0.0
    end_s: float | None = None  # None: to the end

    @property
    def is_all(self) -> bool:
        """Whether it is the whole video."""
        return self.start_s == 0 and self.end_s is None


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options of every kind of source, each of which takes its own. Raises ConfigError for half a camera size."""

    network: NetworkOptions = NetworkOptions()
    decode: DecodeOptions = DecodeOptions()
    camera: CameraOptions = CameraOptions()
    span: Span = Span()

    def __post_init__(self) -> None:
        _ = self.camera.size_wh
