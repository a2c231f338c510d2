"""HEIF: the boxes of a HEIC or AVIF file → its primary picture: tiles, rotation, crop, and how many others there are.

ISO/IEC 23008-12. A phone's photograph is a grid of tiles; for a decoder, every tile is an image of its own.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np

from pipeline.picture.frame import PixelArray

_SEQUENCES = frozenset({b"avis", b"hevc", b"hevx", b"msf1"})
_BRANDS = _SEQUENCES | {b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2"}
_PICTURES = frozenset({b"hvc1", b"av01", b"grid", b"iden", b"iovl", b"jpeg", b"avc1", b"unci", b"vvc1"})


@dataclass(frozen=True, slots=True)
class HeifPicture:
    """The primary picture of a file.

    item_ids: of the images to decode: the picture itself, or its tiles, row by row.
    """

    kind: str  # "hvc1", "av01", "grid" …
    item_ids: tuple[int, ...]
    num_columns: int
    size_wh: tuple[int, int] | None  # of a grid, whose last tiles may stick out
    quarter_turns: int  # counter-clockwise
    mirror: Literal["", "x", "y"]  # x: left and right change places, after the turn
    crop: tuple[Fraction, ...] | None  # width, height, x and y from middle to middle; before the turn
    num_pictures: int  # as a person would count them, this one included

    def upright(self, pixels: PixelArray) -> PixelArray:
        """[H, W, 3] as decoded → cropped, turned and mirrored."""
        if self.crop is not None:
            height, width = pixels.shape[:2]
            crop_width, crop_height, right, down = self.crop
            left, top = round((width - crop_width) / 2 + right), round((height - crop_height) / 2 + down)
            window = np.s_[max(0, top) : top + round(crop_height), max(0, left) : left + round(crop_width)]
            if pixels[window].size:
                pixels = pixels[window]
        pixels = np.rot90(pixels, self.quarter_turns)
        if self.mirror:
            pixels = np.flip(pixels, axis=1 if self.mirror == "x" else 0)
        return np.ascontiguousarray(pixels)


@dataclass(slots=True)
class _Boxes:
    """The contents of a `meta` box that are used."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    references: dict[bytes, dict[int, list[int]]] = field(default_factory=lambda: defaultdict(dict))
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)  # the first is number 1
    property_numbers: dict[int, list[int]] = field(default_factory=dict)
    extents: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # construction method, offset, length
    item_data: bytes = b""


def is_heif(content: bytes) -> bool:
    """Whether these are the bytes of a HEIC or AVIF file, or of a sequence of such pictures."""
    if content[4:8] != b"ftyp" or len(content) < 16:
        return False
    brands = content[8 : min(64, int.from_bytes(content[:4], "big"))]
    return any(brands[at : at + 4] in _BRANDS for at in range(0, len(brands), 4))


def is_still(head: bytes) -> bool:
    """Whether a file with these first bytes is a picture, and not a sequence."""
    return is_heif(head) and head[8:12] not in _SEQUENCES


def heif_picture(content: bytes) -> HeifPicture:
    """The primary picture of a file. Raises ValueError for broken boxes, and for a file without such a picture."""
    try:
        return _heif_picture(content)
    except (struct.error, IndexError, KeyError, ZeroDivisionError) as error:
        raise ValueError(f"its boxes are broken ({error!r})") from error


