"""How many parameters and operations has a network, by layer and in all?

Counted by own code for ONNX files. onnx-tool (MIT, 1.0.1) was tried: it wants shapes for every open batch, does not run
NonMaxSuppression, DynamicQuantizeLinear, loops and sequences, takes an exponential for 32 MACs, and an operator that it
does not know for none. onnx-opcounter knows few operators; calflops, fvcore, ptflops and thop are for PyTorch, where
`torch.utils.flop_counter` is kept with it.

A MAC is one multiply-add of a convolution or a matrix product, two FLOPs. Papers call either "FLOPs": ResNet's and
torchvision's tables the MACs, those on YOLO and YOLOX twice as many. Both are here; the rules are in `node_work`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx.inliner

from export.graph.node_work import ELEMENTWISE, MOVES, attribute, work_of
from export.graph.tensor_shapes import Shape, feed_for, measure, shapes_inside, with_shapes_inside

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Layer:
    """One node of an ONNX graph, or one module of a PyTorch network, without its children."""

    name: str
    op: str
    output_shape: Shape | None  # None: not known
    num_parameters: int  # that no layer before it has
    macs: int
    flops: int  # 2 × macs and whatever else it computes


@dataclass(frozen=True, slots=True)
class Share:
    """What all layers of a kind have together."""

    num_layers: int
    num_parameters: int
    macs: int
    flops: int


@dataclass(frozen=True, slots=True)
class Flops:
    """What one run of a network on `input_shapes` takes."""

    name: str
    input_shapes: Mapping[str, Shape]
    num_parameters: int
    num_other_constants: int  # grids, anchors, tables: floating values in the file that are no layer's weights
    layers: tuple[Layer, ...]  # in the order of the file or of the modules; those that move data only are left out
    not_counted: Mapping[str, int]  # operators without a rule, and how often they came
    remarks: tuple[str, ...]
    largest_tensor: tuple[str, int] | None  # name and bytes of the largest intermediate tensor; None: not known

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and matrix products."""
        return sum(each.macs for each in self.layers)

    @property
    def flops(self) -> int:
        """2 × MACs, and all other operations."""
        return sum(each.flops for each in self.layers)

    @property
    def by_op(self) -> dict[str, Share]:
        """What each kind of layer has of it, the most FLOPs first."""
        kinds: dict[str, list[Layer]] = {}
        for each in self.layers:
            kinds.setdefault(each.op, []).append(each)
        shares = {
            op: Share(
                len(layers),
                sum(each.num_parameters for each in layers),
                sum(each.macs for each in layers),
                sum(each.flops for each in layers),
            )
            for op, layers in kinds.items()
        }
        return dict(sorted(shares.items(), key=lambda each: -each[1].flops))


def count_onnx(path: str | Path, network_wh: tuple[int, int] | None = None) -> Flops:
    """Count an ONNX file by running it once on noise; `network_wh` is for a size that the file leaves open.

    Parameters are the elements of constants, floating or quantised, that are weights, biases, scales and slopes of
    layers, each once: what PyTorch counts, but for batch norms that export folded away (C of their 2 C parameters, if
    the convolution had no bias) and learned tables, which are `num_other_constants`. What depends on constants and
    shapes only is computed at loading and counts nothing. Of an If the branch with more FLOPs counts, of a Loop or
    Scan one round.

    Raises ModelError for what is no ONNX model or does not run, and for a size that stays open.
    """
    path = Path(path)
    feed = feed_for(path, network_wh)
    model = onnx.inliner.inline_local_functions(onnx.load(path))
    measured = measure(model, feed, path)
    if any(_subgraphs(node) for node in model.graph.node):
        model = with_shapes_inside(model, measured)
    counter = _Counter()
    layers = counter.walk(model.graph, {name: shape for name, (shape, _) in measured.items()}, {}, set(), "")
    made = {name: measured[name] for node in model.graph.node for name in node.output if name in measured}
    sizes = {name: math.prod(shape) * num_bytes for name, (shape, num_bytes) in made.items()}
    largest = max(sizes, key=lambda name: sizes[name], default=None)
    return Flops(
        path.name,
        {name: tuple(value.shape) for name, value in feed.items()},
        sum(counter.sizes[key] for key in counter.parameters),
        sum(counter.sizes[key] for key in counter.others - counter.parameters),
        tuple(layers),
        dict(counter.not_counted.most_common()),
        tuple(dict.fromkeys(counter.remarks)),
        None if largest is None else (largest, sizes[largest]),
    )


