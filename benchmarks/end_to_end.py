"""How much does a frame cost from file to boxes, and from file to recording, above the bare network?

Each party runs in a process of its own, all in turn, several times over; CPU time is that of the whole process, from
the first frame to the last, start-up and warm-up left out. The floor is `session.run` alone on a fixed tensor: `bare`
with ONNX Runtime's default threads, which keep all cores busy as the loop and we do, and `bare-1` with one thread,
which has the caches to itself. The loop is what one writes with OpenCV and ONNX Runtime in an hour, and writes well.

    python -m benchmarks.end_to_end VIDEO --model MODEL [--frames 200] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from benchmarks.machine import describe_machine

PARTIES = ("bare", "bare-1", "loop", "ours", "loop-recording", "ours-recording")


def bare(model: Path, num_frames: int, *, threads: int | None) -> tuple[int, float, float]:
    """The floor: the network alone, on a fixed tensor."""
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    tensor = np.random.default_rng(0).random(tuple(session.get_inputs()[0].shape), np.float32)
    name = session.get_inputs()[0].name
    for _ in range(3):
        session.run(None, {name: tensor})
    with Stopwatch() as watch:
        for _ in range(num_frames):
            session.run(None, {name: tensor})
    return num_frames, watch.wall_seconds, watch.cpu_seconds


def loop(video: Path, model: Path, num_frames: int, recording: Path | None) -> tuple[int, float, float]:
    """Read, letterbox, run, decode, suppress, draw, write, one after the other."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    spec = session.get_inputs()[0]
    _, _, height, width = spec.shape
    session.run(None, {spec.name: np.zeros(tuple(spec.shape), np.float32)})
    capture = cv2.VideoCapture(str(video))
    writer: cv2.VideoWriter | None = None
    count = 0
    with Stopwatch() as watch:
        while count < num_frames:
            ok, frame = capture.read()
            if not ok:
                break
            canvas, scale, left, top = letterboxed(frame, width, height)
            blob = cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True)
            (rows,) = session.run(None, {spec.name: blob})
            boxes, scores, class_ids = decoded(rows[0], scale, left, top)
            if recording is not None:
                if writer is None:
                    size = (frame.shape[1], frame.shape[0])
                    writer = cv2.VideoWriter(
                        str(recording), cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size
                    )
                for box, score, class_id in zip(boxes.astype(int), scores, class_ids, strict=True):
                    corner, opposite = (int(box[0]), int(box[1])), (int(box[2]), int(box[3]))
                    cv2.rectangle(frame, corner, opposite, (0, 255, 0), 2)
                    cv2.putText(frame, f"{class_id} {score:.2f}", corner, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 255, 0), 2)
                writer.write(frame)
            count += 1
        if writer is not None:
            writer.release()
    return count, watch.wall_seconds, watch.cpu_seconds


def letterboxed(frame: npt.NDArray[Any], width: int, height: int) -> tuple[npt.NDArray[Any], float, int, int]:
    """The frame in the middle of a grey canvas [height, width, 3]."""
    scale = min(width / frame.shape[1], height / frame.shape[0])
    content = cv2.resize(frame, (round(frame.shape[1] * scale), round(frame.shape[0] * scale)))
    left, top = (width - content.shape[1]) // 2, (height - content.shape[0]) // 2
    right, bottom = width - content.shape[1] - left, height - content.shape[0] - top
    canvas = cv2.copyMakeBorder(content, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return canvas, scale, left, top


def decoded(
    rows: npt.NDArray[Any], scale: float, left: int, top: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """YOLOv5's rows [N, 85] → boxes [M, 4] xyxy in source pixels, scores [M], class ids [M]."""
    rows = rows[rows[:, 4] >= 0.25]
    scores = rows[:, 5:] * rows[:, 4:5]
    class_ids = scores.argmax(axis=1)
    best = scores.max(axis=1)
    chosen = best >= 0.25
    rows, best, class_ids = rows[chosen], best[chosen], class_ids[chosen]
    corner_size = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]], axis=1)
    kept = np.array(cv2.dnn.NMSBoxesBatched(corner_size.tolist(), best.tolist(), class_ids.tolist(), 0.25, 0.5), int)
    corner_size = corner_size[kept.reshape(-1)]
    boxes = np.concatenate([corner_size[:, :2], corner_size[:, :2] + corner_size[:, 2:]], axis=1)
    return (boxes - [left, top, left, top]) / scale, best[kept.reshape(-1)], class_ids[kept.reshape(-1)]


