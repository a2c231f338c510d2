"""Count stage: the tracked results of one source → the same with events and with what its lines and zones counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pipeline.picture.counting.counter import Counter, CounterOptions
from pipeline.picture.counting.homography import Homography
from pipeline.picture.counting.shapes import Line, Zone
from pipeline.picture.detections import Result
from pipeline.picture.frame import Frame


class Count:
    """Counts the objects of one source, whose results come in order, each with track ids.

    unix_seconds: the wall time of a frame; None where it is not known. The other arguments are those of `Counter`.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        zones: Sequence[Zone],
        options: CounterOptions | None = None,
        *,
        homography: Homography | None = None,
        unix_seconds: Callable[[Frame], float | None] = lambda frame: None,
    ) -> None:
        self._result: Result | None = None
        self._counter = Counter(
            lines, zones, options, homography=homography, class_name=self._class_name, unix_seconds=unix_seconds
        )

    def process(self, result: Result) -> Iterable[Result]:
        """One Result."""
        self._result = result
        events, counts = self._counter.update(result.frame, result.detections)
        return (replace(result, events=events, counting=counts),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held: objects that are in a zone at the end have not left it."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _class_name(self, class_id: int) -> str:
        assert self._result is not None
        return self._result.class_name(class_id)
