"""Event names: an event → the name of a file that shows it, with its id, so that messages and files meet."""

from __future__ import annotations

import re

from pipeline.picture.counting.event import Event
from pipeline.sinks.picture_names import fitted


def event_stem(stem: str, event: Event, *, ending: str = "") -> str:
    """`street-000012-crossed-gate-0123456789abcdef` and the ending. stem: of the source or frame.

    What a file system may refuse in a name of a line or zone becomes _.
    """
    name = re.sub(r"[^\w.-]+", "_", event.name).strip("_.")[:60]
    return fitted(f"{stem}-{event.kind}-{name}", f"-{event.id}{ending}")
