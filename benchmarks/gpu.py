"""GPU: bounds and whole runs on an NVIDIA GPU, and the number of cameras that it serves.

    python -m benchmarks.gpu --planes planes.onnx [--model boxes.onnx] [--torch rt_detr] [--json a.json] [--chart a.svg]

- bare: ONNX Runtime alone, everything bound on the device once, no copy, by batch, with and without a CUDA graph;
- decode: 1080p files by the GPU's decoders alone, as many at once as `--decoders` says;
- cameras: the whole path for `--streams` live cameras of 30 frames/s, with the age of a frame when its boxes are there,
  and the knee: the most cameras at p95 <= 100 ms with nothing dropped;
- files: the same as fast as it goes, beside the bound: the lower of bare network and decoders;
- memory: the most of the process and the GPU in a short run and in a longer one after it;
- torch: the same network in PyTorch, eager and compiled (`--torch`: a name that `streamdet export` knows).

The runs of a model share one process and one engine, which is opened and warmed up once. A row that is not measured
says why. `--device cpu` tries the script.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drawn_video import write_street
from benchmarks.machine import describe_machine
from pipeline.app import model_branch
from pipeline.app.config.loading import load_config, with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.engines import open_engine
from pipeline.app.gpu_settings import GpuSettings
from pipeline.app.measure_apart import Case, measure
from pipeline.detector.engine import OrtEngine, on_host
from pipeline.detector.installation import load_runtime
from pipeline.detector.probe_devices import probe_providers
from pipeline.detector.recognise import recognise
from pipeline.detector.session import open_session
from pipeline.detector.tensorrt import this_machine
from pipeline.errors import StreamdetError
from pipeline.measure.measured import Measured
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.nv12 import blank_nv12, inputs_of
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.source import VideoSource

SIZE_WH = (1920, 1080)
CAMERA_FPS = 30.0
_TORCH_HW = (640, 640)
KNEE_MS = 100.0
PARTS = ("bare", "decode", "cameras", "files", "memory", "torch")
_NUM_FRAMES = 1800  # of the file: a minute, which no run of live cameras comes to the end of
_HEADINGS = ("part", "what", "frames/s", "p50 ms", "p95 ms", "p99 ms", "dropped", "CPU ms", "GPU %", "GPU MB", "RSS MB")
_WIDTHS = (8, 46, 9, 7, 7, 7, 8, 7, 6, 7, 7)


@dataclasses.dataclass(slots=True)
class Row:
    """One line of the table; None where it does not apply."""

    part: str
    what: str
    fps: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    dropped: int | None = None
    cpu_ms: float | None = None
    gpu_percent: float | None = None
    gpu_mb: float | None = None
    rss_mb: float | None = None
    num_streams: int | None = None
    note: str = ""

    def __str__(self) -> str:
        values = [self.part, self.what, self.fps, self.p50_ms, self.p95_ms, self.p99_ms, self.dropped, self.cpu_ms]
        values += [self.gpu_percent, self.gpu_mb, self.rss_mb]
        shown = ["–" if value is None else value if isinstance(value, str) else f"{value:.4g}" for value in values]
        cells = [f"{cell:{'<' if column < 2 else '>'}{_WIDTHS[column]}}" for column, cell in enumerate(shown)]
        return "  ".join([*cells, self.note]).rstrip()


def main() -> None:
    """Measure and print; one line and exit code 1 where the device does not work."""
    options = _options()
    report = next(report for report in probe_providers() if report.device == options.device)
    if not report.works:
        sys.exit(f"benchmarks.gpu: nothing is measured: {report.detail}")
    machine = this_machine(load_runtime().__version__)
    print(f"{describe_machine()}; {machine.gpu or 'no GPU'}, driver for CUDA {machine.driver}")
    print("  ".join(f"{name:{'<' if column < 2 else '>'}{_WIDTHS[column]}}" for column, name in enumerate(_HEADINGS)))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        if options.video is None:
            options.video = str(
                write_street(Path(folder) / "a.mp4", size_wh=SIZE_WH, num_frames=_NUM_FRAMES, num_drawn=30)
            )
        for row in _rows(options):
            rows.append(row)
            print(row, flush=True)
            if options.json:
                Path(options.json).write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    for line in verdicts(rows):
        print(line)
    if options.chart:
        draw(rows, Path(options.chart), title=f"{options.planes or options.model} on {machine.gpu or options.device}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", help="an ONNX detector that takes NV12 planes")
    parser.add_argument("--model", help="one that takes pixels")
    parser.add_argument("--torch", help="a short name of `streamdet export --list`, such as rt_detr")
    parser.add_argument("--video", help="a video file; a drawn street in 1080p if left out")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--streams", type=int, nargs="+", default=(1, 2, 4, 8, 16, 24, 32))
    parser.add_argument("--file-streams", type=int, nargs="+", default=(16,))
    parser.add_argument("--decoders", type=int, nargs="+", default=(1, 8, 16))
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 4, 8, 16))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", help="where the rows go as well")
    parser.add_argument("--chart", help="an SVG of cameras against age")
    options = parser.parse_args()
    if not options.planes and not options.model:
        parser.error("--planes or --model must be given")
    return options


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    """Every row, as it is measured."""
    models = [model for model in (options.planes, options.model) if model]
    makers: dict[str, Callable[[argparse.Namespace, list[str]], Iterator[Row]]] = {
        "bare": _bare_rows,
        "decode": lambda options, models: (
            _row("decode", f"{number} at once", decode, options, number) for number in options.decoders
        ),
        "cameras": lambda options, models: _whole_rows(options, models, options.streams, is_live=True),
        "files": lambda options, models: _whole_rows(options, models, options.file_streams, is_live=False),
        "memory": lambda options, models: _memory_rows(options, models[0]),
        "torch": lambda options, models: _torch_rows(options),
    }
    for part in options.parts:
        yield from makers[part](options, models)


def _bare_rows(options: argparse.Namespace, models: list[str]) -> Iterator[Row]:
    recordings = (True, False) if options.device == "cuda" else (False,)
    for model, batch, recorded in itertools.product(models, options.batches, recordings):
        what = f"{Path(model).name}, batch {batch}{', CUDA graph' if recorded else ''}"
        yield _row("bare", what, bare, options, model, batch, recorded)


def _whole_rows(options: argparse.Namespace, models: list[str], numbers: list[int], *, is_live: bool) -> Iterator[Row]:
    for model, number in itertools.product(models, numbers):
        what = f"{number} × {Path(model).name}"
        yield _whole_row("cameras" if is_live else "files", what, options, model, number, is_live=is_live)


def _whole_row(
    part: str, what: str, options: argparse.Namespace, model: str, number: int, *, is_live: bool, longer: int = 1
) -> Row:
    case = Case.of(run_config(options, model, number, is_live=is_live), seconds=longer * options.seconds)
    row = _row(part, what, lambda: measured_row(_process_of(model).submit(measure_with_one_engine, case).result))
    row.num_streams = number
    return row


@cache
def _process_of(model: str) -> ProcessPoolExecutor:
    """The process in which a model's runs are measured."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _torch_rows(options: argparse.Namespace) -> Iterator[Row]:
    if not options.torch:
        return
    kinds = ((False, False), (False, True), (True, True))  # compiled?, channels last?
    for (compiled, is_last), batch in itertools.product(kinds, (options.batches[0], options.batches[-1])):
        what = f"{options.torch}, float16, batch {batch}, {'compiled' if compiled else 'eager'}"
        what += ", channels last" if is_last else ""
        yield _row("torch", what, in_torch, options, batch, compiled, is_last)


