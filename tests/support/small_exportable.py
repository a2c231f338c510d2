"""Small exportable detector: seed → a network with random weights that is worth comparing, in a tenth of a second."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from export.exportable import Exportable
from export.families.demo_network import (
    ANCHOR_ASPECTS,
    ANCHOR_SIZES_PX,
    DemoNetwork,
    InvertedResidual,
    convolution,
    demo_exportable,
)
from export.proof.images import ProofImage, drawn_images
from export.proof.random_weights import LogitScale, calibrate, scale_logits

NETWORK_WH = (96, 64)  # not square: width and height must not be taken for each other
CLASS_NAMES = ("a", "b", "c")


class SmallNetwork(DemoNetwork):
    """The demo network with a layer where that has several: PyTorch's exporter takes its time for every layer."""

    def __init__(self, num_classes: int, *, width: int = 16) -> None:
        super().__init__(num_classes, width=width)
        self.to_stride_8 = nn.Sequential(
            convolution(3, 16, kernel=3, stride=2),
            InvertedResidual(16, 16, widen=1),
            convolution(16, 40, kernel=3, stride=4),
        )
        self.to_stride_16 = convolution(40, 80, kernel=3, stride=2)
        self.to_stride_32 = convolution(80, 128, kernel=3, stride=2)
        self.to_stride_64 = convolution(128, 128, kernel=3, stride=2)
        self.mix = nn.ModuleList([nn.Identity() for _ in ANCHOR_SIZES_PX])
        per_cell = [len(sizes) * len(ANCHOR_ASPECTS) for sizes in ANCHOR_SIZES_PX]
        self.classify = nn.ModuleList([_in_one_layer(width, num * (1 + num_classes)) for num in per_cell])
        self.locate = nn.ModuleList([_in_one_layer(width, num * 4) for num in per_cell])


def _in_one_layer(inputs: int, outputs: int) -> nn.Sequential:
    """A mix of the channels. The norm gives every class the same mean, so that none wins everywhere."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))


def exportable(*, seed: int = 0) -> Exportable:
    """A small network with random weights with some dozens of detections of all three classes."""
    torch.manual_seed(seed)
    network = SmallNetwork(len(CLASS_NAMES))
    noise = torch.randn(4, 3, NETWORK_WH[1], NETWORK_WH[0])
    calibrate(network, lambda: network(noise))
    classes, boxes = ([level[-1] for level in part] for part in (network.classify, network.locate))  # type: ignore[index]
    scale_logits(lambda: network(noise), LogitScale(classes, 3.0), LogitScale(boxes, 1.0))
    for classify in network.classify:
        bias: Any = classify[-1].bias  # type: ignore[index]
        bias.data.view(-1, 1 + len(CLASS_NAMES))[:, 0] += 8.0  # most anchors are background
    return demo_exportable(network.eval(), CLASS_NAMES, network_wh=NETWORK_WH)


@cache
def proof_images() -> tuple[ProofImage, ...]:
    """The drawn images on which export compares, drawn once: they take three seconds."""
    return drawn_images()
