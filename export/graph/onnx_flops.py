"""FLOPs of ONNX: a file → its parameters and operations, counted in the shapes of one run.

Own code, because onnx-tool (MIT, 1.0.1) requires shapes for every dynamic batch, does not run NonMaxSuppression,
DynamicQuantizeLinear, loops and sequences, counts an exponential as 32 MACs, and an operator that it does not know as
nothing. onnx-opcounter knows few operators; calflops, fvcore, ptflops and thop are for PyTorch, which has
`torch.utils.flop_counter`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner

from export.graph.flops import Flops, Layer
from export.graph.node_work import ELEMENTWISE, MOVES, attribute, work_of
from export.graph.tensor_shapes import Shape, feed_for, measure, shapes_inside, with_shapes_inside

# The inputs of a layer that are its parameters; not a batch norm's statistics, which PyTorch does not count either.
_WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvInteger": (1,),
    "ConvTranspose": (1, 2),
    "DeformConv": (1, 3),
    "Einsum": (0, 1),
    "FusedConv": (1, 2),
    "FusedGemm": (0, 1, 2),
    "FusedMatMul": (0, 1),
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "GRU": (1, 2, 3),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "LSTM": (1, 2, 3),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "PRelu": (1,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
}
_FLOATS = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
}
_SHAPE_TYPES = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING}

Roots = frozenset[str]
"""The constants in the file of which a tensor is made, with nothing else but shapes."""


def count_onnx(path: str | Path, network_wh: tuple[int, int] | None = None) -> Flops:
    """Count an ONNX file by running it once on noise; `network_wh` sets a dynamic size.

    Parameters are the elements of constants, floating or quantized, that are weights, biases, scales and slopes of
    layers, once each: the same as PyTorch's count, except for batch norms that export folded away (C of their 2 C
    parameters, if the convolution had no bias) and learned tables, which are `num_other_constants`. Nodes that depend
    on constants and shapes only run at loading and count nothing. An If counts as its branch with more FLOPs, a Loop
    or Scan as one round.

    Raises ModelError for a file that is not an ONNX model or does not run, and for a size that stays dynamic.
    """
    path = Path(path)
    feed = feed_for(path, network_wh)
    model = onnx.inliner.inline_local_functions(onnx.load(path))
    measured = measure(model, feed, path)
    if any(_subgraphs(node) for node in model.graph.node):
        model = with_shapes_inside(model, measured)
    counter = _Counter()
    shapes = {name: shape for name, (shape, _) in measured.items()}
    layers = counter.walk(model.graph, _Scope(shapes, {}, set(), ""))
    return Flops(
        path.name,
        {name: tuple(value.shape) for name, value in feed.items()},
        sum(counter.sizes[key] for key in counter.parameters),
        sum(counter.sizes[key] for key in counter.others - counter.parameters),
        tuple(layers),
        dict(counter.not_counted.most_common()),
        tuple(dict.fromkeys(counter.remarks)),
        _largest_tensor(model, measured),
    )


def _largest_tensor(model: onnx.ModelProto, measured: Mapping[str, tuple[Shape, int]]) -> tuple[str, int] | None:
    """Name and bytes of the largest tensor that a node computes."""
    computed = {name: measured[name] for node in model.graph.node for name in node.output if name in measured}
    sizes = {name: math.prod(shape) * num_bytes for name, (shape, num_bytes) in computed.items()}
    return max(sizes.items(), key=lambda item: item[1], default=None)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The tensors that the nodes of a graph can read, its own and those of the graphs around it."""

    shapes: Mapping[str, Shape]
    constants: dict[str, Roots]  # made of constants and shapes only
    after_layers: set[str]  # computed by a layer with weights, or from its outputs
    prefix: str  # of the names of constants and layers

    def shapes_of(self, names: Iterable[str]) -> list[Shape | None]:
        """() for an omitted tensor, None: unknown."""
        return [self.shapes.get(name) if name else () for name in names]


