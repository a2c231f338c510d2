"""Idle stage: the gate of a source → the same, which tells the source after each frame whether it has changed."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.flow.stage import Stage
from pipeline.picture.frame import Frame
from pipeline.picture.gate.gate import Reason
from pipeline.sources.idle import Idle
from pipeline.stages.gate import CarriedFrame, GatedFrame

CALM_REASONS: frozenset[Reason] = frozenset({"nothing", "scan", "check"})
"""Why a frame is looked at, or not, in which nothing has changed."""


class TellsIdle:
    """A gate, and what its source needs to know of it."""

    def __init__(self, gate: Stage[Frame, GatedFrame | CarriedFrame], idle: Idle) -> None:
        self._gate, self._idle = gate, idle

    def process(self, frame: Frame) -> Iterable[GatedFrame | CarriedFrame]:
        """What the gate gives. Raises what it raises; the source then takes the frame for one that has changed."""
        is_calm = False
        try:
            items = list(self._gate.process(frame))
            looks = [item.frame.look if isinstance(item, CarriedFrame) else item.look for item in items]
            is_calm = all(look.reason in CALM_REASONS for look in looks)
        finally:
            self._idle.see(frame.picture, frame.pts_seconds, is_calm=is_calm)
        return items

    def drain(self) -> Iterable[GatedFrame | CarriedFrame]:
        """What the gate holds."""
        return self._gate.drain()

    def close(self) -> None:
        """Close the gate."""
        self._gate.close()
