"""Remuxer: packets of H.264 → an init segment and a fragment for each, without decoding anything.

A fragment is given out with its packet, so how long it lasts is not known yet: as long as the one before it. The next
one begins at its own time in any case.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.serve.fmp4 import TIMESCALE, fragment, init_segment
from pipeline.serve.h264 import NalFormat, ParameterSets, has_b_slice, parameter_sets, sample_of

_TYPICAL_TICKS = TIMESCALE // 25
_MOST_TICKS = 10 * TIMESCALE  # that a picture is shown


class NotRemuxable(ValueError):  # noqa: N818 - an answer: such a stream is encoded instead
    """Why a stream cannot be shown as it is, as words that follow "encoded, because"."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of what a media source is fed with. init: a new init segment goes before it."""

    data: bytes
    pts_seconds: float
    is_keyframe: bool
    init: Init | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Init:
    """The init segment of a stream, and how a browser is told what comes."""

    data: bytes
    codec_string: str
    size_wh: tuple[int, int]

    @property
    def mime(self) -> str:
        """For `MediaSource.addSourceBuffer`."""
        return f'video/mp4; codecs="{self.codec_string}"'


class Remuxer:
    """Turns packets into fragments at the media times of their pictures. For one thread.

    The SPS is rewritten, so that browsers hold no picture back, and a changed one begins a new init segment.
    Raises NotRemuxable, from the constructor or from `put`, for what browsers do not play so: B-frames, interlaced
    pictures, other than 8 bits and 4:2:0.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        if codec != "h264":
            raise NotRemuxable(f"the source is {codec}, which not every browser plays")
        self._format = NalFormat(extradata)
        self._sets: ParameterSets | None = None
        self._new_init: Init | None = None
        self._number = 0
        self._last_ticks: int | None = None
        self._last_steps = (_TYPICAL_TICKS, _TYPICAL_TICKS)
        self._take_sets(self._format.header_units())

    def put(self, data: bytes, pts_seconds: float | None, *, is_keyframe: bool) -> Segment | None:
        """The fragment of a packet; None: it has no picture, or none that a decoder could begin with."""
        if pts_seconds is None:
            raise NotRemuxable("the packets have no times")
        units = self._format.units(data)
        if is_keyframe:
            self._take_sets(units)
        if has_b_slice(units):
            raise NotRemuxable("the stream has B-frames")
        sample = sample_of(units)
        if not sample or self._sets is None:
            return None
        ticks = round(pts_seconds * TIMESCALE)
        duration_ticks = self._duration_until(ticks)
        self._number += 1
        data = fragment(
            sample, number=self._number, ticks=ticks, duration_ticks=duration_ticks, is_keyframe=is_keyframe
        )
        init, self._new_init = self._new_init, None
        return Segment(data, ticks / TIMESCALE, is_keyframe, init)

    def _duration_until(self, ticks: int) -> int:
        """How long a picture is probably shown: the shorter of the last two, one of which may have been a gap."""
        if self._last_ticks is not None:
            if ticks <= self._last_ticks:
                raise NotRemuxable("the times of the stream go back")
            self._last_steps = (self._last_steps[1], ticks - self._last_ticks)
        self._last_ticks = ticks
        return min(*self._last_steps, _MOST_TICKS)

    def _take_sets(self, units: list[bytes]) -> None:
        """Begin a new init segment where the parameter sets are others than before."""
        try:
            sets = parameter_sets(units)
            if sets is None or sets == self._sets:
                return
            sps = sets.first_sps
        except (ValueError, IndexError) as error:
            raise NotRemuxable(f"its SPS cannot be read ({error})") from error
        if not sps.is_progressive:
            raise NotRemuxable("the pictures may be interlaced")
        if sps.chroma_format_idc != 1 or sps.bit_depth != 8:
            raise NotRemuxable("the pictures are not 8 bits 4:2:0, as browsers want them")
        self._sets = sets
        self._new_init = Init(init_segment(sets.avcc(), sps.size_wh), sps.codec_string, sps.size_wh)
