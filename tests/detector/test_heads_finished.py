"""Are tables and lists of finished detections read column by column, and their padding left out?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.detector.heads import HEADS
from pipeline.detector.heads.table import _ORDERS
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from tests.support.slow_reading import NETWORK_WH, NUM_CLASSES, Row, check, spec

Array = npt.NDArray[Any]
LAYOUTS = sorted({columns for orders in _ORDERS.values() for columns in orders})
WIDTH, HEIGHT = NETWORK_WH


def rows_of(num: int, *, seed: int = 0) -> list[Row]:
    """Detections in no order, x1, y1, x2, y2 in network pixels, score, class."""
    chance = np.random.default_rng(seed)
    corners = chance.uniform(-10, 60, (num, 2)).astype(np.float32)
    sizes = chance.uniform(1, 40, (num, 2)).astype(np.float32)
    scores = chance.uniform(0.01, 1, num).astype(np.float32)
    boxes = np.concatenate([corners, corners + sizes, scores[:, None]], axis=1).tolist()
    return [(x1, y1, x2, y2, s, int(chance.integers(NUM_CLASSES))) for x1, y1, x2, y2, s in boxes]


def as_table(rows: list[Row], columns: tuple[str, ...], *, image: int = 0, first_class_id: int = 0) -> Array:
    places = {"x1": 0, "y1": 1, "x2": 2, "y2": 3, "score": 4}
    table = [
        [
            image if name == "image" else row[5] + first_class_id if name == "class" else row[places[name]]
            for name in columns
        ]
        for row in rows
    ]
    return np.array(table, np.float32).reshape(-1, len(columns))


def above(rows: list[Row], threshold: float) -> list[Row]:
    return [row for row in rows if row[4] >= threshold]


def read_table(output: Array, columns: tuple[str, ...], *, batch_index: int = 0, **values: Any) -> Candidates:
    table_spec = spec("table", **{"columns": columns, "box_format": "xyxy", "outputs": ("output",), **values})
    threshold = 0.5
    return HEADS["table"]({"output": output}, table_spec, score_threshold=threshold, batch_index=batch_index)


@pytest.mark.parametrize("columns", LAYOUTS)
@pytest.mark.parametrize("batch_index", [0, 1])
def test_a_table_is_read_column_by_column(columns: tuple[str, ...], batch_index: int) -> None:
    images = rows_of(30, seed=1), rows_of(30, seed=2)
    output = np.stack([as_table(rows, columns, image=index) for index, rows in enumerate(images)])
    check(read_table(output, columns, batch_index=batch_index), above(images[batch_index], 0.5))


@pytest.mark.parametrize("columns", [columns for columns in LAYOUTS if "image" in columns])
@pytest.mark.parametrize("batch_index", [0, 1])
def test_the_rows_of_all_images_may_lie_in_one_table(columns: tuple[str, ...], batch_index: int) -> None:
    images = rows_of(7, seed=1), rows_of(9, seed=2)
    both = [as_table(rows, columns, image=index) for index, rows in enumerate(images)]
    mixed = np.concatenate(both)[np.random.default_rng(0).permutation(16)]
    candidates = read_table(mixed, columns, batch_index=batch_index)
    assert sorted(candidates.scores.tolist()) == sorted(row[4] for row in above(images[batch_index], 0.5))


@pytest.mark.parametrize("columns", LAYOUTS)
@pytest.mark.parametrize("padding", [0.0, -1.0])
def test_padding_is_left_out_even_without_a_threshold(columns: tuple[str, ...], padding: float) -> None:
    rows = rows_of(5)
    output = np.concatenate([as_table(rows, columns), np.full((20, len(columns)), padding, np.float32)])
    table_spec = spec("table", columns=columns, box_format="xyxy", outputs=("output",))
    check(HEADS["table"]({"output": output[None]}, table_spec, score_threshold=0.0, batch_index=0), rows)


@pytest.mark.parametrize("columns", LAYOUTS)
@pytest.mark.parametrize("batched", [False, True])
def test_a_table_may_be_empty(columns: tuple[str, ...], batched: bool) -> None:
    output = np.zeros((1, 0, len(columns)) if batched else (0, len(columns)), np.float32)
    assert read_table(output, columns).boxes_xyxy.shape == (0, 4)


def test_classes_of_a_table_may_be_counted_from_one() -> None:
    columns = LAYOUTS[0]
    rows = rows_of(20)
    output = as_table(rows, columns, first_class_id=1)[None]
    check(read_table(output, columns, first_class_id=1), above(rows, 0.5))


def test_boxes_of_a_table_may_be_shares_of_the_network() -> None:
    columns = LAYOUTS[0]
    rows = rows_of(20)
    output = as_table([(r[0] / WIDTH, r[1] / HEIGHT, r[2] / WIDTH, r[3] / HEIGHT, *r[4:]) for r in rows], columns)
    check(read_table(output[None], columns, boxes_are_normalised=True), above(rows, 0.5))


def as_lists(images: list[list[Row]], *, padded_to: int, order: str = "xyxy", first: int = 0) -> dict[str, Array]:
    """Boxes, classes, scores and count; behind the count stands rubbish with a high score."""
    columns = [(0, 1, 2, 3), (1, 0, 3, 2)][order == "yxyx"]
    num = len(images)
    boxes, scores = np.full((num, padded_to, 4), 5, np.float32), np.full((num, padded_to), 0.99, np.float32)
    class_ids = np.full((num, padded_to), first, np.int64)
    for index, rows in enumerate(images):
        for index_of_row, row in enumerate(rows):
            boxes[index, index_of_row] = [row[column] for column in columns]
            scores[index, index_of_row], class_ids[index, index_of_row] = row[4], row[5] + first
    return {"b": boxes, "c": class_ids, "s": scores, "n": np.array([len(rows) for rows in images])}


@pytest.mark.parametrize(
    ("order", "first", "class_type", "count_type", "count_shape"),
    [
        ("xyxy", 0, np.int32, np.int32, (2, 1)),  # EfficientNMS
        ("yxyx", 1, np.float32, np.float32, (2,)),  # TensorFlow
    ],
)
@pytest.mark.parametrize("batch_index", [0, 1])
def test_lists_are_read_up_to_their_count(
    order: str, first: int, class_type: Any, count_type: Any, count_shape: tuple[int, ...], batch_index: int
) -> None:
    images = [rows_of(9, seed=1), rows_of(4, seed=2)]
    outputs = as_lists(images, padded_to=20, order=order, first=first)
    outputs["c"] = outputs["c"].astype(class_type)
    outputs["n"] = outputs["n"].astype(count_type).reshape(count_shape)
    lists_spec = spec("lists", outputs=("b", "c", "s", "n"), box_format=order, first_class_id=first)
    candidates = HEADS["lists"](outputs, lists_spec, score_threshold=0.5, batch_index=batch_index)
    check(candidates, above(images[batch_index], 0.5))


@pytest.mark.parametrize("batch_index", [0, 1])
@pytest.mark.parametrize("count", [0, 1])
def test_a_count_of_0_is_nothing_and_of_1_one_detection(batch_index: int, count: int) -> None:
    images = [rows_of(3), rows_of(3)]
    images[batch_index] = [(1.0, 2.0, 3.0, 4.0, 0.75, 6)] * count
    lists_spec = spec("lists", outputs=("b", "c", "s", "n"), box_format="xyxy")
    candidates = HEADS["lists"](as_lists(images, padded_to=5), lists_spec, score_threshold=0.5, batch_index=batch_index)
    assert candidates.boxes_xyxy.tolist() == [[1, 2, 3, 4]] * count
    assert (candidates.scores.tolist(), candidates.class_ids.tolist()) == ([0.75] * count, [6] * count)


@pytest.mark.parametrize("batch_index", [0, 1])
def test_scores_may_stand_beside_the_boxes(batch_index: int) -> None:
    images = [rows_of(9, seed=1), rows_of(9, seed=2)]
    outputs = as_lists(images, padded_to=9)
    dets = np.concatenate([outputs["b"], outputs["s"][..., None]], axis=2)
    dets = np.pad(dets, ((0, 0), (0, 4), (0, 0)))
    labels = np.pad(outputs["c"], ((0, 0), (0, 4)), constant_values=-1)
    lists_spec = spec("lists", outputs=("dets", "labels"), box_format="xyxy")
    candidates = HEADS["lists"](
        {"dets": dets, "labels": labels}, lists_spec, score_threshold=0.0, batch_index=batch_index
    )
    check(candidates, images[batch_index])


@pytest.mark.parametrize("count", [None, (), (1,)])
def test_lists_may_come_without_a_side_for_the_batch(count: tuple[int, ...] | None) -> None:
    rows = rows_of(9)
    outputs = {name: array[0] for name, array in as_lists([rows], padded_to=9, first=1).items()}
    names: tuple[str, ...] = ("b", "c", "s")
    if count is not None:
        outputs["n"], names = np.array(9).reshape(count), (*names, "n")
    lists_spec = spec("lists", outputs=names, box_format="xyxy", first_class_id=1)
    check(HEADS["lists"](outputs, lists_spec, score_threshold=0.5, batch_index=0), above(rows, 0.5))


@pytest.mark.parametrize("batched", [False, True])
def test_lists_may_be_empty(batched: bool) -> None:
    outputs = as_lists([[]], padded_to=0)
    if not batched:
        outputs = {name: array[0] for name, array in outputs.items()}
    lists_spec = spec("lists", outputs=("b", "c", "s"), box_format="xyxy")
    assert HEADS["lists"](outputs, lists_spec, score_threshold=0.5, batch_index=0).boxes_xyxy.shape == (0, 4)


def test_what_is_numbered_below_the_first_class_is_background() -> None:
    outputs = as_lists([[(1, 2, 3, 4, 0.9, -1), (1, 2, 3, 4, 0.8, 0)]], padded_to=2, first=1)
    lists_spec = spec("lists", outputs=("b", "c", "s"), box_format="xyxy", first_class_id=1)
    candidates = HEADS["lists"](outputs, lists_spec, score_threshold=0.5, batch_index=0)
    assert candidates.scores == pytest.approx([0.8])


def test_outputs_that_are_missing_are_named() -> None:
    lists_spec = spec("lists", outputs=("boxes", "labels", "scores"), box_format="xyxy")
    outputs: dict[str, Array] = {"boxes": np.zeros((1, 2, 4), np.float32), "classes": np.zeros((1, 2), np.int64)}
    with pytest.raises(ModelError, match="head lists reads boxes, labels, scores, the model returns boxes, classes"):
        HEADS["lists"](outputs, lists_spec, score_threshold=0.5, batch_index=0)