class _Counter:
    """Walks a graph and its subgraphs in the order of the file."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}  # constants that may be weights, by prefix and name
        self.floating: set[str] = set()
        self.parameters: set[str] = set()
        self.others: set[str] = set()
        self.channels: set[int] = set()  # the sides of weights
        self.not_counted: Counter[str] = Counter()
        self.remarks: list[str] = []

    def walk(self, graph: onnx.GraphProto, scope: _Scope) -> list[Layer]:
        """The layers of a graph; adds its tensors to the scope."""
        for tensor in graph.initializer:
            scope.constants[tensor.name] = self._constant(scope.prefix + tensor.name, tensor)
        layers: list[Layer] = []
        for node in graph.node:
            if self._runs_at_loading(node, scope):
                continue
            if _subgraphs(node):
                layers += self._costliest_subgraph(node, scope)
                scope.after_layers.update(node.output)
            else:
                layers += self._layer(node, scope)
        return layers

    def _runs_at_loading(self, node: onnx.NodeProto, scope: _Scope) -> bool:
        """Whether a node depends on constants and shapes only; then its outputs are constants too."""
        if node.op_type == "Constant":
            value: onnx.TensorProto | None = attribute(node, "value", None)
            name = node.output[0]
            scope.constants[name] = frozenset() if value is None else self._constant(scope.prefix + name, value)
            return True
        names = [name for name in node.input if name]
        if _subgraphs(node) or not (
            node.op_type in ("Shape", "Size") or all(name in scope.constants for name in names)
        ):
            return False
        # Scale and zero point are not parameters.
        sources = names[:1] if node.op_type in ("QuantizeLinear", "DequantizeLinear") else names
        roots = frozenset[str]().union(*(scope.constants.get(name, frozenset()) for name in sources))
        scope.constants.update((name, roots) for name in node.output)
        return True

    def _layer(self, node: onnx.NodeProto, scope: _Scope) -> list[Layer]:
        """The layer of a node, none if it only moves data."""
        parameters = self._new_parameters(node, scope)
        work = work_of(node, scope.shapes_of(node.input), scope.shapes_of(node.output))
        if work is None:
            self.not_counted[f"{node.domain}.{node.op_type}".lstrip(".")] += 1
        if node.op_type in _WEIGHTS or any(name in scope.after_layers for name in node.input if name):
            # The scale of DynamicQuantizeLinear is not data: a constant that multiplies it is a scale too.
            scope.after_layers.update(node.output[:1] if node.op_type == "DynamicQuantizeLinear" else node.output)
        if not parameters and (work is None or node.op_type in MOVES):
            return []
        macs, others = (0, 0) if work is None else (work.macs, work.others)
        num_parameters = sum(self.sizes[key] for key in parameters)
        name, shape = scope.prefix + (node.name or node.output[0]), scope.shapes.get(node.output[0])
        return [Layer(name, node.op_type, shape, num_parameters, macs, 2 * macs + others)]

    def _constant(self, key: str, tensor: onnx.TensorProto) -> Roots:
        if tensor.data_type in _SHAPE_TYPES:
            return frozenset()
        self.sizes[key] = math.prod(tensor.dims)
        if tensor.data_type in _FLOATS:
            self.floating.add(key)
        return frozenset([key])

    def _new_parameters(self, node: onnx.NodeProto, scope: _Scope) -> Roots:
        """The constants that are this node's parameters and of none before it."""
        parameters: set[str] = set()
        for index, name in enumerate(node.input):
            roots, shape = scope.constants.get(name, frozenset()), scope.shapes.get(name, ())
            if index in _WEIGHTS.get(node.op_type, ()):
                parameters |= roots
                self.channels.update(shape if roots else ())
            elif node.op_type in ELEMENTWISE or node.op_type in MOVES:
                # A vector as long as a layer before it is wide: a bias, a scale, the rest of an unfolded norm.
                is_behind = any(other in scope.after_layers for other in node.input if other != name)
                if node.op_type in ("Add", "Sub", "Mul", "Div") and is_behind and self._is_wide(shape):
                    parameters |= roots
                else:
                    self.others |= {key for key in roots & self.floating if self.sizes[key] > 1}
        fresh = frozenset(parameters - self.parameters)
        self.parameters |= fresh
        return fresh

    def _is_wide(self, shape: Shape) -> bool:
        return [side for side in shape if side > 1] == [max(shape, default=0)] and max(shape) in self.channels

    def _costliest_subgraph(self, node: onnx.NodeProto, scope: _Scope) -> list[Layer]:
        """The layers of the branch with the most FLOPs, or of one round of a loop."""
        subgraphs = _subgraphs(node)
        prefix = f"{scope.prefix}{node.name or node.output[0]}/"
        counted = []
        for number, body in enumerate(subgraphs):
            inputs = {value.name for value in body.input}
            inner = _Scope(
                {**scope.shapes, **shapes_inside(body)},
                {name: roots for name, roots in scope.constants.items() if name not in inputs},
                scope.after_layers | inputs,
                f"{prefix}{number}/" if len(subgraphs) > 1 else prefix,
            )
            counted.append(self.walk(body, inner))
        if node.op_type == "If":
            self.remarks.append("of an If, the branch with more operations is counted")
        else:
            self.remarks.append(f"of a {node.op_type}, one round is counted")
        return max(counted, key=lambda layers: sum(layer.flops for layer in layers))


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [field.g for field in node.attribute if field.type == onnx.AttributeProto.GRAPH]
