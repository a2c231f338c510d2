"""Confusion matrix: it counts what one counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.accuracy.confusion import confusion_matrix
from pipeline.accuracy.truth import Truth, marked
from pipeline.picture.detections import Detections

Box = tuple[float, float, float, float]
A: Box = (0, 0, 10, 10)
B: Box = (20, 0, 30, 10)
CAT, DOG = 0, 1


def found(*rows: tuple[Box, float, int]) -> Detections:
    return Detections(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([class_id for _, _, class_id in rows], np.int64),
    )


def truth(*rows: tuple[Box, int], ignored: tuple[Box, ...] = ()) -> Truth:
    objects = marked([box for box, _ in rows], [class_id for _, class_id in rows])
    return Truth.of(objects, marked(ignored, [CAT] * len(ignored)))


def matrix(detections: Detections, objects: Truth) -> list[list[int]]:
    """Rows cat, dog, background; columns cat, dog, missed."""
    counted: list[list[int]] = confusion_matrix([detections], [objects], num_classes=2, score_threshold=0.5).tolist()
    return counted


def test_right_wrong_missed_and_invented() -> None:
    far = (70.0, 70.0, 80.0, 80.0)
    detections = found((A, 0.9, CAT), (B, 0.9, CAT), (far, 0.9, DOG))
    objects = truth((A, CAT), (B, DOG), ((40, 0, 50, 10), DOG))
    assert matrix(detections, objects) == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_scores_below_the_threshold_do_not_count_and_the_threshold_does() -> None:
    assert matrix(found((A, 0.49, CAT), (B, 0.5, CAT)), truth((A, CAT), (B, CAT))) == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    close = confusion_matrix([found((A, 0.7, CAT))], [truth((A, CAT))], num_classes=1, score_threshold=0.7)
    assert close.tolist() == [[1, 0], [0, 0]]


def test_the_best_overlap_pairs_first_whatever_the_score() -> None:
    loose = (0.0, 0.0, 10.0, 7.0)
    assert matrix(found((loose, 0.99, DOG), (A, 0.6, CAT)), truth((A, CAT))) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("rows", [((A, 0.9, CAT), (A, 0.6, DOG)), ((A, 0.6, DOG), (A, 0.9, CAT))])
def test_of_equal_overlaps_the_better_score_pairs(rows: tuple[tuple[Box, float, int], ...]) -> None:
    assert matrix(found(*rows), truth((A, CAT))) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_a_detection_pairs_with_another_object_where_the_best_is_taken() -> None:
    first, second = (0.0, 0.0, 10.0, 10.0), (4.5, 0.0, 14.5, 10.0)
    between = (2.0, 0.0, 12.0, 10.0)  # overlaps both by more than half
    detections = found((first, 0.9, CAT), (between, 0.8, CAT))
    assert matrix(detections, truth((first, CAT), (second, CAT)))[CAT] == [2, 0, 0]


def test_ignored_objects_excuse_but_are_not_missed() -> None:
    assert matrix(found((B, 0.9, DOG)), truth((A, CAT), ignored=(B,))) == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert matrix(found((A, 0.9, CAT)), truth((A, CAT), ignored=(A,)))[CAT] == [1, 0, 0]


def test_nothing_there_and_nothing_found() -> None:
    assert matrix(found(), truth()) == [[0, 0, 0]] * 3
    assert matrix(found(), truth((A, DOG))) == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert matrix(found((A, 1.0, DOG)), truth()) == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert confusion_matrix([], [], num_classes=2, score_threshold=0.5).sum() == 0


def test_images_add_up_and_every_object_stands_in_its_row_once() -> None:
    detections = [found((A, 0.9, CAT)), found((B, 0.9, DOG)), found()]
    truths = [truth((A, CAT), (B, DOG)), truth((A, CAT)), truth((A, CAT), (B, CAT))]
    counted = confusion_matrix(detections, truths, num_classes=2, score_threshold=0.5)
    assert counted[:2].sum(axis=1).tolist() == [4, 1]
    assert counted.tolist() == [[1, 0, 3], [0, 0, 1], [0, 1, 0]]
