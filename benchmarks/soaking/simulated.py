"""Simulated days: fake cameras, and a clock that is moved on → weeks of breaks, retention and books, in seconds.

Real are what takes a clock: `ReconnectingSource` with its delays and states, `Ledger`, `StageQueue`, and
`SegmentedRecording` with `SegmentArchive` and index, on a disk whose free space is simulated. A camera gives a picture
each minute. It breaks, refuses for a while, flaps, falls silent or has a timestamp jump, by chance; the sink stalls,
the disk fills, and the recording is killed and begun again.
"""

from __future__ import annotations

import gc
import heapq
import logging
import random
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.errors import SourceError
from pipeline.flow.ledger import FrameCounts, Ledger, Ticket
from pipeline.flow.queue import LaneRule, StageQueue
from pipeline.flow.stage import Stop
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame, TimedPicture
from pipeline.segment_limits import SegmentLimit
from pipeline.sinks.segment_archive import SegmentArchive
from pipeline.sinks.segmented import SegmentedRecording
from pipeline.sources.backoff import JITTER, LONGEST_DELAY_SECONDS, LONGEST_FLAPPING_SECONDS
from pipeline.sources.reconnecting import HEALTHY_SECONDS, ReconnectingSource
from pipeline.testing import StepClock

DAY_SECONDS = 86_400.0
NAMES = ("door", "yard", "hall", "roof")
PICTURE_SECONDS = 60.0
CAMERA_FAULTS_A_DAY, RUN_FAULTS_A_DAY = 100.0, 12.0  # of each camera, and beside them
RECONNECT_SECONDS = 7200.0
OPENING_SECONDS = 0.05
SEGMENT = SegmentLimit(seconds=3600.0)
FRAME_BYTES = 50
KEEP_SECONDS, KEEP_BYTES = 1.5 * DAY_SECONDS, 420_000
DISK_BYTES, MIN_FREE_BYTES = 1_000_000, 100_000
MOST_DEAD_LINES = 101  # of an index, beside as many as it has segments
MOST_BREAKS = 100  # that the states of a source keep
WALL_SECONDS = 1_795_737_600.0  # at the beginning
SOON, FLAPPING = "a break of a stream that ran well", "a break soon after another"
BARS_SECONDS = {
    SOON: LONGEST_DELAY_SECONDS * (1 + JITTER) + 2 * OPENING_SECONDS,
    FLAPPING: LONGEST_FLAPPING_SECONDS * (1 + JITTER) + 2 * OPENING_SECONDS,
}
_PIXELS = np.zeros((2, 2, 3), np.uint8)


class _Stop:
    """A run that never ends, and whose waiting takes simulated time."""

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.advance(timeout or 0.0)
        return False


