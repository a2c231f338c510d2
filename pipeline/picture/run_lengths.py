"""Run lengths: the pixels of an object within a window of the picture → COCO's RLE of the whole picture.

The runs go down the columns and begin with what is outside. As text, a run has 5 bits a character, and from the fourth
on it is the difference to the last but one: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MaskArray = npt.NDArray[np.bool_]
_MOST_CHARACTERS = 8  # of a run: 40 bits


def coco_rle(crop: MaskArray, left_top: tuple[int, int], size_wh: tuple[int, int]) -> dict[str, object]:
    """`{"size": [height, width], "counts": text}`, as pycocotools writes it, of a crop [h, w] of the picture.

    >>> coco_rle(np.array([[False, True], [True, True]]), (0, 0), (2, 2))
    {'size': [2, 2], 'counts': '13'}
    """
    width, height = size_wh
    return {"size": [height, width], "counts": as_text(run_lengths(crop, left_top, size_wh))}


def run_lengths(crop: MaskArray, left_top: tuple[int, int], size_wh: tuple[int, int]) -> npt.NDArray[np.int64]:
    """The lengths of the runs [R] of a crop [h, w] that lies within a picture, which is empty around it.

    >>> run_lengths(np.array([[False, True], [True, True]]), (1, 0), (4, 3)).tolist()
    [4, 3, 5]
    """
    (left, top), (width, height), (rows, columns) = left_top, size_wh, crop.shape
    bordered = np.zeros((columns, rows + 2), np.int8)
    bordered[:, 1:-1] = crop.T
    steps = np.diff(bordered, axis=1)  # [w, h + 1]: 1 where a run begins, -1 behind its end
    begins, ends = (_positions(steps == sign, left, top, height) for sign in (1, -1))  # [S], [S]
    is_apart = begins[1:] != ends[:-1]  # else it goes on at the top of the next column
    begins, ends = begins[np.append(True, is_apart)[: len(begins)]], ends[np.append(is_apart, True)[: len(ends)]]
    edges = np.stack([begins, ends], axis=1).reshape(-1)  # [2 S]
    runs = np.diff(np.concatenate([[0], edges, [width * height]]))
    return np.asarray(runs if runs[-1] or len(runs) == 1 else runs[:-1], np.int64)


def as_text(runs: npt.NDArray[np.int64]) -> str:
    """The runs [R] as pycocotools' text."""
    rest = runs.copy()
    rest[3:] -= runs[1:-2]
    characters = np.zeros((len(runs), _MOST_CHARACTERS), np.uint8)
    goes_on = np.full(len(runs), True)
    for index in range(_MOST_CHARACTERS):
        bits = rest & 31
        rest >>= 5
        has_more = np.where(bits & 16, rest != -1, rest != 0)
        characters[goes_on, index] = (bits + 48 + 32 * has_more)[goes_on]
        goes_on &= has_more
    return characters[characters > 0].tobytes().decode("ascii")


def _positions(is_step: MaskArray, left: int, top: int, height: int) -> npt.NDArray[np.int64]:
    """Where steps [w, h + 1] of a window lie in the picture, counted down its columns."""
    columns, rows = np.nonzero(is_step)
    return np.asarray((columns + left) * height + rows + top, np.int64)
