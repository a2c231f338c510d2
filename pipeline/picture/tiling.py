"""Tiling: a picture's size → overlapping tiles that cover it, and the detections in them → those of the picture.

A network sees a picture at its own size, in which small objects vanish; in a tile they stay as large as they are. The
idea is that of SAHI (Akyon et al. 2022, https://arxiv.org/abs/2202.06934).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.picture.boxes import FloatArray, share_inside
from pipeline.picture.detections import Detections
from pipeline.picture.masks import Masks
from pipeline.picture.suppression import SuppressionOptions

NEEDED_PX = 16
"""Network pixels that an object needs: two cells of the finest grid, of stride 8, that most detectors have."""

MOST_TILES = 256
"""Of one picture; beyond, a typing error is likelier than a wish."""

_CUT_SHARE = 0.02  # of a tile's side: a box that ends no farther from an inner edge is cut by it
_COVERED_SHARE = 0.6  # of a cut box: where another tile's box has as much of it, it is a part of that
_LEAST_SCORE_RATIO = 0.25  # of that box's score to the cut one's: a doubtful box does not remove a sure one


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of a picture, in its pixels; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int
    picture_wh: tuple[int, int]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.right - self.left, self.bottom - self.top

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole picture."""
        return self.size_wh == self.picture_wh

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def cuts(self, boxes_xyxy: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether boxes [N, 4], in the picture's pixels, end at an edge of the tile that is none of the picture."""
        (width, height), picture_wh = self.size_wh, self.picture_wh
        tolerance = np.maximum(np.array([width, height] * 2, np.float32) * np.float32(_CUT_SHARE), 1)
        edges = np.array([self.left, self.top, self.right, self.bottom], np.float32)
        is_inner = np.array(
            [self.left > 0, self.top > 0, self.right < picture_wh[0], self.bottom < picture_wh[1]], np.bool_
        )
        ends = np.abs(boxes_xyxy - edges) <= tolerance  # [N, 4]
        return np.asarray((ends & is_inner).any(axis=1), np.bool_)


@dataclass(frozen=True, slots=True)
class Tiling:
    """How pictures are cut into tiles.

    grid: rows and columns; None: as few as let an object of `smallest_px` pixels have `NEEDED_PX` in the network.
    overlap: the share of a tile's side that its neighbour has too. has_whole: whether the whole picture is looked at
    as well, for objects larger than a tile. network_wh: the size at which the network sees a tile.

    Raises ValueError for a grid without tiles, an overlap outside [0, 0.9], and neither or both of grid and
    smallest_px.

    >>> tiles = Tiling((1, 2), overlap=0.5, has_whole=False).tiles((300, 100))
    >>> [(tile.left, tile.right) for tile in tiles]
    [(0, 200), (100, 300)]
    """

    grid: tuple[int, int] | None
    overlap: float = 0.2
    has_whole: bool = True
    smallest_px: float | None = None
    network_wh: tuple[int, int] = (640, 640)

    def __post_init__(self) -> None:
        if (self.grid is None) == (self.smallest_px is None):
            raise ValueError("tiles need a grid, or the size of the smallest object, and not both")
        if self.grid is not None and not (min(self.grid) >= 1 and math.prod(self.grid) <= MOST_TILES):
            rows, columns = self.grid
            raise ValueError(f"a grid must have 1 to {MOST_TILES} tiles, got {rows}x{columns}")
        if not 0 <= self.overlap <= 0.9:
            raise ValueError(f"overlap must lie within [0, 0.9], got {self.overlap:g}")
        if self.smallest_px is not None and not 0 < self.smallest_px < math.inf:
            raise ValueError(f"the smallest object must have more than 0 pixels, got {self.smallest_px:g}")

    def tiles(self, size_wh: tuple[int, int]) -> tuple[Tile, ...]:
        """The tiles of a picture, row by row, and last the whole picture; only that of a grid of one.

        Raises ValueError where the smallest object needs more than `MOST_TILES`.
        """
        width, height = size_wh
        rows, columns = self.grid_of(size_wh)
        tiles = [
            Tile(left, top, right, bottom, size_wh)
            for top, bottom in _spans(height, rows, self.overlap)
            for left, right in _spans(width, columns, self.overlap)
        ]
        if self.has_whole:
            tiles.append(Tile(0, 0, width, height, size_wh))
        return tuple(dict.fromkeys(tiles))

    def grid_of(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of a picture. Raises ValueError as `tiles` does."""
        if self.smallest_px is None:
            assert self.grid is not None
            return self.grid
        columns, rows = (
            self._needed(side, network_side) for side, network_side in zip(size_wh, self.network_wh, strict=True)
        )
        if rows * columns > MOST_TILES:
            raise ValueError(
                f"objects of {self.smallest_px:g} pixels in pictures of {size_wh[0]}×{size_wh[1]} need "
                f"{rows}x{columns} tiles, more than {MOST_TILES}; name larger objects, or a grid"
            )
        return rows, columns

    def _needed(self, side: int, network_side: int) -> int:
        """The least number of tiles along a side that are small enough for the smallest object."""
        assert self.smallest_px is not None
        most = network_side * self.smallest_px / NEEDED_PX  # source pixels of a tile
        return max(1, math.ceil(round((side / most - self.overlap) / (1 - self.overlap), 6)))


def merge_tiles(tiles: Sequence[Tile], detections: Sequence[Detections], options: SuppressionOptions) -> Detections:
    """The detections of a picture: those of its tiles, in the tiles' pixels, each object once; the best first.

    A box that an inner edge cut is dropped where another tile has a box of its class, not cut, with most of it inside.
    Of boxes of different tiles that overlap by more than the options' IoU, the best stays; boxes of one tile are never
    rivals here, that tile's own suppression has decided between them.
    """
    pairs = list(zip(tiles, detections, strict=True))
    placed = _concatenated([_placed(tile, of_tile) for tile, of_tile in pairs])
    counts = [len(of_tile) for of_tile in detections]
    tile_ids = np.repeat(np.arange(len(tiles)), counts)  # [N]
    starts = np.cumsum([0, *counts])
    is_cut = np.zeros(len(placed), np.bool_)  # [N]
    for tile, start, end in zip(tiles, starts, starts[1:], strict=False):
        is_cut[start:end] = tile.cuts(placed.boxes_xyxy[start:end])
    groups = placed.class_ids if options.mode != "class-agnostic" else np.zeros(len(placed), np.int64)  # [N]
    removed = _covered(placed, groups, tile_ids, is_cut)  # [N]
    kept: list[int] = []
    for index in np.argsort(-placed.scores, kind="stable").tolist():
        if removed[index]:
            continue
        kept.append(index)
        iou = placed.select(np.array([index])).overlaps(placed)[0]  # [N]
        removed |= (iou > options.iou_threshold) & (tile_ids != tile_ids[index]) & (groups == groups[index])
    return placed.select(np.array(kept[: options.max_detections], np.int64))


def _covered(
    placed: Detections,
    groups: npt.NDArray[np.int64],
    tile_ids: npt.NDArray[np.int64],
    is_cut: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Whether each detection [N] is cut, and another tile has what it is a part of.

    The share of the cut box counts, not that of the smaller: a cut bus does not belong to the car in front of it.
    """
    covered = np.zeros(len(placed), np.bool_)
    for index in np.flatnonzero(is_cut):
        share = share_inside(placed.boxes_xyxy[index][None], placed.boxes_xyxy)[0]  # [N]
        has_it = (share >= _COVERED_SHARE) & ~is_cut & (tile_ids != tile_ids[index]) & (groups == groups[index])
        covered[index] = (has_it & (placed.scores >= _LEAST_SCORE_RATIO * placed.scores[index])).any()
    return covered


def _spans(length: int, num: int, overlap: float) -> list[tuple[int, int]]:
    """Begin and end of `num` parts of one length that cover a side, each overlapping the next by that share or more."""
    side = min(length, math.ceil(length / (num - (num - 1) * overlap)))
    starts = np.rint(np.linspace(0, length - side, num)).astype(int).tolist()
    return [(start, start + side) for start in dict.fromkeys(starts)]


def _placed(tile: Tile, detections: Detections) -> Detections:
    """Detections in a tile's pixels, in the picture's."""
    if tile.is_whole:
        return detections
    offset = np.array([tile.left, tile.top], np.float32)
    masks, keypoints, corners = detections.masks, detections.keypoints, detections.corners
    if masks is not None:
        masks = masks.placed((tile.left, tile.top), tile.picture_wh)
    if keypoints is not None:
        keypoints = keypoints + np.append(offset, np.float32(0))
    if corners is not None:
        corners = corners + offset
    boxes = detections.boxes_xyxy + np.tile(offset, 2)  # [N, 4]
    return Detections(boxes, detections.scores, detections.class_ids, masks, keypoints, corners=corners)


def _concatenated(parts: Sequence[Detections]) -> Detections:
    """All of several detections. Masks, points and corners stay where all of the parts that have boxes have them."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return parts[0]
    masks = [part.masks for part in filled if part.masks is not None]
    keypoints = [part.keypoints for part in filled if part.keypoints is not None]
    corners = [part.corners for part in filled if part.corners is not None]
    return Detections(
        np.concatenate([part.boxes_xyxy for part in filled]),
        np.concatenate([part.scores for part in filled]),
        np.concatenate([part.class_ids for part in filled]),
        Masks.joined(masks) if len(masks) == len(filled) else None,
        np.concatenate(keypoints) if len(keypoints) == len(filled) else None,
        corners=np.concatenate(corners) if len(corners) == len(filled) else None,
    )