class FakeCamera:
    """The streams of one camera, on a clock of its own, which is ahead of the run by one picture at most."""

    size_wh, frames_per_second, num_frames, is_live = (2, 2), None, None, True
    damage = ("corrupt frames: 1",)

    def __init__(self, name: str, randomness: random.Random) -> None:
        self.source_id = name
        self.clock = StepClock()
        self.num_faults: Counter[str] = Counter()
        self.num_breaks = self.num_attempts = 0
        self.slowest_return_seconds = dict.fromkeys(BARS_SECONDS, 0.0)  # from when it was there to its first picture
        self._randomness = randomness
        self._picture = Frame.from_pixels(_PIXELS, source_id=name).picture
        self._there_at_seconds = 0.0  # before that it refuses
        self._num_flaps = 0  # that are to come
        self._kind_of_break: str | None = None  # until it is back
        self._fault_at_seconds = 0.0
        self._plan_fault()

    def reopened(self) -> FakeCamera:
        """The camera, once it is there. Raises SourceError before."""
        self.num_attempts += 1
        self.clock.advance(OPENING_SECONDS)
        if self.clock() < self._there_at_seconds:
            raise SourceError(f"{self.source_id}: cannot be opened: Connection refused")
        return self

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        """Pictures until the next fault that breaks the stream, which raises SourceError."""
        began_at_seconds, pts = self.clock(), 0.0
        while True:
            if self._kind_of_break is not None:
                seconds = self.clock() - self._there_at_seconds
                slowest = self.slowest_return_seconds
                slowest[self._kind_of_break] = max(seconds, slowest[self._kind_of_break])
                self._kind_of_break = None
            life_seconds = self.clock() - began_at_seconds
            yield TimedPicture(self._picture, pts)
            if self._num_flaps:
                self._num_flaps -= 1
                self._break("flap", life_seconds)
            self.clock.advance(PICTURE_SECONDS)
            pts += PICTURE_SECONDS
            if self.clock() >= self._fault_at_seconds:
                pts += self._fault(life_seconds)

    def close(self) -> None:
        """Nothing to let go of."""

    def _fault(self, life_seconds: float) -> float:
        """Do what goes wrong next; returns by how much timestamps jump. Raises SourceError where the stream breaks."""
        kind = self._randomness.choice(("cut", "cut", "gone", "gone", "gone for long", "flap", "silent", "jump"))
        self._plan_fault()
        if kind == "flap":
            self._num_flaps = self._randomness.randint(3, 8)
        if kind in ("cut", "gone", "gone for long", "flap"):
            bounds = {"gone": (5.0, 60.0), "gone for long": (300.0, 1200.0)}.get(kind, (0.0, 0.0))
            self._break(kind, life_seconds, away_seconds=self._randomness.uniform(*bounds))
        self.num_faults[kind] += 1
        if kind == "silent":
            self.clock.advance(self._randomness.uniform(200.0, 600.0))
            return 0.0
        return self._randomness.uniform(1.0, 3600.0)

    def _break(self, kind: str, life_seconds: float, *, away_seconds: float = 0.0) -> None:
        self.num_faults[kind] += 1
        self.num_breaks += 1
        self._there_at_seconds = self.clock() + away_seconds
        self._kind_of_break = SOON if life_seconds >= HEALTHY_SECONDS else FLAPPING
        raise SourceError(f"{self.source_id}: the stream broke")

    def _plan_fault(self) -> None:
        self._fault_at_seconds = self.clock() + self._randomness.expovariate(CAMERA_FAULTS_A_DAY / DAY_SECONDS)


