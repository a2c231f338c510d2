"""What happens between `streamdet bench` and its tables?"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.app.config import RunConfig, load_config
from pipeline.app.eval_command import average_precision, labelled
from pipeline.app.machine import available_cores, processor_name, versions
from pipeline.app.one_run import RECORDING, Case, measure_apart
from pipeline.app.report import write_report
from pipeline.app.terminal import table_of_numbers, wide_console
from pipeline.errors import ConfigError
from pipeline.measure.processor import clock_mhz
from pipeline.measure.self_test import TOLERANCE, Check, self_test
from pipeline.measure.summary import Floors, Summary, disturbances
from pipeline.sinks.writable import refuse_unwritable

_FLOORS = ("sources", "network", "network, 1 thread")
# A rate is held if no frame is dropped and this share of it really comes.
_HELD = 0.99
_RATE_STEPS = 6
_RATE_TRIES = 2  # a moment's disturbance must not end the search


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What was typed."""

    sources: tuple[str, ...]
    models: tuple[str | None, ...] = (None,)
    devices: tuple[str, ...] = ("auto",)
    precisions: tuple[str, ...] = ("auto",)
    sizes: tuple[str | None, ...] = (None,)
    batches: tuple[int, ...] = (1,)
    outputs: tuple[str, ...] = ("boxes", "recording")
    rate: float | None = None
    finds_highest_rate: bool = False
    repeats: int = 3
    seconds: float = 5.0
    warm_up_seconds: float = 1.0
    tests_itself: bool = False
    settings: tuple[str, ...] = ()
    config: str | None = None
    data: str | None = None  # labelled, for the accuracy beside the speed
    report: Path | None = None
    html: Path | None = None


@dataclass(slots=True)
class Candidate:
    """One way to run: a model on a device in a precision and size, and what has been measured of it."""

    name: str
    config: RunConfig
    floors: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by what comes out: boxes, recording, live
    highest_rate: float | None = None
    accuracy: float | None = None  # AP

    def summaries(self) -> dict[str, Summary]:
        """By what comes out; those of which there is at least one repeat."""
        complete = all(self.floors.get(name) for name in _FLOORS)
        floors = Floors.of(*(self.floors[name] for name in _FLOORS)) if complete else None
        return {name: Summary.of(repeats, floors) for name, repeats in self.runs.items() if repeats}


def run_bench(options: BenchOptions) -> bool:
    """Measure, print, and write what was asked for; False if the meters failed their own test.

    Ctrl-C ends it with what has been measured until then, and raises KeyboardInterrupt after. Raises a StreamdetError
    for what cannot run.
    """
    if not options.sources and not options.tests_itself:
        raise ConfigError("bench needs at least one SOURCE, such as a video file or sim:traffic, or --self-test")
    if options.html is not None:
        refuse_unwritable(options.html, "the HTML report")
    if options.report is not None:
        refuse_unwritable(options.report, "the report")
    console, began = wide_console(), time.monotonic()
    progress = Console(stderr=True)

    def say(line: str) -> None:
        took = time.monotonic() - began
        progress.print(f"{took:6.1f} s  {line}", style="dim", markup=False, highlight=False, soft_wrap=True)

    checks: tuple[Check, ...] = ()
    if options.tests_itself:
        say("the meters themselves")
        checks = self_test()
        _print_checks(checks, console)
    candidates = candidates_of(options) if options.sources else []
    data = None if options.data is None else labelled(options.data)
    machine = describe_machine()
    interrupted: KeyboardInterrupt | None = None
    try:
        measure_in_turns(candidates, options, say)
        if options.finds_highest_rate:
            for candidate in candidates:
                candidate.highest_rate = highest_rate_held(candidate, options, say)
        for candidate in candidates if data is not None else ():
            assert data is not None
            candidate.accuracy = average_precision(candidate.config, data)
            say(f"{candidate.name}, AP: {candidate.accuracy}")
    except KeyboardInterrupt as error:
        interrupted = error
        say("interrupted: what has been measured until now")
    measured = [each for each in candidates if each.summaries()]
    for candidate in measured:
        _print_candidate(candidate, console)
    if measured:
        _print_table(measured, console)
        console.print(_machine_line(machine, options), style="dim", markup=False, highlight=False, soft_wrap=True)
    report = report_of_bench(measured, checks, machine, options)
    if options.report is not None and (measured or checks):
        write_report(report, options.report)
        console.print(f"written  {options.report}", markup=False, soft_wrap=True)
    if options.html is not None and (measured or checks):
        from pipeline.measure.html import write_html

        write_html(report, options.html)
        console.print(f"written  {options.html}", markup=False, soft_wrap=True)
    if interrupted is not None:
        raise interrupted
    return all(check.passes for check in checks)


