"""Options of `streamdet ctl`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.app.options import Argument, Flag, comma_separated


@dataclass(frozen=True, slots=True)
class CtlOptions:
    """Add, remove, pause, resume or list the sources of a run that goes on.

    The run was started with --control SOCKET.
    """

    socket: Annotated[Path, Argument("The socket of the run.", "SOCKET")]
    action: Annotated[
        Literal["add", "remove", "pause", "resume", "list"],
        Argument("What to do: add, remove, pause, resume or list.", "ACTION"),
    ]
    source: Annotated[
        str | None, Argument("To add: what `run` takes as a source; otherwise its name in the list.", "SOURCE")
    ] = None
    name: Annotated[str | None, Flag("The name of a source that is added; by default the source itself.")] = None
    weight: Annotated[float | None, Flag("Its share of a network that cannot keep up; that of others is 1.")] = None
    classes: Annotated[
        tuple[str, ...], Flag("Keep only these of its classes.", metavar="NAME,NAME…", parse=comma_separated)
    ] = ()
    score_threshold: Annotated[
        float | None, Flag("Keep its detections with at least this score.", at_least=0, at_most=1)
    ] = None
    model: Annotated[
        str | None,
        Flag(
            "The model of a source that is added, as of `run`; by default that of the run.",
            ("--model", "-m"),
            metavar="MODEL",
        ),
    ] = None
