"""Window: rendered frames of one source or several → one window on the display, with keys to stop, pause and save."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2

from pipeline.errors import SinkError
from pipeline.picture.detections import RenderedFrame, Result
from pipeline.picture.display import (
    close_window,
    fill_screen,
    fit_window,
    is_window_visible,
    largest_window_wh,
    open_window,
)
from pipeline.picture.display import has_display as has_display
from pipeline.picture.drawing import Side, draw_lines, drawable
from pipeline.picture.frame import PixelArray
from pipeline.picture.mosaic import Mosaic
from pipeline.sinks.picture_names import PictureNames

logger = logging.getLogger(__name__)

_ADVICE = "use --no-show, and -o or --jsonl for the result"
_SHOWN_EVERY_SECONDS = 1 / 60
_HELP_SECONDS = 6.0
_STALLED_SECONDS = 2.0  # after so long without a picture its age is said
_HELP = "q quit   space pause   s save   f full screen   h help"


class Window:
    """Shows frames: of one source as they are, of several as a mosaic of tiles, each with its source's name.

    q, Esc or closing it ends the run, space pauses, s saves the picture of each source as PNG, f fills the screen, h
    tells the keys, as the first seconds do. A source that stalls keeps its last picture, with its age.

    To be created and used in the main thread only. Raises SinkError where no window can be shown.

    sizes_wh: of the pictures of each source, by source_id; None: not known. More than one make a mosaic, as do sources
    that come later. tiles: which of them shows a source that is called otherwise, such as a file of a folder.
    overlay: the lines to write over each picture. clock: monotonic seconds.
    """

    def __init__(
        self,
        title: str,
        *,
        sizes_wh: Mapping[str, tuple[int, int] | None] | None = None,
        tiles: Mapping[str, str] | None = None,
        overlay: Callable[[Result], Sequence[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sizes_wh = dict(sizes_wh or {})
        self._title = drawable(f"{title} {next(iter(self._sizes_wh))}" if len(self._sizes_wh) == 1 else title)
        self._tiles = dict(tiles or {})
        self._overlay = overlay
        self._clock = clock
        self.wants_stop = False
        self.is_paused = False
        self._last: dict[str, RenderedFrame] = {}  # by source_id
        self._came_at_seconds: dict[str, float] = {}
        self._began_at_seconds: float | None = None  # when the first picture was shown
        self._shown_at_seconds = 0.0
        self._shows_help = False
        self._is_full_screen = False
        self._needs_showing = False
        open_window(self._title, advice=_ADVICE)
        self._is_open = True
        self._captions: dict[str, str] = {}
        self._mosaic: Mosaic | None = None
        self._lay_out()

    def write(self, item: RenderedFrame) -> None:
        """Take a frame to show. While paused, the picture stays, and the frame is lost."""
        if self.is_paused or self.wants_stop:
            return
        now, source_id = self._clock(), self._tile_of(item)
        is_new = source_id not in self._sizes_wh
        if is_new:
            self._sizes_wh[source_id] = item.size_wh
            self._lay_out()
        if is_new or self._began_at_seconds is None:
            fit_window(self._title, item.size_wh if self._mosaic is None else self._mosaic.grid.size_wh)
        if self._began_at_seconds is None:
            self._began_at_seconds = now
        self._last[source_id], self._came_at_seconds[source_id] = item, now
        if self._mosaic is not None:
            self._put(self._mosaic, item)
        self._needs_showing = True

    def poll(self) -> None:
        """Show what is new, let the window redraw itself, and read its keys."""
        now = self._clock()
        if self._last and now - self._shown_at_seconds >= _SHOWN_EVERY_SECONDS:
            self._show(now)
        self._press(cv2.waitKey(1) & 0xFF)
        if self._began_at_seconds is not None and not is_window_visible(self._title):
            self.wants_stop = True

    def save(self) -> list[Path]:
        """Save the picture of each source in the current folder, in full size. Returns the paths.

        Raises SinkError where they cannot be written.
        """
        names = PictureNames([*self._tiles, *(name for name in self._sizes_wh if name not in self._tiles)])
        paths = [_save(item, names) for item in self._last.values()]
        for path in paths:
            logger.warning("saved %s", path)
        return paths

    def close(self) -> None:
        """Close the window. May be called more than once."""
        if self._is_open:
            self._is_open = False
            close_window(self._title)

    def _lay_out(self) -> None:
        """Name the sources, and where there are several, give them tiles, with the pictures that there are."""
        self._captions = _captions(list(self._sizes_wh))
        if len(self._sizes_wh) < 2:
            return
        self._mosaic = Mosaic(list(self._sizes_wh), list(self._sizes_wh.values()), most_wh=largest_window_wh())
        for source_id, caption in self._captions.items():
            self._mosaic.caption(source_id, caption)
        for item in self._last.values():
            self._put(self._mosaic, item)

    def _put(self, mosaic: Mosaic, item: RenderedFrame) -> None:
        source_id = self._tile_of(item)
        mosaic.put(source_id, item.pixels, caption=self._captions[source_id], lines=self._lines_of(item))

    def _tile_of(self, item: RenderedFrame) -> str:
        source_id = item.result.frame.source_id
        return self._tiles.get(source_id, source_id)

    def _press(self, key: int) -> None:
        if key in (ord("q"), 27):
            self.wants_stop = True
        elif key == ord(" "):
            self.is_paused = not self.is_paused
        elif key == ord("s"):
            self.save()
        elif key == ord("h"):
            self._shows_help = not self._shows_help
        elif key == ord("f"):
            self._is_full_screen = not self._is_full_screen
            fill_screen(self._title, is_full=self._is_full_screen)
        self._needs_showing = self._needs_showing or key != 0xFF

    def _show(self, now: float) -> None:
        hint = self._hint(now)
        is_old = now - self._shown_at_seconds >= 1.0  # ages and the hint change though no picture comes
        if not self._needs_showing and not is_old:
            return
        self._needs_showing, self._shown_at_seconds = False, now
        if self._mosaic is not None and not self.is_paused:
            self._tell_ages(self._mosaic, now)
        cv2.imshow(self._title, self._picture(hint))

    def _picture(self, hint: list[str]) -> PixelArray:
        """What is shown; a copy, where something is written on it that is not to be saved or recorded."""
        if self._mosaic is not None:
            return _with_lines(self._mosaic.pixels, hint, at="centre")  # below are the names
        (item,) = self._last.values()
        return _with_lines(_with_lines(item.pixels, self._lines_of(item), at="top"), hint, at="bottom")

    def _hint(self, now: float) -> list[str]:
        is_new = self._began_at_seconds is not None and now - self._began_at_seconds < _HELP_SECONDS
        paused = ["paused, space goes on"] if self.is_paused else []
        return paused + ([_HELP] if is_new or self._shows_help else [])

    def _tell_ages(self, mosaic: Mosaic, now: float) -> None:
        for source_id, came_at_seconds in self._came_at_seconds.items():
            age_seconds = now - came_at_seconds
            if age_seconds >= _STALLED_SECONDS:
                mosaic.caption(source_id, f"{self._captions[source_id]}, {age_seconds:.0f} s ago")

    def _lines_of(self, item: RenderedFrame) -> Sequence[str]:
        return () if self._overlay is None else self._overlay(item.result)


def _captions(source_ids: Sequence[str]) -> dict[str, str]:
    """What tiles call their sources: files by their names, where no two have the same."""
    names = [source_id if "://" in source_id else Path(source_id).name for source_id in source_ids]
    is_clear = len(set(names)) == len(names)
    return dict(zip(source_ids, names if is_clear else source_ids, strict=True))


def _with_lines(pixels: PixelArray, lines: Sequence[str], *, at: Side) -> PixelArray:
    """The same picture, or where there are lines, a copy with them."""
    if not lines:
        return pixels
    pixels = pixels.copy()
    draw_lines(pixels, lines, at=at)
    return pixels


def _save(item: RenderedFrame, names: PictureNames) -> Path:
    first = path = Path(names.name_of(item.result.frame, suffix=".png"))
    number = 2
    while path.exists():  # it may be a file that the run reads
        path, number = first.with_stem(f"{first.stem}-{number}"), number + 1
    if not cv2.imwrite(str(path), item.pixels):
        raise SinkError(f"{path.absolute()}: the picture cannot be written there")
    return path
