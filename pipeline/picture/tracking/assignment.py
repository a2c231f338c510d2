"""Assignment: a matrix of similarities → the one-to-one pairs with the largest sum.

Overlaps of boxes are mostly zero, and most boxes have one partner that beats all others, so the pairs that must be in
the best assignment are taken first; what is left is solved in its connected parts by shortest augmenting paths
(Jonker and Volgenant 1987, https://doi.org/10.1007/BF02278710), as `scipy.optimize.linear_sum_assignment` does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
Float64Array = npt.NDArray[np.float64]


def assign(similarity: npt.NDArray[np.floating]) -> tuple[Indices, Indices]:
    """Rows [P] and columns [P] of the pairs with the largest sum of similarities [N, M], all at least 0.

    A pair of similarity 0 is left out. NaN counts as 0.

    >>> rows, columns = assign(np.array([[0.5, 0.4], [0.4, 0.0]]))
    >>> rows.tolist(), columns.tolist()
    ([0, 1], [1, 0])
    """
    rows, columns = np.nonzero(similarity > 0)  # [E], [E]
    num_rows, num_columns = similarity.shape
    weights = similarity[rows, columns].astype(np.float64)  # [E]
    taken: list[tuple[Indices, Indices]] = []
    while len(rows):
        surest = _surest(rows, columns, weights, num_rows, num_columns)  # [E]
        if not surest.any():
            break
        taken.append((rows[surest], columns[surest]))
        is_taken_row, is_taken_column = np.zeros(num_rows, np.bool_), np.zeros(num_columns, np.bool_)
        is_taken_row[rows[surest]] = is_taken_column[columns[surest]] = True
        is_free = ~(is_taken_row[rows] | is_taken_column[columns])  # [E]
        rows, columns, weights = rows[is_free], columns[is_free], weights[is_free]
    for part in _parts(rows, columns):
        taken.append(_solved(rows[part], columns[part], weights[part]))
    if not taken:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    return np.concatenate([pair[0] for pair in taken]), np.concatenate([pair[1] for pair in taken])


def _surest(
    rows: Indices, columns: Indices, weights: Float64Array, num_rows: int, num_columns: int
) -> npt.NDArray[np.bool_]:
    """Which edges [E] are in the best assignment for sure.

    One that weighs more than the best other edge of its row and the best other of its column together: an assignment
    without it gets better by taking it in their place.
    """
    best_of_row, second_of_row = _best_two(rows, weights, num_rows)  # [N], [N]
    best_of_column, second_of_column = _best_two(columns, weights, num_columns)  # [M], [M]
    is_best = (weights == best_of_row[rows]) & (weights == best_of_column[columns])
    is_sure: npt.NDArray[np.bool_] = is_best & (weights > second_of_row[rows] + second_of_column[columns])
    return is_sure


def _best_two(groups: Indices, weights: Float64Array, num_groups: int) -> tuple[Float64Array, Float64Array]:
    """The largest weight of each group [G], and the largest of its others; 0 where there is none."""
    best, second = np.zeros(num_groups), np.zeros(num_groups)
    np.maximum.at(best, groups, weights)
    is_best = weights == best[groups]  # [E]
    np.maximum.at(second, groups, np.where(is_best, 0.0, weights))
    num_best = np.bincount(groups[is_best], minlength=num_groups)
    return best, np.where(num_best > 1, best, second)


def _parts(rows: Indices, columns: Indices) -> list[Indices]:
    """The edges of each connected part, as indices into them."""
    of_row: dict[int, list[int]] = {}
    of_column: dict[int, list[int]] = {}
    ends = list(zip(rows.tolist(), columns.tolist(), strict=True))
    for edge, (row, column) in enumerate(ends):
        of_row.setdefault(row, []).append(edge)
        of_column.setdefault(column, []).append(edge)
    parts: list[Indices] = []
    while of_row:
        _, waiting = of_row.popitem()
        part: set[int] = set()
        while waiting:
            edge = waiting.pop()
            part.add(edge)
            row, column = ends[edge]
            waiting += of_row.pop(row, []) + of_column.pop(column, [])
        parts.append(np.array(sorted(part), np.intp))
    return parts


def _solved(rows: Indices, columns: Indices, weights: Float64Array) -> tuple[Indices, Indices]:
    """The best pairs of one connected part, given by its edges."""
    of_rows, row_of_edge = np.unique(rows, return_inverse=True)
    of_columns, column_of_edge = np.unique(columns, return_inverse=True)
    matrix = np.zeros((len(of_rows), len(of_columns)))
    matrix[row_of_edge, column_of_edge] = weights
    if len(of_rows) > len(of_columns):
        chosen_columns, chosen_rows = np.arange(len(of_columns)), _columns_of_rows(-matrix.T)
    else:
        chosen_rows, chosen_columns = np.arange(len(of_rows)), _columns_of_rows(-matrix)
    is_edge = matrix[chosen_rows, chosen_columns] > 0
    return of_rows[chosen_rows[is_edge]], of_columns[chosen_columns[is_edge]]


def _columns_of_rows(cost: Float64Array) -> Indices:
    """The column of each row [N] in the cheapest assignment of all rows of a matrix [N, M], N at most M."""
    num_rows, num_columns = cost.shape
    row_price, column_price = np.zeros(num_rows), np.zeros(num_columns)
    row_of_column = np.full(num_columns, -1)
    for first_row in range(num_rows):
        row, distance = first_row, 0.0
        shortest = np.full(num_columns, np.inf)
        previous = np.full(num_columns, -1)  # the column before each on its shortest path; -1: none
        is_open = np.ones(num_columns, np.bool_)
        reached: list[int] = []
        column = -1
        while row >= 0:
            through = distance + cost[row] - row_price[row] - column_price  # [M]
            is_shorter = is_open & (through < shortest)
            shortest[is_shorter] = through[is_shorter]
            previous[is_shorter] = column
            column = int(np.where(is_open, shortest, np.inf).argmin())
            distance = float(shortest[column])
            is_open[column] = False
            reached.append(column)
            row = int(row_of_column[column])
        before = reached[:-1]  # those that have rows; the last one was free
        row_price[first_row] += distance
        row_price[row_of_column[before]] += distance - shortest[before]
        column_price[before] -= distance - shortest[before]
        while column >= 0:  # back along the path
            parent = int(previous[column])
            row_of_column[column] = first_row if parent < 0 else row_of_column[parent]
            column = parent
    columns = np.full(num_rows, -1)
    is_used = row_of_column >= 0
    columns[row_of_column[is_used]] = np.flatnonzero(is_used)
    return columns
