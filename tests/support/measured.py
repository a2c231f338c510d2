"""Measured runs and floors that nobody ran: the numbers that a test is about → all fields, the rest plain."""

from __future__ import annotations

from typing import Any

from pipeline.measure.measured import (
    FloorMeasured,
    FramesMeasured,
    Measured,
    MemoryMeasured,
    Percentiles,
    RatesMeasured,
    StageMeasured,
)


def a_run(fps: float, *, num_stale: int = 0, num_full: int = 0, detect_ms: float = 5.0, **fields: Any) -> Measured:
    """A run of 100 captured frames, of which the network took `detect_ms` each; fields as of `Measured`."""
    service: Percentiles = {"p50": detect_ms, "p95": detect_ms}
    nodes = {"source a.mp4": "source", "detect": "detect"}
    plain: dict[str, Any] = {
        "frames": FramesMeasured(100, 100 - num_stale - num_full, num_stale, num_full, 0, 0),
        "fps": RatesMeasured(fps, fps, fps),
        "latency_ms": {"p50": 5.0, "p95": 9.0, "p99": 9.0},
        "stages": {name: StageMeasured(role, role, 1, fps, service, service, 0.5, 0) for name, role in nodes.items()},
        "limited_by": "detect",
        "advice": "",
        "model": "x",
        "device": "cpu",
        "agreement": None,
        "versions": {},
        "seconds": 1.0,
        "sources": {},
        "precision": "fp32",
        "network_wh": [32, 32],
        "latency_percentiles_ms": [float(number) for number in range(101)],
        "cpu_ms_per_frame": 10.0,
        "cpu_ms_by_role": {},
        "num_frames": 100,
        "measured_seconds": 1.0,
        "cores_used": 1.0,
        "other_cores": 0.0,
        "stolen_cores": 0.0,
        "memory_mb": MemoryMeasured(1.0, 1.0, 200.0),
    }
    return Measured(**{**plain, **fields})


def a_floor(fps: float, cpu_ms: float) -> FloorMeasured:
    """A floor on a machine that nobody else uses."""
    return FloorMeasured(
        fps=fps,
        cpu_ms_per_frame=cpu_ms,
        num_frames=100,
        measured_seconds=1.0,
        cores_used=1.0,
        other_cores=0.0,
        stolen_cores=0.0,
    )
