"""Charts: measured numbers → SVG, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.cache_folder import keep_matplotlib_here
from pipeline.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OTHER = "other"
_OTHER_COLOUR = "#bab0ac"  # of every role without a colour of its own
_WIDTH_INCHES = 9.0


def time_chart(
    rows: Mapping[str, Mapping[str, float]], floors: Mapping[str, Mapping[str, float]], colours: Mapping[str, str]
) -> str:
    """Bars of the processor time of a frame: one a row, milliseconds by role and in all, beside it the floors.

    floors: of a row, by role as well: source, detect and record.
    colours: of each role, in the order in which they are drawn; roles without one are drawn together, as other.
    """
    rows = {name: _drawable(row, colours) for name, row in rows.items()}
    colours = {**colours, _OTHER: _OTHER_COLOUR}
    figure, axes = _figure(0.9 + 0.62 * len(rows))
    roles = [role for role in colours if any(role in row for row in rows.values())]
    heights = range(len(rows))
    left = [0.0] * len(rows)
    for role in roles:
        widths = [row.get(role, 0.0) for row in rows.values()]
        axes.barh(heights, widths, left=left, height=0.5, color=colours[role], label=role)
        left = [sofar + width for sofar, width in zip(left, widths, strict=True)]
    for height, name in enumerate(rows):
        _draw_floors(axes, height - 0.34, floors.get(name, {}), colours)
        axes.text(left[height], height, f" {round(left[height], 3):.1f}", va="center", fontsize=9)
    axes.set_yticks(list(heights), list(rows))
    axes.invert_yaxis()
    axes.margins(x=0.08)
    legend = " (thin bar above: each part alone)" if floors else ""
    axes.set_xlabel(f"CPU milliseconds per frame{legend}")
    figure.legend(loc="outside upper center", ncols=len(roles), frameon=False, fontsize=9, columnspacing=1.2)
    return _svg(figure)


def _draw_floors(axes: Axes, height: float, by_role: Mapping[str, float], colours: Mapping[str, str]) -> None:
    sofar = 0.0
    for role, milliseconds in by_role.items():
        axes.barh([height], [milliseconds], left=[sofar], height=0.12, color=colours[role], alpha=0.45)
        sofar += milliseconds


def _drawable(by_role: Mapping[str, float], colours: Mapping[str, str]) -> dict[str, float]:
    drawn: dict[str, float] = {}
    for role, milliseconds in by_role.items():
        drawn_as = role if role in colours else _OTHER
        drawn[drawn_as] = drawn.get(drawn_as, 0.0) + milliseconds
    return drawn


def latency_chart(percentiles: Mapping[str, Sequence[float]]) -> str:
    """The share of frames that are at most so old when they are delivered. Percentiles 0 to 100 a row, milliseconds."""
    figure, axes = _figure(3.6)
    for name, values in percentiles.items():
        axes.step(
            list(values), [100 * number / (len(values) - 1) for number in range(len(values))], where="post", label=name
        )
    axes.set_xlabel("age when delivered, ms")
    axes.set_ylabel("% of frames")
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9)
    return _svg(figure)


def trade_chart(points: Mapping[str, tuple[float, float]]) -> str:
    """Speed against accuracy: frames a second and AP of each name; those that nobody beats in both are joined."""
    figure, axes = _figure(3.8)
    front = pareto_front(points)
    for name, (fps, precision) in points.items():
        axes.scatter([fps], [precision], s=50, color="#f58518" if name in front else "#bab0ac", zorder=3)
        axes.annotate(name, (fps, precision), textcoords="offset points", xytext=(7, 5), fontsize=9)
    line = [points[name] for name in front]
    axes.plot([x for x, _ in line], [y for _, y in line], color="#f58518", linewidth=1, alpha=0.6, zorder=2)
    axes.set_xlabel("frames/s of the whole path")
    axes.set_ylabel("AP")
    axes.margins(0.2)
    axes.grid(alpha=0.3)
    return _svg(figure)


def curve_chart(curves: Mapping[str, Mapping[float, float]], *, x_label: str, y_label: str) -> str:
    """A curve a name through its points, y by x; y is a share, from 0 to 1."""
    figure, axes = _figure(3.4)
    for name, points in curves.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9)
    return _svg(figure)


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of the points that no other beats in one coordinate without losing in the other, by the first."""
    front = [
        name
        for name, (x, y) in points.items()
        if not any((u >= x and v >= y) and (u > x or v > y) for u, v in points.values())
    ]
    return sorted(front, key=lambda name: points[name][0])


def _figure(height_inches: float) -> tuple[Figure, Axes]:
    keep_matplotlib_here()
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError('charts need matplotlib: pip install "streamdet[measure]"') from error
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
