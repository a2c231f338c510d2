"""Tiny classifier: options → a real ONNX file that tells whether a picture is red, green or blue.

Its logits are ten times the mean of each channel in 0..1, less the mean of all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

NAMES = ("red", "green", "blue")

Triple = tuple[float, float, float]
Answer = Literal["logits", "softmax", "sigmoid", "nan", "map", "pooled"]


def write_classifier(
    path: Path,
    *,
    batch: int | str = "batch",
    side: int | str = 16,
    mean_std: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    dtype: Literal["float32", "uint8"] = "float32",
    answer: Answer = "logits",
    metadata: Mapping[str, str] | None = None,
    inputs_outputs: tuple[int, int] = (1, 1),
) -> Path:
    """Write the file. mean_std: of RGB in 0..255, with which its pictures are normalised. They are NCHW; uint8 is NHWC.

    answer: map is a score for each pixel, as of segmentation; pooled is logits [N, 3, 1, 1]; nan is NaN for black
    pictures. Skips the test where `onnx` is not installed.
    """
    onnx = pytest.importorskip("onnx", reason="writes an ONNX file")
    make, types = onnx.helper.make_node, onnx.TensorProto
    (mean, std), (num_inputs, num_outputs) = mean_std, inputs_outputs
    constants = {
        "std": np.reshape(std, (1, 3, 1, 1)) / 255,
        "mean": np.reshape(mean, (1, 3, 1, 1)) / 255,
        "ten": np.array(10.0),
        "byte": np.array(1 / 255),
    }
    nodes = [make("Cast", ["images"], ["float"], to=types.FLOAT)]
    if dtype == "uint8":
        nodes += [make("Mul", ["float", "byte"], ["scaled"]), make("Transpose", ["scaled"], ["rgb"], perm=[0, 3, 1, 2])]
    else:
        nodes += [make("Mul", ["float", "std"], ["scaled"]), make("Add", ["scaled", "mean"], ["rgb"])]
    keeps = int(answer == "pooled")
    nodes += [
        make("ReduceMean", ["rgb"], ["channels"], axes=[2, 3], keepdims=keeps),  # [N, 3]
        make("ReduceMean", ["channels"], ["grey"], axes=[1], keepdims=1),
        make("Sub", ["channels", "grey"], ["colour"]),
        make("Mul", ["colour", "ten"], ["logits"]),
        make("Log", ["channels"], ["log"]),
        make("Sub", ["log", "log"], ["zero_or_nan"]),
        make("Add", ["logits", "zero_or_nan"], ["nan"]),
        make("Softmax", ["logits"], ["softmax"], axis=1),
        make("Sigmoid", ["logits"], ["sigmoid"]),
        make("Identity", ["rgb"], ["map"]),
    ]
    source = "logits" if answer == "pooled" else answer
    shape: list[int | str] = [batch, 3, side, side] if answer == "map" else [batch, 3, *[1, 1] * keeps]
    names = ["output", "other"][:num_outputs]
    nodes += [make("Identity", [source], [name]) for name in names]
    pixels = [batch, side, side, 3] if dtype == "uint8" else [batch, 3, side, side]
    element = types.UINT8 if dtype == "uint8" else types.FLOAT
    inputs = [onnx.helper.make_tensor_value_info("images", element, pixels)]
    inputs += [onnx.helper.make_tensor_value_info("size", types.FLOAT, [1])] * (num_inputs - 1)
    graph = onnx.helper.make_graph(
        nodes,
        "tiny_classifier",
        inputs,
        [onnx.helper.make_tensor_value_info(name, types.FLOAT, shape) for name in names],
        [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.helper.set_model_props(model, {"names": str(dict(enumerate(NAMES))), **(metadata or {})})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
