"""Turns: threads that share something narrow → one of them at a time, from the moment at which it prepares for it.

A batch that is put together while another runs on a GPU would wait there, and be short of the frames that come
meanwhile. So whoever puts one together begins its turn before, and the engine ends it behind the run.
"""

from __future__ import annotations

import threading


class Turns:
    """Turns of threads. A thread may end a turn that is not its own, or over: that does nothing."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner: int | None = None  # a thread's number

    def begin(self) -> None:
        """Wait until nobody has a turn, and begin one."""
        with self._changed:
            self._changed.wait_for(lambda: self._owner is None)
            self._owner = threading.get_ident()

    def end(self) -> None:
        """End the turn of this thread."""
        with self._changed:
            if self._owner == threading.get_ident():
                self._owner = None
                self._changed.notify()
