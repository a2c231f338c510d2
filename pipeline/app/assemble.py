"""Assembly: a configuration → opened sources, model and outputs, put into a flow that can run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.app.certificates import certificate_mismatch
from pipeline.app.config import RunConfig, SourceConfig
from pipeline.app.engines import open_engine
from pipeline.app.machine import available_cores
from pipeline.app.model_files import DEMO, known_file, model_file
from pipeline.app.model_hints import hints_of, recognised
from pipeline.app.open_outputs import OutputTarget, output_targets, refuse_outputs, with_outputs
from pipeline.app.output import Feed, Overlay
from pipeline.app.stages import DETECT, NMS, PREPROCESS, with_added_stages
from pipeline.app.thresholds import suppression_of_sources, suppression_options
from pipeline.detector.devices import refuse_device
from pipeline.detector.engine import OrtEngine
from pipeline.detector.published import published_models
from pipeline.detector.recognise import assumptions_of
from pipeline.errors import ConfigError
from pipeline.flow.graph import Flow
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.sources.abreast import Abreast
from pipeline.sources.looping import LoopingSource, can_be_read_again
from pipeline.sources.opening import is_drawn, kinds_in_words, open_source, open_sources_abreast, source_words
from pipeline.sources.options import SourceOptions, Span
from pipeline.sources.source import FrameSource, HasFile, HasGroundTruth, HasImages, HasParts
from pipeline.stages.capture import Capture
from pipeline.stages.detect import Detect, RawDetections
from pipeline.stages.detect_planes import DetectPlanes
from pipeline.stages.nms import Nms
from pipeline.stages.preprocess import Preprocess

logger = logging.getLogger(__name__)

_FIRST = published_models()[0]  # the smallest, to begin with

# Inferences at once on a CPU: each needs memory of its own, so beyond this they get more threads instead.
_MOST_INFLIGHT = 8


T = TypeVar("T")


class WaitFor(Protocol):
    """Calls a function, here or in a thread, and returns or raises what it does."""

    def __call__(self, work: Callable[[], T]) -> T: ...


def _call(work: Callable[[], T]) -> T:
    return work()


class Suppression:
    """What NMS applies: the same to all sources, or to each what its own settings say.

    Raises ConfigError for a class that the model does not know.
    """

    def __init__(self, config: RunConfig, spec: DetectorSpec, settings: Mapping[str, SourceConfig]) -> None:
        self._detection = config.detection
        self._spec = spec
        self.of_run = suppression_options(config.detection, spec)
        of_sources = suppression_of_sources(config.detection, settings, spec)
        self.is_per_source = bool(of_sources) or config.control is not None
        self.lowest_score_threshold = min(
            options.lowest_score_threshold for options in (self.of_run, *of_sources.values())
        )
        self._of_run = Nms(spec, self.of_run)
        self._of_sources = {name: Nms(spec, options) for name, options in of_sources.items()}

    def nms_of(self, source_id: str) -> Nms:
        """The stage that a source has now."""
        return self._of_sources.get(source_id, self._of_run)

    def refuse(self, entry: SourceConfig) -> None:
        """Raise ConfigError for a source that the run cannot take: the network gives nothing below its threshold."""
        if not entry.has_own_detection:
            return
        if not self.is_per_source:
            raise ConfigError("sources with classes or thresholds of their own can be added to a run with --control")
        options = suppression_options(entry.detection(self._detection), self._spec)
        if options.lowest_score_threshold < self.lowest_score_threshold:
            raise ConfigError(
                f"score_threshold must be at least {self.lowest_score_threshold:g}, the lowest of the run when it "
                f"began, got {options.lowest_score_threshold:g}"
            )

    def keep(self, source_id: str, entry: SourceConfig) -> None:
        """Apply the settings of a source that comes, in place of those of an earlier one of its name."""
        own = suppression_of_sources(self._detection, {source_id: entry}, self._spec)
        self._of_sources.pop(source_id, None)
        self._of_sources |= {name: Nms(self._spec, options) for name, options in own.items()}


class _NmsOfSource:
    """Sends the detections of one source to the stage that it has at that moment."""

    def __init__(self, suppression: Suppression, source_id: str) -> None:
        self._suppression = suppression
        self._source_id = source_id

    def process(self, raw_detections: RawDetections) -> Iterable[Result]:
        return self._suppression.nms_of(self._source_id).process(raw_detections)

    def drain(self) -> Iterable[Result]:
        return ()

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Assembly:
    """A flow whose tip gives results, and its parts."""

    flow: Flow[Result]
    sources: Mapping[str, FrameSource]  # by the source_id that they have in the flow
    engine: OrtEngine
    is_live: bool  # whether every source is
    targets: tuple[OutputTarget, ...]  # that a run of it may write; - is standard output
    config: RunConfig  # with what a trial on a GPU has settled
    feeds: tuple[Feed, ...]
    suppression: Suppression

    def close(self) -> None:
        """Close everything, for a flow that is never run; a run closes its parts by itself."""
        self.flow.close()


def assemble(
    config: RunConfig,
    *,
    source: FrameSource | None = None,
    overlay: Overlay | None = None,
    loops: bool = False,
    clock: Callable[[], float] = time.monotonic,
    wait_for: WaitFor = _call,
) -> Assembly:
    """Open the sources, the model and the outputs, and put them into a flow.

    source: one that is open already, instead of those that the configuration names.
    overlay: the lines to write over each picture.
    loops: whether recorded sources begin anew where they end.
    wait_for: calls what may take long in native code: the opening of the sources and of the engine.
    Raises a StreamdetError for whatever cannot be opened; everything that was opened before is closed.
    """
    if source is None and not config.sources:
        raise ConfigError(f"at least one source must be named: {kinds_in_words()}")
    with ExitStack() as undo:
        entries = [] if source else source_entries(config)
        opened = {source.source_id: source} if source else None
        sources = opened or wait_for(lambda: open_sources(config, undo, loops=loops, entries=entries))
        settings = dict(zip(sources, entries, strict=False))  # none of a source that was open already
        _refuse_file_of_two_sources(sources)
        _refuse_unknown_world(config, sources)
        is_live = {name: _runs_live(source, config.flow.mode) for name, source in sources.items()}
        feeds = [_feed(name, source, is_live=is_live[name], config=config) for name, source in sources.items()]
        refuse_outputs(config, feeds)  # before a network is loaded and proved, which may take long
        live_sources = len(sources) if all(is_live.values()) else 0
        engine, config = wait_for(partial(_open_engine, config, sources, live_sources=live_sources))
        undo.callback(engine.close)
        _refuse_rate_without_use(config, sources, is_live)
        abreast = Abreast(sources) if config.output.mosaic and not any(is_live.values()) else None
        captures = _captures(config, sources, settings, is_live, abreast, clock)
        suppression = Suppression(config, engine.spec, settings)
        flow = _detecting(Flow.from_sources(*captures), config, engine, suppression, live_sources=live_sources)
        if abreast is not None:
            feeds = [replace(feed, end_seconds=partial(abreast.end_seconds, feed.source_id)) for feed in feeds]
        names = engine.spec.class_names
        flow = with_added_stages(flow, config)
        flow = with_outputs(flow, config, feeds, class_names=names, overlay=overlay, undo=undo)
        undo.pop_all()
    warn_of_doubts(config, engine.spec)  # last: where a model cannot be run its accuracy does not matter
    targets = output_targets(config, feeds)
    return Assembly(flow, sources, engine, all(is_live.values()), targets, config, tuple(feeds), suppression)


def added_source(assembly: Assembly, entry: SourceConfig, undo: ExitStack) -> tuple[str, Capture, Feed]:
    """A source for a run of an assembly, its name, and what its outputs are told; `undo` learns how to close it.

    Raises a StreamdetError for what cannot be opened, and for settings that the run has no room for.
    """
    config = assembly.config
    if source_words(entry.url) != (entry.url,):
        raise ConfigError(f"{entry.url}: a list of streams cannot be added as one; add its sources one by one")
    if entry.url == "-":
        raise ConfigError("-: standard input belongs to the run; name a file or an address")
    assembly.suppression.refuse(entry)
    waiting = config.model_copy(update={"flow": config.flow.model_copy(update={"wait_for_sources": True})})
    ((name, source),) = open_sources(waiting, undo, entries=[entry]).items()
    is_live = _runs_live(source, config.flow.mode)
    (capture,) = _captures(config, {name: source}, {name: entry}, {name: is_live}, None, time.monotonic)
    return name, capture, _feed(name, source, is_live=is_live, config=config)


def open_sources(
    config: RunConfig,
    undo: ExitStack | None = None,
    *,
    loops: bool = False,
    entries: Sequence[SourceConfig] | None = None,
) -> dict[str, FrameSource]:
    """The sources of a configuration by the names that they have in its flow; `undo` learns how to close each.

    loops: whether those that can be read again begin anew where they end. entries: those to open, by default all of
    the configuration. Raises a StreamdetError for what cannot be opened.
    """
    start, end = config.flow.start or 0.0, config.flow.end
    if end is not None and end <= start:
        raise ConfigError(f"--end must be later than --start, got {start:g} s to {end:g} s")
    span = Span(start, end)
    flow = config.flow
    options = SourceOptions(
        network=config.network,
        decode=config.decode,
        camera=config.camera,
        span=span,
        max_age_seconds=None if flow.max_age_ms is None or flow.mode == "every-frame" else flow.max_age_ms / 1000,
    )
    entries = source_entries(config) if entries is None else entries
    words = [entry.url for entry in entries]
    open_one = partial(open_source, options=options)
    waits = (len(words) > 1 and not loops) if flow.wait_for_sources is None else flow.wait_for_sources
    opened = open_sources_abreast(words, options=options, open_one=open_one) if waits else map(open_one, words)
    sources: dict[str, FrameSource] = {}
    for entry, source in zip(entries, opened, strict=True):
        word = entry.url
        if loops and can_be_read_again(word, source):
            source = LoopingSource(source, partial(open_source, word, options=options))
        if undo is not None:
            undo.callback(source.close)
        sources[_free_name(entry.name or source.source_id, sources)] = source
    return sources


def source_entries(config: RunConfig) -> list[SourceConfig]:
    """The sources of a configuration, those of a list of streams one by one, in order.

    Raises ConfigError for two of one name, and for the name of a whole list, SourceError for a list that cannot be
    read.
    """
    entries: list[SourceConfig] = []
    for index, entry in enumerate(config.source_configs):
        words = source_words(entry.url)
        if entry.name is not None and words != (entry.url,):
            raise ConfigError(f"sources.{index}.name must name one source, got {entry.name!r} for a list of streams")
        if entry.name is not None and entry.name in {other.name for other in entries}:
            raise ConfigError(f"sources.{index}.name must be another than that of a source before it: {entry.name!r}")
        if entry.url == "-" and any(other.url == "-" for other in entries):
            raise ConfigError("- must be named once: standard input can be read by one source only")
        entries += [entry.model_copy(update={"url": word}) for word in words]
    return entries


def _free_name(name: str, taken: Container[str]) -> str:
    """The name, or where it is that of another source, as of one that was typed twice, with a number."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}#{number}", number + 1
    return free


