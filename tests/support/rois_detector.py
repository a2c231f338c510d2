"""Rois detector: a spec with rois → an ONNX file that answers with its proposals."""

from __future__ import annotations

from pathlib import Path

import onnx

from pipeline.detector.onnx_file import copy_with_metadata
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec


def write_rois_detector(path: Path, spec: DetectorSpec) -> None:
    """A network whose boxes are its rois, all of score and class 0, with its spec in the file."""
    (width, height), num_rois = spec.network_wh, spec.num_rois
    value = onnx.helper.make_tensor_value_info
    zero = onnx.helper.make_tensor("zero", onnx.TensorProto.FLOAT, [1], [0])
    zero_id = onnx.helper.make_tensor("zero_id", onnx.TensorProto.INT64, [1], [0])
    nodes = [
        onnx.helper.make_node("Identity", ["rois"], ["boxes"]),
        onnx.helper.make_node("Shape", ["rois"], ["shape"], start=0, end=2),
        onnx.helper.make_node("ConstantOfShape", ["shape"], ["scores"], value=zero),
        onnx.helper.make_node("ConstantOfShape", ["shape"], ["class_ids"], value=zero_id),
    ]
    inputs = [
        value("pixels", onnx.TensorProto.UINT8, ["batch", height, width, 3]),
        value("rois", onnx.TensorProto.FLOAT, ["batch", num_rois, 4]),
    ]
    outputs = [
        value("boxes", onnx.TensorProto.FLOAT, ["batch", num_rois, 4]),
        value("scores", onnx.TensorProto.FLOAT, ["batch", num_rois]),
        value("class_ids", onnx.TensorProto.INT64, ["batch", num_rois]),
    ]
    graph = onnx.helper.make_graph(nodes, "rois", inputs, outputs)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    copy_with_metadata(path, path, {METADATA_KEY: spec.to_json()})
