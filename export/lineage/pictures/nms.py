"""NMS picture: candidates before suppression → its four steps, as `suppress` takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.lineage.pictures.sheet import BLUE, GREEN, ORANGE, RED, Sheet, draw_boxes, zoom
from pipeline.errors import ConfigError
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections
from pipeline.picture.frame import PixelArray
from pipeline.picture.suppression import SuppressionOptions, suppress


@dataclass(frozen=True, slots=True)
class NmsSteps:
    """Greedy NMS: all candidates, the best of them, those that it removes, and those that stay in the end."""

    candidates: Detections  # from the score threshold on, best first
    best: Detections  # one
    removed: Detections  # by the best
    kept: Detections


def nms_steps(candidates: Detections, options: SuppressionOptions) -> NmsSteps:
    """The steps for candidates in any order. Raises ConfigError where none reaches the score threshold."""
    order = np.argsort(-candidates.scores, kind="stable")
    ordered = candidates.select(order)
    ordered = ordered.select(ordered.scores >= options.thresholds_of(ordered.class_ids))
    if not len(ordered):
        raise ConfigError("the frame must show an object that the model sees, got none; take another frame, or --on")
    kept, _ = suppress(ordered.boxes_xyxy, ordered.scores, ordered.class_ids, options)
    rest = np.arange(1, len(ordered))
    overlaps = intersection_over_union(ordered.boxes_xyxy[:1], ordered.boxes_xyxy[1:])[0]  # [N - 1]
    is_rival = ordered.class_ids[1:] == ordered.class_ids[0]
    if options.mode == "class-agnostic":
        is_rival[:] = True
    removed = rest[is_rival & (overlaps > options.iou_threshold)]
    return NmsSteps(ordered, ordered.select(np.array([0])), ordered.select(removed), ordered.select(kept))


def draw_nms(path: Path, pixels: PixelArray, candidates: Detections, options: SuppressionOptions) -> None:
    """Draw the four steps. Raises ConfigError for soft suppression, which removes nothing, and without objects."""
    if options.mode.startswith("soft"):
        raise ConfigError(f"detection.suppression must be one that removes boxes for this picture, got {options.mode}")
    steps = nms_steps(candidates, options)
    sheet = Sheet(2, 2, title="Non-maximum suppression in four steps", panel_wh=(6.4, 3.9))
    lowest = options.lowest_score_threshold
    axes = sheet.picture(0, 0, pixels, caption=f"1  {len(steps.candidates)} candidates score {lowest:g} or more")
    draw_boxes(axes, steps.candidates.boxes_xyxy, ORANGE, width=1.0)
    axes = sheet.picture(0, 1, pixels, caption=f"2  the best, {steps.best.scores[0]:.2f}, stays")
    draw_boxes(axes, steps.best.boxes_xyxy, BLUE, width=2.6)
    aspect = pixels.shape[1] / pixels.shape[0]
    around = np.concatenate([steps.best.boxes_xyxy, steps.removed.boxes_xyxy])
    words = f"3  it removes the {len(steps.removed)} that overlap it by an IoU above {options.iou_threshold:g}"
    axes = sheet.picture(1, 0, pixels, caption=words)
    draw_boxes(axes, steps.removed.boxes_xyxy, RED, width=1.6, dashed=True)
    draw_boxes(axes, steps.best.boxes_xyxy, BLUE, width=2.6)
    zoom(axes, around, aspect=aspect, margin=0.6)
    axes = sheet.picture(1, 1, pixels, caption=f"4  the next best likewise, until {len(steps.kept)} stay")
    draw_boxes(axes, steps.kept.boxes_xyxy, GREEN, width=2.0)
    sheet.write(path)
