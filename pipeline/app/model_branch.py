"""Model branch: a model of a run and its sources → its engine, and the stages that their frames go through."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from pipeline.app.certificates import certificate_mismatch
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.engines import open_engine
from pipeline.app.gating import PACKING, gating_of
from pipeline.app.machine import available_cores
from pipeline.app.model_files import DEMO, known_file, model_file
from pipeline.app.model_groups import ModelChoice, ModelGroup
from pipeline.app.model_hints import hints_of, recognised
from pipeline.app.network_shape import shaped_network
from pipeline.app.opened_sources import runs_live
from pipeline.app.packing import refuse_packing, small_detectors
from pipeline.app.stages import DETECT, GATE, NMS, PREPROCESS, PROPOSE
from pipeline.app.suppression import Suppression
from pipeline.app.thresholds import suppression_options
from pipeline.app.tiles import batched_for_tiles, tiling_of
from pipeline.detector.detector import EngineDetector
from pipeline.detector.devices import refuse_device
from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import assumptions_of
from pipeline.errors import ConfigError
from pipeline.flow.graph import Flow
from pipeline.flow.stage import Stage
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.picture.gate.packing import Size
from pipeline.sources.idle import Idle
from pipeline.sources.source import FrameSource
from pipeline.stages.between import GatingBetween
from pipeline.stages.detect import Detect, RawDetections
from pipeline.stages.detect_planes import DetectPlanes
from pipeline.stages.gate import CarriedFrame, Gate, Gating
from pipeline.stages.idle import TellsIdle
from pipeline.stages.pack import DetectParts, PreprocessParts
from pipeline.stages.preprocess import Preprocess
from pipeline.stages.propose import Propose
from pipeline.stages.tiles import DetectTiles, PreprocessTiles, TiledDetections

logger = logging.getLogger(__name__)

# Inferences at once on a CPU: each needs memory of its own, so beyond this they get more threads instead.
_MOST_INFLIGHT = 8


@dataclass(frozen=True, slots=True)
class ModelBranch:
    """One model of a run: its engine, which its sources share, and the stages that their frames go through."""

    choice: ModelChoice
    label: str  # in the names of its nodes; "": it was the only one
    engine: OrtEngine
    config: RunConfig  # of a run of this model alone, with what a trial on a GPU has settled
    suppression: Suppression
    source_ids: tuple[str, ...]  # that there are or were
    threads: int  # of one inference
    inflight: int  # inferences at once
    gating: Gating | None = None  # None: the network looks at every frame
    parts: Mapping[Size, EngineDetector] = field(default_factory=dict)  # the same network, for packed parts of frames
    idle: Mapping[str, Idle] = field(default_factory=dict)  # by source, which the gate tells whether anything changes
    path: Path | None = None  # of the file that the user named; None: it is that of the engine
    shape_remark: str | None = None  # how the engine's differs from that, in words

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.label or self.engine.spec.model_name or self.engine.path.name

    @property
    def first_node(self) -> str:
        """The name of the stage that takes its frames."""
        if self.gating is not None:
            return _labelled(GATE.role, self.label)
        takes_planes = self.engine.spec.pixels == "nv12"  # resizing and colours are in the graph
        return _labelled(DETECT.role if takes_planes else PREPROCESS.role, self.label)

    @property
    def detect_node(self) -> str:
        """The name of the stage that runs the network."""
        return _labelled(DETECT.role, self.label)

    @property
    def last_node(self) -> str:
        """The name of the stage that gives its results."""
        return _labelled(NMS.role, self.label)


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


def default_threads(*, live_sources: int, num_models: int = 1) -> int:
    """How many threads an inference has, where the configuration does not say.

    live_sources: how many sources a live run has; 0 for a recorded run. num_models: models that share the cores alike;
        the sources are then those of one of them.
    One live source wants one inference soon, so gives it all cores but one, which decodes and draws; two cores are
    shared, because half of them would make a slow network twice as slow. Recorded runs want many inferences, and
    several of one thread each get more out of the cores than one of several threads; several live sources share alike.
    """
    cores = max(1, available_cores() // num_models)
    if live_sources == 1 and num_models == 1:
        return max(1, cores - 1, min(cores, 2))
    return max(1, cores // min(live_sources or _MOST_INFLIGHT, _MOST_INFLIGHT))


def default_inflight(*, live_sources: int, device: str, num_models: int = 1) -> int:
    """How many inferences of a model run at once, where the configuration does not say.

    Live, not more than there are sources. The arguments are those of `default_threads`.
    """
    cores = max(1, available_cores() // num_models)
    most = min(cores, _MOST_INFLIGHT) if device in ("cpu", "openvino") else 2
    return min(most, live_sources or most)


class Share(NamedTuple):
    """What a model's part of the cores depends on, see `default_threads`."""

    live_sources: int
    num_models: int


