"""How much does a frame cost from file to boxes, and from file to recording, above what has to be done anyway?

Each party runs in a process of its own, all in turn, several times over, on the same frames with the same thresholds;
CPU time is that of the whole process, from the first frame to the last, start-up and warm-up left out.

Floors: `bare` is `session.run` alone on a fixed tensor with ONNX Runtime's default threads, which keep all cores busy
as the loop and we do; `bare-1` has one thread, and the caches to itself; `bare-1-pair` is two such callers at once.
`decode` decodes and throws away, with one thread; `convert` makes network inputs of pictures that are decoded already;
`encode` encodes pictures on which boxes are drawn already, with our recording's options; nothing is converted for it.
The loop (`benchmarks.by_hand`) is what one writes with OpenCV and ONNX Runtime in an hour, and writes well; its
recording is MPEG-4 part 2, because OpenCV's wheel has no H.264. Guests run in environments of their own:

    python3 -m venv guests/ultralytics && guests/ultralytics/bin/pip install ultralytics onnxruntime
    python3 -m venv guests/roboflow && guests/roboflow/bin/pip install inference supervision
    guests/roboflow/bin/pip install --no-deps onnxruntime==VERSION      # the same as ours, newer than what it pins
    python3 -m venv guests/plain && guests/plain/bin/pip install inference supervision      # and left as it comes

A small detector's video for `--demo` is drawn traffic, written to a file before: drawing costs more than detecting.

    python -m benchmarks.end_to_end VIDEO --model YOLOV5.onnx [--frames 200] [--repeats 3]
        [--guest-python ultralytics=guests/ultralytics/bin/python] [--guest-python roboflow=guests/roboflow/bin/python]
        [--guest-python roboflow-plain=guests/plain/bin/python]
        [--small YOLOX.onnx] [--demo] [--labelled FOLDER] [--best KEY=VALUE] [--report FILE.json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from benchmarks.by_hand import HandWritten, draw
from benchmarks.competitors.rearranged import rearrange
from benchmarks.contender import IOU_THRESHOLD, SCORE_THRESHOLD, Job, Outcome, PartyError, Stopwatch, do_job, run_apart
from benchmarks.drawn_video import write_street
from benchmarks.machine import describe_machine
from pipeline.app.assemble import DEMO_MODEL
from pipeline.picture.detections import Detections, Result
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame
from pipeline.picture.i420 import I420, HasI420
from pipeline.sources.opening import open_source

GUESTS = {
    "ultralytics": ("benchmarks.competitors.ultralytics_predict", "ultralytics onnxruntime"),
    "roboflow": ("benchmarks.competitors.roboflow_pipeline", "inference supervision"),
    "roboflow-plain": ("benchmarks.competitors.roboflow_pipeline", "inference supervision"),
}
FP32 = ("engine.device=cpu", "engine.precision=fp32")
BEST = ("engine.device=openvino", "engine.precision=bf16")

# Decoded 1080p pictures are 3 MB each.
_MOST_HELD = 48


@dataclass(slots=True)
class Party:
    """One row: what is run, in which Python, and what has come of it until now."""

    name: str
    job: Job
    records: bool = False
    module: str = "benchmarks.end_to_end"
    python: str | None = sys.executable  # None: there is none, and `failure` says what to do
    may_fail: bool = False
    failure: str = ""
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def fps(self) -> float:
        return statistics.median(self.all_fps)

    @property
    def all_fps(self) -> list[float]:
        return [each.num_frames / each.wall_seconds for each in self.outcomes]

    @property
    def cpu_ms(self) -> float:
        return statistics.median(self.all_cpu_ms)

    @property
    def all_cpu_ms(self) -> list[float]:
        return [1000 * each.cpu_seconds / each.num_frames for each in self.outcomes]

    @property
    def detections_a_frame(self) -> float | None:
        found = [each.num_detections / each.num_frames for each in self.outcomes if each.num_detections is not None]
        return statistics.median(found) if found else None


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of what is to be reached; `value` None where a party beside us is missing."""

    name: str
    value: float | None
    limit: float
    at_most: bool = False
    remark: str = ""

    @property
    def is_met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def bare(job: Job, *, num_callers: int = 1) -> Outcome:
    """The floor: the network alone, on a fixed tensor; several callers share the frames."""
    options = onnxruntime.SessionOptions()
    if job.threads is not None:
        options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    sides = [side if isinstance(side, int) else 1 for side in image.shape]  # a batch of any size is one of 1
    noise = np.random.default_rng(0).random(sides, np.float32)
    tensor = (255 * noise).astype(np.uint8) if image.type == "tensor(uint8)" else noise

    def run(num_frames: int) -> None:
        for _ in range(num_frames):
            session.run(None, {image.name: tensor})

    run(3)
    share = -(-job.num_frames // num_callers)
    callers = [threading.Thread(target=run, args=(share,)) for _ in range(num_callers)]
    with Stopwatch() as watch:
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    return watch.outcome(share * num_callers)


def bare_pair(job: Job) -> Outcome:
    """Two callers at once, as many as we have on two cores."""
    return bare(job, num_callers=2)


def decode(job: Job) -> Outcome:
    """Decoded and thrown away."""
    import av

    with av.open(job.video) as container, Stopwatch() as watch:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        count = sum(1 for _ in itertools.islice(container.decode(stream), job.num_frames))
    return watch.outcome(count)


def convert(job: Job) -> Outcome:
    """Network inputs of decoded pictures, as the preprocess stage makes them."""
    from pipeline.app.run.command import prepare_process
    from pipeline.detector.recognise import recognise
    from pipeline.stages.preprocess import Preprocess

    prepare_process()
    source = open_source(job.video)
    timed_pictures = itertools.islice(source.pictures(threading.Event()), min(job.num_frames, _MOST_HELD))
    frames = [Frame(timed.picture, "", index, timed.pts_seconds, 0.0) for index, timed in enumerate(timed_pictures)]
    stage = Preprocess(recognise(Path(job.model)))
    with Stopwatch() as watch:
        for index in range(job.num_frames):
            for prepared in stage.process(frames[index % len(frames)]):
                prepared.give_back()
    source.close()
    return watch.outcome(job.num_frames)


def encode(job: Job) -> Outcome:
    """Pictures with boxes on them into the encoder that our recording uses, with its options and one thread."""
    import av

    from pipeline.sinks.recording import CODEC_OPTIONS

    planes = list(_annotated(job))
    with av.open(f"{job.folder}/encoded.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=30, options=CODEC_OPTIONS["libx264"])
        (stream.width, stream.height), stream.pix_fmt = planes[0].size_wh, "yuv420p"
        stream.codec_context.thread_count = 1
        frames = [av.VideoFrame.from_ndarray(each.planes, format="yuv420p") for each in planes]
        with Stopwatch() as watch:
            for index in range(job.num_frames):
                frame = frames[index % len(frames)]
                frame.pts = index
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return watch.outcome(job.num_frames)


def _annotated(job: Job) -> Iterator[I420]:
    """The first pictures, with what the loop finds in them drawn on their planes."""
    detector = HandWritten(job.model)
    source = open_source(job.video)
    for timed in itertools.islice(source.pictures(threading.Event()), min(job.num_frames, _MOST_HELD)):
        assert isinstance(timed.picture, HasI420)
        planes = timed.picture.copy_i420()
        assert planes is not None, "this video has no planes of 8 bits in 4:2:0"
        boxes, scores, class_ids = detector(timed.picture.pixels)
        found = Detections(boxes.astype(np.float32), scores.astype(np.float32), class_ids.astype(np.int64))
        draw_result(planes, Result(Frame(timed.picture, "", 0, 0.0, 0.0), found, ()))
        yield planes
    source.close()


def loop(job: Job) -> Outcome:
    """Read, letterbox, run, decode, suppress, draw, write, one after the other."""
    detector = HandWritten(job.model)
    capture = cv2.VideoCapture(job.video)
    writer: cv2.VideoWriter | None = None
    count = num_detections = 0
    with Stopwatch() as watch:
        while count < job.num_frames:
            ok, frame = capture.read()
            if not ok:
                break
            found = detector(frame)
            if job.folder is not None:
                if writer is None:
                    writer = cv2.VideoWriter(
                        f"{job.folder}/loop.mp4",
                        cv2.VideoWriter.fourcc(*"mp4v"),
                        capture.get(cv2.CAP_PROP_FPS),
                        (frame.shape[1], frame.shape[0]),
                    )
                draw(frame, found)
                writer.write(frame)
            count += 1
            num_detections += len(found[1])
        if writer is not None:
            writer.release()
    return watch.outcome(count, num_detections)


def ours(job: Job) -> Outcome:
    """This pipeline, as `streamdet run` sets it up, and a sink that counts."""
    from pipeline.app.assemble import assemble
    from pipeline.app.config import load_config
    from pipeline.app.run.command import OverlayText, prepare_process
    from pipeline.flow.running import Running

    class Counting:
        num_detections = 0

        def write(self, item: Result) -> None:
            self.num_detections += len(item.detections)

        def close(self) -> None:
            """Nothing is held."""

    prepare_process()
    options = {
        "sources": (job.video,),
        "model": job.model,
        "detection.score_threshold": SCORE_THRESHOLD,
        "detection.iou_threshold": IOU_THRESHOLD,
        "flow.max_frames": job.num_frames,
        "output.show": False,
        "output.video": None if job.folder is None else f"{job.folder}/ours.mp4",
    }
    # What is set for one party alone goes above what all have in common.
    given = {key: value for key, value in options.items() if key not in {each.split("=")[0] for each in job.settings}}
    overlay, counting = OverlayText(), Counting()
    assembly = assemble(load_config(settings=job.settings, options=given), overlay=overlay)
    running = Running(assembly.flow.to(counting, name="count"))
    overlay.statistics = running.statistics
    with Stopwatch() as watch, running:
        running.wait()
    delivered = running.statistics().frames.delivered
    return watch.outcome(delivered, counting.num_detections, assembly.engine.describe())


WORK = {
    "bare": bare,
    "bare-pair": bare_pair,
    "decode": decode,
    "convert": convert,
    "encode": encode,
    "loop": loop,
    "ours": ours,
}


def parties_of(options: argparse.Namespace, folder: Path) -> list[Party]:
    """Everybody who takes part; what they read is made in the folder."""
    video, model, num_frames = str(options.video.resolve()), str(options.model.resolve()), options.frames

    def party(name: str, kind: str, *, records: bool = False, **others: Any) -> Party:
        told = {"video": video, "model": model, "num_frames": num_frames, **others}
        return Party(name, Job(kind, **told), records)

    parties = [
        party("bare", "bare"),
        party("bare-1", "bare", threads=1),
        party("bare-1-pair", "bare-pair", threads=1),
        party("decode", "decode"),
        party("convert", "convert"),
        party("encode", "encode", records=True),
    ]
    best = party("ours-best", "ours", settings=tuple(options.best or BEST))
    best.may_fail = True
    pythons = dict(each.split("=", 1) for each in options.guest_python)
    readable = rearrange(options.model, folder / f"{options.model.stem}-rearranged.onnx") if pythons else options.model
    told_to: dict[str, dict[str, Any]] = {
        "ultralytics": {"model": str(readable)},
        "roboflow-plain": {"settings": ("defaults",)},
    }
    for suffix, records in (("", False), ("-recording", True)):
        parties += [
            party(f"loop{suffix}", "loop", records=records),
            party(f"ours{suffix}", "ours", records=records, settings=FP32),
        ]
        for guest, (module, packages) in GUESTS.items():
            row = party(f"{guest}{suffix}", guest, records=records, **told_to.get(guest, {}))
            row.module, row.may_fail, row.python = module, True, pythons.get(guest)
            if row.python is None:
                row.failure = f"not installed: pip install {packages}, then --guest-python {guest}=…"
            parties.append(row)
    parties.append(best)
    small = [(path.stem, str(path.resolve()), video) for path in options.small]
    if options.demo:
        street = write_street(
            folder / "street.mp4", size_wh=(1280, 720), num_frames=num_frames, num_drawn=min(num_frames, 300)
        )
        small.append(("demo", str(DEMO_MODEL), str(street)))
    for name, path, seen in small:
        parties += [
            party(f"bare-1-pair {name}", "bare-pair", threads=1, model=path),
            party(f"loop {name}", "loop", model=path, video=seen),
            party(f"ours {name}", "ours", settings=FP32, model=path, video=seen),
        ]
    return parties


def measure_in_turns(parties: Sequence[Party], repeats: int, folder: Path) -> None:
    """Everybody once, then everybody again, each in a new process. Raises PartyError for one that must not fail."""
    # Ultralytics writes its settings beside its cache; not into the home of whoever measures.
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(folder)}
    for _, party in itertools.product(range(repeats), parties):
        if party.failure:
            continue
        assert party.python is not None
        with tempfile.TemporaryDirectory(dir=folder) as outputs:
            told = asdict(party.job) | {"folder": outputs if party.records else None}
            try:
                party.outcomes.append(
                    run_apart(Job(**told), module=party.module, python=party.python, environment=environment)
                )
            except (PartyError, OSError) as error:
                if not party.may_fail:
                    raise
                party.failure = str(error)


def bars_of(parties: Sequence[Party], lost_ap: float | None, small: Sequence[str]) -> list[Bar]:
    """What is to be reached on two cores, and what has been."""
    by_name = {party.name: party for party in parties if party.outcomes and not party.failure}

    # Of each turn, and then the median: what disturbs the machine for minutes disturbs both alike.
    def above(name: str, floor: str) -> float:
        pairs = zip(by_name[name].all_cpu_ms, by_name[floor].all_cpu_ms, strict=True)
        return statistics.median(ours - others for ours, others in pairs)

    def rate(name: str, other: str) -> float | None:
        if not {name, other} <= set(by_name):
            return None
        pairs = zip(by_name[name].all_fps, by_name[other].all_fps, strict=True)
        return statistics.median(ours / others for ours, others in pairs)

    bars = []
    for suffix, words, limit in (("", "boxes only", 12.0), ("-recording", "with a recording", 26.0)):
        others = ", ".join(
            f"{party} {above(party + suffix, 'bare'):.1f}" for party in ("loop", *GUESTS) if party + suffix in by_name
        )
        ours = f"ours{suffix}"
        remark = f"{others}; ours above bare-1 {above(ours, 'bare-1'):.1f}"
        bars.append(Bar(f"CPU ms a frame above bare, {words}", above(ours, "bare"), limit, True, remark))
    for suffix, words, over_ultralytics in (("", "boxes only", 1.2), ("-recording", "with a recording", 1.6)):
        bars.append(
            Bar(f"frames/s of Ultralytics, {words}", rate(f"ours{suffix}", f"ultralytics{suffix}"), over_ultralytics)
        )
        for guest, how in (("roboflow-plain", "as it comes"), ("roboflow", "with our settings and runtime")):
            ceiling = rate("bare-1-pair", f"{guest}{suffix}")
            remark = "" if ceiling is None else f"{ceiling:.2f} for the bare network alone"
            value = rate(f"ours{suffix}", f"{guest}{suffix}")
            bars.append(Bar(f"frames/s of Roboflow {how}, {words}", value, 2.2, False, remark))
    bars.append(Bar("frames/s of Ultralytics, our best setting, boxes only", rate("ours-best", "ultralytics"), 2.5))
    bars.append(Bar("AP lost by our best setting, points", lost_ap, 0.5, True))
    for name in small:
        ceiling = rate(f"bare-1-pair {name}", f"loop {name}")
        remark = "" if ceiling is None else f"{ceiling:.2f} for the bare network alone"
        bars.append(Bar(f"frames/s of the loop, {name}", rate(f"ours {name}", f"loop {name}"), 1.5, False, remark))
    for suffix, words, floors in (
        ("", "boxes only", ("decode", "convert")),
        ("-recording", "with a recording", ("decode", "convert", "encode")),
    ):
        shares = {
            network: statistics.median(
                sum(costs) / spent
                for spent, *costs in zip(
                    *(by_name[name].all_cpu_ms for name in (f"ours{suffix}", network, *floors)), strict=True
                )
            )
            for network in ("bare-1", "bare-1-pair", "bare")
        }
        remark = ", ".join(f"{share:.3f} with {network}" for network, share in shares.items())
        bars.append(Bar(f"efficiency, {words}", shares["bare-1"], 0.95, False, remark))
    return bars


def lost_ap(model: Path, labelled: Path, settings: Sequence[str], folder: Path) -> float | None:
    """AP points that settings lose on labelled images against fp32 on the CPU; None where they do not run."""
    found = []
    for number, each in enumerate((FP32, settings)):
        report = folder / f"eval-{number}.json"
        told = {"model": str(model)} | dict(setting.split("=", 1) for setting in each)
        command = [sys.executable, "-m", "pipeline.app.cli", "eval", "--model", told.pop("model")]
        command += ["--data", str(labelled), "--report", str(report)]
        command += [word for key, value in told.items() for word in ("--set", f"{key}={value}")]
        if subprocess.run(command, capture_output=True).returncode:
            return None
        found.append(100 * json.loads(report.read_text())["results"][0]["coco"]["AP"])
    return float(found[0] - found[1])


def print_parties(parties: Sequence[Party]) -> None:
    """One line a party."""
    floors = {party.name: party.cpu_ms for party in parties if party.name in ("bare", "bare-1")}
    width = max(len(party.name) for party in parties)
    print(f"{'':{width}} frames/s   CPU ms a frame          above bare  above bare-1  detections a frame")
    for party in parties:
        if party.failure or not party.outcomes:
            print(f"{party.name:{width}} {party.failure}")
            continue
        spread = f"({min(party.all_cpu_ms):.1f} to {max(party.all_cpu_ms):.1f})"
        detections = "" if party.detections_a_frame is None else f"{party.detections_a_frame:.2f}"
        has_network = party.name not in ("decode", "convert", "encode") and " " not in party.name
        above = " ".join(f"{party.cpu_ms - floor:12.1f}" if has_network else " " * 12 for floor in floors.values())
        print(
            f"{party.name:{width}} {party.fps:8.1f}   {party.cpu_ms:6.1f} {spread:16} {above}  {detections:>10}  "
            f"{party.outcomes[-1].remark}"
        )


def print_bars(bars: Sequence[Bar]) -> None:
    """One line a bar."""
    width = max(len(bar.name) for bar in bars)
    print(f"\n{'':{width}}  reached      bar")
    for bar in bars:
        value = "–" if bar.value is None else f"{bar.value:.2f}"
        said = {True: "met", False: "NOT met", None: "not measured"}[bar.is_met]
        print(f"{bar.name:{width}} {value:>8}   {'≤' if bar.at_most else '≥'} {bar.limit:5.2f}  {said:12} {bar.remark}")


def main() -> None:
    if len(sys.argv) == 1 and not sys.stdin.isatty():  # a party, with its job on stdin
        do_job(lambda job: WORK[job.kind](job))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="a YOLOv5 detector of COCO's classes")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", type=Path, action="append", default=[], help="a YOLOX, against the loop")
    parser.add_argument("--demo", action="store_true", help="the detector that comes with streamdet, against the loop")
    parser.add_argument("--guest-python", action="append", default=[], metavar="GUEST=PATH", help="see above")
    parser.add_argument(
        "--best",
        action="append",
        metavar="KEY=VALUE",
        help=f"our best setting, also model=FILE; {' '.join(BEST)} if left out",
    )
    parser.add_argument("--labelled", type=Path, help="images on which the best setting may lose 0.5 AP")
    parser.add_argument("--report", type=Path, help="write all numbers as JSON")
    options = parser.parse_args()
    unknown = [each for each in options.guest_python if each.partition("=")[0] not in GUESTS or "=" not in each]
    if unknown:
        parser.error(f"--guest-python must be GUEST=PATH with a guest of {', '.join(GUESTS)}, got {unknown[0]}")

    machine = describe_machine()
    print(machine)
    print(f"{options.video.name}, {options.model.name}, {options.frames} frames, median of {options.repeats} runs\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parties = parties_of(options, folder)
        measure_in_turns(parties, options.repeats, folder)
        best = options.best or BEST
        lost = None if options.labelled is None else lost_ap(options.model, options.labelled, best, folder)
    small = [path.stem for path in options.small] + (["demo"] if options.demo else [])
    bars = bars_of(parties, lost, small)
    print_parties(parties)
    print_bars(bars)
    if options.report is not None:
        rows = {
            party.name: {"failure": party.failure, "outcomes": [asdict(each) for each in party.outcomes]}
            for party in parties
        }
        reached = [asdict(bar) | {"is_met": bar.is_met} for bar in bars]
        about = {"machine": machine, "video": options.video.name, "model": options.model.name}
        text = json.dumps({**about, "frames": options.frames, "parties": rows, "bars": reached}, indent=2)
        options.report.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
