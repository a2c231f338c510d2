"""Are masks kept as crops what whole arrays are, in every use?"""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.picture.detections import Detections
from pipeline.picture.masks import Masks


def random_masks(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Six of a small picture: noise, nothing, everything, columns from top to bottom, one pixel, blobs."""
    chance = np.random.default_rng(seed)
    height, width = chance.integers(1, 40, 2).tolist()
    masks = chance.random((6, height, width)) < chance.random()
    masks[1], masks[2], masks[4] = False, True, False
    masks[3] = chance.random(width) < 0.5
    masks[4, chance.integers(height), chance.integers(width)] = True
    masks[5, : height // 2] = False
    return masks


@pytest.mark.parametrize("seed", range(40))
def test_crops_are_what_arrays_are(seed: int) -> None:
    array = random_masks(seed)
    for masks in (Masks.of(array), Masks.of(array).packed()):
        np.testing.assert_array_equal(np.asarray(masks), array)
        np.testing.assert_array_equal(np.asarray(masks.select(np.array([3, 0]))), array[[3, 0]])
        np.testing.assert_array_equal(np.asarray(masks.select(np.arange(6) % 2 == 0)), array[::2])
        assert masks.num_pixels() == array.sum(axis=(1, 2)).tolist()
        other = Masks.of(array[::-1])
        for index, (one, two) in enumerate(zip(array, array[::-1], strict=True)):
            either = (one | two).sum()
            expected = (one & two).sum() / either if either else 1.0
            assert masks.intersection_over_union(index, other, index) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(40))
def test_run_lengths_are_those_of_pycocotools(seed: int) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="encodes masks")
    array = random_masks(seed)
    masks = Masks.of(array)
    for index, mask in enumerate(array):
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert masks.rle(index) == {"size": expected["size"], "counts": expected["counts"].decode()}


def test_long_runs_are_those_of_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="encodes masks")
    mask = np.zeros((1080, 1920), np.bool_)
    mask[1079, 1919], mask[3, 5], mask[:, 700:900] = True, True, True
    expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert Masks.of(mask[None]).rle(0)["counts"] == expected["counts"].decode()


def test_an_outline_is_that_of_the_largest_part_at_the_edge_too() -> None:
    array = np.zeros((2, 20, 30), np.bool_)
    array[0, :10, 20:], array[0, 15:17, 1:3] = True, True
    outline = Masks.of(array).outline(0)
    assert sorted(map(tuple, outline.tolist())) == [(20, 0), (20, 9), (29, 0), (29, 9)]
    assert Masks.of(array).outline(1).shape == (0, 2)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="a crop must lie within its picture of 4 x 3, got 2 x 2 at 3, 0"):
        Masks((4, 3), [np.ones((2, 2), np.bool_)], [(3, 0)])
    with pytest.raises(ValueError, match="1 crops must have as many positions, got 0"):
        Masks((4, 3), [np.ones((2, 2), np.bool_)], [])
    with pytest.raises(ValueError, match=r"masks must be \[N, H, W\], got \[3, 4\]"):
        Masks.of(np.zeros((3, 4)))
    row = np.zeros((1, 4), np.float32), np.zeros(1, np.float32), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match=r"masks must be Masks, of an array with Masks.of, got ndarray"):
        Detections(*row, masks=np.zeros((1, 3, 4), np.bool_))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="masks must have one entry for each of the 1 boxes, got 0"):
        Detections(*row, masks=Masks.of(np.zeros((0, 3, 4), np.bool_)))