def _heif_picture(content: bytes) -> HeifPicture:
    meta = next((body for kind, body in boxes(content) if kind == b"meta"), None)
    if meta is None:
        raise ValueError("it has no primary picture")
    read = _read_meta(meta[4:])
    kind = read.kinds[read.primary]
    turns, crop = 0, None
    mirror: Literal["", "x", "y"] = ""
    for number in read.property_numbers.get(read.primary, []):
        name, body = read.properties[number - 1]
        if name == b"irot":
            turns = body[0] & 3
        elif name == b"imir":
            mirror = "x" if body[0] & 1 else "y"
        elif name == b"clap":
            top_and_bottom = struct.unpack_from(">IIIIiIiI", body)
            crop = tuple(Fraction(*top_and_bottom[at : at + 2]) for at in (0, 2, 4, 6))
    item_ids: tuple[int, ...] = (read.primary,)
    num_columns, size_wh = 1, None
    if kind == b"grid":
        item_ids = tuple(read.references[b"dimg"][read.primary])
        method, offset, length = read.extents[read.primary]
        data = (read.item_data if method == 1 else content)[offset : offset + length]
        _, flags, last_row, last_column = struct.unpack_from(">4B", data)
        size_wh = struct.unpack_from(">II" if flags & 1 else ">HH", data, 4)
        num_columns = last_column + 1
        if len(item_ids) != (last_row + 1) * num_columns:
            raise ValueError(f"its grid of {last_row + 1} × {num_columns} has {len(item_ids)} tiles")
    num = max(_num_items(read), _num_samples(content))
    return HeifPicture(kind.decode("latin-1"), item_ids, num_columns, size_wh, turns, mirror, crop, num)


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of every box; a truncated body ends with the bytes."""
    at = 0
    while at + 8 <= len(content):
        size, head = int.from_bytes(content[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(content[at + 8 : at + 16], "big"), 16
        end = at + size if size else len(content)
        if end < at + head:
            return
        yield content[at + 4 : at + 8], content[at + head : end]
        at = end


def _read_meta(meta: bytes) -> _Boxes:
    read = _Boxes()
    for kind, body in boxes(meta):
        if kind == b"pitm":
            read.primary = int.from_bytes(body[4 : 6 if body[0] == 0 else 8], "big")
        elif kind == b"iinf":
            _read_items(body, read)
        elif kind == b"iref":
            _read_references(body, read)
        elif kind == b"iloc":
            _read_locations(body, read)
        elif kind == b"idat":
            read.item_data = body
        elif kind == b"iprp":
            for name, part in boxes(body):
                if name == b"ipco":
                    read.properties = list(boxes(part))
                elif name == b"ipma":
                    _read_associations(part, read)
    return read


def _read_items(body: bytes, read: _Boxes) -> None:
    for kind, entry in boxes(body[6 if body[0] == 0 else 8 :]):
        if kind != b"infe" or entry[0] < 2:
            continue
        width = 2 if entry[0] == 2 else 4
        item = int.from_bytes(entry[4 : 4 + width], "big")
        read.kinds[item] = entry[6 + width : 10 + width]
        if entry[3] & 1:
            read.hidden.add(item)


def _read_references(body: bytes, read: _Boxes) -> None:
    form = ">H" if body[0] == 0 else ">I"
    width = struct.calcsize(form)
    for kind, entry in boxes(body[4:]):
        (source,) = struct.unpack_from(form, entry)
        (num,) = struct.unpack_from(">H", entry, width)
        targets = struct.unpack_from(f">{num}{form[1]}", entry, width + 2)
        read.references[kind][source] = list(targets)


def _read_associations(body: bytes, read: _Boxes) -> None:
    is_wide, at = bool(body[3] & 1), 8
    width = 2 if body[0] == 0 else 4
    for _ in range(int.from_bytes(body[4:8], "big")):
        item = int.from_bytes(body[at : at + width], "big")
        num, at = body[at + width], at + width + 1
        size = 2 if is_wide else 1
        numbers = [int.from_bytes(body[at + size * i : at + size * (i + 1)], "big") for i in range(num)]
        read.property_numbers[item] = [number & (0x7FFF if is_wide else 0x7F) for number in numbers]
        at += size * num


def _read_locations(body: bytes, read: _Boxes) -> None:
    """The first extent of every item; a grid's description is never in more than one."""
    version, (sizes, bases) = body[0], body[4:6]
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, bases >> 4
    index_size = bases & 15 if version in (1, 2) else 0
    width = 2 if version < 2 else 4
    at = 6 + width

    def take(size: int) -> int:
        nonlocal at
        at += size
        if at > len(body):
            raise IndexError("it says that more places of items follow than there are")
        return int.from_bytes(body[at - size : at], "big")

    for _ in range(int.from_bytes(body[6 : 6 + width], "big")):
        item = take(width)
        method = take(2) & 15 if version in (1, 2) else 0
        take(2)  # which file
        base = take(base_size)
        for extent in range(take(2)):
            take(index_size)
            offset, length = base + take(offset_size), take(length_size)
            if extent == 0:
                read.extents[item] = method, offset, length


def _num_items(read: _Boxes) -> int:
    """Pictures that stand for themselves: no thumbnails, alpha or depth planes, nor parts of other pictures."""
    parts = {item for targets in read.references[b"dimg"].values() for item in targets}
    servants = set(read.references[b"thmb"]) | set(read.references[b"auxl"])
    shown = {item for item, kind in read.kinds.items() if kind in _PICTURES} - read.hidden - parts - servants
    return len(shown | {read.primary})


def _num_samples(content: bytes) -> int:
    """Pictures of the longest track, where it is a sequence; 0 for a file without."""
    within: list[bytes] = [body for kind, body in boxes(content) if kind == b"moov"]
    for name in (b"trak", b"mdia", b"minf", b"stbl", b"stsz"):
        within = [body for outer in within for kind, body in boxes(outer) if kind == name]
    return max((int.from_bytes(body[8:12], "big") for body in within), default=0)
