"""Limits of segments: words such as 10m, 7d and 500MB → seconds and bytes, and the names of files by their time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LIMIT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]+)")
_SHORTEST_SECONDS, _SMALLEST_BYTES = 1.0, 10**6
DEFAULT_PATTERN = "{name}-%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class SegmentLimit:
    """A length of time, a number of bytes, or both; None: any."""

    seconds: float | None = None
    num_bytes: int | None = None

    @classmethod
    def of(cls, words: Iterable[str]) -> SegmentLimit:
        """The limit of words such as 7d and 50GB, at most one of each kind. Raises ValueError."""
        seconds: float | None = None
        num_bytes: int | None = None
        for word in words:
            limit = parse_limit(word)
            if (limit.seconds is not None and seconds is not None) or (
                limit.num_bytes is not None and num_bytes is not None
            ):
                raise ValueError(f"must be one duration, one size, or one of both, got {word} as well")
            seconds, num_bytes = limit.seconds or seconds, limit.num_bytes or num_bytes
        return cls(seconds, num_bytes)


def parse_limit(word: str) -> SegmentLimit:
    """A duration (s, m, h, d) or a size (kB, MB, GB, TB, or KiB, MiB, GiB, TiB). Raises ValueError."""
    match = _LIMIT.fullmatch(word.strip())
    if match is not None and float(match[1]) > 0:
        number, unit = float(match[1]), match[2]
        if unit in _SECONDS:
            return SegmentLimit(seconds=number * _SECONDS[unit])
        sizes = {name.lower(): size for name, size in _BYTES.items()}
        if unit.lower() in sizes:
            return SegmentLimit(num_bytes=int(number * sizes[unit.lower()]))
    raise ValueError("must be a duration such as 10m, 2h or 7d, or a size such as 500MB or 50GiB")


def parse_segment(word: str) -> SegmentLimit:
    """The limit of one segment. Raises ValueError for one that is shorter than a second or smaller than 1 MB."""
    limit = parse_limit(word)
    if (limit.seconds or _SHORTEST_SECONDS) < _SHORTEST_SECONDS or (
        limit.num_bytes or _SMALLEST_BYTES
    ) < _SMALLEST_BYTES:
        raise ValueError("must be at least 1s or 1MB")
    return limit


def parse_size(word: str) -> int:
    """Bytes of a size such as 500MB; 0 is none. Raises ValueError."""
    if word.strip() == "0":
        return 0
    num_bytes = parse_limit(word).num_bytes
    if num_bytes is None:
        raise ValueError("must be a size such as 500MB or 2GiB, or 0")
    return num_bytes


def check_pattern(pattern: str) -> str:
    """The same pattern. Raises ValueError unless it gives every source and every second a name of its own."""
    if "{name}" not in pattern:
        raise ValueError(f"must have {{name}}, which stands for the source, such as {DEFAULT_PATTERN}")
    try:
        names = {segment_stem(pattern, "n", seconds) for seconds in (0.0, 1.0, 60.0, 3600.0, 86400.0, 86400.0 * 366)}
    except ValueError as error:
        raise ValueError(f"must be a pattern of strftime such as {DEFAULT_PATTERN}: {error}") from error
    if len(names) < 6:
        raise ValueError(f"must have the time to the second, such as {DEFAULT_PATTERN}")
    path = PurePath(names.pop())
    if path.is_absolute() or ".." in path.parts or "\0" in pattern:
        raise ValueError("must be a name, or folders and a name, below the folder of --output")
    return pattern


def segment_stem(pattern: str, name: str, wall_seconds: float) -> str:
    """A segment's path below the folder, without its suffix. wall_seconds: since 1970, shown in UTC."""
    moment = datetime.fromtimestamp(wall_seconds, UTC)
    before, *after = (moment.strftime(part) for part in pattern.split("{name}"))
    return name.join([before, *after])


def utc_text(wall_seconds: float) -> str:
    """A moment in ISO 8601, UTC, to the millisecond: 2026-11-27T10:15:00.000Z."""
    return datetime.fromtimestamp(wall_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
