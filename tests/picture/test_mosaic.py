"""Mosaic: tiles are as large as they can be, keep shape and place, and say whose they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.picture.mosaic import Grid, Mosaic

sides = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("num_tiles", "picture_wh", "columns_rows"),
    [(1, (1920, 1080), (1, 1)), (2, (1920, 1080), (1, 2)), (4, (640, 480), (2, 2)), (3, (1080, 1920), (3, 1))],
)
def test_the_grid_follows_count_and_shape(
    num_tiles: int, picture_wh: tuple[int, int], columns_rows: tuple[int, int]
) -> None:
    grid = Grid.fit(num_tiles, picture_wh, (900, 900))
    assert (grid.columns, grid.rows) == columns_rows


@given(num_tiles=st.integers(1, 40), picture_wh=st.tuples(sides, sides), most_wh=st.tuples(sides, sides))
def test_every_tile_has_a_place_of_its_own(
    num_tiles: int, picture_wh: tuple[int, int], most_wh: tuple[int, int]
) -> None:
    grid = Grid.fit(num_tiles, picture_wh, most_wh)
    covered = np.zeros((grid.rows, grid.columns), int)
    for number in range(num_tiles):
        rows, columns = grid.window(number)
        assert 0 <= rows.start < rows.stop <= grid.size_wh[1]
        assert 0 <= columns.start < columns.stop <= grid.size_wh[0]
        covered[rows.start // grid.tile_wh[1], columns.start // grid.tile_wh[0]] += 1
    assert covered.max() == 1
    assert covered.sum() == num_tiles
    assert grid.columns * grid.rows - num_tiles < grid.columns  # no empty row


def test_a_picture_is_fitted_into_its_tile_with_bars_and_a_caption() -> None:
    mosaic = Mosaic(["a", "b"], [(200, 100), (200, 100)], most_wh=(400, 100))
    assert mosaic.grid == Grid(2, 1, (200, 100))
    mosaic.put("b", np.full((100, 100, 3), 200, np.uint8))  # square, in a tile twice as wide
    tile = mosaic.pixels[:, 200:]
    assert (tile[:80, 50:150] == 200).all()
    assert not tile[:80, :50].any()
    assert not tile[:, 150:].any()
    assert tile[85:, :50].any()
    mosaic.caption("b", "b, 12 s ago")
    assert (tile[:80, 50:150] == 200).all()
    assert (tile[85:, 50:60] != 200).any()  # a longer one


def test_without_a_picture_a_tile_has_its_name_alone() -> None:
    mosaic = Mosaic(["a", "ü 100%"], [None, None], most_wh=(640, 360))
    tiles = [mosaic.pixels[mosaic.grid.window(number)] for number in (0, 1)]
    assert all(tile.any() and not tile[: tile.shape[0] // 2].any() for tile in tiles)
    assert (tiles[0] != tiles[1]).any()


def test_a_name_without_a_tile_is_refused() -> None:
    with pytest.raises(KeyError):
        Mosaic(["a"], [None], most_wh=(640, 360)).put("b", np.zeros((4, 4, 3), np.uint8))
