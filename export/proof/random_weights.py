"""How does a network with random weights become worth comparing?

As it is initialised its signal dies or explodes on the way, and its scores are all alike or below every threshold, so
that two implementations agree, or seem not to, about nothing.
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

SEED = 0  # of the weights of whoever asks for random ones, so that the same words give the same file


def calibrate(network: nn.Module, run: Callable[[], object]) -> None:
    """Let every batch norm take the statistics of what passes through it in one `run`, in place.

    The rest of the network is and stays in eval mode, so that `run` may be its ordinary forward.
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
    """How the outputs of last layers, all taken together, shall be distributed."""

    layers: Sequence[nn.Module]
    std: float
    mean: float | None = 0.0
    share: float = 0.0  # where there is no mean: how many of the values would pass a score of 0.05 after a sigmoid


def spread(run: Callable[[], object], *wanted: LogitScale) -> None:
    """Scale last layers, in place, by what comes out of them in one `run`; they must not depend on each other."""
    outputs: list[list[Tensor]] = [[] for _ in wanted]
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output, kept=kept: kept.append(output))
        for each, kept in zip(wanted, outputs, strict=True)
        for layer in each.layers
    ]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    for each, kept in zip(wanted, outputs, strict=True):
        if kept:  # some layers only run in training
            _scale(each, torch.cat([output.flatten() for output in kept]).double())


def _scale(wanted: LogitScale, values: Tensor) -> None:
    factor = wanted.std / float(values.std())
    if wanted.mean is None:
        passing = values.kthvalue(max(1, round(len(values) * (1 - wanted.share)))).values
        shift = -2.94 - float(passing) * factor
    else:
        shift = wanted.mean - float(values.mean()) * factor
    for layer in wanted.layers:
        assert isinstance(layer.weight, Tensor)
        assert isinstance(layer.bias, Tensor)
        with torch.no_grad():
            layer.weight.mul_(factor)
            layer.bias.mul_(factor).add_(shift)


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
    """The drawn images on which export compares, fitted as a spec in boxes form says: uint8 [N, h, w, 3]."""
    writer = TensorWriter(spec)
    fitted = [writer.tensor_of(image.picture)[1] for image in drawn_images() if min(image.picture.size_wh) > 100]
    return torch.from_numpy(np.concatenate(fitted))


def proof_pixels(network_wh: tuple[int, int]) -> Tensor:
    """The drawn images on which export compares, stretched to a size: uint8 [N, h, w, 3] RGB.

    A deep network with random weights is steady only on images like those that its norms were calibrated on.
    """
    pictures = [image.picture for image in drawn_images() if min(image.picture.size_wh) > 100]
    return torch.from_numpy(np.stack([each.resized(network_wh, colour="rgb") for each in pictures]))
