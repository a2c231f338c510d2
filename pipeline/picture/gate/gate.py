"""Gate: the frames of a camera, as cells of brightness → whether a network must look at them, why, and where.

Where nothing has changed since a network last looked, it would say the same again, but for noise. What it says is not
taken on trust: now and then a frame is looked at although nothing has changed, and where an object turns out to be
missing more often than is allowed, every frame is looked at until that is no longer so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from pipeline.picture.boxes import FloatArray
from pipeline.picture.gate.change import Cells, Change, ChangeDetector
from pipeline.picture.gate.load import Load
from pipeline.picture.gate.luma import LumaArray
from pipeline.picture.gate.misses import MissRate
from pipeline.picture.gate.pacing import Budget, EveryNth, FollowsLoad, Pace
from pipeline.picture.gate.regions import cells_of
from pipeline.picture.gate.restless import RestlessCells

Reason = Literal["start", "lost", "misses", "scan", "camera", "light", "change", "check", "image", "between", "nothing"]
"""Why a frame is looked at: the gate still learns the noise; a frame that was to be looked at never was; too much was
missed; the time for a full scan has come; the camera moves; all has changed at once; something has changed; nothing
has, to check the gate; it is an image of its own. Nothing and between: it is not
looked at, because nothing has changed, or because its turn has not come."""

REASONS: dict[Reason, str] = {
    "start": "while the gate learnt the noise",
    "lost": "after frames that were dropped",
    "misses": "because too much was missed",
    "scan": "in full scans",
    "camera": "because the camera moved",
    "light": "because all changed at once",
    "change": "because something changed",
    "check": "to check the gate",
    "image": "as images of their own",
}
"""How a person is told of each."""

_NEIGHBOURS = 2  # of the 3 × 3 cells around a changed one must have changed, itself included; at the border one


@dataclass(frozen=True, slots=True)
class GateOptions:
    """What a gate leaves out.

    full_scan_seconds: media time after which a frame is looked at whatever there is. check_share: of the frames
    without change, those that are looked at all the same. max_miss: the share of them in which an object may be
    missing.
    has_parts: whether a network may look at the changed parts of a frame alone.
    every: one in that many frames is looked at, of those that change; 1: all.
    budget: the share of all frames that may be looked at, (0, 1], instead of `every`; the gate then never opens by
    itself, and a full scan waits until it may.
    load: by which `every` is chosen anew all the time, of live frames; the gate then never opens by itself either, and
    a frame after one that was dropped waits for its turn.

    Raises ValueError for values that cannot work.
    """

    full_scan_seconds: float = 5.0
    check_share: float = 0.01
    max_miss: float = 0.05
    has_parts: bool = False
    every: int = 1
    budget: float | None = None
    load: Load | None = None

    def __post_init__(self) -> None:
        if not (self.full_scan_seconds > 0 and 0 <= self.check_share <= 1 and 0 < self.max_miss <= 1):
            raise ValueError(
                "full_scan_seconds must be above 0, check_share within [0, 1] and max_miss within (0, 1], got "
                f"{self.full_scan_seconds:g}, {self.check_share:g} and {self.max_miss:g}"
            )
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")

    def new_pace(self) -> Pace:
        """The pace of a camera that has shown nothing yet. Raises ValueError for a budget outside of (0, 1]."""
        if self.load is not None:
            return FollowsLoad(self.load)
        return EveryNth(self.every) if self.budget is None else Budget(self.budget)


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be done with a frame. Without `cells`, [h, w], a network looks at all of it, or at nothing."""

    reason: Reason
    cells: Cells | None = None  # that have changed, where that is the reason
    is_check: bool = False  # it would not have been looked at: whatever object is missing would have been missed
    is_early: bool = False  # a check of a frame that has changed, and whose turn had not come

    @property
    def is_needed(self) -> bool:
        """Whether a network looks at the frame."""
        return self.reason not in ("nothing", "between")


