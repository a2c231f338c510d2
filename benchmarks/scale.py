"""Scale: faults of a map and simulated workers → the failure table and the scaling figures of docs/scale.md.

    python -m benchmarks.scale [--only faults|cameras|scaling] [--engines local,ray] [--report scale.json]

Faults happen to `streamdet map` on drawn streets, by the detector that comes with it, on two local workers and on a Ray
cluster of a head and two nodes; the set of (file, frame, boxes) must be that of a serial run. They happen to `streamdet
fleet` with four cameras as well, which must give pictures again within 5 s, and never two at once. The scaling figures
are a SIMULATION: workers sleep instead of detecting, see `benchmarks/mapping/simulated.py`. One run with one and two
workers is real.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.mapping.cameras import NUM_CAMERAS, CameraOutcome, camera_outcomes
from benchmarks.mapping.clips import FPS, SETTINGS, mapped_rows, serial_rows, write_clips
from benchmarks.mapping.drivers import Driver, Engine
from benchmarks.mapping.faults import FAULTS, Desk, Outcome, outcome_of
from benchmarks.mapping.simulated import (
    Calibration,
    SimulatedRun,
    amdahl,
    simulated_run,
    store_bytes_a_frame,
)
from benchmarks.mapping.supervised import supervised
from benchmarks.soaking.clip import FPS as FPS_OF_CAMERA
from pipeline.fleet.segments import InputFile, whole_file
from pipeline.fleet.workers import Detected

CLIP_SECONDS = (5, 4, 3)
NUM_WORKERS = (1, 2, 4, 8, 16, 64)
NUM_SEGMENTS = 320
LONGER_SECONDS = 45.0  # of the run by which efficiency is judged
RAY_WORKERS = 8
NUM_SUPERVISED = (500, 4000)
NUM_COPIES = 2  # of the clips, for the real run


def main() -> None:
    """Print all tables; the exit code is 1 if a fault did harm, or efficiency at 16 workers is below .95."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("faults", "cameras", "scaling"), help="a part of it")
    parser.add_argument("--engines", default="local,ray", help="of the faults, and of the simulation")
    parser.add_argument("--report", type=Path, help="write all numbers as JSON")
    options = parser.parse_args()
    engines = options.engines.split(",")
    print(describe_machine())
    report: dict[str, object] = {"machine": describe_machine()}
    is_right = True
    with TemporaryDirectory() as name:
        clips = write_clips(Path(name) / "clips", CLIP_SECONDS)
        if options.only in (None, "faults"):
            outcomes = list(failure_table(Desk(clips, serial_rows(clips), Path(name)), engines))
            is_right &= all(outcome.is_right for outcome in outcomes)
            report["faults"] = [asdict(outcome) for outcome in outcomes]
        if options.only in (None, "cameras"):
            fleets = list(camera_table(Path(name), engines))
            is_right &= all(fleet.is_right for fleet in fleets)
            report["cameras"] = [asdict(fleet) for fleet in fleets]
        if options.only in (None, "scaling"):
            figures, is_efficient = scaling_figures(clips, Path(name), engines)
            is_right &= is_efficient
            report["scaling"] = figures
    if options.report is not None:
        options.report.write_text(json.dumps(report, indent=1))
    sys.exit(int(not is_right))


def failure_table(desk: Desk, engines: Sequence[str]) -> Iterator[Outcome]:
    """Let every fault happen on every engine, and print a line for it."""
    print(f"\nfaults: {len(desk.clips)} clips, {desk.rows.total()} frames, segments of 1 s, two workers")
    print(f"{'fault':36}{'engine':8}{'frames':>8}{'missing':>9}{'surplus':>9}{'seconds':>9}  what came of it")
    for name in engines:
        with _engine(name) as engine:
            for fault in FAULTS:
                if fault.needs_nodes and engine.remove_node is None:
                    continue
                outcome = outcome_of(fault, desk, engine)
                print(
                    f"{outcome.fault:36}{outcome.engine:8}{outcome.num_frames:8}{outcome.num_missing:9}"
                    f"{outcome.num_surplus:9}{outcome.seconds:9.1f}  {outcome.remark}"
                    f"{'' if outcome.is_right else '  WRONG'}",
                    flush=True,
                )
                yield outcome


def camera_table(folder: Path, engines: Sequence[str]) -> Iterator[CameraOutcome]:
    """The same for a fleet of cameras."""
    print(f"\ncameras: {NUM_CAMERAS} cameras of {FPS_OF_CAMERA} pictures/s, two workers")
    columns = f"{'longest gap':>13}{'results':>9}{'twice':>7}{'overlaps':>10}{'viewers':>9}{'refused':>9}"
    print(f"{'fault':32}{'engine':8}{columns}")
    for name in engines:
        with _engine(name) as engine:
            for outcome in camera_outcomes(engine, folder):
                counts = f"{outcome.num_results:9}{outcome.num_twice:7}{outcome.num_overlaps:10}"
                print(
                    f"{outcome.fault:32}{outcome.engine:8}{outcome.gap_seconds:11.1f} s{counts}"
                    f"{outcome.most_viewers:9}{outcome.num_refused:9}{'' if outcome.is_right else '  WRONG'}",
                    flush=True,
                )
                yield outcome


