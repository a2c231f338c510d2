"""Child source: a video in; what it costs that a process of its own reads it, beside reading it in this one, out.

    python -m benchmarks.child_source VIDEO [--repeats 5]

Both read the whole video by turns, to the pictures, which are not converted. Processor time is that of both processes,
without starting and opening, in ms a frame. What the isolated source takes on top is split by thread:
the one that reads here, and in the other process the one that copies into shared memory and sends. A video of a minute
or more tells most: the memory is touched for the first time by the first six pictures.
"""

from __future__ import annotations

import argparse
import itertools
import re
import resource
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine
from pipeline.sources.isolated.source import IsolatedSource
from pipeline.sources.opening import open_source
from pipeline.sources.options import Isolation, SourceOptions

BAR_MS = 0.6  # that a 1080p frame may cost more
MEMORY_AT = 50  # the frame at which memory is looked at, whose time does not count


@dataclass(frozen=True, slots=True)
class Turn:
    """What one reading took; ms of processor time a frame, but for the opening."""

    opening_seconds: float
    all_ms: float  # of all threads
    reader_ms: float  # of this process's thread that reads
    sender_ms: float  # of the other process's thread that reads and sends; of this one's where there is none
    private_mb: float  # of the process that reads


def read(video: str, isolate: Isolation) -> Turn:
    """Open the video, read it, close it."""
    children_before = _cpu_seconds(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    source = open_source(video, options=SourceOptions(isolate=isolate))
    opening_seconds = time.perf_counter() - began
    child = source.pid if isinstance(source, IsolatedSource) else None
    opening_cpu = 0.0 if child is None else sum(_thread_seconds(child).values())
    opening_sender = 0.0 if child is None else _thread_seconds(child)[child]
    own, reader = time.process_time(), time.thread_time()
    sender, private_mb, memory_seconds, num = 0.0, 0.0, 0.0, 0
    for num, _ in enumerate(source.pictures(threading.Event()), 1):
        if num == MEMORY_AT and child is not None:
            memory_seconds = time.thread_time()
            private_mb = _private_mb(child)
            memory_seconds = time.thread_time() - memory_seconds
        if num % 100 == 0 and child is not None:
            sender = (_thread_seconds(child)[child] - opening_sender) / num
    own, reader = time.process_time() - own - memory_seconds, time.thread_time() - reader - memory_seconds
    source.close()
    of_child = _cpu_seconds(resource.RUSAGE_CHILDREN) - children_before - opening_cpu if child else 0.0
    sender = 1000 * (reader / num if child is None else sender)
    return Turn(opening_seconds, 1000 * (own + of_child) / num, 1000 * reader / num, sender, private_mb)


def _cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _thread_seconds(pid: int) -> dict[int, float]:
    """Processor time of each thread of a process so far, by its id: the first value in /proc/PID/task/TID/schedstat."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name): int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks}


def _private_mb(pid: int) -> float:
    """Memory of a process that it shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"Private_\w+: +(\d+) kB", lines)) / 1000


def main() -> None:
    """Read the video by turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine())
    isolations: tuple[Isolation, ...] = ("none", "all")
    turns: dict[Isolation, list[Turn]] = {isolation: [] for isolation in isolations}
    for _, isolation in itertools.product(range(options.repeats), isolations):
        turns[isolation].append(read(options.video, isolation))
    print(f"{'--isolate':10} opening s  ms/frame  private MB")
    for isolation in isolations:
        columns = zip(*((t.opening_seconds, t.all_ms, t.private_mb) for t in turns[isolation]), strict=True)
        opening, cpu, memory = map(statistics.median, columns)
        print(f"{isolation:10} {opening:9.2f} {cpu:9.2f} {memory:11.0f}")
    print(more_in_words(list(zip(turns["none"], turns["all"], strict=True))))


def more_in_words(pairs: list[tuple[Turn, Turn]]) -> str:
    """What a frame costs more in a process of its own, by parts; medians of the differences within a turn."""
    more = statistics.median(apart.all_ms - within.all_ms for within, apart in pairs)
    reader = statistics.median(apart.reader_ms for _, apart in pairs)
    sender = statistics.median(apart.sender_ms - within.reader_ms for within, apart in pairs)
    return (
        f"{more:.2f} ms a frame more (bar {BAR_MS:g}): {reader:.2f} to receive, {sender:.2f} to copy and send, "
        f"{more - reader - sender:.2f} in the decoder's threads, whose caches the copy takes"
    )


if __name__ == "__main__":
    main()
