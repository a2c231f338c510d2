"""Measured: the numbers of one run → fields, and back to the JSON of the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from pipeline.json_values import Json, JsonObject

Percentiles = Mapping[Literal["p50", "p95", "p99"], float | None]
"""Milliseconds; None where nothing was timed."""


@dataclass(frozen=True, slots=True)
class FramesMeasured:
    """Numbers of frames; those captured and not yet in another field are on their way."""

    captured: int
    delivered: int
    dropped_stale: int
    dropped_full: int
    filtered: int
    failed: int

    @property
    def dropped(self) -> int:
        """Whatever for."""
        return self.dropped_stale + self.dropped_full


@dataclass(frozen=True, slots=True)
class RatesMeasured:
    """Frames a second; None where there were too few frames for a rate."""

    captured: float | None
    inferred: float | None
    delivered: float | None


@dataclass(frozen=True, slots=True)
class StageMeasured:
    """One node of the flow."""

    kind: str
    role: str
    workers: int
    fps: float | None
    service_ms: Percentiles  # p50, p95
    wait_ms: Percentiles  # p50, p95
    busy: float  # share of the time, 0 to 1
    dropped: int


@dataclass(frozen=True, slots=True)
class SourceMeasured:
    """One source's part of a run."""

    frames: FramesMeasured
    fps: RatesMeasured
    latency_ms: Percentiles
    damage: Sequence[str]  # that could not be read

    @classmethod
    def from_json(cls, value: JsonObject) -> SourceMeasured:
        """Of a source in the report of a run; what it says besides is left out."""
        frames, fps = FramesMeasured(**value["frames"]), RatesMeasured(**value["fps"])
        return cls(frames, fps, value["latency_ms"], value["damage"])


@dataclass(frozen=True, slots=True)
class MemoryMeasured:
    """The memory of the process, in MB: at the start, with sources and network opened, and at most."""

    started: float
    opened: float
    peak: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of the whole pipeline after its warm-up."""

    frames: FramesMeasured
    fps: RatesMeasured
    latency_ms: Percentiles  # from capture to sink
    stages: Mapping[str, StageMeasured]  # by the node's name
    limited_by: str  # a node's name, `waiting` or `nothing`
    advice: str
    every: int = 1  # one of this number of frames was captured
    model: str
    device: str
    agreement: str | None  # of the device's detections with the CPU's in fp32; None: they are those
    versions: Mapping[str, str]
    seconds: float
    sources: Mapping[str, SourceMeasured]
    loops: Mapping[str, int] = field(default_factory=dict)  # how often a source that ended was read again
    precision: str
    network_wh: Sequence[int]
    latency_percentiles_ms: Sequence[float]  # 0 to 100
    cpu_ms_per_frame: float
    cpu_ms_by_role: Mapping[str, float]  # they add up to `cpu_ms_per_frame`
    num_frames: int  # that the network saw, or that a gate carried past it
    measured_seconds: float
    cores_used: float
    other_cores: float  # how many cores other processes kept busy
    stolen_cores: float
    memory_mb: MemoryMeasured

    @property
    def delivered_fps(self) -> float:
        """Frames a second that came out, or were filtered on purpose; 0 where there were too few for a rate."""
        share = self.frames.filtered / self.frames.delivered if self.frames.delivered else 0.0
        return (self.fps.delivered or 0.0) * (1 + share)

    @property
    def limiting_role(self) -> str:
        """The role that limits, without the path of the file that is read or written; `waiting`, `nothing` for none."""
        stage = self.stages.get(self.limited_by)
        return self.limited_by if stage is None else stage.role

    @classmethod
    def from_json(cls, value: JsonObject) -> Measured:
        """Of what `to_json` makes. Raises TypeError or KeyError for another layout."""
        parts = {
            "frames": FramesMeasured(**value["frames"]),
            "fps": RatesMeasured(**value["fps"]),
            "stages": {name: StageMeasured(**stage) for name, stage in value["stages"].items()},
            "sources": {name: SourceMeasured.from_json(source) for name, source in value["sources"].items()},
            "memory_mb": MemoryMeasured(**value["memory_mb"]),
        }
        return cls(**{**value, **parts})

    def to_json(self) -> dict[str, Json]:
        """In JSON types; `every` and `loops` only where they tell something."""
        defaults: dict[str, Json] = {"every": 1, "loops": {}}
        return {name: value for name, value in asdict(self).items() if name not in defaults or value != defaults[name]}


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorMeasured:
    """One run of a part alone: the sources, the network or the encoder."""

    fps: float
    cpu_ms_per_frame: float
    num_frames: int
    measured_seconds: float
    cores_used: float
    other_cores: float
    stolen_cores: float
    loops: Mapping[str, int] = field(default_factory=dict)
    device: str | None = None  # of a network
    precision: str | None = None
