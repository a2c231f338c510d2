"""Examples: drawn traffic → pictures in a network's size with their ground truth, and changed copies of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.frame import PixelArray
from pipeline.picture.letterbox import Letterbox
from pipeline.sources.street.traffic import TrafficSource

PAD_VALUE = 114


@dataclass(frozen=True, slots=True)
class Example:
    """One picture in a network's size, uint8 [H, W, 3] RGB, and its ground truth in network pixels."""

    pixels: PixelArray
    boxes_xyxy: npt.NDArray[np.float32]  # [N, 4]
    class_ids: npt.NDArray[np.int64]  # [N]
    ignored_xyxy: npt.NDArray[np.float32]  # [M, 4]: too small or too hidden to count, either way
    object_map: npt.NDArray[np.uint16] | None = None  # [H, W]: 1 + row of the object in a pixel, 0: none; None: unknown

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self.pixels.shape[1], self.pixels.shape[0]


def examples_of(spec: str, network_wh: tuple[int, int]) -> Iterator[Example]:
    """Every frame of a traffic source, letterboxed as by the runtime."""
    source = TrafficSource.from_spec(spec)
    for index, (picture, *_) in enumerate(source.pictures(threading.Event())):
        letterbox = Letterbox.fit(picture.size_wh, network_wh, "letterbox-center")
        pixels = np.full((network_wh[1], network_wh[0], 3), PAD_VALUE, np.uint8)
        pixels[letterbox.content_window] = picture.resized(letterbox.content_wh, colour="rgb")
        truth = source.truth(index)
        ignored = letterbox.boxes_to_network(source.ignored(index).boxes_xyxy)
        object_map = np.zeros((network_wh[1], network_wh[0]), np.uint16)
        object_map[letterbox.content_window] = cv2.resize(
            source.object_map(index), letterbox.content_wh, interpolation=cv2.INTER_NEAREST
        )
        yield Example(pixels, letterbox.boxes_to_network(truth.boxes_xyxy), truth.class_ids, ignored, object_map)
    source.close()


def augmented(example: Example, chance: np.random.Generator) -> Example:
    """The example mirrored half of the time, a part of it enlarged half of the time, lighter or darker; without map."""
    pixels, (width, height) = example.pixels, example.size_wh
    boxes = np.concatenate([example.boxes_xyxy, example.ignored_xyxy])  # [N + M, 4]
    is_ignored = np.arange(len(boxes)) >= len(example.boxes_xyxy)  # [N + M]
    class_ids = np.concatenate([example.class_ids, np.zeros(len(example.ignored_xyxy), np.int64)])
    if chance.random() < 0.5:
        pixels = pixels[:, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    if chance.random() < 0.5:  # at least three quarters each way
        share = chance.uniform(0.75, 1.0)
        w, h = int(width * share), int(height * share)
        x, y = int(chance.integers(0, width - w + 1)), int(chance.integers(0, height - h + 1))
        pixels = np.asarray(cv2.resize(np.ascontiguousarray(pixels[y : y + h, x : x + w]), (width, height)), np.uint8)
        moved = (boxes - np.array([x, y, x, y], np.float32)) * np.array([width / w, height / h] * 2, np.float32)
        boxes = np.clip(moved, 0, np.array([width, height] * 2, np.float32))
        areas, areas_inside = ((corners[:, 2:] - corners[:, :2]).prod(axis=1) for corners in (moved, boxes))
        is_seen = areas_inside > 0.01 * areas
        is_ignored |= areas_inside < 0.5 * areas
        boxes, class_ids, is_ignored = boxes[is_seen], class_ids[is_seen], is_ignored[is_seen]
    gain = chance.uniform(0.75, 1.25) * chance.uniform(0.95, 1.05, size=3)  # [3]
    table = np.clip(np.arange(256)[:, None] * gain + chance.uniform(-12, 12), 0, 255).astype(np.uint8)  # [256, 3]
    pixels = np.asarray(cv2.LUT(np.ascontiguousarray(pixels), table[None]), np.uint8)
    boxes = boxes.astype(np.float32)
    return Example(pixels, boxes[~is_ignored], class_ids[~is_ignored], boxes[is_ignored])
