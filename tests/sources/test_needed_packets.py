"""Needed packets: every packet that a target picture refers to is decoded, under the right number, and few others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.video.needed_packets import LATEST_WAITING, MOST_WAITING, NeededPackets


@dataclass(frozen=True)
class Packet:
    """A picture that refers to others by their places in the file."""

    pts: int | None
    is_keyframe: bool = False
    is_disposable: bool = False
    is_discard: bool = False
    refers_to: frozenset[int] = frozenset()


class Stream:
    """Writes packets as an encoder does: key frames, pictures that refer to the last one, and B-pictures between."""

    def __init__(self, *, marks_disposable: bool = True) -> None:
        self.packets: list[Packet] = []
        self.marks_disposable = marks_disposable
        self.num_shown = 0
        self.anchor: int | None = None

    def add_gop(self, betweens: Sequence[int]) -> None:
        """A key frame and others that refer to the one before; `betweens` counts the B-pictures shown before them."""
        for index, num_between in enumerate(betweens):
            before, after = self.anchor, len(self.packets)
            num_between = 0 if before is None else num_between
            refers_to = frozenset([before]) if index and before is not None else frozenset[int]()
            self.packets.append(Packet(self.num_shown + num_between, index == 0, refers_to=refers_to))
            if before is not None:
                self._add_between(num_between, frozenset([before, after]))
            self.anchor, self.num_shown = after, self.num_shown + num_between + 1

    def _add_between(self, num: int, around: frozenset[int]) -> None:
        times = list(range(self.num_shown, self.num_shown + num))
        if num == 3:  # a pyramid: the outer ones refer to the one in the middle
            around_all = around | {len(self.packets)}
            self.packets.append(Packet(times.pop(1), refers_to=around))
            around = around_all
        disposable = self.marks_disposable
        self.packets += [Packet(pts, is_disposable=disposable, refers_to=around) for pts in times]


def decoded(
    packets: Sequence[Packet], every: int, **options: bool
) -> tuple[list[int], dict[int, int], list[int | None]]:
    """Indices of the decoded packets, times of the pictures by number, and the indices with None for a new beginning.

    Fails where a packet is decoded that refers to one which the decoder does not hold any more.
    """
    first_pts = min(packet.pts for packet in packets if packet.pts is not None and not packet.is_discard)
    needed: NeededPackets[Packet] = NeededPackets(every, first_pts=first_pts, **options)  # type: ignore[arg-type]
    index_by_id = {id(packet): index for index, packet in enumerate(packets)}
    steps: list[int | None] = []
    held: set[int] = set()
    times: dict[int, int] = {}
    waiting: list[int] = []
    for packet in needed.choose([*packets, None]):
        if packet is None:
            for pts in sorted(waiting):
                times[needed.number_of(pts)] = pts
            held, waiting = set(), []
            steps.append(None)
            continue
        index = index_by_id[id(packet)]
        steps.append(index)
        assert packet.refers_to <= held, f"{index} refers to {packet.refers_to - held}, which is not decoded"
        held.add(index)
        if packet.pts is not None and not packet.is_discard:
            waiting.append(packet.pts)
    return [step for step in steps if step is not None], times, steps


def assert_wanted_are_right(packets: Sequence[Packet], every: int, times: dict[int, int]) -> None:
    shown = sorted(packet.pts for packet in packets if packet.pts is not None and not packet.is_discard)
    assert {number: pts for number, pts in times.items() if number % every == 0} == dict(
        zip(range(0, len(shown), every), shown[::every], strict=True)
    )
    assert all(shown[number] == pts for number, pts in times.items())


def closed_gops(num: int, length: int) -> Stream:
    stream = Stream()
    for _ in range(num):
        stream.add_gop([0] * length)
    return stream


@given(
    gops=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=8),
    every=st.integers(1, 40),
    marks_disposable=st.booleans(),
)
def test_wanted_pictures_come_out_under_their_numbers(
    gops: list[list[int]], every: int, marks_disposable: bool
) -> None:
    stream = Stream(marks_disposable=marks_disposable)
    for betweens in gops:
        stream.add_gop(betweens)
    indices, times, _ = decoded(stream.packets, every)
    assert indices == sorted(indices)
    assert_wanted_are_right(stream.packets, every, times)


@given(every=st.integers(1, 90), betweens=st.lists(st.integers(0, 3), min_size=300, max_size=500))
def test_in_a_long_gop_only_disposable_pictures_are_left_out_before_its_end(every: int, betweens: list[int]) -> None:
    stream = Stream()
    stream.add_gop([0, 1])
    stream.add_gop(betweens)
    stream.add_gop([2, 3])
    indices, times, _ = decoded(stream.packets, every)
    assert_wanted_are_right(stream.packets, every, times)
    far_from_the_end = range(30, len(stream.packets) - MOST_WAITING - LATEST_WAITING)
    assert {index for index in far_from_the_end if not stream.packets[index].is_disposable} <= set(indices)


def test_of_a_gop_a_picture_only_its_key_frame_is_decoded() -> None:
    indices, times, steps = decoded(closed_gops(5, 30).packets, 30)
    assert indices == [0, 30, 60, 90, 120]
    assert times == {0: 0, 30: 30, 60: 60, 90: 90, 120: 120}
    assert steps == [0, None, 30, None, 60, None, 90, None, 120, None]


def test_a_gop_without_a_wanted_picture_is_left_out() -> None:
    assert decoded(closed_gops(7, 10).packets, 30)[0] == [0, 30, 60]


def test_what_is_after_the_last_wanted_picture_of_a_gop_is_left_out() -> None:
    assert decoded(closed_gops(2, 5).packets, 3)[0] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_disposable_pictures_are_left_out_without_a_new_beginning() -> None:
    stream = Stream()
    stream.add_gop([0, 1, 1, 1])  # shown: I b P b P b P
    _, times, steps = decoded(stream.packets, 2)
    assert steps == [0, 1, 3, 5, None]
    assert sorted(times) == [0, 2, 4, 6]


def test_a_wanted_leading_picture_keeps_the_end_of_the_gop_before() -> None:
    stream = Stream()
    stream.add_gop([0, 0, 0])  # 0 1 2
    stream.add_gop([2, 0, 0])  # key frame 5, leading 3 and 4, then 6 and 7
    assert decoded(stream.packets, 3)[2] == [0, 1, 2, 3, 4, 6, None]
    assert decoded(stream.packets, 5)[2] == [0, None, 3, None]  # without its leading pictures, which refer to 2


def test_of_a_codec_without_references_each_picture_stands_alone() -> None:
    packets = [Packet(pts, is_keyframe=True) for pts in range(10)]
    assert decoded(packets, 4, is_intra=True)[2] == [0, 4, 8, None]


def test_what_an_edit_list_hides_is_decoded_and_not_counted() -> None:
    packets = closed_gops(1, 8).packets
    packets[:3] = [replace(packet, is_discard=True) for packet in packets[:3]]
    indices, times, _ = decoded(packets, 2)
    assert indices == [0, 1, 2, 3, 4, 5, 6, 7]
    assert times == {0: 3, 1: 4, 2: 5, 3: 6, 4: 7}


def test_what_is_shown_before_the_first_picture_that_can_be_decoded_is_not_counted() -> None:
    stream = Stream()
    stream.add_gop([0, 0])
    stream.add_gop([2, 0, 0])
    packets = stream.packets[2:]  # cut off before a key frame, whose leading pictures now refer to nothing
    needed: NeededPackets[Packet] = NeededPackets(2, first_pts=4)
    chosen = list(needed.choose([*packets, None]))
    assert [packet.pts for packet in chosen if packet] == [4, 5, 6]
    assert [needed.number_of(pts) for pts in (4, 5, 6)] == [0, 1, 2]


FOUR_GOPS = closed_gops(4, 10).packets
BROKEN = {
    "missing": [*FOUR_GOPS[:25], replace(FOUR_GOPS[25], pts=None), *FOUR_GOPS[26:]],
    "repeated": [*FOUR_GOPS[:25], replace(FOUR_GOPS[25], pts=22), *FOUR_GOPS[26:]],
    "backwards": [*FOUR_GOPS[:20], *map(replace, FOUR_GOPS[:20])],
}


@pytest.mark.parametrize("times", BROKEN)
def test_from_broken_times_on_everything_is_decoded_and_counted(times: str) -> None:
    packets = BROKEN[times]
    needed: NeededPackets[Packet] = NeededPackets(15, first_pts=0)
    numbers = []
    for packet in needed.choose([*packets, None]):
        numbers.append(None if packet is None else needed.number_of(packet.pts))
    assert numbers == [0, None, *range(10, 40), None]
    assert needed.num_pictures == 40


def test_where_a_decoder_cannot_begin_anew_only_disposable_pictures_are_left_out() -> None:
    stream = Stream()
    stream.add_gop([0, 1, 1])
    stream.add_gop([0, 1, 1])
    assert decoded(stream.packets, 7, begins_anew=False)[2] == [0, 1, 3, 5, 6, 8, None]
    assert decoded(stream.packets, 7)[2] == [0, None, 5, 6, None]


def test_somebody_who_stops_gets_nothing_more() -> None:
    needed: NeededPackets[Packet] = NeededPackets(2, first_pts=0)
    assert list(needed.choose(closed_gops(1, 10).packets)) == []
