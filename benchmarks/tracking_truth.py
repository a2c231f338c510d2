"""Tracking truth: HOTA, IDF1 and MOTA on drawn streets, for every Nth frame and for frames that are dropped in bursts.

Detections are the true boxes with 2 % of their size as noise, 8 % misses, .3 false alarms a frame and scores of .2 to
1; with --demo also those of the demo detector on the drawn pictures, and what of them is shown.
Judged are the frames that the tracker saw. Beside
our ByteTrack, which counts in seconds, that of `trackers`, which counts frames.

    python -m benchmarks.tracking_truth [--seeds 10] [--seconds 8] [--demo] [--charts FOLDER]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.machine import describe_machine
from pipeline.accuracy.tracking import TrackingNumbers, tracking_accuracy
from pipeline.measure.charts import curve_chart
from pipeline.picture.boxes import intersection_over_union, match_greedily, turns
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tracking.bytetrack import ByteTrack
from pipeline.picture.tracking.tracker import NO_TRACK, TrackerOptions, track_ids_of
from pipeline.sources.street.traffic import TrafficOptions, TrafficSource
from pipeline.stages.track import Track

FPS = 30
EVERY = (1, 2, 3, 5, 10)
DROPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
BURST = 5  # frames that a burst of drops has, on average
OPTIONS = TrackerOptions()
SHOWN = SuppressionOptions(score_threshold=OPTIONS.high_score)
NAMES = ("ours, seconds", "trackers, frames")


@dataclass(frozen=True, slots=True)
class Scene:
    """A street: what is truly there, what need not be detected, and what was detected, by frame."""

    truths: list[Detections]
    ignored: list[Detections]
    detections: list[Detections]

    def at(self, indices: npt.NDArray[np.intp]) -> Scene:
        """The frames of some numbers."""
        lists = (self.truths, self.ignored, self.detections)
        return Scene(*([frames[index] for index in indices] for frames in lists))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table and write the charts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="streets (default: 10)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each street (default: 8)")
    parser.add_argument("--demo", action="store_true", help="rows with the demo detector as well, on two streets")
    parser.add_argument("--charts", type=Path, help="write tracking-every.svg and tracking-drops.svg there")
    options = parser.parse_args(arguments)
    print(describe_machine())
    scenes = [noisy_scene(seed, options.seconds) for seed in range(1, options.seeds + 1)]
    num_frames = len(scenes[0].truths)
    num_objects = sum(len(truth) for scene in scenes for truth in scene.truths)
    print(f"{len(scenes)} streets of {options.seconds:g} s at {FPS} fps, {num_objects} objects\n")
    print(f"{'':16}{NAMES[0]:>27}{NAMES[1]:>27}")
    print(f"{'':16}" + "     HOTA     IDF1     MOTA" * 2)
    by_every = {
        float(every): _row(f"every {every}", scenes, [every_nth(num_frames, every)] * len(scenes)) for every in EVERY
    }
    by_drop = {
        share: _row(
            f"drops {share:.0%}", scenes, [without_bursts(num_frames, share, seed) for seed in range(len(scenes))]
        )
        for share in DROPS
    }
    if options.demo:
        scenes = [demo_scene(seed, options.seconds) for seed in range(1, 3)]
        _row("demo detector", scenes, [every_nth(num_frames, 1)] * 2)
        print_shown([demo_scene(seed, options.seconds, "1280x720") for seed in range(1, 3)])
    if options.charts is not None:
        options.charts.mkdir(parents=True, exist_ok=True)
        _write(options.charts / "tracking-every.svg", by_every, "every Nth frame of 30 a second")
        _write(options.charts / "tracking-drops.svg", by_drop, "share of frames that is dropped in bursts")


def noisy_scene(seed: int, seconds: float, size: str = "640x360") -> Scene:
    """A street whose detections are the truth, made worse."""
    source = TrafficSource.from_spec(street_of(seed, seconds, size))
    rng = np.random.default_rng(seed)
    numbers = range(round(seconds * FPS))
    truths = [source.truth(number) for number in numbers]
    return Scene(truths, [source.ignored(number) for number in numbers], [_worse(truth, rng) for truth in truths])


def demo_scene(seed: int, seconds: float, size: str = "640x360") -> Scene:
    """A street as the demo detector sees it, with what it is unsure of."""
    from pipeline.app.run.python_api import detect

    results = detect(street_of(seed, seconds, size), model="demo", score_threshold=OPTIONS.low_score)
    return replace(noisy_scene(seed, seconds, size), detections=[result.detections for result in results])


def street_of(seed: int, seconds: float, size: str) -> str:
    """The word for a drawn street."""
    return f"sim:traffic?seed={seed}&seconds={seconds:g}&fps={FPS}&size={size}"


def _worse(truth: Detections, rng: np.random.Generator) -> Detections:
    seen = truth.select(rng.random(len(truth)) > 0.08)
    sizes = np.tile(seen.boxes_xyxy[:, 2:] - seen.boxes_xyxy[:, :2], 2)  # [N, 4]
    num_false = rng.poisson(0.3)
    corners = rng.random((num_false, 2)) * (560, 280)
    false_boxes = np.concatenate([corners, corners + 20 + rng.random((num_false, 2)) * 60], axis=1)  # [F, 4]
    boxes = np.concatenate([seen.boxes_xyxy + rng.normal(0, 0.02, sizes.shape) * sizes, false_boxes])
    return Detections(
        boxes.astype(np.float32),
        rng.uniform(0.2, 1, len(boxes)).astype(np.float32),
        np.concatenate([seen.class_ids, rng.integers(0, 4, num_false)]).astype(np.int64),
    )


def every_nth(num_frames: int, step: int) -> npt.NDArray[np.intp]:
    """The numbers of every `step`th frame."""
    return np.arange(0, num_frames, step)


def without_bursts(num_frames: int, share: float, seed: int) -> npt.NDArray[np.intp]:
    """The numbers of the frames that are left where a share is dropped in bursts of random length (Gilbert 1960)."""
    rng = np.random.default_rng(seed)
    ends, begins = 1 / BURST, share / (1 - share) / BURST
    is_dropped, kept = False, []
    for number in range(num_frames):
        is_dropped = rng.random() < (1 - ends if is_dropped else begins)
        if not is_dropped:
            kept.append(number)
    return np.array(kept, np.intp)


def _row(name: str, scenes: Sequence[Scene], kept: Sequence[npt.NDArray[np.intp]]) -> tuple[float, float]:
    """Print the means of all streets; returns HOTA of both."""
    means = []
    for track in (_ours, _library):
        numbers = [
            _judged(scene.at(indices), track(scene, indices)) for scene, indices in zip(scenes, kept, strict=True)
        ]
        means.append([statistics.mean(getattr(one, key) for one in numbers) for key in ("hota", "idf1", "mota")])
    print(f"{name:16}" + "".join(f"{value:9.3f}" for row in means for value in row), flush=True)
    return means[0][0], means[1][0]


def print_shown(scenes: Sequence[Scene]) -> None:
    """Print recall and false alarms of what `run` shows without `--track`, and with it for some `track.sure_share`."""
    num_frames = sum(len(scene.truths) for scene in scenes)
    print(f"\nwhat is shown, of the demo detector at 720p, {num_frames} frames  recall  false alarms")
    for score in (SHOWN.score_threshold, 0.3):
        plain = [[frame.select(frame.scores >= score) for frame in scene.detections] for scene in scenes]
        _print_shown(f"no tracking, score threshold {score:g}", scenes, plain)
    for share in (0.0, 0.25, 0.5, 0.75):
        _print_shown(f"--track, sure_share {share:g}", scenes, [_shown(scene, share) for scene in scenes])


def _shown(scene: Scene, sure_share: float) -> list[Detections]:
    """What the stage lets through."""
    stage = Track(partial(ByteTrack, OPTIONS), lambda: SHOWN, sure_share=sure_share)
    pixels = np.zeros((720, 1280, 3), np.uint8)
    results = [
        Result(Frame.from_pixels(pixels, pts_seconds=index / FPS), detections, ())
        for index, detections in enumerate(scene.detections)
    ]
    return [result.detections for item in results for result in stage.process(item)]


def _print_shown(name: str, scenes: Sequence[Scene], shown: Sequence[Sequence[Detections]]) -> None:
    num_objects = num_hits = num_false = 0
    for scene, frames in zip(scenes, shown, strict=True):
        for frame, truth, ignored in zip(frames, scene.truths, scene.ignored, strict=True):
            iou = intersection_over_union(frame.boxes_xyxy, truth.boxes_xyxy)  # [N, M]
            iou[frame.class_ids[:, None] != truth.class_ids] = 0
            hits, _ = match_greedily(iou, at_least=0.5, by=(turns(frame.scores), iou))
            is_false = np.all(intersection_over_union(frame.boxes_xyxy, ignored.boxes_xyxy) < 0.5, axis=1)  # [N]
            assert isinstance(is_false, np.ndarray)
            is_false[hits] = False
            num_objects, num_hits = num_objects + len(truth), num_hits + len(hits)
            num_false += int(is_false.sum())
    print(f"    {name:52}{num_hits / num_objects:7.1%}{num_false:14}", flush=True)


def _ours(scene: Scene, indices: npt.NDArray[np.intp]) -> Iterator[Detections]:
    tracker = ByteTrack(OPTIONS)
    for index in indices.tolist():
        tracked = tracker.update(scene.detections[index], index / FPS)
        yield tracked.select(track_ids_of(tracked) != NO_TRACK)


def _library(scene: Scene, indices: npt.NDArray[np.intp]) -> Iterator[Detections]:
    """The library's ByteTrack, one for each class as ours, told of frames and of no time."""
    library = import_module("trackers")
    of_class = {
        class_id: library.ByteTrackTracker(
            frame_rate=FPS,
            track_activation_threshold=OPTIONS.start_score,
            high_conf_det_threshold=OPTIONS.high_score,
            minimum_iou_threshold=OPTIONS.match_iou,
            minimum_consecutive_frames=OPTIONS.confirm_hits,
        )
        for class_id in range(len(TrafficSource(TrafficOptions()).class_names))
    }
    for index in indices.tolist():
        detections = scene.detections[index]
        ids = np.full(len(detections), NO_TRACK, np.int64)
        for class_id, tracker in of_class.items():
            chosen = np.flatnonzero((detections.class_ids == class_id) & (detections.scores >= OPTIONS.low_score))
            untracked = detections.select(chosen).to_supervision()
            untracked.data["index"] = chosen
            tracked = tracker.update(untracked)
            if len(tracked):
                ids[tracked.data["index"]] = tracked.tracker_id
        yield replace(detections, track_ids=ids).select(ids != NO_TRACK)


def _judged(scene: Scene, tracked: Iterator[Detections]) -> TrackingNumbers:
    overall = tracking_accuracy(list(tracked), scene.truths, ignored=scene.ignored).overall
    assert overall is not None, "a street has objects"
    return overall


def _write(path: Path, points: Mapping[float, tuple[float, float]], x_label: str) -> None:
    curves = {name: {x: values[index] for x, values in points.items()} for index, name in enumerate(NAMES)}
    path.write_text(curve_chart(curves, x_label=x_label, y_label="HOTA"), encoding="utf-8")


if __name__ == "__main__":
    main()
