"""Counts in words: what lines and zones counted → a line for the panel, lines for the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console

from pipeline.app.terminal import short_name, shortened, tell
from pipeline.picture.counting.counts import ByClass, Counts, LineCounts, ZoneCounts
from pipeline.picture.counting.drawn import line_in_words, zone_in_words


def count_line(counts: Mapping[str, Counts], *, width: int) -> str:
    """`gate in 12 out 3, yard 4`, cut to a width; of several sources with the name of each before its own."""
    parts = []
    for source_id, of_source in counts.items():
        words = [*map(line_in_words, of_source.lines), *map(zone_in_words, of_source.zones)]
        parts.append((f"{short_name(source_id)}: " if len(counts) > 1 else "") + ", ".join(words))
    return shortened("; ".join(parts), width)


def print_line_and_zone_counts(counts: Mapping[str, Counts], console: Console) -> None:
    """A line for each line and zone, with the numbers of each class."""
    for source_id, of_source in counts.items():
        where = f" in {short_name(source_id)}" if len(counts) > 1 else ""
        for words in _lines_of(of_source):
            tell(console, f"counted  {words[0]}{where}: {words[1]}", "bold")


def _lines_of(counts: Counts) -> Iterator[tuple[str, str]]:
    for line in counts.lines:
        yield line.name, _crossed(line)
    for zone in counts.zones:
        yield zone.name, _stayed(zone)


def _crossed(line: LineCounts) -> str:
    return f"in {_numbers(line.num_in)}, out {_numbers(line.num_out)}"


def _stayed(zone: ZoneCounts) -> str:
    came = f"{_numbers(zone.inside)} inside at the end, entered {_numbers(zone.num_entered)}"
    dwell = zone.mean_dwell_seconds, zone.longest_dwell_seconds
    stayed = "" if None in dwell else f", for {dwell[0]:.1f} s on average, {dwell[1]:.1f} s at most"
    return f"{came}, there when first seen {_numbers(zone.num_appeared)}, left {_numbers(zone.num_left)}{stayed}"


def _numbers(by_class: ByClass) -> str:
    """`3 (car 2, person 1)`, the most frequent class first; `0`."""
    parts = sorted(by_class.items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{name} {num}" for name, num in parts if num)
    return f"{sum(by_class.values())} ({words})" if words else "0"
