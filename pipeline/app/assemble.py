"""Who is built from what? The one function that turns a configuration into a flow that can run."""

from __future__ import annotations

import difflib
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.app.certificates import certificate_mismatch
from pipeline.app.config import RunConfig
from pipeline.app.engines import open_engine
from pipeline.app.machine import available_cores
from pipeline.app.model_hints import hints_of, recognised
from pipeline.app.output_paths import inputs_of, refuse_output_over_input
from pipeline.detector.engine import OrtEngine
from pipeline.detector.providers import refuse_device
from pipeline.detector.recognise import assumptions_of
from pipeline.errors import ConfigError
from pipeline.flow.graph import Flow
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.sinks.writable import refuse_unwritable
from pipeline.sources.looping import LoopingSource, can_be_read_again
from pipeline.sources.opening import kinds_in_words, open_source
from pipeline.sources.options import SourceOptions
from pipeline.sources.source import FrameSource, HasGroundTruth
from pipeline.stages.capture import Capture
from pipeline.stages.detect import Detect
from pipeline.stages.detect_planes import DetectPlanes
from pipeline.stages.nms import Nms
from pipeline.stages.preprocess import Preprocess

logger = logging.getLogger(__name__)

DEMO_MODEL = Path(__file__).parents[1] / "detector" / "demo.onnx"

# Inferences at once on a CPU: each needs memory of its own, so beyond this they get more threads instead.
_MOST_INFLIGHT = 8