class _FakeRecording:
    """Some bytes a frame."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    def write(self, item: RenderedFrame) -> None:
        self._file.write(bytes(FRAME_BYTES))

    def close(self) -> None:
        self._file.close()


@dataclass
class Days:
    """What came of simulated days. broken_promises: how often each was broken; an empty one is what is hoped for."""

    days: float
    frames: FrameCounts
    num_faults: Counter[str] = field(default_factory=Counter)
    num_attempts: int = 0
    num_segments: int = 0  # that were begun
    num_deleted: int = 0
    num_looks: int = 0
    slowest_return_seconds: dict[str, float] = field(default_factory=dict)
    broken_promises: Counter[str] = field(default_factory=Counter)


class SimulatedRun:
    """A run of four cameras in one folder, picture by picture in the order of their times."""

    def __init__(self, folder: Path, randomness: random.Random) -> None:
        self._index, self._randomness = folder / "cam.segments.jsonl", randomness
        self._clock = StepClock()
        self._ledger = Ledger(NAMES, clock=self._clock)
        self._cameras = {name: FakeCamera(name, randomness) for name in NAMES}
        self._sources = {name: self._reconnecting(camera) for name, camera in self._cameras.items()}
        self._queue: StageQueue[tuple[Ticket, Frame]] = StageQueue(
            lanes={name: LaneRule(2, "drop_oldest") for name in NAMES},
            on_drop=lambda item: self._ledger.finish(item[0], "dropped_full"),
        )
        self._taken_bytes = 0  # of the disk, by others
        self._sink_stalls_until = 0.0
        self._has_written = False  # since the last fault
        self._num_faults: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self._begun: set[str] = set()
        self._last_pts = dict.fromkeys(NAMES, -1.0)
        self._num_looks = 0
        self._record()

    def run(self, days: float) -> Days:
        """That many days; to be called once."""
        until, next_fault, next_look = days * DAY_SECONDS, self._fault_after_seconds(), 0.0
        for at_seconds, name, picture in self._merged():
            if at_seconds > until:
                break
            self._clock.advance(max(0.0, at_seconds - self._clock()))
            self._take(name, picture)
            if at_seconds >= next_look:
                self._look()
                next_look = at_seconds + 600.0
            if at_seconds >= next_fault:
                self._fault()
                next_fault = at_seconds + self._fault_after_seconds()
        self._ledger.close("dropped_stale")
        return self._days(days)

    def _merged(self) -> Iterator[tuple[float, str, TimedPicture]]:
        return heapq.merge(*map(self._pictures, NAMES), key=lambda item: item[0])

    def _pictures(self, name: str) -> Iterator[tuple[float, str, TimedPicture]]:
        source, clock = self._sources[name], self._cameras[name].clock
        pictures = source.pictures(_Stop(clock))
        while True:
            source.states.wait()
            picture = next(pictures)
            source.states.see_picture()
            yield clock(), name, picture

    def _take(self, name: str, picture: TimedPicture) -> None:
        """Capture a picture, and let what waits go through to the recording, if the sink takes anything."""
        self._check("media time goes on", picture.pts_seconds > self._last_pts[name])
        self._last_pts[name] = picture.pts_seconds
        ticket = self._ledger.capture(name)
        frame = Frame(picture.picture, name, ticket.index, picture.pts_seconds, self._clock())
        self._queue.send((ticket, frame), lane=name)
        while self._clock() >= self._sink_stalls_until and self._queue.statistics().waiting:
            ticket, frame = self._queue.receive()
            if self._clock() - frame.captured_at_seconds > PICTURE_SECONDS:
                self._ledger.finish(ticket, "dropped_stale")
                continue
            self._sinks[frame.source_id].write(RenderedFrame(Result(frame, Detections.empty(), ()), _PIXELS))
            self._ledger.finish(ticket, "delivered")
            self._has_written = True

    def _fault(self) -> None:
        """What goes wrong beside the cameras."""
        kind = self._randomness.choice(("sink stalls", "disk fills", "disk is freed", "recording killed"))
        self._num_faults[kind] += 1
        self._has_written = False
        if kind == "sink stalls":
            self._sink_stalls_until = self._clock() + self._randomness.uniform(60.0, 1800.0)
        elif kind == "recording killed":
            self._record()
        else:
            self._taken_bytes = self._randomness.randint(400_000, 980_000) if kind == "disk fills" else 0

    def _record(self) -> None:
        """Begin to record; what recorded before is dropped as it is, nothing of it closed, as by SIGKILL."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of files that nobody closed
            self._sinks: dict[str, SegmentedRecording] = {}
            self._archive: SegmentArchive | None = None
            gc.collect()  # closes the index, and so unlocks it, as the end of a process does
        keep = SegmentLimit(KEEP_SECONDS, KEEP_BYTES)
        archive = self._archive = SegmentArchive(
            self._index,
            keep=keep,
            min_free_bytes=MIN_FREE_BYTES,
            wall_clock=self._wall_clock,
            free_bytes=lambda _: self._free_bytes(),
        )
        for name in NAMES:
            archive.enter()
            self._sinks[name] = SegmentedRecording(
                self._index.with_name(f"cam-{name}.mp4"),
                open_recording=_FakeRecording,
                archive=archive,
                limit=SEGMENT,
                is_live=True,
                clock=self._clock,
                wall_clock=self._wall_clock,
            )

    def _look(self) -> None:
        """Check what must hold at any time."""
        self._num_looks += 1
        total, by_source = self._ledger.statistics()
        for counts in (total, *by_source.values()):
            ends = counts.delivered + counts.dropped + counts.filtered + counts.failed
            self._check("each frame is in one bucket or on its way", counts.captured == ends + counts.in_flight)
        self._check("what is on its way waits in the queue", total.in_flight == self._queue.statistics().waiting)
        for source in self._sources.values():
            self._check("no more breaks are kept than are told", len(source.states.breaks) <= MOST_BREAKS)
        assert self._archive is not None
        segments = {segment.file: segment for segment in self._archive.segments()}
        self._begun |= segments.keys()
        files = {path.name.replace(".part", "") for path in self._index.parent.glob("*.mp4")}
        self._check("the index names each file, and no other", files <= segments.keys())
        num_lines = self._index.read_bytes().count(b"\n")
        self._check("the index is short", num_lines <= 2 * len(segments) + MOST_DEAD_LINES)
        if self._has_written and self._clock() >= self._sink_stalls_until:  # only who writes deletes
            self._look_at_retention()

    def _look_at_retention(self) -> None:
        assert self._archive is not None
        finished = [segment for segment in self._archive.segments() if segment.is_finished]
        slack_seconds = 2 * PICTURE_SECONDS
        oldest = min((segment.end_wall_seconds for segment in finished), default=self._wall_clock())
        self._check("nothing older is kept", self._wall_clock() - oldest <= KEEP_SECONDS + slack_seconds)
        num_bytes = sum(segment.bytes or 0 for segment in finished)
        self._check("no more bytes are kept", num_bytes <= KEEP_BYTES)
        has_room = self._free_bytes() >= MIN_FREE_BYTES - len(NAMES) * FRAME_BYTES  # written since room was made
        self._check(
            "room is made while more than the last of each camera is left", has_room or len(finished) <= len(NAMES)
        )

    def _days(self, days: float) -> Days:
        for name, camera in self._cameras.items():
            source = self._sources[name]
            self._check("each break is counted once", source.damage[0] == f"breaks in the stream: {camera.num_breaks}")
            self._check("the states know each break", source.states.num_breaks >= camera.num_breaks)
            self._check("every camera is live in the end", source.states.state.name in ("live", "stalled"))
            self._num_faults += camera.num_faults
        slowest = {
            kind: max(camera.slowest_return_seconds[kind] for camera in self._cameras.values()) for kind in BARS_SECONDS
        }
        for kind, seconds in slowest.items():
            self._check(f"back in time after {kind}", seconds <= BARS_SECONDS[kind])
        frames, _ = self._ledger.statistics()
        self._check("no frame is on its way in the end", frames.in_flight == 0)
        assert self._archive is not None
        num_left = len(self._archive.segments())
        for sink in self._sinks.values():
            sink.close()
        num_attempts = sum(camera.num_attempts for camera in self._cameras.values())
        return Days(
            *(days, frames, self._num_faults, num_attempts, len(self._begun), len(self._begun) - num_left),
            *(self._num_looks, slowest, self._broken),
        )

    def _check(self, promise: str, is_kept: bool) -> None:
        if not is_kept:
            self._broken[promise] += 1

    def _free_bytes(self) -> int:
        paths = self._index.parent.glob("*.mp4")
        return DISK_BYTES - self._taken_bytes - sum(path.stat().st_size for path in paths)

    def _wall_clock(self) -> float:
        return WALL_SECONDS + self._clock()

    def _fault_after_seconds(self) -> float:
        return self._randomness.expovariate(RUN_FAULTS_A_DAY / DAY_SECONDS)

    def _reconnecting(self, camera: FakeCamera) -> ReconnectingSource:
        randomness, clock = self._randomness.random, camera.clock
        return ReconnectingSource(
            camera, camera.reopened, reconnect_seconds=RECONNECT_SECONDS, clock=clock, randomness=randomness
        )