def candidates_of(options: BenchOptions) -> list[Candidate]:
    """Every combination of what was asked for. Raises ConfigError for words that are no choice."""
    for word in options.outputs:
        if word not in ("boxes", "recording"):
            raise ConfigError(f"--outputs must be boxes, recording or both with a comma between, got {word!r}")
    found: list[Candidate] = []
    for model, device, precision, size, batch in itertools.product(
        options.models, options.devices, options.precisions, options.sizes, options.batches
    ):
        config = load_config(
            options.config,
            settings=options.settings,
            options={
                "sources": options.sources,
                "model": model,
                "engine.device": device,
                "engine.precision": precision,
                "engine.batch": batch,
                "hints.size": size,
                "output.show": False,
            },
        )
        parts = [
            "the demo detector" if model is None else Path(model).stem,
            *([device] if len(options.devices) > 1 else []),
            *([precision] if len(options.precisions) > 1 else []),
            *([str(size)] if len(options.sizes) > 1 else []),
            *([f"batch {batch}"] if len(options.batches) > 1 else []),
        ]
        found.append(Candidate(" ".join(parts), config))
    return found


def measure_in_turns(candidates: Sequence[Candidate], options: BenchOptions, say: Callable[[str], None]) -> None:
    """Every case once, then every case again, so that what disturbs the machine disturbs all alike."""
    lengths = {"seconds": options.seconds, "warm_up_seconds": options.warm_up_seconds}
    for repeat, candidate in itertools.product(range(options.repeats), candidates):
        floor_cases = (
            Case.of(candidate.config, kind="sources", **lengths),
            Case.of(candidate.config, kind="network", **lengths),
            Case.of(candidate.config, kind="network", network_threads=1, **lengths),
        )
        for name, case in zip(_FLOORS, floor_cases, strict=True):
            found = measure_apart(case)
            candidate.floors.setdefault(name, []).append(found)
            say(f"{candidate.name}, {name} alone: {found['fps']:.1f} frames/s")
        for name, config in _configs(candidate.config, options).items():
            found = measure_apart(Case.of(config, **lengths))
            candidate.runs.setdefault(name, []).append(found)
            say(f"{candidate.name}, {name}: {found['fps']['delivered'] or 0:.1f} frames/s ({repeat + 1})")


def _configs(config: RunConfig, options: BenchOptions) -> dict[str, RunConfig]:
    """What is run of a candidate, by what comes out."""
    configs = {}
    if "boxes" in options.outputs:
        configs["boxes"] = config
    if "recording" in options.outputs:
        output = config.output.model_copy(update={"video": RECORDING})
        configs["recording"] = config.model_copy(update={"output": output})
    if options.rate is not None:
        configs[_live_name(options.rate)] = _live(config, options.rate)
    return configs


def _live(config: RunConfig, rate: float) -> RunConfig:
    return config.model_copy(update={"flow": config.flow.model_copy(update={"mode": "live", "rate_fps": rate})})


def highest_rate_held(candidate: Candidate, options: BenchOptions, say: Callable[[str], None]) -> float:
    """The highest camera rate, in frames a second, at which nothing is dropped, by halving what is between.

    0 where even the lowest rate that was tried is not held.
    """
    throughput = max((summary.fps.median for summary in candidate.summaries().values()), default=30.0)
    rates = [options.rate] if options.rate is not None and _is_held_in(candidate, options.rate) else []
    held, too_fast = max(rates, default=0.0), max([1.25 * throughput, *(1.5 * rate for rate in rates)])
    rate = max(0.9 * throughput, held)
    for _ in range(_RATE_STEPS):
        is_held = any(_holds(candidate, rate, options, say) for _ in range(_RATE_TRIES))
        held, too_fast = (rate, too_fast) if is_held else (held, rate)
        rate = (held + too_fast) / 2
    return held


