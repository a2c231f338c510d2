"""Health: snapshots of a run → the state of each source, and whether frames flow as they should.

A run is well while frames are delivered. It is not well

- before its first frame is delivered,
- where frames are captured and for 30 s none has ended, so that something is stuck,
- where no source has given a frame for longer than sources may be silent: 30 s, or for cameras as long as the run
  itself waits for them, which is `network.read_timeout_s` and `network.reconnect_s` together, if that is longer; where
  all are paused, or there is none yet, silence has no limit,
- where nobody has looked at the run for 30 s, because its main thread hangs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from pipeline.app.config import RunConfig
from pipeline.events import event
from pipeline.flow.running import RunStatistics

logger = logging.getLogger(__name__)

SourceState = Literal["connecting", "live", "silent", "paused", "ended"]

_SILENT_SECONDS = 10.0  # a source without frames for longer is called silent
_STUCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run is well, and why, in one line."""

    is_well: bool
    reason: str


def allowed_silence_seconds(config: RunConfig) -> float:
    """For how long no source needs to give a frame."""
    return max(_STUCK_SECONDS, config.network.read_timeout_s + config.network.reconnect_s)


class Health:
    """Judges a run by the snapshots that `observe` gets; may be asked from any thread."""

    def __init__(self, *, silence_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._silence_seconds, self._clock = silence_seconds, clock
        self._sources: dict[str, _SourceWatch] = {}
        self._captured, self._ended = _Counter(clock()), _Counter(clock())  # ended: but for those that were dropped
        self._waiting_since_seconds: float | None = None  # frames were captured, and none has ended
        self._num_delivered = 0
        self._observed_at_seconds = clock()

    def observe(
        self, statistics: RunStatistics, *, running: Collection[str], paused: Collection[str] = frozenset()
    ) -> None:
        """Take a snapshot. Changes of state are logged as events.

        running: the sources that have not ended. paused: those of them that were told to wait.
        """
        now = self._clock()
        frames = statistics.frames
        self._captured.see(frames.captured, now)
        self._ended.see(frames.captured - frames.in_flight - frames.dropped, now)
        if set(running) <= set(paused):
            self._captured.changed_at_seconds = now
        if self._ended.is_new:
            self._waiting_since_seconds = None
        elif self._captured.is_new and self._waiting_since_seconds is None:
            self._waiting_since_seconds = now
        self._num_delivered, self._observed_at_seconds = frames.delivered, now
        for name in {*statistics.frames_by_source, *running, *self._sources}:
            counts = statistics.frames_by_source.get(name)
            watch = self._sources.setdefault(name, _SourceWatch(name, now))
            rest: SourceState | None = "ended" if name not in running else "paused" if name in paused else None
            watch.see(0 if counts is None else counts.captured, now, rest=rest)

    def states(self) -> dict[str, SourceState]:
        """The state of each source."""
        return {name: watch.state for name, watch in dict(self._sources).items()}

    def verdict(self) -> Verdict:
        """Whether the run is well now."""
        now = self._clock()
        unseen, silent = now - self._observed_at_seconds, now - self._captured.changed_at_seconds
        stuck = 0.0 if self._waiting_since_seconds is None else now - self._waiting_since_seconds
        if unseen > _STUCK_SECONDS:
            return Verdict(False, f"the run has not answered for {unseen:.0f} s")
        if silent > self._silence_seconds:
            return Verdict(False, f"no source has given a frame for {silent:.0f} s")
        if stuck > _STUCK_SECONDS:
            return Verdict(False, f"frames come, and for {stuck:.0f} s none has been delivered")
        if not self._num_delivered:
            return Verdict(False, "starting: no frame has been delivered yet")
        quiet = sorted(name for name, state in self.states().items() if state in ("connecting", "silent"))
        return Verdict(True, "frames flow" if not quiet else f"frames flow, but not from {', '.join(quiet)}")


class _Counter:
    """A number that grows, and when it grew last."""

    def __init__(self, now_seconds: float) -> None:
        self.changed_at_seconds = now_seconds
        self.is_new = False
        self._number = 0

    def see(self, number: int, now_seconds: float) -> None:
        self.is_new = number != self._number
        if self.is_new:
            self._number, self.changed_at_seconds = number, now_seconds


class _SourceWatch:
    """The state of one source."""

    def __init__(self, name: str, now_seconds: float) -> None:
        self.state: SourceState = "connecting"
        self._name = name
        self._captured = _Counter(now_seconds)
        self._has_come = False
        self._since_seconds = now_seconds

    def see(self, num_captured: int, now_seconds: float, *, rest: SourceState | None) -> None:
        """rest: the state of a source from which no frames are expected."""
        self._captured.see(num_captured, now_seconds)
        self._has_come = self._has_come or num_captured > 0
        state = rest or self._state(now_seconds)
        if state != self.state:
            seconds = now_seconds - self._since_seconds
            logger.info(
                "%s: %s, after %.1f s %s",
                self._name,
                state,
                seconds,
                self.state,
                extra=event(
                    "source_state", source=self._name, state=state, before=self.state, seconds=round(seconds, 3)
                ),
            )
            self.state, self._since_seconds = state, now_seconds

    def _state(self, now_seconds: float) -> SourceState:
        if not self._has_come:
            return "connecting"
        return "silent" if now_seconds - self._captured.changed_at_seconds > _SILENT_SECONDS else "live"