def simulate(*, days: float, seed: int, folder: Path) -> Days:
    """Days of four cameras, whose segments are in the folder."""
    return SimulatedRun(folder, random.Random(seed)).run(days)


def simulate_and_print(*, days: float, seed: int) -> bool:
    """Simulate, and print it; whether every promise was kept."""
    logging.disable(logging.WARNING)  # each break is told
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        outcome = simulate(days=days, seed=seed, folder=Path(folder))
    faults = ", ".join(f"{num} × {kind}" for kind, num in sorted(outcome.num_faults.items()))
    frames = outcome.frames
    print(f"{days:g} days of {len(NAMES)} cameras in {time.perf_counter() - began:.1f} s, seed {seed}")
    print(f"faults    {outcome.num_faults.total()}: {faults}")
    print(
        f"frames    {frames.captured} captured = {frames.delivered} delivered + {frames.dropped_full} dropped full + "
        f"{frames.dropped_stale} stale + {frames.failed} failed"
    )
    print(f"attempts  {outcome.num_attempts} to open a stream again")
    for kind, seconds in outcome.slowest_return_seconds.items():
        print(f"return    at most {seconds:.2f} s after {kind}, bar {BARS_SECONDS[kind]:.2f} s")
    print(f"segments  {outcome.num_segments} begun, {outcome.num_deleted} deleted")
    print(f"looks     {outcome.num_looks}, {outcome.broken_promises.total()} promises broken")
    for promise, num in outcome.broken_promises.items():
        print(f"- {num} × not so: {promise}")
    return not outcome.broken_promises
