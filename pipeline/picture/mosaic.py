"""Mosaic: pictures of several sources → one picture, a grid of letterboxed tiles with captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.picture.drawing import draw_lines
from pipeline.picture.frame import PixelArray
from pipeline.picture.letterbox import Letterbox

_ASSUMED_WH = (16, 9)  # of sources whose size is not known
_LEAST_TILE_WH = (64, 36)


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows and columns of equal tiles, whose sides are even, in pixels.

    >>> Grid.fit(4, (1920, 1080), (1600, 900))
    Grid(columns=2, rows=2, tile_wh=(800, 450))
    >>> Grid.fit(3, (1080, 1920), (1600, 900)).columns
    3
    """

    columns: int
    rows: int
    tile_wh: tuple[int, int]

    @classmethod
    def fit(cls, num_tiles: int, picture_wh: tuple[int, int], most_wh: tuple[int, int]) -> Grid:
        """The grid in which pictures of a size are largest within `most_wh`, though never enlarged."""
        if num_tiles < 1 or min(*picture_wh, *most_wh) < 1:
            raise ValueError(
                f"a grid must have tiles and sizes of at least 1, got {num_tiles}, {picture_wh}, {most_wh}"
            )
        width, height = picture_wh

        def scale(columns: int) -> float:
            return min(most_wh[0] / columns / width, most_wh[1] / -(-num_tiles // columns) / height)

        columns = max(range(1, num_tiles + 1), key=lambda number: (scale(number), -number))
        sides = (int(side * min(1.0, scale(columns))) // 2 * 2 for side in picture_wh)
        tile_width, tile_height = (max(side, least) for side, least in zip(sides, _LEAST_TILE_WH, strict=True))
        return cls(columns, -(-num_tiles // columns), (tile_width, tile_height))

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the whole in pixels."""
        return self.columns * self.tile_wh[0], self.rows * self.tile_wh[1]

    def window(self, number: int) -> tuple[slice, slice]:
        """The rows and columns of pixels of a tile; tiles are numbered from 0, row by row."""
        (width, height), (row, column) = self.tile_wh, divmod(number, self.columns)
        return slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)


class Mosaic:
    """A tile for each name, in their order, black until its first picture comes; not for several threads at once.

    sizes_wh: of the names' pictures, in pixels; None: not known. most_wh: the whole becomes no larger. Pictures of
    another shape than their tile get black bars.
    """

    def __init__(
        self, names: Sequence[str], sizes_wh: Sequence[tuple[int, int] | None], *, most_wh: tuple[int, int]
    ) -> None:
        sizes = [size for size in sizes_wh if size is not None]
        shape = sorted(sizes, key=lambda size: size[0] / size[1])[len(sizes) // 2] if sizes else _ASSUMED_WH
        largest = max((width for width, _ in sizes), default=most_wh[0])
        picture_wh = (largest, max(1, round(largest * shape[1] / shape[0])))
        self.grid = Grid.fit(len(names), picture_wh, most_wh)
        self._numbers = {name: number for number, name in enumerate(names)}
        self._contents: dict[str, PixelArray] = {}  # each as its tile shows it, without text
        self._canvas = np.zeros((self.grid.size_wh[1], self.grid.size_wh[0], 3), np.uint8)
        for name in names:
            self.caption(name, name)

    @property
    def pixels(self) -> PixelArray:
        """uint8 [H, W, 3] BGR, a view: the next change changes it."""
        return self._canvas

    def put(self, name: str, pixels: PixelArray, *, caption: str | None = None, lines: Sequence[str] = ()) -> None:
        """Show a picture uint8 [h, w, 3] BGR in the tile of a name; KeyError for a name without a tile.

        caption: at the lower left, the name if None. lines: over the top left.
        """
        window = self.grid.window(self._numbers[name])
        box = Letterbox.fit((pixels.shape[1], pixels.shape[0]), self.grid.tile_wh, "letterbox-center")
        tile = np.zeros_like(self._canvas[window])
        is_smaller = box.content_wh[0] < pixels.shape[1]
        how = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        tile[box.content_window] = cv2.resize(pixels, box.content_wh, interpolation=how)
        draw_lines(tile, lines)
        self._contents[name] = tile
        self.caption(name, name if caption is None else caption)

    def caption(self, name: str, text: str) -> None:
        """Write another caption under the picture that a tile has."""
        tile = self._canvas[self.grid.window(self._numbers[name])]
        tile[:] = self._contents.get(name, 0)
        draw_lines(tile, [text], at="bottom")
