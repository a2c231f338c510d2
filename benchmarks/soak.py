"""Soak: a run on failing cameras for half an hour → what each fault cost, and whether anything leaked or hung.

    python -m benchmarks.soak [--minutes 30] [--cameras 4] [--seed 0] [--json FILE] [--only FAULT]…
    python -m benchmarks.soak --simulated-days 7

The run is a `streamdet run` in a process of its own; its cameras (RTSP, MJPEG and HLS over HTTP, MPEG-TS over TCP) are
in this one, which spoils them, its disk, its reader and itself, one fault at a time. What comes of it is measured from
outside. At the end comes SIGHUP, then a second run, which is killed, and a third, which takes up what that left.
With --simulated-days, parts of streamdet run on a clock that is moved on, with fake cameras; see `soaking.simulated`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.machine import describe_machine
from benchmarks.soaking.camera import Camera
from benchmarks.soaking.faults import FAULTS, FaultKind, Scene, SlowReader, schedule
from benchmarks.soaking.over_http import HlsCamera, MjpegCamera
from benchmarks.soaking.rtsp import RtspCamera
from benchmarks.soaking.samples import Usual, recovery
from benchmarks.soaking.simulated import simulate_and_print
from benchmarks.soaking.small_disk import small_disk
from benchmarks.soaking.soaked_run import Outcome, SoakedRun
from benchmarks.soaking.summary import FaultRecord, Soak, print_soak, soak_in_json
from benchmarks.soaking.transport_stream import TcpCamera

KINDS: Sequence[tuple[str, type[Camera]]] = (
    *(("rtsp", RtspCamera), ("mjpeg", MjpegCamera), ("hls", HlsCamera), ("tcp", TcpCamera)),
)
QUIET_SHARE, MOST_QUIET_SECONDS = 0.25, 120.0  # of the run, before the first fault
LONGEST_RECOVERY_SECONDS = 40.0  # after which the next fault comes all the same
KILLED_AFTER_SECONDS, LAST_RUN_SECONDS = (12.0, 20.0), 10.0


def main() -> None:
    """Soak, and print; the exit code is 1 where a promise was broken."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the run ends with it, and its disk is unmounted
    if options.simulated_days:
        sys.exit(int(not simulate_and_print(days=options.simulated_days, seed=options.seed)))
    folder = Path(mkdtemp(prefix="soak-"))
    try:
        with small_disk(folder / "segments") as disk:
            soak = soak_run(options, folder, disk)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print_soak(soak)
    if options.json is not None:
        options.json.write_text(json.dumps(soak_in_json(soak), indent=2) + "\n", encoding="utf-8")
    sys.exit(int(not soak.is_kept))


def soak_run(options: argparse.Namespace, folder: Path, disk: Path | None) -> Soak:
    """The three runs. disk: where segments may be driven into want of room."""
    randomness = random.Random(options.seed)
    cameras = {}
    for number in range(options.cameras):
        word, kind = KINDS[number % len(KINDS)]
        name = word if number < len(KINDS) else f"{word}{number // len(KINDS) + 1}"
        cameras[name] = kind(name, randomness)
    visitor = MjpegCamera("visitor", randomness)
    time.sleep(3.0)  # until the playlist has segments
    reader = SlowReader(folder / "table.csv")
    run = SoakedRun(folder, cameras)
    try:
        with run.started() as first:
            scene = Scene(first.pid, cameras, visitor, run.control, reader, disk, randomness)
            records = _inflict(options, scene, run)
            first_outcome = run.ended(signal.SIGHUP)
        with run.started():
            time.sleep(randomness.uniform(*KILLED_AFTER_SECONDS))
            killed = run.ended(signal.SIGKILL)
        with run.started():
            time.sleep(LAST_RUN_SECONDS)
            last = run.ended(signal.SIGTERM)
    finally:
        for camera in (*cameras.values(), visitor):
            camera.close()
    return _summed_up(options, scene, records, [first_outcome, killed, last], run, has_disk=disk is not None)


@dataclass(frozen=True, slots=True)
class _Inflicted:
    kind: FaultKind
    cameras: Sequence[str]
    began: float
    ended: float


def _inflict(options: argparse.Namespace, scene: Scene, run: SoakedRun) -> list[_Inflicted]:
    """Faults one after another, each once the run has recovered from the one before."""
    seconds = options.minutes * 60
    until = time.monotonic() + seconds
    time.sleep(min(MOST_QUIET_SECONDS, QUIET_SHARE * seconds))
    usual = Usual.of(run.watch.samples[run.warm_up_samples :])
    records: list[_Inflicted] = []
    for planned in schedule(
        scene.randomness, list(scene.cameras), has_disk=scene.disk is not None, only=options.only or FAULTS
    ):
        if time.monotonic() > until or run.has_died:
            return records
        began = time.monotonic()
        planned.kind.inflict(scene, scene.cameras[planned.cameras[0]])
        ended = time.monotonic()
        records.append(_Inflicted(planned.kind, planned.cameras, began, ended))
        print(f"{planned.kind.name} ({', '.join(planned.cameras)}): {ended - began:.1f} s", file=sys.stderr, flush=True)
        while time.monotonic() < ended + LONGEST_RECOVERY_SECONDS and not run.has_died:
            time.sleep(0.5)
            back = recovery(
                run.watch.samples[-200:], usual, began=began, ended=ended, until=math.inf, sources=list(scene.cameras)
            )
            if back.normal_after_seconds is not None:
                break
        time.sleep(scene.randomness.uniform(1.0, 3.0))
    raise AssertionError


def _summed_up(
    options: argparse.Namespace,
    scene: Scene,
    inflicted: Sequence[_Inflicted],
    outcomes: Sequence[Outcome],
    run: SoakedRun,
    *,
    has_disk: bool,
) -> Soak:
    samples = outcomes[0].samples
    first_fault = inflicted[0].began if inflicted else math.inf
    quiet = [sample for sample in samples[run.warm_up_samples :] if sample.at_seconds < first_fault]
    usual = Usual.of(quiet)
    untils = [fault.began for fault in inflicted[1:]] + [math.inf]
    records = [
        FaultRecord(
            fault.kind.name,
            fault.kind.how,
            tuple(fault.cameras),
            fault.began,
            fault.ended,
            recovery(samples, usual, began=fault.began, ended=fault.ended, until=until, sources=list(fault.cameras)),
        )
        for fault, until in zip(inflicted, untils, strict=True)
    ]
    return Soak(
        machine=describe_machine(),
        seed=options.seed,
        minutes=options.minutes,
        records=records,
        usual=usual,
        outcomes=outcomes,
        excused=scene.excused,
        kill=run.kill_loss(),
        left_out=() if has_disk else ("full disk: no tmpfs can be mounted here",),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30.0, help="of the first run")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--only", type=_kind, action="append", metavar="FAULT", help="its name; all by default")
    parser.add_argument("--json", type=Path, help="write all that was measured")
    parser.add_argument("--simulated-days", type=float, default=0.0, help="run on a simulated clock instead")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all that the runs wrote")
    return parser.parse_args()


def _kind(name: str) -> FaultKind:
    kinds = {kind.name: kind for kind in FAULTS}
    if name not in kinds:
        raise argparse.ArgumentTypeError(f"{name!r} is not a fault; the faults are: {'; '.join(kinds)}")
    return kinds[name]


if __name__ == "__main__":
    main()
