"""Gated: each kind of `--gate` and the shape of the video, against every frame and the bare network, and what is lost.

    python -m benchmarks.gated --assets FOLDER [--seconds 4] [--frames 300] [--repeats 2] [--only empty,shop]
    python -m benchmarks.gated --assets FOLDER --only "people v5" --ultralytics-python envs/ultralytics/bin/python
    python -m benchmarks.gated --assets FOLDER --only cameras [--cameras 16] [--seconds 20]

Every row is a video and a detector. Rates are of whole runs on the CPU, boxes only, in turns, each in a process of its
own; the factor is the median over turns, to the run of every frame and to `session.run` alone. What is lost is counted
against the same detector on every frame, and on the drawn street against its truth; beside it what that detector says
one frame earlier, for how much it moves and flickers by itself. No factor is printed without its loss. The row
`cameras` has sixteen live cameras instead (`benchmarks.fixed_cameras`), and is printed only if it is named. On a quiet
machine of two cores all rows with the numbers above take less than ten minutes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.frame import VideoFrame

from benchmarks.competitors.rearranged import rearrange
from benchmarks.end_to_end import COMPETITORS
from benchmarks.fixed_cameras import camera_lines
from benchmarks.job import Job, Outcome, run_apart
from benchmarks.machine import describe_machine
from pipeline.accuracy.classes import in_classes_of_data, match_classes
from pipeline.accuracy.coco import coco_accuracy
from pipeline.app.compare.gated import GatedComparison, compare_gated, watch
from pipeline.app.config.loading import load_config, with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.labelled_data import labelled
from pipeline.app.measure_apart import Case, measure_apart, measure_floor_apart
from pipeline.app.model_branch import model_of
from pipeline.app.process import prepare_process
from pipeline.app.progress import WorkProgress
from pipeline.picture.choices import GateKind
from pipeline.picture.frame import PixelArray
from pipeline.sources.opening import open_source
from pipeline.sources.words import is_drawn

SURE_SCORE = 0.5
CAMERAS = "cameras"
"""The name of the row that is printed only if it is named."""
STREET = "sim:traffic?seed=3&size=640x360&fps=25"


Kind = GateKind | Literal["shape"]
"""What is tried: a gate, or every frame in the video's own shape, of a file that is made anew for it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A video and a detector. kinds: what is tried. bar: what is to be reached, in words.

    settings: further ones, with a gate.
    """

    name: str
    video: str
    model: str
    bar: str
    kinds: tuple[Kind, ...] = ("shape", "frames", "pack", "between", "between-pack")
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Speed:
    """Frames a second, and core milliseconds a frame, of each turn."""

    fps: Sequence[float]
    core_ms: Sequence[float]

    def factor(self, of: Speed) -> float:
        """How many times the frames a second of another, the median over turns."""
        return statistics.median(mine / other for mine, other in zip(self.fps, of.fps, strict=True))


def rows_of(assets: Path, folder: Path, seconds: float) -> list[Row]:
    """The rows of the table. folder: where the video of an empty street is made."""
    videos, models = assets / "videos", assets / "models"
    nano, yolov5n = (str(models / name) for name in ("yolox_nano_coco_416.onnx", "yolov5n_coco_640.onnx"))
    people, shop, bikes = (str(videos / f"{name}.mp4") for name in ("intel_one_by_one", "ds_retail02", "sk_bikes"))
    empty = str(write_empty_street(folder / "empty.mkv", seconds=seconds))
    bar = ">= 3 times every frame and the network alone; AP50 -2, AP -5 at most; entries 100 ms at p95"
    return [
        Row("people", people, nano, bar),
        Row("people v5", people, yolov5n, bar),
        Row("empty", empty, nano, "<= 8 core ms a frame"),
        Row("idle", empty, nano, "<= 8 core ms a frame", ("frames",), {"gate.decode_idle": "key-frames"}),
        Row("shop", shop, nano, ">= 1.5 times at AP -0.5; never slower than 1.03 times every frame"),
        Row("bikes", bikes, nano, "the gate closes itself: <= 1.03 times the cost, AP 0"),
        Row("street", STREET, "demo", "AP -1 at most against the truth", kinds=("frames", "between")),
    ]


def write_empty_street(path: Path, *, seconds: float, size_wh: tuple[int, int] = (1920, 1080)) -> Path:
    """A drawn street without anything that moves, with the noise of a sensor, 25 frames a second in H.264.

    It has a key frame every 2 s and no B-frames, as a camera's stream.
    """
    still = still_street(size_wh)
    random = np.random.default_rng(0)
    noise = [random.normal(0, 2, still.shape).astype(np.float32) for _ in range(8)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, options={"crf": "23", "preset": "veryfast", "g": "50", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        for index in range(max(50, round(25 * seconds))):
            pixels = np.clip(still + np.roll(noise[index % 8], 31 * index, axis=1), 0, 255).astype(np.uint8)
            container.mux(stream.encode(VideoFrame.from_ndarray(pixels, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def still_street(size_wh: tuple[int, int]) -> PixelArray:
    """One frame of the drawn street, its middle value over many, so that nobody is on it: uint8 [H, W, 3] BGR."""
    width, height = size_wh
    source = open_source(f"sim:traffic?seed=8&size={width}x{height}&fps=1&seconds=15")
    pictures = [timed.picture.copy_pixels() for timed in source.pictures(threading.Event())]
    source.close()
    return np.asarray(np.median(np.stack(pictures), axis=0), np.uint8)


def config_of(row: Row, kind: Kind | None, *, max_frames: int | None = None) -> RunConfig:
    """The run of a row."""
    options: dict[str, object] = {
        "sources": (row.video,),
        "model": row.model,
        "engine.device": "cpu",
        "flow.mode": "every-frame",
    }
    options |= {"output.show": False}
    if kind is not None:
        options |= {"engine.shape": "video"} if kind == "shape" else {"gate.kind": kind, **row.settings}
    return load_config(options=options | ({} if max_frames is None else {"flow.max_frames": max_frames}))


@dataclass(frozen=True, slots=True)
class Ultralytics:
    """Ultralytics' `predict` on a row's video. python: of an environment in which it is installed.

    model: the file in the form that it reads.
    """

    python: str
    model: Path
    num_frames: int

    def outcome(self, video: str) -> Outcome:
        """What one turn took. Raises ContenderError."""
        job = Job("", str(Path(video).resolve()), str(self.model.resolve()), self.num_frames)
        module = COMPETITORS["ultralytics"].module
        with tempfile.TemporaryDirectory() as folder:  # for its settings
            return run_apart(
                job, module=module, python=self.python, environment={**os.environ, "YOLO_CONFIG_DIR": folder}
            )


def speeds_of(row: Row, *, seconds: float, repeats: int, ultralytics: Ultralytics | None = None) -> dict[str, Speed]:
    """Of every frame, of each gate, of the network alone, and of Ultralytics if it is there, in turns."""
    configs = {"every frame": config_of(row, None)} | {kind: config_of(row, kind) for kind in row.kinds}
    others = ("network",) if ultralytics is None else ("network", "ultralytics")
    fps: dict[str, list[float]] = {name: [] for name in (*configs, *others)}
    core_ms: dict[str, list[float]] = {name: [] for name in fps}
    for _ in range(repeats):
        for name, config in configs.items():
            measured = measure_apart(Case.of(config, seconds=seconds, warm_up_frames=30))
            fps[name].append(measured.delivered_fps)
            core_ms[name].append(measured.cpu_ms_per_frame)
        bare = measure_floor_apart(Case.of(configs["every frame"], kind="network", seconds=seconds / 2))
        fps["network"].append(bare.fps)
        core_ms["network"].append(bare.cpu_ms_per_frame)
        if ultralytics is not None:
            outcome = ultralytics.outcome(row.video)
            fps["ultralytics"].append(outcome.num_frames / outcome.wall_seconds)
            core_ms["ultralytics"].append(1000 * outcome.cpu_seconds / outcome.num_frames)
    return {name: Speed(fps[name], core_ms[name]) for name in fps}


def ap_of_truth(config: RunConfig) -> float | None:
    """COCO's AP of what a run of drawn traffic shows, against its truth; None for other videos, and without objects."""
    if not is_drawn(config.source_words[0]):
        return None
    _, spec = model_of(config)
    watched, data = watch(config), labelled(config.source_words[0], None)
    classes = match_classes(spec.class_names, data.class_names)
    detections = [in_classes_of_data(of_frame, classes) for of_frame in watched.detections]
    return coco_accuracy(detections, [image.truth for image in data.images[: len(detections)]]).numbers["AP"]


