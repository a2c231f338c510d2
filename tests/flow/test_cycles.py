"""Cycles: they are collected while a run goes on, by whoever waits for it or reads its results."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from pipeline.flow.cycles import COLLECT_SECONDS, CycleCollector
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.testing import ItemSource, StepClock


class Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _without_pythons_own() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    yield
    if was_enabled:
        gc.enable()


def test_a_cycle_is_collected_within_seconds_although_few_objects_are_made() -> None:
    clock = StepClock()
    cycles = CycleCollector(clock=clock)
    cycles.begin()
    cycle = weakref.ref(Cycle())
    clock.advance(COLLECT_SECONDS / 2)
    cycles.look()
    assert cycle() is not None
    clock.advance(COLLECT_SECONDS / 2)
    cycles.look()
    assert cycle() is None
    cycles.end()
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("collects", [True, False])
def test_a_run_collects_them_while_its_results_are_read(collects: bool) -> None:
    clock = StepClock()
    with Running(
        Flow.from_sources(ItemSource(range(3))), results=True, clock=clock, collects_cycles=collects
    ) as running:
        assert (gc.get_freeze_count() > 0) is collects
        cycle = weakref.ref(Cycle())
        for _ in running:
            clock.advance(COLLECT_SECONDS)
        assert (cycle() is None) is collects
    assert gc.get_freeze_count() == 0


def test_a_run_collects_them_while_its_end_is_waited_for() -> None:
    clock, gate = StepClock(), threading.Event()

    def waiting() -> Iterator[int]:
        gate.wait()
        yield 1

    with Running(Flow.from_sources(ItemSource(waiting())), clock=clock, collects_cycles=True) as running:
        cycle = weakref.ref(Cycle())
        clock.advance(COLLECT_SECONDS)
        running.wait(on_tick=gate.set, tick_seconds=0)
        assert cycle() is None
