"""D-RISE map: a picture under random masks → how much seeing a pixel helps the target.

Petsiuk et al. 2021, https://arxiv.org/abs/2006.03204. The masks are those of RISE (Petsiuk et al. 2018,
https://arxiv.org/abs/1806.07421, section 3.2): a coarse grid of cells that are on or off, enlarged bilinearly, shifted
by a random part of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from pipeline.detector.detector import DetectFunction
from pipeline.picture.boxes import FloatArray
from pipeline.picture.frame import PixelArray
from pipeline.saliency import NUM_MASKS
from pipeline.saliency.masking import similarities
from pipeline.saliency.target import Target

CELLS = 16  # a side of the grid, of the paper's section 4
SHARE_ON = 0.5  # of the cells, of the paper's section 4


def random_masks(size_wh: tuple[int, int], num: int, *, seed: int = 0) -> Iterator[FloatArray]:
    """`num` masks float32 [H, W] in 0..1, the same for the same seed; 1: the pixel is seen, 0: it is black.

    Raises ValueError for fewer than one mask.
    """
    if num < 1:
        raise ValueError(f"D-RISE needs at least 1 mask, got {num}")
    random = np.random.default_rng(seed)
    width, height = size_wh
    cell_w, cell_h = math.ceil(width / CELLS), math.ceil(height / CELLS)
    enlarged_wh = ((CELLS + 1) * cell_w, (CELLS + 1) * cell_h)
    for _ in range(num):
        grid = (random.random((CELLS, CELLS)) < SHARE_ON).astype(np.float32)
        enlarged = cv2.resize(grid, enlarged_wh, interpolation=cv2.INTER_LINEAR)
        left, top = random.integers(0, cell_w + 1), random.integers(0, cell_h + 1)
        yield np.asarray(enlarged[top : top + height, left : left + width], np.float32)


def drise_map(
    detect: DetectFunction,
    pixels: PixelArray,
    target: Target,
    *,
    num_masks: int = NUM_MASKS,
    seed: int = 0,
    batch: int = 8,
    on_step: Callable[[], None] = lambda: None,
) -> FloatArray:
    """Heat float32 [H, W] of a picture uint8 [H, W, 3] BGR: the similarity when a pixel is seen, less the mean.

    The mean of the masks' similarities, weighted by the pixel's part in each mask. The paper's equation 9 divides by
    the expected weight, this by the true one, which has less noise; subtracting the mean of all masks makes 0 mean
    that the pixel does not matter. on_step: called after each run.
    """
    size_wh = (pixels.shape[1], pixels.shape[0])
    masked = (_masked(pixels, mask) for mask in random_masks(size_wh, num_masks, seed=seed))
    weighted, weights = np.zeros(pixels.shape[:2]), np.zeros(pixels.shape[:2])  # [H, W]
    sum_of_all = 0.0
    # Drawn once more rather than kept: thousands of masks of a picture are gigabytes.
    masks = random_masks(size_wh, num_masks, seed=seed)
    for mask, similarity in zip(masks, similarities(detect, target, masked, batch=batch, on_step=on_step), strict=True):
        weighted += similarity * mask
        weights += mask
        sum_of_all += similarity
    seen = np.divide(weighted, weights, out=np.zeros_like(weighted), where=weights > 0)
    return np.asarray(np.where(weights > 0, seen - sum_of_all / num_masks, 0), np.float32)


def _masked(pixels: PixelArray, mask: FloatArray) -> PixelArray:
    """The picture, darkened where the mask hides it."""
    return np.asarray(np.rint(pixels * mask[:, :, None]), np.uint8)
