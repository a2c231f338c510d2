"""Fixed detector: a number of boxes in; a real ONNX file that finds them in every image, at nearly no cost, out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.picture.coco import COCO_80
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec


def write_fixed_detector(path: Path, num_boxes: int, *, side: int = 320) -> Path:
    """Write a detector of square images whose boxes are a grid, so that none of them overlap."""
    import onnx
    from onnx import helper

    outputs = _outputs(num_boxes, side)
    nodes = [
        helper.make_node("Shape", ["images"], ["image_shape"]),
        helper.make_node("Gather", ["image_shape", "first"], ["batch"]),  # [1]
    ]
    constants = [onnx.numpy_helper.from_array(np.array([0], np.int64), "first")]
    declared = []
    for name, array in outputs.items():
        constants += [
            onnx.numpy_helper.from_array(array[None], f"{name}_value"),  # [1, N, ...]
            onnx.numpy_helper.from_array(np.array(array.shape, np.int64), f"{name}_sides"),
        ]
        nodes += [
            helper.make_node("Concat", ["batch", f"{name}_sides"], [f"{name}_shape"], axis=0),
            helper.make_node("Expand", [f"{name}_value", f"{name}_shape"], [name]),  # [B, N, ...]
        ]
        tensor_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        declared.append(helper.make_tensor_value_info(name, tensor_type, ("batch", *array.shape)))
    images = helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ("batch", side, side, 3))
    graph = helper.make_graph(nodes, "fixed_detector", [images], declared, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: _spec(num_boxes, side).to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _outputs(num_boxes: int, side: int) -> dict[str, npt.NDArray[np.generic]]:
    columns = max(1, math.ceil(math.sqrt(num_boxes)))
    pitch = side / columns
    corners = np.stack(np.divmod(np.arange(num_boxes), columns)[::-1], axis=1) * pitch  # [N, 2] x, y
    boxes = np.concatenate([corners + 0.1 * pitch, corners + 0.9 * pitch], axis=1)  # [N, 4]
    return {
        "boxes": boxes.astype(np.float32),
        "scores": np.full(num_boxes, 0.9, np.float32),
        "class_ids": np.arange(num_boxes, dtype=np.int64) % len(COCO_80),
    }


def _spec(num_boxes: int, side: int) -> DetectorSpec:
    return DetectorSpec(
        input_name="images",
        network_wh=(side, side),
        head="boxes",
        class_names=COCO_80,
        layout="nhwc",
        dtype="uint8",
        batch=None,
        resize="stretch",
        max_detections=max(1, num_boxes),
    )
