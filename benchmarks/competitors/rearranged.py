"""Rearranged YOLOv5: an ONNX file in, a copy whose output has the form that Ultralytics reads out; the same weights.

    python -m benchmarks.competitors.rearranged yolov5.onnx rearranged.onnx

Rows [B, N, 5 + C] of cx, cy, w, h, objectness and class scores become [B, 4 + C, N] of cx, cy, w, h and
objectness × class scores, as of YOLOv8, and the metadata has the keys that Ultralytics asks for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.picture.coco import COCO_80


def rearrange(path: Path, target: Path) -> Path:
    """Write the rearranged copy of a YOLOv5 detector of COCO's classes with a fixed size."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    graph = model.graph
    (rows,) = graph.output
    batch, num_rows, num_columns = (side.dim_value for side in rows.type.tensor_type.shape.dim)
    height, width = (side.dim_value for side in graph.input[0].type.tensor_type.shape.dim[2:])
    if num_columns != 5 + len(COCO_80) or min(height, width) < 1:
        raise SystemExit(f"{path}: must give rows of {5 + len(COCO_80)} for images of one size, got {num_columns}")
    import numpy as np

    for name, first, last in (("boxes", 0, 4), ("objectness", 4, 5), ("classes", 5, num_columns)):
        for end, column in (("first", first), ("last", last)):
            graph.initializer.append(numpy_helper.from_array(np.array([column], np.int64), f"rearranged_{name}_{end}"))
        inputs = [rows.name, f"rearranged_{name}_first", f"rearranged_{name}_last", "rearranged_axis"]
        graph.node.append(helper.make_node("Slice", inputs, [f"rearranged_{name}"]))
    graph.initializer.append(numpy_helper.from_array(np.array([2], np.int64), "rearranged_axis"))
    graph.node.append(helper.make_node("Mul", ["rearranged_objectness", "rearranged_classes"], ["rearranged_scores"]))
    graph.node.append(
        helper.make_node("Concat", ["rearranged_boxes", "rearranged_scores"], ["rearranged_rows"], axis=2)
    )
    graph.node.append(helper.make_node("Transpose", ["rearranged_rows"], ["rearranged_output"], perm=[0, 2, 1]))
    shape = (batch, num_columns - 1, num_rows)
    output = helper.make_tensor_value_info("rearranged_output", onnx.TensorProto.FLOAT, shape)
    del graph.output[:]
    graph.output.append(output)
    about = {"task": "detect", "stride": "32", "batch": str(batch), "imgsz": str([height, width])}
    helper.set_model_props(model, {**about, "names": str(dict(enumerate(COCO_80)))})
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
    return target


def main() -> None:
    """Rearrange one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    rearrange(options.model, options.target)


if __name__ == "__main__":
    main()
