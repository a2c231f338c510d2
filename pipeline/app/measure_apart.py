"""Measuring apart: a case → what its run measures, in a process of its own, so that nothing of the last one is left.

The case comes as a line of JSON on stdin, which stays open as long as the caller waits for the result: where stdin
ends, as it does when the caller is killed in whatever way, so does the process.

Four kinds of case: the whole pipeline, and its floors: the sources alone, the network alone, the encoder alone.
Recorded sources that end before they have been measured are read again from the beginning.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np

from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.errors import ConfigError, StreamdetError
from pipeline.json_values import Json
from pipeline.masking import masked_text
from pipeline.measure.measured import FloorMeasured, Measured
from pipeline.measure.processor import OTHER, SOURCE, Reading, Usage, memory_mb, peak_memory_mb, read_processor
from pipeline.measure.summary import apportioned
from pipeline.python_process import command_of, environment_of_child
from pipeline.sources.looping import loops_of
from pipeline.sources.source import FrameSource

if TYPE_CHECKING:
    from pipeline.app.assemble import Assembly
    from pipeline.app.run.report import RunReport
    from pipeline.flow.running import Running, RunStatistics
    from pipeline.picture.detections import Result

RECORDING = "RECORDING"
"""As `output.video`: record into a file that is thrown away."""

_TICK_SECONDS = 0.05
_PATIENCE_SECONDS = 5.0
_GPU_OPTIONS = ("engine.cuda_graph", "engine.channels_last")
_MOST_PICTURES = 32  # for the encoder alone: a decoded 1080p picture is 3 MB


Kind = Literal["pipeline", "sources", "network", "encoder"]


class CaseOptions(TypedDict, total=False):
    """The fields of a case beside its configuration."""

    kind: Kind
    seconds: float
    warm_up_seconds: float
    warm_up_frames: int
    network_threads: int | None


@dataclass(frozen=True, slots=True)
class Case:
    """What is run, and for how long: frames of the warm-up are in none of the numbers."""

    config: Mapping[str, object]  # a RunConfig as JSON types
    kind: Kind = "pipeline"
    seconds: float = 5.0
    warm_up_seconds: float = 1.0
    warm_up_frames: int = 10  # and at least this number
    network_threads: int | None = None  # of a bare network; None: as many as ONNX Runtime likes

    @classmethod
    def of(cls, config: RunConfig, **options: Unpack[CaseOptions]) -> Case:
        """A case of a configuration."""
        return cls(config.model_dump(mode="json"), **options)


Measure = Callable[[Case], Measured]
"""What measures a case of a whole pipeline, such as `measure_apart`."""


def measure_apart(case: Case) -> Measured:
    """Measure a whole pipeline in a new process. Raises ConfigError with the words of what went wrong there."""
    assert case.kind == "pipeline"
    return Measured.from_json(_output_apart(case))


def measure_floor_apart(case: Case) -> FloorMeasured:
    """Measure sources, network or encoder alone in a new process. Raises ConfigError as `measure_apart` does."""
    assert case.kind != "pipeline"
    return FloorMeasured(**_output_apart(case))


def _output_apart(case: Case) -> dict[str, Any]:
    command = command_of("pipeline.app.measure_apart")
    environment = {**environment_of_child(), "PYTHONIOENCODING": "utf-8:backslashreplace"}  # whatever ours is
    readable, writable = os.pipe()
    with (
        os.fdopen(writable, "wb", buffering=0) as lifeline,  # closed by the system where this process is killed
        subprocess.Popen(
            command,
            stdin=readable,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=environment,
        ) as process,
    ):
        os.close(readable)
        try:
            with suppress(BrokenPipeError):  # it ended at once, and says why
                lifeline.write(json.dumps(asdict(case)).encode() + b"\n")
            output, errors = process.communicate()
        except BaseException:
            lifeline.close()
            raise
    lines = output.splitlines()
    if process.returncode == 0 and lines:
        output_json: dict[str, Any] = json.loads(lines[-1])
        return output_json
    messages = errors.strip().splitlines()
    reason = messages[-1] if messages else f"the process that measures ended with {process.returncode}"
    raise ConfigError(reason.removeprefix("streamdet: error: "))


def measure(case: Case) -> Measured:
    """Measure a pipeline in this process. Raises a StreamdetError for what cannot be run, or ends before it is warm."""
    from pipeline.app.process import prepare_process

    prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        measured = _measure_pipeline(case, _with_recording_in(folder, RunConfig.model_validate(case.config)))
        return Measured.from_json(json.loads(json.dumps(measured.to_json()).replace(folder + "/", "")))


def measure_floor(case: Case) -> FloorMeasured:
    """Measure sources, network or encoder in this process. Raises a StreamdetError as `measure` does."""
    from pipeline.app.process import prepare_process

    prepare_process()
    config = RunConfig.model_validate(case.config)
    if case.kind == "sources":
        return _measure_sources(case, config)
    if case.kind == "network":
        return _measure_network(case, config)
    with tempfile.TemporaryDirectory() as folder:
        return _measure_encoder(case, _with_recording_in(folder, config))


def _with_recording_in(folder: str, config: RunConfig) -> RunConfig:
    """The same configuration, its recording in a folder if it is one to throw away."""
    if config.output.video != RECORDING:
        return config
    output = config.output.model_copy(update={"video": str(Path(folder) / "recording.mp4")})
    return config.model_copy(update={"output": output})


class _Stopwatch:
    """Reads the processor once it is warm, and again when the time is over."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._began_at_seconds = time.monotonic()
        self.first: Reading | None = None
        self.last: Reading | None = None

    def is_warm(self, num_frames: int) -> bool:
        """Whether the warm-up has passed."""
        long_enough = time.monotonic() - self._began_at_seconds >= self._case.warm_up_seconds
        return long_enough and num_frames >= self._case.warm_up_frames

    def is_over(self) -> bool:
        """Whether it has been measured for long enough."""
        return self.first is not None and time.monotonic() - self.first.wall_seconds >= self._case.seconds

    def usage(self) -> Usage:
        """What was used between. Raises ConfigError where there was no time between."""
        if self.first is None or self.last is None:
            raise ConfigError(
                f"the sources must last longer than the warm-up of {self._case.warm_up_seconds:g} s and "
                f"{self._case.warm_up_frames} frames; take longer ones, or a shorter --warm-up"
            )
        return Usage.between(self.first, self.last)


