"""Shared statistics: many viewers, one look at the run a second."""

from __future__ import annotations

import asyncio
import json

from pipeline.serve.shared_statistics import SharedStatistics
from pipeline.testing import StepClock


def test_viewers_share_what_was_gathered_a_second_ago_and_each_hears_what_it_missed() -> None:
    looks: list[int] = []
    clock = StepClock()

    def gather() -> dict[str, int]:
        looks.append(1)
        return {"captured": len(looks)}

    statistics = SharedStatistics(gather, clock=clock)

    async def ask(*num_dropped: int) -> list[dict[str, object]]:
        return [json.loads(text) for text in await asyncio.gather(*map(statistics.message, num_dropped))]

    async def ask_twice() -> list[list[dict[str, object]]]:
        first = await ask(*[0] * 49, 3)
        clock.advance(1.0)
        return [first, await ask(0, 0)]

    first, second = asyncio.run(ask_twice())
    assert first[:2] == [{"t": "stats", "captured": 1, "dropped_for_viewer": 0}] * 2
    assert first[-1] == {"t": "stats", "captured": 1, "dropped_for_viewer": 3}
    assert {message["captured"] for message in first} == {1}
    assert second == [{"t": "stats", "captured": 2, "dropped_for_viewer": 0}] * 2
