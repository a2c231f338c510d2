"""Rendering stage: results → pictures with boxes, labels and an overlay drawn on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pipeline.picture.detections import RenderedFrame, Result
from pipeline.picture.drawing import draw_result
from pipeline.picture.i420 import I420, HasI420
from pipeline.picture.look import PLAIN, Look

if TYPE_CHECKING:
    from pipeline.picture.annotators import Annotators


class Render:
    """Draws boxes, labels and an overlay on a copy of the frame.

    overlay: the lines to write over a picture's top left.
    in_planes: draw on a video frame's planes, where it has some, because whoever comes next encodes them: a 1080p
    frame is then neither converted to BGR nor back. annotators: draw below all of it, of one source, and on BGR.
    """

    def __init__(
        self,
        *,
        overlay: Callable[[Result], Sequence[str]] | None = None,
        labels: bool = True,
        scores: bool = True,
        predicted: bool = True,
        boxes: bool = True,
        look: Look = PLAIN,
        in_planes: bool = False,
        annotators: Annotators | None = None,
    ) -> None:
        self._overlay = overlay
        self._labels = labels
        self._scores = scores
        self._predicted = predicted
        self._boxes = boxes
        self._look = look
        self._in_planes = in_planes and annotators is None
        self._annotators = annotators

    def process(self, result: Result) -> Iterable[RenderedFrame]:
        """One RenderedFrame."""
        picture = result.frame.picture
        planes = picture.copy_i420() if self._in_planes and isinstance(picture, HasI420) else None
        canvas = picture.copy_pixels() if planes is None else planes
        if self._annotators is not None and not isinstance(canvas, I420):
            self._annotators.draw(canvas, result)
        lines = self._overlay(result) if self._overlay is not None else ()
        draw_result(
            canvas,
            result,
            labels=self._labels,
            scores=self._scores,
            overlay=lines,
            predicted=self._predicted,
            boxes=self._boxes,
            look=self._look,
        )
        return (RenderedFrame(result, canvas),)

    def drain(self) -> Iterable[RenderedFrame]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""
