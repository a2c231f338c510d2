"""Report of a search for settings: trials and their verdict → a table, JSON, and a file for `run --config`."""

from __future__ import annotations

import datetime
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import yaml
from rich.table import Table

from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.machine import available_cores, processor_name, versions
from pipeline.app.terminal import table_of_numbers, tell, wide_console
from pipeline.app.tune.result import Search
from pipeline.app.tune.verdict import named
from pipeline.errors import SinkError
from pipeline.json_values import Json
from pipeline.measure.measured import Measured
from pipeline.measure.search import Setting, Trial
from pipeline.measure.summary import Figure
from pipeline.whole_file import write_whole


def print_search(search: Search) -> None:
    """Tell a person: a table, what was rejected and why, and which setting to take."""
    console, outcome = wide_console(), search.outcome
    console.print(_table(search), markup=False, highlight=False)
    for trial in search.trials[1:]:
        if trial.reason is not None:
            tell(console, f"rejected {named(trial.setting)}: {trial.reason}", "yellow")
    for line in search.disturbances:
        tell(console, f"warning: {line}", "yellow")
    tell(
        console,
        f"goal: {search.goal}; {len(search.trials)} settings tried, {processor_name()}, {available_cores()} cores",
        "dim",
    )
    if search.form is not None:
        tell(
            console,
            f"The file decides where resize and NMS run (its form is {search.form}): export it with --form frame and "
            "pass that as another --model to try it.",
            "dim",
        )
    if search.promise is not None and search.is_cut_to_promise:
        tell(
            console,
            f"The budget allowed only the most promising setting: {search.promise}; take a longer --budget to "
            "try the others.",
            "yellow",
        )
    tell(console, outcome.sentence, "bold")


def report_of_search(search: Search) -> dict[str, Json]:
    """Everything that was tried and measured, in JSON types."""
    trials, chosen = search.trials, search.outcome.chosen
    return {
        "source": search.source,
        "goal": str(search.goal),
        "machine": {"processor": processor_name(), "cores": available_cores(), "versions": versions()},
        "device": search.device,
        "precision": search.precision,
        "min_agreement": search.min_agreement,
        "trials": [_trial_report(trial) for trial in trials],
        "finals": [
            {"setting": dict(trials[index].setting), "repeats": [_trial_report(trial) for trial in repeats]}
            for index, repeats in search.finals.items()
        ],
        "most_promising": None
        if search.promise is None
        else {"knob": search.promise.knob.name, "limited_by": search.promise.limited_by},
        "budget_allowed_only_that": search.promise is not None and search.is_cut_to_promise,
        "disturbances": search.disturbances,
        "chosen": None if chosen is None else dict(chosen),
        "verdict": search.outcome.sentence,
    }


def write_config(search: Search, config: RunConfig, setting: Setting) -> None:
    """Write what a configuration with that setting has other than the defaults, and above it how it was found; say so.

    Sources are left to the command line, and so is the pace at which a file stood in for a camera. Raises SinkError.
    """
    path = search.output
    values = with_keys(config, setting).model_dump(mode="json", exclude_defaults=True)
    values.pop("sources", None)
    values.get("output", {}).pop("show", None)
    values.get("flow", {}).pop("rate_fps", None)
    values = {key: value for key, value in values.items() if value != {}}
    text = "".join(f"# {line}\n" for line in _comments(search)) + "\n" + yaml.safe_dump(values, sort_keys=False)
    try:
        write_whole(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise SinkError(f"{path}: the configuration cannot be written there: {error.strerror or error}") from error
    tell(wide_console(), f"written  {path}; run it: {search.command}")


def _table(search: Search) -> Table:
    table = table_of_numbers("setting", "measured", "frames/s", "± spread", "p95 ms", "CPU ms / frame")
    for index, trial in enumerate(search.trials):
        repeats = [repeat.measured for repeat in search.finals.get(index, [trial]) if repeat.measured is not None]
        if repeats and (trial.reason is None or index == 0):
            style = "bold" if trial.setting == search.outcome.chosen else None
            table.add_row(named(trial.setting), f"{len(repeats)}×", *_numbers(repeats), style=style)
    return table


def _numbers(repeats: Sequence[Measured]) -> Iterator[str]:
    """The medians of repeats, in the order of the table's columns."""
    fps = Figure.of([repeat.delivered_fps for repeat in repeats])
    latencies_ms = [p95 for repeat in repeats if (p95 := repeat.latency_ms["p95"]) is not None]
    yield f"{fps.median:.1f}"
    yield f"{fps.spread:.0%}" if len(repeats) > 1 else ""
    yield f"{statistics.median(latencies_ms):.1f}" if latencies_ms else "–"
    yield f"{statistics.median(repeat.cpu_ms_per_frame for repeat in repeats):.1f}"


def _comments(search: Search) -> list[str]:
    return [
        f"Found by `streamdet tune {search.source}` on {datetime.date.today()}: {search.goal}.",
        search.outcome.sentence,
        f"{processor_name()}, {available_cores()} cores; "
        + ", ".join(f"{name} {version}" for name, version in versions().items()),
        search.command,
    ]


def _trial_report(trial: Trial) -> dict[str, Json]:
    return {
        "setting": dict(trial.setting),
        "cost_ms": None if math.isinf(trial.cost) else round(trial.cost, 3),
        "shortfall": round(trial.shortfall, 4),
        "reason": trial.reason,
        "fps": None if trial.measured is None else asdict(trial.measured.fps),
        "latency_ms": None if trial.measured is None else dict(trial.measured.latency_ms.items()),
        "cpu_ms_per_frame": None if trial.measured is None else trial.measured.cpu_ms_per_frame,
    }
