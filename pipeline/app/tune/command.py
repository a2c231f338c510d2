"""Tune: the options of `streamdet tune` → the configuration that is best when measured again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pipeline.app.config.run import RunConfig
from pipeline.app.gating import refuse_gated
from pipeline.app.measure_apart import Measure, measure_apart
from pipeline.app.output_paths import files_of_model, inputs_of, refuse_overwriting
from pipeline.app.process import prepare_process
from pipeline.app.progress import WorkProgress
from pipeline.app.report_file import write_report
from pipeline.app.tune.knobs import knobs_of
from pipeline.app.tune.options import TuneOptions
from pipeline.app.tune.report import print_search, report_of_search, write_config
from pipeline.app.tune.result import Search
from pipeline.app.tune.start import Start, start_of
from pipeline.app.tune.trials import Trials
from pipeline.app.tune.verdict import Goal, judge_trials
from pipeline.errors import SinkError
from pipeline.masking import masked_address
from pipeline.sinks.writable import refuse_unwritable


def run_tune(options: TuneOptions, *, measure: Measure = measure_apart) -> int:
    """Search, measure the best again beside the start, and write it if its gain holds; 1 if no limit is kept, else 0.

    Ctrl-C ends it with the best until then, and raises KeyboardInterrupt after. Raises a StreamdetError if the start
    cannot run.
    """
    ends_at_seconds = time.monotonic() + options.budget_seconds
    prepare_process()
    config = _config(options)
    refuse_gated(config, "tune")
    _refuse_outputs(options, config)
    say = WorkProgress()
    start = start_of(config, options.models)
    goal = goal_of(options, is_live=start.is_live, every=config.flow.every)
    say(f"wanted is {goal}")
    trials = Trials(start, goal, measure, say, seconds=options.seconds, min_agreement=options.min_agreement)
    interrupted: KeyboardInterrupt | None = None
    try:
        knobs = knobs_of(start, options.models, budget_seconds=options.budget_seconds)
        with _only_errors_logged(), say.phase("searching", budget_seconds=ends_at_seconds - time.monotonic()):
            trials.run(knobs, ends_at_seconds=ends_at_seconds)
    except KeyboardInterrupt as error:
        if not trials.trials:
            raise
        interrupted = error
    search = _result(options, start, goal, trials, is_interrupted=interrupted is not None)
    print_search(search)
    if search.outcome.chosen is not None:
        write_config(search, start.config, search.outcome.chosen)
    if options.report is not None:
        write_report(report_of_search(search), options.report)
    if interrupted is not None:
        raise interrupted
    return int(not search.outcome.keeps_limits)


def goal_of(options: TuneOptions, *, is_live: bool, every: int) -> Goal:
    """What is wanted: of a least rate least CPU time, of a live source latency, of a recorded one throughput."""
    wants: Literal["throughput", "latency", "cpu"] = "latency" if is_live else "throughput"
    if options.min_fps is not None:
        wants = "cpu"
    limit = options.max_latency_seconds
    return Goal(wants, options.min_fps, None if limit is None else 1000 * limit, options.rate, every)


def _config(options: TuneOptions) -> RunConfig:
    return options.config.load(
        sources=(options.source,),
        model=options.models[0] if options.models else None,
        flow__mode=None if options.rate is None else "live",
        flow__rate_fps=options.rate,
        output__show=False,
    )


def _refuse_outputs(options: TuneOptions, config: RunConfig) -> None:
    """Find out before the work whether its files can be written, and over nothing that it reads."""
    models = [path for model in options.models for path in files_of_model(model)]
    outputs = [("--output", options.output), ("--report", options.report)]
    refuse_overwriting(outputs, {**inputs_of(config), "the model": models}, overwrite=options.overwrite)
    refuse_unwritable(options.output, "the configuration")
    if options.output.suffix not in (".yaml", ".yml"):
        raise SinkError(f"--output must be a .yaml file, so that `run --config` takes it, got {options.output}")
    if options.report is not None:
        refuse_unwritable(options.report, "the report")


@contextmanager
def _only_errors_logged() -> Iterator[None]:
    """Without warnings of a model, which come with every load and have come with the first one."""
    logger = logging.getLogger("pipeline")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _result(options: TuneOptions, start: Start, goal: Goal, trials: Trials, *, is_interrupted: bool) -> Search:
    return Search(
        masked_address(options.source),
        options.output,
        options.min_agreement,
        goal,
        start.device,
        start.precision,
        form=(start.spec.form or "not ours") if len(options.models) < 2 else None,
        trials=trials.trials,
        finals=trials.finals,
        outcome=judge_trials(trials.trials, trials.finals, goal, is_interrupted=is_interrupted),
        promise=trials.promise,
        is_cut_to_promise=trials.is_cut_to_promise,
    )
