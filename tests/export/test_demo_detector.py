"""Demo detector: its training, its file, and its accuracy on held-out traffic."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.app.model_files import DEMO_MODEL
from pipeline.detector.onnx_file import graph_hash
from pipeline.detector.recognise import recognise
from pipeline.sources.street.view import CLASS_NAMES

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
from torchvision.ops import box_iou

from export.examples import Example, augmented
from export.families.demo_network import NETWORK_WH, STRIDES, DemoNetwork, anchors, decode, demo_exportable, encode
from export.graph.forms import module_for
from export.graph.to_onnx import to_onnx
from export.train_demo import fold_batch_norms, match_anchors, multibox_loss, round_weights

NOTHING = torch.zeros(0, 4)


def random_boxes(count: int, seed: int = 0) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=chance) * torch.tensor([300.0, 150.0])
    return torch.cat([corner, corner + 4 + torch.rand(count, 2, generator=chance) * 70], dim=1)


def test_the_shipped_file_is_small_and_describes_itself() -> None:
    assert DEMO_MODEL.stat().st_size <= 4_000_000
    spec = recognise(DEMO_MODEL)
    assert spec.class_names == CLASS_NAMES
    assert (spec.head, spec.dtype, spec.layout, spec.batch) == ("boxes", "uint8", "nhwc", None)
    assert spec.parity is not None
    assert spec.parity["passed"] is True
    assert spec.parity["graph_sha256"] == graph_hash(DEMO_MODEL)


def test_boxes_survive_encoding_and_decoding() -> None:
    boxes = random_boxes(200)
    chosen = anchors()[torch.randperm(len(anchors()))[:200]]
    torch.testing.assert_close(decode(encode(boxes, chosen), chosen), boxes, rtol=1e-4, atol=1e-3)


def test_anchors_lie_in_the_order_of_the_outputs() -> None:
    network = DemoNetwork(5).eval()
    with torch.inference_mode():
        logits, offsets = network(torch.zeros(2, 3, NETWORK_WH[1], NETWORK_WH[0]))
    all_anchors = anchors()
    assert logits.shape == (2, len(all_anchors), 6)
    assert offsets.shape == (2, len(all_anchors), 4)
    num_fine = (NETWORK_WH[0] // STRIDES[0]) * (NETWORK_WH[1] // STRIDES[0]) * 9
    assert all_anchors[0, :2].tolist() == [4.0, 4.0]
    assert all_anchors[9, :2].tolist() == [12.0, 4.0]  # x runs first, after the 9 shapes of a cell
    assert all_anchors[num_fine, :2].tolist() == [8.0, 8.0]


def test_every_object_gets_an_anchor_and_no_anchor_a_distant_one() -> None:
    all_anchors = anchors()
    boxes, class_ids = random_boxes(12, seed=3), torch.arange(12) % 5
    labels, offsets = match_anchors(boxes, class_ids, NOTHING, all_anchors)
    positive = labels > 0
    decoded = decode(offsets[positive], all_anchors[positive])
    overlap, which = box_iou(decoded, boxes).max(dim=1)
    assert (overlap > 0.999).all()
    assert set(which.tolist()) == set(range(12))
    assert (labels[positive] == 1 + class_ids[which]).all()
    corners = torch.cat(
        [all_anchors[:, :2] - all_anchors[:, 2:] / 2, all_anchors[:, :2] + all_anchors[:, 2:] / 2], dim=1
    )
    assert (positive | (box_iou(corners, boxes).max(dim=1).values < 0.5)).all()


def test_a_picture_without_objects_is_all_background() -> None:
    labels, _ = match_anchors(NOTHING, torch.zeros(0, dtype=torch.int64), NOTHING, anchors())
    assert not labels.any()


def test_what_looks_like_an_unlabelled_object_is_not_counted() -> None:
    boxes = random_boxes(2, seed=5)
    labels, _ = match_anchors(boxes[:1], torch.zeros(1, dtype=torch.int64), boxes[1:], anchors())
    assert (labels == 1).any()
    assert (labels == -1).any()
    logits, offsets = torch.randn(1, len(labels), 6), torch.zeros(1, len(labels), 4)
    worse = logits.clone()
    worse[0, labels == -1] = torch.tensor([-9.0, 9, 0, 0, 0, 0])  # sure of an object there: no matter
    targets = torch.zeros(1, len(labels), 4)
    before, after = (multibox_loss(values, offsets, labels[None], targets) for values in (logits, worse))
    torch.testing.assert_close(before, after)


def test_the_loss_counts_three_hard_negatives_for_each_positive() -> None:
    logits, offsets = torch.zeros(1, 100, 3), torch.zeros(1, 100, 4)
    labels, targets = torch.zeros(1, 100, dtype=torch.int64), torch.zeros(1, 100, 4)
    labels[0, :2] = 1
    logits[0, 50:53, 1] = 4.0  # three anchors of the background that look like objects
    by_hand = torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="none")
    expected = (by_hand[:2].sum() + by_hand[50:53].sum() + 3 * by_hand[99]) / 2
    torch.testing.assert_close(multibox_loss(logits, offsets, labels, targets), expected)
    assert multibox_loss(logits, offsets, labels, targets + labels[..., None]) > expected


def test_augmentation_keeps_boxes_on_their_objects() -> None:
    chance = np.random.default_rng(1)
    pixels = np.zeros((NETWORK_WH[1], NETWORK_WH[0], 3), np.uint8)
    pixels[60:100, 80:180] = 255
    none = np.zeros((0, 4), np.float32)
    example = Example(pixels, np.array([[80, 60, 180, 100]], np.float32), np.array([0]), none)
    for _ in range(40):
        changed = augmented(example, chance)
        if not len(changed.boxes_xyxy):
            continue
        bright = np.argwhere(changed.pixels.min(axis=2) > 120)
        (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
        assert np.abs(changed.boxes_xyxy[0] - [left, top, right, bottom]).max() <= 2


def test_folding_batch_norms_changes_nothing_and_rounding_little() -> None:
    torch.manual_seed(0)
    network = DemoNetwork(2, width=16)
    images = torch.randn(4, 3, 64, 64)
    network(images)  # moves the statistics off their start
    network.eval()
    with torch.inference_mode():
        before, _ = network(images)
    fold_batch_norms(network)
    assert not [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    with torch.inference_mode():
        torch.testing.assert_close(network(images)[0], before, rtol=1e-3, atol=1e-4)
        round_weights(network)
        torch.testing.assert_close(network(images)[0], before, rtol=0.05, atol=0.05)


def test_rounded_weights_are_stored_in_half_the_bytes() -> None:
    torch.manual_seed(0)
    network = DemoNetwork(2, width=16).eval()
    fold_batch_norms(network)
    round_weights(network)
    exportable = demo_exportable(network, ("a", "b"), network_wh=(64, 64), max_candidates=20)
    module, spec, names = module_for(exportable, "boxes", half=False)
    example = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    model = to_onnx(module, example, input_name=spec.input_name, output_names=names)
    assert model.ByteSize() < 0.6 * sum(4 * weights.numel() for weights in network.parameters())


def test_it_finds_held_out_traffic_through_the_whole_pipeline() -> None:
    pytest.importorskip("pycocotools", reason="counts the average precision")
    from benchmarks.demo_accuracy import FIRST_HELD_OUT_SEED, evaluate

    specs = [f"sim:traffic?seed={FIRST_HELD_OUT_SEED + 100 + seed}&seconds=4&fps=2&size=640x360" for seed in range(6)]
    _, ap50, _ = evaluate(specs, every=1)
    assert ap50 >= 0.85
