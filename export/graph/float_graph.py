"""Float graph: a float32 file → the graph to be quantized, with its layers and the nodes that decode."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnx.version_converter
from onnxruntime.quantization.shape_inference import quant_pre_process

from pipeline.errors import ModelError, first_line

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LEAST_OPSET = 13


def prepare(path: Path, prepared: Path) -> onnx.ModelProto:
    """The graph of a file, optimised for quantization, every node named; also written to `prepared`.

    Raises ModelError for a file that is not float32, is quantized already or has a too old operator set.
    """
    if _has_half_weights(onnx.load(path, load_external_data=False)):
        raise ModelError(f"{path} must be float32, its layers are float16")
    with tempfile.TemporaryDirectory(prefix="streamdet-quantize-") as folder:
        quant_pre_process(_with_opset(path, Path(folder)), str(prepared), skip_symbolic_shape=True)
    model = onnx.load(prepared)
    if any(node.op_type in ("QuantizeLinear", "ConvInteger", "MatMulInteger") for node in model.graph.node):
        raise ModelError(f"{path} must be float32, it is quantized already")
    _name_all_nodes(model)
    onnx.save(model, prepared)
    return model


def has_weights(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether a node is a layer that multiplies by a constant of the file."""
    if node.op_type not in WEIGHTED:
        return False
    return any(tensor.name in node.input[:2] for tensor in model.graph.initializer)


def tail_of(model: onnx.ModelProto) -> set[str]:
    """The names of the nodes that no layer with weights follows: the decoding."""
    leads_on: set[str] = set()  # tensors from which a layer can be reached
    tail: set[str] = set()
    for node in reversed(model.graph.node):
        if has_weights(node, model) or any(name in leads_on for name in node.output):
            leads_on.update(node.input)
        else:
            tail.add(node.name)
    return tail


def _with_opset(path: Path, folder: Path) -> str:
    """The file, or a copy in the first operator set in which weights can be quantized by channel."""
    model = onnx.load(path)
    if all(opset.version >= _LEAST_OPSET for opset in model.opset_import if opset.domain in ("", "ai.onnx")):
        return str(path)
    newer = folder / "newer.onnx"
    try:
        onnx.save(onnx.version_converter.convert_version(model, _LEAST_OPSET), newer)
    except Exception as error:  # the converter's errors have no common base
        raise ModelError(
            f"{path} must have operator set {_LEAST_OPSET} or newer, and cannot be converted: {first_line(error)}; "
            "export it again with a newer --opset"
        ) from error
    return str(newer)


def _name_all_nodes(model: onnx.ModelProto) -> None:
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)


def _has_half_weights(model: onnx.ModelProto) -> bool:
    halves = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    return any(node.op_type in WEIGHTED and halves & set(node.input) for node in model.graph.node)
