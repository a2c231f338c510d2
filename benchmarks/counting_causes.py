"""Counting causes: the wrong crossings of drawn streets by what made them wrong, and what no tracker can pass.

Every crossing that is missing or too many is looked at by itself, with the object that it belongs to, so there are more
of them than `counting_truth` has wrong, where one too many makes up for a missing one. The ceiling is the detector's
own boxes with the numbers of the true objects that they overlap, counted by the same counter: what perfect association
gives. Beside it: ours, ours without each part, and the library's trackers.

    python -m benchmarks.counting_causes [--seeds 10] [--first-seed 6] [--seconds 6]
"""

from __future__ import annotations

import argparse
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.counting_truth import (
    OF_A_RUN,
    SIZE_WH,
    Score,
    TrueCrossing,
    add,
    counted,
    crossings_of,
    detected,
    expectation,
    followed,
    visible_of,
    while_shown,
    with_own_ids,
)
from benchmarks.machine import describe_machine
from benchmarks.tracking_truth import FPS, every_nth
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.counting.event import Event
from pipeline.picture.detections import Detections, IntArray
from pipeline.picture.tracking import library
from pipeline.picture.tracking.assignment import assign
from pipeline.picture.tracking.bytetrack import ByteTrack
from pipeline.picture.tracking.tracker import NO_TRACK, Tracker, TrackerOptions, track_ids_of
from pipeline.sources.street.traffic import TrafficOptions, TrafficSource

NOBODY = -1
LEAST_IOU = 0.3  # of a detection and the object that it belongs to
NEAR_FRAMES = FPS // 2

CAUSES = (
    "hidden",  # missing: no label at that moment, something hides it
    "not detected",  # missing: no detection within half a second
    "late number",  # missing: no number before the line
    "other number",  # missing: one number before the line, another after it
    "box",  # missing or too many: one number, and a box that is not where the object is
    "two numbers",  # too many: counted under two numbers
    "no object",  # too many: of a track on no object of its class
)


@dataclass(frozen=True, slots=True)
class Street:
    """What is there and what is seen, by frame."""

    outlines: list[Detections]
    labelled: list[Detections]
    visible: list[Detections]
    detections: list[Detections]
    owners: list[IntArray]  # of each frame [N]: the object that a detection belongs to, or NOBODY

    def owners_by_id(self, tracked: Sequence[Detections]) -> dict[int, list[tuple[int, int]]]:
        """Frame and track id of each sight of an object that has a number."""
        sights: dict[int, list[tuple[int, int]]] = {}
        for number, (frame, outlines, visible) in enumerate(zip(tracked, self.outlines, self.visible, strict=True)):
            owners = owners_of(frame, outlines, visible).tolist()
            for owner, track_id in zip(owners, track_ids_of(frame).tolist(), strict=True):
                if track_id != NO_TRACK:
                    sights.setdefault(owner, []).append((number, track_id))
        return sights


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="streets (default: 10)")
    parser.add_argument("--first-seed", type=int, default=6, help="seed of the first street (default: 6)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each street (default: 6)")
    options = parser.parse_args(arguments)
    print(describe_machine())
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    streets = [street_of(seed, options.seconds) for seed in seeds]
    print(f"{options.seeds} streets of {options.seconds:g} s at {FPS} fps, every frame\n")
    print_ceiling(streets)
    print_causes(dict(zip(seeds, streets, strict=True)))


def street_of(seed: int, seconds: float) -> Street:
    """A street as the demo detector sees it."""
    source = TrafficSource(TrafficOptions(seed=seed, seconds=seconds, fps=FPS, size_wh=SIZE_WH))
    numbers = range(round(seconds * FPS))
    outlines = [with_own_ids(source.outlines(number)) for number in numbers]
    labelled, visible = [with_own_ids(source.truth(number)) for number in numbers], visible_of(source, numbers)
    detections = list(detected(seed, seconds))
    owners = [owners_of(*frame) for frame in zip(detections, outlines, visible, strict=True)]
    return Street(outlines, labelled, visible, detections, owners)


def owners_of(detections: Detections, outlines: Detections, visible: Detections) -> IntArray:
    """The track ids [N] of the objects that detections belong to, one to one by IoU within a class."""
    complete = intersection_over_union(detections.boxes_xyxy, outlines.boxes_xyxy)  # [N, M]
    seen = intersection_over_union(detections.boxes_xyxy, visible.boxes_xyxy)  # [N, V]
    iou = np.concatenate([complete, seen], axis=1)
    track_ids = np.concatenate([track_ids_of(outlines), track_ids_of(visible)])
    class_ids = np.concatenate([outlines.class_ids, visible.class_ids])
    objects, column_of = np.unique(track_ids, return_inverse=True)
    best = np.zeros((len(detections), len(objects)))
    np.maximum.at(best.T, column_of, np.where(detections.class_ids[:, None] == class_ids, iou, 0).T)
    rows, columns = assign(np.where(best >= LEAST_IOU, best, 0))
    owners = np.full(len(detections), NOBODY, np.int64)
    owners[rows] = objects[columns]
    return owners


def print_ceiling(streets: Sequence[Street]) -> None:
    """A row for perfect association, and for each tracker."""
    truths = [expectation(*_references(street)) for street in streets]
    print(f"{'':32}crossings  wrong    right")
    for name, track, steady_seconds in _contenders():
        score = Score()
        for street, truth in zip(streets, truths, strict=True):
            options = replace(OF_A_RUN, steady_seconds=steady_seconds)
            add(score, truth, counted(track(street), every_nth(len(street.detections), 1), options), gap=None)
        print(f"{name:32}{score.num_true:9}  {score.num_wrong:5}  {score.share_right:7.1%}", flush=True)


