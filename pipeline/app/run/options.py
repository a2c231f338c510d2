"""Options of `streamdet run`, `demo` and `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.logs import LogFormat
from pipeline.app.options import OVERWRITE, ConfigFlags, Flag

_FIRST = (
    "sources",
    "model",
    "output.video",
    "output.show",
    "output.jsonl",
    "detection.score_threshold",
    "detection.classes",
    "engine.device",
    "flow.max_frames",
)
_PANELS = {
    "Input": ("flow", "strict"),
    "Model": ("detection", "track", "gate", "tiles", "then", "engine.precision", "engine.shape"),
    "Counting": ("lines", "zones"),
    "Output": ("output", "render", "privacy"),
    "Events": ("events",),
    "Live": ("flow.mode", "flow.rate_fps", "flow.max_latency_ms", "control", "serve"),
    "Foreign models, where recognition is in doubt": ("hints",),
    "Advanced": ("engine", "flow.grace_s"),
}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Detect objects in video, live.

    One source or several side by side; the result is shown, recorded, written and measured while it runs.
    """

    config: Annotated[ConfigRequest, ConfigFlags(_FIRST, _PANELS)] = ConfigRequest()
    metrics: Annotated[
        str | None,
        Flag(
            "Serve /metrics for Prometheus and /healthz there, on this machine alone unless a host is named; needs the "
            "extra metrics.",
            metavar="[HOST:]PORT",
            panel="Live",
        ),
    ] = None
    log_format: Annotated[
        LogFormat,
        Flag(
            "How events and warnings are written to stderr; with json, a line each, nothing is printed beside them.",
            panel="Output",
        ),
    ] = "text"
    dry_run: Annotated[
        bool, Flag("Print the stages and the settings, with where they come from, and exit.", panel="Advanced")
    ] = False


DEMO_FOLDER = Path("demo-output")
"""The demo's own, whose files it replaces."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Try it on a video of a drawn street: no camera, no model file.

    Video and detector come with streamdet, so no network is needed; writes video, boxes and numbers.
    """

    folder: Annotated[Path, Flag("The folder for video, JSON lines and report.", ("--output", "-o"))] = DEMO_FOLDER
    overwrite: Annotated[bool, OVERWRITE] = False
    show: Annotated[bool, Flag("Show a window as well.", ("--show/--no-show",))] = False
    config: Annotated[ConfigRequest, ConfigFlags(("engine.device", "serve"), file=False)] = ConfigRequest()


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """Show what this machine can do, and what is broken."""
