"""System: a name, a year, a paper → a network that was trained by the paper's recipe, ready for export.

The contract of a file in this folder: a module `NAME.py` that ends in one `System`, and a row in
`export.lineage.systems`. `train` gets pictures with ground truth and returns a network in eval mode; it learns by
`Training.learn`, so that budget, progress and seeds are those of everybody else. `exportable` describes that network as
any other detector's `Exportable`: a body from pixels to raw outputs, a decoder from those to the best K boxes xyxy in
network pixels, scores and class ids, and `lineage_spec`. Suppression is the pipeline's, or inside where the paper has
it there. A system whose network reads proposals has `num_rois` in its spec: body and decoder take them, float
[N, num_rois, 4] xyxy in network pixels padded with zeros, as their second input, and the pipeline makes them by
selective search.

Every deviation from the paper is said in the module's docstring, with the section of the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from export.exportable import Exportable
from export.lineage.learning import Training
from export.lineage.scenes import Scenes, World
from pipeline.picture.detector_spec import DetectorSpec

RunsOn = Literal["windows", "crops", "features", "anchors", "grid", "queries"]
"""What the classifier looks at: windows of every place and scale, crops of the picture or of a feature map round
proposals, reference boxes or cells of a grid, learnt queries."""


Need = Literal["backbone", "proposals"]
"""What is made before, if it is not in the cache folder, and is not counted as training time."""


@dataclass(frozen=True, slots=True)
class System:
    """One system of the line."""

    name: str  # as it is typed, and the stem of its file
    title: str
    year: int
    paper: str  # authors, venue and address
    runs_on: RunsOn
    train: Callable[[Scenes, Training], nn.Module]
    exportable: Callable[[nn.Module, World], Exportable]
    needs: tuple[Need, ...] = ()


def lineage_spec(world: World, title: str, **settings: Any) -> DetectorSpec:
    """The spec of the boxes form that all systems share: RGB in -1..1, letterboxed; settings: fields that differ."""
    fields: dict[str, Any] = {
        "input_name": "pixels",
        "network_wh": world.network_wh,
        "head": "boxes",
        "class_names": world.class_names,
        "layout": "nhwc",
        "dtype": "uint8",
        "batch": None,
        "mean": (127.5, 127.5, 127.5),
        "std": (127.5, 127.5, 127.5),
        "score_threshold": 0.3,
        "iou_threshold": 0.5,
        "max_detections": 100,
        "form": "boxes",
        "model_name": title,
    }
    return DetectorSpec(**(fields | settings))
