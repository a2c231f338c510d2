"""RetinaNet: its loss is the paper's, it begins unsure, learns, and its file says what PyTorch says."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
from torchvision.ops import sigmoid_focal_loss

from export.lineage import retinanet
from export.lineage.assignment import Targets
from export.lineage.backbone import Backbone
from export.lineage.retinanet import BALANCE, PRIOR, RETINANET, RetinaNet, anchors_of, focal_loss, loss_of
from tests.support.lineage_scenes import TRAINS_LONG, exported, trained_shortly


def test_the_focal_loss_is_that_of_torchvision() -> None:
    logits, is_object = torch.linspace(-12, 12, 101), (torch.arange(101) % 2).float()
    expected = sigmoid_focal_loss(logits, is_object, alpha=0.25, gamma=2)
    torch.testing.assert_close(focal_loss(logits, is_object), expected)
    # Equation 5 by hand: an object at a score of .5 costs .25 * .5 ** 2 * log 2, background three times that.
    halves = focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(halves, torch.tensor([0.25, 0.75]) * 0.25 * torch.tensor(2.0).log())


def test_the_loss_counts_no_anchor_between_and_divides_by_positives() -> None:
    labels = torch.tensor([[2, 0, -1], [1, 0, 0]])
    targets = Targets(labels, torch.zeros(2, 3, 4), labels)
    logits, deltas = torch.randn(2, 3, 2), torch.zeros(2, 3, 4)
    deltas[0, 0] = 1.0  # smooth L1 from .11 on: 1 - .055, four times
    deltas[0, 1] = 9.0  # background has no box
    truth = torch.tensor([[[0, 1], [0, 0], [0, 0]], [[1, 0], [0, 0], [0, 0]]]).float()
    costs = sigmoid_focal_loss(logits, truth, alpha=BALANCE, gamma=2)
    costs[0, 2] = 0
    torch.testing.assert_close(loss_of(logits, deltas, targets), (costs.sum() + 4 * 0.945) / 2)
    empty = Targets(torch.zeros_like(labels), torch.zeros(2, 3, 4), labels)
    assert torch.isfinite(loss_of(logits, deltas, empty))


def test_a_new_network_gives_every_anchor_the_prior() -> None:
    network = RetinaNet(Backbone(), 4).eval()
    with torch.inference_mode():
        logits, deltas = network(torch.rand(2, 3, 96, 160) * 2 - 1)
    assert logits.shape == (2, len(anchors_of((160, 96))), 4)
    assert deltas.shape == (*logits.shape[:2], 4)
    assert logits.sigmoid().mean() == pytest.approx(PRIOR, rel=0.2)


@TRAINS_LONG
def test_it_learns_and_its_file_says_what_pytorch_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, losses = trained_shortly(RETINANET, retinanet, monkeypatch)
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    with torch.no_grad():
        network.classify[-1].bias += 4  # type: ignore[index,union-attr]
    assert exported(RETINANET, network, tmp_path).evidence.parity.num_detections > 0
