"""DETR: the match is the cheapest of all, the set loss is a sum by hand, and its file agrees with PyTorch."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")
pytest.importorskip("scipy", reason="the extra lineage is not installed")

import torch
import torch.nn.functional as F
from torchvision.ops import box_convert, generalized_box_iou

from export.examples import Example
from export.lineage import detr
from export.lineage.backbone import Backbone
from export.lineage.detr import DETR, NUM_QUERIES, WEIGHTS, Detr, Objects, matched, packed, set_loss, sine_positions
from export.lineage.learning import Recipe
from export.lineage.scenes import STREET_CLASSES
from tests.support.lineage_scenes import exported, trained_shortly

NOTHING = torch.zeros(0, 4)


def random_objects(num: int, seed: int = 0) -> Objects:
    chance = torch.Generator().manual_seed(seed)
    boxes = torch.rand(num, 4, generator=chance) * 0.4 + 0.1
    return Objects(boxes, torch.randint(0, 3, (num,), generator=chance), NOTHING)


@pytest.mark.parametrize("num_objects", [0, 1, 3])
def test_no_other_match_costs_less(num_objects: int) -> None:
    torch.manual_seed(num_objects)
    objects = random_objects(num_objects)
    logits, boxes = torch.randn(6, 4), torch.rand(6, 4) * 0.4 + 0.1
    queries, chosen = matched(logits, boxes, objects)

    def cost_of(pairs: list[tuple[int, int]]) -> float:
        total = 0.0
        for query, index in pairs:
            mine, theirs = boxes[query][None], objects.boxes_cxcywh[index][None]
            overlap = generalized_box_iou(box_convert(mine, "cxcywh", "xyxy"), box_convert(theirs, "cxcywh", "xyxy"))
            total += 5 * float((mine - theirs).abs().sum()) - 2 * float(overlap)
            total -= float(logits[query].softmax(dim=0)[objects.class_ids[index]])
        return total

    ways = itertools.permutations(range(6), num_objects)
    least = min(cost_of(list(zip(way, range(num_objects), strict=True))) for way in ways)
    assert len(queries) == num_objects
    assert cost_of(list(zip(queries.tolist(), chosen.tolist(), strict=True))) == pytest.approx(least, abs=1e-5)


def test_a_perfect_set_in_any_order_costs_nothing_and_a_second_box_of_an_object_does() -> None:
    objects = random_objects(3)
    boxes = torch.full((1, 5, 4), 0.9)
    logits = torch.full((1, 5, 4), -30.0)
    logits[..., 3] = 30.0
    for query, index in ((4, 0), (1, 1), (2, 2)):
        boxes[0, query] = objects.boxes_cxcywh[index]
        logits[0, query] = -30.0
        logits[0, query, objects.class_ids[index]] = 30.0
    assert set_loss(logits, boxes, [objects]).item() == pytest.approx(0, abs=1e-5)
    twice_logits, twice_boxes = logits.clone(), boxes.clone()
    twice_logits[0, 0], twice_boxes[0, 0] = logits[0, 4], boxes[0, 4]
    # A tenth of the cost of 60 for "no object", over the weights of three objects and two queries without one.
    assert set_loss(twice_logits, twice_boxes, [objects]).item() == pytest.approx(0.1 * 60 / 3.2, rel=1e-4)
    ignored = Objects(objects.boxes_cxcywh, objects.class_ids, box_convert(boxes[0, 4:5], "cxcywh", "xyxy"))
    assert set_loss(twice_logits, twice_boxes, [ignored]).item() == pytest.approx(0, abs=1e-5)


def test_pictures_without_objects_teach_no_object() -> None:
    logits, boxes = torch.randn(2, 5, 4, requires_grad=True), torch.rand(2, 5, 4)
    loss = set_loss(logits, boxes, [random_objects(0), random_objects(0)])
    torch.testing.assert_close(loss, F.cross_entropy(logits.flatten(0, 1), torch.full((10,), 3)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_of_more_objects_than_queries_the_largest_are_learnt() -> None:
    sides = np.arange(1, 41, dtype=np.float32)
    boxes = np.stack([sides * 0, sides * 0, sides, sides], axis=1)
    example = Example(np.zeros((64, 96, 3), np.uint8), boxes, np.zeros(40, np.int64), np.zeros((0, 4), np.float32))
    learnt = Objects.of(example)
    assert (learnt.boxes_cxcywh[:, 2] * 96).round().tolist() == list(range(40, 40 - NUM_QUERIES, -1))


def test_positions_tell_rows_from_columns() -> None:
    positions = sine_positions(3, 5).view(3, 5, -1)
    half = positions.shape[2] // 2
    assert (positions[0, :, :half] == positions[0, :1, :half]).all()  # one row, one first half
    assert (positions[:, 0, half:] == positions[:1, 0, half:]).all()
    assert len({tuple(cell.tolist()) for cell in positions.flatten(0, 1)}) == 15


def test_weights_survive_packing(tmp_path: Path) -> None:
    network = Detr(Backbone(), 2)
    np.savez(tmp_path / "detr.npz", allow_pickle=False, **packed(network))
    other = Detr(Backbone(), 2)
    other.load_state_dict(detr.weights_in(tmp_path / "detr.npz"))
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(
    not WEIGHTS.exists(), reason="no weights lie beside detr.py: python -m export.train_detr makes them"
)
def test_the_weights_that_ship_are_small_and_those_of_the_streets() -> None:
    assert WEIGHTS.stat().st_size <= 4_000_000
    Detr(Backbone(), len(STREET_CLASSES)).load_state_dict(detr.weights_in(WEIGHTS))


def test_it_learns_and_its_file_says_what_pytorch_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detr, "FROM_SCRATCH", Recipe(steps=30, learning_rate=5e-4))
    network, losses = trained_shortly(DETR, detr, monkeypatch)
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:4])
    assert exported(DETR, network, tmp_path).evidence.parity.num_detections > 0
