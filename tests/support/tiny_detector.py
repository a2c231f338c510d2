"""Tiny detector: arrays → a real ONNX file that answers every image with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    adds_mean: bool = True,
    unbatched: Collection[str] = (),
    declared_shapes: Mapping[str, tuple[int | str, ...]] | None = None,
    extra_inputs: Mapping[str, tuple[str, tuple[int | str, ...]]] | None = None,
    scaled_by: Mapping[str, str] | None = None,
) -> Path:
    """Write a model whose outputs are these arrays plus the mean of the image, one for each image of the batch.

    The arrays have no batch side, and those in `unbatched` get none. adds_mean: False leaves the mean out.
    declared_shapes: what the file says of an output; sides with a name are as they are, but only a run can tell.
    extra_inputs: name → type and shape. scaled_by: output [N, 4] → the extra input [B, 2], width and height, with
    which it is multiplied. Skips the test where `onnx` is not installed.
    """
    onnx = pytest.importorskip("onnx", reason="writes an ONNX file")
    helper, tensor_type = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    sides = list(range(1 if len(input_shape) == 4 else 0, len(input_shape)))
    nodes = [
        helper.make_node("Cast", ["images"], ["as_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["as_float"], ["mean_of_each"], axes=sides, keepdims=0),  # [B], or no side
        helper.make_node("Mul", ["mean_of_each", "weight_of_mean"], ["mean"]),
        helper.make_node("ReduceMean", ["mean"], ["mean_of_all"], keepdims=0),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array(float(adds_mean), np.float32), "weight_of_mean"),
        onnx.numpy_helper.from_array(np.array(0, np.float32), "nothing"),
    ]
    declared = []
    for name, array in outputs.items():
        is_batched = name not in unbatched
        mean = "mean" if is_batched else "mean_of_all"
        ones = np.array([-1] + [1] * array.ndim if is_batched else [1] * array.ndim, np.int64)
        constants += [
            onnx.numpy_helper.from_array(ones, f"{name}_ones"),
            onnx.numpy_helper.from_array(array[None] if is_batched else array, f"{name}_value"),
        ]
        answer = f"{name}_unscaled" if name in (scaled_by or {}) else name
        nodes += [
            helper.make_node("Reshape", [mean, f"{name}_ones"], [f"{name}_mean"]),  # [B, 1, ...]
            helper.make_node("Cast", [f"{name}_mean"], [f"{name}_typed"], to=tensor_type(array.dtype)),
            helper.make_node("Add", [f"{name}_typed", f"{name}_value"], [answer]),  # [B, ...]
        ]
        if answer != name:
            size = (scaled_by or {})[name]
            constants.append(onnx.numpy_helper.from_array(np.array([-1, 1, 4], np.int64), f"{name}_corners"))
            nodes += [
                helper.make_node("Concat", [size, size], [f"{name}_sizes"], axis=1),
                helper.make_node("Cast", [f"{name}_sizes"], [f"{name}_float"], to=tensor_type(array.dtype)),
                helper.make_node("Reshape", [f"{name}_float", f"{name}_corners"], [f"{name}_factors"]),  # [B, 1, 4]
                helper.make_node("Mul", [answer, f"{name}_factors"], [name]),  # [B, N, 4]
            ]
        shape = (input_shape[0], *array.shape) if is_batched else array.shape
        open_sides = [axis for axis, side in enumerate((declared_shapes or {}).get(name, ())) if side != shape[axis]]
        if open_sides:  # a slice up to what only a run can tell
            nodes[-1].output[0] = f"{name}_whole"
            constants += [
                onnx.numpy_helper.from_array(np.array(open_sides, np.int64), f"{name}_open"),
                onnx.numpy_helper.from_array(np.zeros(len(open_sides), np.int64), f"{name}_starts"),
                onnx.numpy_helper.from_array(np.full(len(open_sides), 1e6, np.float32), f"{name}_far"),
            ]
            nodes += [
                helper.make_node("Mul", ["mean_of_all", "nothing"], [f"{name}_nothing"]),
                helper.make_node("Add", [f"{name}_far", f"{name}_nothing"], [f"{name}_unknown"]),
                helper.make_node("Cast", [f"{name}_unknown"], [f"{name}_ends"], to=onnx.TensorProto.INT64),
                helper.make_node("Slice", [f"{name}_whole", f"{name}_starts", f"{name}_ends", f"{name}_open"], [name]),
            ]
            shape = (declared_shapes or {})[name]
        declared.append(helper.make_tensor_value_info(name, tensor_type(array.dtype), shape))
    inputs = [helper.make_tensor_value_info("images", tensor_type(np.dtype(input_type)), input_shape)]
    for name, (dtype, shape) in (extra_inputs or {}).items():
        inputs.append(helper.make_tensor_value_info(name, tensor_type(np.dtype(dtype)), shape))
    graph = helper.make_graph(nodes, "tiny_detector", inputs, declared, constants)
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
    class_names: tuple[str, ...] = ("cat", "dog"),
) -> Path:
    """Write a self-describing detector whose every answer to a black image is rows of x1, y1, x2, y2, score, class."""
    spec = DetectorSpec(
        input_name="images",
        network_wh=(side, side),
        head="boxes",
        class_names=class_names,
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