class _PipelineWatch:
    """Reads the processor and the statistics of a running pipeline once it is warm, until the time is over."""

    def __init__(self, case: Case, running: Running[Result]) -> None:
        self.stopwatch = _Stopwatch(case)
        self._running = running
        self._statistics: RunStatistics | None = None  # as of the stopwatch's last reading
        self._next_reading_seconds = 0.0
        self._is_over = False

    def look(self) -> None:
        """To be called on every tick of the run."""
        if self._is_over:
            return
        if self.stopwatch.first is None:
            if self.stopwatch.is_warm(self._running.statistics().frames.delivered):
                self._running.forget_warm_up()
                self.stopwatch.first = read_processor()
            return
        self._is_over = self.stopwatch.is_over()
        # Now and then, because threads that end take their numbers along.
        if self._is_over or time.monotonic() >= self._next_reading_seconds:
            reading, statistics = read_processor(), self._running.statistics()
            self.stopwatch.last, self._next_reading_seconds = reading, time.monotonic() + 0.5
            self._statistics = statistics
        if self._is_over:
            self._running.stop()

    def num_frames(self, *, is_gated: bool) -> int:
        """How many frames the network saw between the stopwatch's readings; with a gate, how many there were for it."""
        from pipeline.app.stages import DETECT

        if is_gated and self._statistics is not None:
            return self._statistics.frames.delivered + self._statistics.frames.filtered
        detect = None if self._statistics is None else self._statistics.of_role(DETECT.role)
        assert detect is not None
        return detect.service.num