def open_branch(
    config: RunConfig,
    group: ModelGroup,
    sources: Mapping[str, FrameSource],
    settings: Mapping[str, SourceConfig],
    share: Share,
    takes_sources: bool,
) -> ModelBranch:
    """Open the engine of a group, with its share of the cores."""
    config = group.choice.config(config)
    path, spec = model_of(config)
    if config.gate.kind in PACKING:
        refuse_packing(config, spec)  # before the network is loaded and proved, which may take long
    own = {name: settings[name] for name in group.source_ids if name in settings}
    suppression = Suppression(config, spec, own, takes_sources=takes_sources, model=group.label)
    sizes = [sources[name].size_wh for name in group.source_ids]
    threads = default_threads(**share._asdict())
    frame_wh = next((size_wh for size_wh in sizes if size_wh is not None), None)
    with tempfile.TemporaryDirectory() as folder:
        network = shaped_network(config, path, spec, sizes, Path(folder), takes_sources=takes_sources)
        config = batched_for_tiles(config, network.spec, frame_wh)
        engine, config = open_engine(
            config, network.path, network.spec, threads=threads, live_sources=share.live_sources, frame_wh=frame_wh
        )
    inflight = config.engine.inflight or default_inflight(device=engine.device, **share._asdict())
    threads = config.engine.threads or threads
    parts: Mapping[Size, EngineDetector] = {}
    if config.gate.kind in PACKING:
        parts = small_detectors(config, path, spec, engine, threads=threads, frame_wh=frame_wh)
    recorded = [name for name in group.source_ids if not runs_live(sources[name], config.flow.mode)]
    gating = gating_of(config, suppression, engine.spec, workers=inflight, recorded=recorded, canvases_wh=tuple(parts))
    return ModelBranch(
        group.choice,
        group.label,
        engine,
        config,
        suppression,
        group.source_ids,
        threads,
        inflight,
        gating,
        parts,
        path=path,
        shape_remark=network.remark,
    )


