"""Small exportable detector: seed → a network with random weights that is worth comparing, in a tenth of a second."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from export.exportable import Exportable
from export.families.demo_network import DemoNetwork, demo_exportable
from export.proof.images import ProofImage, drawn_images
from export.proof.random_weights import LogitScale, calibrate, scale_logits

NETWORK_WH = (96, 64)  # not square: width and height must not be taken for each other
CLASS_NAMES = ("a", "b", "c")


def exportable(*, seed: int = 0) -> Exportable:
    """A small network with random weights with some dozens of detections of all three classes."""
    torch.manual_seed(seed)
    network = DemoNetwork(len(CLASS_NAMES), width=16)
    noise = torch.randn(4, 3, NETWORK_WH[1], NETWORK_WH[0])
    calibrate(network, lambda: network(noise))
    classes, boxes = ([level[-1] for level in part] for part in (network.classify, network.locate))  # type: ignore[index]
    scale_logits(lambda: network(noise), LogitScale(classes, 2.0), LogitScale(boxes, 1.0))
    for classify in network.classify:
        bias: Any = classify[-1].bias  # type: ignore[index]
        bias.data.view(-1, 1 + len(CLASS_NAMES))[:, 0] += 8.0  # most anchors are background
    return demo_exportable(network.eval(), CLASS_NAMES, network_wh=NETWORK_WH)


@cache
def proof_images() -> tuple[ProofImage, ...]:
    """The drawn images on which export compares, drawn once: they take three seconds."""
    return drawn_images()
