"""IoU picture: a detection and its candidates → pairs of boxes, their overlap, their union and the quotient."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from export.lineage.pictures.sheet import BLUE, GREEN, ORANGE, Sheet, draw_boxes, zoom
from pipeline.errors import ConfigError
from pipeline.picture.boxes import FloatArray, areas, intersection_over_union
from pipeline.picture.detections import Detections
from pipeline.picture.frame import PixelArray

LEVELS = (0.9, 0.7, 0.5, 0.3)


def draw_iou(path: Path, pixels: PixelArray, kept: Detections, candidates: Detections) -> None:
    """Draw four candidates of one object against the box that stays, with IoUs near .9, .7, .5 and .3.

    Raises ConfigError where nothing is detected.
    """
    box, rivals = spread_pairs(kept, candidates)
    sheet = Sheet(1, len(rivals), title="IoU = overlap ÷ union", panel_wh=(3.6, 3.4))
    for column, rival in enumerate(rivals):
        iou = float(intersection_over_union(box[None], rival[None])[0, 0])
        low, high = np.maximum(box[:2], rival[:2]), np.minimum(box[2:], rival[2:])
        shared = np.concatenate([low, np.maximum(low, high)])[None]  # [1, 4]; without area where they do not meet
        overlap = float(areas(shared)[0])
        union = float(areas(box[None])[0] + areas(rival[None])[0]) - overlap
        axes = sheet.picture(0, column, pixels, caption=f"{overlap:.0f} ÷ {union:.0f} px² = {iou:.2f}")
        draw_boxes(axes, shared, GREEN, width=0, fill=0.35)
        draw_boxes(axes, rival[None], ORANGE, width=2.2)
        draw_boxes(axes, box[None], BLUE, width=2.2)
        zoom(axes, np.stack([box, *rivals]))
        axes.set_xlabel("blue stays, orange is a candidate", fontsize=8.5)
    sheet.write(path)


def spread_pairs(kept: Detections, candidates: Detections) -> tuple[FloatArray, FloatArray]:
    """The box [4] of a detection, and [4, 4] candidates of its class whose IoUs with it lie nearest to LEVELS.

    Of the larger half of all detections the one that has them nearest. Raises ConfigError where there is none.
    """
    levels = np.array(LEVELS, np.float32)
    pairs: list[tuple[float, FloatArray, FloatArray]] = []
    for index in np.argsort(-areas(kept.boxes_xyxy), kind="stable")[: (len(kept) + 1) // 2]:
        box = kept.boxes_xyxy[index]
        rivals = candidates.boxes_xyxy[candidates.class_ids == kept.class_ids[index]]
        if len(rivals):
            overlaps = np.nan_to_num(intersection_over_union(box[None], rivals)[0])  # [R]
            nearest = np.abs(overlaps[:, None] - levels).argmin(axis=0)  # [4]
            pairs.append((float(np.abs(overlaps[nearest] - levels).max()), box, rivals[nearest]))
    if not pairs:
        raise ConfigError("the frame must show an object that the model sees, got none; take another frame, or --on")
    _, box, chosen = min(pairs, key=lambda pair: pair[0])
    return box, chosen
