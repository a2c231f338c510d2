"""FLOPs of PyTorch: a module and its inputs, or a detector's name → its parameters and operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from export.detectors import build
from export.exportable import ExportRequest
from export.graph.flops import Flops, Layer
from export.graph.forms import module_for
from export.graph.tensor_shapes import Shape
from export.proof.random_weights import some_images

_TORCH_FREE = """
_local_scalar_dense _to_copy _unsafe_view arange as_strided_scatter cat clone constant_pad_nd copy empty empty_like
empty_strided fill full full_like gather index index_put index_select lift_fresh_copy masked_fill new_empty new_full
new_ones new_zeros ones ones_like repeat roll scalar_tensor scatter select_scatter set slice_scatter stack where
zero zeros zeros_like
"""
_TORCH_MOVES = frozenset(_TORCH_FREE.split())


def count_torch(module: nn.Module, *inputs: Tensor, name: str = "") -> Flops:
    """Count a PyTorch module by running it once, in eval mode, with `torch.utils.flop_counter.FlopCounterMode`.

    It counts convolutions and matrix products, those of attention included; the other operations are in `not_counted`.
    """
    names = {part: title for title, part in module.named_modules()}
    counts = _Counts(module)
    hooks = [register_module_forward_pre_hook(counts.enter), register_module_forward_hook(counts.leave)]
    was_training, had_fast_path = module.training, torch.backends.mha.get_fastpath_enabled()
    # FlopCounterMode does not know fused attention, which PyTorch chooses by processor.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counts.counter, counts:
            module.eval()(*inputs)
    finally:
        module.train(was_training)
        torch.backends.mha.set_fastpath_enabled(had_fast_path)
        for hook in hooks:
            hook.remove()
    layers = _layers_of(names, counts.flops, counts.shapes)
    return Flops(
        name or type(module).__name__,
        {f"input {index}": tuple(value.shape) for index, value in enumerate(inputs)},
        sum(layer.num_parameters for layer in layers),
        sum(value.numel() for value in module.buffers() if value.is_floating_point()),
        tuple(layers),
        dict(counts.not_counted.most_common()),
        ("PyTorch counts convolutions, matrix products and attention only; the ONNX file counts everything",),
        None,
    )


class _Counts(TorchDispatchMode):
    """Adds the FLOPs of every operation to its innermost module, while it is entered together with `counter`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not typed in PyTorch
        self.counter = FlopCounterMode(display=False)
        self.flops: Counter[nn.Module] = Counter()
        self.shapes: dict[nn.Module, Shape] = {}
        self.not_counted: Counter[str] = Counter()
        self._inside = [module]

    def __torch_dispatch__(
        self,
        func: OpOverload[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        before = self.counter.get_total_flops()
        result = func(*args, **(kwargs or {}))
        num_flops = self.counter.get_total_flops() - before
        title = str(func).rpartition(".")[0]  # without the overload
        if num_flops:
            self.flops[self._inside[-1]] += num_flops
        elif not func.is_view and title.removeprefix("aten.").rstrip("_") not in _TORCH_MOVES:
            self.not_counted[title] += 1
        return result

    def enter(self, part: nn.Module, _inputs: object) -> None:
        """The hook before a module's forward."""
        self._inside.append(part)

    def leave(self, part: nn.Module, _inputs: object, output: object) -> None:
        """The hook behind it."""
        self._inside.pop()
        if isinstance(output, torch.Tensor):
            self.shapes[part] = tuple(output.shape)


def _layers_of(
    names: Mapping[nn.Module, str], flops: Mapping[nn.Module, int], shapes: Mapping[nn.Module, Shape]
) -> list[Layer]:
    """The modules that have parameters or FLOPs of their own; a shared parameter belongs to the first."""
    seen: set[int] = set()
    layers = []
    for part, title in names.items():
        own = [value for value in part.parameters(recurse=False) if id(value) not in seen]
        seen.update(map(id, own))
        num_parameters = sum(value.numel() for value in own)
        if num_parameters or flops[part]:
            layers.append(
                Layer(title, type(part).__name__, shapes.get(part), num_parameters, flops[part] // 2, flops[part])
            )
    return layers


def count_detector(name: str, network_wh: tuple[int, int] | None = None) -> Flops:
    """Count a PyTorch detector of `build`, with random weights, from an image's pixels to the best boxes.

    Raises ModelError for an unknown name and for a size that the network does not take, MissingExtraError for a
    missing library.
    """
    exportable = build(ExportRequest(name, weights="none", network_wh=network_wh))
    module, spec, _ = module_for(exportable, "boxes", half=False)
    return count_torch(module, some_images(1, spec.network_wh), name=name)
