"""Counter: the tracked detections of one source, frame by frame → events at its lines and zones, and counts."""

from __future__ import annotations

import logging
import math
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.picture.choices import Direction, EventKind
from pipeline.picture.counting.counts import Counts, LineCounts
from pipeline.picture.counting.crossings import Crossing, Crossings
from pipeline.picture.counting.event import Event
from pipeline.picture.counting.geometry import BoolArray, Points
from pipeline.picture.counting.homography import Homography, ground_points
from pipeline.picture.counting.shapes import Line, Zone, can_be_reached, continued, is_in_picture
from pipeline.picture.counting.speeds import Speeds
from pipeline.picture.counting.stays import Change, Stays
from pipeline.picture.counting.steadying import Steadying, are_hidden
from pipeline.picture.counting.unconfirmed import Unconfirmed
from pipeline.picture.counting.zone_tally import ZoneTally
from pipeline.picture.detections import Detections
from pipeline.picture.frame import Frame
from pipeline.picture.tracking.tracker import NO_TRACK, track_ids_of

logger = logging.getLogger(__name__)

LineTally = dict[Direction, Tally[str]]

_TYPICAL_AFTER = 50  # boxes of objects, after which the size of a typical one is known
_CLOCK_ERROR_SECONDS = 1e-6  # media times are rounded to it


