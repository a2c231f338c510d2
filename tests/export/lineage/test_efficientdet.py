"""EfficientDet: fusion by hand, levels that keep their shapes, and a file that agrees with PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
from torchvision.ops import sigmoid_focal_loss

from export.lineage import efficientdet
from export.lineage.backbone import Backbone
from export.lineage.efficientdet import EFFICIENTDET, EPSILON, WIDTH, BiFpn, EfficientDet, fused
from export.lineage.retinanet import anchors_of, focal_loss
from tests.support.lineage_scenes import TRAINS_LONG, exported, trained_shortly


def test_fusion_is_a_mean_by_weights_of_which_negative_ones_are_zero() -> None:
    maps = [torch.full((1, 2, 3, 3), value) for value in (1.0, 5.0, 100.0)]
    mean = fused(maps, torch.tensor([3.0, 1.0, -2.0]))
    torch.testing.assert_close(mean, torch.full((1, 2, 3, 3), (3 * 1 + 1 * 5) / (4 + EPSILON)))
    assert torch.isfinite(fused(maps, torch.zeros(3))).all()


def test_every_level_keeps_its_shape_and_hears_of_every_other() -> None:
    mix = BiFpn(4).eval()
    sizes = [(12, 20), (6, 10), (3, 5), (2, 3)]  # rounded up, as of a picture whose sides no stride divides
    levels = [torch.rand(1, WIDTH, *size, requires_grad=True) for size in sizes]
    outputs = mix(levels)
    assert [tuple(level.shape[2:]) for level in outputs] == sizes
    for output in outputs:
        gradients = torch.autograd.grad(output.sum(), levels, retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_the_focal_loss_with_another_focus_is_that_of_torchvision() -> None:
    logits, is_object = torch.linspace(-9, 9, 61), (torch.arange(61) % 3 == 0).float()
    expected = sigmoid_focal_loss(logits, is_object, alpha=0.25, gamma=1.5)
    torch.testing.assert_close(focal_loss(logits, is_object, focus=1.5), expected)


def test_outputs_are_as_many_as_anchors() -> None:
    network = EfficientDet(Backbone(), 4).eval()
    with torch.inference_mode():
        logits, deltas = network(torch.zeros(2, 3, 96, 160))
    num_anchors = len(anchors_of((160, 96)))
    assert (logits.shape, deltas.shape) == ((2, num_anchors, 4), (2, num_anchors, 4))


@TRAINS_LONG
def test_it_learns_and_its_file_says_what_pytorch_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, losses = trained_shortly(EFFICIENTDET, efficientdet, monkeypatch)
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    with torch.no_grad():
        network.classify[-1].bias += 4  # type: ignore[index,union-attr]
    assert exported(EFFICIENTDET, network, tmp_path).evidence.parity.num_detections > 0
