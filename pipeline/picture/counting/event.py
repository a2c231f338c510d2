"""Event: what an object did at a line or in a zone, with its time, and an id that is the same in every run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pipeline.picture.choices import Direction, EventKind

_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a source, seen in a frame at or after its time.

    crossed: an object went through a line. entered, left: it went into a zone, or out of it; one that is not seen any
    more has left where it was seen last, in no direction. appeared: it was seen for the first time, and in a zone.
    dwelt: it has stayed in a zone for as long as that zone asks. count_changed: another number of objects is in a zone.
    """

    kind: EventKind
    source_id: str
    name: str  # of the line or zone
    pts_seconds: float  # media time at which it happened, between two frames
    frame_index: int  # of the frame that showed it
    track_id: int | None = None  # None: of no single object
    class_name: str | None = None
    box_xyxy: tuple[float, float, float, float] | None = None  # in that frame, or when it was seen last; source pixels
    direction: Direction | None = None
    dwell_seconds: float | None = None  # in the zone, until then: dwelt and left
    count: int | None = None  # count_changed: objects in the zone
    speed_mps: float | None = None  # metres a second, where a homography is set
    unix_seconds: float | None = None  # wall time of pts_seconds; None: not known, as of a file

    @property
    def id(self) -> str:
        """16 hexadecimal digits of source, kind, name, object and media time: a receiver can drop what came twice."""
        words = (self.source_id, self.kind, self.name, self.track_id, f"{self.pts_seconds:.6f}", self.direction)
        text = "\0".join(map(str, words)).encode("utf-8", "backslashreplace")
        return hashlib.blake2b(text, digest_size=_ID_BYTES).hexdigest()
