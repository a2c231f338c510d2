"""Run lengths: a mask → COCO's uncompressed RLE."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, object]:
    """`{"size": [height, width], "counts": [...]}` of a mask [H, W], column by column, beginning outside.

    >>> run_lengths(np.array([[False, True], [True, True]]))
    {'size': [2, 2], 'counts': [1, 3]}
    """
    column_wise = np.concatenate([[False], mask.ravel(order="F")])  # counts begin with pixels outside
    changes = np.flatnonzero(column_wise[1:] != column_wise[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}