def count_torch(module: nn.Module, *inputs: Tensor, name: str = "") -> Flops:
    """Count a PyTorch module by running it once, in eval mode, with `torch.utils.flop_counter.FlopCounterMode`.

    That knows convolutions and matrix products, those of attention included; the other operations that came are in
    `not_counted`.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    names = {each: title for title, each in module.named_modules()}
    inside: list[nn.Module] = []
    flops: Counter[nn.Module] = Counter()
    shapes: dict[nn.Module, Shape] = {}
    not_counted: Counter[str] = Counter()
    counter = FlopCounterMode(display=False)

    class Attributing(TorchDispatchMode):  # type: ignore[no-untyped-call]  # not typed in PyTorch
        """Gives the FLOPs of each operation to the innermost module that it is in."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            before = counter.get_total_flops()
            result = func(*args, **(kwargs or {}))
            done = counter.get_total_flops() - before
            if done:
                flops[inside[-1] if inside else module] += done
            elif not func.is_view:
                title = str(func).rpartition(".")[0]  # without the overload
                if title.removeprefix("aten.").rstrip("_") not in _TORCH_MOVES:
                    not_counted[title] += 1
            return result

    def leave(each: nn.Module, _: Any, output: Any) -> None:
        inside.pop()
        if isinstance(output, torch.Tensor):
            shapes[each] = tuple(output.shape)

    hooks = [
        register_module_forward_pre_hook(lambda each, _: inside.append(each)),
        register_module_forward_hook(leave),
    ]
    was_training, had_fast_path = module.training, torch.backends.mha.get_fastpath_enabled()
    # Attention in one call, which PyTorch chooses by processor, is not among the operations that FlopCounterMode knows.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter, Attributing():  # type: ignore[no-untyped-call]
            module.eval()(*inputs)
    finally:
        module.train(was_training)
        torch.backends.mha.set_fastpath_enabled(had_fast_path)
        for hook in hooks:
            hook.remove()
    seen: set[int] = set()
    layers = []
    for each, title in names.items():
        own = [value for value in each.parameters(recurse=False) if id(value) not in seen]
        seen.update(map(id, own))
        num_parameters = sum(value.numel() for value in own)
        if num_parameters or flops[each]:
            layers.append(
                Layer(title, type(each).__name__, shapes.get(each), num_parameters, flops[each] // 2, flops[each])
            )
    return Flops(
        name or type(module).__name__,
        {f"input {place}": tuple(value.shape) for place, value in enumerate(inputs)},
        sum(each.num_parameters for each in layers),
        sum(value.numel() for value in module.buffers() if value.is_floating_point()),
        tuple(layers),
        dict(not_counted.most_common()),
        ("PyTorch counts convolutions, matrix products and attention only; the ONNX file counts everything",),
        None,
    )


def count_detector(name: str, network_wh: tuple[int, int] | None = None) -> Flops:
    """Count a PyTorch detector that `build` knows, with random weights, from an image's pixels to the best boxes.

    Raises ModelError for what is not known and a size that cannot be, MissingExtraError for a missing library.
    """
    from export.detectors import build
    from export.exportable import ExportRequest
    from export.graph.forms import module_for
    from export.proof.random_weights import some_images

    exportable = build(ExportRequest(name, weights="none", network_wh=network_wh))
    module, spec, _ = module_for(exportable, "boxes", half=False)
    return count_torch(module, some_images(1, spec.network_wh), name=name)


_TORCH_FREE = """
_local_scalar_dense _to_copy _unsafe_view arange as_strided_scatter cat clone constant_pad_nd copy empty empty_like
empty_strided fill full full_like gather index index_put index_select lift_fresh_copy masked_fill new_empty new_full
new_ones new_zeros ones ones_like repeat roll scalar_tensor scatter select_scatter set slice_scatter stack where
zero zeros zeros_like
"""
_TORCH_MOVES = frozenset(_TORCH_FREE.split())

# Which inputs of a layer are its parameters. Of a batch norm not the statistics, which PyTorch does not count either.
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
_SHAPE_WORDS = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING}

Roots = frozenset[str]
"""The constants in the file that a tensor is made of, and of nothing else but shapes."""


