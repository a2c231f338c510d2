"""Sheet: panels with pictures, boxes and curves → one image file, drawn with matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.cache_folder import keep_matplotlib_here
from pipeline.errors import MissingExtraError, SinkError, reason_of
from pipeline.picture.boxes import FloatArray
from pipeline.picture.frame import PixelArray
from pipeline.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#1f2933", "#9aa5b1"
BLUE, ORANGE, RED, GREEN = "#1d6fd1", "#e8894a", "#d64545", "#1f8a4c"


class Sheet:
    """A figure of rows × columns panels under a title. Raises MissingExtraError without matplotlib."""

    def __init__(self, rows: int, columns: int, *, title: str, panel_wh: tuple[float, float]) -> None:
        keep_matplotlib_here()
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError('pictures need matplotlib: pip install "streamdet[measure]"') from error
        size = (panel_wh[0] * columns, panel_wh[1] * rows + 0.5)
        self._figure = Figure(figsize=size, dpi=130, facecolor="white", layout="constrained")
        FigureCanvasAgg(self._figure)
        self._figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
        self._panels = self._figure.subplots(rows, columns, squeeze=False)

    def panel(self, row: int, column: int, *, caption: str) -> Axes:
        """An empty panel with a caption above it."""
        axes: Axes = self._panels[row][column]
        axes.set_title(caption, loc="left", fontsize=10.5, color=INK)
        axes.tick_params(colors=INK)
        for side in axes.spines.values():
            side.set_color(FAINT)
        return axes

    def picture(self, row: int, column: int, pixels: PixelArray, *, caption: str) -> Axes:
        """A panel with a picture uint8 [H, W, 3] BGR in it; its coordinates are pixels."""
        axes = self.panel(row, column, caption=caption)
        height, width = pixels.shape[:2]
        axes.imshow(pixels[:, :, ::-1], extent=(0, width, height, 0), interpolation="bilinear")
        axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
        return axes

    def leave_empty(self, row: int, column: int) -> None:
        """Show nothing in a panel."""
        self._panels[row][column].set_axis_off()

    def write(self, path: Path) -> None:
        """Write it as PNG or JPEG, as the suffix says. Raises SinkError if it cannot be written there."""
        content = io.BytesIO()
        is_png = path.suffix.lower() == ".png"
        self._figure.savefig(content, format="png" if is_png else "jpeg", pil_kwargs={} if is_png else {"quality": 88})
        try:
            write_whole(path, content.getvalue())
        except (OSError, ValueError) as error:
            raise SinkError(f"{path}: the picture cannot be written there: {reason_of(error)}") from error


def draw_boxes(
    axes: Axes, boxes_xyxy: FloatArray, colour: str, *, width: float = 1.6, dashed: bool = False, fill: float = 0.0
) -> None:
    """Boxes [N, 4] in a panel. fill: the opacity of their inside."""
    from matplotlib.patches import Rectangle

    for x1, y1, x2, y2 in boxes_xyxy.tolist():
        style = "--" if dashed else "-"
        axes.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, linewidth=width, edgecolor=colour, linestyle=style)
        )
        if fill:
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, color=colour, alpha=fill, linewidth=0))


def zoom(axes: Axes, boxes_xyxy: FloatArray, *, aspect: float = 1.0, margin: float = 0.3) -> None:
    """Show the part of a panel's picture around boxes [N, 4], N at least 1.

    aspect: of that part, width over height. It lies inside the picture where it fits.
    """
    low, high = boxes_xyxy[:, :2].min(axis=0), boxes_xyxy[:, 2:].max(axis=0)
    (x, y), (width, height) = (low + high) / 2, (1 + 2 * margin) * (high - low)
    width, height = max(width, height * aspect), max(height, width / aspect)
    picture_w, picture_h = max(axes.get_xlim()), max(axes.get_ylim())
    x = float(np.clip(x, width / 2, picture_w - width / 2)) if width < picture_w else picture_w / 2
    y = float(np.clip(y, height / 2, picture_h - height / 2)) if height < picture_h else picture_h / 2
    axes.set(xlim=(x - width / 2, x + width / 2), ylim=(y + height / 2, y - height / 2))
