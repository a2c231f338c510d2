"""Child source: a video in; what it costs that a process of its own reads it, beside reading it in this one, out.

    python -m benchmarks.child_source VIDEO [--frames 200] [--repeats 5]

Both read the video by turns, to the pictures, which are not converted. Processor time is that of both processes, and
what the isolated source takes on top is per frame: a copy into shared memory, a copy out of it, and two messages.
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


@dataclass(frozen=True, slots=True)
class Turn:
    """What one reading took."""

    opening_seconds: float
    cpu_ms: float  # a frame, of all processes, without the opening
    own_ms: float  # a frame, of this process's processor time
    private_mb: float  # of the process that reads


def read(video: str, isolate: Isolation, num_frames: int) -> Turn:
    """Open the video, read its first frames, close it."""
    children_before = _cpu_seconds(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    source = open_source(video, options=SourceOptions(isolate=isolate))
    opening_seconds = time.perf_counter() - began
    child = source if isinstance(source, IsolatedSource) else None
    before = _cpu_seconds(resource.RUSAGE_SELF)
    opening_cpu = 0.0 if child is None else _cpu_seconds_of(child.pid)
    private_mb, num = 0.0, 0
    for num, _ in enumerate(itertools.islice(source.pictures(threading.Event()), num_frames), 1):
        if num == num_frames // 2 and child is not None:
            private_mb = _private_mb(child.pid)
    own = _cpu_seconds(resource.RUSAGE_SELF) - before
    source.close()
    of_child = _cpu_seconds(resource.RUSAGE_CHILDREN) - children_before - opening_cpu if child else 0.0
    return Turn(opening_seconds, 1000 * (own + of_child) / num, 1000 * own / num, private_mb)


def _cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _cpu_seconds_of(pid: int) -> float:
    """User and system time of a process so far; see proc_pid_stat(5)."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / 100


def _private_mb(pid: int) -> float:
    """Memory of a process that it shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"Private_\w+: +(\d+) kB", lines)) / 1000


def main() -> None:
    """Read the video by turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine())
    isolations: tuple[Isolation, ...] = ("none", "all")
    turns: dict[Isolation, list[Turn]] = {isolation: [] for isolation in isolations}
    for _, isolation in itertools.product(range(options.repeats), isolations):
        turns[isolation].append(read(options.video, isolation, options.frames))
    print(f"{'--isolate':10} opening s  processor ms/frame  of it ours  private MB")
    for isolation in isolations:
        columns = zip(*((t.opening_seconds, t.cpu_ms, t.own_ms, t.private_mb) for t in turns[isolation]), strict=True)
        opening, cpu, own, memory = map(statistics.median, columns)
        print(f"{isolation:10} {opening:9.2f} {cpu:19.2f} {own:11.2f} {memory:11.0f}")


if __name__ == "__main__":
    main()
