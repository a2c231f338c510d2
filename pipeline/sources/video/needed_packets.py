"""Which packets must be decoded when only every nth picture is wanted?

Pictures are numbered as they are shown, by their times; packets come in the order in which they are decoded. In a GOP,
from a key frame up to the next one, nothing refers to what came before the key frame, but for leading pictures: those
that come after the key frame and are shown before it. So what follows the last wanted picture of a GOP can be left out,
and a GOP without a wanted picture as a whole; and a disposable picture, to which nothing refers, wherever it stands.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

MOST_WAITING = 256  # packets of a GOP; beyond, the oldest are decided on before the next key frame has come
LATEST_WAITING = 32  # of those, so many stay: no codec shows a picture more than 16 before one that was decoded earlier


class PacketLike(Protocol):
    """What is used of `av.Packet`."""

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
    is_wanted: bool
    is_leading: bool


class NeededPackets(Generic[P]):
    """Chooses packets and numbers the pictures that are decoded of them; for one file, read once.

    Times that are missing, are there twice, or go back from one GOP to the next are those of a broken file: from there
    on every packet is needed, and pictures are counted as they come.

    first_pts: of the first picture that a decoder gives; what is shown before it is no picture.
    is_intra: whether no picture of this codec refers to another one.
    begins_anew: whether a decoder can begin at any key frame; else only what is disposable is left out.
    """

    def __init__(self, every: int, *, first_pts: int, is_intra: bool = False, begins_anew: bool = True) -> None:
        self._every = every
        self._first_pts = first_pts
        self._is_intra = is_intra
        self._begins_anew = begins_anew
        self._gop: list[P] = []  # what was read of it and not decided on
        self._key_pts: int | None = None  # of this GOP's key frame
        self._times: set[int] = set()  # of pictures that another one may still be shown before
        self._num_final = 0  # pictures that are shown before all of these
        self._final_pts: int | None = None  # the last of their times
        self._last_gop: Sequence[_Numbered[P]] = ()  # waits until the next one tells whether it refers to its end
        self._numbers: dict[int, int] = {}  # by time, of the pictures that the decoder was given and has not given back
        self._last_number = -1
        self._is_broken = self._has_left_out = False
        self.last_pts = first_pts  # the greatest that was read

    @property
    def num_pictures(self) -> int:
        """How many have been found; complete when `choose` has ended."""
        return self._last_number + 1 if self._is_broken else self._num_final

    def number_of(self, pts: int | None) -> int:
        """The number of a picture that the decoder gives; it must be asked of each, in their order, and once."""
        known = None if pts is None else self._numbers.pop(pts, None)
        if known is None:
            known = max(self._last_number + 1, self._num_final if self._is_broken else 0)
        self._last_number = max(self._last_number, known)
        return known

    def choose(self, packets: Iterable[P | None]) -> Iterator[P | None]:
        """Yield what must be decoded, in the order of the file, and None where the decoder must be drained and flushed.

        packets: of the file, then None. Where None does not come, somebody has stopped, and what waits is let go.
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
            self._gop.append(packet)
            if len(self._gop) > MOST_WAITING:
                yield from self._release_oldest()

    def _is_in_order(self, packet: P) -> bool:
        """Whether a number can be told of this packet's time; takes note of the time."""
        if packet.is_discard:  # by an edit list: it is decoded, and not shown
            return True
        if packet.pts is None or packet.pts in self._times:
            return False
        if self._final_pts is None and packet.pts < self._first_pts:  # what it refers to is not in the file
            return True
        if self._final_pts is not None and packet.pts <= self._final_pts:
            return False
        self._times.add(packet.pts)
        return True

    def _numbered(self) -> list[_Numbered[P]]:
        """What waits of this GOP, with the numbers that it has by what is known."""
        place = {pts: self._num_final + rank for rank, pts in enumerate(sorted(self._times))}
        numbered = []
        for packet in self._gop:
            number = None if packet.pts is None or packet.is_discard else place.get(packet.pts)
            is_leading = packet.pts is not None and self._key_pts is not None and packet.pts < self._key_pts
            is_wanted = number is not None and number % self._every == 0
            numbered.append(_Numbered(packet, number, is_wanted, is_leading))
        return numbered

    def _settle(self, until_pts: int | None) -> None:
        """Take the numbers of all pictures before that time, or of all, for final."""
        times = sorted(self._times)
        num = len(times) if until_pts is None else bisect_left(times, until_pts)
        if num:
            self._num_final, self._final_pts = self._num_final + num, times[num - 1]
        self._times.difference_update(times[:num])

    def _end_gop(self) -> Iterator[P | None]:
        """Decide on the GOP before this one, all of which is known now."""
        if not self._gop:
            return
        numbered = self._numbered()
        yield from self._release(self._last_gop, with_end=_wants_leading(numbered))
        self._last_gop = numbered
        self._settle(None)
        self._gop = []

    def _release_oldest(self) -> Iterator[P | None]:
        """Decide on the first part of a long GOP."""
        numbered = self._numbered()
        yield from self._release(self._last_gop, with_end=_wants_leading(numbered))
        self._last_gop = ()
        yield from self._release(numbered[:-LATEST_WAITING], with_end=True)
        rest = numbered[-LATEST_WAITING:]
        self._gop = [each.packet for each in rest]
        waiting = [each.packet.pts for each in rest if each.number is not None and each.packet.pts is not None]
        self._settle(min(waiting, default=None))

    def _break(self) -> Iterator[P | None]:
        """Let everything through from here on."""
        yield from self._release(self._last_gop, with_end=True)
        self._is_broken = True
        yield from self._gop
        self._last_gop, self._gop = (), []

    def _release(self, pictures: Sequence[_Numbered[P]], *, with_end: bool = False) -> Iterator[P | None]:
        """Yield what is needed of consecutive pictures.

        with_end: whether what comes after the last of them refers to them.
        """
        num_needed = 1 + max((place for place, each in enumerate(pictures) if each.is_wanted), default=-1)
        if with_end or not self._begins_anew:
            num_needed = len(pictures)
        is_new_beginning = self._has_left_out and num_needed > 0
        if is_new_beginning:
            yield None
            self._has_left_out = False
            self._numbers.clear()  # what has not come will not come
        for each in pictures[:num_needed]:
            can_go = each.packet.is_disposable or self._is_intra or (is_new_beginning and each.is_leading)
            if each.is_wanted or not can_go:
                if each.number is not None and each.packet.pts is not None:
                    self._numbers[each.packet.pts] = each.number
                yield each.packet
        rest = pictures[num_needed:]
        self._has_left_out |= not self._is_intra and any(not each.packet.is_disposable for each in rest)


def _wants_leading(pictures: Sequence[_Numbered[P]]) -> bool:
    return any(each.is_wanted and each.is_leading for each in pictures)