@dataclass(frozen=True, slots=True)
class CounterOptions:
    """How a counter counts. Raises ValueError for values that cannot work.

    hysteresis: how far from a line or an outline an object must be to have crossed it, as a share of the geometric mean
    of its box's width and height. steady_seconds: over which boxes are steadied, and hidden lower edges made up for;
    0: they count as detected. memory_seconds: of media time, for which an object that is not seen is still there;
    the tracker's. hold_seconds: for which another number of objects must be in a zone to be an event, of which two of
    one zone are at least cooldown_seconds apart.
    """

    hysteresis: float = 0.1
    steady_seconds: float = 0.0
    memory_seconds: float = 1.0
    hold_seconds: float = 0.5
    cooldown_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name in ("hysteresis", "steady_seconds", "memory_seconds", "hold_seconds", "cooldown_seconds"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be finite and at least 0, got {value}")


class Counter:
    """Counts the objects of one source, whose frames come in order.

    Only detections with a track id count, so never a prediction: what an object did while it was not seen is read off
    the straight way between the two frames that show it, and what it did before it had its id off that from its first
    detection. Names of lines and zones are all different.
    class_name: the name of a class by its id. unix_seconds: the wall time of a frame, None where it is not known.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        zones: Sequence[Zone],
        options: CounterOptions | None = None,
        *,
        homography: Homography | None = None,
        class_name: Callable[[int], str] = str,
        unix_seconds: Callable[[Frame], float | None] = lambda frame: None,
    ) -> None:
        _refuse_same_names(lines, zones)
        self._lines, self._options = lines, options or CounterOptions()
        self._zones = [ZoneTally(zone, Stays(zone.dwell_seconds)) for zone in zones]
        self._line_tallies: list[LineTally] = [{"in": Tally(), "out": Tally()} for _ in lines]
        self._homography, self._class_name, self._unix_seconds = homography, class_name, unix_seconds
        self._size_wh: tuple[int, int] | None = None
        self._sizes_seen: list[tuple[float, float]] = []
        self._typical_wh: tuple[float, float] | None = None  # of a box; None: not known yet
        self._unreachable: tuple[str, ...] = ()  # names
        self._frame: Frame | None = None
        self._events: list[Event] = []
        self._ids = np.zeros(0, np.int64)  # [T]
        self._boxes = np.zeros((0, 4))  # [T, 4], in the frame that showed the object last
        self._standing = np.zeros((0, 4))  # [T, 4], the same, steadied: what counts
        self._seconds = np.zeros(0)  # [T], media time of that frame
        self._class_ids = np.zeros(0, np.int64)  # [T]
        self._crossings = Crossings(len(self._lines))
        self._speeds = Speeds()
        self._steadying = Steadying(self._options.steady_seconds)
        self._unconfirmed = Unconfirmed()
        self._seen_seconds = -math.inf  # media time of the last frame

    def update(self, frame: Frame, detections: Detections) -> tuple[tuple[Event, ...], Counts]:
        """The events that a frame shows, the earliest first, and the counts up to it.

        detections: with `track_ids`; those of -1 do not count. Where the media time goes back, or the frame is of
        another source, as of the next file of a folder, every object has left, and the counts go on.
        """
        if self._frame is not None and not self._continues(self._frame, frame):
            self._end(np.ones(len(self._ids), np.bool_))
            self._unconfirmed.forget()
        self._frame = frame
        self._fit(frame.size_wh)
        oldest = frame.pts_seconds - self._options.memory_seconds - _CLOCK_ERROR_SECONDS
        self._end(self._seconds < oldest)
        if self._seen_seconds < oldest:
            self._unconfirmed.forget()
        self._seen_seconds = frame.pts_seconds
        track_ids = track_ids_of(detections)
        numbers, first = np.unique(track_ids, return_index=True)
        tracked = first[numbers != NO_TRACK]  # [K], each object once
        boxes = detections.boxes_xyxy[tracked].astype(np.float64)  # [K, 4]
        rows, is_new = self._rows(track_ids[tracked])
        class_ids = detections.class_ids[tracked]  # [K]
        is_hidden = are_hidden(detections.boxes_xyxy.astype(np.float64), frame.size_wh)[tracked]  # [K]
        first_boxes, first_seconds = self._unconfirmed.first_sights(boxes[is_new], class_ids[is_new], frame.pts_seconds)
        self._steadying.grow(first_boxes, is_hidden[is_new])
        self._begin(track_ids[tracked][is_new], first_boxes, class_ids[is_new], first_seconds)
        has_moved = ~is_new
        has_moved[is_new] = first_seconds < frame.pts_seconds
        self._move(rows[has_moved], boxes[has_moved], class_ids[has_moved], is_hidden[has_moved])
        unconfirmed = detections.select(track_ids == NO_TRACK)
        self._unconfirmed.move_on(unconfirmed.boxes_xyxy.astype(np.float64), unconfirmed.class_ids, frame.pts_seconds)
        for zone in self._zones:
            self._announce(zone)
        self._learn_typical_size(boxes)
        speeds = None
        if self._homography is not None:
            speeds = np.full(len(detections), np.nan, np.float32)
            speeds[tracked] = self._speeds.of(rows)
        events, self._events = self._events, []
        return tuple(sorted(events, key=lambda event: event.pts_seconds)), self._counts(speeds)

    def reshape(self, lines: Sequence[Line], zones: Sequence[Zone]) -> None:
        """Count at other lines and zones from the next frame on.

        One that is as it was, but perhaps for its name, goes on with its counts; any other begins at 0, and objects
        that are in a new zone have appeared there. Raises ValueError for two of one name.
        """
        _refuse_same_names(lines, zones)
        before, old_zones, tallies = self._lines, self._zones, self._line_tallies
        kept, kept_zones = continued(before, lines), continued([zone.shape for zone in old_zones], zones)
        self._lines = lines
        self._line_tallies = [{"in": Tally(), "out": Tally()} if old is None else tallies[old] for old in kept]
        self._zones = [
            ZoneTally(zone, Stays(zone.dwell_seconds)) if old is None else old_zones[old]
            for old, zone in zip(kept_zones, zones, strict=True)
        ]
        for tally, zone in zip(self._zones, zones, strict=True):
            tally.shape = zone
        if self._size_wh is None:
            self._crossings = Crossings(len(lines))
            return
        self._take_to_pixels(self._size_wh)
        self._crossings = self._crossings.reshaped(
            kept, self._line_points(self._boxes), self._segments[:, 0], self._segments[:, 1]
        )
        for old, tally in zip(kept_zones, self._zones, strict=True):
            if old is None:
                self._populate(tally, 0, self._boxes, self._seconds)
        self._look_for_unreachable()

    @staticmethod
    def _continues(before: Frame, frame: Frame) -> bool:
        return before.source_id == frame.source_id and before.pts_seconds <= frame.pts_seconds

    def _fit(self, size_wh: tuple[int, int]) -> None:
        """Take lines and zones to the pixels of a picture of that size."""
        if size_wh == self._size_wh:
            return
        if self._size_wh is not None:
            self._end(np.ones(len(self._ids), np.bool_))
            self._unconfirmed.forget()
        self._size_wh = size_wh
        self._matrix = None if self._homography is None else self._homography.matrix(size_wh)
        self._take_to_pixels(size_wh)
        self._look_for_unreachable()

    def _take_to_pixels(self, size_wh: tuple[int, int]) -> None:
        self._segments = np.array([line.points(size_wh) for line in self._lines]).reshape(-1, 2, 2)  # [L, 2, 2]
        for zone in self._zones:
            zone.polygon = zone.shape.points(size_wh)
        for shape in self._shapes():
            if not is_in_picture(shape.points(size_wh), size_wh):
                logger.warning("%s is outside of the picture of %d×%d, and counts nothing", shape.name, *size_wh)

    def _rows(self, track_ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], BoolArray]:
        """The row of each object [K], in which the new ones, of the second array [K], are behind all that there are."""
        row_of = {track_id: row for row, track_id in enumerate(self._ids.tolist())}
        num_old, rows, is_new = len(row_of), [], []
        for track_id in track_ids.tolist():
            rows.append(row_of.setdefault(track_id, len(row_of)))
            is_new.append(rows[-1] >= num_old)
        return np.array(rows, np.intp), np.array(is_new, np.bool_)

    def _begin(
        self, track_ids: npt.NDArray[np.int64], boxes: Points, class_ids: npt.NDArray[np.int64], seconds: Points
    ) -> None:
        """Add objects [K] with the boxes [K, 4] and media times [K] of their first detections."""
        first = len(self._ids)
        self._ids = np.concatenate([self._ids, track_ids])
        self._boxes = np.concatenate([self._boxes, boxes])
        self._standing = np.concatenate([self._standing, boxes])
        self._seconds = np.concatenate([self._seconds, seconds])
        self._class_ids = np.concatenate([self._class_ids, class_ids])
        self._crossings.grow(self._line_points(boxes), self._segments[:, 0], self._segments[:, 1])
        self._speeds.grow(len(track_ids))
        for zone in self._zones:
            self._populate(zone, first, boxes, seconds)

    def _populate(self, zone: ZoneTally, first: int, boxes: Points, seconds: Points) -> None:
        """Add objects, of rows from `first` on, with boxes [K, 4] and media times [K], to a zone."""
        is_inside = zone.stays.grow(_anchors(boxes, zone.shape.anchor), zone.polygon, seconds)
        for row in (first + np.flatnonzero(is_inside)).tolist():
            if self._counts_in(zone.shape, row):
                self._happen("appeared", zone.shape.name, row, float(self._seconds[row]))
                zone.appeared[self._class_of(row)] += 1

    def _move(
        self, rows: npt.NDArray[np.intp], boxes: Points, class_ids: npt.NDArray[np.int64], is_hidden: BoolArray
    ) -> None:
        """Move objects rows [K] to their boxes [K, 4] in this frame. is_hidden: whose lower edge is."""
        assert self._frame is not None
        before, now = self._standing[rows], self._frame.pts_seconds
        seconds = np.stack([self._seconds[rows], np.full(len(rows), now)], axis=1)  # [K, 2]
        bands = self._options.hysteresis * np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).clip(0))  # [K]
        self._boxes[rows], self._seconds[rows], self._class_ids[rows] = boxes, now, class_ids
        after = self._steadying.move(rows, boxes, is_hidden, np.ptp(seconds, axis=1), self._frame.size_wh)  # [K, 4]
        self._standing[rows] = after
        if self._matrix is not None:
            was, is_now = (ground_points(self._matrix, _anchors(side, "bottom")) for side in (before, after))
            self._speeds.move(rows, was, is_now, seconds[:, 1] - seconds[:, 0])
        starts, ends = self._line_points(before), self._line_points(after)  # [K, L, 2], [K, L, 2]
        for crossing in self._crossings.move(rows, starts, ends, seconds, bands, self._segments):
            self._cross(int(rows[crossing.position]), crossing)
        for zone in self._zones:
            starts, ends = (_anchors(side, zone.shape.anchor) for side in (before, after))  # [K, 2], [K, 2]
            for change in zone.stays.move(rows, starts, ends, seconds, bands, zone.polygon):
                self._change(zone, int(rows[change.position]), change)

    def _cross(self, row: int, crossing: Crossing) -> None:
        line, direction = self._lines[crossing.line], _direction(crossing.is_in)
        if self._counts_in(line, row):
            self._happen("crossed", line.name, row, crossing.pts_seconds, direction=direction)
            self._line_tallies[crossing.line][direction][self._class_of(row)] += 1

    def _change(self, zone: ZoneTally, row: int, change: Change) -> None:
        if not self._counts_in(zone.shape, row):
            return
        direction = None if change.kind == "dwelt" else _direction(change.kind == "entered")
        at, dwell_seconds = change.pts_seconds, change.dwell_seconds
        self._happen(change.kind, zone.shape.name, row, at, direction=direction, dwell_seconds=dwell_seconds)
        if change.kind == "entered":
            zone.entered[self._class_of(row)] += 1
        elif change.kind == "left" and dwell_seconds is not None:
            zone.end_stay(self._class_of(row), dwell_seconds)

    def _end(self, is_ended: BoolArray) -> None:
        """Let objects [T] leave where they were seen last."""
        for zone in self._zones:
            for row in np.flatnonzero(is_ended & zone.stays.is_inside).tolist():
                if self._counts_in(zone.shape, row):
                    at = float(self._seconds[row])
                    dwell_seconds = at - float(zone.stays.since_seconds[row])
                    self._happen("left", zone.shape.name, row, at, dwell_seconds=dwell_seconds)
                    zone.end_stay(self._class_of(row), dwell_seconds)
        if is_ended.any():
            self._keep(~is_ended)

    def _keep(self, is_kept: BoolArray) -> None:
        self._ids, self._class_ids = self._ids[is_kept], self._class_ids[is_kept]
        self._boxes, self._seconds = self._boxes[is_kept], self._seconds[is_kept]
        self._standing = self._standing[is_kept]
        self._steadying.keep(is_kept)
        self._crossings.keep(is_kept)
        self._speeds.keep(is_kept)
        for zone in self._zones:
            zone.stays.keep(is_kept)

    def _announce(self, zone: ZoneTally) -> None:
        """Let a number of objects be an event that has held for long enough."""
        frame, num, options = self._frame, sum(self._inside(zone).values()), self._options
        assert frame is not None
        rules = options.hold_seconds, options.cooldown_seconds
        if zone.is_news(num, frame.pts_seconds, *(rule - _CLOCK_ERROR_SECONDS for rule in rules)):
            at, unix_seconds = frame.pts_seconds, self._unix_seconds(frame)
            event = Event("count_changed", frame.source_id, zone.shape.name, at, frame.index, count=num)
            self._events.append(replace(event, unix_seconds=unix_seconds))

    def _happen(
        self,
        kind: EventKind,
        name: str,
        row: int,
        pts_seconds: float,
        *,
        direction: Direction | None = None,
        dwell_seconds: float | None = None,
    ) -> None:
        frame = self._frame
        assert frame is not None
        unix_seconds = self._unix_seconds(frame)
        speed = float(self._speeds.of(np.array([row]))[0])
        x1, y1, x2, y2 = self._boxes[row].tolist()
        self._events.append(
            Event(
                kind,
                frame.source_id,
                name,
                pts_seconds,
                frame.index,
                int(self._ids[row]),
                self._class_of(row),
                (x1, y1, x2, y2),
                direction,
                dwell_seconds,
                speed_mps=None if math.isnan(speed) else speed,
                unix_seconds=None if unix_seconds is None else unix_seconds - (frame.pts_seconds - pts_seconds),
            )
        )

    def _counts_in(self, shape: Line | Zone, row: int) -> bool:
        return shape.class_ids is None or int(self._class_ids[row]) in shape.class_ids

    def _class_of(self, row: int) -> str:
        return self._class_name(int(self._class_ids[row]))

    def _line_points(self, boxes: Points) -> Points:
        """What each line looks at of boxes [K, 4]: points [K, L, 2]."""
        if not self._lines:
            return np.zeros((len(boxes), 0, 2))
        return np.stack([_anchors(boxes, line.anchor) for line in self._lines], axis=1)

    def _inside(self, zone: ZoneTally) -> Tally[str]:
        """The objects in a zone by class."""
        rows = np.flatnonzero(zone.stays.is_inside).tolist()
        return Tally(self._class_of(row) for row in rows if self._counts_in(zone.shape, row))

    def _counts(self, speeds: npt.NDArray[np.float32] | None) -> Counts:
        return Counts(
            tuple(
                LineCounts(line.name, segment, dict(tally["in"]), dict(tally["out"]))
                for line, segment, tally in zip(self._lines, self._segments, self._line_tallies, strict=True)
            ),
            tuple(zone.counts(self._inside(zone)) for zone in self._zones),
            speeds,
            self._unreachable,
        )

    def _shapes(self) -> tuple[Line | Zone, ...]:
        return (*self._lines, *(zone.shape for zone in self._zones))

    def _learn_typical_size(self, boxes: Points) -> None:
        """Take in boxes [K, 4] until the size of a typical one is known."""
        if self._typical_wh is not None:
            return
        self._sizes_seen += [(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes.tolist()]
        if len(self._sizes_seen) >= _TYPICAL_AFTER:
            width, height = np.median(np.array(self._sizes_seen), axis=0).tolist()
            self._typical_wh = width, height
            self._look_for_unreachable()

    def _look_for_unreachable(self) -> None:
        """Name the lines and zones to which no anchor can get, each once while it lasts."""
        if self._typical_wh is None or self._size_wh is None:
            return
        (width, height), size_wh, before = self._typical_wh, self._size_wh, self._unreachable
        margin = self._options.hysteresis * math.sqrt(width * height)
        self._unreachable = tuple(
            shape.name
            for shape in self._shapes()
            if is_in_picture(points := shape.points(size_wh), size_wh)
            and not can_be_reached(points, shape.anchor, size_wh=size_wh, box_wh=self._typical_wh, margin=margin)
        )
        for name in self._unreachable:
            if name not in before:
                logger.warning(
                    "%s is nearer to the picture's edge than half a typical box of %.0f×%.0f, so hardly an object gets "
                    "there; move it inwards",
                    name,
                    width,
                    height,
                )


def _refuse_same_names(lines: Sequence[Line], zones: Sequence[Zone]) -> None:
    names = [shape.name for shape in (*lines, *zones)]
    if len(set(names)) < len(names):
        raise ValueError(f"lines and zones must have names of their own, got {', '.join(names)}")


def _direction(is_in: bool) -> Direction:
    return "in" if is_in else "out"


def _anchors(boxes: Points, anchor: str) -> Points:
    """The points [K, 2] of boxes [K, 4] that count."""
    share = 1.0 if anchor == "bottom" else 0.5
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 1] + share * (boxes[:, 3] - boxes[:, 1])], axis=1)
