"""YOLO: priors by k-means, one responsible box an object, a loss by hand, and a file that agrees with PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
from torchvision.ops import box_iou

from export.examples import Example
from export.lineage import yolo
from export.lineage.yolo import STRIDE, YOLO, boxes_of, loss_of, prior_shapes, references_of, responsible, shape_iou
from tests.support.lineage_scenes import TRAINS_LONG, exported, trained_shortly

PRIORS = torch.tensor([[16.0, 16], [32, 16], [16, 32], [40, 40], [64, 48]])


def example(*boxes: tuple[float, float, float, float], ignored: tuple[tuple[float, ...], ...] = ()) -> Example:
    return Example(
        np.zeros((64, 96, 3), np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(len(boxes), dtype=np.int64) % 2,
        np.array(ignored, np.float32).reshape(-1, 4),
    )


def test_shapes_overlap_as_boxes_with_one_centre_do() -> None:
    sides = torch.rand(20, 2) * 50 + 1
    corners = torch.cat([-sides / 2, sides / 2], dim=1)
    torch.testing.assert_close(shape_iou(sides, sides[:7]), box_iou(corners, corners[:7]))


def test_priors_are_the_clusters_of_the_objects() -> None:
    centres = torch.tensor([[10.0, 20], [40, 20], [30, 60], [90, 50], [120, 120]])
    sides = (centres[:, None] + torch.randn(5, 40, 2)).flatten(0, 1)
    torch.testing.assert_close(prior_shapes(sides), centres, atol=1.0, rtol=0)


@pytest.mark.parametrize("num", [0, 1, 4])
def test_few_objects_give_five_priors_all_the_same(num: int) -> None:
    priors = prior_shapes(torch.full((num, 2), 12.0))
    assert priors.shape == (5, 2)
    assert (priors > 0).all()


def test_the_best_prior_in_the_cell_of_the_centre_is_responsible() -> None:
    own = responsible(example((20, 4, 52, 20), (80, 48, 96, 64), (80, 49, 96, 63)), PRIORS)
    columns = 96 // STRIDE
    assert own.rows.tolist() == [(0 * columns + 2) * 5 + 1, (3 * columns + 5) * 5 + 0]  # x 36, y 12; x 88, y 56
    assert own.class_ids.tolist() == [0, 0]  # the third box takes the place of the second
    assert own.boxes_xyxy[1].tolist() == [80, 49, 96, 63]
    assert len(responsible(example(), PRIORS).rows) == 0


def test_the_loss_of_a_perfect_answer_is_nothing_and_its_parts_are_sums_by_hand() -> None:
    one = example((20, 4, 52, 20), ignored=((64.0, 32, 80, 48),))
    references = references_of((96, 64), PRIORS)
    own = responsible(one, PRIORS)
    answer = torch.full((1, len(references), 7), -30.0)  # surety 0, but for the object: the sides do not matter
    row = own.rows[0]
    answer[0, row] = torch.tensor([-1.0986123, 0.9808293, 0.0, 0.0, 30.0, 30.0, -30.0])  # centre (.25, .727) of a cell
    centre = torch.tensor([36.0, 12.0]) / STRIDE % 1
    answer[0, row, :2] = torch.logit(centre)
    torch.testing.assert_close(boxes_of(answer[0, row], references[row]), torch.tensor([20.0, 4, 52, 20]))
    assert loss_of(answer, references, PRIORS, [one]).item() == pytest.approx(0, abs=1e-6)
    wider = answer.clone()
    wider[0, row, 2] = np.log(2.0)  # twice as wide: IoU .5
    expected = 5 * np.log(2.0) ** 2 + (1 - 0.5) ** 2
    assert loss_of(wider, references, PRIORS, [one]).item() == pytest.approx(expected, rel=1e-5)
    sure = answer.clone()
    sure[0, -1, 4] = 30.0  # a sure box of no size far from all objects: λ of .5
    assert loss_of(sure, references, PRIORS, [one]).item() == pytest.approx(0.5, rel=1e-5)
    over_ignored = answer.clone()
    over_ignored[0, (2 * 6 + 4) * 5, 4] = 30.0  # the prior of the ignored object's shape on the ignored object
    assert loss_of(over_ignored, references, PRIORS, [one]).item() == pytest.approx(0, abs=1e-6)


def test_a_batch_of_empty_pictures_has_a_finite_loss_and_gradient() -> None:
    references = references_of((96, 64), PRIORS)
    predictions = torch.randn(2, len(references), 7, requires_grad=True)
    loss_of(predictions, references, PRIORS, [example(), example()]).backward()  # type: ignore[no-untyped-call]
    assert predictions.grad is not None
    assert torch.isfinite(predictions.grad).all()


@TRAINS_LONG
def test_it_learns_and_its_file_says_what_pytorch_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, losses = trained_shortly(YOLO, yolo, monkeypatch)
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert exported(YOLO, network, tmp_path).evidence.parity.num_detections > 0
