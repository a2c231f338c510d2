"""GPU timeline: what the GPU does while streams run, copy by copy and kernel by kernel.

    python -m benchmarks.gpu_timeline --planes planes.onnx [--streams 8] [--seconds 1] [--chart a.svg] [--json a.json]
    python -m benchmarks.gpu_timeline --planes planes.onnx --bare [--batch 8] [--set engine.channels_last=true]

PyTorch's profiler (CUPTI) records the whole process, ONNX Runtime's kernels and the decoders' copies included. Printed
are the time of each kind of work a frame, how much of the copying goes on while kernels run, and the kernels that cost
most. `--bare` records the network alone, without a CUDA graph unless it is set.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.drawn_video import write_street
from benchmarks.gpu import CAMERA_FPS, SIZE_WH, bare_run
from benchmarks.machine import describe_machine
from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.flow.running import Running

_NUM_FRAMES = 900
_MOST_KERNELS = 14
_CHART_MS = 60.0

Span = tuple[float, float]
"""Begin and end, microseconds."""


@dataclass(frozen=True, slots=True)
class Activity:
    """Something that the GPU did: a kernel, or a copy."""

    kind: str  # kernel, upload, download, gather (from the device to the device), memset
    name: str
    stream: int
    span: Span

    @property
    def us(self) -> float:
        return self.span[1] - self.span[0]


def main() -> None:
    """Record, print, draw."""
    options = _options()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        if options.bare:
            activities, num_frames = record_bare(options, Path(folder))
        else:
            video = options.video or str(
                write_street(Path(folder) / "a.mp4", size_wh=SIZE_WH, num_frames=_NUM_FRAMES, num_drawn=30)
            )
            activities, num_frames = record_run(options, video, Path(folder))
    for line in summary(activities, num_frames):
        print(line)
    if options.json:
        rows = [[activity.kind, activity.name[:80], activity.stream, *activity.span] for activity in activities]
        Path(options.json).write_text(json.dumps({"frames": num_frames, "activities": rows}))
    if options.chart and activities:
        draw(activities, Path(options.chart), title=f"{options.streams} × {Path(options.planes).name}")
    sys.stdout.flush()
    os._exit(0)  # PyTorch's profiler and ONNX Runtime both take CUDA down at a normal exit, the second of them in vain


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", required=True, help="an ONNX detector that takes NV12 planes")
    parser.add_argument("--bare", action="store_true", help="the network alone")
    parser.add_argument("--batch", type=int, default=8, help="of the bare network")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--files", action="store_true", help="as fast as it goes, instead of 30 frames/s each")
    parser.add_argument("--video", help="a video file; a drawn street in 1080p if left out")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", help="where the activities go as well")
    parser.add_argument("--chart", help=f"an SVG or PNG of {_CHART_MS:g} ms")
    return parser.parse_args()


def record_run(options: argparse.Namespace, video: str, folder: Path) -> tuple[list[Activity], int]:
    """What the GPU does while a run goes on that is warm, and the number of frames delivered meanwhile."""
    chosen: dict[str, object] = {"sources": (video,) * options.streams, "model": options.planes}
    chosen |= {"output.show": False, "engine.device": options.device, "decode.device": options.device}
    if not options.files:
        chosen |= {"flow.mode": "live", "flow.rate_fps": CAMERA_FPS}
    assembly = assemble(load_config(settings=options.settings, options=chosen), loops=True)
    with Running(assembly.flow) as running:
        _wait_for(lambda: running.statistics().frames.delivered > 20 * options.streams)
        running.forget_warm_up()
        before = running.statistics().frames.delivered
        activities = record(lambda: time.sleep(options.seconds), folder)
        num_frames = running.statistics().frames.delivered - before
        running.stop()
    return activities, num_frames


def _wait_for(is_true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.05)


def record_bare(options: argparse.Namespace, folder: Path) -> tuple[list[Activity], int]:
    """What the GPU does in ten runs of the network alone, and the number of images in them."""
    is_recorded = "engine.cuda_graph=true" in options.settings
    run = bare_run(options, options.planes, options.batch, recorded=is_recorded)
    for _ in range(4):
        run()
    return record(lambda: [run() for _ in range(10)], folder), 10 * options.batch


def record(work: Callable[[], object], folder: Path) -> list[Activity]:
    """The GPU's activities during some work of this process, in order."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    activity = ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as profiler:
        work()
    path = folder / "trace.json"
    profiler.export_chrome_trace(str(path))
    return activities_of(json.loads(path.read_text())["traceEvents"])


