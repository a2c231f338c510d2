"""Random weights: a freshly initialised network → one with many different scores, which is worth comparing.

As initialised, its signal dies or explodes on the way, and its scores are all alike or below every threshold, so that
the comparison of two implementations shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from export.proof.images import drawn_images
from pipeline.detector.tensor import TensorWriter
from pipeline.picture.detector_spec import DetectorSpec

SEED = 0  # of random weights, so that the same command gives the same file


def calibrate(network: nn.Module, run: Callable[[], object]) -> None:
    """Set the statistics of every batch norm, in place, to those of its inputs in one `run`.

    The rest of the network stays in eval mode, so that `run` may be its ordinary forward.
    """
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        run()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@dataclass(frozen=True, slots=True)
class LogitScale:
    """The distribution that the outputs of last layers shall have, all of them together."""

    layers: Sequence[nn.Module]
    std: float
    mean: float | None = 0.0
    share: float = 0.0  # without a mean: of the values, this share passes a score of 0.05 after a sigmoid

    def apply(self, outputs: Tensor) -> None:
        """Scale and shift the weights of the layers, in place, whose outputs were these."""
        factor = self.std / float(outputs.std())
        if self.mean is None:
            passing = outputs.kthvalue(max(1, round(len(outputs) * (1 - self.share)))).values
            shift = -2.94 - float(passing) * factor
        else:
            shift = self.mean - float(outputs.mean()) * factor
        for layer in self.layers:
            assert isinstance(layer.weight, Tensor)
            assert isinstance(layer.bias, Tensor)
            with torch.no_grad():
                layer.weight.mul_(factor)
                layer.bias.mul_(factor).add_(shift)


def scale_logits(run: Callable[[], object], *scales: LogitScale) -> None:
    """Scale last layers, in place, by their outputs in one `run`; they must not depend on each other."""
    outputs: list[list[Tensor]] = [[] for _ in scales]
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output, kept=kept: kept.append(output))
        for scale, kept in zip(scales, outputs, strict=True)
        for layer in scale.layers
    ]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    for scale, kept in zip(scales, outputs, strict=True):
        if kept:  # some layers only run in training
            scale.apply(torch.cat([output.flatten() for output in kept]).double())


def some_images(num_images: int, network_wh: tuple[int, int], *, seed: int = 0) -> Tensor:
    """Coloured blocks of many sizes, with noise: uint8 [N, h, w, 3]."""
    generator = torch.Generator().manual_seed(seed)
    width, height = network_wh
    images = torch.rand(num_images, 3, height, width, generator=generator) * 40
    for cells in (3, 7, 17):
        blocks = torch.rand(num_images, 3, cells, cells, generator=generator)
        images += nn.functional.interpolate(blocks, (height, width)) * 70
    return images.to(torch.uint8).permute(0, 2, 3, 1)


def fitted_proof_pixels(spec: DetectorSpec) -> Tensor:
    """The drawn images on which export compares, resized and padded by a spec in boxes form: uint8 [N, h, w, 3]."""
    writer = TensorWriter(spec)
    fitted = [writer.tensor_of(image.picture)[1] for image in drawn_images() if min(image.picture.size_wh) > 100]
    return torch.from_numpy(np.concatenate(fitted))


def proof_pixels(network_wh: tuple[int, int]) -> Tensor:
    """The drawn images on which export compares, stretched to a size: uint8 [N, h, w, 3] RGB.

    A deep network with random weights is steady only on images like those that its norms were calibrated on.
    """
    pictures = [image.picture for image in drawn_images() if min(image.picture.size_wh) > 100]
    return torch.from_numpy(np.stack([picture.resized(network_wh, colour="rgb") for picture in pictures]))