def bare(options: argparse.Namespace, model: str, batch: int, recorded: bool) -> Row:
    """Images a second of a session whose inputs and outputs lie on the device, and how long a run takes."""
    rate = _rate(bare_run(options, model, batch, recorded=recorded), min(1.0, options.seconds))
    return Row("", "", fps=rate * batch, p50_ms=1000 / rate)


def bare_run(options: argparse.Namespace, model: str, batch: int, *, recorded: bool) -> Callable[[], None]:
    """Runs a session on blank frames that lie on the device, as do its outputs. recorded: as a CUDA graph."""
    spec = recognise(model)
    device = "cpu" if options.device == "cpu" else "cuda"
    keys = dict(setting.split("=") for setting in options.settings)
    is_last = keys.get("engine.channels_last") == "true"
    session = open_session(Path(model), options.device, cuda_graph=recorded, channels_last=is_last).session
    feed = _blank_feed(spec, batch)
    values = load_runtime().OrtValue
    binding, kept = session.io_binding(), []
    for name, value in feed.items():
        kept.append(values.ortvalue_from_numpy(np.ascontiguousarray(value), device, 0))
        binding.bind_ortvalue_input(name, kept[-1])
    for output in session.get_outputs():
        sides = [side if isinstance(side, int) else batch for side in output.shape]
        kind = {"tensor(float)": np.float32, "tensor(int64)": np.int64}[output.type]
        kept.append(values.ortvalue_from_shape_and_type(sides, kind, device, 0))
        binding.bind_ortvalue_output(output.name, kept[-1])
    chosen = load_runtime().RunOptions()
    if recorded:
        chosen.add_run_config_entry("gpu_graph_id", "1")

    def run() -> None:
        assert kept  # which a binding does not keep
        session.run_with_iobinding(binding, chosen)

    return run