class Gate:
    """Decides about the frames of one camera, in order.

    Raises ValueError, from `decide`, for frames of different sizes.
    """

    def __init__(self, options: GateOptions, *, seed: int = 0) -> None:
        self._options = options
        self._full_scan_seconds = options.full_scan_seconds - 1e-6  # media times are not exact
        self._change = ChangeDetector()
        self._restless: RestlessCells | None = None
        self._random = np.random.default_rng(seed)
        self._pace = options.new_pace()
        self._patient = {"start", "camera"} | ({"lost"} if options.load is not None else set())
        self._scanned_at: float | None = None
        self._seconds = 0.0  # of the last frame
        self._is_lost = False
        self._phase = MissRate()  # since the gate last began, or ceased, to leave frames out
        self._all = MissRate()
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether every frame is looked at, because too much was missed."""
        return self._is_open

    @property
    def misses(self) -> MissRate:
        """Of all frames that were checked."""
        return self._all

    def decide(self, luma: LumaArray, seconds: float) -> Look:
        """What is to be done with a frame [h, w]; it is taken for looked at, if it needs to be.

        seconds: media time, rising.
        """
        change = self._change.update(luma)
        self._restless = self._restless or RestlessCells(luma.shape)
        cells = _without_specks(change.cells & ~self._restless.update(change.restless, seconds))
        self._pace.follow(None if change.is_learning else int(np.count_nonzero(cells)))
        look = self._look(change, cells, seconds)
        if look.is_needed:
            self._pace.look(is_check=look.is_check)
        self._seconds = seconds
        if look.cells is not None:
            self._change.look(luma, _wider(look.cells))
        elif look.is_needed:
            self.look_at_all(luma)
        return look

    def look_at_all(self, luma: LumaArray) -> None:
        """Say that a network looks at all of the last frame."""
        self._change.look(luma)
        self._scanned_at, self._is_lost = self._seconds, False

    def _look(self, change: Change, cells: Cells, seconds: float) -> Look:
        is_still = not cells.any()
        reasons: dict[Reason, bool] = {
            "start": change.is_learning,
            "lost": self._is_lost,
            "misses": self._is_open,
            "scan": self._scanned_at is None or seconds - self._scanned_at >= self._full_scan_seconds,
            "camera": change.is_moving,
            "light": change.is_global,
        }
        reason = next((name for name, holds in reasons.items() if holds), None)
        has_begun, is_due = self._scanned_at is not None, self._pace.is_due
        if has_begun and not self._pace.can_look:
            return Look("nothing" if is_still and reason in (None, "scan") else "between")
        is_patient = reason in self._patient or (reason is None and not is_still)
        is_waiting = has_begun and is_patient and not is_due
        if is_waiting or (reason is None and is_still):
            return self._left_out(is_waiting=is_waiting)
        if reason is None:
            return Look("change", cells if self._options.has_parts else None)
        is_early = reason == "misses" and not is_due and not is_still
        is_check = is_early or (is_still and reason in ("misses", "scan"))
        return Look(reason, is_check=is_check, is_early=is_early)

    def _left_out(self, *, is_waiting: bool) -> Look:
        """For a frame that nothing has changed in, or that waits for its turn: now and then a check."""
        if self._options.check_share > 0 and self._random.random() < self._options.check_share:
            return Look("check", is_check=True, is_early=is_waiting)
        return Look("between" if is_waiting else "nothing")

    def lose(self) -> None:
        """Say that a frame which was to be looked at never was: the next one is looked at as a whole."""
        self._is_lost = True

    def keep_awake(self, boxes_xyxy: FloatArray, size_wh: tuple[int, int], seconds: float) -> None:
        """Say where objects were detected, boxes [N, 4] in pixels of a frame of that size; it is not learnt away."""
        if self._restless is not None:
            for box in boxes_xyxy.tolist():
                self._restless.keep_awake(cells_of(box, size_wh, self._restless.shape), seconds)

    def weigh(self, surprise: float) -> None:
        """Say how far what a network saw, [0, 1], was from what had been expected."""
        self._pace.weigh(surprise)

    def check(self, *, has_missed: bool) -> None:
        """Say what came of a frame that was looked at although it would have been left out."""
        self._all = self._all.with_check(has_missed=has_missed)
        if self._options.budget is not None or self._options.load is not None:
            return
        self._phase = self._phase.with_check(has_missed=has_missed)
        target = self._options.max_miss
        is_good = self._phase.interval[1] <= target
        if self._is_open and (is_good or has_missed):
            self._phase, self._is_open = MissRate(), not is_good
        elif not self._is_open and self._phase.passes(target):
            self._phase, self._is_open = MissRate(), True


def _without_specks(cells: Cells) -> Cells:
    """The changed cells [h, w] that have a changed neighbour, or lie at the border, where objects come in."""
    count = cv2.boxFilter(cells.astype(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    kept = cells & (count >= _NEIGHBOURS)  # [h, w]
    for edge in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        kept[edge] = cells[edge]
    return np.asarray(kept, np.bool_)


def _wider(cells: Cells) -> Cells:
    """With the cells [h, w] around them."""
    return np.asarray(cv2.dilate(cells.astype(np.uint8), np.ones((3, 3), np.uint8)), np.bool_)
