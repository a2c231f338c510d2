"""Pyramid picture: an ONNX file and a frame → what its feature pyramid carries from coarse grids to fine ones.

FPN (Lin et al. 2017, https://arxiv.org/abs/1612.03144, section 3): a coarse map is enlarged twofold and merged with
the finer one from the side, by addition there, by concatenation in YOLO's necks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from export.lineage.pictures.sheet import Sheet
from pipeline.detector.installation import load_runtime
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture, PixelArray

_ENLARGES = ("Resize", "Upsample")


@dataclass(frozen=True, slots=True)
class Merge:
    """A node of a graph that merges an enlarged map with one from the side: the names of its tensors."""

    side: str
    enlarged: str
    merged: str
    is_sum: bool  # else a concatenation


def merges_of(model: onnx.ModelProto) -> list[Merge]:
    """The merges of a graph, in its order: coarse ones come first.

    A merge adds or concatenates two computed tensors, of which one is the output of a Resize.
    """
    enlarged = {node.output[0] for node in model.graph.node if node.op_type in _ENLARGES}
    computed = {output for node in model.graph.node for output in node.output}
    merges = []
    for node in model.graph.node:
        names = [name for name in node.input if name in computed]
        if node.op_type not in ("Add", "Concat") or len(names) != 2 or len(enlarged & set(names)) != 1:
            continue
        (from_above,) = enlarged & set(names)
        (from_side,) = set(names) - {from_above}
        merges.append(Merge(from_side, from_above, node.output[0], is_sum=node.op_type == "Add"))
    return merges


def strengths(path: Path, spec: DetectorSpec, pixels: PixelArray) -> list[tuple[Merge, dict[str, FloatArray]]]:
    """For each merge its maps by name: mean absolute activation over channels, [h, w].

    Raises ModelError for a file without a feature pyramid that is built so.
    """
    model = onnx.load(str(path))
    merges = merges_of(model)
    if spec.pixels == "nv12" or not merges:
        raise ModelError(
            f"{path} has no feature pyramid that shows: no enlarged map is merged with another; try yolox-nano"
        )
    names = list(dict.fromkeys(name for merge in merges for name in (merge.side, merge.enlarged, merge.merged)))
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = load_runtime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    _, tensor = TensorWriter(spec).tensor_of(ArrayPicture(pixels))
    if spec.batch is not None:
        tensor = np.repeat(tensor, spec.batch, axis=0)
    feed = {spec.input_name: tensor if spec.takes_batch else tensor[0], **spec.extra_feed(len(tensor))}
    outputs = dict(zip(names, session.run(names, feed), strict=True))
    maps = {
        name: np.abs(value[0].astype(np.float32)).mean(axis=0) for name, value in outputs.items() if value.ndim == 4
    }
    return [
        (merge, {name: maps[name] for name in (merge.side, merge.enlarged, merge.merged)})
        for merge in merges
        if {merge.side, merge.enlarged, merge.merged} <= maps.keys()
    ]


def draw_pyramid(path: Path, model: Path, spec: DetectorSpec, pixels: PixelArray) -> None:
    """Draw each merge as a row: from the side, from above, merged. Raises what `strengths` raises."""
    rows = strengths(model, spec, pixels)
    if not rows:
        raise ModelError(f"{model} has no feature pyramid that shows: its merges are not of maps; try yolox-nano")
    sheet = Sheet(len(rows), 3, title="A feature pyramid: coarse maps help the finer ones", panel_wh=(4.4, 2.9))
    for row, (merge, maps) in enumerate(rows):
        height, width = maps[merge.merged].shape
        captions = (f"from the side, {width} × {height}", "from above, enlarged", "sum" if merge.is_sum else "both")
        for column, (name, caption) in enumerate(
            zip((merge.side, merge.enlarged, merge.merged), captions, strict=True)
        ):
            axes = sheet.panel(row, column, caption=caption)
            axes.imshow(maps[name], cmap="inferno", interpolation="nearest")
            axes.set(xticks=[], yticks=[])
    sheet.write(path)
