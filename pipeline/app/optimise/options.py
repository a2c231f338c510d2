"""Options of `streamdet optimise`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, REPORT, Argument, ConfigFlags, Flag


@dataclass(frozen=True, slots=True)
class OptimiseOptions:
    """Make the fastest file of a detector for a video and this machine.

    Tried are the video's shape instead of a padded square, INT8, and every device and precision that this machine has.
    What does not detect the same is rejected; of the others the fastest is written, with a configuration for
    `run --config`. Nothing is written where nothing is faster.
    """

    model: Annotated[Path, Argument(f"An ONNX file, {OR_NAME}.", "MODEL")]
    source: Annotated[
        str, Flag("A video like those that will come; it needs no labels.", ("--for",), metavar="VIDEO|FOLDER|sim:…")
    ]
    output: Annotated[
        Path | None,
        Flag(
            "The configuration; the file stands beside it under the same name. MODEL-optimised.yaml if left out.",
            ("--output", "-o"),
            metavar="FILE.yaml",
        ),
    ] = None
    max_drop: Annotated[
        float, Flag("The maximum AP loss of INT8 and of another shape, in points (0–100).", at_least=0, at_most=100)
    ] = 0.5
    int8: Annotated[bool, Flag("Try INT8, which takes minutes to make.", ("--int8/--no-int8",))] = True
    frames: Annotated[int, Flag("On how many frames to compare, evenly over the video.", at_least=2)] = 32
    seconds: Annotated[float, Flag("How long each speed measurement takes.", at_least=0.5)] = 3.0
    repeats: Annotated[int, Flag("How often the speed is measured, candidates interleaved.", at_least=1)] = 3
    report: Annotated[Path | None, REPORT] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    config: Annotated[ConfigRequest, ConfigFlags(("hints",), file=False)] = ConfigRequest()
