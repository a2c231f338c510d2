"""Charts: accuracy → PNG files, drawn with matplotlib, without its global state, so in any thread."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.accuracy.coco import RECALLS, ClassAccuracy, CocoAccuracy
from pipeline.cache_folder import keep_matplotlib_here
from pipeline.errors import MissingExtraError, SinkError
from pipeline.picture.detections import IntArray
from pipeline.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = npt.NDArray[np.float64]

# Of more classes the counts would not be legible in their cells.
_MOST_COUNTED = 24
_INK, _FAINT = "#1f2933", "#9aa5b1"
# From the best class to the worst; of more classes only the extremes are drawn.
_CURVES = ("#0b5f59", "#1f8a7e", "#4fb0a2", "#8ccfc4", "#f0b183", "#e8894a", "#cf5a22", "#94330c")


def draw_precision_recall(path: Path, accuracy: CocoAccuracy, class_names: Sequence[str], *, title: str) -> None:
    """Draw precision over recall at IoU .5 into a PNG: the mean over classes, and the classes or the extremes of them.

    Raises SinkError if it cannot be written, and MissingExtraError without matplotlib.
    """
    figure, axes = _figure(8.0, 5.2)
    ranked = sorted(accuracy.classes, key=lambda of_class: -of_class.ap50)
    shown = _extremes(ranked)
    colours = np.linspace(0, len(_CURVES) - 1, len(shown)).round().astype(int)  # indices into _CURVES
    for of_class, colour in zip(shown, colours, strict=True):
        label = f"{class_names[of_class.class_id]}  {of_class.ap50:.2f}"
        axes.plot(*_reached(of_class.precisions), color=_CURVES[colour], linewidth=1.4, label=label)
    if ranked:
        mean = np.mean([of_class.precisions for of_class in ranked], axis=0)  # [101]
        label = f"mean of {len(ranked)}  {mean.mean():.2f}"
        axes.plot(*_reached(mean), color=_INK, linewidth=3, label=label, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(
        handles[-1:] + handles[:-1],  # the mean first
        labels[-1:] + labels[:-1],
        title="AP at IoU .50" + (",\nbest and worst classes" if len(shown) < len(ranked) else ""),
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        frameon=False,
        alignment="left",
    )
    legend.get_title().set_color(_INK)
    _entitle(axes, title)
    _save(figure, path)


def draw_confusion(path: Path, matrix: IntArray, class_names: Sequence[str], *, title: str) -> None:
    """Draw a confusion matrix [C + 1, C + 1] of `confusion_matrix` into a PNG; classes that do not occur are left out.

    The colour is the share of the row; where there are few classes the counts stand in the cells.
    Raises SinkError if it cannot be written, and MissingExtraError without matplotlib.
    """
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0  # [C + 1]
    occurs[-1] = True
    matrix = matrix[occurs][:, occurs]  # [D + 1, D + 1]
    names = [name for name, does in zip(class_names, occurs, strict=False) if does]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # [D + 1, D + 1]
    num = len(matrix)
    is_counted = num <= _MOST_COUNTED + 1
    cell = 0.42 if is_counted else 0.17  # inches
    figure, axes = _figure(2.4 + cell * max(num, 5), 2.0 + cell * max(num, 5))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    size = 9 if is_counted else 7
    axes.set_xticks(range(num), [*names, "missed"], rotation=90, fontsize=size)
    axes.set_yticks(range(num), [*names, "background"], fontsize=size)
    axes.set(xlabel="found as", ylabel="truth")
    axes.tick_params(length=0)
    # Thin lines between the cells, and one that sets the background off.
    axes.set_xticks(np.arange(num - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(num - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#e4e7eb", linewidth=0.6 if is_counted else 0.3)
    axes.tick_params(which="minor", length=0)
    for draw in (axes.axhline, axes.axvline):
        draw(num - 1.5, color=_FAINT, linewidth=1.2)
    if is_counted:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.55 else _INK
            axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=8, color=colour)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, shrink=0.5, aspect=30)
    bar.set_label("share of the row", color=_INK)
    bar.outline.set_visible(False)
    _entitle(axes, title)
    _save(figure, path)


def _extremes(ranked: Sequence[ClassAccuracy]) -> list[ClassAccuracy]:
    half = len(_CURVES) // 2
    return list(ranked) if len(ranked) <= len(_CURVES) else [*ranked[:half], *ranked[-half:]]


def _reached(precisions: Curve) -> tuple[Curve, Curve]:
    """Recall and precision [N] of a curve [101], up to the highest recall that was reached."""
    num = int(np.flatnonzero(precisions > 0)[-1]) + 1 if (precisions > 0).any() else 1
    return RECALLS[:num], precisions[:num]


def _figure(width_inches: float, height_inches: float) -> tuple[Figure, Axes]:
    keep_matplotlib_here()
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError('charts need matplotlib: pip install "streamdet[measure]"') from error
    figure = Figure(figsize=(width_inches, height_inches), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in axes.spines.values():
        side.set_color(_FAINT)
    axes.tick_params(colors=_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    return figure, axes


def _entitle(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=_INK, pad=12)


def _save(figure: Figure, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", bbox_inches="tight", pad_inches=0.2)
    try:
        write_whole(path, picture.getvalue())
    except OSError as error:
        raise SinkError(f"{path}: the chart cannot be written there: {error.strerror or error}") from error
