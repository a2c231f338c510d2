"""Grid detector: an input size → a small detector that finds bright squares, exported for that size as YOLO's are.

Cells of three strides are averaged, and a cell whose red outweighs green and blue is an object. Everything of its size
is baked in: targets of Reshape, grids, anchors and strides. Cells do not overlap, so that a picture gives the same
boxes wherever it lies, as long as it lies on whole cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import helper

from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from tests.support.blob_detector import Graph

Style = Literal["by level", "flat"]
STRIDES = (8, 16, 32)
ANCHORS = ((1.0, 1.0), (1.5, 1.0), (1.0, 2.0))  # width and height, in cells
_COLUMNS = 7  # box, objectness, two classes


def write_grid_detector(
    path: Path, network_wh: tuple[int, int], *, style: Style = "by level", weights_seed: int | None = None
) -> Path:
    """Write it. by level: as YOLOv5, a grid and anchors for each stride; flat: as YOLOv8, one for all cells.

    weights_seed: of random weights, which detect nothing in particular; None: it finds bright red squares.
    """
    graph = Graph()
    cells = []
    for stride in STRIDES:
        level = graph.node("AveragePool", "images", kernel_shape=[stride] * 2, strides=[stride] * 2)
        cells.append(graph.node("Conv", level, *_weights(weights_seed, 3 if style == "by level" else 1)))
    rows = _by_level(graph, cells, network_wh) if style == "by level" else _flat(graph, cells, network_wh)
    graph.nodes.append(helper.make_node("Identity", [rows], ["output"]))
    width, height = network_wh
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "grid",
            [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, height, width))],
            [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, (1, _num_rows(network_wh, style), 7))],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    spec = DetectorSpec("images", network_wh, "yolov5", ("red", "other"), outputs=("output",), box_format="cxcywh")
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, str(path))
    return path


def _by_level(graph: Graph, cells: list[str], network_wh: tuple[int, int]) -> str:
    levels = []
    for stride, level in zip(STRIDES, cells, strict=True):
        (width, height), anchors = _cells(network_wh, stride), np.array(ANCHORS, np.float32) * stride
        values = graph.node("Reshape", level, graph.constant((1, 3, _COLUMNS, height, width), np.int64))
        values = graph.node("Sigmoid", graph.node("Transpose", values, perm=[0, 1, 3, 4, 2]))
        part = [graph.constant((bound,), np.int64) for bound in (0, 2, 4, _COLUMNS)]
        xy, wh, rest = (
            graph.node("Slice", values, part[i], part[i + 1], graph.constant((4,), np.int64)) for i in range(3)
        )
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2)[None, None] - 0.5  # [1, 1, h, w, 2]
        xy = graph.node("Mul", graph.node("Add", graph.node("Mul", xy, 2.0), grid.astype(np.float32)), float(stride))
        sides = np.tile(anchors[None, :, None, None], (1, 1, height, width, 1))  # [1, 3, h, w, 2]
        wh = graph.node("Mul", graph.node("Pow", graph.node("Mul", wh, 2.0), 2.0), sides)
        boxes = graph.node("Concat", xy, wh, rest, axis=4)
        levels.append(graph.node("Reshape", boxes, graph.constant((1, 3 * height * width, _COLUMNS), np.int64)))
    return str(graph.node("Concat", *levels, axis=1))


def _flat(graph: Graph, cells: list[str], network_wh: tuple[int, int]) -> str:
    rows = []
    for stride, level in zip(STRIDES, cells, strict=True):
        width, height = _cells(network_wh, stride)
        rows.append(graph.node("Reshape", level, graph.constant((1, _COLUMNS, height * width), np.int64)))
    values = graph.node("Sigmoid", graph.node("Concat", *rows, axis=2))  # [1, 7, N]
    part = [graph.constant((bound,), np.int64) for bound in (0, 2, 4, _COLUMNS)]
    xy, wh, rest = (graph.node("Slice", values, part[i], part[i + 1], graph.constant((1,), np.int64)) for i in range(3))
    corners, strides = [], []
    for stride in STRIDES:
        width, height = _cells(network_wh, stride)
        corners.append(np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=0).reshape(2, -1))
        strides.append(np.full(width * height, stride, np.float32))
    all_strides = np.concatenate(strides)[None]  # [1, N]
    xy = graph.node("Mul", graph.node("Add", xy, np.concatenate(corners, axis=1)[None].astype(np.float32)), all_strides)
    boxes = graph.node("Concat", xy, graph.node("Mul", graph.node("Mul", wh, 2.0), all_strides), rest, axis=1)
    return str(graph.node("Transpose", boxes, perm=[0, 2, 1]))


def _weights(seed: int | None, num_anchors: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernels [A * 7, 3, 1, 1] and biases [A * 7]; an anchor that is no cell large is never sure."""
    if seed is not None:
        random = np.random.default_rng(seed)
        shape = (num_anchors * _COLUMNS, 3, 1, 1)
        return random.normal(0, 2, shape).astype(np.float32), random.normal(0, 1, shape[0]).astype(np.float32)
    kernel, bias = np.zeros((num_anchors, _COLUMNS, 3), np.float32), np.zeros((num_anchors, _COLUMNS), np.float32)
    kernel[0, 4], bias[0, 4], bias[1:, 4] = (20, -10, -10), -8, -20
    bias[:, 5], bias[:, 6] = 4, -4
    return kernel.reshape(-1, 3, 1, 1), bias.reshape(-1)


def _cells(network_wh: tuple[int, int], stride: int) -> tuple[int, int]:
    return network_wh[0] // stride, network_wh[1] // stride


def _num_rows(network_wh: tuple[int, int], style: Style) -> int:
    cells = sum(width * height for width, height in (_cells(network_wh, stride) for stride in STRIDES))
    return cells * (3 if style == "by level" else 1)
