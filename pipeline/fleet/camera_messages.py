"""Camera messages: what the supervisor of a fleet tells a worker, and what that reports; one answers the other.

Times in them are durations, or of the worker's own clock: those of two machines are never compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.json_values import JsonObject


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera that is to run somewhere. entry: its settings, as in the file of the fleet."""

    name: str
    model: str  # of its own, or that of all
    entry: JsonObject


@dataclass(frozen=True, slots=True)
class Granted:
    """A camera that a worker may run. generation: of its results."""

    camera: Camera
    generation: int


@dataclass(frozen=True, slots=True)
class Orders:
    """All cameras that a worker may run; what is not among them it stops.

    lease_seconds: how long after its last report it may run them; where it has not reported yet, not at all.
    num_kept: how many of its lines are on the disk, and need not be sent again.
    """

    granted: tuple[Granted, ...]
    lease_seconds: float
    num_kept: int


@dataclass(frozen=True, slots=True)
class ResultLine:
    """The result of a frame. content: a line of JSON, without its end."""

    camera: str
    generation: int
    content: bytes


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """What a camera does on a worker. state: as `pipeline.sources.states` has it."""

    generation: int
    state: str
    reason: str
    num_captured: int
    num_delivered: int
    num_dropped: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker answers to orders.

    host: of this start of the worker, unlike any other. held: the cameras that it runs or will, and those that it has
    not stopped yet, by generation. first_line: the number of the first of `lines`, counted from 0 at its start.
    at_seconds, cpu_seconds: its clock, and the processor time of its process.
    """

    host: str
    node: str  # the machine
    held: Mapping[str, int]
    statuses: Mapping[str, CameraStatus]
    first_line: int
    lines: tuple[ResultLine, ...]
    at_seconds: float
    cpu_seconds: float
    num_refused: int = 0  # results that came after the end of their lease
    models: Mapping[str, str] = field(default_factory=dict)  # that it runs, and what runs each
