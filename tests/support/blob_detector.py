"""Blob detector: a convention → a small real network that finds red, green and blue areas and answers by it.

Stride-8 cells of the picture are averaged; a cell is an object where its colour outweighs the two others by far, and no
neighbour's does more. A box spans twice its cell, times how sure it is, so that all of it depends on the picture. What
a convention needs beyond that is arithmetic on `boxes_cxcywh [1, N, 4]` (network pixels) and `scores [1, N, 3]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NAMES = ("red", "green", "blue")
STRIDE = 8
WIDTH, HEIGHT = 160, 128


@dataclass
class Graph:
    """Nodes and constants as they are written; every method returns the name of what it computes."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        onnx = pytest.importorskip("onnx", reason="writes an ONNX file")
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        onnx = pytest.importorskip("onnx", reason="writes an ONNX file")
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        results = [f"n{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, names, results, **attributes))
        return results[0] if outputs == 1 else results

    def columns(self, values: str, indices: Sequence[int]) -> str:
        return str(self.node("Gather", values, self.constant(indices, np.int64), axis=2))

    def side_by_side(self, *values: str) -> str:
        return str(self.node("Concat", *values, axis=2))

    def corners(self, boxes_cxcywh: str) -> str:
        centres, halves = self.columns(boxes_cxcywh, (0, 1)), self.columns(boxes_cxcywh, (2, 3))
        halves = self.node("Mul", halves, 0.5)
        return self.side_by_side(self.node("Sub", centres, halves), self.node("Add", centres, halves))

    def normalised(self, boxes: str) -> str:
        return str(self.node("Div", boxes, np.array([WIDTH, HEIGHT] * 2)))

    def best(self, boxes: str, scores: str, num: int = 20) -> tuple[str, str, str]:
        """The best `num` pairs of box and class: boxes [1, num, 4], scores [1, num], class ids [1, num], int64."""
        flat = self.node("Reshape", scores, self.constant((1, -1), np.int64))
        top, pairs = self.node("TopK", flat, self.constant((num,), np.int64), outputs=2, axis=1)
        rows = self.node("Div", pairs, self.constant(len(NAMES), np.int64))
        class_ids = self.node("Mod", pairs, self.constant(len(NAMES), np.int64))
        rows = self.node("Reshape", rows, self.constant((num,), np.int64))
        return self.node("Gather", boxes, rows, axis=1), top, class_ids

    def logits(self, scores: str) -> str:
        scores = self.node("Clip", scores, self.constant(0.001), self.constant(0.999))
        return str(self.node("Log", self.node("Div", scores, self.node("Sub", 1.0, scores))))

    def column(self, values: str) -> str:
        """[1, N] → [1, N, 1] in float."""
        as_float = self.node("Cast", values, to=1)
        return str(self.node("Unsqueeze", as_float, self.constant((2,), np.int64)))


Convention = Callable[[Graph, str, str], Mapping[str, str]]
"""From boxes and scores to outputs: name → what computes it."""


def write_blob_detector(
    path: Path,
    convention: Convention,
    *,
    dtype: str = "float32",
    layout: str = "nchw",
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (255.0, 255.0, 255.0),
    bgr: bool = False,
    names: Sequence[int] = (0, 1, 2),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a network whose answers follow a convention, for pictures prepared as (pixel - mean) / std.

    names: the order in which the colours red, green and blue are numbered. Skips the test where `onnx` is missing.
    """
    onnx = pytest.importorskip("onnx", reason="writes an ONNX file")
    graph = Graph()
    picture = graph.node("Cast", "images", to=1)
    if layout == "chw":
        picture = graph.node("Unsqueeze", picture, graph.constant((0,), np.int64))
    if layout == "nhwc":
        picture = graph.node("Transpose", picture, perm=[0, 3, 1, 2])
    if dtype != "uint8":
        picture = graph.node(
            "Add", graph.node("Mul", picture, np.reshape(std, (1, 3, 1, 1))), np.reshape(mean, (1, 3, 1, 1))
        )
    picture = graph.node("Div", picture, 255.0)  # [1, 3, H, W] in 0..1
    if bgr:
        picture = graph.node("Gather", picture, graph.constant((2, 1, 0), np.int64), axis=1)
    cells = graph.node("AveragePool", picture, kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2)  # [1, 3, h, w]
    against = np.full((3, 3, 1, 1), -0.5) + 1.5 * np.eye(3)[:, :, None, None]
    strength = graph.node("Clip", graph.node("Conv", cells, against), graph.constant(0.0), graph.constant(1.0))
    strength = graph.node("Mul", strength, 1.2)
    smoothed = graph.node("AveragePool", strength, kernel_shape=[3, 3], pads=[1] * 4)
    highest = graph.node("MaxPool", smoothed, kernel_shape=[5, 5], pads=[2] * 4)
    is_peak = graph.node("Cast", graph.node("GreaterOrEqual", smoothed, highest), to=1)
    peaks = graph.node("Clip", graph.node("Mul", smoothed, is_peak), graph.constant(0.0), graph.constant(0.99))
    w, h = WIDTH // STRIDE, HEIGHT // STRIDE
    peaks = graph.node("Reshape", peaks, graph.constant((1, 3, w * h), np.int64))
    scores = graph.columns(graph.node("Transpose", peaks, perm=[0, 2, 1]), names)  # [1, N, 3]
    y, x = np.divmod(np.arange(w * h), w)
    centres = graph.constant(np.stack([x + 0.5, y + 0.5], axis=1)[None] * STRIDE)  # [1, N, 2]
    best = graph.node("ReduceMax", scores, axes=[2], keepdims=1)  # [1, N, 1]
    sides = graph.node("Mul", graph.node("Add", best, 0.5), np.reshape([2.0 * STRIDE, 4.0 * STRIDE], (1, 1, 2)))
    boxes = graph.side_by_side(centres, sides)  # [1, N, 4]
    outputs = convention(graph, boxes, scores)
    element = {"float32": onnx.TensorProto.FLOAT, "uint8": onnx.TensorProto.UINT8}[dtype]
    shape = {"nchw": (1, 3, HEIGHT, WIDTH), "nhwc": (1, HEIGHT, WIDTH, 3), "chw": (3, HEIGHT, WIDTH)}[layout]
    nodes = [*graph.nodes, *(onnx.helper.make_node("Identity", [value], [name]) for name, value in outputs.items())]
    made = onnx.helper.make_graph(
        nodes,
        "blobs",
        [onnx.helper.make_tensor_value_info("images", element, shape)],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
        graph.constants,
    )
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
