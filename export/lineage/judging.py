"""Judging: a detector and scenes with ground truth → mAP50 and mAP, as COCO has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.examples import Example
from export.lineage.scenes import Scenes
from pipeline.accuracy.coco import coco_accuracy
from pipeline.detector.detector import DetectFunction, EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture

LEAST_SCORE = 0.02  # of a detection that counts: a curve needs those that are far from sure


@dataclass(frozen=True, slots=True)
class Judgement:
    """The accuracy of a detector, 0 to 1, and by class."""

    map50: float
    map: float
    ap50_of_class: dict[str, float]  # of classes that have objects


def judge_file(
    path: Path, spec: DetectorSpec, scenes: Scenes, *, on_picture: Callable[[], None] = lambda: None
) -> Judgement:
    """The accuracy of an exported file on the CPU."""
    engine = OrtEngine(path, spec, device="cpu", spin_microseconds=0)
    try:
        return judge(EngineDetector(engine, score_threshold=LEAST_SCORE), scenes, on_picture=on_picture)
    finally:
        engine.close()


def judge(detect: DetectFunction, scenes: Scenes, *, on_picture: Callable[[], None] = lambda: None) -> Judgement:
    """The accuracy of a detector whose classes are those of the scenes."""
    detections = []
    for example in scenes.examples:
        detections += detect([picture_of(example)])
        on_picture()
    accuracy = coco_accuracy(detections, scenes.truths())
    names = scenes.world.class_names
    by_class = {names[judged.class_id]: judged.ap50 for judged in accuracy.classes}
    return Judgement(accuracy.numbers["AP50"] or 0.0, accuracy.numbers["AP"] or 0.0, by_class)


def picture_of(example: Example) -> ArrayPicture:
    """The picture of an example, as a source gives it."""
    return ArrayPicture(np.ascontiguousarray(example.pixels[:, :, ::-1]))
