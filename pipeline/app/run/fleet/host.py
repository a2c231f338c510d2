"""Host: the orders of a fleet's supervisor → a run of the cameras that they grant, and reports with their results.

In a process of its own. A camera is a source of the run by the name CAMERA@GENERATION, so that a late result of one
generation is never taken for one of the next.
"""

from __future__ import annotations

import json
import logging
import platform
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pipeline.app.assemble import Assembly, assemble
from pipeline.app.config.loading import source_of
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.process import prepare_process
from pipeline.app.run.supervisor import Supervisor
from pipeline.errors import FlowError, StreamdetError, first_line
from pipeline.fleet.camera_messages import CameraStatus, Granted, Orders, Report, ResultLine
from pipeline.fleet.leases import HeldLeases
from pipeline.flow.failure import OnError
from pipeline.flow.running import Running
from pipeline.picture.detections import Result
from pipeline.sinks.jsonl import as_json

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1  # between two looks at what should run
_MOST_LINES = 5_000  # of one report
_MOST_WAITING = 50_000  # lines that nobody has kept yet; then the run waits, and live sources drop frames


@dataclass(frozen=True, slots=True)
class OpenHost:
    """Opens a host, in its process; it is pickled. config: of the fleet, without its sources."""

    config: RunConfig

    def __call__(self) -> Callable[[Orders], Report]:
        prepare_process()
        host = CameraHost(self.config)
        host.start()
        return host.answer


