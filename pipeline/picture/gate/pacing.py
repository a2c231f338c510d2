"""Pacing: how much of a picture has changed, frame by frame → which of the changed frames a network looks at.

`EveryNth` leaves a fixed number of frames out, `FollowsLoad` as many as it must. `Budget` has a share of all frames to
spend and spends it where much changes: it saves up while nothing does, and the change that it waits for falls as what
it has saved rises. So it ends up at the share that it is given where all frames change alike, without swinging around
it, and never passes it by more than a few frames.
"""

from __future__ import annotations

from typing import Protocol

from pipeline.picture.gate.load import Load

MOST_HELD = 32
"""Frames that wait for a later one that the network looks at; if none comes, their objects are predicted."""

LEAST_BUDGET = 0.05
"""The least share of frames to be looked at: of less, too many would wait, and what comes in would be seen late."""

_WINDOW_FRAMES = 50  # whose share is saved up at most
_LEAST_SAVINGS = 2.0  # looks, at most: less would not let it wait for more change
_MEAN_RATE = 0.02  # by which the mean of the change follows, a frame with change
_MOST_WEIGHT = 2.0


class Pace(Protocol):
    """Decides about the frames of one camera, in order: `follow` once a frame, then the others."""

    def follow(self, num_cells: int | None) -> None:
        """One more frame, and how many of its cells have changed since the network last looked; None: not known yet."""

    def weigh(self, surprise: float) -> None:
        """Say how far what a network saw, [0, 1], was from what had been expected."""

    @property
    def is_due(self) -> bool:
        """Whether the network looks at this frame, if it has changed."""

    @property
    def can_look(self) -> bool:
        """Whether the network may look at this frame, whatever the reason."""

    def look(self, *, is_check: bool) -> None:
        """Say that it does. A check changes nothing about whose turn is next."""


class EveryNth:
    """Every Nth frame of those that change, the first of them at once."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames
        self._since = num_frames

    def follow(self, num_cells: int | None) -> None:
        """See `Pace`."""
        self._since += 1

    def weigh(self, surprise: float) -> None:
        """What was unexpected changes nothing."""

    @property
    def is_due(self) -> bool:
        """Whether as many frames have passed."""
        return self._since >= self._num_frames

    @property
    def can_look(self) -> bool:
        """Always."""
        return True

    def look(self, *, is_check: bool) -> None:
        """See `Pace`."""
        if not is_check:
            self._since = 0


class FollowsLoad(EveryNth):
    """As many of the frames that change as a load allows."""

    def __init__(self, load: Load) -> None:
        super().__init__(load.every)
        self._load = load

    @property
    def is_due(self) -> bool:
        """Whether as many frames have passed as the load says now."""
        return self._since >= self._load.every


class Budget:
    """A share of the frames, in (0, 1]: of n in a row it spends at most share · n, and what was saved before them."""

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"the share must be above 0 and at most 1, got {share:g}")
        self._share = share
        self._most = self.most_saved(share)
        self._saved = self._most / 2
        self._waited = 0.0  # change since the last look, in frames with an average one
        self._mean: float | None = None  # cells that have changed in a frame, of those in which any have
        self._weight = 1.0
        self._mean_surprise: float | None = None

    @staticmethod
    def most_saved(share: float) -> float:
        """How many looks are saved up at most."""
        return max(_LEAST_SAVINGS, share * _WINDOW_FRAMES)

    def follow(self, num_cells: int | None) -> None:
        """See `Pace`."""
        self._saved = min(self._most, self._saved + self._share)
        if num_cells is None:
            self._waited += 1
        elif num_cells > 0:
            self._mean = num_cells if self._mean is None else self._mean + _MEAN_RATE * (num_cells - self._mean)
            self._waited += self._weight * num_cells / self._mean

    def weigh(self, surprise: float) -> None:
        """See `Pace`; where more was unexpected than on average, change counts more, up to twice, and else less."""
        mean = surprise if self._mean_surprise is None else self._mean_surprise
        self._mean_surprise = mean + _MEAN_RATE * (surprise - mean)
        ratio = surprise / mean if mean > 0 else 1.0 + (surprise > 0)
        self._weight = min(_MOST_WEIGHT, max(1 / _MOST_WEIGHT, ratio))

    @property
    def is_due(self) -> bool:
        """Whether as much has changed as what is saved lets it wait for: nothing where it can save no more."""
        return self._waited >= 2 / self._share * (1 - self._saved / self._most)

    @property
    def can_look(self) -> bool:
        """Whether anything is saved."""
        return self._saved >= 1 - 1e-9

    def look(self, *, is_check: bool) -> None:
        """See `Pace`."""
        self._saved -= 1
        if not is_check:
            self._waited = 0.0
