"""Display: a title and BGR pixels → a window on the screen, or the reason why there can be none.

To be used in the main thread only.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import cv2

from pipeline.errors import SinkError
from pipeline.picture.frame import PixelArray

_LARGEST_WH = (1600, 900)  # a larger picture is shown smaller, where the screen's size is not known
_SHARE_OF_SCREEN = 0.9  # the rest is for the frame of the window, and bars of the desktop


def has_display() -> bool:
    """Whether this process could show a window."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_window(title: str, *, advice: str) -> None:
    """Open an empty window. Raises SinkError, which ends in the advice, where no window can be shown."""
    if not has_display():
        raise SinkError(f"there is no display to show a window on; {advice}")
    if sys.platform.startswith("linux") and not _reaches_x_server():
        raise SinkError(
            f"no window can be shown, because the display {os.environ.get('DISPLAY', '')!r} cannot be reached; {advice}"
        )
    loaded = list(sys.modules)  # in the order in which they were imported
    if sys.platform.startswith("linux") and "av" in loaded and loaded.index("av") < loaded.index("cv2"):
        # See pipeline/sinks/__init__.py; better an error than a program that hangs.
        raise SinkError("a window would hang, because av was imported before OpenCV: import cv2 first")
    # Qt looks for fonts, of which this window needs none, and complains on stderr where their folder is missing.
    os.environ["QT_QPA_FONTDIR"] = str(Path(cv2.__file__).parent)
    try:
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    except cv2.error as error:
        reason = " ".join(str(error).split())[:120]
        raise SinkError(
            f"no window can be shown; is the display reachable, and OpenCV not a headless build? {advice} ({reason})"
        ) from error


def fit_window(title: str, size_wh: tuple[int, int]) -> None:
    """Make an open window as large as a picture, or as the screen allows."""
    scale = min(1.0, *(most / side for most, side in zip(largest_window_wh(), size_wh, strict=True)))
    cv2.resizeWindow(title, *(max(1, round(side * scale)) for side in size_wh))


def largest_window_wh() -> tuple[int, int]:
    """The most that a window takes of the screen, in pixels. To be asked while a window is open."""
    known_wh = screen_wh() if sys.platform.startswith("linux") else None
    if known_wh is None:
        return _LARGEST_WH
    return int(known_wh[0] * _SHARE_OF_SCREEN), int(known_wh[1] * _SHARE_OF_SCREEN)


def screen_wh() -> tuple[int, int] | None:
    """Width and height of the X screen in pixels; None: not known."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return None
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XDisplayWidth.argtypes = x11.XDisplayHeight.argtypes = [ctypes.c_void_p, ctypes.c_int]
    x11.XDefaultScreen.argtypes = x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    display = x11.XOpenDisplay(None)
    if display is None:
        return None
    try:
        number = x11.XDefaultScreen(display)
        return x11.XDisplayWidth(display, number), x11.XDisplayHeight(display, number)
    finally:
        x11.XCloseDisplay(display)  # the window that is open by now keeps the server up


def fill_screen(title: str, *, is_full: bool) -> None:
    """Let a window fill the screen, or end that."""
    cv2.setWindowProperty(title, cv2.WND_PROP_FULLSCREEN, cv2.WINDOW_FULLSCREEN if is_full else cv2.WINDOW_NORMAL)


def is_window_visible(title: str) -> bool:
    """Whether a window is open still."""
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:
        return False  # Qt's answer once its last window was closed


def close_window(title: str) -> None:
    """Close a window, unless the person has."""
    try:
        cv2.destroyWindow(title)
    except cv2.error:
        pass


def show_until_key(pixels: PixelArray, title: str, *, advice: str) -> None:
    """Show uint8 [H, W, 3] BGR until a key is pressed or the window closed. Raises SinkError as `open_window` does."""
    open_window(title, advice=advice)
    fit_window(title, (pixels.shape[1], pixels.shape[0]))
    cv2.imshow(title, pixels)
    while cv2.waitKey(50) == -1 and is_window_visible(title):
        pass
    close_window(title)


def _reaches_x_server() -> bool:
    """Whether an X server answers. OpenCV's Qt does not raise where none does: it aborts the whole process."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return True  # not known; most probably there is one
    x11.XOpenDisplay.restype = ctypes.c_void_p
    # Left open: a server without a window manager starts over when its only client leaves, and Qt would hang on that.
    return x11.XOpenDisplay(None) is not None
