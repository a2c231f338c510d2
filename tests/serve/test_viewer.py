"""A viewer's queue: what a slow browser is sent, and what is left out."""

from __future__ import annotations

import asyncio
import json

import pytest

from pipeline.serve.remux import Init
from pipeline.serve.viewer import Unit, Viewer

INIT = Init(b"init", "avc1.64001f", (96, 64))


def unit(number: int, gop: int = 10) -> Unit:
    return Unit(f"{number}".encode(), 1, number % gop == 0)


def taken(viewer: Viewer, num: int | None = None) -> list[str | bytes | None]:
    """What is sent now, at most some messages."""

    async def take() -> list[str | bytes | None]:
        messages: list[str | bytes | None] = []
        while num is None or len(messages) < num:
            try:
                messages.append(await asyncio.wait_for(viewer.next(), 0.01))
            except TimeoutError:
                break
            if messages[-1] is None:
                break
        return messages

    return asyncio.run(take())


def test_a_fast_browser_gets_everything_in_order() -> None:
    viewer = Viewer()
    viewer.put_start("start", INIT)
    for number in range(20):
        viewer.put_unit(unit(number), gop=10)
    assert taken(viewer) == ["start", b"\0\0\0\0init", *(str(number).encode() for number in range(20))]


def test_it_begins_with_a_key_frame() -> None:
    viewer = Viewer()
    viewer.put_start("start", INIT)
    for number in range(5, 12):
        viewer.put_unit(unit(number), gop=10)
    assert taken(viewer) == ["start", b"\0\0\0\0init", b"10", b"11"]


def test_a_slow_browser_goes_on_with_the_next_key_frame_and_hears_how_much_it_missed() -> None:
    viewer = Viewer()
    viewer.put_start("start", INIT)
    viewer.put_unit(unit(0), gop=10)
    assert taken(viewer, 3) == ["start", b"\0\0\0\0init", b"0"]
    for number in range(1, 63):
        viewer.put_unit(unit(number), gop=10)
    first, *rest = taken(viewer)
    assert isinstance(first, str)
    assert json.loads(first) == {"t": "drop", "n": 59}  # 1 to 51, which were too many, and those up to the key frame 60
    assert rest == [b"60", b"61", b"62"]
    assert viewer.num_dropped == 59
    assert viewer.has_start(INIT)


def test_an_init_segment_that_was_left_out_is_missed() -> None:
    viewer = Viewer()
    viewer.put_start("start", INIT)
    for number in range(60):
        viewer.put_unit(unit(number), gop=10)
    assert not viewer.has_start(INIT)


@pytest.mark.parametrize("gop", [10, 250])
def test_the_queue_of_a_stuck_browser_is_bounded_by_its_gop(gop: int) -> None:
    viewer = Viewer()
    viewer.put_start("start", INIT)
    for number in range(5000):
        viewer.put_unit(unit(number, gop), gop=gop)
        viewer.put_text("boxes")
    assert len(taken(viewer)) <= 2000


def test_one_that_waits_for_a_key_frame_hears_of_boxes_and_several_pictures_are_left_out_at_once() -> None:
    viewer = Viewer()
    viewer.put_start("start", INIT)
    viewer.put_unit(Unit(b"2 and 3", 2, False, ("boxes 2", "boxes 3")), gop=10)
    viewer.put_unit(Unit(b"10 and 11", 2, True, ("boxes 10",)), gop=10)
    assert taken(viewer, 5) == ["start", b"\0\0\0\0init", "boxes 2", "boxes 3", b"10 and 11"]
    for _ in range(30):
        viewer.put_unit(Unit(b"more", 2, False), gop=10)
    viewer.put_unit(Unit(b"20", 1, True), gop=10)
    assert taken(viewer) == ['{"t":"drop","n":60}', b"20"]


def test_of_jpegs_the_newest_is_enough() -> None:
    viewer = Viewer()
    viewer.put_start("start", None)
    for number in range(3):
        viewer.put_picture(f"jpeg {number}".encode(), f"boxes {number}")
    start, drop, *rest = taken(viewer)
    assert (start, rest) == ("start", ['{"t":"drop","n":1}', "boxes 2", b"jpeg 2"])
    assert drop == '{"t":"drop","n":1}'


def test_after_the_last_message_it_is_over() -> None:
    viewer = Viewer()
    viewer.end("end")
    viewer.put_text("late")
    assert taken(viewer) == ["end", None]
