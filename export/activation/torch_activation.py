"""PyTorch activation: an `Exportable`, a picture and an object → Grad-CAM or CAM, by one backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from export.activation.heat import Activation, Method, maps_of_picture, refuse_layers, row_of_object
from export.exportable import Exportable
from export.graph.forms import BoxesForm
from pipeline.detector.tensor import TensorWriter
from pipeline.picture.boxes import FloatArray
from pipeline.picture.candidates import Candidates
from pipeline.picture.frame import ArrayPicture, PixelArray

_LEAST_ODDS = 1e-7  # as in `heat`


@dataclass(frozen=True, slots=True)
class _Convolution:
    """One call of a convolution."""

    name: str
    maps: Tensor  # its input [N, K, h, w], a part of the graph of gradients
    values: FloatArray  # the same, before anything changes it in place
    made_by: Any  # the node of the graph of gradients that has made its output

    def order(self) -> int:
        """When its input was made, after or before those of others."""
        return -1 if self.maps.grad_fn is None else int(self.maps.grad_fn._sequence_nr())


def torch_activation(
    exportable: Exportable,
    pixels: PixelArray,
    box_xyxy: FloatArray,
    class_id: int,
    *,
    method: Method = "gradcam",
) -> Activation:
    """The activation that explains an object, of box [4] in pixels of the picture uint8 [H, W, 3] BGR.

    Raises ModelError for a detector without a feature map of the picture.
    """
    spec = exportable.spec
    letterbox, tensor = TensorWriter(spec).tensor_of(ArrayPicture(pixels))
    box = letterbox.boxes_to_network(box_xyxy[None])[0]
    with torch.enable_grad():
        score, convolutions = _run(exportable, torch.from_numpy(tensor), box, class_id)
        if method == "cam":
            last = set(_last_convolutions(score, {id(one.made_by) for one in convolutions}))
            convolutions = [one for one in convolutions if id(one.made_by) in last]
        refuse_layers(len(convolutions) and 1, method, spec.model_name)
        gradients = torch.autograd.grad(score, [one.maps for one in convolutions], allow_unused=True)
    shapes = [one.values.shape for one in convolutions]
    counting = [
        index
        for index in maps_of_picture(shapes, spec.network_wh)
        if gradients[index] is not None and bool(gradients[index].any())
    ]
    # On another grid a map counts by way of the last one.
    on_last_grid = [index for index in counting if shapes[index][2:] == shapes[counting[0]][2:]]
    refuse_layers(len(on_last_grid), method, spec.model_name)
    chosen = convolutions[counting[0]]
    weights = gradients[counting[0]][0].mean(dim=(1, 2)).numpy()
    return Activation(chosen.name, chosen.values[0], weights)


def _run(exportable: Exportable, tensor: Tensor, box: FloatArray, class_id: int) -> tuple[Tensor, list[_Convolution]]:
    """The log odds of the object, and the convolutions on the way, in the order of their inputs."""
    convolutions: list[_Convolution] = []
    module = BoxesForm(exportable).eval()
    with ExitStack() as hooks:
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Conv2d):
                _watch(layer, name, convolutions, hooks)
        boxes, scores, class_ids, *_ = module(tensor)
    candidates = Candidates(*(value[0].detach().numpy() for value in (boxes, scores, class_ids)))
    probability = scores[0, row_of_object(candidates, box, class_id)]
    return torch.logit(probability, eps=_LEAST_ODDS), sorted(convolutions, key=_Convolution.order)


def _watch(layer: nn.Conv2d, name: str, convolutions: list[_Convolution], hooks: ExitStack) -> None:
    """Add each call of a layer to the list, until the stack is closed."""
    entered: list[tuple[Tensor, FloatArray]] = []

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maps = inputs[0] if inputs[0].requires_grad else inputs[0].requires_grad_()
        entered.append((maps, maps.detach().numpy().copy()))

    def after(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        convolutions.append(_Convolution(name, *entered.pop(), output.grad_fn))

    hooks.enter_context(layer.register_forward_pre_hook(before))
    hooks.enter_context(layer.register_forward_hook(after))


def _last_convolutions(score: Tensor, are_convolutions: set[int]) -> Iterator[int]:
    """The convolutions, as ids of their nodes, that are the first on the way back from the score."""
    waiting, visited = [score.grad_fn], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in visited:
            continue
        visited.add(id(node))
        if id(node) in are_convolutions:
            yield id(node)
        elif type(node).__name__ not in ("AddmmBackward0", "MmBackward0", "BmmBackward0"):
            waiting += [parent for parent, _ in node.next_functions]
