"""A real ONNX file that answers every image with the same output; for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec


def write_detector(
    path: Path,
    outputs: Mapping[str, npt.NDArray[Any]],
    *,
    input_shape: tuple[int | str, ...] = (1, 3, 64, 64),
    input_type: str = "float32",
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a model whose outputs are these arrays plus the mean of the image, one for each image of the batch.

    The arrays have no batch side. Skips the test where `onnx` is not installed.
    """
    onnx = pytest.importorskip("onnx", reason="writes an ONNX file")
    helper, tensor_type = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    nodes = [
        helper.make_node("Cast", ["images"], ["as_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["as_float"], ["mean"], axes=[1, 2, 3], keepdims=0),  # [B]
    ]
    constants, declared = [], []
    for name, array in outputs.items():
        ones = np.array([-1] + [1] * array.ndim, np.int64)
        constants += [
            onnx.numpy_helper.from_array(ones, f"{name}_ones"),
            onnx.numpy_helper.from_array(array[None], f"{name}_value"),
        ]
        nodes += [
            helper.make_node("Reshape", ["mean", f"{name}_ones"], [f"{name}_mean"]),  # [B, 1, ...]
            helper.make_node("Cast", [f"{name}_mean"], [f"{name}_typed"], to=tensor_type(array.dtype)),
            helper.make_node("Add", [f"{name}_typed", f"{name}_value"], [name]),  # [B, ...]
        ]
        declared.append(helper.make_tensor_value_info(name, tensor_type(array.dtype), (input_shape[0], *array.shape)))
    image = helper.make_tensor_value_info("images", tensor_type(np.dtype(input_type)), input_shape)
    graph = helper.make_graph(nodes, "tiny_detector", [image], declared, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def write_boxes_detector(
    path: Path,
    rows: list[tuple[float, float, float, float, float, int]],
    *,
    batch: int | None = None,
    dtype: str = "float32",
    side: int = 64,
) -> Path:
    """Write a self-describing detector whose every answer to a black image is rows of x1, y1, x2, y2, score, class."""
    spec = DetectorSpec(
        input_name="images",
        network_wh=(side, side),
        head="boxes",
        class_names=("cat", "dog"),
        layout="nhwc" if dtype == "uint8" else "nchw",
        dtype=dtype,  # type: ignore[arg-type]
        batch=batch,
        pad_value=0,
    )
    table = np.array(rows, np.float32).reshape(-1, 6)  # [K, 6]
    outputs: dict[str, npt.NDArray[Any]] = {
        "boxes": table[:, :4],
        "scores": table[:, 4],
        "class_ids": table[:, 5].astype(np.int64),
    }
    shape = (side, side, 3) if spec.layout == "nhwc" else (3, side, side)
    return write_detector(
        path,
        outputs,
        input_shape=("batch" if batch is None else batch, *shape),
        input_type=dtype,
        metadata={METADATA_KEY: spec.to_json()},
    )
