"""Mask R-CNN: targets against torchvision and by hand, and a file with the masks of PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
from torchvision.models.detection.roi_heads import maskrcnn_loss

from export.lineage import mask_rcnn
from export.lineage.assignment import Rule
from export.lineage.box_coding import SCALED
from export.lineage.judging import picture_of
from export.lineage.mask_rcnn import MASK_R_CNN, MASK_SIDE, MaskHead, mask_loss, mask_targets, mirrored_batch
from export.lineage.region_heads import pooled_to_learn, sample
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.sources.street.traffic import TrafficSource
from tests.support.lineage_scenes import exported, rectangles, trained_shortly


def test_an_object_in_the_map_fills_its_box_in_the_truth() -> None:
    source = TrafficSource.from_spec("sim:traffic?seed=4&size=640x360")
    truth, object_map = source.truth(60), source.object_map(60)
    assert object_map.max() == len(truth) > 5
    for row, box in enumerate(truth.boxes_xyxy.tolist(), start=1):
        ys, xs = np.nonzero(object_map == row)
        assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == box


def test_the_loss_is_that_of_torchvision() -> None:
    torch.manual_seed(0)
    batch = list(rectangles(4).examples)
    regions = [torch.cat([torch.rand(30, 2) * 40, torch.rand(30, 2) * 20 + 45], dim=1) for _ in batch]
    drawn = sample(batch, regions, Rule(0.5, 0.5), SCALED)
    head, features = MaskHead(8, 2), torch.randn(4, 8, 8, 12)
    positive = [boxes[ids >= 0] for boxes, ids in zip(drawn.regions, drawn.object_ids, strict=True)]
    logits = head(pooled_to_learn(features, positive, 1 / 8, 14))
    masks = [
        torch.from_numpy(np.stack([e.object_map == 1 + n for n in range(len(e.boxes_xyxy))]).astype(np.uint8))
        if len(e.boxes_xyxy)
        else torch.zeros(0, 64, 96, dtype=torch.uint8)
        for e in batch
    ]
    labels = [torch.from_numpy(e.class_ids) for e in batch]
    matched = [ids[ids >= 0] for ids in drawn.object_ids]
    expected = maskrcnn_loss(logits, positive, masks, labels, matched)
    torch.testing.assert_close(mask_loss(head, features, batch, drawn), expected)


def test_without_objects_there_is_nothing_to_learn_of_masks() -> None:
    batch = [example for example in rectangles(8).examples if not len(example.boxes_xyxy)]
    drawn = sample(batch, [torch.tensor([[1.0, 1, 20, 20]]) for _ in batch], Rule(0.5, 0.5), SCALED)
    assert mask_loss(MaskHead(8, 2), torch.randn(len(batch), 8, 8, 12), batch, drawn) == 0


def test_a_mirrored_picture_takes_its_map_along() -> None:
    for example in mirrored_batch(rectangles(8), 16, np.random.default_rng(0)):
        ids = torch.arange(len(example.boxes_xyxy))
        targets = mask_targets(example, torch.from_numpy(example.boxes_xyxy), ids)
        assert targets.shape == (len(ids), MASK_SIDE, MASK_SIDE)
        if len(ids) == 1:
            assert targets.mean() > 0.9  # a rectangle fills its box


def test_it_learns_and_its_file_has_the_masks_that_pytorch_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, losses = trained_shortly(MASK_R_CNN, mask_rcnn, monkeypatch, num_steps=40)
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    parity = exported(MASK_R_CNN, network, tmp_path).evidence.parity
    assert parity.num_detections > 0
    assert parity.least_mask_iou is not None
    assert parity.least_mask_iou > 0.99
    path = tmp_path / "mask-r-cnn.onnx"
    detect = EngineDetector(OrtEngine(path, recognise(path)), score_threshold=0.02)
    in_pictures = detect([picture_of(example) for example in rectangles(8).examples])
    assert sum(map(len, in_pictures)) > 0
    for detections in in_pictures:
        assert detections.masks is not None
        masks = np.asarray(detections.masks)
        assert masks.shape == (len(detections), 64, 96)
        for mask, (left, top, right, bottom) in zip(masks, detections.boxes_xyxy, strict=True):
            ys, xs = np.nonzero(mask)
            assert ((xs + 1 > left) & (xs < right) & (ys + 1 > top) & (ys < bottom)).all()
