"""Scaling: speed, age and memory over the number of sources, resolution, objects, and the length of queues.

    python -m benchmarks.scaling [--seconds 4] [--repeats 1] [--charts FOLDER] [--report FILE.json]

Each point runs in a process of its own (`pipeline.app.measure_apart`). Files are drawn traffic, written before. The age
is that of a frame when its boxes are there, counted from when the source handed it out; recorded sources wait for the
network, so that theirs is the time in the queues.

- sources: that many on one shared detector, the demo's, in batches of up to 8: files as fast as they go, files as
  cameras of 10 frames/s each, and traffic that is drawn meanwhile (which costs more than to detect in it);
- resolution: one file from 360p to 4K, without and with a recording, the demo's detector;
- detections: a detector of no cost with that number of detections, in 720p, without and with a recording;
- queue: `flow.queue_capacity`, one file in 720p with a recording, the demo's detector.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.drawn_video import write_street
from benchmarks.fixed_detector import write_fixed_detector
from benchmarks.machine import describe_machine
from pipeline.app.config.loading import load_config
from pipeline.app.machine import available_cores
from pipeline.app.measure_apart import RECORDING, Case, measure_apart
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_SOURCES = (1, 2, 4, 8, 16, 32)
SIZES = {360: (640, 360), 720: (1280, 720), 1080: (1920, 1080), 1440: (2560, 1440), 2160: (3840, 2160)}
NUM_DETECTIONS = (0, 1, 10, 100, 300, 1000)
CAPACITIES = (1, 2, 4, 8, 16, 32)
CAMERA_FPS = 10.0
MOST_BATCHED = 8
WARM_UP_SECONDS = 1.0

# Of a core, in 360p: files are so long that they do not end before they have been measured.
_MOST_FPS = 400
_AXES = {
    "sources": "sources",
    "resolution": "lines of the picture",
    "detections": "objects in a frame",
    "queue": "capacity of each queue",
}
_PANELS = (
    ("fps", "frames/s, all together"),
    ("age_p95_ms", "age, 95th percentile, ms"),
    ("memory_mb", "memory, MB"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One measured point of a line of a chart."""

    chart: str
    line: str
    x: int
    fps: float  # frames a second that came out, of all sources together
    age_p95_ms: float | None
    memory_mb: float  # at most
    dropped: int


class Cases:
    """Chart by chart: line, x and case. Videos and detectors are written into a folder as they are needed."""

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds

    def of(self, chart: str) -> Iterator[tuple[str, int, Case]]:
        """The cases of one chart."""
        makers = {
            "sources": self._sources,
            "resolution": self._resolution,
            "detections": self._detections,
            "queue": self._queue,
        }
        return makers[chart]()

    def _sources(self) -> Iterator[tuple[str, int, Case]]:
        for number in NUM_SOURCES:
            batch = {"engine.batch": min(number, MOST_BATCHED)}
            files = [self._street(360)] * number
            yield "files, every frame", number, self._case(files, batch)
            live = {"flow.mode": "live", "flow.rate_fps": CAMERA_FPS}
            yield f"files as cameras of {CAMERA_FPS:g} frames/s", number, self._case(files, batch | live)
            drawn = [f"sim:traffic?seed={seed}&seconds={self._seconds + 600:g}" for seed in range(1, number + 1)]
            yield "traffic drawn meanwhile", number, self._case(drawn, batch)

    def _resolution(self) -> Iterator[tuple[str, int, Case]]:
        for lines in SIZES:
            yield "boxes only", lines, self._case([self._street(lines)])
            yield "with a recording", lines, self._case([self._street(lines)], {"output.video": RECORDING})

    def _detections(self) -> Iterator[tuple[str, int, Case]]:
        for number in NUM_DETECTIONS:
            model = {"model": str(write_fixed_detector(self._folder / f"{number}.onnx", number))}
            street = [self._street(720)]
            yield "boxes only", number, self._case(street, model)
            yield "with a recording", number, self._case(street, model | {"output.video": RECORDING})

    def _queue(self) -> Iterator[tuple[str, int, Case]]:
        for capacity in CAPACITIES:
            settings = {"flow.queue_capacity": capacity, "output.video": RECORDING}
            yield "with a recording", capacity, self._case([self._street(720)], settings)

    def _street(self, lines: int) -> str:
        path = self._folder / f"{lines}p.mp4"
        if not path.exists():
            most_fps = _MOST_FPS * available_cores() * 360 / lines
            num_frames = round(most_fps * (self._seconds + WARM_UP_SECONDS + 1))
            write_street(path, size_wh=SIZES[lines], num_frames=num_frames, num_drawn=30)
        return str(path)

    def _case(self, sources: Sequence[str], settings: Mapping[str, object] | None = None) -> Case:
        options = {"sources": tuple(sources), "model": "demo", "output.show": False, **(settings or {})}
        return Case.of(load_config(options=options), seconds=self._seconds, warm_up_seconds=WARM_UP_SECONDS)


