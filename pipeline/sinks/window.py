"""Window: rendered frames → a window on the display, with keys to stop, pause and save."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from pathlib import Path

import cv2

from pipeline.errors import SinkError
from pipeline.picture.detections import RenderedFrame
from pipeline.picture.drawing import drawable
from pipeline.picture.frame import PixelArray
from pipeline.sinks.picture_names import PictureNames

logger = logging.getLogger(__name__)

_LARGEST_WH = (1600, 900)  # a larger picture is shown smaller


def has_display() -> bool:
    """Whether this process could show a window."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Window:
    """Shows frames. q, Esc or closing it ends the run, space pauses, s saves the picture as PNG.

    To be created and used in the main thread only. Raises SinkError where no window can be shown.
    """

    def __init__(self, title: str) -> None:
        self._title = drawable(title)
        self.wants_stop = False
        self.is_paused = False
        self._shown: RenderedFrame | None = None
        if not has_display():
            raise SinkError("there is no display to show a window on; use --no-show, and -o or --jsonl for the result")
        if sys.platform.startswith("linux") and not _reaches_x_server():
            raise SinkError(
                f"no window can be shown, because the display {os.environ.get('DISPLAY', '')!r} cannot be reached; "
                "use --no-show, and -o or --jsonl for the result"
            )
        loaded = list(sys.modules)  # in the order in which they were imported
        if sys.platform.startswith("linux") and "av" in loaded and loaded.index("av") < loaded.index("cv2"):
            # See pipeline/sinks/__init__.py; better an error than a program that hangs.
            raise SinkError("a window would hang, because av was imported before OpenCV: import cv2 first")
        # Qt looks for fonts, of which this window needs none, and complains on stderr where their folder is missing.
        os.environ["QT_QPA_FONTDIR"] = str(Path(cv2.__file__).parent)
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise SinkError(
                "no window can be shown; is the display reachable, and OpenCV not a headless build? Use --no-show "
                f"({' '.join(str(error).split())[:120]})"
            ) from error
        self._is_open = True

    def write(self, item: RenderedFrame) -> None:
        """Show a frame. While paused, the picture stays, and the frame is lost."""
        if self.is_paused or self.wants_stop:
            return
        pixels = item.pixels
        if self._shown is None:
            self._fit(pixels)
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
        if self._shown is not None and not self._is_visible():
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
            try:
                cv2.destroyWindow(self._title)
            except cv2.error:
                pass  # the person closed it

    def _is_visible(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:
            return False  # Qt's answer once its last window was closed

    def _fit(self, pixels: PixelArray) -> None:
        height, width = pixels.shape[:2]
        scale = min(1.0, _LARGEST_WH[0] / width, _LARGEST_WH[1] / height)
        cv2.resizeWindow(self._title, max(1, round(width * scale)), max(1, round(height * scale)))


def _reaches_x_server() -> bool:
    """Whether an X server answers. OpenCV's Qt does not raise where none does: it aborts the whole process."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return True  # not known; most probably there is one
    x11.XOpenDisplay.restype = ctypes.c_void_p
    # Left open: a server without a window manager starts over when its only client leaves, and Qt would hang on that.
    return x11.XOpenDisplay(None) is not None
