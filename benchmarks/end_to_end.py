"""End to end: the cost of a frame from file to boxes, and from file to recording, beside floors and competitors.

Each contender runs in a process of its own, all in turn, several times over, on the same frames with the same
thresholds; CPU time is that of the whole process, from the first frame to the last, start-up and warm-up left out.

Floors (`benchmarks.floors`): `bare` has ONNX Runtime's default threads, which keep all cores busy, as in the loop;
`bare-1` has one thread, and the caches to itself; `bare-1-pair` is two such callers at once. The loop
(`benchmarks.competitors.opencv_loop`) is an hour's work with OpenCV and ONNX Runtime, done well. Competitors run in
environments of their own:

    python3 -m venv envs/ultralytics && envs/ultralytics/bin/pip install ultralytics onnxruntime
    python3 -m venv envs/roboflow && envs/roboflow/bin/pip install inference supervision
    envs/roboflow/bin/pip install --no-deps onnxruntime==VERSION      # the same as ours, newer than what it pins
    python3 -m venv envs/plain && envs/plain/bin/pip install inference supervision      # and left as it comes

The small detector's video for `--demo` is drawn traffic, written to a file before: drawing costs more than detecting.

    python -m benchmarks.end_to_end VIDEO --model YOLOV5.onnx [--frames 200] [--repeats 3]
        [--competitor-python ultralytics=envs/ultralytics/bin/python]
        [--competitor-python roboflow=envs/roboflow/bin/python]
        [--competitor-python roboflow-plain=envs/plain/bin/python]
        [--small YOLOX.onnx] [--demo] [--labelled FOLDER] [--best KEY=VALUE] [--report FILE.json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar, bars_of, print_bars
from benchmarks.competitors.rearranged import rearrange
from benchmarks.contender import Contender, measure_in_turns
from benchmarks.drawn_video import write_street
from benchmarks.job import Job
from benchmarks.machine import describe_machine
from pipeline.app.model_files import DEMO_MODEL

FP32 = ("engine.device=cpu", "engine.precision=fp32")
BEST = ("engine.device=openvino", "engine.precision=bf16")

_FLOORS, _OURS, _LOOP = "benchmarks.floors", "benchmarks.ours", "benchmarks.competitors.opencv_loop"
_NOT_DETECTING = ("decode", "convert", "encode")


@dataclass(frozen=True, slots=True)
class Competitor:
    """A package that detects as well: the module that runs it, what pip installs, and its part of the job."""

    module: str
    packages: str
    settings: tuple[str, ...] = ()
    reads_rearranged: bool = False


COMPETITORS = {
    "ultralytics": Competitor(
        "benchmarks.competitors.ultralytics_predict", "ultralytics onnxruntime", reads_rearranged=True
    ),
    "roboflow": Competitor("benchmarks.competitors.roboflow_pipeline", "inference supervision"),
    "roboflow-plain": Competitor(
        "benchmarks.competitors.roboflow_pipeline", "inference supervision", settings=("defaults",)
    ),
}


def contenders_of(options: argparse.Namespace, folder: Path) -> list[Contender]:
    """All contenders; the files that they read are made in the folder."""
    job = Job("", str(options.video.resolve()), str(options.model.resolve()), options.frames)
    best = contender("ours-best", _OURS, job, settings=tuple(options.best or BEST))
    best.may_fail = True
    pythons = dict(word.split("=", 1) for word in options.competitor_python)
    readable = rearrange(options.model, folder / f"{options.model.stem}-rearranged.onnx") if pythons else options.model
    return [
        *_floors(job),
        *_detecting(job, pythons, readable, suffix="", records=False),
        *_detecting(job, pythons, readable, suffix="-recording", records=True),
        best,
        *_small(options, job, folder),
    ]


def contender(name: str, module: str, job: Job, *, records: bool = False, **changes: Any) -> Contender:
    """A row whose job is this one, changed."""
    return Contender(name, module, Job(**{**asdict(job), **changes}), records)


def _floors(job: Job) -> list[Contender]:
    return [
        contender("bare", _FLOORS, job, kind="bare"),
        contender("bare-1", _FLOORS, job, kind="bare", threads=1),
        contender("bare-1-pair", _FLOORS, job, kind="bare-pair", threads=1),
        contender("decode", _FLOORS, job, kind="decode"),
        contender("convert", _FLOORS, job, kind="convert"),
        contender("encode", _FLOORS, job, kind="encode", records=True),
    ]


def _detecting(
    job: Job, pythons: Mapping[str, str], readable: Path, *, suffix: str, records: bool
) -> Iterator[Contender]:
    yield contender(f"loop{suffix}", _LOOP, job, records=records)
    yield contender(f"ours{suffix}", _OURS, job, records=records, settings=FP32)
    for name, competitor in COMPETITORS.items():
        model = str(readable) if competitor.reads_rearranged else job.model
        row = contender(
            f"{name}{suffix}",
            competitor.module,
            job,
            records=records,
            model=model,
            settings=competitor.settings,
        )
        row.may_fail, row.python = True, pythons.get(name)
        if row.python is None:
            row.failure = f"not installed: pip install {competitor.packages}, then --competitor-python {name}=…"
        yield row


def _small(options: argparse.Namespace, job: Job, folder: Path) -> Iterator[Contender]:
    """Small detectors, each against the loop and its bare network."""
    detectors = [(path.stem, str(path.resolve()), job.video) for path in options.small]
    if options.demo:
        num_drawn = min(job.num_frames, 300)
        street = write_street(
            folder / "street.mp4", size_wh=(1280, 720), num_frames=job.num_frames, num_drawn=num_drawn
        )
        detectors.append(("demo", str(DEMO_MODEL), str(street)))
    for name, model, video in detectors:
        yield contender(f"bare-1-pair {name}", _FLOORS, job, kind="bare-pair", threads=1, model=model)
        yield contender(f"loop {name}", _LOOP, job, model=model, video=video)
        yield contender(f"ours {name}", _OURS, job, model=model, video=video, settings=FP32)


def lost_ap(model: Path, labelled: Path, settings: Sequence[str], folder: Path) -> float | None:
    """AP points that settings lose on labelled images against fp32 on the CPU; None where they do not run."""
    reference = _ap(model, labelled, FP32, folder / "eval-fp32.json")
    ap = _ap(model, labelled, settings, folder / "eval-best.json")
    return None if reference is None or ap is None else reference - ap


def _ap(model: Path, labelled: Path, settings: Sequence[str], report: Path) -> float | None:
    """AP in points; None where `streamdet eval` ends with an error."""
    values = {"model": str(model)} | dict(setting.split("=", 1) for setting in settings)
    command = [sys.executable, "-m", "pipeline.app.cli", "eval", "--model", values.pop("model")]
    command += ["--data", str(labelled), "--report", str(report)]
    command += [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    if subprocess.run(command, capture_output=True).returncode:
        return None
    return float(100 * json.loads(report.read_text())["results"][0]["coco"]["AP"])


def print_contenders(contenders: Sequence[Contender]) -> None:
    """Print one line a contender."""
    floors = [row.cpu_ms for row in contenders if row.name in ("bare", "bare-1")]
    width = max(len(row.name) for row in contenders)
    print(f"{'':{width}} frames/s   CPU ms / frame          above bare  above bare-1  detections / frame")
    for row in contenders:
        line = _line(row, floors) if row.outcomes and not row.failure else row.failure
        print(f"{row.name:{width}} {line}")


def _line(row: Contender, floors: Sequence[float]) -> str:
    spread = f"({min(row.all_cpu_ms):.1f} to {max(row.all_cpu_ms):.1f})"
    detections = "" if row.detections_per_frame is None else f"{row.detections_per_frame:.2f}"
    has_network = row.name not in _NOT_DETECTING and " " not in row.name
    above = " ".join(f"{row.cpu_ms - floor:12.1f}" if has_network else " " * 12 for floor in floors)
    numbers = f"{row.fps:8.1f}   {row.cpu_ms:6.1f} {spread:16} {above}  {detections:>10}"
    return f"{numbers}  {row.outcomes[-1].remark}"


def main() -> None:
    """Measure all contenders in turns, and print them and the bars."""
    options = _options()
    machine = describe_machine()
    print(machine)
    print(f"{options.video.name}, {options.model.name}, {options.frames} frames, median of {options.repeats} runs\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders = contenders_of(options, folder)
        measure_in_turns(contenders, options.repeats, folder)
        best = options.best or BEST
        lost = None if options.labelled is None else lost_ap(options.model, options.labelled, best, folder)
    small = [path.stem for path in options.small] + (["demo"] if options.demo else [])
    bars = bars_of(contenders, lost, small)
    print_contenders(contenders)
    print_bars(bars)
    if options.report is not None:
        _write_report(options, machine, contenders, bars)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="a YOLOv5 detector of COCO's classes")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", type=Path, action="append", default=[], help="a YOLOX, against the loop")
    parser.add_argument("--demo", action="store_true", help="the detector that comes with streamdet, against the loop")
    parser.add_argument(
        "--competitor-python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=f"the Python of an environment with {', '.join(COMPETITORS)}; see the file's beginning",
    )
    parser.add_argument(
        "--best",
        action="append",
        metavar="KEY=VALUE",
        help=f"our best setting, also model=FILE; {' '.join(BEST)} if left out",
    )
    parser.add_argument("--labelled", type=Path, help="images on which the best setting may lose 0.5 AP")
    parser.add_argument("--report", type=Path, help="write all numbers as JSON")
    options = parser.parse_args()
    for word in options.competitor_python:
        if word.partition("=")[0] not in COMPETITORS or "=" not in word:
            parser.error(f"--competitor-python must be NAME=PATH with a name of {', '.join(COMPETITORS)}, got {word}")
    return options


def _write_report(
    options: argparse.Namespace, machine: str, contenders: Sequence[Contender], bars: Sequence[Bar]
) -> None:
    report = {
        "machine": machine,
        "video": options.video.name,
        "model": options.model.name,
        "frames": options.frames,
        "contenders": {
            row.name: {"failure": row.failure, "outcomes": [asdict(outcome) for outcome in row.outcomes]}
            for row in contenders
        },
        "bars": [asdict(bar) | {"is_met": bar.is_met} for bar in bars],
    }
    options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