def ours(video: Path, model: Path, num_frames: int, recording: Path | None) -> tuple[int, float, float]:
    """This pipeline, as `streamdet run` sets it up."""
    from pipeline.app.assemble import assemble
    from pipeline.app.config import load_config
    from pipeline.app.running_command import prepare_process
    from pipeline.flow.running import Running

    prepare_process()
    options = {
        "sources": (str(video),),
        "model": str(model),
        "flow.max_frames": num_frames,
        "output.show": False,
        "output.video": None if recording is None else str(recording),
    }
    assembly = assemble(load_config(options=options))
    with Stopwatch() as watch, Running(assembly.flow) as running:
        running.wait()
    return running.statistics().frames.delivered, watch.wall_seconds, watch.cpu_seconds


class Stopwatch:
    """Wall time, and CPU time of the whole process."""

    wall_seconds = cpu_seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_seconds = time.perf_counter() - self._wall
        self.cpu_seconds = time.process_time() - self._cpu


def run_party(party: str, video: Path, model: Path, num_frames: int) -> tuple[int, float, float]:
    """Frames, wall seconds and CPU seconds of one party, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "out.mp4" if party.endswith("-recording") else None
        runs: dict[str, Callable[[], tuple[int, float, float]]] = {
            "bare": lambda: bare(model, num_frames, threads=None),
            "bare-1": lambda: bare(model, num_frames, threads=1),
            "loop": lambda: loop(video, model, num_frames, recording),
            "ours": lambda: ours(video, model, num_frames, recording),
        }
        return runs[party.removesuffix("-recording")]()


def rounds(video: Path, model: Path, num_frames: int, repeats: int) -> Iterator[tuple[str, float, float]]:
    """Party, frames a second and CPU milliseconds a frame, each in a new process, in turn."""
    for _ in range(repeats):
        for party in PARTIES:
            command = [sys.executable, "-m", "benchmarks.end_to_end", str(video), "--model", str(model)]
            command += ["--frames", str(num_frames), "--party", party]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            count, wall, cpu = json.loads(output.splitlines()[-1])
            yield party, count / wall, 1000 * cpu / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="a YOLOv5 detector, which the loop decodes")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--party", choices=PARTIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.party is not None:
        print(json.dumps(run_party(options.party, options.video, options.model, options.frames)))
        return

    print(describe_machine())
    print(f"{options.video.name}, {options.model.name}, {options.frames} frames, median of {options.repeats} runs\n")
    rates: dict[str, list[float]] = {party: [] for party in PARTIES}
    costs: dict[str, list[float]] = {party: [] for party in PARTIES}
    for party, frames_per_second, milliseconds in rounds(options.video, options.model, options.frames, options.repeats):
        rates[party].append(frames_per_second)
        costs[party].append(milliseconds)
    rate = {party: statistics.median(values) for party, values in rates.items()}
    cost = {party: statistics.median(values) for party, values in costs.items()}
    print(f"{'':16} frames/s   CPU ms a frame          above bare   above bare-1")
    for party in PARTIES:
        spread = f"({min(costs[party]):.1f} to {max(costs[party]):.1f})"
        above = [f"{cost[party] - cost[floor]:12.1f}" for floor in ("bare", "bare-1")]
        print(f"{party:16} {rate[party]:8.1f}   {cost[party]:6.1f} {spread:16} {' '.join(above)}")
    for suffix, name in (("", "boxes only"), ("-recording", "with recording")):
        ours, loop = f"ours{suffix}", f"loop{suffix}"
        shares = [(cost[ours] - cost[floor]) / (cost[loop] - cost[floor]) for floor in ("bare", "bare-1")]
        print(
            f"{name}: {rate[ours] / rate[loop]:.2f} × the loop's frames/s, "
            f"{shares[0]:.2f} of its CPU time above bare, {shares[1]:.2f} above bare-1"
        )


if __name__ == "__main__":
    main()