def measure_points(folder: Path, *, seconds: float, repeats: int, charts: Sequence[str]) -> Iterator[Point]:
    """Every point, the median of its repeats. Raises ConfigError, with the point, if one cannot be measured."""
    cases = Cases(folder, seconds=seconds)
    rows = ((name, *row) for name in charts for row in cases.of(name))
    for chart, line, x, case in rows:
        try:
            summaries = [measure_apart(case) for _ in range(repeats)]
        except ConfigError as error:
            raise ConfigError(f"{chart}, {line}, {x}: {error}") from error
        ages = [p95 for run in summaries if (p95 := run.latency_ms["p95"]) is not None]
        yield Point(
            chart,
            line,
            x,
            statistics.median(run.num_frames / run.measured_seconds for run in summaries),
            statistics.median(ages) if ages else None,
            statistics.median(run.memory_mb.peak for run in summaries),
            sum(run.frames.dropped for run in summaries),
        )


def draw_charts(points: Sequence[Point], folder: Path, *, title: str) -> list[Path]:
    """One PNG a chart, with frames/s, age and memory beside each other."""
    folder.mkdir(parents=True, exist_ok=True)
    by_chart = {chart: [point for point in points if point.chart == chart] for chart in _AXES}
    return [
        _draw_chart(chosen, folder / f"scaling-{chart}.png", x_label=_AXES[chart], title=title)
        for chart, chosen in by_chart.items()
        if chosen
    ]


def _draw_chart(points: Sequence[Point], path: Path, *, x_label: str, title: str) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 3.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    for axes, (value, label) in zip(panels, _PANELS, strict=True):
        _draw_panel(axes, points, value)
        axes.set(xlabel=x_label, title=label)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title, fontsize=9, color="#52606d")
    figure.savefig(path)
    return path


def _draw_panel(axes: Axes, points: Sequence[Point], value: str) -> None:
    """One value of all lines over x."""
    for line in dict.fromkeys(point.line for point in points):
        shown = [point for point in points if point.line == line and getattr(point, value) is not None]
        axes.plot([point.x for point in shown], [getattr(point, value) for point in shown], "o-", label=line)
    ticks = sorted({point.x for point in points})
    axes.set_xscale("symlog" if 0 in ticks else "log", base=10)  # 0 objects are a point of the axis as well
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(color="#e4e7eb")
    axes.set_axisbelow(True)


def main() -> None:
    """Measure every point, print it, and draw the charts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each point, after the warm-up")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", action="append", choices=tuple(_AXES), help="this chart alone; may be repeated")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="draw charts as PNG")
    parser.add_argument("--report", type=Path, help="write all numbers as JSON")
    options = parser.parse_args()
    machine = describe_machine()
    print(machine)
    points = []
    print(f"\n{'':55}  frames/s  age p95 ms  memory MB  dropped")
    with tempfile.TemporaryDirectory() as folder:
        chosen = tuple(options.only or _AXES)
        for point in measure_points(Path(folder), seconds=options.seconds, repeats=options.repeats, charts=chosen):
            points.append(point)
            age = "–" if point.age_p95_ms is None else f"{point.age_p95_ms:.1f}"
            name = f"{point.x:5} {_AXES[point.chart]}, {point.line}"
            print(f"{name:65} {point.fps:8.1f} {age:>8} {point.memory_mb:8.0f} {point.dropped:8}", flush=True)
    if options.report is not None:
        text = json.dumps({"machine": machine, "points": [asdict(point) for point in points]}, indent=2)
        options.report.write_text(text + "\n", encoding="utf-8")
    if options.charts is not None:
        for path in draw_charts(points, options.charts, title=machine):
            print(f"written  {path}")


if __name__ == "__main__":
    main()
