"""Pictures: sizes and seeds → uint8 [H, W, 3] BGR, and how far two of them differ."""

from __future__ import annotations

import numpy as np

from pipeline.picture.frame import PixelArray


def noise(width: int, height: int, *, seed: int = 0) -> PixelArray:
    """Independent random levels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def grey(level: int = 90, size_wh: tuple[int, int] = (64, 48)) -> PixelArray:
    """One level everywhere."""
    return np.full((size_wh[1], size_wh[0], 3), level, np.uint8)


def smooth(width: int, height: int) -> PixelArray:
    """A picture without edges, so that only where its colours lie can make a difference."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.array([[[height]], [[width]]], np.float32)
    planes = [40 + 170 * x, 30 + 180 * y * x, 220 - 150 * y]
    return np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)


def scene(index: int, size_wh: tuple[int, int] = (64, 48)) -> PixelArray:
    """A smooth picture, lit from its top left, brighter with the index."""
    width, height = size_wh
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [200 - 120 * x / width, 60 + 8 * index + 0 * x, 160 - 130 * y / height]
    return np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)


def difference(first: PixelArray, second: PixelArray) -> float:
    """Mean absolute difference in levels of two pictures of one size."""
    assert first.shape == second.shape
    return float(np.abs(first.astype(float) - second).mean())
