"""FLOPs: the parameters and operations of a network, by layer and in all.

A MAC is one multiply-add of a convolution or a matrix product, two FLOPs. Papers call either "FLOPs": ResNet's and
torchvision's tables the MACs, those on YOLO and YOLOX twice as many. Both are here; the rules are in `node_work`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from export.graph.tensor_shapes import Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """One node of an ONNX graph, or one module of a PyTorch network, without its children."""

    name: str
    op: str
    output_shape: Shape | None  # None: unknown
    num_parameters: int  # without those of layers before it
    macs: int
    flops: int  # 2 × macs, and all other operations


@dataclass(frozen=True, slots=True)
class Share:
    """The sums over all layers of one kind."""

    num_layers: int
    num_parameters: int
    macs: int
    flops: int


@dataclass(frozen=True, slots=True)
class Flops:
    """The parameters and operations of one run of a network on `input_shapes`."""

    name: str
    input_shapes: Mapping[str, Shape]
    num_parameters: int
    num_other_constants: int  # grids, anchors, tables: floating values in the file that are not weights
    layers: tuple[Layer, ...]  # in the order of the file or of the modules; without those that only move data
    not_counted: Mapping[str, int]  # operators without a rule, and the number of their nodes
    remarks: tuple[str, ...]
    largest_tensor: tuple[str, int] | None  # name and bytes of the largest intermediate tensor; None: unknown

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and matrix products."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        """2 × MACs, and all other operations."""
        return sum(layer.flops for layer in self.layers)

    @property
    def by_op(self) -> dict[str, Share]:
        """The sums by kind of layer, the most FLOPs first."""
        kinds: dict[str, list[Layer]] = {}
        for layer in self.layers:
            kinds.setdefault(layer.op, []).append(layer)
        shares = {
            op: Share(
                len(layers),
                sum(layer.num_parameters for layer in layers),
                sum(layer.macs for layer in layers),
                sum(layer.flops for layer in layers),
            )
            for op, layers in kinds.items()
        }
        return dict(sorted(shares.items(), key=lambda item: -item[1].flops))
