"""What is a detector that costs nearly nothing and finds as many objects as one likes? A real ONNX file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.picture.coco import COCO_80
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from tests.support.tiny_detector import write_detector


def write_fixed_detector(path: Path, num_boxes: int, *, side: int = 320) -> Path:
    """Write a detector that finds the same boxes in every image: a grid of them, none of which overlap."""
    columns = max(1, math.ceil(math.sqrt(num_boxes)))
    pitch = side / columns
    places = np.stack(np.divmod(np.arange(num_boxes), columns)[::-1], axis=1) * pitch  # [N, 2] x, y
    boxes = np.concatenate([places + 0.1 * pitch, places + 0.9 * pitch], axis=1)  # [N, 4]
    spec = DetectorSpec(
        input_name="images",
        network_wh=(side, side),
        head="boxes",
        class_names=COCO_80,
        layout="nhwc",
        dtype="uint8",
        batch=None,
        resize="stretch",
        max_detections=max(1, num_boxes),
    )
    outputs: dict[str, npt.NDArray[Any]] = {
        "boxes": boxes.astype(np.float32),
        "scores": np.full(num_boxes, 0.9, np.float32),
        "class_ids": np.arange(num_boxes, dtype=np.int64) % len(COCO_80),
    }
    return write_detector(
        path,
        outputs,
        input_shape=("batch", side, side, 3),
        input_type="uint8",
        metadata={METADATA_KEY: spec.to_json()},
        adds_mean=False,
    )