def _measure_pipeline(case: Case, config: RunConfig) -> Measured:
    from pipeline.app.assemble import assemble
    from pipeline.app.overlay import OverlayText
    from pipeline.flow.running import Running

    memory = {"started": memory_mb()}
    overlay = OverlayText()
    assembly = assemble(config, overlay=overlay, loops=True)
    memory["opened"] = memory_mb()
    engine_threads = set(read_processor().thread_seconds)
    running = Running(assembly.flow)
    overlay.statistics = running.statistics
    watch = _PipelineWatch(case, running)
    with running:
        threads = running.thread_ids()
        running.wait(on_tick=watch.look, tick_seconds=_TICK_SECONDS)
    assembly.engine.close()
    usage, statistics = watch.stopwatch.usage(), running.statistics()
    roles = {node.name: node.role for node in statistics.nodes}
    loops = _loops(assembly.sources)
    spent_on = usage.by_role(
        {thread: roles[name] for thread, name in threads.items()},
        engine_threads=engine_threads,
        ended=SOURCE if loops else OTHER,
    )
    measured = {
        "loops": loops,
        "precision": assembly.engine.precision,
        "network_wh": list(assembly.engine.spec.network_wh),
        "latency_percentiles_ms": [round(1000 * seconds, 3) for seconds in running.latency_percentiles_seconds()],
        **_cost(usage, spent_on, watch.num_frames(is_gated=config.gate.kind is not None)),
        "memory_mb": {**memory, "peak": peak_memory_mb()},
    }
    return Measured.from_json({**_report(assembly, statistics, usage, spent_on, config), **measured})


def _report(
    assembly: Assembly, statistics: RunStatistics, usage: Usage, spent_on: Mapping[str, float], config: RunConfig
) -> RunReport:
    """The report of the run; spent_on: processor seconds by role."""
    from pipeline.app.machine import available_cores
    from pipeline.app.run.report import report_of
    from pipeline.app.run.verdict import ProcessorUse, Setup, judge

    processor = ProcessorUse(available_cores(), usage.process_seconds / usage.wall_seconds, spent_on)
    engine = assembly.engine
    return report_of(
        statistics,
        verdict=judge(statistics, is_live=assembly.is_live, processor=processor, setup=Setup(config, assembly.sources)),
        model=engine.spec.model_name or engine.path.name,
        device=engine.device,
        damage={name: source.damage for name, source in assembly.sources.items()},
        every=config.flow.every,
        agreement=engine.agreement,
    )


def _cost(usage: Usage, spent_on: Mapping[str, float], num_inferred: int) -> dict[str, Json]:
    """Processor time a frame, in all and by role; spent_on: seconds by role."""
    cpu_ms = _per_frame(usage.process_seconds, num_inferred)
    by_role = {role: 1000 * seconds / max(1, num_inferred) for role, seconds in spent_on.items()}
    return {
        "cpu_ms_per_frame": cpu_ms,
        "cpu_ms_by_role": apportioned(by_role, total=cpu_ms),
        **asdict(_Share.of(usage, num_inferred)),
    }


def _measure_sources(case: Case, config: RunConfig) -> FloorMeasured:
    """Every source alone and unhindered: decoded and thrown away, in turn; again from the beginning where it ends."""
    from pipeline.app.opened_sources import open_sources

    sources = open_sources(config, loops=True)
    watch, count, num_frames, stop = _Stopwatch(case), 0, 0, threading.Event()
    pictures = {name: iter(source.pictures(stop, every=config.flow.every)) for name, source in sources.items()}
    while pictures and not watch.is_over():
        for name in list(pictures):
            if next(pictures[name], None) is None:
                del pictures[name]
                continue
            count += 1
        if watch.first is None and watch.is_warm(count):
            watch.first, num_frames = read_processor(), count
    watch.last = read_processor() if watch.first is not None else None
    for source in sources.values():
        source.close()
    return replace(_floor(watch.usage(), count - num_frames), loops=_loops(sources))


def _loops(sources: Mapping[str, FrameSource]) -> dict[str, int]:
    """How often each source was read again; those that were not are left out."""
    return {name: num for name, source in sources.items() if (num := loops_of(source))}


