"""Cascade R-CNN: boxes move from head to head, padding stays, and a file that agrees with PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
from torch import nn

from export.lineage import cascade_rcnn
from export.lineage.backbone import Backbone
from export.lineage.box_coding import encode
from export.lineage.cascade_rcnn import CASCADE_R_CNN, STAGE_WEIGHTS, CascadeDecode, CascadeRcnn, moved
from export.lineage.rpn import proposals_of
from tests.support.lineage_scenes import TRAINS_LONG, exported, trained_shortly


class _Towards(nn.Module):
    """A head that knows which delta leads from one box to the next, whatever it sees."""

    def __init__(self, delta: torch.Tensor) -> None:
        super().__init__()
        self.delta = delta

    def forward(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(pooled), 3), self.delta.expand(len(pooled), 4)


def test_each_head_moves_the_boxes_of_the_one_before_by_its_own_weights() -> None:
    way = torch.tensor([[10.0, 10, 30, 30], [12, 11, 34, 33], [14, 12, 36, 36], [15, 12, 37, 37]])
    deltas = [encode(way[i + 1], way[i], STAGE_WEIGHTS[i]) for i in range(3)]
    heads = nn.ModuleList([_Towards(delta) for delta in deltas])
    proposals = torch.stack([way[0], torch.zeros(4)])[None]
    boxes, logits = moved(torch.zeros(1, 2, 8, 12), proposals, heads, (96, 64))
    for index in range(4):
        torch.testing.assert_close(boxes[index][0, 0], way[index])
        assert boxes[index][0, 1].abs().sum() == 0  # padding
    assert [tuple(one.shape) for one in logits] == [(2, 3)] * 3


def test_scores_are_the_mean_of_the_heads_and_padding_scores_nothing() -> None:
    torch.manual_seed(0)
    network = CascadeRcnn(Backbone(), 2).eval()
    with torch.inference_mode():
        outputs = network(torch.rand(1, 3, 64, 96) * 2 - 1)
        decode = CascadeDecode(network.heads, (96, 64))
        boxes, scores, class_ids = decode(*outputs)
        proposals = proposals_of(outputs[1], outputs[2], decode.anchors, (96, 64))
        all_boxes, logits = moved(outputs[0], proposals, network.heads, (96, 64))
    num_real = int((proposals[0, :, 2] > proposals[0, :, 0]).sum())
    means = torch.stack([one.softmax(dim=1) for one in logits]).mean(dim=0)
    expected = means[:num_real, 1:].flatten().sort(descending=True).values
    torch.testing.assert_close(scores[0, : len(expected)], expected[: scores.shape[1]])
    assert scores[0, len(expected) :].sum() == 0
    row = int(means[:num_real, 1:].amax(dim=1).argmax())
    torch.testing.assert_close(boxes[0, 0], all_boxes[-1][0, row])
    assert class_ids[0, 0] == means[row, 1:].argmax()


@TRAINS_LONG
def test_it_learns_and_its_file_says_what_pytorch_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, losses = trained_shortly(CASCADE_R_CNN, cascade_rcnn, monkeypatch)
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert isinstance(network, CascadeRcnn)
    with torch.no_grad():
        for head in network.heads:
            head.classify.bias[0] -= 4  # type: ignore[index,operator,union-attr]
    assert exported(CASCADE_R_CNN, network, tmp_path).evidence.parity.num_detections > 0