def detecting(frames: Flow[Frame], branch: ModelBranch) -> Flow[Result]:
    """frames → preprocess → detect → nms; with a gate before them, and frames that go past them."""
    config, engine, suppression, label = branch.config, branch.engine, branch.suppression, branch.label
    spec = engine.spec
    tiling = tiling_of(config.tiles, spec)
    batch = config.engine.batch or 1
    if batch > 1 and spec.batch is not None and spec.batch != batch:
        raise ConfigError(
            f"engine.batch must be {spec.batch}, which is fixed in the model, got {batch}; "
            "export the model with a dynamic batch"
        )
    max_age_seconds = None if config.flow.max_age_ms is None else config.flow.max_age_ms / 1000
    capacity = config.flow.queue_capacity
    lowest = suppression.lowest_score_threshold
    past = () if branch.gating is None else (CarriedFrame,)
    if branch.gating is not None:
        gate_of = cast("Callable[[str], Stage[Frame, Frame]]", partial(_gate_of, branch))
        gate = _labelled(GATE.role, label)
        frames = frames.then_per_source(gate_of, name=gate, role=GATE.role, capacity=capacity)  # or they go past
    settings: dict[str, Any] = {
        "past": past,
        "name": _labelled(DETECT.role, label),
        "role": DETECT.role,
        "workers": branch.inflight,
        "capacity": max(capacity, batch),
        "max_age_seconds": max_age_seconds,
    }
    if tiling is not None:  # a frame is a batch of its own
        most_at_once = max(batch, spec.batch or 1)
        name = _labelled(PREPROCESS.role, label)
        cut = frames.then(PreprocessTiles(spec, tiling), name=name, role=PREPROCESS.role, capacity=capacity, past=past)
        detect_tiles = DetectTiles(engine, score_threshold=lowest, most_at_once=most_at_once)
        suppression.take_effect_in(detect_tiles)
        return _suppressed(cut.then(detect_tiles, **settings), branch)
    if batch > 1:
        max_latency_ms = config.flow.max_latency_ms
        settings |= {
            "max_batch": batch,
            "max_latency_seconds": None if max_latency_ms is None else max_latency_ms / 1000,
            "turns": engine.turns,
        }
    if spec.pixels == "nv12":  # resizing and colours are in the graph
        planes = DetectPlanes(engine, score_threshold=lowest)
        suppression.take_effect_in(planes)
        detected = frames.then_batched(planes, **settings) if batch > 1 else frames.then(planes, **settings)
    else:
        detect: Any = Detect(engine, score_threshold=lowest)
        preprocess: Any = Preprocess(spec)
        if branch.parts:
            detect, preprocess = DetectParts(detect, branch.parts), PreprocessParts(spec)
            detect.score_threshold = lowest
        prepared = frames.then(
            preprocess,
            name=_labelled(PREPROCESS.role, label),
            role=PREPROCESS.role,
            capacity=capacity,
            past=past,
        )
        if spec.num_rois:
            prepared = prepared.then(
                Propose(spec),
                name=_labelled(PROPOSE.role, label),
                role=PROPOSE.role,
                workers=branch.inflight,
                capacity=capacity,
                past=past,
            )
        suppression.take_effect_in(detect)
        detected = prepared.then_batched(detect, **settings) if batch > 1 else prepared.then(detect, **settings)
    return _suppressed(detected, branch)


def _gate_of(branch: ModelBranch, source_id: str) -> Gate | TellsIdle:
    """The gate of a source, which may tell that source what it sees."""
    assert branch.gating is not None
    gate, idle = branch.gating.gate_of(source_id), branch.idle.get(source_id)
    return gate if idle is None else TellsIdle(gate, idle)


def _suppressed(detected: Flow[Any], branch: ModelBranch) -> Flow[Result]:
    suppression, capacity = branch.suppression, branch.config.flow.queue_capacity
    gating = branch.gating
    if gating is not None:
        names = branch.engine.spec.class_names
        return detected.then_per_source(
            lambda source_id: gating.carry_of(source_id, _NmsOfSource(suppression, source_id), names),
            name=branch.last_node,
            role=NMS.role,
            holds=isinstance(gating, GatingBetween),
            capacity=capacity,
            light=(CarriedFrame,),
            live_capacity=2 * branch.inflight * (branch.config.engine.batch or 1),  # that may be ready together
        )
    if suppression.is_per_source:
        return detected.then_per_source(
            partial(_NmsOfSource, suppression), name=branch.last_node, role=NMS.role, capacity=capacity
        )
    return detected.then(suppression.of_all, name=branch.last_node, role=NMS.role, capacity=capacity)


def _labelled(role: str, label: str) -> str:
    """The name of a node: its role, and its model where there are several."""
    return f"{role} {label}" if label else role


class _NmsOfSource:
    """Sends the detections of one source to the stage that it has at that moment."""

    def __init__(self, suppression: Suppression, source_id: str) -> None:
        self._suppression = suppression
        self._source_id = source_id

    def process(self, raw_detections: RawDetections | TiledDetections) -> Iterable[Result]:
        return self._suppression.nms_of(self._source_id).process(raw_detections)

    def drain(self) -> Iterable[Result]:
        return ()

    def close(self) -> None: ...
