"""HTML: a report of `bench` → one page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import MissingExtraError, SinkError
from pipeline.json_values import JsonObject
from pipeline.measure.charts import latency_chart, time_chart, trade_chart
from pipeline.measure.summary import loop_lines, p50_and_p95
from pipeline.whole_file import write_whole

_TEMPLATE = Path(__file__).with_name("bench.html.j2")


def html_of(report: JsonObject, colours: Mapping[str, str]) -> str:
    """The page of a report of `bench`; `colours`: by role. Raises MissingExtraError without jinja2 or matplotlib."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError('the HTML report needs jinja2: pip install "streamdet[measure]"') from error
    rows = [_row(candidate, kind, run) for candidate in report["candidates"] for kind, run in candidate["runs"].items()]
    points = _points(report["candidates"])
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        pair=p50_and_p95,
        rows=rows,
        charts=_charts(rows, points, colours) if rows else {},
        has_accuracy=bool(points),
        highest=[
            (candidate["name"], candidate["highest_rate"])
            for candidate in report["candidates"]
            if candidate["highest_rate"] is not None
        ],
    )


def write_html(report: JsonObject, path: Path, *, colours: Mapping[str, str]) -> None:
    """Write the page of a report, all or nothing. Raises SinkError if it cannot be written."""
    page = html_of(report, colours)
    try:
        write_whole(path, page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise SinkError(f"the HTML report cannot be written to {path}: {error.strerror or error}") from error


def _row(candidate: JsonObject, kind: str, run: JsonObject) -> JsonObject:
    """A candidate's run of one kind, with its numbers as the page words them."""
    fps, efficiency, accuracy = run["fps"], run["cpu_efficiency"], candidate.get("accuracy")
    return {
        **run,
        "name": f"{candidate['name']}, {kind}",
        "spread": f"{(fps['most'] - fps['least']) / (fps['median'] or 1):.0%}",
        "efficiency": "–" if efficiency is None else f"{efficiency:.0%}",
        "latency": " / ".join(f"{figure['median']:.0f}" for figure in run["latency_ms"].values()),
        "accuracy": "–" if accuracy is None else f"{accuracy:.3f}",
        "loops": loop_lines(run.get("loops", {})),
        "floors": _floors(candidate["floors"] or {}, kind),
    }


def _points(candidates: Sequence[JsonObject]) -> dict[str, tuple[float, float]]:
    """Frames a second, of its first run, and AP of each candidate whose accuracy was counted."""
    return {
        candidate["name"]: (next(iter(candidate["runs"].values()))["fps"]["median"], candidate["accuracy"])
        for candidate in candidates
        if candidate.get("accuracy") is not None
    }


def _charts(
    rows: Sequence[JsonObject], points: Mapping[str, tuple[float, float]], colours: Mapping[str, str]
) -> dict[str, str]:
    """SVG by name; `trade` is empty without points."""
    times = {row["name"]: row["cpu_ms_by_role"] for row in rows}
    floors = {row["name"]: row["floors"] for row in rows}
    latencies = {row["name"]: row["typical"]["latency_percentiles_ms"] for row in rows}
    return {
        "time": time_chart(times, floors, colours),
        "latency": latency_chart(latencies),
        "trade": trade_chart(points) if points else "",
    }


def _floors(measured: JsonObject, kind: str) -> dict[str, float]:
    """Milliseconds by the role that the chart knows; only a recording has an encoder's."""
    roles = {"sources": "source", "network": "detect"} | ({"encoder": "record"} if kind == "recording" else {})
    named = {role: measured.get(f"{name}_cpu_ms") for name, role in roles.items()}
    return {role: figure["median"] for role, figure in named.items() if figure is not None}
