"""Options of `streamdet run`, `demo` and `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.config import ConfigRequest
from pipeline.app.options import ConfigFlags, Flag

_IN_ORDER = (
    "sources",
    "model",
    "engine",
    "output",
    "flow.start",
    "flow.end",
    "flow.every",
    "flow.max_frames",
    "detection",
    "flow.mode",
    "flow.max_latency_ms",
    "strict",
    "hints",
)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Detect objects in video, live.

    One source or several side by side; the result is shown, recorded, written and measured while it runs.
    """

    config: Annotated[ConfigRequest, ConfigFlags(_IN_ORDER)] = ConfigRequest()
    dry_run: Annotated[bool, Flag("Print the stage graph and exit.")] = False


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Try it on a video of a drawn street: no camera, no model file.

    Video and detector come with streamdet, so no network is needed; writes video, boxes and numbers.
    """

    folder: Annotated[Path, Flag("The folder for video, JSON lines and report.", ("--output", "-o"))] = Path(
        "demo-output"
    )
    show: Annotated[bool, Flag("Show a window as well.", ("--show/--no-show",))] = False
    config: Annotated[ConfigRequest, ConfigFlags(("engine.device",), file=False)] = ConfigRequest()


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """Show what this machine can do, and what is broken."""
