"""References: anchors, box coding and assignment agree with sums by hand and with torchvision's own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from export.examples import Example
from export.lineage.anchors import grid_anchors, shapes_of
from export.lineage.assignment import BACKGROUND, NOT_COUNTED, Rule, assigned, stacked, targets_of
from export.lineage.box_coding import PLAIN, SCALED, decode, encode


def random_boxes(num: int, seed: int = 0) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    corners = torch.rand(num, 2, generator=chance) * 60
    return torch.cat([corners, corners + 4 + torch.rand(num, 2, generator=chance) * 40], dim=1)


def example(boxes: torch.Tensor, class_ids: list[int], ignored: torch.Tensor | None = None) -> Example:
    nothing = np.zeros((0, 4), np.float32)
    return Example(
        np.zeros((64, 96, 3), np.uint8),
        boxes.numpy(),
        np.array(class_ids, np.int64),
        nothing if ignored is None else ignored.numpy(),
    )


def test_anchors_are_centred_on_cells_in_the_order_of_a_map() -> None:
    anchors = grid_anchors((33, 16), (8, 16), [[(4.0, 8.0), (2.0, 2.0)], [(16.0, 16.0)]])
    assert len(anchors) == 5 * 2 * 2 + 3 * 1  # a cell that is begun is a cell
    assert anchors[:3].tolist() == [[2, 0, 6, 8], [3, 3, 5, 5], [10, 0, 14, 8]]
    assert anchors[-1].tolist() == [32, 0, 48, 16]


def test_anchors_have_the_shapes_of_torchvisions() -> None:
    theirs = AnchorGenerator(sizes=((20, 40),), aspect_ratios=((0.5, 1.0, 2.0),))  # height over width, rounded
    image = ImageList(torch.zeros(1, 3, 32, 48), [(32, 48)])
    (expected,) = theirs(image, [torch.zeros(1, 1, 4, 6)])
    ours = grid_anchors((48, 32), (8,), [shapes_of((20, 40), (2.0, 1.0, 0.5))])
    sides = ours[:, 2:] - ours[:, :2]
    by_aspect = (
        (expected[:, 2:] - expected[:, :2]).view(24, 3, 2, 2).transpose(1, 2).reshape(-1, 2)
    )  # size before aspect
    torch.testing.assert_close(sides, by_aspect, atol=1.0, rtol=0)  # theirs are whole pixels


@pytest.mark.parametrize("weights", [PLAIN, SCALED])
def test_coding_is_that_of_torchvision_and_is_undone_by_decoding(weights: tuple[float, float, float, float]) -> None:
    boxes, references = random_boxes(50), random_boxes(50, seed=1)
    deltas = encode(boxes, references, weights)
    torch.testing.assert_close(deltas, BoxCoder(weights).encode_single(boxes, references), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decode(deltas, references, weights, (200, 200)), boxes, rtol=1e-4, atol=1e-3)
    assert encode(boxes[:0], references[:0], weights).shape == (0, 4)


@pytest.mark.parametrize("num_objects", [1, 5, 20])
def test_assignment_is_that_of_torchvision(num_objects: int) -> None:
    references, objects = random_boxes(400, seed=2), random_boxes(num_objects, seed=3)
    expected = Matcher(0.5, 0.4)(box_iou(objects, references))
    assert assigned(objects, references, Rule(0.5, 0.4)).tolist() == expected.tolist()


def test_labels_by_hand() -> None:
    objects = torch.tensor([[0.0, 0, 10, 10], [40, 0, 50, 10]])
    references = torch.tensor(
        [
            [0.0, 0, 10, 10],  # object 0 itself
            [0, 0, 10, 22],  # IoU 100 / 220 = .4545 with object 0: between
            [0, 0, 10, 30],  # 1 / 3 with object 0: background
            [45, 0, 55, 10],  # 1 / 3 with object 1, its best: background by the rule, positive as the best
            [70, 40, 90, 60],  # far away
            [60, 0, 70, 10],  # the ignored object itself
        ]
    )
    ignored = torch.tensor([[60.0, 0, 70, 10]])
    rule = Rule(positive_iou=0.5, negative_iou=0.4)
    labels = targets_of(example(objects, [1, 0], ignored), references, rule, PLAIN).labels
    assert labels.tolist() == [2, NOT_COUNTED, BACKGROUND, BACKGROUND, BACKGROUND, NOT_COUNTED]
    best = targets_of(example(objects, [1, 0], ignored), references, Rule(0.5, 0.4, best_learns=True), PLAIN)
    assert best.labels.tolist() == [2, NOT_COUNTED, BACKGROUND, 1, BACKGROUND, NOT_COUNTED]
    assert best.object_ids.tolist() == [0, -1, -1, 1, -1, -1]
    assert best.deltas[3].tolist() == [-0.5, 0, 0, 0]
    assert best.deltas[[1, 2, 4, 5]].abs().sum() == 0


def test_a_picture_without_objects_is_background_and_stacks_with_others() -> None:
    references = random_boxes(7)
    empty = targets_of(example(references[:0], []), references, Rule(0.5, 0.5), PLAIN)
    full = targets_of(example(references, [0] * 7), references, Rule(0.5, 0.5), PLAIN)
    both = stacked([empty, full])
    assert both.labels.tolist() == [[BACKGROUND] * 7, [1] * 7]
    assert both.is_positive.sum() == 7
    assert both.deltas.abs().max() < 1e-6


def test_an_object_outside_every_reference_is_nobodys() -> None:
    far = torch.tensor([[500.0, 500, 510, 510]])
    labels = targets_of(example(far, [0]), random_boxes(5), Rule(0.5, 0.5, best_learns=True), PLAIN).labels
    assert labels.tolist() == [BACKGROUND] * 5


def test_a_rule_whose_background_begins_above_its_objects_is_refused() -> None:
    with pytest.raises(ValueError, match="negative_iou <= positive_iou"):
        Rule(positive_iou=0.4, negative_iou=0.5)
