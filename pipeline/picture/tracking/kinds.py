"""Kinds of trackers: a name → a tracker for one source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from pipeline.picture.choices import TrackerKind
from pipeline.picture.tracking import library
from pipeline.picture.tracking.bytetrack import ByteTrack
from pipeline.picture.tracking.tracker import Tracker, TrackerOptions

TRACKERS: Mapping[TrackerKind, Callable[[TrackerOptions], Tracker]] = {
    "bytetrack": ByteTrack,
    "ocsort": partial(library.LibraryTracker, library.ocsort),
    "botsort": partial(library.LibraryTracker, library.botsort),
    "sort": partial(library.LibraryTracker, library.sort),
}


def new_tracker(kind: TrackerKind, options: TrackerOptions) -> Tracker:
    """A tracker that has seen nothing yet. Raises MissingExtraError for one whose library is not installed."""
    return TRACKERS[kind](options)


def refuse_tracker(kind: TrackerKind) -> None:
    """Raise MissingExtraError, before anything runs, for a tracker whose library is not installed."""
    new_tracker(kind, TrackerOptions())