def _refuse_unknown_world(config: RunConfig, sources: Mapping[str, FrameSource]) -> None:
    """Refuse the detector that comes with streamdet where nobody named it and the pictures are not drawn ones."""
    not_drawn = [name for name, source in sources.items() if not (is_drawn(name) or isinstance(source, HasGroundTruth))]
    if config.model is None and not_drawn:
        raise ConfigError(
            f"--model must be given for {not_drawn[0]}: try --model {_FIRST.name} ({_FIRST.licence}, "
            f"{_FIRST.size_in_words} download), another name of `streamdet models`, or an ONNX file; "
            "--model demo, the detector that comes with streamdet, knows drawn streets only"
        )


def _feed(name: str, source: FrameSource, *, is_live: bool, config: RunConfig) -> Feed:
    rate = source.frames_per_second
    images = source.images if isinstance(source, HasImages) else ()
    part_ids, part_rate = (source.part_ids, source.part_rate) if isinstance(source, HasParts) else ((), None)
    file = source.file if isinstance(source, HasFile) else None
    rate = None if rate is None else rate / config.flow.every
    return Feed(name, rate, is_live, images, part_ids, part_rate, source.size_wh, file)


def _refuse_file_of_two_sources(sources: Mapping[str, FrameSource]) -> None:
    """Refuse a file that belongs to two sources, because its frames would bear one name in the records."""
    owners: dict[str, str] = {}
    for name, source in sources.items():
        for frame_id in source.part_ids if isinstance(source, HasParts) else (source.source_id,):
            owner = owners.setdefault(frame_id, name)
            if owner != name and (isinstance(source, HasParts) or isinstance(sources[owner], HasParts)):
                raise ConfigError(f"{frame_id} must be read once, and both {owner} and {name} have it; name it once")