def _ultralytics_of(row: Row, options: argparse.Namespace, folder: Path) -> Ultralytics | None:
    """It reads YOLOv5 alone, rearranged."""
    if options.ultralytics_python is None or "yolov5" not in row.model:
        return None
    return Ultralytics(
        options.ultralytics_python, rearrange(Path(row.model), folder / "rearranged.onnx"), options.frames
    )


def lines_of(row: Row, options: argparse.Namespace, folder: Path, say: WorkProgress) -> list[str]:
    """The lines of a row, one a gate. folder: for files that are made."""
    seconds = options.frames / 25
    if is_drawn(row.video):
        row = replace(row, video=f"{row.video}&seconds={seconds:g}")
    every_truth = ap_of_truth(config_of(row, None))
    losses: dict[Kind, tuple[GatedComparison, str]] = {}
    for kind in row.kinds:
        config = config_of(row, kind, max_frames=options.frames)
        comparison, truth = compare_gated(config, sure_score=SURE_SCORE, say=say), ap_of_truth(config)
        against = (
            "" if truth is None or every_truth is None else f"; {100 * (truth - every_truth):+.1f} AP of the truth"
        )
        losses[kind] = comparison, against
    speeds = speeds_of(
        row,
        seconds=options.seconds,
        repeats=options.repeats,
        ultralytics=_ultralytics_of(row, options, folder),
    )
    every, network = speeds["every frame"], speeds["network"]
    first = f"{row.name:10} every frame {_rate(every)}; the network alone {_rate(network)}   (bar: {row.bar})"
    if "ultralytics" in speeds:
        first += f"\n{row.name:10} Ultralytics {_rate(speeds['ultralytics'])}   (bar: >= 5 times its frames/s)"
    return [first, *(_line(row, kind, speeds[kind], speeds, *losses[kind]) for kind in row.kinds)]


