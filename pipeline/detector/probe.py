"""Probe: two pictures that foreign networks are shown, and views of them in which every box lies where arithmetic says.

One is a drawn street whose objects are known (drawn by `export.draw_probe`), the other holds coloured areas and
textures, for networks that know nothing of streets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from pipeline.picture.detections import FloatArray
from pipeline.picture.frame import PixelArray

PICTURE = Path(__file__).with_name("probe_street.jpg")
TRUTH = Path(__file__).with_name("probe_street.json")

_SCALE = 0.75


@dataclass(frozen=True, slots=True)
class View:
    """A change of a picture, and of the boxes in it."""

    name: str  # a participle: a picture is shown so
    show: Callable[[PixelArray], PixelArray]
    """The picture, uint8 [H, W, 3], changed: a new array of the same size."""
    move: Callable[[FloatArray, tuple[int, int]], FloatArray]
    """Where boxes [N, 4] of the unchanged picture of that width and height lie in the changed one."""


def street(network_wh: tuple[int, int]) -> PixelArray:
    """The drawn street, stretched to that width and height, uint8 [H, W, 3] BGR."""
    return np.asarray(cv2.resize(_street(), network_wh, interpolation=cv2.INTER_AREA), np.uint8)


def street_objects(network_wh: tuple[int, int]) -> tuple[FloatArray, tuple[str, ...]]:
    """The boxes [T, 4] of the objects in the stretched street, and their names as COCO has them."""
    objects = json.loads(TRUTH.read_text(encoding="utf-8"))
    height, width = _street().shape[:2]
    factors = np.array([network_wh[0] / width, network_wh[1] / height] * 2, np.float32)
    return np.array([box for _, box in objects], np.float32) * factors, tuple(name for name, _ in objects)


def textures(network_wh: tuple[int, int]) -> PixelArray:
    """A picture with large and small things in it, the same each time, uint8 [H, W, 3] BGR."""
    width, height = network_wh
    chance = np.random.default_rng(0)
    pixels = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64):
        noise = chance.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        pixels += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    for _ in range(12):
        left, top = int(chance.integers(0, width)), int(chance.integers(0, height))
        w, h = (int(chance.integers(side // 16 + 1, side // 3 + 2)) for side in (width, height))
        pixels[top : top + h, left : left + w] = chance.uniform(0, 255, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _mirror(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    left, top, right, bottom = boxes_xyxy.T
    return np.stack([size_wh[0] - right, top, size_wh[0] - left, bottom], axis=1)


def _shift_xy(size_wh: tuple[int, int]) -> tuple[int, int]:
    return _step(size_wh[0]), -_step(size_wh[1])


def _step(side: int) -> int:
    """About an eighth of a side: a whole number of a network's usual strides, so that all moves along exactly."""
    stride = 32 if side >= 192 else 8
    return max(stride, round(side / 8 / stride) * stride)


def _shifted(pixels: PixelArray) -> PixelArray:
    x, y = _shift_xy((pixels.shape[1], pixels.shape[0]))
    return np.roll(pixels, (y, x), axis=(0, 1))


def _shift(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    return np.asarray(boxes_xyxy + np.array(_shift_xy(size_wh) * 2, np.float32), np.float32)


def _scaled(pixels: PixelArray) -> PixelArray:
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (round(width * _SCALE), round(height * _SCALE)), interpolation=cv2.INTER_AREA)
    changed = np.full_like(pixels, 114)
    changed[: small.shape[0], : small.shape[1]] = small
    return changed


VIEWS = (
    View("mirrored", lambda pixels: np.ascontiguousarray(pixels[:, ::-1]), _mirror),
    View("shifted", _shifted, _shift),
    View("scaled", _scaled, lambda boxes_xyxy, size_wh: np.asarray(boxes_xyxy * np.float32(_SCALE), np.float32)),
)
"""How each picture is shown besides as it is."""


@lru_cache(maxsize=1)
def _street() -> PixelArray:
    pixels = cv2.imdecode(np.frombuffer(PICTURE.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None, f"{PICTURE} is part of the package"
    return np.asarray(pixels, np.uint8)
