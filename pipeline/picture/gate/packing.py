"""Packing: the changed parts of a frame, as a network would see it → one smaller image with all of them, and back.

Nothing is scaled: a part has the very pixels that it has in the letterboxed frame. All corners lie on multiples of the
network's coarsest stride, so that each cell of the network sees what it would see in the frame, but for what is beyond
the part's edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.picture.boxes import FloatArray
from pipeline.picture.candidates import Candidates
from pipeline.picture.gate.change import Cells
from pipeline.picture.gate.regions import regions_of
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.network_shape import STRIDE
from pipeline.picture.tiling import Tile

_LEAST_SIDE = 2 * STRIDE  # of a part, network pixels
_PADDING = STRIDE // 2  # around what has changed, at least

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a letterboxed frame, in network pixels, and where its left top is in the packed image."""

    window: Tile
    left: int
    top: int

    @property
    def shift_xy(self) -> tuple[int, int]:
        """From the packed image to the letterboxed frame."""
        return self.window.left - self.left, self.window.top - self.top


@dataclass(frozen=True, slots=True)
class Packing:
    """The parts of one frame in an image of `canvas_wh`."""

    canvas_wh: Size
    parts: tuple[Part, ...]
    letterbox: Letterbox  # of the whole frame

    @property
    def regions_xyxy(self) -> FloatArray:
        """The parts [R, 4] in pixels of the frame, clipped to it."""
        windows = [(part.window.left, part.window.top, part.window.right, part.window.bottom) for part in self.parts]
        return self.letterbox.boxes_to_source(np.array(windows, np.float32).reshape(-1, 4))

    def letterboxed(self, candidates: Candidates) -> Candidates:
        """Candidates in the packed image, in pixels of the letterboxed frame; those of no part are left out.

        A candidate belongs to the part in which its middle lies, and ends where the part does.
        """
        boxes = candidates.boxes_xyxy
        middles = np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2, np.float32)  # [M, 2]
        together = [_moved(candidates, part, _is_in(middles, part)) for part in self.parts]
        return _concatenated(together, candidates)


