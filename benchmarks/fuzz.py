"""Fuzzing: documents that nobody would write by accident → what our readers make of them.

    python -m benchmarks.fuzz [--minutes 10] [--target NAME|all] [--seed 0] [--folder fuzz-failures]
    python -m benchmarks.fuzz --replay FILE --target NAME

A reader may take a document, or refuse it with one line of a StreamdetError, or what its docstring names. Anything else
is a crash: another exception, an error of several lines, numpy's RuntimeWarning, more than `DEADLINE_SECONDS` or
`MOST_BYTES` of memory for one document, or the end of the process. Each target runs in a child, so that one that hangs
in native code, or is killed, is noticed too; its document is saved, and the child starts anew with another seed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.fuzzing.targets import TARGETS, Target
from pipeline.errors import StreamdetError

DEADLINE_SECONDS = 5.0  # for one document
MOST_BYTES = 4 << 30  # of address space
LONGEST_ERROR = 2000  # characters
_DOCUMENTS_A_SEED = 500
_LONGEST_START_SECONDS = 60.0


class Overdue(BaseException):
    """A document takes longer than the deadline; not an Exception, so that no reader takes it for its own."""


@dataclass
class Tally:
    """What came of a target's documents. crashes: by where and what, the smallest document's file."""

    num: int = 0
    errors: dict[str, int] = field(default_factory=dict)  # refusals by their beginning
    crashes: dict[str, str] = field(default_factory=dict)
    slowest_seconds: float = 0.0
    peak_mib: int = 0

    def add(self, other: Tally) -> None:
        """Take up another tally of the same target."""
        self.num += other.num
        for words, num in other.errors.items():
            self.errors[words] = self.errors.get(words, 0) + num
        self.crashes = {**other.crashes, **self.crashes}
        self.slowest_seconds = max(self.slowest_seconds, other.slowest_seconds)
        self.peak_mib = max(self.peak_mib, other.peak_mib)


def main() -> None:
    """Fuzz as the command line says; exits with 1 after a crash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all targets together")
    parser.add_argument("--target", choices=["all", *TARGETS], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("fuzz-failures"), help="for the documents that crash")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="read this document once, with its traceback")
    parser.add_argument("--child", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.replay is not None:
        with TemporaryDirectory() as name:
            print(TARGETS[options.target].act(options.replay.read_bytes(), Path(name)))
        return
    if options.child is not None:
        _limit_memory()
        fuzz(options.target, options.seed, options.child, options.folder)
        return
    names = list(TARGETS) if options.target == "all" else [options.target]
    seconds = options.minutes * 60 / len(names)
    tallies = {name: watch(name, options.seed, seconds, options.folder) for name in names}
    print_table(tallies)
    sys.exit(int(any(tally.crashes for tally in tallies.values())))


def print_table(tallies: dict[str, Tally]) -> None:
    """One row a target, then each crash with the command that repeats it."""
    print(f"{'target':<12} {'documents':>9} {'errors':>7} {'crashes':>7} {'slowest s':>9} {'peak MiB':>8}")
    for name, tally in tallies.items():
        numbers = f"{tally.num:>9} {len(tally.errors):>7} {len(tally.crashes):>7}"
        print(f"{name:<12} {numbers} {tally.slowest_seconds:>9.2f} {tally.peak_mib:>8}")
    for name, tally in tallies.items():
        for what, file in tally.crashes.items():
            print(f"\n{name}: {what}\n  python -m benchmarks.fuzz --target {name} --replay {file}")


def watch(name: str, first_seed: int, seconds: float, folder: Path) -> Tally:
    """Run a target in children until the time is over; one that dies or hangs is a crash, and followed by another."""
    tally, end = Tally(), time.monotonic() + seconds
    number = 0
    while (left := end - time.monotonic()) > 0.5 or not number:
        with TemporaryDirectory() as work:
            tally.add(_watch_child(name, first_seed + 1000 * number, left, folder, Path(work)))
        number += 1
    return tally


def _watch_child(name: str, first_seed: int, seconds: float, folder: Path, work: Path) -> Tally:
    command = [
        sys.executable,
        "-m",
        __spec__.name,
        "--child",
        str(seconds),
        "--target",
        name,
        "--seed",
        str(first_seed),
    ]
    environment = os.environ | {"FUZZ_WORK": str(work), "PYTHONFAULTHANDLER": "1"}
    log = work / "log"
    with log.open("wb") as output:
        child = subprocess.Popen([*command, "--folder", str(folder)], env=environment, stdout=output, stderr=output)
        is_stuck = _is_stuck(child, work / "document", time.monotonic() + seconds)
    if child.returncode == 0:
        return Tally(**json.loads((work / "tally").read_text()))
    document = (work / "document").read_bytes() if (work / "document").exists() else b""
    why = "hangs in native code" if is_stuck else f"ends the process ({child.returncode})"
    tally = Tally(**json.loads((work / "tally").read_text())) if (work / "tally").exists() else Tally()
    lines = log.read_text(errors="replace").strip().splitlines()
    tally.crashes[f"{why}: {' | '.join(lines[:4])[:300]}"] = str(save(document, name, folder))
    return tally


def _is_stuck(child: subprocess.Popen[bytes], document: Path, end: float) -> bool:
    """Wait for a child; kill one that works on the same document for too long, and say whether it was."""
    started = time.monotonic()
    while child.poll() is None:
        time.sleep(0.2)
        age = time.time() - document.stat().st_mtime if document.exists() else 0.0
        if age > 3 * DEADLINE_SECONDS or time.monotonic() > max(end, started + _LONGEST_START_SECONDS) + 60:
            child.send_signal(signal.SIGKILL)
            child.wait()
            return True
    return False


def save(document: bytes, name: str, folder: Path) -> Path:
    """Keep a document that crashes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{hashlib.sha256(document).hexdigest()[:8]}"
    path.write_bytes(document)
    return path


def fuzz(name: str, first_seed: int, seconds: float, folder: Path) -> Tally:
    """Read documents for so long, and write the tally down now and then."""
    work = Path(os.environ["FUZZ_WORK"])
    target, tally, end = TARGETS[name], Tally(), time.monotonic() + seconds
    smallest: dict[str, int] = {}
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error", RuntimeWarning)

    def read(document: bytes) -> None:
        if time.monotonic() > end:
            return
        (work / "document").write_bytes(document)
        crash = outcome(target, document, work / "folder", tally)
        if crash is not None and len(document) < smallest.get(crash, sys.maxsize):
            smallest[crash] = len(document)
            tally.crashes[crash] = str(save(document, name, folder))

    number = 0
    while time.monotonic() < end:
        run = settings(
            max_examples=_DOCUMENTS_A_SEED,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(first_seed + number)(run(given(target.documents)(read)))()
        number += 1
        tally.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        (work / "tally").write_text(json.dumps(asdict(tally)))
    return tally


def outcome(target: Target, document: bytes, folder: Path, tally: Tally) -> str | None:
    """Read one document; what is wrong with how it ended, or None."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    started = time.monotonic()
    crash = None
    refusals: tuple[type[Exception], ...] = (StreamdetError, *target.refusals)
    try:
        with _deadline(DEADLINE_SECONDS):
            target.act(document, folder)
    except refusals as error:
        words = str(error).replace(str(folder), "")
        tally.errors[words[:40]] = tally.errors.get(words[:40], 0) + 1
        if "\n" in words.strip("\n") or len(words) > LONGEST_ERROR:
            crash = (
                f"{type(error).__name__} of several lines, or more than {LONGEST_ERROR} characters, at {_where(error)}"
            )
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        crash = f"{type(error).__name__} at {_where(error)}"
    tally.num += 1
    tally.slowest_seconds = max(tally.slowest_seconds, time.monotonic() - started)
    return crash


def _where(error: BaseException) -> str:
    """The last line of ours in a traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/pipeline/" in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "the target"


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Overdue(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, hard))


if __name__ == "__main__":
    main()
