"""Count stage: the tracked results of one source → the same with events and with what its lines and zones counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from pipeline.picture.counting.counter import Counter, CounterOptions
from pipeline.picture.counting.homography import Homography
from pipeline.picture.counting.shapes import Line, Zone
from pipeline.picture.detections import Result
from pipeline.picture.frame import Frame


class Shapes(Protocol):
    """The lines and zones of a source at one moment; others are another object."""

    @property
    def lines(self) -> Sequence[Line]: ...

    @property
    def zones(self) -> Sequence[Zone]: ...


class Count:
    """Counts the objects of one source, whose results come in order, each with track ids.

    unix_seconds: the wall time of a frame; None where it is not known. shapes: what lines and zones there are now, read
    at each frame, instead of those that it begins with. The other arguments are those of `Counter`.
    While there is nothing to count at, results go on as they are.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        zones: Sequence[Zone],
        options: CounterOptions | None = None,
        *,
        homography: Homography | None = None,
        unix_seconds: Callable[[Frame], float | None] = lambda frame: None,
        shapes: Callable[[], Shapes] | None = None,
    ) -> None:
        self._result: Result | None = None
        self._options, self._homography, self._unix_seconds = options, homography, unix_seconds
        self._shapes, self._newest = shapes, None if shapes is None else shapes()
        self._counter = self._counter_of(lines, zones)

    def process(self, result: Result) -> Iterable[Result]:
        """One Result."""
        self._result = result
        self._take_shapes()
        if self._counter is None:
            return (result,)
        events, counts = self._counter.update(result.frame, result.detections)
        return (replace(result, events=events, counting=counts),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held: objects that are in a zone at the end have not left it."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _take_shapes(self) -> None:
        """Count at what there is to count at now."""
        newest = self._newest if self._shapes is None else self._shapes()
        if newest is None or newest is self._newest:
            return
        self._newest = newest
        has_some = bool(newest.lines or newest.zones or self._homography)
        if self._counter is not None and has_some:
            self._counter.reshape(newest.lines, newest.zones)
        else:
            self._counter = self._counter_of(newest.lines, newest.zones)

    def _counter_of(self, lines: Sequence[Line], zones: Sequence[Zone]) -> Counter | None:
        if not (lines or zones or self._homography):
            return None
        return Counter(
            lines,
            zones,
            self._options,
            homography=self._homography,
            class_name=self._class_name,
            unix_seconds=self._unix_seconds,
        )

    def _class_name(self, class_id: int) -> str:
        assert self._result is not None
        return self._result.class_name(class_id)
