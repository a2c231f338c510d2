"""Foreign detector: outputs → an ONNX file of another exporter that answers with them, and a check of what is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture
from tests.support import realistic_outputs as real
from tests.support.tiny_detector import write_detector


def write(path: Path, outputs: Mapping[str, Any], **options: Any) -> Path:
    """A file that answers every picture with these outputs and nothing else."""
    return write_detector(path, outputs, **{"input_shape": (1, 3, 64, 96), "adds_mean": False, **options})


def any_number(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Options for outputs without a batch side whose number of boxes the graph leaves open."""
    shapes = {name: ("n", *values.shape[1:]) if values.ndim else () for name, values in outputs.items()}
    return {"unbatched": tuple(outputs), "declared_shapes": shapes}


def check_finds_the_object(path: Path, spec: DetectorSpec) -> None:
    """The best detection of the file is the object: its box, its class and its score."""
    engine = OrtEngine(path, spec, device="cpu", intra_op_threads=1)
    pixels = np.zeros((real.NETWORK_WH[1], real.NETWORK_WH[0], 3), np.uint8)
    (detections,) = EngineDetector(engine)([ArrayPicture(pixels)])
    assert detections.boxes_xyxy[0] == pytest.approx(real.BOX_XYXY, abs=0.05)
    assert detections.scores[0] == pytest.approx(real.SCORE, abs=0.01)
    assert spec.class_names[detections.class_ids[0]] == "car"
