"""Options of `streamdet tune`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, Argument, ConfigFlags, Flag, duration


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """Find the best settings for this machine.

    They are written as a configuration for `run --config`.

    Best means: for a recorded source, the most frames per second; for a live one, the lowest p95 latency without a
    dropped frame; with --min-fps, the least CPU time per frame. Settings that you set yourself are left alone. Exits
    with 1 if no setting meets the limits. Ctrl-C keeps the best so far.
    """

    source: Annotated[str, Argument("What `run` takes; read again for each trial.", "SOURCE")]
    models: Annotated[
        tuple[str, ...],
        Flag(
            f"An ONNX file, {OR_NAME}, and other files of the same one to try, such as its `frame` form, which has "
            "resize and NMS inside; the one that comes with streamdet if left out.",
            ("--model", "-m"),
            metavar="MODEL",
        ),
    ] = ()
    min_fps: Annotated[
        float | None,
        Flag(
            "Of the settings that deliver this many frames per second, take the one with the least CPU time per frame.",
            at_least=0.1,
        ),
    ] = None
    max_latency_seconds: Annotated[
        float | None,
        Flag(
            "Reject settings with a greater p95 latency, from capture to sink.",
            ("--max-latency",),
            metavar="80ms",
            parse=duration,
        ),
    ] = None
    rate: Annotated[
        float | None,
        Flag("Play the file as a camera of this many frames per second, and tune for its latency.", at_least=0.1),
    ] = None
    budget_seconds: Annotated[
        float,
        Flag(
            "How long to search; the most promising setting is always tried, TensorRT only from 5min on.",
            ("--budget",),
            metavar="120s",
            parse=duration,
            default_text="120s",
        ),
    ] = 120.0
    seconds: Annotated[float, Flag("How long each setting is measured.", at_least=0.5)] = 2.5
    min_agreement: Annotated[
        float,
        Flag(
            "Reject settings that agree with the defaults in a smaller share of detections: IoU 0.99 and 0.001 in "
            "score, IoU 0.95 and 0.01 in another precision or file.",
            at_least=0.0,
            at_most=1.0,
        ),
    ] = 0.98
    output: Annotated[
        Path, Flag("The file for the best settings, for `run --config`.", ("--output", "-o"), metavar="FILE.yaml")
    ] = Path("tuned.yaml")
    report: Annotated[Path | None, Flag("Write all trials as JSON.", metavar="FILE.json")] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    config: Annotated[ConfigRequest, ConfigFlags(("engine.device",))] = ConfigRequest()
