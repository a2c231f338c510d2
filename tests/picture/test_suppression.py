"""Suppression: it keeps what an independent implementation keeps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.suppression import SuppressionMode, suppress
from pipeline.picture.suppression import SuppressionOptions as Options

REPEATABLE = settings(deadline=None, derandomize=True)
Boxes = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]
NO_BOXES: Boxes = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)

SIDES = st.tuples(*[st.integers(0, 12)] * 2).map(sorted)


@st.composite
def awkward_boxes(draw: st.DrawFn) -> Boxes:
    """Boxes on a coarse grid: many are equal, nested, without area, or overlap exactly at a threshold."""
    rows = draw(st.lists(st.tuples(SIDES, SIDES, st.integers(0, 5), st.integers(0, 2)), max_size=40))
    scale = draw(st.sampled_from([1.0, 0.1, 33.3, 1e4]))
    boxes = np.array([[x[0], y[0], x[1], y[1]] for x, y, _, _ in rows], np.float32).reshape(-1, 4) * np.float32(scale)
    scores = np.array([score / 5 for _, _, score, _ in rows], np.float32)
    return boxes, scores, np.array([class_id for *_, class_id in rows], np.int64)


def crowd(num_boxes: int, *, num_classes: int, seed: int, offset: float = 0.0) -> Boxes:
    """Groups of boxes around a few objects."""
    rng = np.random.default_rng(seed)
    num_objects = max(1, num_boxes // 20)
    objects = rng.integers(0, num_objects, num_boxes)
    centres = (rng.random((num_objects, 2)) * 600)[objects] + rng.normal(0, 5, (num_boxes, 2)) + offset
    sizes = (rng.random((num_objects, 2)) * 100 + 20)[objects] * rng.uniform(0.8, 1.25, (num_boxes, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    return boxes, rng.random(num_boxes).astype(np.float32), rng.integers(0, num_classes, num_boxes)


def naive_iou(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    width = max(0.0, float(min(a[2], b[2])) - float(max(a[0], b[0])))
    height = max(0.0, float(min(a[3], b[3])) - float(max(a[1], b[1])))
    areas = [float(box[2] - box[0]) * float(box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def naive_soft_nms(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    class_ids: npt.NDArray[np.int64],
    *,
    linear_above: float | None,
    sigma: float,
    score_threshold: float,
) -> list[tuple[int, float]]:
    """Figure 2 of Bodla et al. 2017, class by class, one number at a time."""
    kept: list[tuple[int, float]] = []
    for class_id in set(class_ids.tolist()):
        remaining = {i: float(scores[i]) for i in range(len(scores)) if class_ids[i] == class_id}
        remaining = {i: score for i, score in remaining.items() if score >= score_threshold}
        while remaining:
            best = max(remaining, key=lambda i: (remaining[i], -i))
            kept.append((best, remaining.pop(best)))
            for i in remaining:
                iou = naive_iou(boxes[best], boxes[i])
                if linear_above is None:
                    remaining[i] *= math.exp(-(iou**2) / sigma)
                elif iou > linear_above:
                    remaining[i] *= 1 - iou
            remaining = {i: score for i, score in remaining.items() if score >= score_threshold}
    return sorted(kept, key=lambda entry: -entry[1])


def torchvision_keeps(boxes: Boxes, iou_threshold: float) -> list[int]:
    """What torchvision keeps class by class (its other way, moving classes apart, rounds coordinates), best first."""
    torch = pytest.importorskip("torch", reason="compares with torchvision")
    ops: Any = pytest.importorskip("torchvision.ops.boxes", reason="compares with torchvision")
    kept = ops._batched_nms_vanilla(*(torch.from_numpy(each) for each in boxes), iou_threshold).numpy()
    return sorted(kept.tolist(), key=lambda index: (-boxes[1][index], index))


@REPEATABLE
@given(awkward_boxes(), st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7]))
def test_awkward_boxes_are_kept_as_torchvision_keeps_them(boxes: Boxes, iou_threshold: float) -> None:
    kept, scores = suppress(*boxes, Options(iou_threshold=iou_threshold))
    assert kept.tolist() == torchvision_keeps(boxes, iou_threshold)
    assert np.array_equal(scores, boxes[1][kept])


@pytest.mark.parametrize("num_boxes", [1, 2, 127, 128, 129, 700, 4000])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_crowds_are_kept_as_torchvision_keeps_them(num_boxes: int, offset: float) -> None:
    boxes = crowd(num_boxes, num_classes=4, seed=num_boxes, offset=offset)
    for iou_threshold in (0.3, 0.5, 0.65):
        kept, _ = suppress(*boxes, Options(iou_threshold=iou_threshold, max_detections=num_boxes))
        assert kept.tolist() == torchvision_keeps(boxes, iou_threshold)


def test_class_agnostic_suppression_is_suppression_of_a_single_class() -> None:
    boxes, scores, class_ids = crowd(500, num_classes=5, seed=1)
    kept, _ = suppress(boxes, scores, class_ids, Options(mode="class-agnostic", max_detections=500))
    assert kept.tolist() == torchvision_keeps((boxes, scores, np.zeros_like(class_ids)), 0.5)


@REPEATABLE
@given(awkward_boxes(), st.sampled_from([0.25, 0.5]))
def test_what_stays_does_not_overlap_and_what_goes_does(boxes: Boxes, iou_threshold: float) -> None:
    kept, _ = suppress(*boxes, Options(iou_threshold=iou_threshold))
    for index in range(len(boxes[1])):
        better = [k for k in kept if boxes[2][k] == boxes[2][index] and (-boxes[1][k], k) < (-boxes[1][index], index)]
        overlaps = [naive_iou(boxes[0][k], boxes[0][index]) for k in better]
        if index in kept:
            assert max(overlaps, default=0) <= iou_threshold + 1e-6
        else:
            assert max(overlaps) > iou_threshold - 1e-6


def test_a_chain_longer_than_a_block_is_kept_every_second_box() -> None:
    left = np.arange(1000, dtype=np.float32) * 4  # each overlaps the next by 6 of 10: IoU 0.43
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    scores = np.linspace(1, 0.5, 1000, dtype=np.float32)
    kept, _ = suppress(boxes, scores, np.zeros(1000, np.int64), Options(iou_threshold=0.4, max_detections=1000))
    assert kept.tolist() == list(range(0, 1000, 2))


def test_an_overlap_of_exactly_the_threshold_stays() -> None:
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)
    scores, class_ids = np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64)
    assert suppress(boxes, scores, class_ids, Options(iou_threshold=0.5))[0].tolist() == [0, 1]
    assert suppress(boxes, scores, class_ids, Options(iou_threshold=0.499))[0].tolist() == [0]


def test_of_equal_boxes_with_equal_scores_the_first_stays() -> None:
    boxes, scores = np.tile(np.array([[1, 2, 3, 4]], np.float32), (5, 1)), np.full(5, 0.5, np.float32)
    assert suppress(boxes, scores, np.zeros(5, np.int64))[0].tolist() == [0]


@pytest.mark.parametrize("mode", ["class-aware", "class-agnostic", "soft-linear", "soft-gaussian"])
def test_nothing_stays_nothing(mode: SuppressionMode) -> None:
    kept, scores = suppress(*NO_BOXES, Options(mode=mode))
    assert kept.shape == scores.shape == (0,)


def test_a_score_of_exactly_the_threshold_stays() -> None:
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6]], np.float32)
    kept, _ = suppress(boxes, np.array([0.7, 0.69], np.float32), np.zeros(2, np.int64), Options(score_threshold=0.7))
    assert kept.tolist() == [0]


def test_a_class_has_its_own_threshold_higher_or_lower() -> None:
    boxes = np.arange(4, dtype=np.float32)[:, None] * 10 + np.array([0, 0, 5, 5], np.float32)
    scores, class_ids = np.array([0.3, 0.6, 0.6, 0.3], np.float32), np.array([0, 1, 2, 2])
    kept, _ = suppress(boxes, scores, class_ids, Options(score_threshold=0.5, class_thresholds={0: 0.2, 1: 0.9}))
    assert kept.tolist() == [2, 0]


def test_only_the_best_are_returned() -> None:
    boxes = crowd(1000, num_classes=80, seed=3)
    every, _ = suppress(*boxes, Options(max_detections=1000))
    assert np.array_equal(suppress(*boxes, Options(max_detections=10))[0], every[:10])


@REPEATABLE
@given(awkward_boxes(), st.sampled_from(["soft-linear", "soft-gaussian"]), st.sampled_from([0.0, 0.15]))
def test_soft_suppression_is_that_of_the_paper(boxes: Boxes, mode: SuppressionMode, score_threshold: float) -> None:
    kept, scores = suppress(*boxes, Options(mode=mode, iou_threshold=0.45, score_threshold=score_threshold, sigma=0.4))
    linear_above = 0.45 if mode == "soft-linear" else None
    expected = naive_soft_nms(*boxes, linear_above=linear_above, sigma=0.4, score_threshold=score_threshold)
    assert scores == pytest.approx([score for _, score in expected], abs=1e-5)
    assert len(set(kept.tolist())) == len(kept)


@pytest.mark.parametrize("mode", ["soft-linear", "soft-gaussian"])
def test_soft_suppression_of_a_crowd_keeps_the_boxes_of_the_paper(mode: SuppressionMode) -> None:
    boxes = crowd(200, num_classes=3, seed=5)
    kept, scores = suppress(*boxes, Options(mode=mode, iou_threshold=0.4, score_threshold=0.1))
    linear_above = 0.4 if mode == "soft-linear" else None
    expected = naive_soft_nms(*boxes, linear_above=linear_above, sigma=0.5, score_threshold=0.1)
    assert kept.tolist() == [index for index, _ in expected]
    assert scores == pytest.approx([score for _, score in expected], abs=1e-5)


def test_soft_suppression_lowers_a_rival_and_leaves_other_classes_alone() -> None:
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (3, 1))
    boxes[1] = [0, 0, 10, 8]  # IoU 0.8
    kept, scores = suppress(
        boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 0, 1]), Options(mode="soft-linear")
    )
    assert kept.tolist() == [0, 2, 1]
    assert scores == pytest.approx([0.9, 0.7, 0.8 * 0.2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["boxes", "scores"])
def test_nan_and_infinity_are_refused(value: float, where: str) -> None:
    boxes, scores = np.array([[0, 0, 1, 1]], np.float32), np.array([0.5], np.float32)
    (boxes if where == "boxes" else scores).flat[0] = value
    with pytest.raises(ValueError, match="must be finite, got NaN or infinity"):
        suppress(boxes, scores, np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "hard"}, "mode must be one of class-aware, .*, got 'hard'"),
        ({"iou_threshold": 1.5}, r"iou_threshold must lie within \[0, 1\], got 1.5"),
        ({"max_detections": 0}, "max_detections must be at least 1"),
        ({"sigma": 0.0}, "sigma above 0"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options)


def test_an_iou_threshold_of_one_keeps_even_equal_boxes() -> None:
    boxes = np.tile(np.array([[1, 2, 3, 4]], np.float32), (3, 1))
    assert len(suppress(boxes, np.ones(3, np.float32), np.zeros(3, np.int64), Options(iou_threshold=1.0))[0]) == 3


@REPEATABLE
@given(awkward_boxes())
def test_the_overlap_is_that_of_the_definition(boxes: Boxes) -> None:
    iou = np.nan_to_num(intersection_over_union(boxes[0], boxes[0]))
    expected = [[naive_iou(a, b) for b in boxes[0]] for a in boxes[0]]
    assert iou == pytest.approx(np.array(expected).reshape(iou.shape), abs=1e-5)
