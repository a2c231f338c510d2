"""Opened detector: a configuration → its model, ready to be called with pictures, at the run's threshold and below."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.app.config.run import RunConfig
from pipeline.app.engines import open_engine
from pipeline.app.model_branch import model_of, warn_of_doubts
from pipeline.app.thresholds import suppression_options
from pipeline.detector.detector import DetectFunction, EngineDetector
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Picture
from pipeline.picture.nv12 import HasNv12
from pipeline.picture.nv12_picture import Nv12Picture
from pipeline.picture.suppression import SuppressionOptions

LEAST_SCORE = 0.01
"""Of the detections that `detect_all` keeps."""


@dataclass(frozen=True, slots=True)
class OpenedDetector:
    """One engine, called in four ways with pictures that may be of any kind.

    detect: what a run shows. detect_all: also what scores from LEAST_SCORE on. proposals: before NMS, from the run's
    thresholds on; all_proposals: from LEAST_SCORE on.
    """

    path: Path
    spec: DetectorSpec
    suppression: SuppressionOptions  # of a run
    detect: DetectFunction
    detect_all: DetectFunction
    proposals: DetectFunction
    all_proposals: DetectFunction


def open_detector(config: RunConfig, stack: ExitStack) -> OpenedDetector:
    """Open the model of a configuration, until the stack is closed. Raises ModelError, DeviceError, ConfigError."""
    path, spec = model_of(config)
    engine, config = open_engine(config, path, spec)
    stack.callback(engine.close)
    warn_of_doubts(config, spec)
    suppression = suppression_options(config.detection, spec)
    low = min(LEAST_SCORE, suppression.lowest_score_threshold)
    all_scores = replace(suppression, score_threshold=low, class_thresholds={}, max_detections=1000)
    shown = EngineDetector(engine, suppression=suppression)
    all_of_them = EngineDetector(engine, suppression=all_scores)
    functions = (shown, all_of_them, shown.proposals, all_of_them.proposals)
    return OpenedDetector(path, spec, suppression, *(_as_taken(function, spec) for function in functions))


def _as_taken(function: DetectFunction, spec: DetectorSpec) -> DetectFunction:
    """The same function for pictures without the planes that the network takes."""
    if spec.pixels != "nv12":
        return function

    def call(pictures: Sequence[Picture]) -> list[Detections]:
        return function([picture if isinstance(picture, HasNv12) else Nv12Picture(picture) for picture in pictures])

    return call
