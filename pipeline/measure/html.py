"""HTML: a report of `bench` → one page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import MissingExtraError, SinkError
from pipeline.measure.charts import latency_chart, time_chart, trade_chart
from pipeline.measure.measured import JsonObject
from pipeline.measure.summary import loop_lines, p50_and_p95
from pipeline.whole_file import write_whole

_TEMPLATE = Path(__file__).with_name("bench.html.j2")


def html_of(report: JsonObject, colours: Mapping[str, str]) -> str:
    """The page of a report of `bench`; `colours`: by role. Raises MissingExtraError without jinja2 or matplotlib."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError('the HTML report needs jinja2: pip install "streamdet[measure]"') from error
    rows = [
        {
            **run,
            "name": f"{candidate['name']}, {kind}",
            "spread": f"{(run['fps']['most'] - run['fps']['least']) / (run['fps']['median'] or 1):.0%}",
            "efficiency": "–" if run["cpu_efficiency"] is None else f"{run['cpu_efficiency']:.0%}",
            "latency": " / ".join(f"{figure['median']:.0f}" for figure in run["latency_ms"].values()),
            "accuracy": "–" if candidate.get("accuracy") is None else f"{candidate['accuracy']:.3f}",
            "loops": loop_lines(run.get("loops", {})),
            "floors": _floors(candidate["floors"] or {}, kind),
        }
        for candidate in report["candidates"]
        for kind, run in candidate["runs"].items()
    ]
    points = {
        candidate["name"]: (next(iter(candidate["runs"].values()))["fps"]["median"], candidate["accuracy"])
        for candidate in report["candidates"]
        if candidate.get("accuracy") is not None
    }
    charts = (
        {
            "time": time_chart(
                {row["name"]: row["cpu_ms_by_role"] for row in rows},
                {row["name"]: row["floors"] for row in rows},
                colours,
            ),
            "latency": latency_chart({row["name"]: row["typical"]["latency_percentiles_ms"] for row in rows}),
            "trade": trade_chart(points) if points else "",
        }
        if rows
        else {}
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        pair=p50_and_p95,
        rows=rows,
        charts=charts,
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


def _floors(measured: JsonObject, kind: str) -> dict[str, float]:
    """Milliseconds by the role that the chart knows; only a recording has an encoder's."""
    roles = {"sources": "source", "network": "detect"} | ({"encoder": "record"} if kind == "recording" else {})
    named = {role: measured.get(f"{name}_cpu_ms") for name, role in roles.items()}
    return {role: figure["median"] for role, figure in named.items() if figure is not None}