class CameraHost:
    """Runs the cameras that it has leases for, and keeps their results until they are kept elsewhere.

    `reconcile` brings the run in line with the leases, again and again, in a thread of its own, because opening a
    camera or a model takes longer than a supervisor waits for a report. clock: monotonic seconds.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._clock, self._wall_clock = config, clock, wall_clock
        self._id = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._leases = HeldLeases()
        self._changed = threading.Condition(self._lock)  # lines were kept, or leases are others
        self._lines: deque[ResultLine] = deque()
        self._first_line = self._num_refused = 0
        self._hosted: _HostedRun | None = None
        self._opening: dict[str, int] = {}  # the camera that is being opened, by its generation
        self._broken: dict[str, CameraStatus] = {}  # cameras that could not be opened, or whose run broke

    def start(self) -> None:
        """Begin to bring the run in line, in a thread."""
        threading.Thread(target=self._reconcile_often, name="fleet host", daemon=True).start()

    def answer(self, orders: Orders) -> Report:
        """Take orders, and report. Never waits for a camera."""
        with self._lock:
            num_kept = min(max(0, orders.num_kept - self._first_line), len(self._lines))
            for _ in range(num_kept):
                self._lines.popleft()
            self._first_line += num_kept
            self._leases.take(orders)
            self._leases.note_report(self._clock())
            self._changed.notify_all()
            lines = tuple(self._lines[index] for index in range(min(_MOST_LINES, len(self._lines))))
            held = {granted.camera.name: granted.generation for granted in self._leases.valid(self._clock()).values()}
            hosted, broken = self._hosted, dict(self._broken)
        return Report(
            host=self._id,
            node=platform.node(),
            held={**({} if hosted is None else hosted.running()), **self._opening, **held},
            statuses={**({} if hosted is None else hosted.statuses()), **broken},
            first_line=self._first_line,
            lines=lines,
            at_seconds=self._clock(),
            cpu_seconds=time.process_time(),
            num_refused=self._num_refused,
            models={} if hosted is None else hosted.models(),
        )

    def reconcile(self) -> None:
        """Stop what there is no lease for, and start what there is one for."""
        with self._lock:
            valid = self._leases.valid(self._clock())
            self._broken = {
                name: status
                for name, status in self._broken.items()
                if name in valid and valid[name].generation == status.generation
            }
            broken = set(self._broken)
        if self._hosted is not None and self._hosted.failure is not None:
            self._give_up(self._hosted, valid)
            return
        if self._hosted is not None:
            self._hosted.stop_others(valid)
        for name, granted in valid.items():
            if name not in broken and (self._hosted is None or not self._hosted.has_seen(granted)):
                self._begin(granted)

    def close(self) -> None:
        """End the run."""
        hosted, self._hosted = self._hosted, None
        with self._lock:
            self._lines.clear()
            self._changed.notify_all()
        if hosted is not None:
            hosted.close()

    def _reconcile_often(self) -> None:
        while True:
            try:
                self.reconcile()
            except Exception:
                logger.exception("the cameras of this worker could not be looked after")
            time.sleep(_LOOK_SECONDS)

    def _begin(self, granted: Granted) -> None:
        """Start a camera; the first one opens the run."""
        self._opening = {granted.camera.name: granted.generation}
        try:
            entry = source_of(granted.camera.entry, "the fleet").model_copy(update={"name": _source_id(granted)})
            if self._hosted is None:
                self._hosted = _HostedRun(self._config, entry, granted, on_result=self._take)
            else:
                self._hosted.add(entry, granted)
        except Exception as error:  # of any library: what is wrong with one camera must not end the others
            reason = str(error) if isinstance(error, StreamdetError) else f"{type(error).__name__}: {first_line(error)}"
            self._note_broken(granted, reason)
        finally:
            self._opening = {}

    def _give_up(self, hosted: _HostedRun, valid: dict[str, Granted]) -> None:
        """A run has broken: its cameras have failed, and the next lease opens another."""
        self._hosted = None
        hosted.close()
        for name, generation in hosted.running().items():
            if name in valid and valid[name].generation == generation:
                self._note_broken(valid[name], str(hosted.failure))

    def _note_broken(self, granted: Granted, reason: str) -> None:
        with self._lock:
            self._broken[granted.camera.name] = CameraStatus(granted.generation, "failed", reason, 0, 0, 0)

    def _take(self, result: Result) -> None:
        """Keep a result, if its lease is valid; waits while too many are waiting."""
        camera, _, number = result.frame.source_id.rpartition("@")
        generation = int(number)
        line = _line(result, camera, generation, self._wall_clock())
        with self._lock:
            while len(self._lines) >= _MOST_WAITING and self._leases.is_valid(camera, generation, self._clock()):
                self._changed.wait(_LOOK_SECONDS)
            if self._leases.is_valid(camera, generation, self._clock()):
                self._lines.append(ResultLine(camera, generation, line))
            else:
                self._num_refused += 1


class _HostedRun:
    """A run whose sources are cameras, and the thread that reads its results.

    on_result: called with each, in that thread. Raises a StreamdetError where the first camera, or a model, cannot be
    opened.
    """

    def __init__(
        self, config: RunConfig, first: SourceConfig, granted: Granted, *, on_result: Callable[[Result], None]
    ) -> None:
        self._on_result = on_result
        assembly: Assembly = assemble(config.model_copy(update={"sources": (first,)}), takes_sources=True)
        on_error = OnError(frame="continue" if config.strict is False else "stop")
        self._running = Running(
            assembly.flow,
            results=True,
            stays_open=True,
            on_error=on_error,
            grace_seconds=config.flow.grace_s,
            collects_cycles=True,
        )
        self._supervisor = Supervisor(self._running, assembly)
        self._cameras = {_source_id(granted): granted}  # all that there are or were
        self._removed: set[str] = set()
        self.failure: BaseException | None = None
        self._running.__enter__()
        self._thread = threading.Thread(target=self._read, name="fleet results", daemon=True)
        self._thread.start()

    def add(self, entry: SourceConfig, granted: Granted) -> None:
        """Start a further camera. Raises a StreamdetError."""
        self._supervisor.add(entry)
        self._cameras[_source_id(granted)] = granted

    def has_seen(self, granted: Granted) -> bool:
        """Whether it runs a camera as this generation, or did."""
        return _source_id(granted) in self._cameras

    def stop_others(self, valid: dict[str, Granted]) -> None:
        """Ask the cameras to end that are not among these."""
        for source_id, granted in self._cameras.items():
            kept = valid.get(granted.camera.name)
            if source_id not in self._removed and (kept is None or kept.generation != granted.generation):
                self._removed.add(source_id)
                with suppress(FlowError):  # it has ended by itself
                    self._running.remove_source(source_id)

    def running(self) -> dict[str, int]:
        """The cameras that have not ended, by generation; where there are two, the older one."""
        states = {status.name: status.state.name for status in self._supervisor.sources()}
        return {
            granted.camera.name: granted.generation
            for source_id, granted in reversed(dict(self._cameras).items())
            if states.get(source_id) not in ("ended", "failed")
        }

    def statuses(self) -> dict[str, CameraStatus]:
        """The last generation of each camera that was not removed."""
        by_id = {status.name: status for status in self._supervisor.sources()}
        in_flight = self._running.statistics().frames_by_source
        return {
            granted.camera.name: CameraStatus(
                granted.generation,
                "reading" if status.state.name == "ended" and in_flight[source_id].in_flight else status.state.name,
                status.state.reason,
                status.num_captured,
                status.num_delivered,
                status.num_dropped,
            )
            for source_id, granted in dict(self._cameras).items()
            if source_id not in self._removed and (status := by_id.get(source_id)) is not None
        }

    def models(self) -> dict[str, str]:
        """What runs each model."""
        branches = self._supervisor.assembly.branches
        return {branch.name: f"{branch.engine.device} {branch.engine.precision}" for branch in branches}

    def close(self) -> None:
        """Give the run up."""
        with suppress(Exception):  # it has failed already, or its cameras have
            self._running.__exit__(None, None, None)
        self._supervisor.assembly.close_engines()

    def _read(self) -> None:
        try:
            for result in self._running:
                self._on_result(result)
        except BaseException as error:
            self.failure = error
        else:
            self.failure = FlowError("the run of this worker has ended")


def _source_id(granted: Granted) -> str:
    return f"{granted.camera.name}@{granted.generation}"


def _line(result: Result, camera: str, generation: int, unix_seconds: float) -> bytes:
    """A line as `--jsonl` writes it, with an id that is the same whenever the line is sent again."""
    values = as_json(result)
    head = {
        "id": f"{camera}/{generation}/{result.frame.index}",
        "source": camera,
        "generation": generation,
        "time": round(unix_seconds, 3),
    }
    return json.dumps(head | {key: value for key, value in values.items() if key != "source"}, allow_nan=False).encode()