def _contenders() -> list[tuple[str, Callable[[Street], list[Detections]], float]]:
    steady = OF_A_RUN.steady_seconds
    return [
        ("perfect association", _perfect, steady),
        ("perfect, boxes as detected", _perfect, 0.0),
        ("bytetrack", _tracked(ByteTrack), steady),
        ("bytetrack, boxes as detected", _tracked(ByteTrack), 0.0),
        ("bytetrack without rejoins", _tracked(_without_rejoins), steady),
        ("neither", _tracked(_without_rejoins), 0.0),
        ("botsort", _tracked(partial(library.LibraryTracker, library.botsort)), steady),
        ("ocsort", _tracked(partial(library.LibraryTracker, library.ocsort)), steady),
    ]


def _perfect(street: Street) -> list[Detections]:
    pairs = zip(street.detections, street.owners, strict=True)
    return [replace(frame, track_ids=owners) for frame, owners in pairs]


def _without_rejoins(options: TrackerOptions) -> ByteTrack:
    return ByteTrack(replace(options, rejoins=False))


def _tracked(make_tracker: Callable[[TrackerOptions], Tracker]) -> Callable[[Street], list[Detections]]:
    return lambda street: followed(street.detections, every_nth(len(street.detections), 1), make_tracker)


def _references(street: Street) -> tuple[list[Detections], list[Detections]]:
    return while_shown(street.outlines, street.labelled), while_shown(street.outlines, street.visible)


def print_causes(streets: Mapping[int, Street]) -> None:
    """A row for each street and line, of our tracker."""
    print("\nbytetrack" + " " * 11 + "crossings" + "".join(f"{cause:>14}" for cause in CAUSES))
    by_line: dict[str, Tally[str]] = {}
    num_by_line: Tally[str] = Tally()
    for seed, street in streets.items():
        wrong = wrong_crossings(street)
        true = crossings_of(_references(street)[0])
        _print_causes(f"street {seed}", len(true), Tally(cause for _, cause in wrong))
        num_by_line.update(crossing.line for crossing in true)
        for line, cause in wrong:
            by_line.setdefault(line, Tally())[cause] += 1
    for line, causes in sorted(by_line.items()):
        _print_causes(f"line {line}", num_by_line[line], causes)
    _print_causes("all", num_by_line.total(), sum(by_line.values(), Tally[str]()))


def _print_causes(name: str, num_true: int, causes: Tally[str]) -> None:
    print(f"{name:20}{num_true:9}" + "".join(f"{causes[cause]:14}" for cause in CAUSES), flush=True)


def wrong_crossings(street: Street) -> list[tuple[str, str]]:
    """Line and cause of each crossing that is missing or too many."""
    tracked = _tracked(ByteTrack)(street)
    sights = street.owners_by_id(tracked)
    events = counted(tracked, every_nth(len(tracked), 1), OF_A_RUN)
    crossed = [(_owner(event, sights), event) for event in events if event.kind == "crossed"]
    least, most = (crossings_of(reference) for reference in _references(street))
    num_counted = Tally((owner, event.name, str(event.direction)) for owner, event in crossed)
    wrong: list[tuple[str, str]] = []
    for crossing in least:
        key = (crossing.track_id, crossing.line, crossing.way)
        if num_counted[key] > 0:
            num_counted[key] -= 1
        else:
            wrong.append((crossing.line, _cause_of_missing(crossing, street, sights.get(crossing.track_id, []))))
    allowed = Tally((crossing.track_id, crossing.line, crossing.way) for crossing in most)
    allowed.subtract(Tally((crossing.track_id, crossing.line, crossing.way) for crossing in least))
    for (owner, line, way), num in num_counted.items():
        ids = {event.track_id for who, event in crossed if (who, event.name, event.direction) == (owner, line, way)}
        wrong += [(line, _cause_of_extra(owner, ids))] * max(0, num - max(0, allowed[owner, line, way]))
    return wrong


def _owner(event: Event, sights: Mapping[int, Sequence[tuple[int, int]]]) -> int:
    """The object that the track of an event was on last, up to the event."""
    last = [
        (number, owner)
        for owner, pairs in sights.items()
        for number, track_id in pairs
        if track_id == event.track_id and owner != NOBODY and 0 <= event.frame_index - number <= NEAR_FRAMES
    ]
    return max(last, default=(0, NOBODY))[1]


def _cause_of_missing(crossing: TrueCrossing, street: Street, sights: Sequence[tuple[int, int]]) -> str:
    around = range(max(0, crossing.number - NEAR_FRAMES), min(len(street.owners), crossing.number + NEAR_FRAMES + 1))
    if not any((street.owners[number] == crossing.track_id).any() for number in around):
        is_labelled = (track_ids_of(street.labelled[crossing.number]) == crossing.track_id).any()
        return "not detected" if is_labelled else "hidden"
    before = [track_id for number, track_id in sights if number < crossing.number]
    after = [track_id for number, track_id in sights if number >= crossing.number]
    if not before or not after:
        return "late number"
    return "other number" if before[-1] != after[0] else "box"


def _cause_of_extra(owner: int, track_ids: set[int | None]) -> str:
    if owner == NOBODY:
        return "no object"
    return "two numbers" if len(track_ids) > 1 else "box"


if __name__ == "__main__":
    main()
