"""Capture: a source of pictures → a source of numbered, timed frames in a flow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from pipeline.flow.stage import CountsSkipped, Stop
from pipeline.picture.frame import Frame, TimedPicture
from pipeline.sources.abreast import Abreast
from pipeline.sources.idle import Idle
from pipeline.sources.source import FrameSource, HasParts, Part
from pipeline.sources.states import HasStates, SourceStates


class Capture:
    """Numbers and stamps a source's pictures, and paces a recorded source where it stands in for a camera.

    Of a source that reads several files, the frames of each bear its name and count from 0.

    source_id: the name in the flow, where two sources were typed alike; the source's own by default.
    is_live: whether frames may be dropped for newer ones; a recorded source is then played at its own pace.
    frames_per_second: at which pace a recorded source is played where it is live; its own media time's by default.
    every: hand out only each `every`-th frame, from the first on; each keeps the number that it has in the source.
    max_frames: end after as many frames that were handed out; of a source that reads several files, end each so.
    abreast: lets a recorded source wait for those beside it.
    clock: monotonic seconds.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        source_id: str | None = None,
        is_live: bool | None = None,
        frames_per_second: float | None = None,
        every: int = 1,
        max_frames: int | None = None,
        abreast: Abreast | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._clock = clock
        self._frames_per_second = frames_per_second
        self._every = every
        self._max_frames = max_frames
        self._abreast = abreast
        self._idle: Idle | None = None
        self.weight = 1.0  # set before a run: with 2 it gets twice the share of a network that cannot keep up
        self.waited_seconds = 0.0  # for those beside it
        self.source_id = source.source_id if source_id is None else source_id
        self.is_live = source.is_live if is_live is None else is_live
        self._is_paced = self.is_live and not source.is_live
        self._has_ended = False
        own = source.states if isinstance(source, HasStates) else None
        self.states = own or SourceStates(is_live=source.is_live, clock=clock)

    def follow(self, idle: Idle) -> None:
        """Count from now on what the source leaves out undecoded while nothing changes; it has the same `idle`."""
        self._idle = idle
        if self.is_live:
            idle.may_lose_pictures()

    @property
    def source(self) -> FrameSource:
        """What it reads."""
        return self._source

    @property
    def is_endless(self) -> bool:
        """Whether it goes on until somebody ends it: a live source, without a limit to its frames."""
        return self._source.is_live and self._max_frames is None

    @property
    def num_expected(self) -> int | None:
        """How many frames it will hand out by what the source declares, which is often wrong; None: it does not."""
        declared = None if self._source.is_live else self._source.num_frames
        if declared is None:
            return self._max_frames
        num = -(-declared // self._every)
        return num if self._max_frames is None else min(num, self._max_frames)

    @property
    def has_ended(self) -> bool:
        """Whether it gives no more frames; may be read from any thread."""
        return self._has_ended

    @property
    def num_skipped(self) -> int:
        """Frames that the source left out undecoded because they came too late, of those that would be handed out."""
        return self._num_skipped_by_source // self._every

    @property
    def num_undecoded(self) -> int:
        """Frames that the source left out undecoded because nothing changed."""
        return 0 if self._idle is None else self._idle.num_undecoded

    @property
    def _num_skipped_by_source(self) -> int:
        return self._source.num_skipped if isinstance(self._source, CountsSkipped) else 0

    def items(self, stop: Stop) -> Iterator[Frame]:
        """Yield frames in order. At pace, a frame comes when its media time has come."""
        failure: BaseException | None = None
        try:
            yield from self._all_frames(stop) if self._abreast is None else self._with_others(self._abreast, stop)
        except Exception as error:
            failure = error
            raise
        finally:
            self._has_ended = True
            self.states.end(failure)

    def _with_others(self, abreast: Abreast, stop: Stop) -> Iterator[Frame]:
        first_seconds: float | None = None
        last_seconds = 0.0
        try:
            for frame in self._all_frames(stop):
                first_seconds = frame.pts_seconds if first_seconds is None else first_seconds
                asked_at_seconds = self._clock()
                if not abreast.wait(self.source_id, frame.pts_seconds - first_seconds, stop):
                    return
                self.waited_seconds += self._clock() - asked_at_seconds
                last_seconds = max(last_seconds, frame.pts_seconds - first_seconds)
                yield replace(frame, captured_at_seconds=self._clock())
        finally:
            abreast.leave(self.source_id, last_seconds)

    def _all_frames(self, stop: Stop) -> Iterator[Frame]:
        if not isinstance(self._source, HasParts):
            yield from self._frames(self._source, self.source_id, stop)
            return
        for part in self._source.parts():
            yield from self._frames(part, part.source_id, stop)
            if stop.is_set():
                return

    def close(self) -> None:
        self._source.close()

    def _frames(self, source: Part, source_id: str, stop: Stop) -> Iterator[Frame]:
        began: float | None = None
        index, num_skipped, num_undecoded = -self._every, 0, 0
        for count, timed in enumerate(self._watched(source.pictures(stop, every=self._every))):
            index = index + self._every + self.num_undecoded - num_undecoded if timed.number is None else timed.number
            index, num_skipped = index + self._num_skipped_by_source - num_skipped, self._num_skipped_by_source
            num_undecoded = self.num_undecoded
            if self._is_paced:
                due = timed.pts_seconds if self._frames_per_second is None else index / self._frames_per_second
                began = self._clock() - due if began is None else began
                if stop.wait(min(max(0.0, began + due - self._clock()), threading.TIMEOUT_MAX)):
                    return
            now = self._clock()
            captured_at = now if timed.captured_at_seconds is None else min(now, timed.captured_at_seconds)
            yield Frame(timed.picture, source_id, index, timed.pts_seconds, captured_at, timed.image)
            if count + 1 == self._max_frames:
                return

    def _watched(self, pictures: Iterator[TimedPicture]) -> Iterator[TimedPicture]:
        """The same pictures, while the states learn when they are waited for and when they come."""
        while True:
            self.states.wait()
            timed = next(pictures, None)
            if timed is None:
                return
            self.states.see_picture()
            yield timed
