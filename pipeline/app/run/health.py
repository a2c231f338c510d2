"""Health: snapshots of a run and its sources' states → whether frames flow as they should.

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.app.config.run import RunConfig
from pipeline.events import event
from pipeline.flow.running import RunStatistics
from pipeline.sources.states import SourceState, StateName

logger = logging.getLogger(__name__)

_STUCK_SECONDS = 30.0
_RESTING: tuple[StateName, ...] = ("paused", "ended", "failed")  # no frames are expected of them
_QUIET: tuple[StateName, ...] = ("connecting", "stalled", "lost")


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

    def observe(self, statistics: RunStatistics, *, states: Mapping[str, SourceState]) -> None:
        """Take a snapshot. Changes of state are logged as events. states: of each source that there is or was."""
        now = self._clock()
        frames = statistics.frames
        self._captured.see(frames.captured, now)
        self._ended.see(frames.captured - frames.in_flight - frames.dropped, now)
        if all(state.name in _RESTING for state in states.values()):
            self._captured.changed_at_seconds = now
        if self._ended.is_new:
            self._waiting_since_seconds = None
        elif self._captured.is_new and self._waiting_since_seconds is None:
            self._waiting_since_seconds = now
        self._num_delivered, self._observed_at_seconds = frames.delivered, now
        for name, state in states.items():
            self._sources.setdefault(name, _SourceWatch(name, state, now)).see(state, now)

    def states(self) -> dict[str, StateName]:
        """The state of each source at the last snapshot."""
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
        quiet = sorted(name for name, state in self.states().items() if state in _QUIET)
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
    """Logs the changes of one source's state."""

    def __init__(self, name: str, state: SourceState, now_seconds: float) -> None:
        self.state: StateName = "reading" if state.name == "reading" else "connecting"
        self._name = name
        self._since_seconds = now_seconds

    def see(self, state: SourceState, now_seconds: float) -> None:
        if state.name == self.state:
            return
        seconds = now_seconds - self._since_seconds
        logger.info(
            "%s: %s, after %.1f s %s%s",
            self._name,
            state.name,
            seconds,
            self.state,
            f": {state.reason}" if state.reason else "",
            extra=event(
                "source_state",
                source=self._name,
                state=state.name,
                before=self.state,
                seconds=round(seconds, 3),
                reason=state.reason,
            ),
        )
        self.state, self._since_seconds = state.name, now_seconds
