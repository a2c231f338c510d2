"""Optimise: the options of `streamdet optimise` → the fastest file for a video that detects the same, written."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.frame_sample import sample_of
from pipeline.app.measure_apart import Case, Measure, measure_apart
from pipeline.app.model_branch import checked_detector
from pipeline.app.optimise.candidates import Candidate, Making, ModelVariant, candidates_of, judge
from pipeline.app.optimise.options import OptimiseOptions
from pipeline.app.optimise.report import print_optimised, report_of_optimised, write_chosen
from pipeline.app.optimise.result import Optimised
from pipeline.app.output_paths import inputs_of, refuse_overwriting
from pipeline.app.process import prepare_process
from pipeline.app.progress import WorkProgress
from pipeline.app.report_file import write_report
from pipeline.errors import ConfigError, SinkError
from pipeline.masking import masked_address
from pipeline.sinks.writable import refuse_unwritable


def run_optimise(options: OptimiseOptions, *, measure: Measure = measure_apart) -> int:
    """Make, prove, measure, print and write; 0. Raises a StreamdetError for a model or a video that cannot be used."""
    prepare_process()
    output = options.output or Path(f"{options.model.stem}-optimised.yaml")
    config = options.config.load(
        sources=(options.source,), model=str(options.model), flow__mode="every-frame", output__show=False
    )
    _refuse_outputs(options, config, output)
    path, spec = checked_detector(with_keys(config, {"engine.device": "cpu"}))
    say = WorkProgress()
    sample = sample_of(config, options.frames, refuses_live=True)
    say(f"{len(sample.timed_pictures)} frames of {masked_address(options.source)}")
    with tempfile.TemporaryDirectory(prefix="streamdet-optimise-") as folder:
        making = Making(config, sample, Path(folder), largest_drop=options.max_drop / 100, say=say)
        variants = [ModelVariant(path, spec)]
        shaped = making.in_shape(variants[0])
        variants += [] if shaped is None else [shaped]
        quantized = making.in_int8(variants[-1]) if options.int8 else None
        variants += [] if quantized is None else [quantized]
        candidates = list(candidates_of(variants))
        with say.phase("comparing", total=len(candidates) * len(sample.timed_pictures)) as phase:
            candidates = judge(candidates, config, sample, on_frame=phase.advance)
        _measure_speeds(candidates, config, options, say, measure)
        name = options.model.name
        source = masked_address(options.source)
        optimised = Optimised(name, source, len(sample.timed_pictures), candidates, making.rejected)
        print_optimised(optimised)
        if optimised.chosen is not None:
            write_chosen(optimised, optimised.chosen, config, output)
    if options.report is not None:
        write_report(report_of_optimised(optimised), options.report)
    return 0


def _refuse_outputs(options: OptimiseOptions, config: RunConfig, output: Path) -> None:
    """Find out before the work whether its files can be written, and over nothing that it reads."""
    if output.suffix not in (".yaml", ".yml"):
        raise SinkError(f"--output must be a .yaml file, so that `run --config` takes it, got {output}")
    outputs = [("--output", output), ("the file beside --output", output.with_suffix(".onnx"))]
    refuse_overwriting([*outputs, ("--report", options.report)], inputs_of(config), overwrite=options.overwrite)
    refuse_unwritable(output, "the configuration")
    if options.report is not None:
        refuse_unwritable(options.report, "the report")


def _measure_speeds(
    candidates: Sequence[Candidate],
    config: RunConfig,
    options: OptimiseOptions,
    say: WorkProgress,
    measure: Measure,
) -> None:
    """Each in turn, so that what disturbs the machine disturbs all alike."""
    running = [candidate for candidate in candidates if candidate.refusal is None]
    with say.phase("measuring", total=options.repeats * len(running), has_lines=True) as phase:
        for number, candidate in itertools.product(range(options.repeats), running):
            try:
                case = Case.of(candidate.config(config), seconds=options.seconds, warm_up_seconds=0.5)
                candidate.rates.append(measure(case).delivered_fps)
            except ConfigError as error:
                raise ConfigError(f"{candidate.name}: its speed cannot be measured: {error}") from error
            phase.advance()
            say(f"{candidate.name}: {candidate.rates[-1]:.1f} frames/s ({number + 1})")
