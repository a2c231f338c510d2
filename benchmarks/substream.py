"""Substream: what reading a large stream costs beside a small one at which a network looks, and what that one lacks.

    python -m benchmarks.substream --assets FOLDER [--video ds_retail02.mp4] [--size 640x360] [--frames 300]

The small stream is the large one, made smaller and encoded in H.264 as a camera does it. Core milliseconds are of
reading alone, the median of turns in one process. What is lost is counted against the same detector on the large
stream, with what that says one frame earlier beside it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from benchmarks.machine import describe_machine
from pipeline.app.compare.gated import watch
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.opened_sources import open_sources
from pipeline.app.options import size
from pipeline.app.process import prepare_process
from pipeline.measure.teacher import Labels, TeacherAgreement

SURE_SCORE = 0.5


def write_small(video: Path, path: Path, size_wh: tuple[int, int]) -> Path:
    """The video in another size, in H.264 of about a megabit a second."""
    with av.open(str(video)) as large, av.open(str(path), "w") as container:
        source = large.streams.video[0]
        stream = container.add_stream("libx264", source.average_rate, options={"preset": "veryfast", "b": "1M"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        stream.codec_context.time_base = source.time_base or Fraction(1, 90000)
        for frame in large.decode(source):
            small = frame.reformat(*size_wh, format="yuv420p", interpolation="AREA")
            small.pts, small.time_base = frame.pts, frame.time_base
            container.mux(stream.encode(small))
        container.mux(stream.encode(None))
    return path


def config_of(video: Path, small: Path | None, model: Path, num_frames: int) -> RunConfig:
    """A run on every frame. small: at which the network looks."""
    source = SourceConfig(url=str(video), detect_url=None if small is None else str(small))
    options = {"model": str(model), "engine.device": "cpu", "output.show": False, "flow.max_frames": num_frames}
    return load_config(options=options).model_copy(update={"sources": (source,)})


def core_ms(config: RunConfig, is_looked_at: Callable[[int], bool]) -> float:
    """Core milliseconds a frame of reading a source, with the pixels of the large pictures that are looked at."""
    (source,) = open_sources(config).values()
    num, began = 0, time.process_time()
    for number, timed in enumerate(source.pictures(threading.Event())):
        num += 1
        if is_looked_at(number):
            _ = timed.picture.pixels
    elapsed = time.process_time() - began
    source.close()
    return 1000 * elapsed / num


def print_costs(alone: RunConfig, beside: RunConfig, *, repeats: int) -> None:
    """A line for each way of reading, taken in turns."""
    ways: dict[str, tuple[RunConfig, Callable[[int], bool]]] = {
        "the large stream alone, nothing shown": (alone, lambda _: False),
        "both, nothing shown": (beside, lambda _: False),
        "both, a snapshot every 100 frames": (beside, lambda number: number % 100 == 99),
        "the large stream alone, all shown": (alone, lambda _: True),
        "both, all shown": (beside, lambda _: True),
    }
    turns = [{name: core_ms(*way) for name, way in ways.items()} for _ in range(repeats)]
    for name in ways:
        print(f"{name:40} {statistics.median(turn[name] for turn in turns):5.2f} core ms a frame")


def print_losses(alone: RunConfig, beside: RunConfig) -> None:
    """What the detector lacks that looks at the small stream."""
    teacher, own = watch(alone), watch(beside)
    labels = [Labels.of(of_frame, sure_score=SURE_SCORE) for of_frame in teacher.detections]
    shown = {"the small stream": own.detections, "one frame before": (teacher.detections[0], *teacher.detections[:-1])}
    for name, detections in shown.items():
        agreement = TeacherAgreement.of(detections, labels, teacher.sizes_wh, shown_score=teacher.shown.score_threshold)
        losses = f"AP50 {100 * (agreement.ap50 - 1):+.1f} AP {100 * (agreement.ap - 1):+.1f}"
        print(f"{name:40} {losses}, recall {agreement.all.share or 0:.1%} of {agreement.all.num_objects}")


def main() -> None:
    """Print what is gained and what it costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="the folder with videos/ and models/")
    parser.add_argument("--video", default="ds_retail02.mp4", help="of that folder")
    parser.add_argument("--size", default="640x360", help="of the small stream")
    parser.add_argument("--frames", type=int, default=300, help="that are compared with the large stream")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each measurement")
    options = parser.parse_args()
    prepare_process()
    print(describe_machine())
    video, model = options.assets / "videos" / options.video, options.assets / "models" / "yolox_nano_coco_416.onnx"
    with tempfile.TemporaryDirectory() as folder:
        small = write_small(video, Path(folder) / "small.mp4", size(options.size, "--size"))
        configs = [config_of(video, of_network, model, options.frames) for of_network in (None, small)]
        print_costs(configs[0], configs[1], repeats=options.repeats)
        print_losses(configs[0], configs[1])


if __name__ == "__main__":
    main()