def _line(
    row: Row, kind: str, speed: Speed, speeds: dict[str, Speed], comparison: GatedComparison, against_truth: str
) -> str:
    gate = comparison.gate
    factors = (
        f"{speed.factor(speeds['every frame']):.2f} x every frame, {speed.factor(speeds['network']):.2f} x network"
    )
    if "ultralytics" in speeds:
        factors += f", {speed.factor(speeds['ultralytics']):.2f} x Ultralytics"
    looked = f"{gate.duty or 0:.0%} inferred, {gate.num_packed} of {gate.num_inferred} in parts"
    looked = "all inferred" if kind == "shape" else looked
    looked += f", {gate.num_undecoded} not decoded" if gate.num_undecoded else ""
    return f"{row.name:10} {kind:12} {_rate(speed)}; {factors}; {_loss(comparison)}{against_truth}; {looked}"


def _loss(comparison: GatedComparison) -> str:
    """What is lost against every frame, of all classes."""
    agreement, jitter = comparison.agreement, comparison.jitter
    if jitter is None:
        return "nothing to lose"
    delay = comparison.entries.percentile_seconds(95)
    late = "never" if delay is None else f"{1000 * delay:.0f} ms"
    return (
        f"AP50 {100 * (agreement.ap50 - 1):+.1f} AP {100 * (agreement.ap - 1):+.1f} (one frame before "
        f"{100 * (jitter.ap50 - 1):+.1f} {100 * (jitter.ap - 1):+.1f}){_commonest(comparison)}, entries {late} at p95"
    )


def _commonest(comparison: GatedComparison) -> str:
    """What is lost of the class with most objects: a class of one or two boxes counts like any other in the mean."""
    commonest = comparison.commonest
    if commonest is None:
        return ""
    ap50, ap = commonest.agreement.ap50, commonest.agreement.ap
    return f", {commonest.name} alone {100 * (ap50 - 1):+.1f} {100 * (ap - 1):+.1f}"


def _rate(speed: Speed) -> str:
    return f"{statistics.median(speed.fps):6.1f} frames/s {statistics.median(speed.core_ms):5.1f} core ms"


def _print_cameras(options: argparse.Namespace, folder: Path, say: WorkProgress) -> None:
    def loss_of(config: RunConfig) -> str:
        few = with_keys(config, {"flow.max_frames": options.frames})
        return _loss(compare_gated(few, sure_score=SURE_SCORE, say=say))

    video, model = options.assets / "videos/intel_one_by_one.mp4", options.assets / "models/yolox_nano_coco_416.onnx"
    for line in camera_lines(video, model, folder, num=options.cameras, seconds=options.seconds, loss_of=loss_of):
        print(line, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="the folder with videos/ and models/")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement of speed")
    parser.add_argument("--frames", type=int, default=300, help="of each video that are compared with every frame")
    parser.add_argument("--repeats", type=int, default=2, help="turns of each measurement of speed")
    parser.add_argument("--cameras", type=int, default=16, help="in the row of that name, live at once")
    parser.add_argument(
        "--ultralytics-python", help="of an environment with ultralytics, to be measured beside YOLOv5n"
    )
    parser.add_argument("--only", default="", help="names of rows, with commas between them")
    options = parser.parse_args()
    prepare_process()
    print(describe_machine())
    say = WorkProgress()
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(options.assets, Path(folder), max(4.0, options.frames / 25))
        names = options.only.split(",") if options.only else [row.name for row in rows]
        unknown = sorted({*names} - {CAMERAS, *(row.name for row in rows)})
        if unknown:
            parser.error(f"--only must name {CAMERAS} or {', '.join(row.name for row in rows)}, got {unknown[0]!r}")
        for row in rows:
            if row.name in names:
                print(*lines_of(row, options, Path(folder), say), sep="\n", flush=True)
        if CAMERAS in names:
            _print_cameras(options, Path(folder), say)


if __name__ == "__main__":
    main()
