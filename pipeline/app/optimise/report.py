"""Report of optimising: candidates and the verdict → a table, JSON, and a file for `run --config`."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from pipeline.app.config.run import RunConfig
from pipeline.app.machine import available_cores, processor_name, versions
from pipeline.app.optimise.candidates import Candidate
from pipeline.app.optimise.result import Optimised
from pipeline.app.terminal import print_numbers, table_of_numbers, tell, wide_console
from pipeline.errors import SinkError
from pipeline.json_values import Json
from pipeline.whole_file import write_whole


def print_optimised(optimised: Optimised) -> None:
    """Tell a person: a table, what was rejected and why, and what to take."""
    console, chosen = wide_console(), optimised.chosen
    table = table_of_numbers("shape", "numbers", "device", "precision", "frames/s", "± spread", "factor", "AP", "AP50")
    for candidate in optimised.candidates:
        variant = candidate.variant
        cells = (variant.shape, variant.numbers, candidate.device, candidate.precision)
        table.add_row(*cells, *_numbers(optimised, candidate), style="bold" if candidate is chosen else None)
    print_numbers(console, table)
    for candidate in optimised.candidates:
        remark = optimised.remark(candidate)
        if remark:
            word = "rejected " if candidate.refusal else ""
            tell(console, f"{word}{candidate.name}: {remark}", "yellow" if candidate.refusal else "dim")
    for rejected in optimised.rejected:
        tell(console, f"rejected {rejected.what}: {rejected.reason}", "yellow")
    for candidate in optimised.candidates:
        if candidate.variant.numbers == "float" and candidate.variant.remark:
            tell(console, f"{candidate.variant.shape}: {candidate.variant.remark}", "dim")
            break
    tell(
        console,
        f"AP: against what {optimised.model} detects as it is, on the CPU in fp32, in {optimised.num_frames} frames; "
        f"{processor_name()}, {available_cores()} cores",
        "dim",
    )
    tell(console, optimised.sentence, "bold")


def report_of_optimised(optimised: Optimised) -> dict[str, Json]:
    """Everything that was tried and measured, in JSON types."""
    chosen = optimised.chosen
    return {
        "model": optimised.model,
        "source": optimised.source,
        "num_frames": optimised.num_frames,
        "machine": {"processor": processor_name(), "cores": available_cores(), "versions": versions()},
        "candidates": [_candidate_report(optimised, candidate) for candidate in optimised.candidates],
        "rejected": [{"what": rejected.what, "reason": rejected.reason} for rejected in optimised.rejected],
        "chosen": None if chosen is None else chosen.name,
        "verdict": optimised.sentence,
    }


def write_chosen(optimised: Optimised, chosen: Candidate, config: RunConfig, output: Path) -> None:
    """Write the file, if it is another than the start's, and the configuration that runs it. Raises SinkError."""
    console, model = wide_console(), output.with_suffix(".onnx")
    values = chosen.config(config).model_dump(mode="json", exclude_defaults=True)
    for key in ("sources", "flow", "output"):
        values.pop(key, None)
    values.get("engine", {}).pop("shape", None)
    try:
        if not chosen.is_own:
            shutil.copyfile(chosen.variant.path, model)
            values["model"] = str(model)
            tell(console, f"written  {model}")
        text = "".join(f"# {line}\n" for line in _comments(optimised, output))
        write_whole(output, (text + "\n" + yaml.safe_dump(values, sort_keys=False)).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise SinkError(f"{output}: the result cannot be written there: {error.strerror or error}") from error
    tell(console, f"written  {output}; run it: {_command(optimised, output)}")


def _numbers(optimised: Optimised, candidate: Candidate) -> Iterator[str]:
    """In the order of the table's columns."""
    fps, factor = candidate.fps, optimised.factor(candidate)
    yield "" if fps is None else f"{fps.median:.1f}"
    yield "" if fps is None or len(candidate.rates) < 2 else f"{fps.spread:.0%}"
    yield "" if factor is None else f"{factor:.2f}×"
    for average_precision in candidate.agreement or ():
        yield f"{100 * average_precision:.1f}"


def _comments(optimised: Optimised, output: Path) -> Iterator[str]:
    yield f"Made by `streamdet optimise {optimised.model} --for {optimised.source}` on {datetime.date.today()}."
    yield optimised.sentence
    yield (
        f"{processor_name()}, {available_cores()} cores; "
        + ", ".join(f"{name} {version}" for name, version in versions().items())
    )
    yield _command(optimised, output)


def _command(optimised: Optimised, output: Path) -> str:
    return f"streamdet run {optimised.source} --config {output}"


def _candidate_report(optimised: Optimised, candidate: Candidate) -> dict[str, Json]:
    fps, factor, variant = candidate.fps, optimised.factor(candidate), candidate.variant
    return {
        "network_wh": list(variant.spec.network_wh),
        "numbers": variant.numbers,
        "device": candidate.device,
        "precision": candidate.precision,
        "fps": None if fps is None else dict(fps.as_json()),
        "factor": None if factor is None else round(factor, 3),
        "ap": None if candidate.agreement is None else round(candidate.agreement[0], 4),
        "ap50": None if candidate.agreement is None else round(candidate.agreement[1], 4),
        "remark": optimised.remark(candidate),
    }
