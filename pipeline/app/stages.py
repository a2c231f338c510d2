"""Stages: a table of the steps between sources and outputs, with everything that is said about each.

Sources, the gate, preprocessing, detection, suppression, privacy and rendering get their places from `assemble` and
`outputs`. A stage that takes results and gives results, such as a tracker, needs a row with `add` and runs after NMS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.app.config.run import RunConfig
from pipeline.app.counting import CountedShapes, can_count, counter_options
from pipeline.app.thresholds import tracker_options
from pipeline.flow.graph import Flow
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tracking.kinds import new_tracker, refuse_tracker
from pipeline.sources.kind import SourceLimit
from pipeline.sources.kinds import advice_about


@dataclass(frozen=True, slots=True)
class Limit:
    """What limits a run, for the advice: the run's configuration, and the source, where a source limits it."""

    config: RunConfig
    source: SourceLimit | None = None


Advice = str | Callable[[Limit], str]
"""Completes "Limited by …: "; a function where it depends on the run, called only when the advice is shown."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a stage may ask about a source, by its source_id, also of one that comes later."""

    shown: Callable[[str], SuppressionOptions]  # its detections that go on; where something is tracked, weaker come too
    counted: Callable[[str], CountedShapes]
    unix_seconds: Callable[[Frame], float | None]  # the wall time of a frame; None where it is not known
    spec: Callable[[str], DetectorSpec]  # of the model that detects in it
    takes_shapes: bool  # whether lines and zones may come later


@dataclass(frozen=True, slots=True)
class StageKind:
    """A step of a run: the role of its nodes, and what reports and charts say about it."""

    role: str
    advice: Advice
    colour: str  # in charts, #rrggbb
    add: Callable[[Flow[Result], RunConfig, SourceFacts], Flow[Result]] | None = None  # after NMS, where requested


def _of_source(limit: Limit) -> str:
    return "give it smaller pictures" if limit.source is None else advice_about(limit.source)


def _of_detect(limit: Limit) -> str:
    fewer = "" if limit.config.tiles.grid is None else "cut fewer or no tiles (--tiles), each of which it looks at, or "
    smaller = f"{fewer}take a smaller network or input size"
    return smaller if limit.config.engine.device == "auto" else f"{smaller}, or --device auto, which takes the fastest"


def _of_render(limit: Limit) -> str:
    outputs = "leave out the outputs that need a drawn picture"
    return f"{outputs}, or the labels (--set render.labels=false)" if limit.config.render.labels else outputs


def _with_tracks(flow: Flow[Result], config: RunConfig, facts: SourceFacts) -> Flow[Result]:
    from pipeline.stages.track import Track

    kind = config.track.kind
    if kind is None:
        return flow
    refuse_tracker(kind)
    trail_seconds = config.render.trail_s

    def track_of(source_id: str) -> Track:
        return Track(
            lambda: new_tracker(kind, tracker_options(config.track, facts.shown(source_id))),
            lambda: facts.shown(source_id),
            sure_share=config.track.sure_share,
            trail_seconds=trail_seconds,
        )

    return flow.then_per_source(track_of, name=TRACK.role, capacity=config.flow.queue_capacity)


def _with_attributes(flow: Flow[Result], config: RunConfig, facts: SourceFacts) -> Flow[Result]:
    from pipeline.app.second_model import classified_ids, open_second_model
    from pipeline.stages.classify import Classify

    if config.then.model is None:
        return flow
    model, options = open_second_model(config.then)

    def classify_of(source_id: str) -> Classify:
        return Classify(model, classified_ids(config, facts.spec(source_id)), options)

    return flow.then_per_source(classify_of, name=CLASSIFY.role, capacity=config.flow.queue_capacity)


def _with_counts(flow: Flow[Result], config: RunConfig, facts: SourceFacts) -> Flow[Result]:
    from pipeline.stages.count import Count

    if not can_count(config, takes_shapes=facts.takes_shapes):
        return flow
    options = counter_options(config)

    def count_of(source_id: str) -> Count:
        shapes = facts.counted(source_id)
        return Count(
            shapes.lines,
            shapes.zones,
            options,
            homography=shapes.homography,
            unix_seconds=facts.unix_seconds,
            shapes=lambda: facts.counted(source_id),
        )

    return flow.then_per_source(count_of, name=COUNT.role, capacity=config.flow.queue_capacity)


SOURCE = StageKind(role="source", advice=_of_source, colour="#4c78a8")
PREPROCESS = StageKind(role="preprocess", advice="feed pictures nearer to the network's size", colour="#72b7b2")
GATE = StageKind(role="gate", advice="give it smaller pictures", colour="#3a6b7e")
PROPOSE = StageKind(
    role="propose", advice="feed smaller pictures, or a model that proposes its own boxes", colour="#9467bd"
)
DETECT = StageKind(role="detect", advice=_of_detect, colour="#f58518")
NMS = StageKind(role="nms", advice="raise --score-threshold, so that fewer candidates reach it", colour="#eeca3b")
CONCEAL = StageKind(role="conceal", advice="conceal fewer classes, or smaller pictures", colour="#59a14f")
RENDER = StageKind(role="render", advice=_of_render, colour="#b279a2")

TRACK = StageKind(
    role="track", advice="raise track.low_score, or take --track bytetrack", colour="#2f7f5f", add=_with_tracks
)

CLASSIFY = StageKind(
    role="classify",
    advice="let --then look at fewer objects: name classes with --on, or follow them with --track and raise then.every",
    colour="#d4a6c8",
    add=_with_attributes,
)

COUNT = StageKind(role="count", advice="count at fewer lines and zones", colour="#8c6d31", add=_with_counts)

STAGES: tuple[StageKind, ...] = (
    SOURCE,
    GATE,
    PREPROCESS,
    PROPOSE,
    DETECT,
    NMS,
    CONCEAL,
    TRACK,
    CLASSIFY,
    COUNT,
    RENDER,
)
"""In the order of the flow."""


def with_added_stages(flow: Flow[Result], config: RunConfig, facts: SourceFacts) -> Flow[Result]:
    """A flow of results, with the stages on results that a configuration requests behind it."""
    for kind in STAGES:
        flow = flow if kind.add is None else kind.add(flow, config, facts)
    return flow