def _holds(candidate: Candidate, rate: float, options: BenchOptions, say: Callable[[str], None]) -> bool:
    """Whether a live run at that rate drops nothing."""
    config = _live(candidate.config, rate)
    found = measure_apart(Case.of(config, seconds=options.seconds, warm_up_seconds=options.warm_up_seconds))
    dropped = _num_dropped(found)
    is_held = not dropped and (found["fps"]["captured"] or 0) >= _HELD * rate
    say(f"{candidate.name}, live at {rate:.1f}/s: {'held' if is_held else f'{dropped} dropped'}")
    return is_held


def _is_held_in(candidate: Candidate, rate: float) -> bool:
    runs = candidate.runs.get(_live_name(rate), [])
    return any(not _num_dropped(each) and (each["fps"]["captured"] or 0) >= _HELD * rate for each in runs)


def _num_dropped(measured: Mapping[str, Any]) -> int:
    return int(measured["frames"]["dropped_stale"] + measured["frames"]["dropped_full"])


def _live_name(rate: float) -> str:
    return f"live at {rate:g}/s"


def describe_machine() -> dict[str, Any]:
    """What the numbers depend on: processor, cores, clock, load, versions."""
    clocks = clock_mhz()
    return {
        "processor": processor_name(),
        "cores": available_cores(),
        "clock_mhz": None if clocks is None else [round(clock) for clock in clocks],
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions(),
    }


def report_of_bench(
    candidates: Sequence[Candidate], checks: Sequence[Check], machine: Mapping[str, Any], options: BenchOptions
) -> dict[str, Any]:
    """Everything that was measured, in JSON types."""
    return {
        "machine": dict(machine),
        "sources": list(options.sources),
        "data": options.data,
        "repeats": options.repeats,
        "seconds": options.seconds,
        "warm_up_seconds": options.warm_up_seconds,
        "self_test": [
            {"name": each.name, "known": each.known, "measured": each.measured, "unit": each.unit, "ok": each.passes}
            for each in checks
        ],
        "candidates": [_candidate_report(each) for each in candidates],
    }


def _candidate_report(candidate: Candidate) -> dict[str, Any]:
    rows = {}
    for name, summary in candidate.summaries().items():
        rows[name] = {
            "fps": summary.fps.as_json(),
            "captured_fps": None if summary.captured_fps is None else summary.captured_fps.as_json(),
            "cpu_ms_per_frame": summary.cpu_ms.as_json(),
            "latency_ms": {name: figure.as_json() for name, figure in summary.latency_ms.items()},
            "captured": summary.num_captured,
            "dropped": summary.num_dropped,
            "peak_memory_mb": summary.peak_memory_mb.as_json(),
            "cpu_efficiency": summary.cpu_efficiency,
            "fps_efficiency": summary.fps_efficiency,
            "disturbances": _disturbances(candidate, name, summary),
            "typical": dict(summary.typical),
        }
    floors = next((summary.floors for summary in candidate.summaries().values()), None)
    return {
        "name": candidate.name,
        "config": candidate.config.model_dump(mode="json", exclude_defaults=True),
        "floors": None
        if floors is None
        else {
            "sources_fps": floors.sources_fps.as_json(),
            "sources_cpu_ms": floors.sources_cpu_ms.as_json(),
            "network_fps": floors.network_fps.as_json(),
            "network_cpu_ms": floors.network_cpu_ms.as_json(),
        },
        "highest_rate": candidate.highest_rate,
        "accuracy": candidate.accuracy,
        "runs": rows,
    }


def _disturbances(candidate: Candidate, name: str, summary: Summary) -> list[str]:
    return disturbances(candidate.runs[name], summary.fps, cores=available_cores())


def _print_checks(checks: Sequence[Check], console: Console) -> None:
    table = table_of_numbers("the meters' own test", "known", "measured", "error")
    for each in checks:
        style = None if each.passes else "red"
        table.add_row(
            each.name,
            f"{each.known:.2f} {each.unit}",
            f"{each.measured:.2f} {each.unit}",
            f"{each.error:+.2%}",
            style=style,
        )
    console.print(table)
    verdict = "The meters read true" if all(each.passes for each in checks) else "The meters do NOT read true"
    console.print(f"{verdict}: all within ±{TOLERANCE:.0%} is wanted.\n", markup=False, highlight=False)