def _blank_feed(spec: DetectorSpec, batch: int) -> dict[str, Any]:
    """Inputs of blank pictures, on the host."""
    if spec.pixels == "nv12":
        return dict(on_host(inputs_of([blank_nv12(SIZE_WH)] * batch)))
    width, height = spec.network_wh
    shape = (3, height, width) if spec.channels_first else (height, width, 3)
    return {spec.input_name: np.zeros((batch, *shape), spec.dtype), **spec.extra_feed(batch)}


def decode(options: argparse.Namespace, number: int) -> Row:
    """Frames a second of `number` decoders at once, with nothing behind them."""
    counts, stop, ready = [0] * number, threading.Event(), threading.Barrier(number + 1)

    def run(index: int) -> None:
        source = VideoSource(options.video, decode=DecodeOptions(device=options.device))
        for _ in source.pictures(stop):
            if not counts[index]:
                ready.wait(20)
            counts[index] += 1

    for index in range(number):
        threading.Thread(target=run, args=(index,), daemon=True).start()
    ready.wait(30)
    began, processor, before = time.perf_counter(), time.process_time(), sum(counts)
    time.sleep(min(2.0, options.seconds))
    num_frames, seconds = sum(counts) - before, time.perf_counter() - began
    processor = time.process_time() - processor
    stop.set()
    return Row("", "", fps=num_frames / seconds, cpu_ms=1000 * processor / max(num_frames, 1))


def run_config(options: argparse.Namespace, model: str, number: int, *, is_live: bool) -> RunConfig:
    """The whole path for `number` streams of the video."""
    chosen: dict[str, object] = {"sources": (options.video,) * number, "model": model, "output.show": False}
    chosen |= {"engine.device": options.device}
    if recognise(model).pixels == "nv12":
        chosen["decode.device"] = options.device
    if is_live:
        chosen |= {"flow.mode": "live", "flow.rate_fps": CAMERA_FPS}
    return load_config(settings=options.settings, options=chosen)


_kept: dict[str, tuple[OrtEngine, dict[str, object]]] = {}  # of this process: by file, with what a trial has settled


def measure_with_one_engine(case: Case) -> Measured:
    """Measure a case in this process, with the engine that its first run has opened."""
    vars(model_branch)["open_engine"] = _open_once
    return measure(case)


def _open_once(config: RunConfig, path: Path, spec: DetectorSpec, **options: Any) -> tuple[OrtEngine, RunConfig]:
    if str(path) not in _kept:
        engine, config = open_engine(config, path, spec, **options)
        engine.close = lambda: None  # type: ignore[method-assign]
        names = [f"engine.{field.name}" for field in dataclasses.fields(GpuSettings)]
        _kept[str(path)] = engine, {name: getattr(config.engine, name.split(".")[1]) for name in names}
    engine, settled = _kept[str(path)]
    return engine, with_keys(config, settled)


def measured_row(measure_it: Callable[[], Measured]) -> Row:
    """A row of what is measured, and of how busy the GPU was meanwhile."""
    with GpuWatch() as watch:
        measured = measure_it()
    age = measured.latency_ms
    return Row(
        "",
        "",
        fps=measured.num_frames / measured.measured_seconds,
        p50_ms=age["p50"],
        p95_ms=age["p95"],
        p99_ms=age["p99"],
        dropped=measured.frames.dropped,
        cpu_ms=measured.cpu_ms_per_frame,
        gpu_percent=watch.busy_percent,
        gpu_mb=watch.most_mb,
        rss_mb=measured.memory_mb.peak,
    )


def _memory_rows(options: argparse.Namespace, model: str) -> Iterator[Row]:
    """The most memory of the process in a short run and, after that, in a longer one: it must not grow."""
    for longer in (1, 3):
        row = _whole_row("memory", "", options, model, options.file_streams[0], is_live=False, longer=longer)
        row.what = f"after {row.fps * longer * options.seconds:.0f} more frames" if row.fps else "not measured"
        yield row


def in_torch(options: argparse.Namespace, batch: int, compiled: bool, is_last: bool) -> Row:
    """The PyTorch network with random weights, in float16 on a GPU, pixels of its size already there."""
    import torch

    if options.device != "cpu" and not torch.cuda.is_available():
        raise StreamdetError(f"PyTorch {torch.__version__} finds no GPU")
    network = _torch_network(options.torch)
    is_gpu = options.device != "cpu"
    network = network.half().cuda() if is_gpu else network
    layout = torch.channels_last if is_last else torch.contiguous_format
    network = network.to(memory_format=layout)
    weight = next(network.parameters())
    pixels = torch.rand(batch, 3, *_TORCH_HW, dtype=weight.dtype, device=weight.device).to(memory_format=layout)
    module: Callable[..., object] = torch.compile(network) if compiled else network

    def run() -> None:
        with torch.inference_mode():
            module(pixels)
        if is_gpu:
            torch.cuda.synchronize()

    rate = _rate(run, min(2.0, options.seconds))
    return Row("", "", fps=rate * batch, p50_ms=1000 / rate)


