"""Faults: a map that something happens to → what came of it, beside what a serial run gives."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mapping.clips import Rows, mapped_rows
from benchmarks.mapping.drivers import Driver, Engine
from benchmarks.soaking.small_disk import small_disk

_ROOM_BYTES = 48 * 1024  # that is left on the small disk: for the manifest and a few results


@dataclass(frozen=True, slots=True)
class Desk:
    """What every fault starts from. rows: of a serial run of the clips."""

    clips: Sequence[Path]
    rows: Rows
    folder: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a fault. missing, surplus: rows that only the serial run has, or only the map, or it twice."""

    fault: str
    engine: str
    remark: str
    num_frames: int
    num_missing: int
    num_surplus: int
    seconds: float
    is_as_promised: bool  # exit codes, messages and lists of failures

    @property
    def is_right(self) -> bool:
        """Whether nothing is missing, nothing twice, and everything was said."""
        return self.is_as_promised and not self.num_missing and not self.num_surplus


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table. happen: does it, in a new folder; returns what is to be remarked, and whether that is right.

    needs_nodes: only a cluster has what it takes away.
    """

    name: str
    happen: Callable[[Desk, Path, Engine], tuple[str, bool]]
    needs_nodes: bool = False


def outcome_of(fault: Fault, desk: Desk, engine: Engine) -> Outcome:
    """Let a fault happen, and compare."""
    began_at_seconds = time.monotonic()
    with _new_folder(desk, fault) as out:
        if out is None:
            return Outcome(fault.name, engine.name, "not tried: no tmpfs may be mounted here", 0, 0, 0, 0.0, True)
        remark, is_as_promised = fault.happen(desk, out, engine)
        rows = mapped_rows(out)
        missing, surplus = desk.rows - rows, rows - desk.rows
    seconds = time.monotonic() - began_at_seconds
    return Outcome(
        fault.name, engine.name, remark, rows.total(), missing.total(), surplus.total(), seconds, is_as_promised
    )


def _nothing(desk: Desk, out: Path, engine: Engine) -> tuple[str, bool]:
    code, _ = Driver(desk.clips, out, engine).wait()
    return f"exit {code}", code == 0


def _worker_killed(desk: Desk, out: Path, engine: Engine) -> tuple[str, bool]:
    driver = Driver(desk.clips, out, engine)
    driver.wait_for_results(2)
    driver.kill_a_worker()
    code, _ = driver.wait()
    return f"exit {code}", code == 0


def _node_removed(desk: Desk, out: Path, engine: Engine) -> tuple[str, bool]:
    assert engine.remove_node is not None
    driver = Driver(desk.clips, out, engine)
    driver.wait_for_results(2)
    engine.remove_node()
    code, _ = driver.wait()
    engine.restore()
    return f"exit {code}", code == 0


def _driver_killed(desk: Desk, out: Path, engine: Engine) -> tuple[str, bool]:
    driver = Driver(desk.clips, out, engine)
    driver.wait_for_results(3)
    driver.kill()
    num_kept = len(list((out / "detections").glob("*.parquet")))
    code, _ = Driver(desk.clips, out, engine).wait()
    return f"{num_kept} results kept, rerun exit {code}", code == 0


def _files_that_will_not_do(desk: Desk, out: Path, engine: Engine) -> tuple[str, bool]:
    """One that is cut off, one of noise, one that is not there: all in a list of files."""
    folder = out.with_name(f"{out.name}-inputs")
    folder.mkdir(parents=True)
    content = desk.clips[0].read_bytes()
    (folder / "cut.mp4").write_bytes(content[: len(content) // 2])
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 400)
    bad = [folder / "cut.mp4", folder / "noise.mp4", folder / "missing.mp4"]
    (folder / "files.txt").write_text("\n".join(map(str, [*desk.clips, *bad])))
    code, _ = Driver([folder / "files.txt"], out, engine).wait()
    failures = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
    is_named = {failure["file"] for failure in failures} == set(map(str, bad))
    return f"exit {code}, {len(failures)} of {len(bad)} named with a reason", code == 1 and is_named


def _disk_full(desk: Desk, out: Path, engine: Engine) -> tuple[str, bool]:
    ballast = out.with_name("ballast")
    ballast.write_bytes(bytes(shutil.disk_usage(out.parent).free - _ROOM_BYTES))
    first_code, reason = Driver(desk.clips, out, engine).wait()
    ballast.unlink()
    code, _ = Driver(desk.clips, out, engine).wait()
    is_said = "No space left on device" in reason
    return f"exit {first_code}, said; rerun exit {code}", (first_code, code, is_said) == (1, 0, True)


def _two_drivers(desk: Desk, out: Path, engine: Engine) -> tuple[str, bool]:
    first = Driver(desk.clips, out, engine)
    first.wait_for_results(1)
    second_code, reason = Driver(desk.clips, out, engine).wait()
    code, _ = first.wait()
    is_refused = "another run, process" in reason
    return f"exit {code}, the second {second_code}, refused", (code, second_code, is_refused) == (0, 1, True)


FAULTS = (
    Fault("nothing", _nothing),
    Fault("SIGKILL of a worker", _worker_killed),
    Fault("loss of a node in mid-file", _node_removed, needs_nodes=True),
    Fault("SIGKILL of the driver, and a rerun", _driver_killed),
    Fault("two corrupt files and a missing one", _files_that_will_not_do),
    Fault("full disk, and a rerun with room", _disk_full),
    Fault("two drivers at once", _two_drivers),
)
"""The failure table."""


@contextmanager
def _new_folder(desk: Desk, fault: Fault) -> Iterator[Path | None]:
    """Where the results go, which is not there yet; None: the disk that it takes cannot be had."""
    folder = desk.folder / f"{time.monotonic_ns()}"
    if fault.happen is not _disk_full:
        yield folder / "out"
        return
    with small_disk(folder) as disk:
        yield None if disk is None else disk / "out"
