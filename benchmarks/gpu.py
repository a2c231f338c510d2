"""How fast is each part of the GPU path, and what becomes of it with 1 to 32 streams?

    python -m benchmarks.gpu --model boxes.onnx [--planes nv12.onnx] [--torch NAME] [--video FILE] [--device tensorrt]

- floor: ONNX Runtime alone, inputs and outputs bound on the device once, no copy (a loop of ten lines, not our code);
- network: our engine with a new frame each time: upload, run, boxes back;
- decode: one 1080p file, by the processor and by the GPU's decoder;
- files, cameras: the whole path for so many copies of the file, as fast as they go and as cameras of 30 frames/s that
  nobody waits for, with the age of a frame when its boxes are there;
- torch: the same network in PyTorch, eager and compiled, where PyTorch works on the GPU (`--torch`: a name of export).

Each part of ours runs in a process of its own. What cannot be measured says why. `--device cpu` tries the script.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drawn_video import write_street
from benchmarks.machine import describe_machine
from pipeline.app.config import load_config
from pipeline.app.one_run import Case, measure_apart
from pipeline.detector.providers import load_runtime, open_session, probe_providers
from pipeline.detector.recognise import recognise
from pipeline.detector.tensorrt import input_shapes, this_machine
from pipeline.errors import StreamdetError

NUM_STREAMS = (1, 2, 4, 8, 16, 32)
SIZE_WH = (1920, 1080)
CAMERA_FPS = 30.0
_MOST_FPS = 2000  # files are so long that they do not end before they have been measured

Row = tuple[str, str, float | None, float | None, str]
"""Part, what, frames a second, p95 of the age in milliseconds, and a note."""


def main() -> None:
    """Measure and print; one line and exit code 1 where the device does not work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="an ONNX detector, best of the boxes form")
    parser.add_argument("--planes", help="the same as --form frame --pixels nv12")
    parser.add_argument("--torch", help="a name of `streamdet export --list`")
    parser.add_argument("--video", help="a video file; a drawn street in 1080p if left out")
    parser.add_argument("--device", default="cuda", choices=["cuda", "tensorrt", "cpu"])
    parser.add_argument("--streams", type=int, nargs="+", default=NUM_STREAMS)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    report = next(each for each in probe_providers() if each.device == options.device)
    if not report.works:
        sys.exit(f"benchmarks.gpu: nothing is measured: {report.detail}")
    machine = this_machine(load_runtime().__version__)
    print(f"{describe_machine()}; {machine.gpu or 'no GPU'}, driver for CUDA {machine.driver}, model {options.model}")
    print(f"{'part':9} {'what':44} {'frames/s':>9} {'age p95 ms':>11}  note")
    with tempfile.TemporaryDirectory() as folder:
        video = options.video
        if video is None:
            path = Path(folder) / "street.mp4"
            num_frames = round(_MOST_FPS * (options.seconds + 2))
            video = str(write_street(path, size_wh=SIZE_WH, num_frames=num_frames, num_drawn=30))
        for part, what, fps, age, note in rows(options, video):
            shown = ["–" if value is None else f"{value:.1f}" for value in (fps, age)]
            print(f"{part:9} {what:44} {shown[0]:>9} {shown[1]:>11}  {note}", flush=True)