Overlay = Callable[[Result], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Assembly:
    """A flow whose tip gives results, and what it was built of."""

    flow: Flow[Result]
    sources: Mapping[str, FrameSource]  # by the source_id that they have in the flow
    engine: OrtEngine
    is_live: bool  # whether every source is

    def close(self) -> None:
        """Let go of everything, for a flow that is never run; a run closes what it was made of."""
        for node in self.flow.nodes:
            node.part.close()


def assemble(
    config: RunConfig,
    *,
    source: FrameSource | None = None,
    overlay: Overlay | None = None,
    loops: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Assembly:
    """Open the sources, the model and the outputs, and put them into a flow.

    source: one that is open already, instead of those that the configuration names.
    overlay: the lines to write over each picture.
    loops: whether recorded sources begin anew where they end.
    Raises a StreamdetError for whatever cannot be opened; what was opened before is closed.
    """
    if source is None and not config.sources:
        raise ConfigError(f"at least one source must be named: {kinds_in_words()}")
    with ExitStack() as undo:
        sources = open_sources(config, undo, loops=loops) if source is None else {source.source_id: source}
        _refuse_unknown_world(config, sources)
        is_live = {name: _runs_live(source, config.flow.mode) for name, source in sources.items()}
        live_sources = len(sources) if all(is_live.values()) else 0
        engine, config = _open_engine(config, sources, live_sources=live_sources)
        undo.callback(engine.close)
        if config.flow.rate_fps is not None and not any(
            is_live[name] and not sources[name].is_live for name in sources
        ):
            raise ConfigError(
                "flow.rate_fps paces recorded sources that play live; set flow.mode=live, or leave it out"
            )
        captures = [
            Capture(
                source,
                source_id=name,
                is_live=is_live[name],
                frames_per_second=config.flow.rate_fps,
                every=config.flow.every,
                max_frames=config.flow.max_frames,
                clock=clock,
            )
            for name, source in sources.items()
        ]
        flow = _detecting(Flow.from_sources(*captures), config, engine, live_sources=live_sources)
        flow = _with_outputs(flow, config, sources, is_live, overlay, undo)
        undo.pop_all()
    if config.model not in (None, "demo"):  # said last: what cannot be run needs no doubt about its accuracy
        doubt = certificate_mismatch(Path(config.model), engine.spec)
        if doubt is not None:
            logger.warning("%s", doubt)
        for reason in engine.spec.provenance:
            if "of its metadata" in reason:  # names that were there and not taken, since the graph has other classes
                logger.warning("%s has %s; give them with --class-names", Path(config.model).name, reason)
        for assumption in assumptions_of(engine.spec):
            logger.warning("%s: %s", Path(config.model).name, assumption)
    return Assembly(flow, sources, engine, all(is_live.values()))


def open_sources(config: RunConfig, undo: ExitStack | None = None, *, loops: bool = False) -> dict[str, FrameSource]:
    """The sources of a configuration by the names that they have in its flow; `undo` learns how to close each.

    loops: whether those that can be read again begin anew where they end. Raises a StreamdetError for what cannot be
    opened.
    """
    options = SourceOptions(network=config.network, decode=config.decode, camera=config.camera)
    sources: dict[str, FrameSource] = {}
    for word in config.sources:
        source = open_source(word, options=options)
        if loops and can_be_read_again(word, source):
            source = LoopingSource(source, partial(open_source, word, options=options))
        if undo is not None:
            undo.callback(source.close)
        name, number = source.source_id, 2
        while name in sources:  # the same source twice
            name, number = f"{source.source_id}#{number}", number + 1
        sources[name] = source
    return sources


def _refuse_unknown_world(config: RunConfig, sources: Mapping[str, FrameSource]) -> None:
    """Refuse the detector that comes with streamdet where nobody named it and the pictures are not drawn ones."""
    strangers = [
        name for name, source in sources.items() if not (name.startswith("sim:") or isinstance(source, HasGroundTruth))
    ]
    if config.model is None and strangers:
        raise ConfigError(
            f"--model must be given for {strangers[0]}: the detector that comes with streamdet knows only streets "
            "drawn by sim:traffic; take an ONNX file, export one (streamdet export --list), or try it with --model demo"
        )


def _runs_live(source: FrameSource, mode: str) -> bool:
    return source.is_live if mode == "auto" else mode == "live"


def model_of(config: RunConfig) -> tuple[Path, DetectorSpec]:
    """The file of a configuration's detector, and what it is. Raises ModelError for what is none."""
    path = DEMO_MODEL if config.model in (None, "demo") else Path(config.model)
    return path, recognised(path, hints_of(config.hints))


def checked_detector(config: RunConfig) -> tuple[Path, DetectorSpec]:
    """The same, once all that takes no inference has been found out, before work that takes long.

    Raises ModelError for what is no detector, ConfigError for classes that it does not know, and DeviceError for a
    device or a precision that this installation does not have.
    """
    path, spec = model_of(config)
    for name in (*config.detection.classes, *config.detection.class_score_thresholds):
        _class_ids(name, spec)
    if config.engine.device != "auto":
        refuse_device(config.engine.device, None if config.engine.precision == "auto" else config.engine.precision)
    return path, spec


def default_threads(*, live_sources: int) -> int:
    """How many threads an inference has, where nobody says.

    live_sources: how many sources a live run has; 0 for a recorded run.
    One live source wants one inference soon, so gives it all cores but one, which decodes and draws; two cores are
    shared, because half of them would make a slow network twice as slow. Recorded runs want many inferences, and
    several of one thread each get more out of the cores than one of several threads; several live sources share alike.
    """
    cores = available_cores()
    if live_sources == 1:
        return max(1, cores - 1, min(cores, 2))
    return max(1, cores // min(live_sources or _MOST_INFLIGHT, _MOST_INFLIGHT))


def default_inflight(*, live_sources: int, device: str) -> int:
    """How many inferences run at once, where nobody says; live, not more than there are sources."""
    most = min(available_cores(), _MOST_INFLIGHT) if device in ("cpu", "openvino") else 2
    return min(most, live_sources or most)


def _open_engine(
    config: RunConfig, sources: Mapping[str, FrameSource], *, live_sources: int
) -> tuple[OrtEngine, RunConfig]:
    path, spec = model_of(config)
    frame_wh = next((source.size_wh for source in sources.values() if source.size_wh is not None), None)
    threads = default_threads(live_sources=live_sources)
    return open_engine(config, path, spec, threads=threads, live_sources=live_sources, frame_wh=frame_wh)


def _detecting(frames: Flow[Frame], config: RunConfig, engine: OrtEngine, *, live_sources: int) -> Flow[Result]:
    """frames → preprocess → detect → nms."""
    spec, detection = engine.spec, config.detection
    inflight = config.engine.inflight or default_inflight(live_sources=live_sources, device=engine.device)
    batch = config.engine.batch or 1
    if batch > 1 and spec.batch is not None and spec.batch != batch:
        raise ConfigError(
            f"engine.batch must be {spec.batch}, which is fixed in the model, got {batch}; "
            "export the model with a dynamic batch"
        )
    max_age_seconds = None if config.flow.max_age_ms is None else config.flow.max_age_ms / 1000
    capacity = config.flow.queue_capacity
    score_threshold = spec.score_threshold if detection.score_threshold is None else detection.score_threshold
    class_thresholds = {
        class_id: share
        for name, share in detection.class_score_thresholds.items()
        for class_id in _class_ids(name, spec)
    }
    keep = frozenset(class_id for name in detection.classes for class_id in _class_ids(name, spec)) or None
    lowest = min([score_threshold, *class_thresholds.values()])
    nms = Nms(
        spec,
        mode=detection.suppression,
        score_threshold=score_threshold,
        iou_threshold=spec.iou_threshold if detection.iou_threshold is None else detection.iou_threshold,
        class_thresholds=class_thresholds,
        max_detections=detection.max_detections,
        keep_class_ids=keep,
    )
    settings: dict[str, Any] = {
        "name": "detect",
        "workers": inflight,
        "capacity": max(capacity, batch),
        "max_age_seconds": max_age_seconds,
    }
    if batch > 1:
        max_latency_ms = config.flow.max_latency_ms
        settings |= {
            "max_batch": batch,
            "max_latency_seconds": None if max_latency_ms is None else max_latency_ms / 1000,
        }
    if spec.pixels == "nv12":  # resizing and colours are in the graph
        planes = DetectPlanes(engine, score_threshold=lowest)
        detected = frames.then_batched(planes, **settings) if batch > 1 else frames.then(planes, **settings)
    else:
        detect = Detect(engine, score_threshold=lowest)
        prepared = frames.then(Preprocess(spec), name="preprocess", capacity=capacity)
        detected = prepared.then_batched(detect, **settings) if batch > 1 else prepared.then(detect, **settings)
    return detected.then(nms, name="nms", capacity=capacity)


def _class_ids(name: str, spec: DetectorSpec) -> list[int]:
    """Every class of that name, which some files have twice."""
    found = [class_id for class_id, each in enumerate(spec.class_names) if each == name]
    if not found:
        near = difflib.get_close_matches(name, spec.class_names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(spec.class_names[:10])} …"
        raise ConfigError(f"detection.classes: the model has no class {name!r}; {hint}")
    return found


def _shows_window(config: RunConfig) -> bool:
    if config.output.show is not None:
        return config.output.show
    from pipeline.sinks.window import has_display

    return has_display() and config.output.video is None and config.output.jsonl is None


def _with_outputs(
    flow: Flow[Result],
    config: RunConfig,
    sources: Mapping[str, FrameSource],
    is_live: Mapping[str, bool],
    overlay: Overlay | None,
    undo: ExitStack,
) -> Flow[Result]:
    """Hang the outputs on the flow; nothing is rendered where nothing shows it."""
    capacity = config.flow.queue_capacity
    shows_window = _shows_window(config)
    recordings = {} if config.output.video is None else recording_paths(config.output.video, list(sources))
    refuse_output_over_input(
        [
            ("--report", config.output.report),
            ("--jsonl", config.output.jsonl),
            *(("--output", path) for path in recordings.values()),
        ],
        inputs_of(config),
    )
    if config.output.report is not None:
        refuse_unwritable(Path(config.output.report), "the report")
    if config.output.jsonl is not None:
        from pipeline.sinks.jsonl import JsonLines

        lines = JsonLines(config.output.jsonl)
        undo.callback(lines.close)
        flow = flow.to(lines, name="jsonl", capacity=capacity)
    if config.output.video is None and not shows_window:
        return flow
    from pipeline.stages.render import Render

    render = Render(
        overlay=overlay if config.render.overlay else None,
        labels=config.render.labels,
        scores=config.render.scores,
        in_planes=not shows_window,
    )
    rendered = flow.then(render, name="render", capacity=capacity)
    if config.output.video is not None:
        from pipeline.sinks.recording import Recording

        for name, path in recordings.items():
            rate = sources[name].frames_per_second
            recording = Recording(
                path,
                frames_per_second=None if rate is None else rate / config.flow.every,
                is_live=is_live[name],
                codec=config.output.codec,
                preset=config.output.preset,
            )
            undo.callback(recording.close)
            rendered = rendered.to(recording, name=f"record {path}", only_sources=[name], capacity=capacity)
    if shows_window:
        from pipeline.sinks.window import Window

        for name in sources:
            window = Window(f"streamdet {name}")
            undo.callback(window.close)
            rendered = rendered.to(
                window, name=f"window {name}", only_sources=[name], capacity=capacity, in_main_thread=True
            )
    return Flow(rendered.nodes, flow.tip)


def recording_paths(path: str, source_ids: Sequence[str]) -> dict[str, str]:
    """Where each source is recorded: `out.mp4` for one, `out-street.mp4`, `out-0.mp4` … for several."""
    if len(source_ids) == 1:
        return {source_ids[0]: path}
    whole = Path(path)
    paths: dict[str, str] = {}
    for number, source_id in enumerate(source_ids):
        name = re.sub(r"[^\w.-]+", "_", Path(source_id).stem or source_id).strip("_") or str(number)
        candidate = str(whole.with_name(f"{whole.stem}-{name}{whole.suffix}"))
        if candidate in paths.values():
            candidate = str(whole.with_name(f"{whole.stem}-{name}-{number}{whole.suffix}"))
        paths[source_id] = candidate
    return paths
