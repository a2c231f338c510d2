"""Shared source: one open camera or video → a source for each branch that looks at it; each picture is decoded once.

The branch that needs the next picture reads it, in its own thread, for all of them. A picture waits for each branch in
a short buffer. Of a recording, who is ahead waits for who is behind; of a camera, who is behind loses the oldest, which
counts as skipped.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import FlowError
from pipeline.flow.stage import CountsSkipped, Stop
from pipeline.picture.frame import TimedPicture
from pipeline.sources.looping import loops_of
from pipeline.sources.packets import HasPackets, PacketListener, SharedPackets
from pipeline.sources.source import FrameSource, HasFile, HasGroundTruth, HasImages, HasParts
from pipeline.sources.states import HasStates, SourceStates

_MOST_WAITING = 3  # pictures of a branch
_LOOK_SECONDS = 0.1  # between two looks at whether a branch wants to end


def can_be_shared(source: FrameSource) -> bool:
    """Whether it is a camera or a video: of folders, images and drawn streets, each branch opens its own."""
    return not isinstance(source, HasParts | HasImages | HasGroundTruth)


def shared_by(source: FrameSource, num: int, *, clock: Callable[[], float] = time.monotonic) -> list[SharedBranch]:
    """As many sources with the pictures of one, which is closed with the last of them. clock: monotonic seconds."""
    shared = _Shared(source, clock)
    packets = SharedPackets(source) if isinstance(source, HasPackets) else None
    shared.branches = [
        SharedBranch(shared, clock) if packets is None else SharedStream(shared, clock, packets) for _ in range(num)
    ]
    if isinstance(source, HasStates):
        source.keep_states(_StatesOfAll(shared.branches))
    return shared.branches


class _Waiting(NamedTuple):
    """A picture for a branch. num_skipped: by the source, until then."""

    timed: TimedPicture
    num_skipped: int


class SharedBranch:
    """A source with the pictures of one that others read as well."""

    def __init__(self, shared: _Shared, clock: Callable[[], float]) -> None:
        self._shared = shared
        self.source_id, self.is_live = shared.source.source_id, shared.source.is_live
        self.states = SourceStates(is_live=self.is_live, clock=clock)
        self.num_skipped = 0  # of what was handed out or lost so far
        self.num_lost = 0  # of them, those that it was too slow for
        self.waiting: deque[_Waiting] = deque()
        self.stop: Stop | None = None  # None: it has not begun
        self.has_left = False

    @property
    def size_wh(self) -> tuple[int, int] | None:
        return self._shared.source.size_wh

    @property
    def frames_per_second(self) -> float | None:
        return self._shared.source.frames_per_second

    @property
    def num_frames(self) -> int | None:
        return self._shared.source.num_frames

    @property
    def damage(self) -> tuple[str, ...]:
        return self._shared.source.damage

    @property
    def file(self) -> Path | None:
        return self._shared.source.file if isinstance(self._shared.source, HasFile) else None

    @property
    def num_loops(self) -> int:
        """How often the source was read again."""
        return loops_of(self._shared.source)

    def keep_states(self, states: SourceStates) -> None:
        """Write into these from now on."""
        self.states = states

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        self.stop = stop
        try:
            while (timed := self._shared.next_of(self, every)) is not None:
                yield timed
        finally:
            self._shared.leave(self)

    def close(self) -> None:
        self._shared.close(self)

    @property
    def wants_to_end(self) -> bool:
        """Whether it needs no further picture."""
        return self.has_left or (self.stop is not None and self.stop.is_set())


class SharedStream(SharedBranch):
    """The same of a source whose packets can be heard."""

    def __init__(self, shared: _Shared, clock: Callable[[], float], packets: SharedPackets) -> None:
        super().__init__(shared, clock)
        self._packets = packets

    def listen(self, listener: PacketListener) -> None:
        self._packets.listen(listener)


class _Shared:
    """The source, who reads it now, and what has become of it."""

    def __init__(self, source: FrameSource, clock: Callable[[], float]) -> None:
        self.source, self._clock = source, clock
        self.branches: list[SharedBranch] = []
        self._changed = threading.Condition()
        self._pictures: Iterator[TimedPicture] | None = None
        self._every = 1
        self._is_being_read = self._has_ended = self._is_closed = False
        self._failure: Exception | None = None

    def next_of(self, branch: SharedBranch, every: int) -> TimedPicture | None:
        """The next picture of a branch; None at the end. Raises what the source raised, in every branch."""
        while True:
            with self._changed:
                if branch.wants_to_end:
                    return None
                if branch.waiting:
                    timed, branch.num_skipped = branch.waiting.popleft()
                    branch.num_skipped += branch.num_lost
                    self._changed.notify_all()
                    return timed
                if self._has_ended:
                    self._end(branch)
                    return None
                if self._is_being_read or not self._has_room():
                    self._changed.wait(_LOOK_SECONDS)
                    continue
                self._is_being_read = True
            self._read(every)

    def leave(self, branch: SharedBranch) -> None:
        """A branch needs no more pictures; nobody waits for it."""
        with self._changed:
            branch.has_left = True
            branch.waiting.clear()
            self._changed.notify_all()

    def close(self, branch: SharedBranch) -> None:
        """Close the source where this was the last branch."""
        self.leave(branch)
        with self._changed:
            is_last = all(other.has_left for other in self.branches) and not self._is_closed
            self._is_closed |= is_last
        if is_last:
            if isinstance(self._pictures, Generator):
                self._pictures.close()
            self.source.close()

    def is_set(self) -> bool:
        """Whether no branch needs another picture: the Stop of the source."""
        return all(branch.wants_to_end for branch in self.branches)

    def wait(self, timeout: float | None = None) -> bool:
        """Return when that is so, or after some seconds; and whether it is."""
        deadline = None if timeout is None else self._clock() + timeout
        while not self.is_set():
            seconds = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - self._clock())
            if seconds <= 0:
                break
            threading.Event().wait(seconds)
        return self.is_set()

    def _read(self, every: int) -> None:
        """Read a picture for all, outside the lock: it may take long."""
        timed: TimedPicture | None = None
        failure: Exception | None = None
        try:
            if self._pictures is None:
                self._pictures, self._every = iter(self.source.pictures(self, every=every)), every
            if every != self._every:
                raise FlowError(f"branches of one source must have one `every`, got {self._every} and {every}")
            timed = next(self._pictures, None)
        except Exception as error:
            failure = error
        with self._changed:
            self._is_being_read = False
            if timed is None:
                self._has_ended, self._failure = True, failure
            else:
                self._hand_out(timed)
            self._changed.notify_all()

    def _hand_out(self, timed: TimedPicture) -> None:
        if timed.captured_at_seconds is None and self.source.is_live:
            timed = timed._replace(captured_at_seconds=self._clock())  # now: it may have to wait for a branch
        for branch in self.branches:
            if branch.has_left:
                continue
            if len(branch.waiting) == _MOST_WAITING:  # of a camera alone, see _has_room
                branch.waiting.popleft()
                branch.num_lost += self._every
            branch.waiting.append(_Waiting(timed, self._num_skipped))

    def _has_room(self) -> bool:
        """Whether another picture may be read."""
        lengths = [len(branch.waiting) for branch in self.branches if not branch.wants_to_end]
        return self.source.is_live or max(lengths, default=0) < _MOST_WAITING

    def _end(self, branch: SharedBranch) -> None:
        branch.num_skipped = self._num_skipped + branch.num_lost
        if self._failure is not None:
            raise copy.copy(self._failure) from self._failure  # each branch adds notes of its own

    @property
    def _num_skipped(self) -> int:
        return self.source.num_skipped if isinstance(self.source, CountsSkipped) else 0


class _StatesOfAll(SourceStates):
    """States that every branch has as well, as far as they are the source's; its pictures each branch sees itself."""

    def __init__(self, branches: Sequence[SharedBranch]) -> None:
        super().__init__(is_live=True)
        self._branches = branches

    def lose(self, reason: str, *, retry_in_seconds: float) -> None:
        super().lose(reason, retry_in_seconds=retry_in_seconds)
        for branch in self._branches:
            branch.states.lose(reason, retry_in_seconds=retry_in_seconds)

    def await_first(self, reason: str, *, retry_in_seconds: float) -> None:
        super().await_first(reason, retry_in_seconds=retry_in_seconds)
        for branch in self._branches:
            branch.states.await_first(reason, retry_in_seconds=retry_in_seconds)

    def connect(self) -> None:
        super().connect()
        for branch in self._branches:
            branch.states.connect()
