"""Options of `streamdet lineage`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, Argument, ConfigFlags, Flag

Idea = Literal["iou", "nms", "pr", "anchors", "fpn"]


@dataclass(frozen=True, slots=True)
class LineageOptions:
    """Draw an idea of object detection from real detections.

    iou: overlap and union of boxes. nms: non-maximum suppression in four steps. pr: precision, recall and AP. anchors:
    which reference boxes learn an object. fpn: what a feature pyramid carries from coarse grids to fine ones.
    """

    action: Annotated[Literal["show"], Argument("What to do: show.", "ACTION")]
    idea: Annotated[Idea, Argument("The idea: iou, nms, pr, anchors or fpn.", "IDEA")]
    source: Annotated[
        str,
        Flag("The frame: of an image, a video or drawn traffic; pr needs drawn traffic.", ("--on",), metavar="SOURCE"),
    ] = "sim:traffic?seed=3"
    index: Annotated[int, Flag("The frame of a video: 0 is the first.", ("--frame",), "N", at_least=0)] = 100
    model: Annotated[
        str | None,
        Flag(f"An ONNX file, {OR_NAME}; by default the one that comes with streamdet.", ("--model", "-m"), "MODEL"),
    ] = None
    frames: Annotated[int, Flag("How many frames pr judges, a second apart.", metavar="N", at_least=1)] = 12
    output: Annotated[
        Path | None, Flag("The picture; IDEA.png if left out.", ("--output", "-o"), metavar="FILE.png|FILE.jpg")
    ] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    config: Annotated[
        ConfigRequest, ConfigFlags(("engine.device", "detection.score_threshold", "hints"), file=False)
    ] = ConfigRequest()
