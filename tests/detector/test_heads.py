"""Does each head read what a slow and obvious decoder reads?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.detector.heads import HEADS
from pipeline.errors import ModelError
from tests.support.slow_reading import NETWORK_WH, NUM_CELLS, NUM_CLASSES, Row, check, corners, raw, spec


@pytest.mark.parametrize("batch_index", [0, 1])
def test_yolov5_multiplies_objectness_and_the_best_class(batch_index: int) -> None:
    output = raw(3 * NUM_CELLS, 5 + NUM_CLASSES)
    expected: list[Row] = []
    for row in output[batch_index].tolist():
        best = max(range(NUM_CLASSES), key=lambda index: row[5 + index])
        if row[4] * row[5 + best] >= 0.6:
            expected.append((*corners(*row[:4]), row[4] * row[5 + best], best))
    candidates = HEADS["yolov5"]({"output": output}, spec("yolov5"), score_threshold=0.6, batch_index=batch_index)
    check(candidates, expected)


@pytest.mark.parametrize("batch_index", [0, 1])
@pytest.mark.parametrize("transposed", [False, True])
def test_yolov8_takes_the_best_class_of_each_column(batch_index: int, transposed: bool) -> None:
    output = raw(NUM_CELLS, 4 + NUM_CLASSES)
    expected: list[Row] = []
    for row in output[batch_index].tolist():
        best = max(range(NUM_CLASSES), key=lambda index: row[4 + index])
        if row[4 + best] >= 0.9:
            expected.append((*corners(*row[:4]), row[4 + best], best))
    outputs = {"output": output if transposed else output.transpose(0, 2, 1)}
    check(HEADS["yolov8"](outputs, spec("yolov8"), score_threshold=0.9, batch_index=batch_index), expected)


def test_yolox_adds_the_cell_and_multiplies_by_the_stride() -> None:
    output = raw(NUM_CELLS, 5 + NUM_CLASSES)
    expected: list[Row] = []
    rows = iter(output[1].tolist())
    for stride in (8, 16, 32):
        for y in range(NETWORK_WH[1] // stride):
            for x in range(NETWORK_WH[0] // stride):
                row = next(rows)
                best = max(range(NUM_CLASSES), key=lambda index: row[5 + index])
                if row[4] * row[5 + best] >= 0.5:
                    centre = (row[0] + x) * stride, (row[1] + y) * stride
                    size = math.exp(row[2]) * stride, math.exp(row[3]) * stride
                    expected.append((*corners(*centre, *size), row[4] * row[5 + best], best))
    check(HEADS["yolox"]({"output": output}, spec("yolox"), score_threshold=0.5, batch_index=1), expected)


def test_normalised_boxes_are_scaled_to_network_pixels() -> None:
    output = raw(NUM_CELLS, 4 + NUM_CLASSES).transpose(0, 2, 1)
    pixels = HEADS["yolov8"]({"o": output}, spec("yolov8"), score_threshold=0.9, batch_index=0)
    normalised = HEADS["yolov8"](
        {"o": output}, spec("yolov8", boxes_are_normalised=True), score_threshold=0.9, batch_index=0
    )
    assert normalised.boxes_xyxy == pytest.approx(pixels.boxes_xyxy * [*NETWORK_WH, *NETWORK_WH])


@pytest.mark.parametrize("head", ["yolov5", "yolov8", "yolox"])
def test_float16_outputs_are_read_in_float32(head: str) -> None:
    output = raw(NUM_CELLS, (4 if head == "yolov8" else 5) + NUM_CLASSES)
    output[..., :2] *= 1500  # float16 has no fractions there
    output = output.astype(np.float16)
    values = output.transpose(0, 2, 1) if head == "yolov8" else output
    half = HEADS[head]({"o": values}, spec(head), score_threshold=0.5, batch_index=0)
    full = HEADS[head]({"o": values.astype(np.float32)}, spec(head), score_threshold=0.5, batch_index=0)
    assert len(half.scores) > 0
    assert np.array_equal(half.boxes_xyxy, full.boxes_xyxy)
    assert np.array_equal(half.scores, full.scores)


@pytest.mark.parametrize("head", ["yolov5", "yolov8", "yolox"])
def test_nothing_above_the_threshold_is_nothing(head: str) -> None:
    output = raw(NUM_CELLS, (4 if head == "yolov8" else 5) + NUM_CLASSES) * 0.5
    output = output.transpose(0, 2, 1) if head == "yolov8" else output
    candidates = HEADS[head]({"o": output}, spec(head), score_threshold=0.6, batch_index=0)
    assert (candidates.boxes_xyxy.shape, candidates.scores.shape, candidates.class_ids.shape) == ((0, 4), (0,), (0,))


def test_our_own_boxes_are_taken_as_they_are_but_for_their_padding() -> None:
    outputs: dict[str, npt.NDArray[Any]] = {
        "class_ids": np.array([[1, 2, -1, 0]], np.int64),
        "boxes": np.arange(16, dtype=np.float32).reshape(1, 4, 4),
        "scores": np.array([[0.9, 0.2, 0.9, 0.5]], np.float32),
    }
    candidates = HEADS["boxes"](outputs, spec("boxes", box_format="xyxy"), score_threshold=0.5, batch_index=0)
    check(candidates, [(0, 1, 2, 3, 0.9, 1), (12, 13, 14, 15, 0.5, 0)])


def test_a_model_with_other_outputs_is_refused_with_their_names() -> None:
    outputs = {"logits": np.zeros((1, 5, 80), np.float32), "points": np.zeros((1, 5, 2), np.float32)}
    with pytest.raises(ModelError, match="head yolov5 reads one output, the model returns logits, points"):
        HEADS["yolov5"](outputs, spec("yolov5"), score_threshold=0.5, batch_index=0)
    with pytest.raises(ModelError, match="reads the outputs boxes, scores and class_ids, the model returns logits"):
        HEADS["boxes"](outputs, spec("boxes"), score_threshold=0.5, batch_index=0)
