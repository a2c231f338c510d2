"""How does YOLOv5's output become the one that Ultralytics reads? The same network and the same weights.

    python -m benchmarks.competitors.rearranged yolov5.onnx rearranged.onnx

Rows [B, N, 5 + C] of cx, cy, w, h, objectness and class scores become [B, 4 + C, N] of cx, cy, w, h and
objectness × class scores, as of YOLOv8, and the metadata says what Ultralytics asks for.
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
        for end, place in (("first", first), ("last", last)):
            graph.initializer.append(numpy_helper.from_array(np.array([place], np.int64), f"guest_{name}_{end}"))
        inputs = [rows.name, f"guest_{name}_first", f"guest_{name}_last", "guest_axis"]
        graph.node.append(helper.make_node("Slice", inputs, [f"guest_{name}"]))
    graph.initializer.append(numpy_helper.from_array(np.array([2], np.int64), "guest_axis"))
    graph.node.append(helper.make_node("Mul", ["guest_objectness", "guest_classes"], ["guest_scores"]))
    graph.node.append(helper.make_node("Concat", ["guest_boxes", "guest_scores"], ["guest_rows"], axis=2))
    graph.node.append(helper.make_node("Transpose", ["guest_rows"], ["guest_output"], perm=[0, 2, 1]))
    shape = (batch, num_columns - 1, num_rows)
    output = helper.make_tensor_value_info("guest_output", onnx.TensorProto.FLOAT, shape)
    del graph.output[:]
    graph.output.append(output)
    about = {"task": "detect", "stride": "32", "batch": str(batch), "imgsz": str([height, width])}
    helper.set_model_props(model, {**about, "names": str(dict(enumerate(COCO_80)))})
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    rearrange(options.model, options.target)


if __name__ == "__main__":
    main()