@dataclass(frozen=True, slots=True)
class Packer:
    """Finds the smallest image for the changed parts of a frame, apart or together.

    canvases_wh: those that there are, in any order.
    """

    network_wh: Size
    canvases_wh: tuple[Size, ...]

    def pack(self, cells: Cells, letterbox: Letterbox, objects_xyxy: FloatArray) -> Packing | None:
        """The changed cells [h, w] of a frame, and all of each object [N, 4] that they touch, in pixels of the frame.

        None where that needs an image as large as the whole frame does.
        """
        content = letterbox.content_wh
        scale = np.tile(np.array(letterbox.scale_xy, np.float32), 2)
        regions = regions_of(
            cells, content, objects_xyxy=objects_xyxy * scale, least_side=_LEAST_SIDE, padding=_PADDING
        )
        windows = _distinct([self._window(region, letterbox) for region in regions])
        for canvas_wh in sorted(self.canvases_wh, key=lambda size_wh: size_wh[0] * size_wh[1]):
            for option in (
                *([windows] if len(windows) > 1 else []),
                [self._filling(_union(windows), canvas_wh, letterbox)],
            ):
                corners = placed([window.size_wh for window in option], canvas_wh)
                if corners is not None:
                    parts = (Part(window, *corner) for window, corner in zip(option, corners, strict=True))
                    return Packing(canvas_wh, tuple(parts), letterbox)
        return None

    def _filling(self, window: Tile, canvas_wh: Size, letterbox: Letterbox) -> Tile:
        """A window as large as the canvas, as far as the picture goes: what is seen around an object costs nothing."""
        left, right = _widened(
            (window.left, window.right), canvas_wh[0], letterbox.pad_left, letterbox.content_wh[0], self.network_wh[0]
        )
        top, bottom = _widened(
            (window.top, window.bottom), canvas_wh[1], letterbox.pad_top, letterbox.content_wh[1], self.network_wh[1]
        )
        return Tile(left, top, right, bottom, self.network_wh)

    def _window(self, region: Tile, letterbox: Letterbox) -> Tile:
        """A region of the content, in pixels of the network, out to the next multiples of the stride."""
        left, top = region.left + letterbox.pad_left, region.top + letterbox.pad_top
        right, bottom = region.right + letterbox.pad_left, region.bottom + letterbox.pad_top
        width, height = self.network_wh
        return Tile(
            left // STRIDE * STRIDE,
            top // STRIDE * STRIDE,
            min(width, -(-right // STRIDE) * STRIDE),
            min(height, -(-bottom // STRIDE) * STRIDE),
            self.network_wh,
        )


def placed(sizes_wh: Sequence[Size], canvas_wh: Size) -> list[tuple[int, int]] | None:
    """The left top of each rectangle in a canvas, a stride apart from the others; None where they do not fit.

    All on multiples of the stride, the largest first, each as far up and then left as it goes.
    """
    num_across, num_down = canvas_wh[0] // STRIDE, canvas_wh[1] // STRIDE
    is_taken = np.zeros((num_down + 1, num_across + 1), np.bool_)  # with room for the gap behind the last
    corners: dict[int, tuple[int, int]] = {}
    for index in sorted(range(len(sizes_wh)), key=lambda index: -sizes_wh[index][0] * sizes_wh[index][1]):
        across, down = (-(-side // STRIDE) for side in sizes_wh[index])
        corner = next(
            (
                (column, row)
                for row in range(num_down - down + 1)
                for column in range(num_across - across + 1)
                if not is_taken[row : row + down + 1, column : column + across + 1].any()
            ),
            None,
        )
        if corner is None:
            return None
        column, row = corner
        is_taken[max(0, row) : row + down + 1, column : column + across + 1] = True
        corners[index] = column * STRIDE, row * STRIDE
    return [corners[index] for index in range(len(sizes_wh))]


def _widened(span: tuple[int, int], size: int, pad: int, length: float, limit: int) -> tuple[int, int]:
    """A span that is as long as a canvas, with the old one in its middle, where the picture goes on on both sides.

    pad, length: where the picture begins, and how long it is; limit: of the network. All in multiples of the stride.
    """
    first, last = pad // STRIDE * STRIDE, min(limit, -int(-(pad + length) // STRIDE) * STRIDE)
    begin, end = min(span[0], first), max(span[1], last)  # the picture, with what of the span is beyond it
    spare = max(0, min(size, end - begin) - (span[1] - span[0]))
    left = max(begin, min(span[0] - spare // 2 // STRIDE * STRIDE, end - (span[1] - span[0]) - spare))
    return left, left + (span[1] - span[0]) + spare


def _distinct(windows: Sequence[Tile]) -> list[Tile]:
    """Windows without an overlap, which the stride may have made: those that overlap become one."""
    rest = list(windows)
    index = 0
    while index < len(rest):
        other = next((j for j in range(len(rest)) if j != index and _overlap(rest[index], rest[j])), None)
        if other is None:
            index += 1
            continue
        rest = [_union((rest[index], rest[other])), *(tile for j, tile in enumerate(rest) if j not in (index, other))]
        index = 0
    return rest


def _union(windows: Sequence[Tile]) -> Tile:
    """The smallest rectangle that contains all of at least one."""
    return Tile(
        min(window.left for window in windows),
        min(window.top for window in windows),
        max(window.right for window in windows),
        max(window.bottom for window in windows),
        windows[0].picture_wh,
    )


def _overlap(one: Tile, two: Tile) -> bool:
    return one.left < two.right and two.left < one.right and one.top < two.bottom and two.top < one.bottom


def _is_in(middles: FloatArray, part: Part) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which points [M, 2] of the packed image lie in a part."""
    width, height = part.window.size_wh
    begin, end = np.array((part.left, part.top)), np.array((part.left + width, part.top + height))
    return np.asarray(((middles >= begin) & (middles < end)).all(axis=1), np.bool_)


def _moved(candidates: Candidates, part: Part, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Candidates:
    """The chosen candidates [M], where the part is in the letterboxed frame."""
    own, shift = candidates.select(chosen), np.array(part.shift_xy, np.float32)
    window = part.window
    low, high = np.array((window.left, window.top) * 2), np.array((window.right, window.bottom) * 2)
    boxes = np.clip(own.boxes_xyxy + np.tile(shift, 2), low, high)
    return replace(
        own,
        boxes_xyxy=np.asarray(boxes, np.float32),
        keypoints=None if own.keypoints is None else own.keypoints + np.append(shift, np.float32(0)),
        corners=None if own.corners is None else own.corners + shift,
    )


def _concatenated(parts: Sequence[Candidates], like: Candidates) -> Candidates:
    def together(name: str) -> FloatArray | None:
        arrays = [getattr(part, name) for part in parts]
        return None if getattr(like, name) is None else np.concatenate(arrays)

    class_ids = np.concatenate([part.class_ids for part in parts])
    named = {name: together(name) for name in ("boxes_xyxy", "scores", "box_masks", "keypoints", "corners")}
    boxes, scores = named.pop("boxes_xyxy"), named.pop("scores")
    assert boxes is not None
    assert scores is not None
    return Candidates(boxes, scores, class_ids, **named)
