"""Overlay: statistics of a run → the lines over each picture, such as `FPS 30.0 · latency 12 ms · dropped 0`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pipeline.flow.ledger import FrameCounts
from pipeline.flow.running import RunStatistics
from pipeline.picture.detections import Result


class OverlayText:
    """The lines over a picture; renewed twice a second, because a snapshot of a run costs more than to draw it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines: dict[str, str] = {}
        self._line_of_all = "FPS –"
        self._due_at_seconds = 0.0
        self.statistics: Callable[[], RunStatistics] | None = None

    def __call__(self, result: Result) -> Sequence[str]:
        if result.frame.image is not None:  # a photograph has no rate
            return ()
        now = self._clock()
        if self.statistics is not None and now >= self._due_at_seconds:
            statistics = self.statistics()
            by_source = statistics.frames_by_source
            is_begun = all(counts.recent_delivered_rate is not None for counts in by_source.values())
            self._due_at_seconds = now + (0.5 if is_begun else 0.05)
            self._lines = {source_id: _overlay_line(counts) for source_id, counts in by_source.items()}
            self._line_of_all = _overlay_line(statistics.frames)
        return (self._lines.get(result.frame.source_id, self._line_of_all),)  # a file of several bears its own name


def _overlay_line(counts: FrameCounts) -> str:
    rate, latency = counts.recent_delivered_rate, counts.latency.p50
    return " · ".join(
        (
            "FPS –" if rate is None else f"FPS {rate:.1f}",
            "latency –" if latency is None else f"latency {1000 * latency:.0f} ms",
            f"dropped {counts.dropped}",
        )
    )