def _torch_network(name: str) -> Any:
    import torchvision
    import transformers

    if name in torchvision.models.list_models(module=torchvision.models.detection):
        return torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    config = transformers.AutoConfig.for_model(name)
    return transformers.AutoModelForObjectDetection.from_config(config).eval()  # type: ignore[no-untyped-call]


class GpuWatch:
    """GPU use while it is open, as nvidia-smi reads it; None where there is no GPU."""

    busy_percent: float | None = None
    most_mb: float | None = None

    def __enter__(self) -> GpuWatch:
        query = [
            "nvidia-smi",
            "--query-gpu=utilization.gpu,memory.used",
            "--format=csv,noheader,nounits",
            "-lms",
            "200",
        ]
        self._process: subprocess.Popen[str] | None
        try:
            self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
        except OSError:
            self._process = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        lines = [line.split(",") for line in self._process.communicate()[0].splitlines() if line.count(",") == 1]
        busy = [float(line[0]) for line in lines]
        if busy:
            middle = busy[-max(1, len(busy) // 3) :]  # the last third: it was warm by then
            self.busy_percent, self.most_mb = sum(middle) / len(middle), max(float(line[1]) for line in lines)


def verdicts(rows: list[Row]) -> Iterator[str]:
    """The knee of the cameras, and the share of their bound that the files reach."""
    yield from _knees([row for row in rows if row.part == "cameras" and row.p95_ms is not None])
    decoders = max((row.fps for row in rows if row.part == "decode" and row.fps), default=None)
    if decoders:
        yield from _shares_of_bound(rows, decoders)


def _knees(cameras: list[Row]) -> Iterator[str]:
    """The most cameras that are served in time, for every model."""
    for model in dict.fromkeys(row.what.split(" × ")[1] for row in cameras):
        mine = [row for row in cameras if row.what.endswith(f" × {model}")]
        knee = f"{_most_served(mine)} cameras at {CAMERA_FPS:g} frames/s"
        yield f"{knee} with p95 <= {KNEE_MS:g} ms and no drop: {model}"


def _shares_of_bound(rows: list[Row], decoders: float) -> Iterator[str]:
    """How near the files come to the slower of the decoders, in frames a second, and the network alone."""
    networks = [(row.what, row.fps) for row in rows if row.part == "bare" and row.fps]
    for row in rows:
        model = row.what.partition(" × ")[2]
        rates = [fps for what, fps in networks if what.startswith(model)]
        if row.part == "files" and row.fps and rates:
            bound = min(max(rates), decoders)
            yield f"{row.what}: {row.fps / bound:.0%} of the binding limit of {bound:.0f} frames/s"


def draw(rows: list[Row], path: Path, *, title: str) -> None:
    """Cameras against the age of their frames, with the knee."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    mine = [row for row in rows if row.part == "cameras" and row.p95_ms is not None]
    for name, marker in (("p50", "o"), ("p95", "s"), ("p99", "^")):
        axes.plot(
            [row.num_streams or 0 for row in mine],
            [getattr(row, f"{name}_ms") for row in mine],
            marker,
            ls="-",
            label=name,
        )
    axes.axhline(KNEE_MS, color="grey", lw=0.8, ls="--")
    most = _most_served(mine)
    if most:
        axes.axvline(most, color="grey", lw=0.8)
        axes.annotate(f"{most} cameras", (most, KNEE_MS), textcoords="offset points", xytext=(-6, 6), ha="right")
    axes.set(xlabel="cameras of 1080p, 30 frames/s", ylabel="age of the boxes, ms", title=title, yscale="log")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def _most_served(cameras: list[Row]) -> int:
    served = [row.num_streams or 0 for row in cameras if (row.p95_ms or 0) <= KNEE_MS and not row.dropped]
    return max(served, default=0)


def _rate(run: Callable[[], object], seconds: float) -> float:
    for _ in range(4):
        run()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        run()
        count += 1
    return count / (time.perf_counter() - began)


def _row(part: str, what: str, measure: Callable[..., Row], *arguments: object) -> Row:
    try:
        return dataclasses.replace(measure(*arguments), part=part, what=what)
    except Exception as error:  # a part that cannot be measured must not hide the others
        return Row(part, what, note=f"not measured: {' '.join(str(error).split())[:200]}")


if __name__ == "__main__":
    main()
