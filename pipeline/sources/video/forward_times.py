"""Forward times: the media times of decoded pictures, which may be missing or go back → times that only go forward."""

from __future__ import annotations

MOST_REPLACED = 4  # in a row: then it is the earlier time that was wrong, and the times go on from there


class ForwardTimes:
    """Makes times go forward; where several in a row do not, all that follow are shifted instead of replaced.

    step_seconds: from picture to picture, for those that have no time of their own.
    """

    def __init__(self, *, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._last_seconds: float | None = None
        self._shift_seconds = 0.0
        self._num_in_a_row = 0  # replaced
        self._greatest_seconds: float | None = None  # of the pictures' own times
        self.num_backwards = 0  # of these, that did not go forward

    def next(self, seconds: float | None) -> float:
        """The time of the next picture, which its own may not be. seconds: its own, None where it has none."""
        if seconds is not None:
            self._count(seconds)
        shifted = None if seconds is None else seconds + self._shift_seconds
        last = self._last_seconds
        if last is None:
            self._last_seconds = shifted or 0.0
        elif shifted is not None and shifted > last:
            self._num_in_a_row = 0
            self._last_seconds = shifted
        else:
            self._last_seconds = last + self._step_seconds
            if seconds is not None:
                self._replace(seconds, self._last_seconds)
        return self._last_seconds

    def _count(self, seconds: float) -> None:
        greatest = self._greatest_seconds
        self.num_backwards += greatest is not None and seconds <= greatest
        self._greatest_seconds = seconds if greatest is None else max(greatest, seconds)

    def _replace(self, seconds: float, by_seconds: float) -> None:
        self._num_in_a_row += 1
        if self._num_in_a_row >= MOST_REPLACED:
            self._shift_seconds = by_seconds - seconds
            self._num_in_a_row = 0
