"""Counting truth: crossings of 3 lines and dwell times in a zone of drawn streets, counted one object at a time.

The reference walks the complete outlines of the objects, one at a time and in exact fractions, from the first frame
that shows an object to the last one, up to the last frame that is left. Against it: the counter on the same boxes, on
every Nth of them and on those that drops in bursts leave, and, with --demo, on what the demo detector and the tracker
see, with the settings of a run, and the same behind a gate (--gate). An object that the truth does not label, because
it is too small or too hidden, may be counted or not. Wrong is a crossing too many or too few on a line in a direction.

    python -m benchmarks.counting_truth [--seeds 10] [--first-seed 6] [--seconds 6] [--demo] [--gate frames]
"""

from __future__ import annotations

import argparse
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

import pipeline
from benchmarks.machine import describe_machine
from benchmarks.tracking_truth import FPS, every_nth, without_bursts
from pipeline.app.config.counting import CountingConfig
from pipeline.app.config.track import TrackConfig
from pipeline.picture.choices import GateKind
from pipeline.picture.counting.counter import Counter, CounterOptions
from pipeline.picture.counting.event import Event
from pipeline.picture.counting.shapes import Line, Zone
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.picture.tracking.bytetrack import ByteTrack
from pipeline.picture.tracking.tracker import Tracker, TrackerOptions, track_ids_of
from pipeline.sources.street.traffic import TrafficOptions, TrafficSource
from pipeline.stages.track import Track

SIZE_WH = (640, 360)
PIXELS = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8)  # neither tracker nor counter looks at them
LINES = (
    Line("across", (20.0, 216.0, 620.0, 216.0)),
    Line("upright", (320.0, 130.0, 320.0, 360.0)),
    Line("slanted", (120.0, 340.0, 480.0, 150.0)),
)
ZONE = Zone("street", (60.0, 180.0, 580.0, 180.0, 580.0, 330.0, 60.0, 330.0))
HYSTERESIS = Fraction(1, 20)
FOREVER = CounterOptions(hysteresis=float(HYSTERESIS), memory_seconds=1e6)  # the ids of the truth never change
OF_A_RUN = CounterOptions(
    hysteresis=CountingConfig().hysteresis,
    steady_seconds=CountingConfig().steady_s,
    memory_seconds=TrackConfig().memory_s,
)
LOWEST_SCORE = TrackConfig().low_score

Side = tuple[str, str]
"""The name of a line, and in or out."""

Boxes = list[tuple[int, tuple[float, float, float, float]]]
"""The boxes of one object, with the numbers of their frames."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is truly there: crossings of labelled objects, of all visible ones, and dwell times by object."""

    crossings: Tally[Side]
    most_crossings: Tally[Side]
    dwells: dict[int, list[float]]


@dataclass(slots=True)
class Score:
    """Sums over all streets."""

    num_true: int = 0
    num_wrong: int = 0
    dwell_errors: list[float] = field(default_factory=list)  # in gaps between the frames that are left

    @property
    def share_right(self) -> float:
        """1 less the share of crossings that are wrong."""
        return 1 - self.num_wrong / max(1, self.num_true)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="streets (default: 10)")
    parser.add_argument("--first-seed", type=int, default=6, help="seed of the first street (default: 6)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each street (default: 6)")
    parser.add_argument("--demo", action="store_true", help="rows with the demo detector and the tracker as well")
    parser.add_argument(
        "--gate", action="append", default=[], choices=get_args(GateKind), help="with --demo, rows of it"
    )
    options = parser.parse_args(arguments)
    print(describe_machine())
    num = round(options.seconds * FPS)
    cases = [(f"every {step}", [every_nth(num, step)] * options.seeds) for step in (1, 2, 3, 5)]
    cases += [
        (f"drops {share:.0%}", [without_bursts(num, share, seed) for seed in range(options.seeds)])
        for share in (0.1, 0.3)
    ]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    scenes = [truth_of(seed, options.seconds) for seed in seeds]
    truths = {name: _truths(scenes, kept) for name, kept in cases}
    print(f"{options.seeds} streets of {options.seconds:g} s at {FPS} fps, {len(LINES)} lines\n")
    print(f"{'':24}crossings  wrong    right   dwell times within a gap")
    for name, kept in cases:
        score = Score()
        for scene, truth, numbers in zip(scenes, truths[name], kept, strict=True):
            add(score, truth, counted(scene[0], numbers, FOREVER), gap=int(np.diff(numbers).max()))
        print_row(f"truth, {name}", score)
    if options.demo:
        seen = [list(detected(seed, options.seconds)) for seed in seeds]
        for name, kept in cases:
            score = Score()
            for detections, truth, numbers in zip(seen, truths[name], kept, strict=True):
                tracked = followed(detections, numbers)
                add(score, truth, counted(tracked, numbers, OF_A_RUN), gap=None)
            print_row(f"demo, {name}", score)
        (name, kept), *_ = cases
        for gate in options.gate:
            score = Score()
            for seed, truth, numbers in zip(seeds, truths[name], kept, strict=True):
                tracked = followed(list(detected(seed, options.seconds, gate)), numbers)
                add(score, truth, counted(tracked, numbers, OF_A_RUN), gap=None)
            print_row(f"demo, --gate {gate}", score)


