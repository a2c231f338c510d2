"""Options of `streamdet explain`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, Argument, ConfigFlags, Flag
from pipeline.saliency import NUM_MASKS

Method = Literal["occlusion", "drise", "gradcam", "cam"]


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """Show which parts of a picture a detector needs to see an object.

    drise and occlusion run the detector on many changed copies of the picture, so that any model can be explained.
    gradcam and cam look inside, at the feature map on which the score rests; they need the extra export.
    """

    frame: Annotated[str, Argument("An image, a video, or drawn traffic.", "FRAME")]
    model: Annotated[
        str | None,
        Flag(
            f"An ONNX file, {OR_NAME}, or a PyTorch detector of streamdet export --list; by default the one that comes "
            "with streamdet.",
            ("--model", "-m"),
            "MODEL",
        ),
    ] = None
    object: Annotated[int, Flag("The object to explain: 1 is the surest, 2 the next.", metavar="N", at_least=1)] = 1
    method: Annotated[
        Method,
        Flag(
            "What is hidden: random parts, many at once (drise), or one small square after the other (occlusion). "
            "Or the last feature map, weighted by what its channels add to the score: gradcam of any network with such "
            "a map, cam of one whose classes a convolution scores on it."
        ),
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
    checkpoint: Annotated[
        Path | None,
        Flag("The weights of a PyTorch detector, instead of the published ones, which are downloaded.", metavar="FILE"),
    ] = None
    num_classes: Annotated[int | None, Flag("How many classes the checkpoint has.", metavar="N", at_least=1)] = None
    index: Annotated[int, Flag("The frame of a video: 0 is the first.", ("--frame",), "N", at_least=0)] = 0
    output: Annotated[
        Path | None, Flag("The picture; FRAME-METHOD.png if left out.", ("--output", "-o"), metavar="FILE")
    ] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    config: Annotated[
        ConfigRequest, ConfigFlags(("engine.device", "detection.score_threshold", "hints"), file=False)
    ] = ConfigRequest()
