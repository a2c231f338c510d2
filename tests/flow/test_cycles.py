"""Cycles: they are collected while a run goes on, by whoever waits for it or reads its results."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

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


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc_trim")
def test_memory_that_a_moment_of_much_work_has_taken_goes_back_to_the_system() -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("another C library")
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    clock = StepClock()
    cycles = CycleCollector(clock=clock)
    blocks = [libc.malloc(65_536) for _ in range(1500)]
    for block in blocks:
        ctypes.memset(block, 1, 65_536)
    much = _resident_bytes()
    for number, block in enumerate(blocks):
        if number % 100 != 99:  # those keep the heap from shrinking at its end
            libc.free(block)
    assert _resident_bytes() > much - 20_000_000
    clock.advance(COLLECT_SECONDS)
    cycles.look()
    assert _resident_bytes() < much - 60_000_000
    for block in blocks[99::100]:
        libc.free(block)
