"""Backoff: failures in a row → how long to wait before the next attempt, growing, capped and with jitter."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 1.25  # of a stream that ran well, so that it is back soon after its camera
LONGEST_FLAPPING_SECONDS = 30.0  # of one that breaks again and again
JITTER = 0.2  # share by which delays differ, so that cameras behind one switch are not tried all at once


def delay_seconds(
    num_attempts: int,
    *,
    num_flaps: int = 0,
    most_seconds: float,
    randomness: Callable[[], float] = random.random,
) -> float:
    """How long to wait before the next attempt to open a stream.

    num_attempts: that have failed since it was there. num_flaps: how often in a row it broke soon after it came back.
    most_seconds: no delay is longer, but for the jitter. randomness: gives numbers in [0, 1).
    """
    doublings = min(num_attempts + num_flaps, 16)
    longest = LONGEST_FLAPPING_SECONDS if num_flaps else LONGEST_DELAY_SECONDS
    delay = min(FIRST_DELAY_SECONDS * 2 ** float(doublings), longest, most_seconds)
    return delay * (1 - JITTER + 2 * JITTER * randomness())
