"""Accuracy charts: they show what was counted, for few classes, for many, and for none."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.accuracy.charts import draw_confusion, draw_precision_recall
from pipeline.accuracy.coco import COCO_NUMBERS, ClassAccuracy, CocoAccuracy
from pipeline.errors import SinkError

pytest.importorskip("matplotlib", reason="charts are drawn by matplotlib")


def accuracy(num_classes: int) -> CocoAccuracy:
    classes = []
    for class_id in range(num_classes):
        precisions = np.clip(np.linspace(1, -class_id / max(1, num_classes), 101), 0, 1)  # [101]
        classes.append(ClassAccuracy(class_id, 3, 0.5, float(precisions.mean()), 0.5, precisions))
    return CocoAccuracy(dict.fromkeys(COCO_NUMBERS), tuple(classes))


def names(num: int) -> list[str]:
    return [f"class {number}" for number in range(num)]


def picture(path: Path) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3]."""
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


@pytest.mark.parametrize("num", [0, 1, 3, 8, 9, 80])
def test_curves_are_drawn_for_any_number_of_classes(tmp_path: Path, num: int) -> None:
    path = tmp_path / "curves.png"
    draw_precision_recall(path, accuracy(num), names(num), title="a detector")
    height, width, _ = picture(path).shape
    assert 500 < height < 2000
    assert 900 < width < 2500
    assert [each.name for each in tmp_path.iterdir()] == ["curves.png"]


@pytest.mark.parametrize("num", [0, 1, 20, 80])
def test_a_confusion_is_drawn_for_any_number_of_classes(tmp_path: Path, num: int) -> None:
    path = tmp_path / "confusion.png"
    draw_confusion(path, np.eye(num + 1, dtype=np.int64), names(num), title="a detector")
    height, width, _ = picture(path).shape
    assert 300 < height < 3000
    assert 300 < width < 3000


def test_many_classes_have_room_for_their_names(tmp_path: Path) -> None:
    """Seven points at 150 dots an inch are 15 pixels; each row has more."""
    path = tmp_path / "confusion.png"
    draw_confusion(path, np.eye(81, dtype=np.int64), names(80), title="a detector")
    assert picture(path).shape[0] > 81 * 20


def test_the_diagonal_is_dark_and_the_rest_is_not(tmp_path: Path) -> None:
    def share_of_dark(matrix: npt.NDArray[np.int64]) -> float:
        draw_confusion(tmp_path / "c.png", matrix, names(10), title="")
        blue, _, red = (picture(tmp_path / "c.png")[..., channel].astype(int) for channel in range(3))
        return float(((blue - red > 60) & (red < 60)).mean())

    perfect = np.diag([5] * 10 + [0])
    unsure = np.full((11, 11), 5)
    assert share_of_dark(perfect) > 3 * share_of_dark(unsure)  # the colour bar is dark in both


def test_classes_that_do_not_occur_take_no_room(tmp_path: Path) -> None:
    few = np.zeros((81, 81), np.int64)
    few[3, 3] = few[7, 3] = few[80, 7] = 1
    draw_confusion(tmp_path / "few.png", few, names(80), title="")
    draw_confusion(tmp_path / "all.png", np.eye(81, dtype=np.int64), names(80), title="")
    assert picture(tmp_path / "few.png").shape[0] < picture(tmp_path / "all.png").shape[0] / 2


def test_charts_leave_matplotlibs_global_state_alone(tmp_path: Path) -> None:
    """As a server's thread needs it."""
    import sys

    loaded = "matplotlib.pyplot" in sys.modules
    thread = threading.Thread(
        target=draw_precision_recall, args=(tmp_path / "c.png", accuracy(2), names(2)), kwargs={"title": ""}
    )
    thread.start()
    thread.join()
    assert (tmp_path / "c.png").is_file()
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_a_chart_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"c.png: the chart cannot be written there: Not a directory"):
        draw_precision_recall(tmp_path / "file" / "c.png", accuracy(1), names(1), title="")
