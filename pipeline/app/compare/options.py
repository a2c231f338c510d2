"""Options of `streamdet compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, REPORT, Argument, ConfigFlags, Flag


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Choose a detector for a video without labels.

    By its agreement with a teacher model, which is not ground truth, and by its speed.
    """

    models: Annotated[tuple[str, ...], Argument(f"The candidates: ONNX files, {OR_NAME}.", "MODEL...")]
    source: Annotated[str, Flag("Your video; it needs no labels.", ("--on",), metavar="VIDEO|FOLDER|sim:traffic")]
    teacher: Annotated[
        str | None,
        Flag(
            "The model that labels the frames, in fp32; by default the candidate that computes most.",
            metavar="T.onnx",
        ),
    ] = None
    teacher_size: Annotated[str | None, Flag("The input size of a teacher that leaves it open.", metavar="WxH")] = None
    tiles: Annotated[
        str, Flag("Let the teacher look at overlapping tiles of each frame as well.", metavar="ROWSxCOLUMNS")
    ] = "1x1"
    frames: Annotated[int, Flag("How many frames to label, evenly over the video.", at_least=1)] = 60
    sure_score: Annotated[
        float,
        Flag(
            "The teacher's detections from this score on are the labels; a detection the teacher scored at half this "
            "or more is not counted as a false positive.",
            at_least=0.05,
            at_most=1.0,
        ),
    ] = 0.5
    worst: Annotated[int, Flag("How many of the worst frames to draw of each candidate.", at_least=0)] = 6
    output: Annotated[Path, Flag("The folder for these pictures, as PNG.", ("--output", "-o"), metavar="FOLDER")] = (
        Path("compare-output")
    )
    report: Annotated[Path | None, REPORT] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    seconds: Annotated[float, Flag("How long each speed measurement takes.", at_least=0.5)] = 3.0
    repeats: Annotated[int, Flag("How often the speed is measured, models interleaved.", at_least=1)] = 2
    gated: Annotated[
        bool,
        Flag("Compare one model with itself behind --gate, over the whole video: what that gains, and what it misses."),
    ] = False
    config: Annotated[ConfigRequest, ConfigFlags(("engine.device", "gate"), file=False)] = ConfigRequest()