def activities_of(events: Iterable[Mapping[str, object]]) -> list[Activity]:
    """The kernels and copies of a Chrome trace, in order."""
    activities = []
    for event in events:
        kind = _kind_of(str(event.get("cat")), str(event.get("name")))
        if kind is None or event.get("ph") != "X":
            continue
        arguments = event["args"]
        assert isinstance(arguments, Mapping)
        begin = float(str(event["ts"]))
        span = begin, begin + float(str(event["dur"]))
        activities.append(Activity(kind, str(event["name"]), int(arguments.get("stream", 0)), span))
    return sorted(activities, key=lambda activity: activity.span)


def _kind_of(category: str, name: str) -> str | None:
    if category == "kernel":
        return "kernel"
    if category == "gpu_memset":
        return "memset"
    if category != "gpu_memcpy":
        return None
    return "upload" if "HtoD" in name else "download" if "DtoH" in name else "gather"


def summary(activities: list[Activity], num_frames: int) -> Iterable[str]:
    """What each kind of work costs a frame, what overlaps, and the kernels that cost most."""
    if not activities:
        yield "the GPU did nothing that was recorded"
        return
    window_us = max(activity.span[1] for activity in activities) - activities[0].span[0]
    kernels = union(activity.span for activity in activities if activity.kind == "kernel")
    frames = max(num_frames, 1)
    busy = length(kernels) / window_us
    yield f"{num_frames} frames in {window_us / 1000:.1f} ms; the GPU computed for {busy:.0%} of it"
    by_kind: dict[str, list[Activity]] = defaultdict(list)
    for activity in activities:
        by_kind[activity.kind].append(activity)
    for kind, mine in by_kind.items():
        total = sum(activity.us for activity in mine)
        line = f"{kind:9} {len(mine) / frames:8.1f} a frame  {total / frames / 1000:8.4f} ms a frame"
        if kind != "kernel":
            spans = union(activity.span for activity in mine)
            line += f", {length(shared(spans, kernels)) / max(length(spans), 1e-9):.0%} of it while kernels ran"
        yield line
    by_name: dict[str, list[float]] = defaultdict(list)
    for activity in by_kind["kernel"]:
        by_name[activity.name].append(activity.us)
    all_us = sum(activity.us for activity in by_kind["kernel"])
    for name, costs in sorted(by_name.items(), key=lambda item: -sum(item[1]))[:_MOST_KERNELS]:
        share, us = sum(costs) / max(all_us, 1e-9), sum(costs) / frames
        yield f"  {share:6.1%}  {us:8.1f} us a frame  {len(costs):6}  {name[:110]}"


def union(spans: Iterable[Span]) -> list[Span]:
    """The same stretches of time, joined where they touch."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((begin, end))
    return joined


def shared(a: list[Span], b: list[Span]) -> list[Span]:
    """The time that lies in both of two unions."""
    overlaps, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        begin, end = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if begin < end:
            overlaps.append((begin, end))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return overlaps


def length(spans: Iterable[Span]) -> float:
    """Microseconds in all."""
    return sum(end - begin for begin, end in spans)


def draw(activities: list[Activity], path: Path, *, title: str) -> None:
    """Rows of uploads, gathers, kernels by stream and downloads, over some milliseconds from the middle."""
    import matplotlib as mpl

    mpl.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot

    middle = activities[len(activities) // 2].span[0]
    shown = [activity for activity in activities if middle <= activity.span[0] < middle + 1000 * _CHART_MS]
    order = ("upload", "gather", "memset", "kernel", "download")
    rows = sorted({(order.index(activity.kind), activity.stream) for activity in shown})
    names = [f"{order[kind]}, stream {stream}" for kind, stream in rows]
    figure, axes = pyplot.subplots(figsize=(9, 0.8 + 0.32 * len(rows)))
    for index, (kind, stream) in enumerate(rows):
        mine = union(activity.span for activity in shown if activity.kind == order[kind] and activity.stream == stream)
        bars = [((begin - middle) / 1000, (end - begin) / 1000) for begin, end in mine]
        axes.broken_barh(bars, (index - 0.4, 0.8), color=f"C{kind}", lw=0)
    axes.set(yticks=range(len(rows)), yticklabels=names, xlabel="ms", title=title, xlim=(0, _CHART_MS))
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
