"""Options of `streamdet explain`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, Argument, ConfigFlags, Flag
from pipeline.saliency import NUM_MASKS

Method = Literal["occlusion", "drise"]


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """Show which parts of a picture a detector needs to see an object.

    It runs the detector on many changed copies of the picture, so that any ONNX file can be explained.
    """

    frame: Annotated[str, Argument("An image, a video, or drawn traffic.", "FRAME")]
    model: Annotated[
        str | None,
        Flag(f"An ONNX file, {OR_NAME}; by default the one that comes with streamdet.", ("--model", "-m"), "MODEL"),
    ] = None
    object: Annotated[int, Flag("The object to explain: 1 is the surest, 2 the next.", metavar="N", at_least=1)] = 1
    method: Annotated[
        Method,
        Flag("What is hidden: random parts, many at once (drise), or one small square after the other (occlusion)."),
    ] = "drise"
    masks: Annotated[
        int | None,
        Flag(
            f"How many random masks of drise; more give a smoother map. By default {NUM_MASKS}.",
            metavar="N",
            at_least=16,
            at_most=100_000,
        ),
    ] = None
    patch: Annotated[
        int | None,
        Flag(
            "The side of the square of occlusion in pixels; by default a third of the object's.",
            metavar="PX",
            at_least=2,
        ),
    ] = None
    index: Annotated[int, Flag("The frame of a video: 0 is the first.", ("--frame",), "N", at_least=0)] = 0
    output: Annotated[
        Path | None, Flag("The picture; FRAME-METHOD.png if left out.", ("--output", "-o"), metavar="FILE")
    ] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    config: Annotated[
        ConfigRequest, ConfigFlags(("engine.device", "detection.score_threshold", "hints"), file=False)
    ] = ConfigRequest()