def scaling_figures(clips: Sequence[Path], folder: Path, engines: Sequence[str]) -> tuple[dict[str, object], bool]:
    """Print what the simulation and the real run say; whether efficiency at 16 workers is at least .95."""
    calibration, real = calibrated(clips[0]), real_run(clips, folder)
    work = f"{calibration.work_seconds:.1f} s of work each, slept faster"
    print(f"\nscaling, a SIMULATION: {NUM_SEGMENTS} segments of about 60 s, {work}")
    print(f"{'workers':>8}{'faster':>9}{'seconds':>10}{'speed-up':>10}{'efficiency':>12}{'overhead a segment':>20}")
    runs = []
    for num in NUM_WORKERS:
        runs.append(simulated_run(calibration, num_workers=num, num_segments=NUM_SEGMENTS))
        _print_run(runs[-1])
    serial, parallel = amdahl(runs)
    limit = f"at most {(serial + parallel) / serial:.0f} times" if serial else "no limit seen"
    print(f"Amdahl   T(n) = {serial:.1f} s + {parallel:.0f} s / n of the map at full length, {limit}")
    at_16 = runs[NUM_WORKERS.index(16)]
    longer = simulated_run(calibration, num_workers=16, num_segments=NUM_SEGMENTS, run_seconds=LONGER_SECONDS)
    print("the same with less haste:")
    _print_run(longer)
    listed = simulated_run(calibration, num_workers=16, num_segments=NUM_SEGMENTS, is_longest_first=False)
    print(f"order    longest first {at_16.wall_seconds:.2f} s, as listed {listed.wall_seconds:.2f} s, 16 workers")
    print(f"store    {store_bytes_a_frame(calibration):.0f} bytes a frame travel, boxes and segment")
    figures: dict[str, object] = {
        "real": real,
        "work_seconds": calibration.work_seconds,
        "runs": [asdict(run) | {"efficiency": run.efficiency, "overhead_ms": run.overhead_ms} for run in runs],
        "amdahl": [serial, parallel],
        "longer": asdict(longer) | {"efficiency": longer.efficiency},
        "as_listed": asdict(listed),
        "store_bytes_a_frame": store_bytes_a_frame(calibration),
    }
    fleets = [supervised(num) for num in NUM_SUPERVISED]
    for fleet in fleets:
        rate = f"{fleet.results_a_second:g} results/s of {fleet.bytes_a_result:.0f} bytes each"
        print(f"fleet    {fleet.num_cameras} cameras with {rate}: the supervisor takes {fleet.cores:.2f} of a core")
    figures["supervised"] = [asdict(fleet) for fleet in fleets]
    if "ray" in engines:
        of_ray = ray_run(calibration)
        figures["ray"] = asdict(of_ray) | {"efficiency": of_ray.efficiency, "overhead_ms": of_ray.overhead_ms}
    return figures, longer.efficiency >= 0.95


def ray_run(calibration: Calibration) -> SimulatedRun:
    """The same in Ray, on as many processors as it is told that this machine has."""
    ray: Any = importlib.import_module("ray")
    ray.init(num_cpus=RAY_WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        run = simulated_run(calibration, num_workers=RAY_WORKERS, num_segments=NUM_SEGMENTS, engine="ray")
    finally:
        ray.shutdown()
    print(f"in Ray   {RAY_WORKERS} workers: efficiency {run.efficiency:.3f}, {run.overhead_ms:.1f} ms a segment")
    return run


def real_run(clips: Sequence[Path], folder: Path) -> dict[str, float]:
    """Map copies of the clips with one and with two workers, and print how long it took, start-up included."""
    copies = [folder / "copies" / f"{number}-{clip.name}" for number in range(NUM_COPIES) for clip in clips]
    (folder / "copies").mkdir()
    for number, copy in enumerate(copies):
        copy.write_bytes(clips[number % len(clips)].read_bytes())
    num_frames = sum(CLIP_SECONDS) * FPS * NUM_COPIES
    seconds = {}
    for num in (1, 2):
        began_at_seconds = time.monotonic()
        out = folder / f"real-{num}"
        code, reason = Driver(copies, out, Engine("local"), workers=num).wait()
        assert (code, mapped_rows(out).total()) == (0, num_frames), reason
        seconds[num] = time.monotonic() - began_at_seconds
    rate = f"1 worker {seconds[1]:.1f} s, 2 workers {seconds[2]:.1f} s, {seconds[1] / seconds[2]:.2f} times"
    print(f"\nreal     {num_frames} frames: {rate}, with the start of the command and its workers", flush=True)
    return {"1": seconds[1], "2": seconds[2]}


def calibrated(clip: Path) -> Calibration:
    """What one worker takes for a clip, and what it answers."""
    from pipeline.app.config.loading import load_config
    from pipeline.app.map.work import OpenMapWork

    config = load_config(options={"model": "demo", "decode.threads": 1, **SETTINGS})
    work = OpenMapWork(config, None)()
    status = clip.stat()
    segment = whole_file(InputFile(0, str(clip), status.st_size, status.st_mtime_ns))
    work(segment)  # to warm up
    began_at_seconds = time.process_time()  # which others on this machine do not change
    answer = work(segment)
    seconds = time.process_time() - began_at_seconds
    assert isinstance(answer, Detected), answer
    return Calibration(answer.content, answer.num_frames, seconds / answer.num_frames, FPS)


def _print_run(run: SimulatedRun) -> None:
    speed_up = run.sleep_seconds / run.wall_seconds
    cells = (f"{run.num_workers:8}", f"{run.compression:8.1f}x", f"{run.wall_seconds:10.2f}", f"{speed_up:10.2f}")
    print(*cells, f"{run.efficiency:12.3f}", f"{run.overhead_ms:17.1f} ms", sep="", flush=True)


@contextmanager
def _engine(name: str) -> Iterator[Engine]:
    if name == "local":
        yield Engine("local")
        return
    from benchmarks.mapping.cluster import two_node_cluster

    with two_node_cluster() as engine:
        yield engine


if __name__ == "__main__":
    main()
