"""Event selection: `crossed gate in` → whether an event is meant.

    selection = "any" | kind [ name ] [ "in" | "out" ]

kind: crossed, appeared, entered, dwelt, left or count_changed. name: of a line or zone, which may have blanks.
in, out: of kinds that have such a direction; behind another one it is a part of the name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from pipeline.picture.choices import Direction, EventKind

if TYPE_CHECKING:  # brings NumPy along, which help need not
    from pipeline.picture.counting.event import Event

ANY = "any"
_DIRECTIONS: Mapping[str, tuple[Direction, ...]] = {"crossed": ("in", "out"), "entered": ("in",), "left": ("out",)}
_AT_LINES = frozenset(("crossed",))  # the others happen in zones


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events are meant; None: whatever it is."""

    kind: str | None = None
    name: str | None = None
    direction: str | None = None

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read a selection. Raises ValueError for a kind that there is not.

        >>> Selection.parse("crossed front gate in")
        Selection(kind='crossed', name='front gate', direction='in')
        """
        kind, *words = text.split() or [""]
        if kind == ANY and not words:
            return cls()
        kinds = get_args(EventKind)
        if kind not in kinds:
            nearest = difflib.get_close_matches(kind, kinds, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise ValueError(f"must begin with {ANY}, {', '.join(kinds)}, such as 'crossed gate', got {text!r}{hint}")
        direction = words.pop() if words and words[-1] in _DIRECTIONS.get(kind, ()) else None
        return cls(kind, " ".join(words) or None, direction)

    @property
    def is_at_line(self) -> bool:
        """Whether only a line has such events; otherwise only a zone has, unless any event is meant."""
        return self.kind in _AT_LINES

    @staticmethod
    def kinds(*, at_line: bool) -> list[str]:
        """The kinds of events that lines have, or zones."""
        return [kind for kind in get_args(EventKind) if (kind in _AT_LINES) == at_line]

    def __call__(self, event: Event) -> bool:
        pairs = ((self.kind, event.kind), (self.name, event.name), (self.direction, event.direction))
        return all(meant in (None, actual) for meant, actual in pairs)


EVERY_EVENT = Selection()
