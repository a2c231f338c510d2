"""ONNX graph: its scores → the feature maps that they are computed from, and what comes behind one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx

_POOLS = {"RoiAlign", "MaxRoiPool"}
_LEADING_INPUT_ONLY = {  # the others say which values are taken, and carry no gradient
    *_POOLS,
    *("Gather", "GatherElements", "GatherND", "TopK", "Reshape", "Slice", "Expand", "Tile", "Resize", "Upsample"),
    *("Pad", "Squeeze", "Unsqueeze", "Clip", "Split"),
}
_NO_GRADIENT = {"Shape", "ArgMax", "NonZero", "NonMaxSuppression", "Equal", "Greater", "Less", "Not", "And", "Or"}
_LINEAR = {"Conv", "Gemm", "MatMul"}


def feature_maps(graph: onnx.GraphProto) -> list[str]:
    """What convolutions and poolings of regions read on the way to the scores, in the order in which it is made."""
    readers = [node for node in _upstream(graph, lambda node: False) if node.op_type in ("Conv", *_POOLS)]
    maps = {node.input[0] for node in readers}
    return [output for node in graph.node for output in node.output if output in maps]


def scored_maps(graph: onnx.GraphProto) -> list[str]:
    """The inputs of the last convolutions before the scores; () where what scores is not a convolution."""
    ends = [node for node in _upstream(graph, lambda node: node.op_type in _LINEAR) if node.op_type == "Conv"]
    maps = {node.input[0] for node in ends}
    return [output for node in graph.node for output in node.output if output in maps]


def behind(model: onnx.ModelProto, name: str) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes that depend on a tensor, and the names of the tensors that they read from before, itself included."""
    weights = {tensor.name for tensor in model.graph.initializer}
    made, needed = {name}, {name: None}
    nodes = []
    for node in model.graph.node:
        used = list(_names_in(node))
        if made.isdisjoint(used):
            continue
        nodes.append(node)
        needed |= dict.fromkeys(one for one in used if one and one not in made and one not in weights)
        made |= set(node.output)
    return nodes, list(needed)


def part_of(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], inputs: Mapping[str, npt.NDArray[np.generic]]
) -> onnx.ModelProto:
    """A model of some nodes of another, which takes arrays of these types and shapes, and makes the same outputs."""
    used = {name for node in nodes for name in _names_in(node)}
    made = {output for node in nodes for output in node.output}
    graph = onnx.helper.make_graph(
        nodes,
        "part",
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in inputs.items()
        ],
        [output for output in model.graph.output if output.name in made],
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )


def _upstream(graph: onnx.GraphProto, is_end: Callable[[onnx.NodeProto], bool]) -> Iterator[onnx.NodeProto]:
    """The nodes from which the scores are computed, from behind, none beyond one that is an end.

    Of a graph without an output named scores, those of all outputs.
    """
    makers: Mapping[str, onnx.NodeProto] = {output: node for node in graph.node for output in node.output}
    outputs = [output.name for output in graph.output]
    waiting = ["scores"] if "scores" in outputs else outputs
    visited: set[str] = set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.output[0] in visited or node.op_type in _NO_GRADIENT:
            continue
        visited.add(node.output[0])
        yield node
        if not is_end(node):
            waiting += _carrying(node)


def _carrying(node: onnx.NodeProto) -> list[str]:
    """The inputs of a node through which a gradient goes."""
    if node.op_type in _LEADING_INPUT_ONLY:
        return list(node.input[:1])
    return list(node.input[1:] if node.op_type == "Where" else node.input)


def _names_in(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, and what the nodes inside it read."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from _names_in(inner)
