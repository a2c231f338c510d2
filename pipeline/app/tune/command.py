"""Tune: the options of `streamdet tune` → the configuration that is best when measured again."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.app.assemble import checked_detector, default_inflight, default_threads, model_of
from pipeline.app.config import RunConfig, with_keys
from pipeline.app.frame_sample import detections_in_sample, sample_of
from pipeline.app.machine import available_cores
from pipeline.app.measure_apart import Case, Measure, measure_apart
from pipeline.app.output_paths import files_of_model, inputs_of, refuse_output_over_input
from pipeline.app.process import prepare_process
from pipeline.app.report_file import write_report
from pipeline.app.terminal import progress_lines
from pipeline.app.thresholds import suppression_options
from pipeline.app.tune.options import TuneOptions
from pipeline.app.tune.promise import Promise, promise_of
from pipeline.app.tune.report import Search, print_search, report_of_search, write_config
from pipeline.app.tune.verdict import Goal, judge_trials, named
from pipeline.detector.probe_devices import probe_providers
from pipeline.errors import ConfigError, SinkError, StreamdetError
from pipeline.masking import masked_address
from pipeline.measure.sampling import Sample
from pipeline.measure.search import Knob, Setting, Trial, coordinate_search, ranked
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.parity import FP16_BAR, FP32_BAR, compare
from pipeline.sinks.writable import refuse_unwritable

# These frames of the beginning, which the trials read, must show that detections stay.
_NUM_FRAMES, _OF_FIRST = 24, 300
# A detection that is just shown finds its partner just below.
_LOWER_SHARE = 0.8
_NUM_FINALISTS = 2
_FINAL_REPEATS = 5
# TensorRT builds a network for minutes before it runs.
_TENSORRT_BUDGET_SECONDS = 300.0
# None is what is taken if nobody says; cpu and cuda compute as the model was exported.
_PRECISIONS: Mapping[str, tuple[str | None, ...]] = {
    "cpu": (None,),
    "openvino": (None, "fp32"),
    "cuda": (None,),
    "tensorrt": (None, "fp16", "bf16"),
}


@dataclass(frozen=True, slots=True)
class Start:
    """Where the search starts: the configuration as it was typed, and its detections."""

    config: RunConfig
    spec: DetectorSpec
    device: str
    precision: str
    is_live: bool
    sample: Sample
    detections: Sequence[Detections]
    shown_score: float

    @property
    def live_sources(self) -> int:
        """How many sources a live run would have; 0 where it is recorded."""
        return 1 if self.is_live else 0


def run_tune(options: TuneOptions, *, measure: Measure = measure_apart) -> int:
    """Search, measure the best again beside the start, and write it if its gain holds; 1 if no limit is kept, else 0.

    Ctrl-C ends it with the best until then, and raises KeyboardInterrupt after. Raises a StreamdetError if the start
    cannot run.
    """
    began = time.monotonic()
    prepare_process()
    config = _config(options)
    models = [path for model in options.models for path in files_of_model(model)]
    outputs = [("--output", options.output), ("--report", options.report)]
    refuse_output_over_input(outputs, {**inputs_of(config), "the model": models})
    refuse_unwritable(options.output, "the configuration")
    if options.output.suffix not in (".yaml", ".yml"):
        raise SinkError(f"--output must be a .yaml file, so that `run --config` takes it, got {options.output}")
    if options.report is not None:
        refuse_unwritable(options.report, "the report")
    say = progress_lines()
    start = _start(config, options)
    goal = goal_of(options, is_live=start.is_live, every=start.config.flow.every)
    say(f"wanted is {goal}")

    def try_setting(setting: Setting) -> Trial:
        trial = _try(setting, start, goal, options, measure)
        say(f"{named(setting)}: {goal.words([trial])}" + (f" ({trial.reason})" if trial.reason else ""))
        return trial

    knobs = _knobs(start, options)
    trials: list[Trial] = []
    finals: dict[int, list[Trial]] = {}  # by index in `trials`
    interrupted: KeyboardInterrupt | None = None
    logger = logging.getLogger("pipeline")
    level, search_began = logger.level, time.monotonic()

    promises: list[Promise] = []
    was_time_left: list[bool] = []  # one answer a call

    def most_promising(trial: Trial) -> Knob | None:
        promise = None
        if trial.measured is not None:
            promise = promise_of(trial.measured, knobs, is_live=start.is_live)
        if promise is None:
            return None
        promises.append(promise)
        say(f"most promising is {promise}")
        return promise.knob

    def is_time_left() -> bool:
        now = time.monotonic()
        seconds_per_trial = (now - search_began) / len(trials)
        num_finalists = min(_NUM_FINALISTS, max(1, sum(trial.beats(trials[0]) for trial in trials)))
        num_more = 1 + _FINAL_REPEATS * (1 + num_finalists)
        was_time_left.append(now - began + num_more * seconds_per_trial < options.budget_seconds)
        return was_time_left[-1]

    try:
        logger.setLevel(logging.ERROR)  # the first load has warned of the model already
        for trial in coordinate_search(knobs, try_setting, is_time_left=is_time_left, turn_first=most_promising):
            trials.append(trial)
        better = [trials.index(trial) for trial in ranked(trials) if trial.beats(trials[0])][:_NUM_FINALISTS]
        if better:
            say("the best again, in turns with the defaults")
        for _ in range(_FINAL_REPEATS if better else 0):
            for index in (0, *better):
                again = _measured_again(trials[index].setting, start, goal, options, measure)
                finals.setdefault(index, []).append(again)
                say(f"{named(again.setting)}: {goal.words([again])}")
    except KeyboardInterrupt as error:
        if not trials:
            raise
        interrupted = error
    finally:
        logger.setLevel(level)
    outcome = judge_trials(trials, finals, goal, is_interrupted=interrupted is not None)
    search = Search(
        masked_address(options.source),
        options.output,
        options.min_agreement,
        goal,
        start.device,
        start.precision,
        form=(start.spec.form or "not ours") if len(options.models) < 2 else None,
        trials=trials,
        finals=finals,
        outcome=outcome,
        promise=promises[0] if promises else None,
        is_cut_to_promise=was_time_left[:1] == [False],
    )
    print_search(search)
    if outcome.chosen is not None:
        write_config(search, start.config, outcome.chosen)
    if options.report is not None:
        write_report(report_of_search(search), options.report)
    if interrupted is not None:
        raise interrupted
    return int(not outcome.keeps_limits)


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


def _start(config: RunConfig, options: TuneOptions) -> Start:
    """What the defaults find in sampled frames. Raises ConfigError for models that know other classes."""
    _, spec = checked_detector(config)
    for model in options.models[1:]:
        _, other = checked_detector(with_keys(config, {"model": model}))
        if other.class_names != spec.class_names:
            raise ConfigError(
                f"every --model must be another file of the same detector, {model} knows other classes than "
                f"{config.model}; use `streamdet compare` to choose between detectors"
            )
    sample = sample_of(config, _NUM_FRAMES, of_first=_OF_FIRST)
    score = suppression_options(config.detection, spec).score_threshold
    detections, (device, precision) = detections_in_sample(config, sample, score_threshold=_LOWER_SHARE * score)
    is_live = config.flow.mode == "live" or (config.flow.mode == "auto" and sample.is_of_live)
    return Start(config, spec, device, precision, is_live, sample, detections, score)


def _knobs(start: Start, options: TuneOptions) -> list[Knob]:
    """What can be turned on this machine, but for what the user has set."""
    fixed = {f"engine.{key}" for key in start.config.engine.model_fields_set}
    fixed |= {f"flow.{key}" for key in start.config.flow.model_fields_set}
    works = [provider.device for provider in probe_providers() if provider.works]
    if "engine.device" in fixed:
        works = [device for device in works if device == start.device]
    elif options.budget_seconds < _TENSORRT_BUDGET_SECONDS:
        works = [device for device in works if device != "tensorrt"]

    def device_now(setting: Setting) -> str:
        return str(setting.get("engine.device", start.device))

    def devices(setting: Setting) -> Iterable[Setting]:
        for device in works:
            for precision in _PRECISIONS[device]:
                if (device, precision) != (device_now(setting), setting.get("engine.precision")):
                    yield {
                        "engine.device": None if device == start.device else device,
                        "engine.precision": precision,
                    }

    def models(_: Setting) -> Iterable[Setting]:
        return ({"model": model} for model in options.models[1:])

    def cores(setting: Setting) -> Iterable[Setting]:
        if device_now(setting) in ("cuda", "tensorrt"):
            return ({"engine.inflight": inflight} for inflight in (1, 3, 4))
        return _shares_of_cores(available_cores(), live_sources=start.live_sources, device=device_now(setting))

    def spinning(setting: Setting) -> Iterable[Setting]:
        threads = setting.get(
            "engine.threads", start.config.engine.threads or default_threads(live_sources=start.live_sources)
        )
        works_here = device_now(setting) == "cpu" and threads > 1
        return ({"engine.spin_us": spin} for spin in (0, 1000, None)) if works_here else ()

    def batches(setting: Setting) -> Iterable[Setting]:
        if start.is_live or start.spec.batch is not None:
            return ()
        on_gpu = device_now(setting) in ("cuda", "tensorrt")
        return ({"engine.batch": batch} for batch in ((2, 4, 8, 16) if on_gpu else (2, 4)))

    def queues(_: Setting) -> Iterable[Setting]:
        return ({"flow.queue_capacity": 1 if start.is_live else 4},)

    named = {
        "device": devices,
        "model": models,
        "cores": cores,
        "spinning": spinning,
        "batch": batches,
        "queues": queues,
    }
    return [Knob(name, _without(fixed, changes)) for name, changes in named.items()]


def _without(
    fixed: set[str], changes: Callable[[Setting], Iterable[Setting]]
) -> Callable[[Setting], Iterable[Setting]]:
    """The same changes, but for keys that the user has set."""

    def allowed(setting: Setting) -> Iterable[Setting]:
        for change in changes(setting):
            yield {key: value for key, value in change.items() if key not in fixed}

    return allowed


def _shares_of_cores(cores: int, *, live_sources: int, device: str) -> Iterable[Setting]:
    """How inferences share the cores: threads of each, times how many at once; just enough, and one more."""
    default = (default_threads(live_sources=live_sources), default_inflight(live_sources=live_sources, device=device))
    threads = sorted({1, *(2**power for power in range(1, cores.bit_length())), cores, max(1, cores - 1)})
    for num_threads in (num for num in threads if num <= cores):
        enough = -(-cores // num_threads)
        for inflight in (1, 2) if live_sources else (enough, enough + 1):
            yield (
                {"engine.threads": None, "engine.inflight": None}
                if (num_threads, inflight) == default
                else {"engine.threads": num_threads, "engine.inflight": inflight}
            )


def _try(setting: Setting, start: Start, goal: Goal, options: TuneOptions, measure: Measure) -> Trial:
    """Agreement first, because it takes less time than speed. The start itself must run; others may fail."""
    if not setting:
        return _measured(setting, start, goal, options, measure)
    try:
        doubt = _disagreement(setting, start, options)
        return _measured(setting, start, goal, options, measure) if doubt is None else _refused(setting, doubt)
    except StreamdetError as error:
        return _refused(setting, str(error))


def _measured_again(setting: Setting, start: Start, goal: Goal, options: TuneOptions, measure: Measure) -> Trial:
    """It ran before; if it does not now, it is none to take."""
    try:
        return _measured(setting, start, goal, options, measure)
    except StreamdetError as error:
        return _refused(setting, str(error))


def _measured(setting: Setting, start: Start, goal: Goal, options: TuneOptions, measure: Measure) -> Trial:
    config = with_keys(start.config, setting).without_outputs()
    return goal.judge(setting, measure(Case.of(config, seconds=options.seconds, warm_up_seconds=0.5)))


def _refused(setting: Setting, reason: str) -> Trial:
    return Trial(setting, math.inf, reason=reason)


def _disagreement(setting: Setting, start: Start, options: TuneOptions) -> str | None:
    """Why a setting does not find what the start finds in the sampled frames, None if it does.

    The same file in the same precision is held to the bar of fp32, all else to that of fp16.
    """
    config = with_keys(start.config, setting)
    _, spec = model_of(config)
    threshold = _LOWER_SHARE * start.shown_score
    detections, (device, precision) = detections_in_sample(config, start.sample, score_threshold=threshold)
    is_same = "model" not in setting and precision == start.precision
    bar = replace(FP32_BAR if is_same else FP16_BAR, score_from=start.shown_score)
    parity = compare(
        detections,
        start.detections,
        bar,
        iou_threshold=suppression_options(config.detection, spec).iou_threshold if spec.needs_nms else None,
        max_detections=spec.max_detections,
    )
    if not parity.num_detections and not (is_same and device == start.device):
        return f"nothing is found in {parity.num_images} sampled frames, so that no agreement can be shown"
    if parity.matched_share >= options.min_agreement:
        return None
    return (
        f"only {parity.matched_share:.1%} of its detections agree with the defaults' (IoU {bar.least_iou:g}, score "
        f"within {bar.largest_score_difference:g}; asked for are {options.min_agreement:.1%})"
    )