def _truths(
    scenes: Sequence[tuple[list[Detections], list[Detections]]], kept: Sequence[npt.NDArray[np.intp]]
) -> list[Expected]:
    """The truth of each street up to its last frame that is left."""
    ends = [int(numbers[-1]) + 1 for numbers in kept]
    return [expectation(labelled[:end], visible[:end]) for (labelled, visible), end in zip(scenes, ends, strict=True)]


def truth_of(seed: int, seconds: float) -> tuple[list[Detections], list[Detections]]:
    """The objects of each frame of a street that have a label in it or before and after, and those that are visible.

    Boxes are complete outlines: one of visible pixels jumps when something passes in front, and no object stands where
    it ends. Each object has a track id of its own.
    """
    source = TrafficSource(TrafficOptions(seed=seed, seconds=seconds, fps=FPS, size_wh=SIZE_WH))
    numbers = range(round(seconds * FPS))
    outlines = [with_own_ids(source.outlines(number)) for number in numbers]
    labelled = [with_own_ids(source.truth(number)) for number in numbers]
    return while_shown(outlines, labelled), while_shown(outlines, visible_of(source, numbers))


def visible_of(source: TrafficSource, numbers: Sequence[int]) -> list[Detections]:
    """All visible objects of some frames, with boxes of what is visible; each has a track id of its own."""
    return [_joined(with_own_ids(source.truth(n)), with_own_ids(source.ignored(n))) for n in numbers]


def while_shown(outlines: Sequence[Detections], shown: Sequence[Detections]) -> list[Detections]:
    """The outlines of objects from the first frame that shows them to the last one."""
    spans = {track_id: (boxes[0][0], boxes[-1][0]) for track_id, boxes in by_object(shown).items()}
    frames = []
    for number, frame in enumerate(outlines):
        ends = [spans.get(track_id, (len(shown), -1)) for track_id in track_ids_of(frame).tolist()]
        frames.append(frame.select(np.array([first <= number <= last for first, last in ends], np.bool_)))
    return frames


def with_own_ids(detections: Detections) -> Detections:
    """A cyclist and the bicycle have one id in the truth, and are two objects."""
    return replace(detections, track_ids=track_ids_of(detections) * 10 + detections.class_ids)


def _joined(a: Detections, b: Detections) -> Detections:
    return Detections(
        np.concatenate([a.boxes_xyxy, b.boxes_xyxy]),
        np.concatenate([a.scores, b.scores]),
        np.concatenate([a.class_ids, b.class_ids]),
        track_ids=np.concatenate([track_ids_of(a), track_ids_of(b)]),
    )


def detected(seed: int, seconds: float, gate: GateKind | None = None) -> Iterator[Detections]:
    """What the demo detector sees in each frame, or what is shown behind a gate, also what it is unsure of."""
    word = f"sim:traffic?seed={seed}&seconds={seconds}&fps={FPS}&size={SIZE_WH[0]}x{SIZE_WH[1]}"
    settings = {} if gate is None else {"gate.kind": gate}
    for result in pipeline.detect(word, model="demo", score_threshold=LOWEST_SCORE, settings=settings):
        yield result.detections


