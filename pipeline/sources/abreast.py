"""Abreast: recorded sources that are read side by side → none of them far ahead of the others in media time.

Whoever joins their pictures by time need not keep many: without it a short queue of a source with few frames a second
would hold as much time as a long one of another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from pipeline.flow.stage import Stop

_LOOK_SECONDS = 0.1  # between two looks at whether the run wants to end


class Abreast:
    """Lets a source wait until the others have come as far; each calls it from a thread of its own.

    names: of the sources. slack_seconds: how far one may be ahead. Times are seconds since a source's first picture.
    """

    def __init__(self, names: Iterable[str], *, slack_seconds: float = 0.5) -> None:
        self._slack_seconds = slack_seconds
        self._reached_seconds = dict.fromkeys(names, 0.0)
        self._last_seconds: dict[str, float] = {}  # of the last picture, of those that have ended
        self._changed = threading.Condition()

    def wait(self, name: str, seconds: float, stop: Stop) -> bool:
        """Wait until it is the turn of a picture; False: the run wants to end."""
        with self._changed:
            self._reached_seconds[name] = seconds
            self._changed.notify_all()
            while not stop.is_set():
                if seconds <= self._slowest_seconds() + self._slack_seconds:
                    return True
                self._changed.wait(_LOOK_SECONDS)
        return False

    def leave(self, name: str, last_seconds: float) -> None:
        """Say that a source has ended, with the time of the last picture that it gave; nobody waits for it any more."""
        with self._changed:
            self._last_seconds.setdefault(name, last_seconds)
            self._changed.notify_all()

    def end_seconds(self, name: str) -> float | None:
        """The time of the last picture of a source that has ended; None: it goes on."""
        return self._last_seconds.get(name)

    def _slowest_seconds(self) -> float:
        going_on = [at for name, at in self._reached_seconds.items() if name not in self._last_seconds]
        return min(going_on, default=0.0)
