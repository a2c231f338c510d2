"""Fragmented MP4: coded samples of one video track → an init segment, and a movie fragment for each sample.

Boxes as in ISO/IEC 14496-12. Written here and not by libav, whose muxer hands its bytes out in blocks of 32 KB instead
of fragments, lets times begin at 0 and rewrites edit lists; a browser needs each fragment alone, at its own time.
"""

from __future__ import annotations

import struct

TIMESCALE = 90_000  # ticks a second
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_KEY_FLAGS = 0x02000000  # sample_depends_on: no other
_OTHER_FLAGS = 0x01010000  # depends on others; not a sync sample


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box with its length before it."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, flags: int, *parts: bytes, version: int = 0) -> bytes:
    """A box with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def init_segment(avcc: bytes, size_wh: tuple[int, int]) -> bytes:
    """`ftyp` and `moov` of an H.264 track. avcc: its AVCDecoderConfigurationRecord. size_wh: in pixels."""
    width, height = size_wh
    entry = box(
        b"avc1",
        struct.pack(">6xH16xHHIIIH32xHh", 1, width, height, 0x480000, 0x480000, 0, 1, 24, -1),
        box(b"avcC", avcc),
    )
    tables = [
        full_box(b"stsd", 0, struct.pack(">I", 1), entry),
        full_box(b"stts", 0, bytes(4)),
        full_box(b"stsc", 0, bytes(4)),
        full_box(b"stsz", 0, bytes(8)),
        full_box(b"stco", 0, bytes(4)),
    ]
    data = box(b"dinf", full_box(b"dref", 0, struct.pack(">I", 1), full_box(b"url ", 1)))
    media_info = box(b"minf", full_box(b"vmhd", 1, bytes(8)), data, box(b"stbl", *tables))
    media = box(
        b"mdia",
        full_box(b"mdhd", 0, struct.pack(">IIIIHH", 0, 0, TIMESCALE, 0, 0x55C4, 0)),  # language: und
        full_box(b"hdlr", 0, struct.pack(">I4s12x", 0, b"vide"), b"video\0"),
        media_info,
    )
    header = struct.pack(">IIIII8xhhhH", 0, 0, 1, 0, 0, 0, 0, 0, 0) + _MATRIX
    track = box(b"trak", full_box(b"tkhd", 3, header, struct.pack(">II", width << 16, height << 16)), media)
    movie = full_box(
        b"mvhd", 0, struct.pack(">IIIIIH10x", 0, 0, TIMESCALE, 0, 0x10000, 0x100), _MATRIX, struct.pack(">24xI", 2)
    )
    extends = box(b"mvex", full_box(b"trex", 0, struct.pack(">IIIII", 1, 1, 0, 0, 0)))
    return box(b"ftyp", b"iso5", bytes(4), b"iso5iso6mp41") + box(b"moov", movie, track, extends)


# A fragment of one sample: `moof` with `mfhd` and a `traf` of `tfhd`, `tfdt` and `trun`, and the head of `mdat`.
_FRAGMENT = struct.Struct(">I4s I4sII I4s I4sII I4sIQ I4sIIiIII I4s")
_MOOF_BYTES = _FRAGMENT.size - 8
_DEFAULT_BASE_IS_MOOF = 0x20000
_HAS_OFFSET_DURATION_SIZE_FLAGS = 0x701


def fragment(sample: bytes, *, number: int, ticks: int, duration_ticks: int, is_keyframe: bool) -> bytes:
    """`moof` and `mdat` of one sample, which is shown from `ticks` on. number: of the fragment, from 1 on."""
    flags = _KEY_FLAGS if is_keyframe else _OTHER_FLAGS
    head = _FRAGMENT.pack(
        *(_MOOF_BYTES, b"moof"),
        *(16, b"mfhd", 0, number),
        *(_MOOF_BYTES - 24, b"traf"),
        *(16, b"tfhd", _DEFAULT_BASE_IS_MOOF, 1),
        *(20, b"tfdt", 1 << 24, ticks),
        *(32, b"trun", _HAS_OFFSET_DURATION_SIZE_FLAGS, 1, _FRAGMENT.size, duration_ticks, len(sample), flags),
        *(8 + len(sample), b"mdat"),
    )
    return head + sample
