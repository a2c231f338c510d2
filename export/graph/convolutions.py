"""Convolutions: a graph → the same function with fewer layers, where two linear ones follow or join one another.

A training network has them for its gradients; at inference they are one layer, exact up to rounding. On a GPU the
average pools of RT-DETR's backbone took as long as a seventh of all its convolutions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

FloatArray = npt.NDArray[np.float64]

_TYPES: dict[int, type[np.float32 | np.float16]] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


def merge_convolutions(model: onnx.ModelProto) -> None:
    """Merge sums of two convolutions, and in float16 average pools with the 1 x 1 convolution behind, in place.

    Weights are computed in float64 and rounded once. A pool that rounds its size up needs `value_info` of its input,
    because windows that the border cuts are averages of fewer cells.
    """
    for merge in (_merge_with_pool, _merge_branches):
        graph = _Graph.of(model.graph)
        for node in list(model.graph.node):
            if merge(graph, node):
                graph = _Graph.of(model.graph)
    _drop_unused_weights(model.graph)


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph, with its weights by name, the producers and the numbers of uses of its values."""

    proto: GraphProto
    weights: dict[str, TensorProto]
    producers: dict[str, NodeProto]
    num_uses: Counter[str]

    @classmethod
    def of(cls, proto: GraphProto) -> _Graph:
        producers = {name: node for node in proto.node for name in node.output}
        return cls(proto, {tensor.name: tensor for tensor in proto.initializer}, producers, Counter(_names_used(proto)))

    def producer(self, name: str, operator: str) -> NodeProto | None:
        """The node of this operator whose only use is this value."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type == operator and self.num_uses[name] == 1 else None

    def sides_of(self, name: str) -> list[int]:
        """Height, width, … of a value [N, C, …]; 0 where it is not fixed."""
        for value in (*self.proto.value_info, *self.proto.input):
            if value.name == name:
                return [side.dim_value for side in value.type.tensor_type.shape.dim][2:]
        return []


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution of constant weights with padding that is written down."""

    node: NodeProto
    weight: FloatArray  # [out, in / groups, k, …]
    bias: FloatArray  # [out]
    data_type: int

    @classmethod
    def of(cls, node: NodeProto | None, graph: _Graph) -> _Convolution | None:
        if node is None or node.op_type != "Conv" or _attributes(node).get("auto_pad", b"NOTSET") != b"NOTSET":
            return None
        constants = [graph.weights.get(name) for name in node.input[1:] if name]
        weight, bias = (*constants, None)[:2]
        if weight is None or None in constants or weight.data_type not in _TYPES:
            return None
        values = numpy_helper.to_array(weight).astype(np.float64)
        biases = np.zeros(len(values)) if bias is None else numpy_helper.to_array(bias).astype(np.float64)
        return cls(node, values, biases, weight.data_type)

    @property
    def kernel(self) -> list[int]:
        return list(self.weight.shape[2:])

    @property
    def strides(self) -> list[int]:
        return _integers(self.node, "strides", 1, len(self.kernel))

    @property
    def num_groups(self) -> int:
        return _integers(self.node, "group", 1, 1)[0]

    @property
    def is_centred(self) -> bool:
        """Whether the middle of its kernel lies on its stride: odd sides, half of them as padding, no dilation."""
        num, halves = len(self.kernel), [side // 2 for side in self.kernel]
        has_odd_sides = all(side % 2 for side in self.kernel)
        is_padded = _integers(self.node, "pads", 0, 2 * num) == halves * 2
        return has_odd_sides and is_padded and set(_integers(self.node, "dilations", 1, num)) <= {1}


def _merge_with_pool(graph: _Graph, node: NodeProto) -> bool:
    """AveragePool of k x k with stride k, then a 1 x 1 convolution → one convolution of k x k, weights / k².

    In float16 alone: it multiplies k² times as often, which is cheap for a GPU beside a pass over memory, but made
    RT-DETR in float32 a seventh slower on a CPU.
    """
    convolution = _Convolution.of(node, graph)
    pool = graph.producer(node.input[0], "AveragePool") if convolution is not None else None
    if convolution is None or pool is None or not convolution.is_centred:
        return False
    if convolution.data_type != TensorProto.FLOAT16:
        return False
    kernel = _integers(pool, "kernel_shape", 1, 0)
    if {*convolution.kernel, *convolution.strides} != {1} or not _has_whole_windows(pool, kernel, graph):
        return False
    weight = np.broadcast_to(convolution.weight, (*convolution.weight.shape[:2], *kernel)) / np.prod(kernel)
    changed = {"kernel_shape": kernel, "strides": kernel, "pads": [0] * 2 * len(kernel)}
    if not _write(graph.proto, node, pool.input[0], convolution, weight, convolution.bias, changed):
        return False
    graph.proto.node.remove(pool)
    return True


def _has_whole_windows(pool: NodeProto, kernel: Sequence[int], graph: _Graph) -> bool:
    """Whether the windows of a pool stand side by side, and none is cut by the border."""
    num, attributes = len(kernel), _attributes(pool)
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or any(_integers(pool, "pads", 0, 2 * num)):
        return False
    if _integers(pool, "strides", 1, num) != list(kernel) or set(_integers(pool, "dilations", 1, num)) != {1}:
        return False
    sides = graph.sides_of(pool.input[0])
    is_even = len(sides) == num and all(side and side % k == 0 for side, k in zip(sides, kernel, strict=True))
    return is_even or not attributes.get("ceil_mode", 0)


def _merge_branches(graph: _Graph, node: NodeProto) -> bool:
    """The sum of two convolutions of one input, one of them 1 x 1 → one convolution.

    The re-parameterisation of RepVGG (Ding et al. 2021, https://arxiv.org/abs/2101.03697).
    """
    if node.op_type != "Add":
        return False
    one, other = (_Convolution.of(graph.producer(name, "Conv"), graph) for name in node.input)
    if one is None or other is None:
        return False
    large, small = (one, other) if one.weight.size >= other.weight.size else (other, one)
    if not _add_up(large, small):
        return False
    weight = large.weight + np.pad(small.weight, [(0, 0), (0, 0), *((side // 2,) * 2 for side in large.kernel)])
    if not _write(graph.proto, node, large.node.input[0], large, weight, large.bias + small.bias, {}):
        return False
    graph.proto.node.remove(large.node)
    graph.proto.node.remove(small.node)
    return True


def _add_up(large: _Convolution, small: _Convolution) -> bool:
    """Whether the sum of two convolutions is one."""
    is_same = (
        large.node.input[0] == small.node.input[0]
        and (large.strides, large.num_groups, large.data_type) == (small.strides, small.num_groups, small.data_type)
        and large.weight.shape[:2] == small.weight.shape[:2]
    )
    return is_same and set(small.kernel) == {1} and large.is_centred and small.is_centred


def _write(
    proto: GraphProto,
    node: NodeProto,
    source: str,
    like: _Convolution,
    weight: FloatArray,
    bias: FloatArray,
    changed: dict[str, list[int]],
) -> bool:
    """Make a node a convolution like another, of these weights; False, and nothing is changed, if they overflow."""
    data_type = _TYPES[like.data_type]
    with np.errstate(over="ignore"):
        constants = {
            f"{node.output[0]}_weight": weight.astype(data_type),
            f"{node.output[0]}_bias": bias.astype(data_type),
        }
    if not all(np.isfinite(values).all() for values in constants.values()):
        return False
    attributes = {**_attributes(like.node), **changed}
    merged = helper.make_node("Conv", [source, *constants], list(node.output), node.name)
    merged.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    node.CopyFrom(merged)
    proto.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    return True


def _drop_unused_weights(proto: GraphProto) -> None:
    used = set(_names_used(proto))
    for index in reversed(range(len(proto.initializer))):
        if proto.initializer[index].name not in used:
            del proto.initializer[index]


def _names_used(proto: GraphProto) -> Iterator[str]:
    """The name of a value for each of its uses: inputs of nodes, in subgraphs as well, and outputs of the graph."""
    yield from (value.name for value in proto.output)
    for node in proto.node:
        yield from node.input
        for attribute in node.attribute:
            for subgraph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _names_used(subgraph)


def _attributes(node: NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _integers(node: NodeProto, name: str, default: int, num: int) -> list[int]:
    """An attribute of integers, or as many defaults."""
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints) or [attribute.i]
    return [default] * num