class _Counter:
    """Walks a graph and its subgraphs in the order of the file."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}  # constants that may be weights, by where they stand and their names
        self.floating: set[str] = set()
        self.parameters: set[str] = set()
        self.others: set[str] = set()
        self.channels: set[int] = set()  # the sides of weights
        self.not_counted: Counter[str] = Counter()
        self.remarks: list[str] = []

    def walk(
        self,
        graph: onnx.GraphProto,
        shapes: Mapping[str, Shape],
        constants: Mapping[str, Roots],
        after_layers: set[str],
        place: str,
    ) -> list[Layer]:
        """The layers of a graph.

        constants: of the graphs around it; after_layers: tensors that come from a layer with weights.
        """
        known = dict(constants)
        for each in graph.initializer:
            known[each.name] = self._constant(place + each.name, each)
        layers: list[Layer] = []
        for node in graph.node:
            names = [name for name in node.input if name]
            if node.op_type == "Constant":
                value = attribute(node, "value", None)
                known[node.output[0]] = frozenset() if value is None else self._constant(place + node.output[0], value)
                continue
            inside = _subgraphs(node)
            if not inside and (node.op_type in ("Shape", "Size") or all(name in known for name in names)):
                # Its scale and zero point are no parameters.
                sources = names[:1] if node.op_type in ("QuantizeLinear", "DequantizeLinear") else names
                made_of = frozenset[str]().union(*(known.get(name, frozenset()) for name in sources))
                known.update((name, made_of) for name in node.output)
                continue
            own = place + (node.name or node.output[0])
            if inside:
                layers += self._inside(node, inside, shapes, known, after_layers, own)
                after_layers.update(node.output)
                continue
            fresh = self._parameters_of(node, known, shapes, after_layers)
            work = work_of(
                node,
                [shapes.get(name) if name else () for name in node.input],
                [shapes.get(name) if name else () for name in node.output],
            )
            if work is None:
                self.not_counted[f"{node.domain}.{node.op_type}".lstrip(".")] += 1
            if fresh or (work is not None and node.op_type not in MOVES):
                macs, others = (0, 0) if work is None else (work.macs, work.others)
                shape, num = shapes.get(node.output[0]), sum(self.sizes[key] for key in fresh)
                layers.append(Layer(own, node.op_type, shape, num, macs, 2 * macs + others))
            if node.op_type in _WEIGHTS or any(name in after_layers for name in names):
                # The scale that DynamicQuantizeLinear finds is not data: what multiplies it is a scale too.
                after_layers.update(node.output[:1] if node.op_type == "DynamicQuantizeLinear" else node.output)
        return layers

    def _constant(self, key: str, tensor: onnx.TensorProto) -> Roots:
        if tensor.data_type in _SHAPE_WORDS:
            return frozenset()
        self.sizes[key] = math.prod(tensor.dims)
        if tensor.data_type in _FLOATS:
            self.floating.add(key)
        return frozenset([key])

    def _parameters_of(
        self, node: onnx.NodeProto, constants: Mapping[str, Roots], shapes: Mapping[str, Shape], after_layers: set[str]
    ) -> Roots:
        """The constants that are this node's parameters and of none before it."""
        found: set[str] = set()
        for place, name in enumerate(node.input):
            made_of = constants.get(name, frozenset())
            if place in _WEIGHTS.get(node.op_type, ()):
                found |= made_of
                self.channels.update(shapes.get(name, ()) if made_of else ())
            elif node.op_type in ELEMENTWISE or node.op_type in MOVES:
                # A vector as long as a layer before it is wide: a bias, a scale, the rest of an unfolded norm.
                behind = any(other in after_layers for other in node.input if other != name)
                if node.op_type in ("Add", "Sub", "Mul", "Div") and behind and self._is_wide(shapes.get(name, ())):
                    found |= made_of
                else:
                    self.others |= {key for key in made_of & self.floating if self.sizes[key] > 1}
        fresh = frozenset(found - self.parameters)
        self.parameters |= fresh
        return fresh

    def _is_wide(self, shape: Shape) -> bool:
        return [side for side in shape if side > 1] == [max(shape, default=0)] and max(shape) in self.channels

    def _inside(
        self,
        node: onnx.NodeProto,
        bodies: list[onnx.GraphProto],
        shapes: Mapping[str, Shape],
        constants: Mapping[str, Roots],
        after_layers: set[str],
        place: str,
    ) -> list[Layer]:
        counted = []
        for number, body in enumerate(bodies):
            known = {name: roots for name, roots in constants.items() if name not in {each.name for each in body.input}}
            behind = after_layers | {each.name for each in body.input}
            here = f"{place}/{number}/" if len(bodies) > 1 else f"{place}/"
            counted.append(self.walk(body, {**shapes, **shapes_inside(body)}, known, behind, here))
        if node.op_type == "If":
            self.remarks.append("of an If, the branch with more operations is counted")
        else:
            self.remarks.append(f"of a {node.op_type}, one round is counted")
        return max(counted, key=lambda layers: sum(each.flops for each in layers))


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [each.g for each in node.attribute if each.type == onnx.AttributeProto.GRAPH]
