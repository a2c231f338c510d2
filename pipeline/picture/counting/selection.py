"""Event selection: `crossed gate in` → whether an event is meant.

    selection = "any" | kind [ name ] [ "in" | "out" ]

kind: crossed, appeared, entered, dwelt, left or count_changed. name: of a line or zone, which may have blanks.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from pipeline.picture.choices import Direction, EventKind

if TYPE_CHECKING:  # brings NumPy along, which help need not
    from pipeline.picture.counting.event import Event

ANY = "any"


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
        direction = words.pop() if words and words[-1] in get_args(Direction) else None
        return cls(kind, " ".join(words) or None, direction)

    def missing_name(self, names: Collection[str]) -> str | None:
        """The name of a line or zone that is meant and that there is not."""
        return None if self.name is None or self.name in names else self.name

    def __call__(self, event: Event) -> bool:
        pairs = ((self.kind, event.kind), (self.name, event.name), (self.direction, event.direction))
        return all(meant in (None, actual) for meant, actual in pairs)


EVERY_EVENT = Selection()
