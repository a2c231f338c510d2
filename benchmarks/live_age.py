"""Live age: a camera and models in; the age of a frame when its boxes are there, or it is recorded, out.

    python -m benchmarks.live_age VIDEO --model YOLOX.onnx [--rate 30] [--seconds 10] [--repeats 3]

The video's packets come as from a network camera (`benchmarks.network_camera`); frames may be dropped for newer ones.
The age is counted from when the camera gave the frame to when its boxes are there, or it is drawn and recorded. Beside
it: an inference, as it was in that run. The demo detector sees drawn traffic from a file, because drawing it live would
take the processor from the detector.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.drawn_video import write_street
from benchmarks.machine import describe_machine
from benchmarks.network_camera import network_camera
from pipeline.app.config.loading import load_config
from pipeline.app.measure_apart import RECORDING, Case, measure_apart
from pipeline.measure.measured import Measured, Percentiles

BAR_MS = 15.0
"""By which the 95th percentile of the age may exceed an inference."""


def age_case(address: str, model: str, *, records: bool, seconds: float) -> Case:
    """A camera at that address."""
    options = {
        "sources": (address,),
        "model": model,
        "flow.mode": "live",
        "output.show": False,
        "output.video": RECORDING if records else None,
    }
    return Case.of(load_config(options=options), seconds=seconds)


def measure_rows(options: argparse.Namespace, folder: Path) -> dict[str, list[Measured]]:
    """Row → the summary of each turn."""
    num_frames = round(options.rate * (options.seconds + 5))  # and the warm-up
    street = write_street(folder / "street.mp4", size_wh=(1280, 720), num_frames=num_frames)
    detectors = [(path.stem, str(options.video), str(path)) for path in options.model]
    detectors.append(("demo", str(street), "demo"))
    rows: dict[str, list[Measured]] = {}
    for _, (name, video, model), records in itertools.product(range(options.repeats), detectors, (False, True)):
        row = f"{name}, {'with a recording' if records else 'boxes only'}"
        with network_camera(video, rate=options.rate) as address:
            case = age_case(address, model, records=records, seconds=options.seconds)
            rows.setdefault(row, []).append(measure_apart(case))
    return rows


def line_of(summaries: Sequence[Measured]) -> str:
    """Frames/s, drops, the inference, the age and its bar; medians of the turns."""
    inference, slow = _p50_and_p95([run.stages["detect"].service_ms for run in summaries])
    age, old = _p50_and_p95([run.latency_ms for run in summaries])
    fps = statistics.median(run.delivered_fps for run in summaries)
    dropped = sum(run.frames.dropped for run in summaries)
    bar = inference + BAR_MS
    verdict = "met" if old <= bar else "NOT met"
    return f"{fps:8.1f} {dropped:8} {inference:13.1f} / {slow:4.1f} {age:8.1f} {old:8.1f}  {bar:5.1f} {verdict}"


def _p50_and_p95(turns: Sequence[Percentiles]) -> tuple[float, float]:
    """The medians of the turns that have them; NaN where none has."""
    p50 = [value for turn in turns if (value := turn["p50"]) is not None]
    p95 = [value for turn in turns if (value := turn["p95"]) is not None]
    return (statistics.median(p50), statistics.median(p95)) if p50 and p95 else (math.nan, math.nan)


def main() -> None:
    """Measure each model behind a camera, and print."""
    options = _options()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_rows(options, Path(folder))
    print(f"\nlive at {options.rate:g} frames/s, {options.seconds:g} s, median of {options.repeats} runs, ms")
    print(f"{'':40} frames/s  dropped  inference p50 / p95  age p50  age p95  bar for p95")
    for row, summaries in rows.items():
        print(f"{row:40} {line_of(summaries)}")
    if options.report is not None:
        runs = {row: [run.to_json() for run in summaries] for row, summaries in rows.items()}
        options.report.write_text(json.dumps({"rate": options.rate, "runs": runs}, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, action="append", default=[], help="an ONNX detector, or several")
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second of the camera")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--report", type=Path, help="write all numbers as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