def followed(
    detections: Sequence[Detections],
    numbers: npt.NDArray[np.intp],
    make_tracker: Callable[[TrackerOptions], Tracker] = ByteTrack,
) -> list[Detections]:
    """The detections of the frames that are left, with ids and as the stage of a run lets them through."""
    suppression = pipeline.recognise(Path(pipeline.__file__).parent / "detector" / "demo.onnx").suppression
    threshold = suppression.score_threshold
    options = TrackerOptions(high_score=threshold, start_score=threshold, low_score=LOWEST_SCORE)
    stage = Track(partial(make_tracker, options), lambda: suppression, sure_share=TrackConfig().sure_share)
    tracked = list(detections)
    for number in numbers.tolist():
        frame = Frame.from_pixels(PIXELS, index=number, pts_seconds=number / FPS)
        (result,) = stage.process(Result(frame, detections[number], ()))
        tracked[number] = result.detections
    return tracked


def counted(detections: Sequence[Detections], numbers: npt.NDArray[np.intp], options: CounterOptions) -> list[Event]:
    """The events that the counter gives for the frames that are left."""
    counter = Counter(LINES, [ZONE], options)
    events: list[Event] = []
    for number in numbers.tolist():
        frame = Frame.from_pixels(PIXELS, index=number, pts_seconds=number / FPS)
        events += counter.update(frame, detections[number])[0]
    return events


def expectation(labelled: Sequence[Detections], visible: Sequence[Detections]) -> Expected:
    """The truth, one object at a time."""
    dwells = {track_id: _dwells(boxes) for track_id, boxes in by_object(labelled).items()}
    return Expected(_crossings(labelled), _crossings(visible), dwells)


def add(score: Score, truth: Expected, events: Sequence[Event], *, gap: int | None) -> None:
    """Add a street. gap: the most frames between two of its frames; None: dwell times are not compared by object."""
    sides = Tally((event.name, str(event.direction)) for event in events if event.kind == "crossed")
    score.num_true += truth.crossings.total()
    for side in truth.most_crossings.keys() | sides.keys() | truth.crossings.keys():
        bounds = sorted((truth.crossings[side], truth.most_crossings[side])) if gap is None else [truth.crossings[side]]
        score.num_wrong += max(0, bounds[0] - sides[side], sides[side] - bounds[-1])
    if gap is None:
        return
    by_object: dict[int, list[float]] = defaultdict(list)
    for event in events:
        if event.kind == "left" and event.direction == "out" and event.dwell_seconds is not None:
            by_object[event.track_id or 0].append(event.dwell_seconds)
    for track_id, seconds in by_object.items():
        if len(seconds) == len(truth.dwells.get(track_id, ())):
            differences = np.abs(np.subtract(seconds, truth.dwells[track_id])) * FPS
            score.dwell_errors += (differences / gap).tolist()


def print_row(name: str, score: Score) -> None:
    """Print what a case has come to."""
    errors = score.dwell_errors
    dwells = "–"
    if errors:
        dwells = f"{sum(error <= 1 for error in errors) / len(errors):7.1%} of {len(errors)}"
    print(f"{name:24}{score.num_true:9}  {score.num_wrong:5}  {score.share_right:7.2%}    {dwells}", flush=True)


def by_object(frames: Sequence[Detections]) -> dict[int, Boxes]:
    """The boxes of each object, by its track id."""
    objects: dict[int, Boxes] = defaultdict(list)
    for number, detections in enumerate(frames):
        for track_id, box in zip(track_ids_of(detections).tolist(), detections.boxes_xyxy.tolist(), strict=True):
            objects[track_id].append((number, box))
    return objects


def _anchor(box: tuple[float, float, float, float]) -> tuple[Fraction, Fraction]:
    return (Fraction(box[0]) + Fraction(box[2])) / 2, Fraction(box[3])


