"""Joined: rendered frames of several sources → one picture of them all, at a set rate, into another sink."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import cv2
import numpy as np

from pipeline.flow.stage import Sink
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.mosaic import Mosaic

SOURCE_ID = "mosaic"
"""Of the frames that are written."""

_STALE_SECONDS = 3.0  # after which a live source's last picture is dimmed
_EARLY_SECONDS = 0.001  # that a frame may come before it is due
_MOST_AHEAD_SECONDS = 5.0  # that one recorded source waits for another; it has lost its last frames


@dataclass(slots=True)
class _Tile:
    """What is known of a source."""

    first_seconds: float | None = None
    newest_seconds: float = -1.0  # since its first frame, of what has come
    waiting: deque[tuple[float, PixelArray]] = field(default_factory=deque)
    shown: PixelArray | None = None
    caption: str = ""


class Joined:
    """Shows each source in a tile of its own, and writes the whole to another sink, which it closes.

    Recorded sources are joined by their media times, which all begin with 0: every picture has of each source what was
    on at that moment, whichever came first. Of live sources it has the newest picture. The last picture of a source
    that has ended, or of a live one that has been silent for 3 s, is dimmed, and its caption says so.

    sink: takes the pictures; its frames have media times, and for live sources those at which they were captured.
    sizes_wh: of each source's pictures by its name, in the order of the tiles; None: not known.
    most_wh: the whole becomes no larger. frames_per_second: of what is written.
    end_seconds: the time of the last frame of a recorded source that has ended; None: it goes on.
    """

    def __init__(
        self,
        sink: Sink[RenderedFrame],
        *,
        sizes_wh: Mapping[str, tuple[int, int] | None],
        most_wh: tuple[int, int],
        frames_per_second: float,
        is_live: bool,
        end_seconds: Callable[[str], float | None] = lambda name: None,
    ) -> None:
        self.sink = sink
        self._mosaic = Mosaic(list(sizes_wh), list(sizes_wh.values()), most_wh=most_wh)
        self._captions = short_captions(list(sizes_wh))
        self._tiles = {name: _Tile() for name in sizes_wh}
        self._frames_per_second, self._is_live, self._end_seconds = frames_per_second, is_live, end_seconds
        self._num_written = 0
        self._next_due_seconds = 0.0  # of live sources
        self._is_closed = self._is_broken = False
        for name, caption in self._captions.items():
            self._mosaic.caption(name, caption)

    def write(self, item: RenderedFrame) -> None:
        """Take a frame, and write the pictures that are complete with it. Raises what the sink raises."""
        tile = self._tiles[item.result.frame.source_id]
        pixels = self._shrunk(item.pixels)
        if self._is_live:
            self._show_newest(item, tile, pixels)
            return
        pts_seconds = item.result.frame.pts_seconds
        tile.first_seconds = pts_seconds if tile.first_seconds is None else tile.first_seconds
        tile.newest_seconds = max(tile.newest_seconds, pts_seconds - tile.first_seconds)
        tile.waiting.append((tile.newest_seconds, pixels))
        while self._is_complete(self._due_seconds):
            self._write_due()

    def close(self) -> None:
        """Write what is left, and close the sink. May be called more than once."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            while not self._is_broken and any(tile.waiting for tile in self._tiles.values()):
                self._write_due()
        finally:
            self.sink.close()

    @property
    def _due_seconds(self) -> float:
        return self._num_written / self._frames_per_second

    def _is_complete(self, seconds: float) -> bool:
        """Whether every recorded source has come to a moment, has ended, or is not to be waited for any longer."""
        newest_seconds = max(tile.newest_seconds for tile in self._tiles.values())
        if newest_seconds < seconds:
            return False
        if newest_seconds > seconds + _MOST_AHEAD_SECONDS:
            return True
        return all(tile.newest_seconds >= seconds or self._has_ended(name) for name, tile in self._tiles.items())

    def _has_ended(self, name: str) -> bool:
        last_seconds = self._end_seconds(name)
        return last_seconds is not None and self._tiles[name].newest_seconds >= last_seconds - 1e-6

    def _write_due(self) -> None:
        """Write the picture of the moment that is due."""
        seconds = self._due_seconds
        for name, tile in self._tiles.items():
            pixels = None
            while tile.waiting and tile.waiting[0][0] <= seconds + 1e-6:
                _, pixels = tile.waiting.popleft()
            if pixels is not None:
                self._show(name, tile, pixels)
            elif not tile.waiting and self._has_ended(name):
                self._dim(name, tile, "ended")
        self._write(pts_seconds=seconds, captured_at_seconds=seconds)

    def _show_newest(self, item: RenderedFrame, tile: _Tile, pixels: PixelArray) -> None:
        frame = item.result.frame
        now = frame.captured_at_seconds
        tile.newest_seconds = now
        self._show(frame.source_id, tile, pixels)
        if self._num_written and now < self._next_due_seconds - _EARLY_SECONDS:
            return
        period_seconds = 1 / self._frames_per_second
        # From when it was due, not from now, so that the rate is kept; after a pause it begins anew.
        is_on_time = self._num_written > 0 and now - self._next_due_seconds < period_seconds
        self._next_due_seconds = (self._next_due_seconds if is_on_time else now) + period_seconds
        for name, other in self._tiles.items():
            if other.shown is not None and now - other.newest_seconds > _STALE_SECONDS:
                self._dim(name, other, f"no picture for {now - other.newest_seconds:.0f} s")
        self._write(pts_seconds=now, captured_at_seconds=now)

    def _show(self, name: str, tile: _Tile, pixels: PixelArray) -> None:
        tile.shown, tile.caption = pixels, self._captions[name]
        self._mosaic.put(name, pixels, caption=tile.caption)

    def _dim(self, name: str, tile: _Tile, why: str) -> None:
        caption = f"{self._captions[name]}: {why}"
        if tile.caption != caption and tile.shown is not None:
            tile.caption = caption
            self._mosaic.put(name, tile.shown // 3, caption=caption)

    def _write(self, *, pts_seconds: float, captured_at_seconds: float) -> None:
        pixels = self._mosaic.pixels.copy()  # the sink may keep it
        frame = Frame.from_pixels(
            pixels,
            source_id=SOURCE_ID,
            index=self._num_written,
            pts_seconds=pts_seconds,
            captured_at_seconds=captured_at_seconds,
        )
        self._num_written += 1
        try:
            self.sink.write(RenderedFrame(Result(frame, Detections.empty(), ()), pixels))
        except BaseException:
            self._is_broken = True  # nothing more is to be written to it at the end
            raise

    def _shrunk(self, pixels: PixelArray) -> PixelArray:
        """The picture in the size of its tile, which is what is kept of it."""
        box = Letterbox.fit((pixels.shape[1], pixels.shape[0]), self._mosaic.grid.tile_wh, "letterbox-center")
        if box.content_wh[0] >= pixels.shape[1]:
            return pixels
        return np.asarray(cv2.resize(pixels, box.content_wh, interpolation=cv2.INTER_AREA), np.uint8)


def short_captions(source_ids: Sequence[str]) -> dict[str, str]:
    """What each source is called in its tile: a file without its folders, where no two are called alike.

    >>> short_captions(["clips/a.mp4", "b.mp4"])
    {'clips/a.mp4': 'a.mp4', 'b.mp4': 'b.mp4'}
    """
    names = [source_id if ":" in source_id else PurePath(source_id).name or source_id for source_id in source_ids]
    are_told_apart = len(set(names)) == len(names)
    return dict(zip(source_ids, names if are_told_apart else source_ids, strict=True))
