"""Misses: frames that were looked at although nothing seemed to have changed → how often the gate misses something."""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z = 1.959964  # of the normal distribution, for 95 % in the middle


def wilson_interval(num: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `num` of `of` were seen (Wilson 1927); all of [0, 1] where `of` is 0.

    Raises ValueError unless 0 <= num <= of.

    >>> [round(end, 4) for end in wilson_interval(1, 10)]
    [0.0179, 0.4042]
    """
    if not 0 <= num <= of:
        raise ValueError(f"the number must lie within [0, {of}], got {num}")
    if of == 0:
        return 0.0, 1.0
    share, spread = num / of, _Z * _Z / of
    centre = share + spread / 2
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return (0.0 if num == 0 else low), (1.0 if num == of else high)


@dataclass(frozen=True, slots=True)
class MissRate:
    """Of frames that would have been left out and were looked at, how many had an object that would be missing."""

    num_checked: int = 0
    num_missed: int = 0

    @property
    def share(self) -> float | None:
        """None before the first check."""
        return self.num_missed / self.num_checked if self.num_checked else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share."""
        return wilson_interval(self.num_missed, self.num_checked)

    def with_check(self, *, has_missed: bool) -> MissRate:
        """With one more frame."""
        return MissRate(self.num_checked + 1, self.num_missed + has_missed)

    def passes(self, target: float) -> bool:
        """Whether misses have pushed the upper end of the interval over a share that is allowed.

        Without a miss it is only for want of checks that it may be higher.
        """
        return self.num_missed > 0 and self.interval[1] > target
