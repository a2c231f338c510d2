"""Report of a bench: its measurements → tables and JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from pipeline.app.config.loading import without_secrets
from pipeline.app.config.run import RunConfig
from pipeline.app.machine import available_cores, processor_name, versions
from pipeline.app.terminal import print_numbers, table_of_numbers, tell
from pipeline.json_values import Json
from pipeline.masking import masked_address
from pipeline.measure.measured import FloorMeasured, Measured
from pipeline.measure.processor import clock_mhz
from pipeline.measure.self_test import TOLERANCE, Check
from pipeline.measure.summary import (
    Floor,
    Floors,
    Summary,
    apportioned,
    disturbances,
    loop_lines,
    most_loops,
    p50_and_p95,
    typical_cpu_ms_by_role,
)

# A rate is held if no frame is dropped and this share of it really comes.
HELD = 0.99
FLOORS = ("sources", "network", "network, 1 thread")
ENCODER = "encoder"
"""What is measured alone of a candidate; the encoder only where a recording is made."""


@dataclass(slots=True)
class Candidate:
    """One way to run: a model on a device in a precision and size, and what has been measured of it."""

    name: str
    config: RunConfig
    rate: float | None = None  # of the camera that it is to be measured behind as well
    floors: dict[str, list[FloorMeasured]] = field(default_factory=dict)
    runs: dict[str, list[Measured]] = field(default_factory=dict)  # by what comes out: boxes, recording, live
    highest_rate: float | None = None
    accuracy: float | None = None  # AP

    def summaries(self) -> dict[str, Summary]:
        """By what comes out; those of which there is at least one repeat."""
        return {name: Summary.of(repeats, self._floors_of(name)) for name, repeats in self.runs.items() if repeats}

    def _floors_of(self, name: str) -> Floors | None:
        if not all(self.floors.get(part) for part in FLOORS):
            return None
        sources, network, network_alone = (self.floors[part] for part in FLOORS)
        return Floors.of(sources, network, network_alone, self.floors.get(ENCODER, ()) if name == "recording" else ())


@dataclass(frozen=True, slots=True)
class Machine:
    """What the numbers depend on beside the candidates."""

    processor: str
    cores: int
    clock_mhz: Sequence[int] | None  # the slowest and the fastest core's; None: not known
    load: float | None  # of the last minute; None: not known
    versions: Mapping[str, str]

    @classmethod
    def now(cls) -> Machine:
        """This machine at this moment."""
        clocks = clock_mhz()
        return cls(
            processor_name(),
            available_cores(),
            None if clocks is None else [round(clock) for clock in clocks],
            round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            versions(),
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured, of what, for how long, and where."""

    sources: Sequence[str]
    data: str | None  # labelled, for the accuracy beside the speed
    repeats: int
    seconds: float  # that each took
    warm_up_seconds: float
    machine: Machine
    checks: Sequence[Check]  # of the meters themselves
    candidates: Sequence[Candidate]  # of which something has been measured


def report_of_bench(bench: Bench) -> dict[str, Json]:
    """Everything that was measured, in JSON types."""
    return {
        "machine": asdict(bench.machine),
        "sources": [masked_address(source) for source in bench.sources],
        "data": bench.data,
        "repeats": bench.repeats,
        "seconds": bench.seconds,
        "warm_up_seconds": bench.warm_up_seconds,
        "self_test": [
            {
                "name": check.name,
                "known": check.expected,
                "measured": check.measured,
                "unit": check.unit,
                "ok": check.passes,
            }
            for check in bench.checks
        ],
        "candidates": [_candidate_report(candidate) for candidate in bench.candidates],
    }


def print_bench(bench: Bench, console: Console) -> None:
    """Where the time goes in each candidate, a table of all, and the machine."""
    for candidate in bench.candidates:
        _print_candidate(candidate, console)
    if bench.candidates:
        print_table(bench.candidates, console)
        tell(console, _machine_line(bench), "dim")


def _candidate_report(candidate: Candidate) -> dict[str, Json]:
    rows = {}
    for name, summary in candidate.summaries().items():
        rows[name] = {
            "fps": summary.fps.as_json(),
            "captured_fps": None if summary.captured_fps is None else summary.captured_fps.as_json(),
            "cpu_ms_per_frame": summary.cpu_ms.as_json(),
            "cpu_ms_by_role": typical_cpu_ms_by_role(candidate.runs[name]),
            "latency_ms": {name: figure.as_json() for name, figure in summary.latency_ms.items()},
            "captured": summary.num_captured,
            "dropped": summary.num_dropped,
            "peak_memory_mb": summary.peak_memory_mb.as_json(),
            "cpu_efficiency": summary.cpu_efficiency,
            "fps_efficiency": summary.fps_efficiency,
            "disturbances": _disturbances(candidate, name, summary),
            **({"loops": loops} if (loops := most_loops(candidate.runs[name])) else {}),
            "typical": summary.typical.to_json(),
        }
    parts: dict[str, Floor] = {}
    loops = most_loops(candidate.floors.get("sources", ()))
    for summary in candidate.summaries().values():
        parts |= {} if summary.floors is None else summary.floors.parts
    return {
        "name": candidate.name,
        "config": without_secrets(candidate.config.model_dump(mode="json", exclude_defaults=True)),
        "floors": {f"{name}_fps": floor.fps.as_json() for name, floor in parts.items()}
        | {f"{name}_cpu_ms": floor.cpu_ms.as_json() for name, floor in parts.items()}
        | ({"sources_loops": loops} if parts and loops else {})
        or None,
        "highest_rate": candidate.highest_rate,
        "accuracy": candidate.accuracy,
        "runs": rows,
    }


