"""Memory: its growth over 100,000 frames, and the memory, threads and files that 50 sources leave behind.

    python -m benchmarks.memory [--frames 100000] [--sources 50]

Each in a process of its own, through the whole path: a file is decoded, a detector of almost no cost finds ten
objects, they are drawn, recorded and written as JSON lines. The slope is that of a line through the last two thirds,
because arenas and caches fill in the beginning; of the sources, the last third counts. Frames go into Matroska, which
needs no index of all frames, and once more into MP4, whose index is kept until the end: that much is the format's.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.drawn_video import write_street
from benchmarks.fixed_detector import write_fixed_detector
from benchmarks.machine import describe_machine
from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.process import prepare_process
from pipeline.flow.running import Running
from pipeline.measure.processor import memory_mb

SIZE_WH = (320, 192)
MOST_MB = 5.0
"""By which memory may grow in the time that counts, and still be noise."""

PARTS = ("frames", "frames-mp4", "sources")


@dataclass(frozen=True, slots=True)
class FramesGrowth:
    """Memory of one long run."""

    frames: int
    memory_mb: Sequence[tuple[int, float]]  # delivered frames, MB
    mb_per_100000_frames: float
    grown_mb: float  # over the last two thirds


@dataclass(frozen=True, slots=True)
class Residue:
    """What this process holds after a source was closed; None without /proc."""

    memory_mb: float
    python_threads: int
    threads: int | None
    open_files: int | None


@dataclass(frozen=True, slots=True)
class SourcesGrowth:
    """Memory, threads and files of many sources, one after the other."""

    sources: Sequence[Residue]
    grown_mb: float  # over the last third


def run_once(
    video: str, detector: Path, recording: Path, *, max_frames: int | None = None, look: Callable[[int], None]
) -> None:
    """One run through the whole path; `look` gets the number of delivered frames now and then."""
    options = {
        "sources": (video,),
        "model": str(detector),
        "flow.max_frames": max_frames,
        "output.video": str(recording),
        "output.jsonl": str(recording.with_suffix(".jsonl")),
        "output.overwrite": True,
        "output.show": False,
    }
    assembly = assemble(load_config(options=options))
    with Running(assembly.flow) as running:
        running.wait(on_tick=lambda: look(running.statistics().frames.delivered), tick_seconds=0.05)
    assembly.engine.close()


def over_frames(folder: Path, num_frames: int, *, suffix: str) -> FramesGrowth:
    """Memory at every tenth of the frames, its slope, and by how much it grew over the last two thirds."""
    prepare_process()
    detector = write_fixed_detector(folder / "ten.onnx", 10)
    video = write_street(folder / "street.mp4", size_wh=SIZE_WH, num_frames=num_frames, num_drawn=20)
    samples: list[tuple[int, float]] = []
    step = max(1, num_frames // 100)

    def look(num_delivered: int) -> None:
        if num_delivered >= step * (1 + len(samples)):
            samples.append((num_delivered, memory_mb()))

    run_once(str(video), detector, folder / f"out{suffix}", look=look)
    late = np.array([sample for sample in samples if sample[0] >= num_frames / 3])  # [N, 2]
    slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) if len(late) > 1 else float("nan")
    return FramesGrowth(num_frames, samples, 1e5 * slope, slope * (num_frames * 2 / 3))


def over_sources(folder: Path, num_sources: int) -> SourcesGrowth:
    """Memory, threads and open files after each source was opened, run for 20 frames, and closed."""
    prepare_process()
    detector = write_fixed_detector(folder / "ten.onnx", 10)
    video = write_street(folder / "street.mp4", size_wh=SIZE_WH, num_frames=60, num_drawn=20)
    rows: list[Residue] = []
    for number in range(num_sources):
        word = str(video) if number % 2 else f"sim:traffic?seed={number}&size={SIZE_WH[0]}x{SIZE_WH[1]}"
        run_once(word, detector, folder / "out.mp4", max_frames=20, look=lambda _: None)
        gc.collect()
        rows.append(Residue(memory_mb(), threading.active_count(), _num_in("task"), _num_in("fd")))
    return SourcesGrowth(rows, rows[-1].memory_mb - rows[2 * len(rows) // 3].memory_mb)


def main() -> None:
    """Measure each part in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--sources", type=int, default=50)
    parser.add_argument("--report", type=Path, help="write all numbers as JSON")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asdict(measure_part(options.part, Path(folder), options.frames, options.sources))))
        return

    print(describe_machine())
    frames, frames_mp4, sources = (_measured_apart(part, options.frames, options.sources) for part in PARTS)
    assert isinstance(frames, FramesGrowth)
    assert isinstance(frames_mp4, FramesGrowth)
    assert isinstance(sources, SourcesGrowth)
    print_frames(frames, "Matroska and JSON lines", verdict=_verdict(frames.grown_mb))
    print_frames(frames_mp4, "MP4 and JSON lines", verdict="of which the index is MP4's own")
    print_sources(sources)
    if options.report is not None:
        measured = dict(zip(PARTS, (asdict(frames), asdict(frames_mp4), asdict(sources)), strict=True))
        options.report.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def _measured_apart(part: str, num_frames: int, num_sources: int) -> FramesGrowth | SourcesGrowth:
    """One part, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--part", part]
    command += ["--frames", str(num_frames), "--sources", str(num_sources)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    fields = json.loads(done.stdout.splitlines()[-1])
    if part == "sources":
        return SourcesGrowth([Residue(**row) for row in fields["sources"]], fields["grown_mb"])
    return FramesGrowth(**fields)


def measure_part(part: str, folder: Path, num_frames: int, num_sources: int) -> FramesGrowth | SourcesGrowth:
    """One part, in this process."""
    if part == "sources":
        return over_sources(folder, num_sources)
    return over_frames(folder, num_frames, suffix=".mp4" if part == "frames-mp4" else ".mkv")


def print_frames(growth: FramesGrowth, name: str, *, verdict: str) -> None:
    """Memory every tenth of the frames, and its slope."""
    samples, num_frames = growth.memory_mb, growth.frames
    print(f"\n{'frames':>8}  memory MB  ({name})")
    for tenth in range(1, 11):
        until = [sample for sample in samples if sample[0] <= tenth * num_frames / 10]
        if until:
            print(f"{until[-1][0]:8}  {until[-1][1]:9.1f}")
    print(
        f"slope after the first third: {growth.mb_per_100000_frames:+.2f} MB per 100,000 frames; over these frames "
        f"{growth.grown_mb:+.2f} MB, {verdict}"
    )


def print_sources(growth: SourcesGrowth) -> None:
    """Memory, threads and files after the first source, the last, and two between."""
    first, *_, last = rows = growth.sources
    print(f"\n{'source':>8}  memory MB  threads of Python / in all  open files")
    for number in sorted({0, len(rows) // 3, 2 * len(rows) // 3, len(rows) - 1}):
        row = rows[number]
        threads = f"{row.python_threads} / {row.threads}"
        print(f"{number + 1:8}  {row.memory_mb:9.1f}  {threads:>26}  {row.open_files:10}")
    is_same = replace(first, memory_mb=0) == replace(last, memory_mb=0)
    print(
        f"threads and open files are {'the same' if is_same else 'NOT the same'} after the last source as after the "
        f"first; memory over the last third {growth.grown_mb:+.2f} MB, {_verdict(growth.grown_mb)}"
    )


def _num_in(folder: str) -> int | None:
    """Number of entries that /proc lists for this process; None without /proc."""
    path = Path("/proc/self") / folder
    return sum(1 for _ in path.iterdir()) if path.is_dir() else None


def _verdict(grown_mb: float) -> str:
    return f"{'none beyond noise' if grown_mb <= MOST_MB else 'it GROWS'} (bar: {MOST_MB:g} MB)"


if __name__ == "__main__":
    main()
