"""Handwritten detector: a BGR frame in, boxes out, with OpenCV and ONNX Runtime alone; an hour's work, done well.

It knows nothing of streamdet. It reads YOLOv5's rows, YOLOX's rows, and the boxes of streamdet's own export.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from benchmarks.job import IOU_THRESHOLD, SCORE_THRESHOLD

Array = npt.NDArray[Any]
HandDetections = tuple[Array, Array, Array]
"""Boxes [N, 4] xyxy in source pixels, scores [N], class ids [N]."""


class HandWritten:
    """A detector on ONNX Runtime's CPU with its default options, one frame after the other."""

    def __init__(self, model: str | Path) -> None:
        self._session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        image = self._session.get_inputs()[0]
        self._input = image.name
        outputs = self._session.get_outputs()
        self._is_decoded = outputs[0].name == "boxes"
        _, *sides = image.shape
        self._height, self._width = sides[:2] if self._is_decoded else sides[1:]
        self._grid, self._strides = _cells(self._width, self._height)
        self._is_yolox = outputs[0].shape[1] == len(self._grid)  # YOLOv5 has three rows a cell
        self(np.zeros((self._height, self._width, 3), np.uint8))

    def __call__(self, frame: Array) -> HandDetections:
        """Detect in a frame uint8 [H, W, 3] BGR."""
        scale = min(self._width / frame.shape[1], self._height / frame.shape[0])
        content = cv2.resize(frame, (round(frame.shape[1] * scale), round(frame.shape[0] * scale)))
        free = (self._width - content.shape[1], self._height - content.shape[0])
        left, top = (0, 0) if self._is_yolox else (free[0] // 2, free[1] // 2)
        canvas = cv2.copyMakeBorder(
            content, top, free[1] - top, left, free[0] - left, cv2.BORDER_CONSTANT, value=(114, 114, 114)
        )
        if self._is_decoded:
            blob = cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB)[None]  # [1, h, w, 3]
        elif self._is_yolox:
            blob = cv2.dnn.blobFromImage(canvas)  # [1, 3, h, w]
        else:
            blob = cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True)  # [1, 3, h, w]
        outputs = self._session.run(None, {self._input: blob})
        boxes, scores, class_ids = self._boxes(outputs) if self._is_decoded else self._rows(outputs[0][0])
        sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)  # [N, 4] x, y, w, h
        kept = np.array(
            cv2.dnn.NMSBoxesBatched(
                sized.tolist(), scores.tolist(), class_ids.tolist(), SCORE_THRESHOLD, IOU_THRESHOLD
            ),
            int,
        ).reshape(-1)
        return (boxes[kept] - [left, top, left, top]) / scale, scores[kept], class_ids[kept]

    def _boxes(self, outputs: list[Array]) -> HandDetections:
        boxes, scores, class_ids = (output[0] for output in outputs[:3])
        chosen = scores >= SCORE_THRESHOLD
        return boxes[chosen], scores[chosen], class_ids[chosen]

    def _rows(self, rows: Array) -> HandDetections:
        """Rows [N, 85] cx, cy, w, h, objectness, classes → boxes in network pixels."""
        is_object = np.flatnonzero(rows[:, 4] >= SCORE_THRESHOLD)
        rows = rows[is_object]
        scores = rows[:, 5:] * rows[:, 4:5]
        class_ids, best = scores.argmax(axis=1), scores.max(axis=1)
        chosen = best >= SCORE_THRESHOLD
        rows, best, class_ids = rows[chosen], best[chosen], class_ids[chosen]
        centre, size = rows[:, :2], rows[:, 2:4]
        if self._is_yolox:
            strides = self._strides[is_object[chosen]]
            centre, size = (centre + self._grid[is_object[chosen]]) * strides, np.exp(size) * strides
        return np.concatenate([centre - size / 2, centre + size / 2], axis=1), best, class_ids


def _cells(width: int, height: int) -> tuple[Array, Array]:
    """Column and row [N, 2] and stride [N, 1] of YOLOX's cells."""
    grids, strides = [], []
    for stride in (8, 16, 32):
        columns, rows = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
        grids.append(np.stack([columns, rows], axis=2).reshape(-1, 2))
        strides.append(np.full((grids[-1].shape[0], 1), stride))
    return np.concatenate(grids), np.concatenate(strides)


def draw(frame: Array, detections: HandDetections) -> None:
    """Draw boxes and labels onto a frame uint8 [H, W, 3] BGR."""
    for box, score, class_id in zip(*detections, strict=True):
        left, top, right, bottom = (int(side) for side in box)
        cv2.rectangle(frame, (left, top), (right, bottom), (0, 255, 0), 2)
        label = f"{class_id} {score:.2f}"
        cv2.putText(frame, label, (left, top), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 255, 0), 2)
