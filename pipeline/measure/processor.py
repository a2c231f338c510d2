"""Processor: this process → its processor time by thread and its memory, and how busy others are."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pipeline.errors import MissingExtraError

SOURCE, DETECT, RECORD, OTHER = "source", "detect", "record", "other"
"""For which roles libraries start threads by themselves."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds since some beginning; two readings make a `Usage`."""

    wall_seconds: float
    process_seconds: float
    machine_seconds: float  # of all processes on all cores
    stolen_seconds: float  # that the machine below took from this virtual one
    thread_seconds: Mapping[int, float]  # by the operating system's id
    thread_names: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used between two readings."""

    wall_seconds: float
    process_seconds: float
    other_cores: float  # how many cores other processes kept busy, on average
    stolen_cores: float
    thread_seconds: Mapping[int, float]
    thread_names: Mapping[int, str]

    @classmethod
    def between(cls, first: Reading, last: Reading) -> Usage:
        """What was used from the first reading to the last; threads that have ended between are not in it."""
        wall = max(last.wall_seconds - first.wall_seconds, 1e-9)
        process = last.process_seconds - first.process_seconds
        return cls(
            wall,
            process,
            # The system counts in ticks, so a little less than nothing can come out.
            max(0.0, (last.machine_seconds - first.machine_seconds - process) / wall),
            max(0.0, (last.stolen_seconds - first.stolen_seconds) / wall),
            {
                thread: seconds - first.thread_seconds.get(thread, 0.0)
                for thread, seconds in last.thread_seconds.items()
            },
            last.thread_names,
        )

    def by_role(
        self, roles: Mapping[int, str], *, engine_threads: Collection[int], ended: str = OTHER
    ) -> dict[str, float]:
        """Seconds by the role of the node that a thread works for, libraries' own threads included.

        They add up to those of the process.

        roles: of the flow's threads. engine_threads: all that were there once the network was loaded.
        ended: whose were the threads that are gone; of sources that were opened again, their decoders'.
        libav names the threads of its decoders; what else began during a run that records, encodes.
        """
        records = RECORD in roles.values()
        seconds: dict[str, float] = {}
        for thread, used in self.thread_seconds.items():
            role = roles.get(thread) or self._library_role(thread, engine_threads, records=records)
            seconds[role] = seconds.get(role, 0.0) + used
        seconds.setdefault(OTHER, 0.0)
        unseen = self.process_seconds - sum(seconds.values())
        if unseen < 0:  # threads are counted in ticks, the process is not
            share = self.process_seconds / sum(seconds.values())
            return {role: share * used for role, used in seconds.items()}
        seconds[ended] = seconds.get(ended, 0.0) + unseen
        return seconds

    def _library_role(self, thread: int, engine_threads: Collection[int], *, records: bool) -> str:
        """The role that a thread works for which no node of the flow began."""
        name = self.thread_names.get(thread, "")
        if name.startswith("av:"):
            is_decoder = name.rpartition(":")[2].startswith(("df", "dec"))
            return SOURCE if is_decoder or not records else RECORD
        if thread in engine_threads:
            return DETECT
        return RECORD if records else OTHER


def read_processor() -> Reading:
    """What was used until now. Raises MissingExtraError without psutil."""
    psutil = _psutil()
    machine = psutil.cpu_times()._asdict()
    # Linux counts what guests use among its users' time as well.
    busy = sum(
        value for name, value in machine.items() if name not in ("idle", "iowait", "steal", "guest", "guest_nice")
    )
    threads = {thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()}
    names = {thread: _name_of(thread) for thread in threads}
    return Reading(time.monotonic(), time.process_time(), busy, machine.get("steal", 0.0), threads, names)


def memory_mb() -> float:
    """The memory that this process holds now, in MB. Raises MissingExtraError without psutil."""
    return float(_psutil().Process().memory_info().rss) / 1e6


def peak_memory_mb() -> float:
    """The most memory that this process ever held, in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return memory_mb()
    peak = next((line for line in lines if line.startswith("VmHWM:")), None)
    return memory_mb() if peak is None else int(peak.split()[1]) * 1024 / 1e6


def clock_mhz() -> tuple[float, float] | None:
    """The slowest and the fastest core's clock now, or None where the system does not say. Raises MissingExtraError."""
    try:
        clocks = [core.current for core in _psutil().cpu_freq(percpu=True)]
    except (AttributeError, NotImplementedError, OSError):
        return None
    return (min(clocks), max(clocks)) if clocks and max(clocks) > 0 else None


def _name_of(thread: int) -> str:
    try:
        return Path(f"/proc/self/task/{thread}/comm").read_text().strip()
    except OSError:
        return ""


def _psutil() -> ModuleType:
    try:
        import psutil
    except ImportError as error:
        raise MissingExtraError('measuring needs psutil: pip install "streamdet[measure]"') from error
    return psutil
