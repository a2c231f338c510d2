"""Process: what a run sets in Python for its time."""

from __future__ import annotations

import gc
import weakref

from pipeline.app.process import COLLECT_SECONDS, collecting_often
from pipeline.testing import StepClock


class Cycle:
    def __init__(self) -> None:
        self.me = self


def test_a_cycle_is_collected_within_seconds_although_few_objects_are_made() -> None:
    clock, was_enabled = StepClock(), gc.isenabled()
    gc.disable()
    try:
        with collecting_often(clock) as collect:
            cycle = weakref.ref(Cycle())
            clock.now_seconds += COLLECT_SECONDS / 2
            collect()
            assert cycle() is not None
            clock.now_seconds += COLLECT_SECONDS / 2
            collect()
            assert cycle() is None
    finally:
        if was_enabled:
            gc.enable()
    assert gc.get_freeze_count() == 0
