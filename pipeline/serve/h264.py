"""H.264 access units: packets as containers have them → NAL units with lengths before them, and what they say.

Containers have Annex B, with start codes (RTSP, MPEG-TS), or avcC, with lengths (MP4, Matroska); MP4 wants the latter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.serve.bits import BitReader
from pipeline.serve.sps import Sps, parse_sps, unescaped, without_reordering

_START_CODE = re.compile(b"\0\0\1")
_SLICES = frozenset((1, 2, 5))  # types of NAL units: a slice, its first partition, and one of a key frame
_SPS, _PPS, _DELIMITER, _FILLER = 7, 8, 9, 12
_B_SLICES = frozenset((1, 6))  # slice_type, 7.4.3
_HEAD_BYTES = 12  # of a slice, in which its type is


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """What a decoder needs before the first slice: SPS without a reorder buffer, and PPS."""

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]

    @property
    def first_sps(self) -> Sps:
        """Raises ValueError for an SPS that cannot be read."""
        return parse_sps(self.sps[0])

    def avcc(self) -> bytes:
        """The AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1), with lengths of four bytes."""
        sps = self.first_sps
        record = bytes((1, sps.profile_idc, sps.constraints, sps.level_idc, 0xFF, 0xE0 | len(self.sps)))
        record += b"".join(len(nal).to_bytes(2, "big") + nal for nal in self.sps) + bytes((len(self.pps),))
        record += b"".join(len(nal).to_bytes(2, "big") + nal for nal in self.pps)
        if sps.profile_idc in (100, 110, 122, 144):
            depth = sps.bit_depth - 8
            record += bytes((0xFC | sps.chroma_format_idc, 0xF8 | depth, 0xF8 | depth, 0))
        return record


class NalFormat:
    """How NAL units are told apart, by the extradata of a stream."""

    def __init__(self, extradata: bytes) -> None:
        self._length_size = (extradata[4] & 3) + 1 if len(extradata) > 6 and extradata[0] == 1 else None
        self._extradata = extradata

    def header_units(self) -> list[bytes]:
        """The NAL units of the extradata: parameter sets, where it has any."""
        if self._length_size is None:
            return units_of_annex_b(self._extradata)
        units: list[bytes] = []
        position = 5
        for mask in (0x1F, 0xFF):  # SPS, then PPS
            num = self._extradata[position] & mask if position < len(self._extradata) else 0
            position += 1
            for _ in range(num):
                end = position + 2 + int.from_bytes(self._extradata[position : position + 2], "big")
                units.append(self._extradata[position + 2 : end])
                position = end
        return units

    def units(self, data: bytes) -> list[bytes]:
        """The NAL units of a packet; a torn one at its end is left out."""
        if self._length_size is None:
            return units_of_annex_b(data)
        units, position = [], 0
        while position + self._length_size < len(data):
            begin = position + self._length_size
            position = begin + int.from_bytes(data[position:begin], "big")
            if begin < position <= len(data):
                units.append(data[begin:position])
        return units


def units_of_annex_b(data: bytes) -> list[bytes]:
    """The NAL units between start codes, without the zeros that may follow each."""
    begins = [match.end() for match in _START_CODE.finditer(data)]
    ends = [begin - 3 for begin in begins[1:]] + [len(data)]
    units = (data[begin:end].rstrip(b"\0") for begin, end in zip(begins, ends, strict=False))  # no code: no unit
    return [unit for unit in units if unit]


def parameter_sets(units: Iterable[bytes]) -> ParameterSets | None:
    """The parameter sets among NAL units, in order; None unless there are both kinds. ValueError for a bad SPS."""
    units = list(units)
    sps = tuple(dict.fromkeys(without_reordering(unit) for unit in units if unit[0] & 0x1F == _SPS))
    pps = tuple(dict.fromkeys(unit for unit in units if unit[0] & 0x1F == _PPS))
    return ParameterSets(sps[:31], pps[:255]) if sps and pps else None


def sample_of(units: Sequence[bytes]) -> bytes:
    """NAL units as a sample of MP4: with lengths of four bytes, without parameter sets, delimiters and filler."""
    left_out = (_SPS, _PPS, _DELIMITER, _FILLER)
    kept = (unit for unit in units if unit[0] & 0x1F not in left_out)
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in kept)


def has_b_slice(units: Iterable[bytes]) -> bool:
    """Whether a picture may refer to later ones, so that it is not shown in the order of decoding.

    By its first slice: encoders that have B-pictures make all slices of one alike.
    """
    first = next((unit for unit in units if unit[0] & 0x1F in _SLICES), None)
    return first is not None and _is_b_slice(first)


def _is_b_slice(unit: bytes) -> bool:
    reader = BitReader(unescaped(unit[: 1 + _HEAD_BYTES])[1:])
    try:
        reader.ue()  # first_mb_in_slice
        return reader.ue() in _B_SLICES
    except ValueError:  # a torn slice
        return False
