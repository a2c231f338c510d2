"""Are DETR, SSD, NanoDet, PicoDet and FastestDet read as a slow and obvious decoder reads them?"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.detector.heads import HEADS
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import pack_anchors
from tests.support.slow_reading import NETWORK_WH, NUM_CLASSES, Row, check, corners, spec

WIDTH, HEIGHT = NETWORK_WH
Array = npt.NDArray[Any]


def random(seed: int, *shape: int, scale: float = 2.0) -> Array:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def in_pixels(cx: float, cy: float, w: float, h: float) -> tuple[float, float, float, float]:
    return corners(cx * WIDTH, cy * HEIGHT, w * WIDTH, h * HEIGHT)


def clipped(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return (
        min(max(left, 0), WIDTH),
        min(max(top, 0), HEIGHT),
        min(max(right, 0), WIDTH),
        min(max(bottom, 0), HEIGHT),
    )


@pytest.mark.parametrize("batch_index", [0, 1])
def test_detr_by_sigmoid_takes_the_best_pairs_of_query_and_class(batch_index: int) -> None:
    logits, boxes = random(1, 2, 50, NUM_CLASSES), random(2, 2, 50, 4, scale=0.3)
    expected: list[Row] = []
    for query in range(50):
        for class_id in range(NUM_CLASSES):
            score = sigmoid(logits[batch_index, query, class_id])
            if score >= 0.8:
                expected.append((*in_pixels(*boxes[batch_index, query].tolist()), score, class_id))
    expected.sort(key=lambda row: -row[4])
    detr_spec = spec(
        "detr", outputs=("l", "b"), boxes_are_normalised=True, score_activation="sigmoid", max_detections=20
    )
    candidates = HEADS["detr"]({"b": boxes, "l": logits}, detr_spec, score_threshold=0.8, batch_index=batch_index)
    assert len(expected) > 20
    check(candidates, expected[:20], tolerance=1e-4)


@pytest.mark.parametrize("batch_index", [0, 1])
def test_detr_by_softmax_takes_the_best_class_that_is_an_object(batch_index: int) -> None:
    logits, boxes = random(3, 2, 50, NUM_CLASSES + 1), random(4, 2, 50, 4, scale=0.3)
    expected: list[Row] = []
    for query in range(50):
        scores = softmax(logits[batch_index, query].tolist())[:-1]
        if max(scores) >= 0.3:
            box = in_pixels(*boxes[batch_index, query].tolist())
            expected.append((*box, max(scores), scores.index(max(scores))))
    expected.sort(key=lambda row: -row[4])
    detr_spec = spec("detr", outputs=("l", "b"), boxes_are_normalised=True, score_activation="softmax")
    candidates = HEADS["detr"]({"l": logits, "b": boxes}, detr_spec, score_threshold=0.3, batch_index=batch_index)
    check(candidates, expected, tolerance=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_detr_leaves_out_what_is_numbered_below_the_first_class(activation: str) -> None:
    logits, boxes = random(5, 1, 60, NUM_CLASSES + 1), random(6, 1, 60, 4)
    values = {"outputs": ("l", "b"), "score_activation": activation, "max_detections": 1000}
    all_names = tuple(f"class {index}" for index in range(NUM_CLASSES + 1))
    all_columns, part = (
        dataclasses.replace(spec("detr", **values, first_class_id=first), class_names=all_names[first:])
        for first in (0, 1)
    )
    every = HEADS["detr"]({"l": logits, "b": boxes}, all_columns, score_threshold=0.2, batch_index=0)
    without = HEADS["detr"]({"l": logits, "b": boxes}, part, score_threshold=0.2, batch_index=0)
    assert 0 in every.class_ids
    assert without.class_ids.tolist() == [index - 1 for index in every.class_ids.tolist() if index >= 1]
    assert without.scores.tolist() == every.scores[every.class_ids >= 1].tolist()


def expected_pairs(values: Array, activation: str, threshold: float) -> list[tuple[int, float, int]]:
    """Anchor, score and class id of every pair that reaches the threshold; column 0 is background."""
    pairs = []
    for anchor, row in enumerate(values.tolist()):
        scores = softmax(row) if activation == "softmax" else row
        if activation == "sigmoid":
            scores = [sigmoid(value) for value in row]
        for column, score in enumerate(scores):
            if column > 0 and score >= threshold:
                pairs.append((anchor, score, column - 1))
    return pairs


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
@pytest.mark.parametrize("batch_index", [0, 1])
def test_raw_ssd_offsets_move_and_stretch_their_anchors(activation: str, batch_index: int) -> None:
    chance = np.random.default_rng(7)
    anchors = chance.uniform(0.1, 0.9, (300, 4)).astype(np.float32)  # cy, cx, h, w
    values, offsets = random(8, 2, 300, 1 + NUM_CLASSES), random(9, 2, 300, 4, scale=3)
    expected: list[Row] = []
    for anchor, score, class_id in expected_pairs(values[batch_index], activation, 0.6):
        ya, xa, ha, wa = anchors[anchor].tolist()
        ty, tx, th, tw = offsets[batch_index, anchor].tolist()
        cy, cx, h, w = ty / 10 * ha + ya, tx / 10 * wa + xa, math.exp(th / 5) * ha, math.exp(tw / 5) * wa
        expected.append((*clipped(in_pixels(cx, cy, w, h)), score, class_id))
    read_by = spec(
        "ssd_raw",
        outputs=("classes", "boxes"),
        box_format="cycxhw",
        anchors=pack_anchors(anchors[:, [1, 0, 3, 2]]),
        score_activation=activation,
        first_class_id=1,
    )
    outputs = {"boxes": offsets, "classes": values}
    check(HEADS["ssd_raw"](outputs, read_by, score_threshold=0.6, batch_index=batch_index), expected, tolerance=1e-4)


def test_raw_ssd_offsets_may_have_other_variances_and_order() -> None:
    anchor, offset, variances = (0.5, 0.4, 0.2, 0.3), (1.0, -2.0, 0.5, 3.0), (1.0, 1.0, 1.0, 1.0)
    values = np.array([[[0.0, 0.9]]], np.float32)
    read_by = spec(
        "ssd_raw", outputs=("c", "b"), anchors=pack_anchors([anchor]), first_class_id=1, anchor_variances=variances
    )
    outputs = {"c": values, "b": np.array([[offset]], np.float32)}
    candidates = HEADS["ssd_raw"](outputs, read_by, score_threshold=0.5, batch_index=0)
    box = clipped(in_pixels(0.5 + 0.2, 0.4 - 2 * 0.3, 0.2 * math.exp(0.5), 0.3 * math.exp(3.0)))
    check(candidates, [(*box, 0.9, 0)], tolerance=1e-4)


def test_an_offset_that_would_be_infinite_ends_at_62_anchors() -> None:
    read_by = spec("ssd_raw", outputs=("c", "b"), anchors=pack_anchors([(0.5, 0.5, 0.001, 0.001)]), first_class_id=1)
    outputs = {"c": np.array([[[0.0, 0.9]]], np.float32), "b": np.array([[[0, 0, 1e9, 1e9]]], np.float32)}
    candidates = HEADS["ssd_raw"](outputs, read_by, score_threshold=0.5, batch_index=0)
    assert np.ptp(candidates.boxes_xyxy[0, [0, 2]]) == pytest.approx(62.5 * 0.001 * WIDTH, rel=1e-4)


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
@pytest.mark.parametrize("batch_index", [0, 1])
def test_decoded_ssd_boxes_are_corners_in_shares_of_the_network(activation: str, batch_index: int) -> None:
    values, boxes = random(10, 2, 300, 1 + NUM_CLASSES), random(11, 2, 300, 4, scale=0.4)
    expected: list[Row] = []
    for anchor, score, class_id in expected_pairs(values[batch_index], activation, 0.6):
        left, top, right, bottom = boxes[batch_index, anchor].tolist()
        expected.append((left * WIDTH, top * HEIGHT, right * WIDTH, bottom * HEIGHT, score, class_id))
    read_by = spec(
        "ssd_decoded",
        outputs=("classes", "boxes"),
        box_format="xyxy",
        boxes_are_normalised=True,
        score_activation=activation,
        first_class_id=1,
    )
    outputs = {"classes": values, "boxes": boxes}
    check(
        HEADS["ssd_decoded"](outputs, read_by, score_threshold=0.6, batch_index=batch_index), expected, tolerance=1e-4
    )


def expectation(logits: list[float]) -> float:
    return sum(distance * share for distance, share in enumerate(softmax(logits)))


@pytest.mark.parametrize(
    ("head", "strides", "centre", "shift"),
    [
        ("nanodet", (8, 16, 32), 0.5, -0.5),
        ("nanodet", (8, 16, 32, 64), 0.5, -0.5),
        ("nanodet_plus", (8, 16, 32, 64), 0.0, 0.0),
        ("picodet", (8, 16, 32, 64), 0.5, 0.0),
        ("picodet", (8, 16, 32), 0.5, 0.0),
    ],
)
@pytest.mark.parametrize("batch_index", [0, 1])
def test_sides_are_expected_distances_from_the_centre_of_a_cell(
    head: str, strides: tuple[int, ...], centre: float, shift: float, batch_index: int
) -> None:
    chance = np.random.default_rng(12)
    scores, distances = [], []
    expected: list[Row] = []
    for stride in strides:
        columns, rows = math.ceil(WIDTH / stride), math.ceil(HEIGHT / stride)
        scores.append(chance.uniform(0, 1, (2, columns * rows, NUM_CLASSES)).astype(np.float32))
        distances.append(chance.normal(0, 2, (2, columns * rows, 32)).astype(np.float32))
        for y in range(rows):
            for x in range(columns):
                cell_scores = scores[-1][batch_index, y * columns + x].tolist()
                if max(cell_scores) < 0.9:
                    continue
                bins = distances[-1][batch_index, y * columns + x].tolist()
                left, top, right, bottom = (expectation(bins[8 * side : 8 * side + 8]) * stride for side in range(4))
                cx, cy = (x + centre) * stride + shift, (y + centre) * stride + shift
                best = max(cell_scores)
                expected.append((cx - left, cy - top, cx + right, cy + bottom, best, cell_scores.index(best)))
    if head == "nanodet_plus":
        parts = [np.concatenate(pair, axis=2) for pair in zip(scores, distances, strict=True)]
        outputs: dict[str, Array] = {"output": np.concatenate(parts, axis=1)}
        names: tuple[str, ...] = ("output",)
    else:
        names = tuple(f"{kind}{stride}" for kind in ("cls", "dis") for stride in strides)
        outputs = dict(reversed(list(zip(names, scores + distances, strict=True))))  # told by name, not by place
    read_by = spec(head, outputs=names, box_format="xyxy")
    check(HEADS[head](outputs, read_by, score_threshold=0.9, batch_index=batch_index), expected, tolerance=1e-4)


@pytest.mark.parametrize("batch_index", [0, 1])
def test_fastestdet_has_a_box_for_each_cell_of_one_grid(batch_index: int) -> None:
    rows, columns = HEIGHT // 16, WIDTH // 16
    maps = random(13, 2, 5 + NUM_CLASSES, rows, columns)
    maps[:, 0] = np.random.default_rng(14).uniform(0, 1, (2, rows, columns))
    maps[:, 5:] = np.exp(maps[:, 5:]) / np.exp(maps[:, 5:]).sum(axis=1, keepdims=True)
    expected: list[Row] = []
    for gy in range(rows):
        for gx in range(columns):
            objectness, tx, ty, tw, th, *classes = maps[batch_index, :, gy, gx].tolist()
            score = objectness**0.6 * max(classes) ** 0.4
            if score >= 0.4:
                cx, cy = (gx + math.tanh(tx)) / columns, (gy + math.tanh(ty)) / rows
                expected.append((*in_pixels(cx, cy, sigmoid(tw), sigmoid(th)), score, classes.index(max(classes))))
    read_by = spec("fastestdet", outputs=("output",), boxes_are_normalised=True)
    candidates = HEADS["fastestdet"]({"output": maps}, read_by, score_threshold=0.4, batch_index=batch_index)
    check(candidates, expected, tolerance=1e-4)


@pytest.mark.parametrize(
    ("head", "outputs"),
    [
        ("yolox", {"o": random(15, 1, 100, 12)}),
        ("nanodet_plus", {"o": random(16, 1, 100, 39)}),
        (
            "nanodet",
            {f"{kind}{index}": random(17, 1, 10, side) for kind, side in (("c", 7), ("d", 32)) for index in range(3)},
        ),
    ],
)
def test_a_network_of_another_size_is_refused_with_the_numbers(head: str, outputs: dict[str, Array]) -> None:
    read_by = spec(head, outputs=tuple(outputs))
    with pytest.raises(ModelError, match=rf"head {head} reads a row for each of 12\d cells of 96 x 64, the model ret"):
        HEADS[head](outputs, read_by, score_threshold=0.5, batch_index=0)


def test_a_network_with_other_anchors_is_refused_with_the_numbers() -> None:
    read_by = spec("ssd_raw", outputs=("c", "b"), anchors=pack_anchors([(0.5, 0.5, 0.1, 0.1)]), first_class_id=1)
    outputs = {"c": random(18, 1, 2, 3), "b": random(19, 1, 2, 4)}
    with pytest.raises(ModelError, match="head ssd_raw has 1 anchors, the model returns 2 boxes"):
        HEADS["ssd_raw"](outputs, read_by, score_threshold=0.5, batch_index=0)
