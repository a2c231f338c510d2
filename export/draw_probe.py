"""Probe: draws the street on which recognition tries foreign networks; `python -m export.draw_probe` writes it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2

from pipeline.detector.probe import PICTURE, TRUTH
from pipeline.picture.frame import PixelArray
from pipeline.sources.street.traffic import TrafficOptions, TrafficSource

OPTIONS = TrafficOptions(seed=3, size_wh=(640, 480), density=1.5, light="day")
FRAME_INDEX = 40


def draw() -> tuple[PixelArray, list[tuple[str, list[int]]]]:
    """The street, uint8 [480, 640, 3] BGR, and the class name and corners of every labelled object in it."""
    street = TrafficSource(OPTIONS)
    truth = street.truth(FRAME_INDEX)
    objects = [
        (street.class_names[class_id], [round(side) for side in box])
        for class_id, box in zip(truth.class_ids.tolist(), truth.boxes_xyxy.tolist(), strict=True)
    ]
    return street.paint(FRAME_INDEX), objects


def write(picture: Path = PICTURE, truth: Path = TRUTH) -> None:
    """Write the picture and the truth, by default into the package."""
    pixels, objects = draw()
    cv2.imwrite(str(picture), pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])
    lines = ",\n".join(f"  {json.dumps(labelled)}" for labelled in objects)
    truth.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    write()
