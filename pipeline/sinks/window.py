"""Window: rendered frames → a window on the display, with keys to stop, pause and save."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2

from pipeline.errors import SinkError
from pipeline.picture.detections import RenderedFrame
from pipeline.picture.display import close_window, fit_window, is_window_visible, open_window
from pipeline.picture.display import has_display as has_display
from pipeline.picture.drawing import drawable
from pipeline.sinks.picture_names import PictureNames

logger = logging.getLogger(__name__)

_ADVICE = "use --no-show, and -o or --jsonl for the result"


class Window:
    """Shows frames. q, Esc or closing it ends the run, space pauses, s saves the picture as PNG.

    To be created and used in the main thread only. Raises SinkError where no window can be shown.
    """

    def __init__(self, title: str) -> None:
        self._title = drawable(title)
        self.wants_stop = False
        self.is_paused = False
        self._shown: RenderedFrame | None = None
        open_window(self._title, advice=_ADVICE)
        self._is_open = True

    def write(self, item: RenderedFrame) -> None:
        """Show a frame. While paused, the picture stays, and the frame is lost."""
        if self.is_paused or self.wants_stop:
            return
        pixels = item.pixels
        if self._shown is None:
            fit_window(self._title, item.size_wh)
        self._shown = item
        cv2.imshow(self._title, pixels)

    def poll(self) -> None:
        """Let the window redraw itself, and read its keys."""
        key = cv2.waitKey(1) & 0xFF
        if key in (ord("q"), 27):
            self.wants_stop = True
        elif key == ord(" "):
            self.is_paused = not self.is_paused
        elif key == ord("s"):
            self.save()
        if self._shown is not None and not is_window_visible(self._title):
            self.wants_stop = True

    def save(self) -> Path | None:
        """Save the picture in the current folder. Returns its path; None if nothing was shown yet."""
        if self._shown is None:
            return None
        first = path = Path(PictureNames().name_of(self._shown.result.frame, suffix=".png"))
        number = 2
        while path.exists():  # it may be a file that the run reads
            path, number = first.with_stem(f"{first.stem}-{number}"), number + 1
        if not cv2.imwrite(str(path), self._shown.pixels):
            raise SinkError(f"{path.absolute()}: the picture cannot be written there")
        logger.warning("saved %s", path)
        return path

    def close(self) -> None:
        """Close the window. May be called more than once."""
        if self._is_open:
            self._is_open = False
            close_window(self._title)
