"""Faster R-CNN: proposals and samples against torchvision and by hand, and a file that agrees with PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import box_iou, nms

from export.lineage import faster_rcnn
from export.lineage.assignment import BACKGROUND, NOT_COUNTED, Rule, Targets, drawn
from export.lineage.box_coding import PLAIN, SCALED, decode
from export.lineage.faster_rcnn import FASTER_R_CNN
from export.lineage.region_heads import NUM_DRAWN, pooled, pooled_to_learn, region_loss, sample
from export.lineage.rpn import NMS_IOU, NUM_PROPOSALS, anchors_of, proposals_of, rpn_loss
from tests.support.lineage_scenes import WORLD, exported, rectangles, trained_shortly


def test_proposals_are_the_best_boxes_after_suppression() -> None:
    torch.manual_seed(0)
    anchors = anchors_of((96, 64))
    logits, deltas = torch.randn(2, len(anchors)), torch.randn(2, len(anchors), 4) * 0.2
    proposals = proposals_of(logits, deltas, anchors, (96, 64))
    assert proposals.shape == (2, NUM_PROPOSALS, 4)
    best = logits[1].topk(300).indices
    boxes = decode(deltas[1, best], anchors[best], PLAIN, (96, 64))
    large = ((boxes[:, 2:] - boxes[:, :2]) >= 4).all(dim=1)
    boxes, scores = boxes[large], logits[1, best][large]
    expected = boxes[nms(boxes, scores, NMS_IOU)][:NUM_PROPOSALS]
    torch.testing.assert_close(proposals[1, : len(expected)], expected)
    assert proposals[1, len(expected) :].abs().sum() == 0


def test_few_proposals_are_followed_by_zeros() -> None:
    anchors = anchors_of((96, 64))
    far = torch.zeros(1, len(anchors), 4)
    far[..., 0] = 50.0  # all boxes but those of the first anchors leave the picture
    far[0, :9] = 0
    logits = torch.zeros(1, len(anchors))
    logits[0, :9] = 1.0
    proposals = proposals_of(logits, far, anchors, (96, 64))
    is_real = proposals[0, :, 2] > proposals[0, :, 0]
    assert 0 < is_real.sum() <= 9
    assert is_real.tolist() == sorted(is_real.tolist(), reverse=True)


def test_a_draw_has_no_more_positives_than_it_may_and_nothing_that_does_not_count() -> None:
    labels = torch.tensor([1] * 40 + [BACKGROUND] * 50 + [NOT_COUNTED] * 10)
    chosen = drawn(labels, 64, 16)
    assert (labels[chosen] > 0).sum() == 16
    assert (labels[chosen] == BACKGROUND).sum() == 48
    assert drawn(labels[:5], 64, 16).sum() == 5  # fewer than it may
    assert drawn(labels[90:], 64, 16).sum() == 0


def test_the_rpn_loss_of_few_anchors_is_their_mean_by_hand() -> None:
    labels = torch.tensor([[2, 0, NOT_COUNTED, 0]])
    logits, deltas = torch.tensor([[1.0, -2.0, 9.0, 0.5]]), torch.zeros(1, 4, 4)
    deltas[0, 0] = 1.0
    targets = Targets(labels, torch.zeros(1, 4, 4), labels)
    expected = (F.softplus(torch.tensor([-1.0, -2.0, 0.5])).sum() + 4 * (1 - 1 / 18)) / 3
    torch.testing.assert_close(rpn_loss(logits, deltas, targets), expected)


def test_the_region_loss_is_that_of_torchvision() -> None:
    torch.manual_seed(1)
    logits, deltas = torch.randn(20, 4), torch.randn(20, 12)
    labels, target_deltas = torch.randint(0, 4, (20,)), torch.randn(20, 4)
    with_background = torch.cat([torch.randn(20, 4), deltas], dim=1)  # torchvision has a box of the background
    expected = sum(fastrcnn_loss(logits, with_background, [labels], [target_deltas]))
    ours = region_loss(logits, deltas, labels, target_deltas)
    own, truth = deltas.view(20, 3, 4)[labels > 0, labels[labels > 0] - 1], target_deltas[labels > 0]
    # Theirs turns from square to linear at 1 / 9 already.
    later, earlier = (F.smooth_l1_loss(own, truth, reduction="sum", beta=beta) for beta in (1.0, 1 / 9))
    torch.testing.assert_close(ours, torch.as_tensor(expected) + (later - earlier) / 20)


def test_a_sample_holds_the_objects_themselves_and_leaves_padding_out() -> None:
    batch = list(rectangles(4).examples)
    regions = [torch.cat([torch.rand(30, 2) * 40, torch.rand(30, 2) * 20 + 45], dim=1) for _ in batch]
    regions[1] = torch.zeros(30, 4)
    drawn_regions = sample(batch, regions, Rule(0.5, 0.5), SCALED)
    assert drawn_regions.regions[1].tolist() == batch[1].boxes_xyxy.tolist()
    start = 0
    for example, boxes, ids in zip(batch, drawn_regions.regions, drawn_regions.object_ids, strict=True):
        labels, deltas = (values[start : start + len(boxes)] for values in (drawn_regions.labels, drawn_regions.deltas))
        start += len(boxes)
        assert len(boxes) <= NUM_DRAWN
        positive = labels > 0
        if positive.any():
            own = torch.from_numpy(example.boxes_xyxy)[ids[positive]]
            assert (torch.diagonal(box_iou(boxes[positive], own)) >= 0.5).all()
            back = decode(deltas[positive], boxes[positive], SCALED, WORLD.network_wh)
            torch.testing.assert_close(back, own, atol=1e-3, rtol=0)
            assert (labels[positive] - 1).tolist() == example.class_ids[ids[positive].numpy()].tolist()


def test_both_ways_of_pooling_agree_and_padding_is_zero() -> None:
    features = torch.randn(2, 3, 8, 12)
    regions = torch.tensor([[[4.0, 4, 60, 40], [0, 0, 96, 64]], [[10, 5, 30, 60], [0, 0, 0, 0]]])
    exported_way = pooled(features, regions, 1 / 8)
    to_learn = pooled_to_learn(features, [regions[0], regions[1, :1]], 1 / 8)
    torch.testing.assert_close(exported_way[:3], to_learn)
    assert exported_way[3].abs().sum() == 0


def test_it_learns_and_its_file_says_what_pytorch_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, losses = trained_shortly(FASTER_R_CNN, faster_rcnn, monkeypatch)
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert exported(FASTER_R_CNN, network, tmp_path).evidence.parity.num_detections > 0