def _band_squared(box: tuple[float, float, float, float]) -> Fraction:
    return HYSTERESIS**2 * Fraction(box[2] - box[0]) * Fraction(box[3] - box[1])


@dataclass(frozen=True, slots=True)
class TrueCrossing:
    """One object through one line."""

    track_id: int
    line: str
    way: str  # in or out
    number: int  # of the first frame behind the line


def crossings_of(frames: Sequence[Detections]) -> list[TrueCrossing]:
    """All crossings of all objects, one object at a time."""
    return [
        TrueCrossing(track_id, line.name, way, number)
        for track_id, boxes in by_object(frames).items()
        for line in LINES
        for way, number in _ways_through(*_ends(line), boxes)
    ]


def _crossings(frames: Sequence[Detections]) -> Tally[Side]:
    return Tally((crossing.line, crossing.way) for crossing in crossings_of(frames))


Point = tuple[Fraction, Fraction]


def _ends(line: Line) -> tuple[Point, Point]:
    x1, y1, x2, y2 = map(Fraction, line.coordinates)
    return (x1, y1), (x2, y2)


def _turn(a: Point, b: Point, c: Point) -> Fraction:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _ways_through(start: Point, end: Point, boxes: Boxes) -> Iterator[tuple[str, int]]:
    """in or out, and the frame, for each time that an object went through a line and beyond its band."""
    length_squared = (end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2
    side, net, passed = _turn(start, end, _anchor(boxes[0][1])) >= 0, 0, 0
    for (_, before), (number, after) in pairwise(boxes):
        a, b = _anchor(before), _anchor(after)
        was, now = _turn(start, end, a), _turn(start, end, b)
        if (was >= 0) != (now >= 0) and _turn(a, b, start) * _turn(a, b, end) <= 0:
            net += 1 if now >= 0 else -1
            passed = number
        if now**2 > _band_squared(after) * length_squared:
            if (now >= 0) != side and net == (1 if now >= 0 else -1):
                yield "in" if now >= 0 else "out", passed
            side, net = now >= 0, 0


def _dwells(boxes: Boxes) -> list[float]:
    """Seconds of each stay in the zone, a rectangle, that ended within sight, at full rate and interpolated."""
    left, top, right, _, _, bottom = (*ZONE.coordinates[:2], *ZONE.coordinates[2:6])

    def depth(box: tuple[float, float, float, float]) -> float:
        """How far inside, negative outside: by the nearest edge, which a rectangle's outside need not have."""
        x, y = map(float, _anchor(box))
        return min(x - left, right - x, y - top, bottom - y)

    stays, inside, begin, passed = [], depth(boxes[0][1]) >= 0, float(boxes[0][0]), float(boxes[0][0])
    for (number, before), (next_number, after) in pairwise(boxes):
        was, now = depth(before), depth(after)
        if (was >= 0) != (now >= 0):
            passed = number + (next_number - number) * _last_passage(_anchor(before), _anchor(after))
        band = float(_band_squared(after)) ** 0.5
        if (now >= 0) != inside and _beyond(after, left, top, right, bottom) > band:
            if inside:
                stays.append((passed - begin) / FPS)
            inside, begin = now >= 0, passed
    return stays


def _last_passage(a: Point, b: Point) -> float:
    """The share of a way after which it goes through an edge of the zone for the last time."""
    values = [Fraction(value) for value in ZONE.coordinates]
    corners = list(zip(values[::2], values[1::2], strict=True))
    shares = []
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        was, now = _turn(start, end, a), _turn(start, end, b)
        if (was >= 0) != (now >= 0) and _turn(a, b, start) * _turn(a, b, end) <= 0:
            shares.append(was / (was - now))
    return float(max(shares, default=Fraction(1)))


def _beyond(box: tuple[float, float, float, float], left: float, top: float, right: float, bottom: float) -> float:
    """The distance to the outline of a rectangle."""
    x, y = map(float, _anchor(box))
    outside = max(left - x, 0, x - right), max(top - y, 0, y - bottom)
    if outside != (0, 0):
        return float(np.hypot(*outside))
    return min(x - left, right - x, y - top, bottom - y)


if __name__ == "__main__":
    main()