def _disturbances(candidate: Candidate, name: str, summary: Summary) -> list[str]:
    reasons = disturbances(candidate.runs[name], summary.fps, cores=available_cores())
    if candidate.rate is not None and name == live_name(candidate.rate) and summary.captured_fps is not None:
        of_camera = candidate.config.flow.every * summary.captured_fps.median
        if of_camera < HELD * candidate.rate:
            reasons.append(f"the source gave {of_camera:.0f} frames/s, less than --rate {candidate.rate:g} asks for")
    return reasons


def live_name(rate: float) -> str:
    """What a run behind a camera of that rate is called."""
    return f"live at {rate:g}/s"


def print_checks(checks: Sequence[Check], console: Console) -> None:
    """What the meters read, beside what is known."""
    table = table_of_numbers("the meters' own test", "known", "measured", "error")
    for check in checks:
        style = None if check.passes else "red"
        table.add_row(
            check.name,
            f"{check.expected:.2f} {check.unit}",
            f"{check.measured:.2f} {check.unit}",
            f"{check.error:+.2%}",
            style=style,
        )
    print_numbers(console, table)
    verdict = "The meters are accurate" if all(check.passes for check in checks) else "The meters are NOT accurate"
    console.print(f"{verdict}: all errors must be within ±{TOLERANCE:.0%}.\n", markup=False, highlight=False)


def _print_candidate(candidate: Candidate, console: Console) -> None:
    """Where the time goes, for everything that was run of a candidate."""
    for name, summary in candidate.summaries().items():
        typical = summary.typical
        console.print(
            f"{candidate.name}, {name} (on {typical.device}, {typical.precision})",
            style="bold",
            markup=False,
            highlight=False,
        )
        if typical.agreement is not None:
            tell(console, f"agreement: {typical.agreement}", "dim")
        print_numbers(console, _stage_table(summary, candidate.runs[name]))
        memory = typical.memory_mb
        console.print(
            f"memory   {memory.started:.0f} MB started, {memory.opened:.0f} with sources and network, "
            f"{memory.peak:.0f} at most",
            highlight=False,
        )
        console.print(typical.advice, style="bold", markup=False, highlight=False, soft_wrap=True)
        for line in loop_lines(most_loops(candidate.runs[name])):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        for line in _disturbances(candidate, name, summary):
            console.print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        console.print()


def _stage_table(summary: Summary, runs: Sequence[Measured]) -> Table:
    """Times of each stage, processor time of each role, and the floors."""
    table = table_of_numbers("stage", "service ms p50 / p95", "wait ms p50 / p95", "busy", "workers", "CPU ms / frame")
    cpu_ms = summary.cpu_ms.median
    cpu = apportioned(typical_cpu_ms_by_role(runs), total=cpu_ms, digits=2)
    for node, stage in summary.typical.stages.items():
        role = "source" if stage.kind == "source" else node.partition(" ")[0]
        table.add_row(
            role if stage.kind != "source" else f"source {node.rpartition('/')[2]}",
            p50_and_p95(stage.service_ms),
            p50_and_p95(stage.wait_ms),
            "–" if stage.service_ms["p50"] is None else f"{stage.busy:.0%}",
            str(stage.workers),
            f"{cpu.pop(role):.2f}" if role in cpu else "",
        )
    for role, milliseconds in cpu.items():
        table.add_row(role, "", "", "", "", f"{milliseconds:.2f}")
    table.add_row("in all", "", "", "", "", f"{round(cpu_ms, 2):.2f}", style="bold")
    if summary.floors is not None:
        for part, floor in summary.floors.parts.items():
            label = "bare network" if part == "network" else part
            table.add_row(f"floor: {label}", "", "", "", "", f"{floor.cpu_ms.median:.2f}", style="dim")
    return table


def print_table(candidates: Sequence[Candidate], console: Console) -> None:
    """A line for everything that was run of each."""
    has_accuracy = any(candidate.accuracy is not None for candidate in candidates)
    table = table_of_numbers(
        "",
        "frames/s",
        "± spread",
        "of the floor",
        "CPU ms / frame",
        "efficiency",
        "latency ms p50 / p95 / p99",
        "dropped",
        "MB",
        *(["AP"] if has_accuracy else []),
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
                *(["–" if candidate.accuracy is None else f"{candidate.accuracy:.3f}"] if has_accuracy else []),
                summary.typical.limiting_role,
            )
        if candidate.highest_rate is not None:
            table.add_row(f"{candidate.name}, highest rate held", f"{candidate.highest_rate:.1f}")
    print_numbers(console, table)
    console.print(
        "±: spread of the repeats; of the floor: frames/s over those of the slowest part alone (sources, bare network, "
        "a recording's encoder); efficiency: the parts' CPU time over that of the run",
        style="dim",
        soft_wrap=True,
    )


def _machine_line(bench: Bench) -> str:
    machine = bench.machine
    clocks = machine.clock_mhz
    packages = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.processor}, {machine.cores} cores"
        + (f" at {clocks[0]} to {clocks[1]} MHz" if clocks else "")
        + f", load {machine.load}; {packages}; {bench.repeats} interleaved repeats, {bench.seconds:g} s each after "
        f"{bench.warm_up_seconds:g} s of warm-up"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
