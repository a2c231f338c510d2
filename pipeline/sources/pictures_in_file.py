"""Pictures in a file: the bytes of an image file → how many pictures it holds, of which OpenCV reads the first."""

from __future__ import annotations

import struct

from pipeline.sources.heif import heif_picture, is_heif

_IS_THUMBNAIL, _IS_MASK = 1, 4  # TIFF's NewSubfileType


def num_pictures(content: bytes) -> int:
    """Pages of a TIFF, frames of an animated PNG, WebP or AVIF, pictures of a HEIC; 1 for anything else."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _num_png_frames(content)
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return max(1, _num_webp_frames(content))
        if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return max(1, _num_tiff_pages(content))
        if is_heif(content):
            return heif_picture(content).num_pictures
    except (struct.error, ValueError, OverflowError):
        pass  # a broken file: the decoder says so
    return 1


def _num_png_frames(content: bytes) -> int:
    at = 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"acTL":
            (num,) = struct.unpack_from(">I", content, at + 8)
            return max(1, int(num))
        if kind == b"IDAT":  # it would have come before
            return 1
        at += 12 + length
    return 1


def _num_webp_frames(content: bytes) -> int:
    num, at = 0, 12
    while at + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, at)
        num += kind == b"ANMF"
        at += 8 + length + length % 2
    return num


def _num_tiff_pages(content: bytes) -> int:
    order = "<" if content[:1] == b"I" else ">"
    is_big = content[2:4] in (b"+\0", b"\0+")
    offset, count, entry_size = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    (at,) = struct.unpack_from(order + offset, content, 8 if is_big else 4)
    num, num_read, seen = 0, 0, set[int]()
    while at and at not in seen:  # a broken chain may go in a circle
        seen.add(at)
        (num_entries,) = struct.unpack_from(order + count, content, at)
        num_read += num_entries
        if num_read * entry_size > len(content):
            raise ValueError("its pages overlap")
        entries_at = at + struct.calcsize(count)
        kind = 0
        for entry in range(num_entries):
            tag, kind_of_value = struct.unpack_from(order + "HH", content, entries_at + entry * entry_size)
            if tag == 254:
                value_at = entries_at + entry * entry_size + (12 if is_big else 8)
                (kind,) = struct.unpack_from(order + ("H" if kind_of_value == 3 else "I"), content, value_at)
        num += not kind & (_IS_THUMBNAIL | _IS_MASK)
        (at,) = struct.unpack_from(order + offset, content, entries_at + num_entries * entry_size)
    return num
