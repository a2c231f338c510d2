"""Float detector: a small ONNX detector of convolutions, written layer by layer, for tests of quantization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.proof.images import ProofImage
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.frame import ArrayPicture

CHANNELS = 8
LAYERS: dict[str, tuple[str, tuple[int, int, int, int]]] = {  # name: (input, weights [M, C, k, k]); the stride is k
    "first": ("images", (CHANNELS, 3, 4, 4)),
    "second": ("first_relu", (CHANNELS, CHANNELS, 2, 2)),
    "third": ("second_relu", (CHANNELS, CHANNELS, 2, 2)),
    "boxes": ("third_relu", (4, CHANNELS, 1, 1)),
    "classes": ("third_relu", (2, CHANNELS, 1, 1)),
}
DECODING = (  # operator, inputs, output
    ("Reshape", ("boxes_out", "shape_boxes"), "boxes_flat"),
    ("Transpose", ("boxes_flat",), "boxes_last"),
    ("Tanh", ("boxes_last",), "offsets"),
    ("Mul", ("offsets", "reach"), "pixels"),
    ("Add", ("pixels", "grid"), "raw_boxes"),  # [N, 16, 4]
    ("Reshape", ("classes_out", "shape_classes"), "classes_flat"),
    ("Transpose", ("classes_flat",), "classes_last"),
    ("Sigmoid", ("classes_last",), "class_values"),  # [N, 16, 2]
)


def write_float_detector(
    path: Path,
    *,
    opset: int = 17,
    outlier: float = 0.0,
    passed_on_by: tuple[str, ...] = ("first", "second", "third"),
    weights: str = "float32",
    batch: int | str = "batch",
) -> Path:
    """Write three convolutions with ReLU, two for boxes and classes of a 4 × 4 grid, and their decoding.

    outlier: the size of one channel that nothing needs, but that shares a scale with the others; passed_on_by: the
    layers that have it.
    """
    chance = np.random.default_rng(3)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    for name, (source, shape) in LAYERS.items():
        kernel = chance.normal(0, 1.6 / np.sqrt(np.prod(shape[1:])), shape)
        if outlier:
            _put_outlier(kernel, name, outlier if name in passed_on_by else 0.0)
        bias = chance.normal(0, 0.1, shape[0])
        constants += [_constant(f"{name}_w", kernel.astype(weights)), _constant(f"{name}_b", bias.astype(weights))]
        nodes += _layer(name, source, stride=shape[2], is_half=weights == "float16")
        if name not in ("boxes", "classes"):
            nodes.append(helper.make_node("Relu", [f"{name}_out"], [f"{name}_relu"]))
    for op, inputs, output in DECODING:
        attributes: Any = {"perm": [0, 2, 1]} if op == "Transpose" else {}
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
    graph = helper.make_graph(
        nodes,
        "float",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (batch, 3, 64, 64))],
        [
            helper.make_tensor_value_info("class_values", TensorProto.FLOAT, (batch, 16, 2)),
            helper.make_tensor_value_info("raw_boxes", TensorProto.FLOAT, (batch, 16, 4)),
        ],
        [*constants, *_decoding_constants()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: _spec(batch).to_json(), "author": "a test"})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def images(num: int = 8) -> list[ProofImage]:
    """Coloured rectangles, 96 x 64 pixels, named 0.png and so on."""
    chance = np.random.default_rng(1)
    stills = []
    for number in range(num):
        pixels = np.zeros((64, 96, 3), np.uint8)
        for _ in range(12):
            x, y = chance.integers(0, 80), chance.integers(0, 50)
            pixels[y : y + 20, x : x + 24] = chance.integers(0, 256, 3)
        stills.append(ProofImage(f"{number}.png", ArrayPicture(pixels)))
    return stills


def _put_outlier(kernel: Any, name: str, outlier: float) -> None:
    """Make channel 0 as large as `outlier`, if it is not 0, and let no later channel read it."""
    if kernel.shape[1] == CHANNELS:
        kernel[:, 0] = 0
    if outlier:
        kernel[0] = outlier / kernel[0].size if name == "first" else 0
        kernel[0, 0] = kernel[0, 0] if name == "first" else 1 / kernel[0, 0].size


def _layer(name: str, source: str, *, stride: int, is_half: bool) -> list[onnx.NodeProto]:
    """A convolution from `source` to `NAME_out`, in float16 between two casts if it is half."""
    weights = [f"{name}_w", f"{name}_b"]
    options: Any = {"name": name, "strides": (stride, stride)}
    if not is_half:
        return [helper.make_node("Conv", [source, *weights], [f"{name}_out"], **options)]
    return [
        helper.make_node("Cast", [source], [f"{name}_half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", [f"{name}_half", *weights], [f"{name}_raw"], **options),
        helper.make_node("Cast", [f"{name}_raw"], [f"{name}_out"], to=TensorProto.FLOAT),
    ]


def _constant(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def _decoding_constants() -> list[onnx.TensorProto]:
    centres = (np.stack(np.meshgrid(np.arange(4), np.arange(4)), axis=2).reshape(16, 2) + 0.5) * 16  # [16, 2]
    return [
        _constant("shape_boxes", np.array([-1, 4, 16])),
        _constant("shape_classes", np.array([-1, 2, 16])),
        _constant("grid", np.concatenate([centres - 8, centres + 8], axis=1).astype(np.float32)[None]),
        _constant("reach", np.array(6, np.float32)),
    ]


def _spec(batch: int | str) -> DetectorSpec:
    return DetectorSpec(
        input_name="images",
        network_wh=(64, 64),
        head="ssd_decoded",
        class_names=("cat", "dog"),
        batch=None if isinstance(batch, str) else batch,
        outputs=("class_values", "raw_boxes"),
        provenance=("made for a test",),
        parity={"passed": True, "against": "something"},
    )
