"""What pays: each choice in the pipeline, taken back one at a time and measured in turns with all of them; ratios out.

    python -m benchmarks.what_pays VIDEO --model MODEL [--seconds 4] [--repeats 5] [--recording] [--chart FILE.svg]

Settings get another value; the others are undone in the process that measures. The ratio is the median
over turns of frames a second without the choice over those with it: below 1 it pays.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.machine import describe_machine
from pipeline.app.config.loading import load_config
from pipeline.app.measure_apart import RECORDING, Case, measure
from pipeline.measure.measured import Measured

AS_IT_IS = "as it is"


def _slow_switches() -> None:
    sys.setswitchinterval = lambda _: None


def _opencvs_own_threads() -> None:
    import cv2

    def keep(nthreads: int) -> None: ...

    cv2.setNumThreads = keep


def _whole_frames() -> None:
    from pipeline.picture.frame import ArrayPicture, ColourOrder, PixelArray
    from pipeline.sources.video.picture import VideoPicture

    def resized(self: VideoPicture, size_wh: tuple[int, int], *, colour: ColourOrder) -> PixelArray:
        return ArrayPicture(self.pixels).resized(size_wh, colour=colour)

    VideoPicture.resized = resized  # type: ignore[method-assign]


def _no_planes() -> None:
    from pipeline.sources.video.picture import VideoPicture

    def copy_i420(self: VideoPicture) -> None: ...

    VideoPicture.copy_i420 = copy_i420  # type: ignore[method-assign]


def _nothing() -> None: ...


# Each takes one choice back: the settings, and the function that undoes a choice that has no setting.
VARIANTS: dict[str, tuple[dict[str, object], Callable[[], None]]] = {
    AS_IT_IS: ({}, _nothing),
    "one inference on all cores instead of one a core": ({"engine.threads": 2, "engine.inflight": 1}, _nothing),
    "two inferences on all cores": ({"engine.threads": 2, "engine.inflight": 2}, _nothing),
    "idle threads spin for 100 ms instead of 0.2": ({"engine.spin_us": 100_000}, _nothing),
    "idle threads do not spin": ({"engine.spin_us": 0}, _nothing),
    "the interpreter switches after 5 ms instead of 0.5": ({}, _slow_switches),
    "OpenCV with a thread pool of its own": ({}, _opencvs_own_threads),
    "whole frames become BGR before they are resized": ({}, _whole_frames),
    "a recording is drawn in BGR, and converted back": ({}, _no_planes),
    "a recording is made smaller by superfast": ({"output.preset": "superfast"}, _nothing),
    "8 frames in each queue instead of 2": ({"flow.queue_capacity": 8}, _nothing),
    "batches of 4 (models of any batch)": ({"engine.batch": 4}, _nothing),
}


def run_variant(options: argparse.Namespace) -> Measured:
    """Measure one variant in this process."""
    settings, undo = VARIANTS[options.variant]
    undo()
    config = load_config(
        options={
            "sources": (options.video,),
            "model": options.model,
            "engine.device": "cpu",
            "output.show": False,
            "output.video": RECORDING if options.recording else None,
            **settings,
        }
    )
    return measure(Case.of(config, seconds=options.seconds))


def measure_in_turns(
    command: Sequence[str], names: Sequence[str], repeats: int
) -> tuple[dict[str, list[Measured]], dict[str, str]]:
    """The summaries of each variant, and the error of those that the model refuses."""
    summaries: dict[str, list[Measured]] = {name: [] for name in names}
    refusals: dict[str, str] = {}
    for _ in range(repeats):
        for name in [name for name in names if name not in refusals]:
            done = subprocess.run([*command, name], capture_output=True, text=True)
            if done.returncode:
                refusals[name] = done.stderr.strip().splitlines()[-1]
            else:
                summaries[name].append(Measured.from_json(json.loads(done.stdout.splitlines()[-1])))
    return summaries, refusals


def line_of(runs: Sequence[Measured], base: Sequence[Measured]) -> str:
    """Frames/s, the ratio to the pipeline as it is, and processor time of a frame."""
    rates = [run.delivered_fps for run in runs]
    ratios = [rate / other.delivered_fps for rate, other in zip(rates, base, strict=True)]
    turns = " ".join(f"{ratio:.2f}" for ratio in ratios)
    milliseconds = statistics.median(run.cpu_ms_per_frame for run in runs)
    return f"{statistics.median(rates):8.1f}   {statistics.median(ratios):.2f} ({turns}) {milliseconds:8.1f}"


def draw_chart(summaries: Mapping[str, Sequence[Measured]], path: Path) -> None:
    """Where the processor time of a frame goes in each variant, as SVG."""
    from pipeline.app.roles import colours
    from pipeline.measure.charts import time_chart
    from pipeline.measure.summary import typical_cpu_ms_by_role

    rows = {name: typical_cpu_ms_by_role(list(runs)) for name, runs in summaries.items() if runs}
    path.write_text(time_chart(rows, {}, colours()), encoding="utf-8")


def main(words: Sequence[str] | None = None) -> None:
    """Measure all in turns, and print a table."""
    options = _options(words)
    if options.variant is not None:
        print(json.dumps(run_variant(options).to_json()))
        return
    command = [sys.executable, "-m", "benchmarks.what_pays", *(sys.argv[1:] if words is None else words), "--variant"]
    names = [name for name in VARIANTS if options.recording or "a recording" not in name]
    summaries, refusals = measure_in_turns(command, names, options.repeats)
    print(describe_machine())
    print(f"{'':52} frames/s   ratio (each turn)              CPU ms / frame")
    for name, runs in summaries.items():
        refusal = refusals.get(name)
        line = line_of(runs, summaries[AS_IT_IS]) if refusal is None else f"not with this model: {refusal[:100]}"
        print(f"{name:52} {line}")
    if options.chart is not None:
        draw_chart(summaries, options.chart)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--model", required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--recording", action="store_true", help="with an annotated recording")
    parser.add_argument("--chart", type=Path, help="where a frame's processor time goes, as SVG")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
