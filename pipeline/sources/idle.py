"""Idle: what a gate says of a camera's pictures → whether key frames alone are worth decoding, and what was left out.

The source decides at a key frame, and waits there until the gate has looked at the picture that it handed out last. So
a recorded source gives the same pictures in every run, and a change in a key frame is followed by every picture.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pipeline.flow.stage import Stop

if TYPE_CHECKING:  # the command line knows the options of sources, and loads no arrays
    from pipeline.picture.frame import Picture

CALM_SECONDS = 1.0
"""Media time without change, after which a camera is idle."""

LIVE_PATIENCE_SECONDS = 0.25
"""For which a live source waits for the gate, because its picture may have been dropped on the way there."""

_LOOK_SECONDS = 0.1  # between two looks at whether the run wants to end


class Idle:
    """Shared by the source of a camera, in one thread, and its gate, in another.

    most_gop_seconds: from one key frame to the next; where more pass, every picture is decoded.
    """

    def __init__(self, *, most_gop_seconds: float) -> None:
        self.most_gop_seconds = most_gop_seconds
        self.num_undecoded = 0
        """Pictures that were left out so far; written by the source alone."""
        self._changed = threading.Condition()
        self._patience_seconds: float | None = None
        self._handed_out: Picture | None = None
        self._is_seen = True  # whether the gate has looked at that
        self._calm_since: float | None = None  # media time; None: something has changed
        self._calm_seconds = 0.0

    def may_lose_pictures(self) -> None:
        """Say that pictures may be dropped on the way to the gate, as those of a live source."""
        self._patience_seconds = LIVE_PATIENCE_SECONDS

    def hand_out(self, picture: Picture) -> None:
        """Say which picture the source gives next."""
        with self._changed:
            self._handed_out, self._is_seen = picture, False

    def see(self, picture: Picture, seconds: float, *, is_calm: bool) -> None:
        """Say what the gate has seen in a picture. is_calm: nothing has changed. seconds: media time."""
        with self._changed:
            if not is_calm:
                self._calm_since = None
            elif self._calm_since is None or seconds < self._calm_since:
                self._calm_since = seconds
            self._calm_seconds = 0.0 if self._calm_since is None else seconds - self._calm_since
            if picture is self._handed_out:
                self._is_seen, self._handed_out = True, None
                self._changed.notify_all()

    def is_calm(self, stop: Stop | None) -> bool:
        """Whether nothing has changed for long enough, up to the picture that was handed out last.

        Waits until the gate has seen that. False where the run wants to end, and where the gate does not see it.
        """
        waited_seconds = 0.0
        with self._changed:
            while not self._is_seen:
                is_over = self._patience_seconds is not None and waited_seconds >= self._patience_seconds
                if is_over or (stop is not None and stop.is_set()):
                    return False
                self._changed.wait(_LOOK_SECONDS)
                waited_seconds += _LOOK_SECONDS
            return self._calm_since is not None and self._calm_seconds >= CALM_SECONDS
