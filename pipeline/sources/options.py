"""Options of sources: the sections `network`, `decode` and `camera` of a configuration, and what each source takes.

Each default is here and nowhere else. The names are the keys of the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pipeline.errors import ConfigError
from pipeline.meaning import Meaning
from pipeline.sources.idle import Idle


def _refuse_unless_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be greater than 0, got {value:g}")


Isolation = Literal["auto", "all", "none"]
"""Which sources are read by a process of their own: cameras of this machine, every video and stream, or none."""


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Patience with network cameras, streams and pipes; a file is waited for. Raises ValueError."""

    open_timeout_s: Annotated[float, Meaning("Seconds that a camera or stream may take to be opened.")] = 10.0
    read_timeout_s: Annotated[
        float, Meaning("Seconds of silence after which a stream counts as broken; so long it may take to stop.")
    ] = 10.0
    reconnect_s: Annotated[
        float, Meaning("Seconds for which a broken live stream is tried again before the run fails; 0 fails at once.")
    ] = 30.0
    rtsp_transport: Annotated[
        Literal["tcp", "udp"], Meaning("How RTSP travels: udp has less delay and loses packets.")
    ] = "tcp"

    @property
    def no_answer(self) -> str:
        """The reason for which an address that says nothing cannot be opened, in words."""
        waited = f"{self.open_timeout_s:g} s"
        return f"no answer within {waited}; is it on and reachable? (network.open_timeout_s sets the wait)"

    def __post_init__(self) -> None:
        _refuse_unless_positive(open_timeout_s=self.open_timeout_s, read_timeout_s=self.read_timeout_s)
        if self.reconnect_s < 0:
            raise ValueError(f"reconnect_s must be greater than or equal to 0, got {self.reconnect_s:g}")


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Where videos and streams are decoded. Raises ValueError."""

    device: Annotated[
        Literal["cpu", "cuda"], Meaning("What decodes; cuda is the GPU's decoder, or an error, and frames stay there.")
    ] = "cpu"
    threads: Annotated[int | None, Meaning("Threads of a decoder; by default one for each core, up to 4.")] = None

    def __post_init__(self) -> None:
        _refuse_unless_positive(threads=self.threads)


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """The size, rate and pixel format that a webcam is set to; what is left out is the driver's. Raises ValueError."""

    width: Annotated[int | None, Meaning("Width in pixels; the camera's nearest size is taken.")] = None
    height: Annotated[int | None, Meaning("Height in pixels; goes with the width.")] = None
    fps: Annotated[float | None, Meaning("Frames a second.")] = None
    pixel_format: Annotated[
        Literal["auto", "YUYV", "MJPG"],
        Meaning("The camera's pixel format; auto measures once which delivers more frames, and remembers it."),
    ] = "auto"

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
    """The options of every kind of source, each of which takes its own. Raises ConfigError for half a camera size.

    max_age_seconds: from which a live stream leaves pictures out undecoded; None for one of which all are wanted.
    key_frames_alone: whether a video decodes only those, for whoever hears its packets.
    idle: says when a video need decode only those; None: never.
    """

    network: NetworkOptions = NetworkOptions()
    decode: DecodeOptions = DecodeOptions()
    camera: CameraOptions = CameraOptions()
    span: Span = Span()
    max_age_seconds: float | None = None
    isolate: Isolation = "auto"
    key_frames_alone: bool = False
    idle: Idle | None = None

    def __post_init__(self) -> None:
        _ = self.camera.size_wh
