"""SSD: default boxes by the paper's sums, three hard negatives a positive, and a file that agrees with PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
import torch.nn.functional as F

from export.lineage import ssd
from export.lineage.backbone import Backbone
from export.lineage.ssd import SSD, Ssd, default_boxes
from export.train_demo import multibox_loss
from tests.support.lineage_scenes import exported, trained_shortly


def test_a_cell_has_six_default_boxes_of_its_maps_size() -> None:
    boxes = default_boxes((320, 192))
    assert len(boxes) == 6 * (40 * 24 + 20 * 12 + 10 * 6 + 5 * 3)
    width, height = (boxes[:6, 2:] - boxes[:6, :2]).unbind(dim=1)
    torch.testing.assert_close(width / height, torch.tensor([1, 2, 1 / 2, 3, 1 / 3, 1]))
    torch.testing.assert_close((width * height).sqrt(), torch.tensor([20.0] * 5 + [(20 * 56) ** 0.5]))
    assert ((boxes[-1, 2:] - boxes[-1, :2]).prod() ** 0.5).item() == pytest.approx((128 * 164) ** 0.5)


def test_only_the_three_hardest_negatives_of_a_positive_cost() -> None:
    labels = torch.tensor([[1, 0, 0, 0, 0, 0, -1]])
    surety = torch.tensor([0.0, 5, 1, 4, 2, 3, 9])  # the logit for the class; background has 0
    logits = torch.stack([torch.zeros(7), surety], dim=1)[None]
    costs = F.softplus(-surety[:1]).sum() + F.softplus(surety[[1, 3, 5]]).sum()
    torch.testing.assert_close(multibox_loss(logits, torch.zeros(1, 7, 4), labels, torch.zeros(1, 7, 4)), costs)


def test_outputs_are_as_many_as_default_boxes() -> None:
    network = Ssd(Backbone(), 4).eval()
    with torch.inference_mode():
        logits, deltas = network(torch.zeros(2, 3, 96, 160))
    num_boxes = len(default_boxes((160, 96)))
    assert (logits.shape, deltas.shape) == ((2, num_boxes, 5), (2, num_boxes, 4))


def test_it_learns_and_its_file_says_what_pytorch_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, losses = trained_shortly(SSD, ssd, monkeypatch)
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert exported(SSD, network, tmp_path).evidence.parity.num_detections > 0