def _refuse_rate_without_use(
    config: RunConfig, sources: Mapping[str, FrameSource], is_live: Mapping[str, bool]
) -> None:
    if config.flow.rate_fps is not None and not any(is_live[name] and not sources[name].is_live for name in sources):
        raise ConfigError("flow.rate_fps paces recorded sources that play live; set flow.mode=live, or leave it out")


def _captures(
    config: RunConfig,
    sources: Mapping[str, FrameSource],
    settings: Mapping[str, SourceConfig],
    is_live: Mapping[str, bool],
    abreast: Abreast | None,
    clock: Callable[[], float],
) -> list[Capture]:
    captures = [
        Capture(
            source,
            source_id=name,
            is_live=is_live[name],
            frames_per_second=config.flow.rate_fps,
            every=config.flow.every,
            max_frames=config.flow.max_frames,
            abreast=abreast,
            clock=clock,
        )
        for name, source in sources.items()
    ]
    for capture in captures:
        if capture.source_id in settings:
            capture.weight = settings[capture.source_id].weight
    return captures


def warn_of_doubts(config: RunConfig, spec: DetectorSpec) -> None:
    """Log why a model that the user named may be less accurate than it should, or read in another way."""
    if config.model in (None, DEMO):
        return
    doubt = certificate_mismatch(known_file(config.model), spec)
    if doubt is not None:
        logger.warning("%s", doubt)
    for reason in spec.provenance:
        if "of its metadata" in reason:  # class names that were not taken, because the graph has other classes
            logger.warning("%s has %s; give them with --class-names", Path(config.model).name, reason)
    for assumption in assumptions_of(spec):
        logger.warning("%s: %s", Path(config.model).name, assumption)