def _print_candidate(candidate: Candidate, console: Console) -> None:
    """Where the time goes, for everything that was run of a candidate."""
    for name, summary in candidate.summaries().items():
        typical = summary.typical
        console.print(
            f"{candidate.name}, {name} (on {typical['device']}, {typical['precision']})",
            style="bold",
            markup=False,
            highlight=False,
        )
        table = table_of_numbers(
            "stage", "service ms p50 / p95", "wait ms p50 / p95", "busy", "workers", "CPU ms a frame"
        )
        cpu = dict(typical["cpu_ms_by_role"])
        for stage, numbers in typical["stages"].items():
            role = "source" if numbers["kind"] == "source" else stage.partition(" ")[0]
            table.add_row(
                role if numbers["kind"] != "source" else f"source {stage.rpartition('/')[2]}",
                _pair(numbers["service_ms"]),
                _pair(numbers["wait_ms"]),
                "–" if numbers["service_ms"]["p50"] is None else f"{numbers['busy']:.0%}",
                str(numbers["workers"]),
                f"{cpu.pop(role):.2f}" if role in cpu else "",
            )
        for role, milliseconds in cpu.items():
            table.add_row(role, "", "", "", "", f"{milliseconds:.2f}")
        table.add_row("in all", "", "", "", "", f"{typical['cpu_ms_per_frame']:.2f}", style="bold")
        if summary.floors is not None:
            floors = summary.floors
            table.add_row("floor: sources", "", "", "", "", f"{floors.sources_cpu_ms.median:.2f}", style="dim")
            table.add_row("floor: bare network", "", "", "", "", f"{floors.network_cpu_ms.median:.2f}", style="dim")
        console.print(table)
        memory = typical["memory_mb"]
        console.print(
            f"memory   {memory['started']:.0f} MB started, {memory['opened']:.0f} with sources and network, "
            f"{memory['peak']:.0f} at most",
            highlight=False,
        )
        console.print(typical["advice"], style="bold", markup=False, highlight=False, soft_wrap=True)
        for line in _disturbances(candidate, name, summary):
            console.print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        console.print()


def _print_table(candidates: Sequence[Candidate], console: Console) -> None:
    latency = "latency ms p50 / p95 / p99"
    table = table_of_numbers(
        "",
        "frames/s",
        "± spread",
        "of the floor",
        "CPU ms a frame",
        "efficiency",
        latency,
        "dropped",
        "MB",
        "limited by",
    )
    for candidate in candidates:
        for name, summary in candidate.summaries().items():
            table.add_row(
                f"{candidate.name}, {name}",
                f"{summary.fps.median:.1f}",
                f"{summary.fps.spread:.0%}",
                _share(summary.fps_efficiency),
                f"{summary.cpu_ms.median:.1f}",
                _share(summary.cpu_efficiency),
                " / ".join(f"{figure.median:.0f}" for figure in summary.latency_ms.values()) or "–",
                f"{summary.num_dropped} of {summary.num_captured}",
                f"{summary.peak_memory_mb.median:.0f}",
                "–" if candidate.accuracy is None else f"{candidate.accuracy:.3f}",
                role_in(summary.typical),
            )
        if candidate.highest_rate is not None:
            table.add_row(f"{candidate.name}, highest rate held", f"{candidate.highest_rate:.1f}")
    console.print(table)
    console.print(
        "±: how far the repeats lie apart; of the floor: frames/s over those of the bare network or the sources alone, "
        "whichever is slower; CPU ms: a frame; efficiency: CPU time of both alone over that of the run",
        style="dim",
        soft_wrap=True,
    )


def role_in(measured: Mapping[str, Any]) -> str:
    """What limits, without the path of the file that is read or written."""
    stage = str(measured["limited_by"])
    kind = measured["stages"].get(stage, {}).get("kind")
    return "source" if kind == "source" else stage.partition(" ")[0]


def _machine_line(machine: Mapping[str, Any], options: BenchOptions) -> str:
    clocks = machine["clock_mhz"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores"
        + (f" at {clocks[0]} to {clocks[1]} MHz" if clocks else "")
        + f", load {machine['load']}; {packages}; {options.repeats} repeats in turn, {options.seconds:g} s each after "
        f"{options.warm_up_seconds:g} s of warm-up that is not counted"
    )


def _pair(values: Mapping[str, float | None]) -> str:
    return " / ".join("–" if values[name] is None else f"{values[name]:.2f}" for name in ("p50", "p95"))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
