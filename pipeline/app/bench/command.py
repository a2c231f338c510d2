"""Bench: the options of `streamdet bench` → measurements, tables and reports."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from pipeline.accuracy.truth import LabelledData
from pipeline.app.bench.options import BenchOptions
from pipeline.app.bench.report import (
    ENCODER,
    FLOORS,
    HELD,
    Bench,
    Candidate,
    Machine,
    live_name,
    print_bench,
    print_checks,
    report_of_bench,
)
from pipeline.app.config.run import RunConfig
from pipeline.app.detection_run import average_precision
from pipeline.app.gating import refuse_gated
from pipeline.app.labelled_data import labelled
from pipeline.app.measure_apart import RECORDING, Case, CaseOptions, measure_apart, measure_floor_apart
from pipeline.app.model_branch import checked_detector
from pipeline.app.output_paths import Inputs, inputs_of, refuse_overwriting
from pipeline.app.progress import Phase, Say, WorkProgress
from pipeline.app.report_file import write_report
from pipeline.app.terminal import tell, wide_console
from pipeline.errors import ConfigError
from pipeline.measure.measured import Measured
from pipeline.measure.self_test import Check, self_test
from pipeline.sinks.writable import refuse_unwritable

_RATE_STEPS = 6
_RATE_TRIES = 2  # a moment's disturbance must not end the search


def run_bench(options: BenchOptions) -> int:
    """Measure, print, and write what was asked for; 1 if the meters failed their own test, else 0.

    Ctrl-C ends it with what has been measured until then, and raises KeyboardInterrupt after. Raises a StreamdetError
    for what cannot run.
    """
    if not options.sources and not options.tests_itself:
        raise ConfigError("bench needs at least one SOURCE, such as a video file or sim:traffic, or --self-test")
    if "-" in options.sources:
        raise ConfigError("the sources are read several times, which stdin does not allow; save it as a file")
    candidates = candidates_of(options) if options.sources else []
    for candidate in candidates:
        refuse_gated(candidate.config, "bench")
        checked_detector(candidate.config)
    data = None if options.data is None else labelled(options.data)
    _refuse_outputs(options, candidates, data)
    console, say = wide_console(), WorkProgress()
    checks: tuple[Check, ...] = ()
    if options.tests_itself:
        say("testing the meters")
        checks = self_test()
        print_checks(checks, console)
    machine = Machine.now()
    interrupted: KeyboardInterrupt | None = None
    try:
        _measure(candidates, options, data, say)
    except KeyboardInterrupt as error:
        interrupted = error
        say("interrupted: what has been measured until now")
    bench = Bench(
        options.sources,
        options.data,
        options.repeats,
        options.seconds,
        options.warm_up_seconds,
        machine=machine,
        checks=checks,
        candidates=[candidate for candidate in candidates if candidate.summaries()],
    )
    print_bench(bench, console)
    if bench.candidates or checks:
        _write(bench, options, console)
    if interrupted is not None:
        raise interrupted
    return int(not all(check.passes for check in checks))


def _refuse_outputs(options: BenchOptions, candidates: Sequence[Candidate], data: LabelledData | None) -> None:
    """Find out before the work whether its reports can be written, and over nothing that it reads."""
    outputs = [("--report", options.report), ("--html", options.html)]
    labelled: Inputs = {"what is labelled": [] if data is None else data.files}
    for inputs in [inputs_of(candidate.config) for candidate in candidates] or [{}]:
        refuse_overwriting(outputs, {**inputs, **labelled}, overwrite=options.overwrite)
    if options.html is not None:
        refuse_unwritable(options.html, "the HTML report")
    if options.report is not None:
        refuse_unwritable(options.report, "the report")


def _measure(
    candidates: Sequence[Candidate], options: BenchOptions, data: LabelledData | None, progress: WorkProgress
) -> None:
    """Speed, the highest rate and accuracy, as far as the options ask for them."""
    with progress.phase("measuring", total=num_measurements(candidates, options), has_lines=True) as phase:
        measure_in_turns(candidates, options, progress, phase)
    if options.finds_highest_rate:
        with progress.phase("the highest rate", total=_RATE_STEPS * len(candidates), has_lines=True) as phase:
            for candidate in candidates:
                candidate.highest_rate = highest_rate_held(candidate, options, progress, on_rate=phase.advance)
    for candidate in candidates if data is not None else ():
        assert data is not None
        with progress.phase(f"{candidate.name}, AP", total=len(data.images)) as phase:
            candidate.accuracy = average_precision(candidate.config, data, on_image=phase.advance)
        progress(f"{candidate.name}, AP: {candidate.accuracy}")


def _write(bench: Bench, options: BenchOptions, console: Console) -> None:
    report = report_of_bench(bench)
    if options.report is not None:
        write_report(report, options.report)
        tell(console, f"written  {options.report}")
    if options.html is not None:
        from pipeline.app.roles import colours
        from pipeline.measure.html import write_html

        write_html(report, options.html, colours=colours())
        tell(console, f"written  {options.html}")


def candidates_of(options: BenchOptions) -> list[Candidate]:
    """Every combination of what was asked for. Raises ConfigError for words that are no choice."""
    for word in options.outputs:
        if word not in ("boxes", "recording"):
            raise ConfigError(f"--outputs must be boxes, recording or both with a comma between, got {word!r}")
    candidates: list[Candidate] = []
    for model, device, precision, size, batch in itertools.product(
        options.models, options.devices, options.precisions, options.sizes, options.batches
    ):
        config = options.config.load(
            sources=options.sources,
            model=model,
            engine__device=device,
            engine__precision=precision,
            engine__batch=batch,
            hints__size=size,
            output__show=False,
        )
        parts = [
            "the demo detector" if model is None else Path(model).stem,
            *([device] if len(options.devices) > 1 else []),
            *([precision] if len(options.precisions) > 1 else []),
            *([str(size)] if len(options.sizes) > 1 else []),
            *([f"batch {batch}"] if len(options.batches) > 1 else []),
        ]
        candidates.append(Candidate(" ".join(parts), config, options.rate))
    return candidates


def num_measurements(candidates: Sequence[Candidate], options: BenchOptions) -> int:
    """How many `measure_in_turns` makes, floors included."""
    nums = []
    for candidate in candidates:
        configs = _configs(candidate.config, options)
        nums.append(len(_floor_cases(candidate.config, configs.get("recording"), {})) + len(configs))
    return options.repeats * sum(nums)


def measure_in_turns(candidates: Sequence[Candidate], options: BenchOptions, say: Say, phase: Phase) -> None:
    """Every case once, then every case again, so that what disturbs the machine disturbs all alike."""
    lengths: CaseOptions = {"seconds": options.seconds, "warm_up_seconds": options.warm_up_seconds}
    for repeat, candidate in itertools.product(range(options.repeats), candidates):
        configs = _configs(candidate.config, options)
        for name, case in _floor_cases(candidate.config, configs.get("recording"), lengths).items():
            floor = measure_floor_apart(case)
            candidate.floors.setdefault(name, []).append(floor)
            phase.advance()
            say(f"{candidate.name}, {name} alone: {floor.fps:.1f} frames/s")
        for name, config in configs.items():
            measured = measure_apart(Case.of(config, **lengths))
            candidate.runs.setdefault(name, []).append(measured)
            phase.advance()
            say(f"{candidate.name}, {name}: {measured.delivered_fps:.1f} frames/s ({repeat + 1})")


def _floor_cases(config: RunConfig, recording: RunConfig | None, lengths: CaseOptions) -> dict[str, Case]:
    """The parts to measure alone, by name; the encoder only where a recording is made."""
    kinds: tuple[CaseOptions, ...] = (
        {**lengths, "kind": "sources"},
        {**lengths, "kind": "network"},
        {**lengths, "kind": "network", "network_threads": 1},
    )
    cases = {name: Case.of(config, **kind) for name, kind in zip(FLOORS, kinds, strict=True)}
    if recording is not None:
        encoder: CaseOptions = {**lengths, "kind": "encoder"}
        cases[ENCODER] = Case.of(recording, **encoder)
    return cases


def _configs(config: RunConfig, options: BenchOptions) -> dict[str, RunConfig]:
    """What is run of a candidate, by what comes out."""
    configs = {}
    if "boxes" in options.outputs:
        configs["boxes"] = config
    if "recording" in options.outputs:
        output = config.output.model_copy(update={"video": RECORDING})
        configs["recording"] = config.model_copy(update={"output": output})
    if options.rate is not None:
        configs[live_name(options.rate)] = _live(config, options.rate)
    return configs


def _live(config: RunConfig, rate: float) -> RunConfig:
    return config.model_copy(update={"flow": config.flow.model_copy(update={"mode": "live", "rate_fps": rate})})


def highest_rate_held(
    candidate: Candidate, options: BenchOptions, say: Say, *, on_rate: Callable[[], None] = lambda: None
) -> float:
    """The highest camera rate, in frames a second, at which nothing is dropped, by halving what is between.

    0 where even the lowest rate that was tried is not held. on_rate: called after each rate that was tried.
    """
    throughput = max((summary.fps.median for summary in candidate.summaries().values()), default=30.0)
    throughput *= candidate.config.flow.every  # a camera's rate counts the frames that are passed over as well
    rates = [options.rate] if options.rate is not None and _is_held_in(candidate, options.rate) else []
    held, too_fast = max(rates, default=0.0), max([1.25 * throughput, *(1.5 * rate for rate in rates)])
    rate = max(0.9 * throughput, held)
    for _ in range(_RATE_STEPS):
        is_held = any(_holds(candidate, rate, options, say) for _ in range(_RATE_TRIES))
        held, too_fast = (rate, too_fast) if is_held else (held, rate)
        rate = (held + too_fast) / 2
        on_rate()
    return held


def _holds(candidate: Candidate, rate: float, options: BenchOptions, say: Say) -> bool:
    """Whether a live run at that rate drops nothing."""
    config = _live(candidate.config, rate)
    measured = measure_apart(Case.of(config, seconds=options.seconds, warm_up_seconds=options.warm_up_seconds))
    dropped = measured.frames.dropped
    is_held = not dropped and _captured_of_camera(candidate, measured) >= HELD * rate
    say(f"{candidate.name}, live at {rate:.1f}/s: {'held' if is_held else f'{dropped} dropped'}")
    return is_held


def _is_held_in(candidate: Candidate, rate: float) -> bool:
    runs = candidate.runs.get(live_name(rate), [])
    return any(not run.frames.dropped and _captured_of_camera(candidate, run) >= HELD * rate for run in runs)


def _captured_of_camera(candidate: Candidate, measured: Measured) -> float:
    """The camera's frames a second, of which a run takes each `flow.every`-th."""
    return float(candidate.config.flow.every * (measured.fps.captured or 0.0))