def _runs_live(source: FrameSource, mode: str) -> bool:
    return source.is_live if mode == "auto" else mode == "live"


def model_of(config: RunConfig) -> tuple[Path, DetectorSpec]:
    """The file of a configuration's detector, and its spec. Raises ModelError for a file that is not a detector."""
    path = model_file(config.model)
    return path, recognised(path, hints_of(config.hints))


def checked_detector(config: RunConfig) -> tuple[Path, DetectorSpec]:
    """The same, after every check that takes no inference, before work that takes long.

    Raises ModelError for a file that is not a detector, ConfigError for classes that it does not know, and DeviceError
    for a device or a precision that this installation does not have.
    """
    path, spec = model_of(config)
    suppression_options(config.detection, spec)
    if config.engine.device != "auto":
        refuse_device(config.engine.device, None if config.engine.precision == "auto" else config.engine.precision)
    return path, spec


def default_threads(*, live_sources: int) -> int:
    """How many threads an inference has, where the configuration does not say.

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
    """How many inferences run at once, where the configuration does not say; live, not more than there are sources."""
    most = min(available_cores(), _MOST_INFLIGHT) if device in ("cpu", "openvino") else 2
    return min(most, live_sources or most)


def _open_engine(
    config: RunConfig, sources: Mapping[str, FrameSource], *, live_sources: int
) -> tuple[OrtEngine, RunConfig]:
    path, spec = model_of(config)
    frame_wh = next((source.size_wh for source in sources.values() if source.size_wh is not None), None)
    threads = default_threads(live_sources=live_sources)
    return open_engine(config, path, spec, threads=threads, live_sources=live_sources, frame_wh=frame_wh)


def _detecting(
    frames: Flow[Frame], config: RunConfig, engine: OrtEngine, suppression: Suppression, *, live_sources: int
) -> Flow[Result]:
    """frames → preprocess → detect → nms."""
    spec = engine.spec
    inflight = config.engine.inflight or default_inflight(live_sources=live_sources, device=engine.device)
    batch = config.engine.batch or 1
    if batch > 1 and spec.batch is not None and spec.batch != batch:
        raise ConfigError(
            f"engine.batch must be {spec.batch}, which is fixed in the model, got {batch}; "
            "export the model with a dynamic batch"
        )
    max_age_seconds = None if config.flow.max_age_ms is None else config.flow.max_age_ms / 1000
    capacity = config.flow.queue_capacity
    lowest = suppression.lowest_score_threshold
    settings: dict[str, Any] = {
        "name": DETECT.role,
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
        prepared = frames.then(Preprocess(spec), name=PREPROCESS.role, capacity=capacity)
        detected = prepared.then_batched(detect, **settings) if batch > 1 else prepared.then(detect, **settings)
    if suppression.is_per_source:
        return detected.then_per_source(partial(_NmsOfSource, suppression), name=NMS.role, capacity=capacity)
    return detected.then(Nms(spec, suppression.of_run), name=NMS.role, capacity=capacity)
