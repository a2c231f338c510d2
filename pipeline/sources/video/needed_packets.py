"""NeededPackets: all packets of a file → those that must be decoded for every nth picture.

Pictures are numbered in display order, by their times; packets come in decoding order. In a GOP, from a key frame up to
the next one, no picture refers to one before the key frame, except leading pictures: those that come after the key
frame and are shown before it. So three things can be left out: the packets after the last target picture of a GOP, a
GOP without a target picture, and a disposable picture, to which no other refers, wherever it stands.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

MOST_WAITING = 256  # packets of a GOP; of a longer one, the oldest are decided on before the next key frame has come
LATEST_WAITING = 32  # of these stay: no codec shows a picture more than 16 before one that was decoded earlier


class PacketLike(Protocol):
    """The part of `av.Packet` that is used."""

    @property
    def pts(self) -> int | None: ...

    @property
    def is_keyframe(self) -> bool: ...

    @property
    def is_disposable(self) -> bool: ...

    @property
    def is_discard(self) -> bool: ...


P = TypeVar("P", bound=PacketLike)


@dataclass(frozen=True, slots=True)
class _Numbered(Generic[P]):
    packet: P
    number: int | None  # None: no picture comes out of it
    is_target: bool
    is_leading: bool


class NeededPackets(Generic[P]):
    """Chooses packets, and numbers the pictures that are decoded from them; for one file, read once.

    Times that are missing, occur twice, or go back from one GOP to the next are those of a broken file: from there on
    every packet is needed, and pictures are counted as they come.

    first_pts: of the first picture that a decoder gives; earlier times have no picture.
    is_intra: whether no picture of this codec refers to another one.
    span: the first time of which a picture is a target, and the time from which on none is; None: no bound. Every nth
        picture is counted from the first target on, and reading ends soon after the last.
    begins_anew: whether a decoder can begin at any key frame; else only disposable pictures are left out.
    """

    def __init__(
        self,
        every: int,
        *,
        first_pts: int,
        span: tuple[int | None, int | None] = (None, None),
        is_intra: bool = False,
        begins_anew: bool = True,
    ) -> None:
        self._begin_pts, self._end_pts = span
        self._first_target: int | None = 0 if self._begin_pts is None else None  # its number, once it is final
        self._is_past_end = False
        self._every = every
        self._first_pts = first_pts
        self._is_intra = is_intra
        self._begins_anew = begins_anew
        self._gop: list[P] = []  # its packets that were read and not decided on
        self._key_pts: int | None = None  # of this GOP's key frame
        self._times: set[int] = set()  # of pictures before which another one may still be shown
        self._num_final = 0  # pictures that are shown before all of `_times`
        self._final_pts: int | None = None  # the last of their times
        self._last_gop: Sequence[_Numbered[P]] = ()  # waits until the next one shows whether it refers to its end
        self._numbers: dict[int, int] = {}  # by time, of the pictures that are in the decoder
        self._last_number = -1
        self._is_broken = self._has_left_out = False
        self.last_pts = first_pts  # the greatest that was read

    @property
    def num_pictures(self) -> int:
        """How many the file has, as far as it was read; complete when `choose` has ended."""
        return self._last_number + 1 if self._is_broken else self._num_final

    def number_of(self, pts: int | None) -> int:
        """The number of a decoded picture; to be called once for every picture, in the decoder's order."""
        number = None if pts is None else self._numbers.pop(pts, None)
        if number is None:
            number = max(self._last_number + 1, self._num_final if self._is_broken else 0)
        self._last_number = max(self._last_number, number)
        return number

    def choose(self, packets: Iterable[P | None]) -> Iterator[P | None]:
        """Yield the needed packets in the order of the file, and None where the decoder must be drained and flushed.

        packets: of the file, then None. Without None, the run was stopped, and waiting packets are dropped.
        """
        for packet in packets:
            if packet is None:
                if not self._is_broken:
                    yield from self._end_gop()
                    yield from self._release(self._last_gop)
                yield None
                return
            if packet.pts is not None:
                self.last_pts = max(self.last_pts, packet.pts)
            if not self._is_broken and packet.is_keyframe:
                yield from self._end_gop()
                self._key_pts = packet.pts
            if not self._is_broken and not self._is_in_order(packet):
                yield from self._break()
            if self._is_broken:
                yield packet
                continue
            if self._is_past_end:
                yield from self._release(self._last_gop)
                yield None
                return
            self._gop.append(packet)
            if len(self._gop) > MOST_WAITING:
                yield from self._release_oldest()

    def _is_in_order(self, packet: P) -> bool:
        """Whether this packet's time tells its number; takes note of the time."""
        if packet.is_discard:  # by an edit list: decoded, and not shown
            return True
        if packet.pts is None or packet.pts in self._times:
            return False
        if self._final_pts is None and packet.pts < self._first_pts:  # it refers to pictures that are not in the file
            return True
        if self._final_pts is not None and packet.pts <= self._final_pts:
            return False
        self._times.add(packet.pts)
        return True

    def _numbered(self) -> list[_Numbered[P]]:
        """The waiting packets of this GOP, numbered by the times that were read."""
        numbers = {pts: self._num_final + rank for rank, pts in enumerate(sorted(self._times))}
        first_target = self._first_target
        if first_target is None:
            first_target = min((number for pts, number in numbers.items() if self._is_in_span(pts)), default=0)
        numbered = []
        for packet in self._gop:
            number = None if packet.pts is None or packet.is_discard else numbers.get(packet.pts)
            is_leading = packet.pts is not None and self._key_pts is not None and packet.pts < self._key_pts
            is_target = (
                number is not None and self._is_in_span(packet.pts or 0) and (number - first_target) % self._every == 0
            )
            numbered.append(_Numbered(packet, number, is_target, is_leading))
        return numbered

    def _is_in_span(self, pts: int) -> bool:
        begins = self._begin_pts is None or pts >= self._begin_pts
        return begins and (self._end_pts is None or pts < self._end_pts)

    def _settle(self, until_pts: int | None) -> None:
        """Make the numbers of all pictures before that time final, or of all pictures."""
        times = sorted(self._times)
        num = len(times) if until_pts is None else bisect_left(times, until_pts)
        if self._first_target is None:
            before = [time for time in times[:num] if not self._is_in_span(time)]
            self._first_target = self._num_final + len(before) if len(before) < num else None
        if num:
            self._num_final, self._final_pts = self._num_final + num, times[num - 1]
        self._times.difference_update(times[:num])

    def _end_gop(self) -> Iterator[P | None]:
        """Decide on the GOP before this one, whose packets have all been read."""
        if not self._gop:
            return
        numbered = self._numbered()
        yield from self._release(self._last_gop, with_end=_has_leading_target(numbered))
        self._last_gop = numbered
        if self._times:
            self._is_past_end = self._end_pts is not None and min(self._times) >= self._end_pts
        self._settle(None)
        self._gop = []

    def _release_oldest(self) -> Iterator[P | None]:
        """Decide on the first part of a long GOP."""
        numbered = self._numbered()
        yield from self._release(self._last_gop, with_end=_has_leading_target(numbered))
        self._last_gop = ()
        yield from self._release(numbered[:-LATEST_WAITING], with_end=True)
        rest = numbered[-LATEST_WAITING:]
        self._gop = [picture.packet for picture in rest]
        pts = (picture.packet.pts for picture in rest if picture.number is not None)
        self._settle(min((time for time in pts if time is not None), default=None))

    def _break(self) -> Iterator[P | None]:
        """From now on, every packet is needed."""
        yield from self._release(self._last_gop, with_end=True)
        self._is_broken = True
        yield from self._gop
        self._last_gop, self._gop = (), []

    def _release(self, pictures: Sequence[_Numbered[P]], *, with_end: bool = False) -> Iterator[P | None]:
        """Yield the needed packets of consecutive pictures.

        with_end: whether a picture after the last of them refers to them.
        """
        num_needed = 1 + max((index for index, picture in enumerate(pictures) if picture.is_target), default=-1)
        if with_end or not self._begins_anew:
            num_needed = len(pictures)
        is_new_beginning = self._has_left_out and num_needed > 0
        if is_new_beginning:
            yield None
            self._has_left_out = False
            self._numbers.clear()  # pictures that have not come will not come
        for picture in pictures[:num_needed]:
            packet = picture.packet
            is_superfluous = packet.is_disposable or self._is_intra or (is_new_beginning and picture.is_leading)
            if picture.is_target or not is_superfluous:
                if picture.number is not None and packet.pts is not None:
                    self._numbers[packet.pts] = picture.number
                yield packet
        rest = pictures[num_needed:]
        self._has_left_out |= not self._is_intra and any(not picture.packet.is_disposable for picture in rest)


def _has_leading_target(pictures: Sequence[_Numbered[P]]) -> bool:
    return any(picture.is_target and picture.is_leading for picture in pictures)
