"""How does a result become a picture with everything drawn on it?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pipeline.picture.detections import RenderedFrame, Result
from pipeline.picture.drawing import draw_result


class Render:
    """Draws boxes, labels and an overlay on a copy of the frame.

    overlay: the lines to write over a picture's top left.
    """

    def __init__(
        self,
        *,
        overlay: Callable[[Result], Sequence[str]] | None = None,
        labels: bool = True,
        scores: bool = True,
    ) -> None:
        self._overlay = overlay
        self._labels = labels
        self._scores = scores

    def process(self, result: Result) -> Iterable[RenderedFrame]:
        """One RenderedFrame."""
        canvas = result.frame.picture.copy_pixels()
        lines = self._overlay(result) if self._overlay is not None else ()
        draw_result(canvas, result, labels=self._labels, scores=self._scores, overlay=lines)
        return (RenderedFrame(result, canvas),)

    def drain(self) -> Iterable[RenderedFrame]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""
