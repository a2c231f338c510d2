"""Header: an open container → what it declares of its video, which libav forgets when the container is closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.sources.video.media_clock import MediaClock

SEGMENTED = frozenset({"hls", "dash"})
NUM_HELD = {"rtsp": 1, "sdp": 1, "mpegts": 2}
"""By libav's names of the formats; measured. FLV, Matroska and MP4 say how long a picture is, and none is held."""

_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT: a format whose clock may jump, such as MPEG-TS
_ASSUMED_FPS = 25.0
_LARGEST_FPS = 1000.0


@dataclass(frozen=True, slots=True)
class Header:
    """The declarations of one video stream; each may be wrong."""

    format_name: str  # libav's name of the container format
    is_live: bool
    frames_per_second: float | None
    num_frames: int | None
    time_base: Fraction  # seconds a tick
    end_seconds: float | None  # media time
    may_jump: bool  # whether timestamps may begin anew in the middle

    @classmethod
    def of(cls, container: InputContainer, stream: VideoStream, *, is_live: bool) -> Header:
        rate = stream.average_rate or (None if is_live else stream.guessed_rate)
        time_base = stream.time_base or Fraction(1, 1_000_000)
        return cls(
            format_name=container.format.name,
            is_live=is_live,
            frames_per_second=float(rate) if rate and 0 < rate < _LARGEST_FPS else None,
            num_frames=stream.frames or None,
            time_base=time_base,
            end_seconds=_end_seconds(container, stream, time_base),
            may_jump=is_live or bool(container.format.flags & _TS_DISCONT),
        )

    @property
    def step_seconds(self) -> float:
        """Seconds from frame to frame, at 25 frames/s where no rate is declared."""
        return 1 / (self.frames_per_second or _ASSUMED_FPS)

    @property
    def is_playlist(self) -> bool:
        """Whether it is a live stream that comes a segment at a time, in bursts."""
        return self.is_live and self.format_name in SEGMENTED

    @property
    def num_held(self) -> int:
        """Pictures that libav holds back, because it sees the end of one by the beginning of the next."""
        return NUM_HELD.get(self.format_name, 0)

    @property
    def has_times(self) -> bool:
        """Whether timestamps are the camera's. libav counts 25 JPEGs a second, however many a live camera sends."""
        return not (self.is_live and self.format_name in ("mpjpeg", "mjpeg"))

    def media_clock(self, arrival: Callable[[], float]) -> MediaClock | None:
        """A clock that mends jumps, where there may be some. arrival: monotonic seconds, for live streams."""
        if not self.may_jump:
            return None
        return MediaClock(
            time_base=self.time_base, frame_seconds=self.step_seconds, arrival=arrival if self.is_live else None
        )


def _end_seconds(container: InputContainer, stream: VideoStream, time_base: Fraction) -> float | None:
    if stream.duration is not None:
        return float((stream.duration + (stream.start_time or 0)) * time_base)
    if container.duration is not None and len(container.streams) == 1:
        return (container.duration + (container.start_time or 0)) / av.time_base
    return None