def rows(options: argparse.Namespace, video: str) -> Iterator[Row]:
    """Every row, as it is measured."""
    models = [options.model, *([options.planes] if options.planes else [])]
    decoders = ("cpu",) if options.device == "cpu" else ("cpu", "cuda")
    if recognise(options.model).resize != "in-graph":
        yield _row("floor", Path(options.model).name, floor, options)
    for model in models:
        records = (False, True) if options.device != "cpu" and recognise(model).resize != "in-graph" else (False,)
        for recorded in records:
            settings = {"model": model, "engine.cuda_graph": recorded}
            name = Path(model).name + (", CUDA graph" if recorded else "")
            yield _row("network", name, _measured, options, "network", [video], settings)
    for decoder in decoders:
        yield _row("decode", decoder, _measured, options, "sources", [video], {"decode.device": decoder})
    for model in models:
        spec = recognise(model)
        for decoder in decoders:
            for number in options.streams:
                batch = min(number, 8) if spec.pixels == "packed" and spec.batch is None else 1
                settings = {"model": model, "decode.device": decoder, "engine.inflight": 2, "engine.batch": batch}
                what = f"{number} × {Path(model).name}, decoded on {decoder}"
                yield _row("files", what, _measured, options, "pipeline", [video] * number, settings)
                settings |= {"flow.mode": "live", "flow.rate_fps": CAMERA_FPS}
                yield _row("cameras", what, _measured, options, "pipeline", [video] * number, settings)
    if options.torch:
        yield _row("torch", f"{options.torch}, eager", in_torch, options, False)
        yield _row("torch", f"{options.torch}, compiled", in_torch, options, True)


def floor(options: argparse.Namespace) -> tuple[float, None]:
    """Runs a second of a bare session whose inputs and outputs lie on the device."""
    spec = recognise(options.model)
    session = open_session(Path(options.model), options.device, shapes=input_shapes(spec, max_batch=1)).session
    place = "cpu" if options.device == "cpu" else "cuda"
    binding = session.io_binding()
    width, height = spec.network_wh
    shape = (1, 3, height, width) if spec.layout in ("nchw", "chw") else (1, height, width, 3)
    image = np.random.default_rng(0).integers(0, 255, shape).astype(spec.dtype)
    feed = {spec.input_name: image[0] if spec.layout in ("chw", "hwc") else image}
    feed |= {each.name: np.array([each.values], each.dtype) for each in spec.extra_inputs}
    values = {name: load_runtime().OrtValue.ortvalue_from_numpy(value, place, 0) for name, value in feed.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, place)
    return _rate(lambda: session.run_with_iobinding(binding), options.seconds), None


def in_torch(options: argparse.Namespace, compiled: bool) -> tuple[float, None]:
    """Runs a second of the PyTorch network, float32, pixels of the network's size already on the GPU."""
    import torch

    from export.detectors import build
    from export.exportable import Wanted
    from export.forms import BoxesForm

    if options.device != "cpu" and not torch.cuda.is_available():
        raise StreamdetError(f"PyTorch {torch.__version__} finds no GPU")
    device = "cpu" if options.device == "cpu" else "cuda"
    exportable = build(Wanted(name=options.torch, weights="none"), adapter=None)
    module: Callable[..., Any] = BoxesForm(exportable).eval().to(device)
    width, height = exportable.spec.network_wh
    pixels = torch.randint(0, 255, (1, height, width, 3), dtype=torch.uint8, device=device)
    if compiled:
        module = torch.compile(module)

    def run() -> None:
        with torch.inference_mode():
            module(pixels)
        if device == "cuda":
            torch.cuda.synchronize()

    return _rate(run, options.seconds), None


def _rate(run: Callable[[], Any], seconds: float) -> float:
    for _ in range(10):
        run()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        run()
        count += 1
    return count / (time.perf_counter() - began)


def _measured(
    options: argparse.Namespace, kind: str, sources: Sequence[str], settings: dict[str, Any]
) -> tuple[float, float | None]:
    chosen = {"sources": tuple(sources), "output.show": False, "engine.device": options.device, **settings}
    case = Case.of(load_config(options=chosen), kind=kind, seconds=options.seconds)
    found = measure_apart(case)
    if kind != "pipeline":
        return float(found["fps"]), None
    return found["num_frames"] / found["measured_seconds"], found["latency_ms"]["p95"]


def _row(part: str, what: str, measure: Callable[..., tuple[float, float | None]], *arguments: Any) -> Row:
    try:
        fps, age = measure(*arguments)
    except Exception as error:  # a part that cannot be measured must not hide the others
        return part, what, None, None, f"not measured: {' '.join(str(error).split())[:200]}"
    return part, what, fps, age, ""


if __name__ == "__main__":
    main()
