"""Remuxer: packets of H.264 → an init segment and a fragment for each, without decoding anything.

A fragment lasts until the next one begins, so each is given out with the packet after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from pipeline.serve.fmp4 import TIMESCALE, fragment, init_segment
from pipeline.serve.h264 import NalFormat, ParameterSets, has_b_slice, parameter_sets, sample_of

_TYPICAL_TICKS = TIMESCALE // 25
_MOST_TICKS = 10 * TIMESCALE  # that a picture is shown; a longer pause is a gap


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


@dataclass(slots=True)
class _Waiting:
    sample: bytes
    ticks: int
    is_keyframe: bool
    init: Init | None


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
        self._waiting: _Waiting | None = None
        self._number = 0
        self._last_duration_ticks = _TYPICAL_TICKS
        self._take_sets(self._format.header_units())

    def put(self, data: bytes, pts_seconds: float | None, *, is_keyframe: bool) -> Segment | None:
        """Take a packet; the fragment of the packet before it, where that is complete."""
        if pts_seconds is None:
            raise NotRemuxable("the packets have no times")
        units = self._format.units(data)
        if is_keyframe:
            self._take_sets(units)
        if has_b_slice(units):
            raise NotRemuxable("the stream has B-frames")
        sample = sample_of(units)
        if not sample or (self._sets is None and self._waiting is None):
            return None  # nothing to show, or nothing to show it by
        ticks = round(Fraction(pts_seconds) * TIMESCALE)
        if self._waiting is not None and ticks <= self._waiting.ticks:
            raise NotRemuxable("the times of the stream go back")
        segment = self._finished(ticks)
        self._waiting = _Waiting(sample, ticks, is_keyframe, self._new_init)
        self._new_init = None
        return segment

    def flush(self) -> Segment | None:
        """The last fragment, which lasts as long as the one before it."""
        segment = None if self._waiting is None else self._finished(self._waiting.ticks + self._last_duration_ticks)
        self._waiting = None
        return segment

    def _finished(self, next_ticks: int) -> Segment | None:
        waiting = self._waiting
        if waiting is None:
            return None
        self._number += 1
        duration = next_ticks - waiting.ticks
        self._last_duration_ticks = duration = duration if duration <= _MOST_TICKS else self._last_duration_ticks
        data = fragment(
            waiting.sample,
            number=self._number,
            ticks=waiting.ticks,
            duration_ticks=duration,
            is_keyframe=waiting.is_keyframe,
        )
        return Segment(data, waiting.ticks / TIMESCALE, waiting.is_keyframe, waiting.init)

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