def _measure_network(case: Case, config: RunConfig) -> FloorMeasured:
    """`session.run` alone, one after the other, on noise."""
    from pipeline.app.engines import open_engine
    from pipeline.app.model_branch import model_of

    path, spec = model_of(config)
    alone = {"engine.threads": None, "engine.batch": config.engine.batch or 1, "engine.inflight": 1}
    alone |= {name: bool(getattr(config.engine, name.split(".")[1])) for name in _GPU_OPTIONS}
    engine, config = open_engine(with_keys(config, alone), path, spec, threads=case.network_threads, spin_us=None)
    batch = spec.batch or config.engine.batch or 1
    noise = np.random.default_rng(0).integers(0, 255, engine.blank_input().shape)
    tensor = np.concatenate([noise] * batch)[:batch].astype(spec.dtype)
    run_once = partial(engine.infer_blank, batch) if spec.pixels == "nv12" else partial(engine.infer, tensor)
    watch, count, num_runs = _Stopwatch(case), 0, 0
    while not watch.is_over():
        run_once()
        count += 1
        if watch.first is None and watch.is_warm(count):
            watch.first, num_runs = read_processor(), count
    watch.last = read_processor()
    measured = _floor(watch.usage(), (count - num_runs) * batch)
    return replace(measured, device=engine.device, precision=engine.precision)


def _measure_encoder(case: Case, config: RunConfig) -> FloorMeasured:
    """The first source's first pictures into a recording, over and over, with nothing drawn on them."""
    from itertools import count, islice

    from pipeline.app.opened_sources import open_sources
    from pipeline.picture.detections import Detections, RenderedFrame, Result
    from pipeline.picture.frame import Frame
    from pipeline.sinks.recording import Recording
    from pipeline.stages.render import Render

    assert config.output.video is not None
    source, *others = open_sources(config).values()
    for other in others:  # first: of one video under two names, it would wait for the other
        other.close()
    render = Render(in_planes=True)
    canvases = [
        item.canvas
        for timed in islice(source.pictures(threading.Event(), every=config.flow.every), _MOST_PICTURES)
        for item in render.process(Result(Frame(timed.picture, "", 0, 0.0, 0.0), Detections.empty(), ()))
    ]
    rate = (source.frames_per_second or 30.0) / config.flow.every
    source.close()
    recording = Recording(
        config.output.video, frames_per_second=rate, codec=config.output.codec, preset=config.output.preset
    )
    watch, num_before = _Stopwatch(case), 0
    blank = Frame.from_pixels(np.zeros((1, 1, 3), np.uint8))
    for number in count():
        frame = replace(blank, pts_seconds=number / rate)
        recording.write(RenderedFrame(Result(frame, Detections.empty(), ()), canvases[number % len(canvases)]))
        if watch.first is None and watch.is_warm(number + 1):
            watch.first, num_before = read_processor(), number + 1
        if watch.is_over():
            break
    watch.last = read_processor()
    recording.close()
    return _floor(watch.usage(), number + 1 - num_before)


def _floor(usage: Usage, num_frames: int) -> FloorMeasured:
    if not num_frames:
        usage = Usage(usage.wall_seconds, 0.0, usage.other_cores, usage.stolen_cores, {}, {})
    return FloorMeasured(
        fps=num_frames / usage.wall_seconds,
        cpu_ms_per_frame=_per_frame(usage.process_seconds, num_frames),
        **asdict(_Share.of(usage, num_frames)),
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """This process's share of the machine while it was measured."""

    num_frames: int
    measured_seconds: float
    cores_used: float
    other_cores: float
    stolen_cores: float

    @classmethod
    def of(cls, usage: Usage, num_frames: int) -> _Share:
        return cls(
            num_frames,
            round(usage.wall_seconds, 3),
            round(usage.process_seconds / usage.wall_seconds, 3),
            round(usage.other_cores, 3),
            round(usage.stolen_cores, 3),
        )


def _per_frame(seconds: float, num_frames: int) -> float:
    return round(1000 * seconds / max(1, num_frames), 3)


def main() -> None:
    """Read a case from stdin, write what was measured to stdout; an error is one line, exit code 1."""
    import logging

    logging.basicConfig(level=logging.ERROR)
    try:
        case = Case(**json.loads(sys.stdin.readline()))
        threading.Thread(target=_end_with_stdin, name="lifeline", daemon=True).start()
        measured = measure(case).to_json() if case.kind == "pipeline" else asdict(measure_floor(case))
        print(json.dumps(measured, allow_nan=False))
    except StreamdetError as error:
        print(masked_text(f"streamdet: error: {error}"), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_stdin() -> None:
    """End as Ctrl-C would, so that nothing is left behind; at once where native code does not let go."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGINT)
    threading.main_thread().join(_PATIENCE_SECONDS)
    os._exit(130)


if __name__ == "__main__":
    main()
