"""Pascal VOC's AP: what one computes by hand, and what the development kit's own steps give."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.truth import Truth, marked
from pipeline.accuracy.voc import Rule, voc_precisions
from pipeline.picture.detections import Detections

Box = tuple[float, float, float, float]
A: Box = (0, 0, 10, 10)
B: Box = (20, 0, 30, 10)
C: Box = (40, 0, 50, 10)
NOWHERE: Box = (90, 90, 95, 95)


def found(*rows: tuple[Box, float], class_id: int = 0) -> Detections:
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([score for _, score in rows], np.float32), np.full(len(rows), class_id))


def truth(*boxes: Box, ignored: tuple[Box, ...] = ()) -> Truth:
    return Truth.of(marked(boxes, [0] * len(boxes)), marked(ignored, [0] * len(ignored)))


def ap(detections: Detections, objects: Truth, rule: Rule = "area") -> float | None:
    return voc_precisions([detections], [objects], num_classes=1, rule=rule)[0]


def test_the_area_under_a_curve_drawn_by_hand() -> None:
    """Right, wrong, right, of three objects: precision 1 up to recall 1/3, then 2/3 up to 2/3."""
    detections = found((A, 0.9), (NOWHERE, 0.8), (B, 0.7))
    assert ap(detections, truth(A, B, C)) == pytest.approx(1 / 3 + 2 / 9)


def test_the_eleven_points_of_the_same_curve() -> None:
    """Recalls 0, .1, .2 and .3 at precision 1; .4, .5 and .6 at 2/3; the others are not reached."""
    detections = found((A, 0.9), (NOWHERE, 0.8), (B, 0.7))
    assert ap(detections, truth(A, B, C), "11-point") == pytest.approx((4 + 3 * 2 / 3) / 11)


def test_a_recall_of_exactly_three_tenths_counts_as_three_tenths() -> None:
    boxes = [(20.0 * number, 0.0, 20.0 * number + 10, 10.0) for number in range(10)]
    detections = found(*((box, 0.9) for box in boxes[:3]))
    assert ap(detections, truth(*boxes), "11-point") == pytest.approx(4 / 11)
    assert ap(detections, truth(*boxes)) == pytest.approx(0.3)


@pytest.mark.parametrize("rule", ["area", "11-point"])
def test_the_ends_of_the_scale(rule: Rule) -> None:
    assert ap(found((A, 0.9), (B, 0.1)), truth(A, B), rule) == pytest.approx(1)
    assert ap(found((NOWHERE, 0.9)), truth(A), rule) == 0
    assert ap(Detections.empty(), truth(A), rule) == 0
    assert ap(found((A, 0.9)), truth(), rule) is None
    assert voc_precisions([], [], num_classes=2, rule=rule) == [None, None]


def test_an_object_is_found_once() -> None:
    """The second detection of A is wrong, and stands before B."""
    assert ap(found((A, 0.9), (A, 0.8), (B, 0.7)), truth(A, B)) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_a_detection_claims_only_what_it_overlaps_most() -> None:
    """The kit does not go on to another object where the best one is taken, though COCO does."""
    near_a = (2.0, 0.0, 12.0, 10.0)
    first, second = (0.0, 0.0, 10.0, 10.0), (4.5, 0.0, 14.5, 10.0)
    detections = found((first, 0.9), (near_a, 0.8))  # IoU with the first 8/12, with the second 7.5/12.5
    assert ap(detections, truth(first, second)) == pytest.approx(0.5)


def test_difficult_objects_are_neither_right_nor_wrong_however_often_they_are_found() -> None:
    detections = found((B, 0.95), (B, 0.93), (A, 0.9))
    assert ap(detections, truth(A, ignored=(B,))) == pytest.approx(1)
    assert ap(detections, truth(A)) == pytest.approx(1 / 3)
    assert ap(detections, truth(ignored=(A, B))) is None


def test_half_an_overlap_is_enough_and_less_is_not() -> None:
    half, less = (0.0, 0.0, 10.0, 5.0), (0.0, 0.0, 10.0, 4.99)
    assert ap(found((half, 0.9)), truth(A)) == pytest.approx(1)
    assert ap(found((less, 0.9)), truth(A)) == 0
    assert voc_precisions([found((less, 0.9))], [truth(A)], num_classes=1, iou_threshold=0.4) == [pytest.approx(1)]


def test_scores_are_ranked_over_all_images_and_boxes_are_not_mixed_up() -> None:
    every = voc_precisions(
        [found((A, 0.5)), found((NOWHERE, 0.9)), Detections.empty()], [truth(A), truth(B), truth()], num_classes=1
    )
    assert every == [pytest.approx(0.5 * 0.5)]


def test_classes_do_not_see_each_other() -> None:
    objects = Truth.of(marked([A, B], [0, 1]))
    boxes = np.array([A, A], np.float32)
    detections = Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([1, 0]))
    assert voc_precisions([detections], [objects], num_classes=3) == [pytest.approx(1), 0, None]


def test_boxes_without_area_overlap_nothing() -> None:
    flat = (5.0, 5.0, 5.0, 5.0)
    assert ap(found((flat, 0.9), (A, 0.5)), truth(A, flat)) == pytest.approx(0.5 * 0.5)


@pytest.mark.parametrize("seed", range(12))
def test_random_data_give_what_the_kits_own_steps_give(seed: int) -> None:
    detections, truths = random_data(seed)
    expected = [by_the_kit(detections, truths, class_id) for class_id in range(3)]
    assert voc_precisions(detections, truths, num_classes=3) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_near_cocos_101_points(seed: int) -> None:
    pytest.importorskip("pycocotools", reason="AP needs pycocotools")
    detections, truths = random_data(seed, with_ignored=False)
    ours = voc_precisions(detections, truths, num_classes=3)
    for each in coco_accuracy(detections, truths).classes:
        assert ours[each.class_id] == pytest.approx(each.ap50, abs=0.03)


def random_data(seed: int, *, with_ignored: bool = True) -> tuple[list[Detections], list[Truth]]:
    """Objects, and detections that are near them, or anywhere."""
    chance = np.random.default_rng(seed)
    detections, truths = [], []
    for _ in range(8):
        num = int(chance.integers(0, 7))
        corners = chance.uniform(0, 200, (num, 2))
        boxes = np.concatenate([corners, corners + chance.uniform(20, 60, (num, 2))], axis=1)
        class_ids = chance.integers(0, 3, num)
        is_ignored = chance.random(num) < (0.2 if with_ignored else 0)
        parts = [marked(boxes[each].tolist(), class_ids[each].tolist()) for each in (~is_ignored, is_ignored)]
        truths.append(Truth.of(*parts))
        near = np.repeat(boxes, 2, axis=0) + chance.normal(0, 5, (2 * num, 4))
        classes = np.where(chance.random(2 * num) < 0.8, np.repeat(class_ids, 2), chance.integers(0, 3, 2 * num))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
        detections.append(Detections(near.astype(np.float32), chance.random(2 * num, np.float32), classes))
    return detections, truths


def by_the_kit(detections: list[Detections], truths: list[Truth], class_id: int) -> float | None:
    """VOCevaldet.m and VOCap.m, step by step, in plain Python."""
    rows: list[tuple[float, int, int, list[float]]] = []
    for image, each in enumerate(detections):
        for box, score, of_class in zip(
            each.boxes_xyxy.tolist(), each.scores.tolist(), each.class_ids.tolist(), strict=True
        ):
            if of_class == class_id:
                rows.append((-score, len(rows), image, box))
    positives = sum(int((each.objects.class_ids == class_id).sum()) for each in truths)
    if not positives:
        return None
    detected: set[tuple[int, int]] = set()
    tp, fp = [0], [0]
    for _, _, image, box in sorted(rows):
        candidates = [
            (iou(box, other), number, part is truths[image].ignored)
            for part in (truths[image].objects, truths[image].ignored)
            for number, (other, of_class) in enumerate(
                zip(part.boxes_xyxy.tolist(), part.class_ids.tolist(), strict=True)
            )
            if of_class == class_id
        ]
        best, number, is_difficult = max(candidates, default=(0.0, 0, False))
        right = best >= 0.5 and not is_difficult and (image, number) not in detected
        wrong = best < 0.5 or (not is_difficult and not right)
        if right:
            detected.add((image, number))
        tp.append(tp[-1] + right)
        fp.append(fp[-1] + wrong)
    recall = [each / positives for each in tp[1:]]
    precision = [a / (a + b) if a + b else 0.0 for a, b in zip(tp[1:], fp[1:], strict=True)]
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for place in range(len(mpre) - 2, -1, -1):
        mpre[place] = max(mpre[place], mpre[place + 1])
    return sum((mrec[place] - mrec[place - 1]) * mpre[place] for place in range(1, len(mrec)))


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def test_boxes_in_blocks_are_judged_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(5)
    corners = chance.uniform(0, 60, (90, 2))
    boxes = np.concatenate([corners, corners + chance.uniform(4, 30, (90, 2))], axis=1).astype(np.float32)
    truth = Truth.of(marked(boxes[:30].tolist(), [0] * 30))
    detections = Detections(boxes[20:], chance.uniform(0, 1, 70).astype(np.float32), np.zeros(70, np.int64))
    whole = voc_precisions([detections], [truth], num_classes=1)
    monkeypatch.setattr("pipeline.accuracy.voc._BLOCK", 7)
    assert voc_precisions([detections], [truth], num_classes=1) == whole
    assert voc_precisions([Detections.empty()], [truth], num_classes=1) == [0.0]
