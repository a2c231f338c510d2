"""Notebook: a picture and what was found in it → HTML for a cell, and the JPEG of a picture, or a cell of its own."""

from __future__ import annotations

import base64
import html
import sys
from typing import Any

import cv2
import numpy as np

from pipeline.picture.drawing import Drawable, drawable
from pipeline.picture.frame import PixelArray
from pipeline.picture.image_file import encoded

_LARGEST_SIDE = 960  # of a picture in a cell, in pixels: what is saved with the notebook stays small
_MOST_ROWS = 20
_COLUMNS = ("class", "score", "x1", "y1", "x2", "y2")


def in_notebook() -> bool:
    """Whether the program runs in the kernel of a notebook, where a picture can be shown in the page."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def show_in_cell(pixels: PixelArray, text: str) -> None:
    """Show a picture below the cell that runs; in a notebook only. text: for where there are no pictures."""
    display: Any = sys.modules["IPython"].display
    display.display({"image/jpeg": base64_of(jpeg_of(pixels)), "text/plain": text}, raw=True)


def html_of(result: Drawable, pixels: PixelArray, caption: str) -> str:
    """A picture, its caption and a table of the surest detections, as HTML that needs nothing beside it."""
    words = html.escape(caption)
    image = f'<img src="data:image/jpeg;base64,{base64_of(jpeg_of(pixels))}" alt="{words}" style="max-width: 100%">'
    return f"<div>{image}<p>{words}</p>{_table(result)}</div>"


def jpeg_of(pixels: PixelArray) -> bytes:
    """A picture as a JPEG of at most 960 pixels a side."""
    height, width = pixels.shape[:2]
    scale = _LARGEST_SIDE / max(width, height)
    if scale < 1:
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), np.uint8)  # [h, w, 3]
    return encoded(pixels, ".jpg", quality=90)


def base64_of(content: bytes) -> str:
    """Bytes as HTML and notebooks hold them."""
    return base64.b64encode(content).decode()


def _table(result: Drawable) -> str:
    """Nothing where nothing was found."""
    detections = result.detections
    surest = np.argsort(-detections.scores, kind="stable")
    if not len(surest):
        return ""
    rows = [_row("th", _COLUMNS)]
    for index in surest[:_MOST_ROWS].tolist():
        name = drawable(result.class_name(int(detections.class_ids[index])))
        corners = (f"{corner:.0f}" for corner in detections.boxes_xyxy[index].tolist())
        rows.append(_row("td", (name, f"{detections.scores[index]:.2f}", *corners)))
    left_out = len(surest) - _MOST_ROWS
    return f"<table>{''.join(rows)}</table>" + (f"<p>… and {left_out} more</p>" if left_out > 0 else "")


def _row(tag: str, cells: tuple[str, ...]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"
