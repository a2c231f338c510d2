"""Options of `streamdet lineage`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, Argument, ConfigFlags, Flag

Action = Literal["show", "train", "compare"]
FOLDER = Path("lineage")
STREETS = "streets"  # the data set of which no word need be said
STREET = "sim:traffic?seed=3"


@dataclass(frozen=True, slots=True)
class LineageOptions:
    """From HOG to DETR: draw an idea of object detection, or train and compare the systems that brought it.

    show IDEA draws it from real detections. iou: overlap and union of boxes. nms: non-maximum suppression in four
    steps. pr: precision, recall and AP. anchors: which reference boxes learn an object. fpn: what a feature pyramid
    carries from coarse grids to fine ones.

    train SYSTEM|all trains on drawn streets, or with --on scattered on small drawn pictures scattered on a canvas, in
    minutes, exports to one ONNX file with a parity certificate, and prints the mAP on pictures that were held out.

    compare measures what was trained through the pipeline, one table for all, and draws the same frame seen by each.
    """

    action: Annotated[Action, Argument("What to do: show, train or compare.", "ACTION")]
    subject: Annotated[
        str,
        Argument("Show: iou, nms, pr, anchors or fpn. Train, compare: a system, such as hog-svm, or all.", "SUBJECT"),
    ] = "all"
    on: Annotated[
        str | None,
        Flag(
            f"Show: the frame, of an image, a video or drawn traffic, by default {STREET}; pr needs drawn traffic. "
            f"Train, compare: {STREETS}, the default, or scattered.",
            metavar="SOURCE|DATASET",
        ),
    ] = None
    frame: Annotated[int, Flag("Show: the frame of a video; 0 is the first.", metavar="N", at_least=0)] = 100
    model: Annotated[
        str | None,
        Flag(
            f"Show: an ONNX file, {OR_NAME}; by default the one that comes with streamdet.", ("--model", "-m"), "MODEL"
        ),
    ] = None
    frames: Annotated[int, Flag("Show: how many frames pr judges, a second apart.", metavar="N", at_least=1)] = 12
    output: Annotated[
        Path | None, Flag("Show: the picture; IDEA.png if left out.", ("--output", "-o"), metavar="FILE.png|FILE.jpg")
    ] = None
    minutes: Annotated[
        float | None,
        Flag(
            "Train: end a system's training after about as many; by default its recipe says.", metavar="M", at_least=0.1
        ),
    ] = None
    threads: Annotated[
        int | None, Flag("Train: the threads of PyTorch; by default one for each core.", metavar="N", at_least=1)
    ] = None
    out: Annotated[
        Path | None,
        Flag(
            f"Train, compare: the folder of the files, SYSTEM.onnx; by default {FOLDER}, or {FOLDER}/scattered.",
            metavar="DIR",
        ),
    ] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    config: Annotated[
        ConfigRequest, ConfigFlags(("engine.device", "detection.score_threshold", "hints"), file=False)
    ] = ConfigRequest()

    @property
    def shown(self) -> str:
        """The source whose frame `show` draws."""
        return self.on or STREET

    @property
    def data_set(self) -> str:
        """The name of what `train` and `compare` work on."""
        return self.on or STREETS

    @property
    def folder(self) -> Path:
        """Where the trained files are, a folder for each data set."""
        return self.out or (FOLDER if self.data_set == STREETS else FOLDER / self.data_set)
