"""Assembly: a configuration → opened sources, model and outputs, put into a flow that can run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from pipeline.app.config.detection import DetectionConfig
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.counting import (
    NEEDS_COUNTING,
    CountedShapes,
    can_count,
    counted_shapes,
    counts_something,
    with_tracking,
)
from pipeline.app.gating import refuse_gate
from pipeline.app.idle_decoding import idle_by_url
from pipeline.app.model_branch import (
    ModelBranch,
    Share,
    detecting,
    open_branch,
    warn_of_doubts,
)
from pipeline.app.model_groups import ModelChoice, ModelGroup, free_label, model_groups
from pipeline.app.open_outputs import (
    OutputTarget,
    output_targets,
    refuse_different_classes,
    refuse_outputs,
    with_outputs,
)
from pipeline.app.opened_sources import (
    captures_of,
    feed_of,
    open_sources,
    refuse_file_of_two_sources,
    refuse_rate_without_use,
    runs_live,
    source_entries,
    unix_seconds,
)
from pipeline.app.output import Feed, Overlay
from pipeline.app.second_model import refuse_second_model
from pipeline.app.stages import CONCEAL, SourceFacts, with_added_stages
from pipeline.app.suppression import Suppression
from pipeline.detector.engine import OrtEngine
from pipeline.detector.published import published_models
from pipeline.errors import ConfigError, FlowError
from pipeline.flow.graph import Flow
from pipeline.picture.detections import Result
from pipeline.sources.abreast import Abreast
from pipeline.sources.idle import Idle
from pipeline.sources.kinds import kinds_in_words, source_words
from pipeline.sources.source import FrameSource, HasGroundTruth
from pipeline.sources.words import is_drawn
from pipeline.stages.between import GatingBetween
from pipeline.stages.capture import Capture
from pipeline.stages.conceal import Conceal
from pipeline.stages.gate import GateStatistics

logger = logging.getLogger(__name__)

_FIRST = published_models()[0]  # the smallest, to begin with


T = TypeVar("T")


class WaitFor(Protocol):
    """Calls a function, here or in a thread, and returns or raises what it does."""

    def __call__(self, work: Callable[[], T]) -> T: ...


def _call(work: Callable[[], T]) -> T:
    return work()


@dataclass(frozen=True, slots=True)
class Assembly:
    """A flow whose tip gives results, and its parts."""

    flow: Flow[Result]
    sources: Mapping[str, FrameSource]  # by the source_id that they have in the flow
    branches: tuple[ModelBranch, ...]  # at least one
    is_live: bool  # whether every source is
    targets: tuple[OutputTarget, ...]  # that a run of it may write; - is standard output
    config: RunConfig  # with what a trial on a GPU has settled, where there is one model
    feeds: tuple[Feed, ...]
    suppressions: dict[str, Suppression]  # by source; one that comes later is added
    counted: dict[str, CountedShapes]  # the same, and read at each frame
    entries: dict[str, SourceConfig]  # the same; none of a source that was open already
    idle: dict[str, Idle]  # the same, of those that decode key frames alone while nothing changes

    @property
    def engine(self) -> OrtEngine:
        """That of the only model, or of the first source's."""
        return self.branches[0].engine

    def branch_of(self, choice: ModelChoice) -> ModelBranch | None:
        """The branch of a model; None: it has none."""
        return next((branch for branch in self.branches if branch.choice == choice), None)

    def model_of_source(self) -> dict[str, str]:
        """The name of the model of each source."""
        return {name: branch.name for branch in self.branches for name in branch.source_ids}

    def gates(self) -> dict[str, GateStatistics]:
        """What the gate of each source let through; of a run without gates, nothing."""
        gatings = [branch.gating for branch in self.branches if branch.gating is not None]
        gates = {name: gate for gating in gatings for name, gate in gating.statistics().items()}
        for name in gates.keys() & self.idle.keys():
            gates[name] = replace(gates[name], num_undecoded=self.idle[name].num_undecoded)
        return gates

    def close(self) -> None:
        """Close everything, for a flow that is never run; a run closes its parts by itself."""
        self.flow.close()

    def change_detection(self, detection: DetectionConfig) -> None:
        """Keep other detections from the next frame on. Raises ConfigError for a class that one of the models lacks."""
        changed: list[tuple[Suppression, DetectionConfig]] = []
        try:
            for branch in self.branches:
                before = branch.suppression.requested
                branch.suppression.change(detection)
                changed.append((branch.suppression, before))
        except ConfigError:
            for suppression, before in changed:
                suppression.change(before)
            raise

    def close_engines(self) -> None:
        """Close the engines, behind a run that may have left a stage behind. May be called more than once."""
        for branch in self.branches:
            branch.engine.close()


def assemble(
    config: RunConfig,
    *,
    source: FrameSource | None = None,
    overlay: Overlay | None = None,
    loops: bool = False,
    takes_sources: bool = False,
    clock: Callable[[], float] = time.monotonic,
    wait_for: WaitFor = _call,
) -> Assembly:
    """Open the sources, the models and the outputs, and put them into a flow.

    Sources of one model go through the same stages and share its engine; those of another have stages of their own.

    source: one that is open already, instead of those that the configuration names.
    overlay: the lines to write over each picture.
    loops: whether recorded sources begin anew where they end.
    takes_sources: whether others, with settings of their own, may come later, as they may with `control` and `serve`.
    wait_for: calls what may take long in native code: the opening of the sources and of the engines.
    Raises a StreamdetError for whatever cannot be opened; everything that was opened before is closed.
    """
    if source is None and not config.sources:
        raise ConfigError(f"at least one source must be named: {kinds_in_words()}")
    with ExitStack() as undo:
        entries = [] if source else source_entries(config)
        config = with_tracking(config)
        refuse_gate(config)
        by_url = idle_by_url(config, entries)
        opened = {source.source_id: source} if source else None
        sources = opened or wait_for(lambda: open_sources(config, undo, loops=loops, entries=entries, idle=by_url))
        settings = dict(zip(sources, entries, strict=False))  # none of a source that was open already
        idle = {name: by_url[entry.url] for name, entry in settings.items() if entry.url in by_url}
        groups = model_groups(config, sources, settings)
        takes_sources = takes_sources or config.control is not None or config.serve is not None
        refuse_file_of_two_sources(sources)
        for group in groups:
            _refuse_unknown_world(group.choice, {name: sources[name] for name in group.source_ids})
        _warn_of_unused_model(config, groups, takes_sources=takes_sources)
        is_live = {name: runs_live(source, config.flow.mode) for name, source in sources.items()}
        feeds = [feed_of(name, source, is_live=is_live[name], config=config) for name, source in sources.items()]
        refuse_outputs(config, feeds)  # before a network is loaded and proved, which may take long
        branches = []
        for group in groups:
            live_sources = len(group.source_ids) if all(is_live.values()) else 0
            share = Share(live_sources, len(groups))
            branch = wait_for(partial(open_branch, config, group, sources, settings, share, takes_sources))
            branches.append(replace(branch, idle=idle))
            undo.callback(branches[-1].engine.close)
        config = config.model_copy(update={"engine": branches[0].config.engine}) if len(branches) == 1 else config
        refuse_rate_without_use(config, sources, is_live)
        abreast = Abreast(sources) if config.output.mosaic and not any(is_live.values()) else None
        captures = captures_of(config, sources, settings, is_live, abreast, clock, idle)
        flow = _joined(captures, branches)
        if abreast is not None:
            feeds = [replace(feed, end_seconds=partial(abreast.end_seconds, feed.source_id)) for feed in feeds]
        refuse_different_classes(config, {branch.name: branch.engine.spec.class_names for branch in branches})
        refuse_second_model(config, [branch.engine.spec for branch in branches])
        names = tuple(dict.fromkeys(name for branch in branches for name in branch.engine.spec.class_names))
        suppressions = {name: branch.suppression for branch in branches for name in branch.source_ids}
        flow = _private(flow, config, suppressions)
        counted = {
            name: counted_shapes(config, settings.get(name), branch.engine.spec, name, sources[name].size_wh)
            for branch in branches
            for name in branch.source_ids
        }
        facts = SourceFacts(
            shown=lambda source_id: suppressions[source_id].shown_of(source_id),
            counted=lambda source_id: counted[source_id],
            unix_seconds=partial(unix_seconds, sources, clock),
            spec=lambda source_id: suppressions[source_id].spec,
            takes_shapes=takes_sources,
        )
        flow = with_added_stages(flow, config, facts)
        flow = with_outputs(
            flow, config, feeds, class_names=names, overlay=overlay, takes_shapes=takes_sources, undo=undo
        )
        undo.pop_all()
    for branch in branches:  # last: where a model cannot be run its accuracy does not matter
        warn_of_doubts(branch.config, branch.engine.spec)
    targets = output_targets(config, feeds)
    return Assembly(
        flow,
        sources,
        tuple(branches),
        all(is_live.values()),
        targets,
        config,
        tuple(feeds),
        suppressions,
        counted,
        settings,
        idle,
    )


@dataclass(frozen=True, slots=True)
class AddedSource:
    """A source for a run that goes on, and what its outputs are told. branch: of its model, which the run may lack."""

    source_id: str
    capture: Capture
    feed: Feed
    branch: ModelBranch
    is_new_model: bool
    counted: CountedShapes

    def joined_to(self, flow: Flow[Any], beside: ModelBranch) -> Flow[Any]:
        """The flow with this source. beside: a branch that the flow has."""
        if self.is_new_model:
            return flow.with_joined(detecting(Flow.from_sources(self.capture), self.branch), beside=beside.last_node)
        return flow.with_source(self.capture, before=(self.branch.first_node,))


def added_source(assembly: Assembly, entry: SourceConfig, taken: Container[str], undo: ExitStack) -> AddedSource:
    """A source for a run of an assembly, with the engine of its model; `undo` learns how to close both.

    taken: names of the sources that run. Raises a StreamdetError for what cannot be opened, a name that is taken, and
    settings that the run has no room for.
    """
    config = assembly.config
    if source_words(entry.url) != (entry.url,):
        raise ConfigError(f"{entry.url}: a list of streams cannot be added as one; add its sources one by one")
    if entry.url == "-":
        raise ConfigError("-: standard input belongs to the run; name a file or an address")
    choice = ModelChoice.of(config, entry)
    branch = assembly.branch_of(choice)
    if branch is not None:
        branch.suppression.refuse(entry)
    by_url = idle_by_url(config, [entry])
    ((name, source),) = open_sources(config, undo, entries=[entry], waits=True, idle=by_url).items()
    if name in taken:
        raise FlowError(f"the run has a source {name!r} already; remove it, or add this one with another --name")
    is_live = runs_live(source, config.flow.mode)
    is_new_model = branch is None
    if branch is None:
        _refuse_unknown_world(choice, {name: source})
        branch = _added_branch(assembly, choice, name, source, entry)
        undo.callback(branch.engine.close)
        classes = {other.name: other.engine.spec.class_names for other in (*assembly.branches, branch)}
        refuse_different_classes(config, classes)
    if isinstance(branch.gating, GatingBetween) and not is_live:
        branch.gating.add_recorded(name)
    if entry.url in by_url:
        assembly.idle[name] = by_url[entry.url]
    (capture,) = captures_of(
        config, {name: source}, {name: entry}, {name: is_live}, None, time.monotonic, assembly.idle
    )
    if counts_something(RunConfig(sources=(entry,))) and not can_count(config, takes_shapes=True):
        raise ConfigError(f"{name}: lines and zones {NEEDS_COUNTING}")
    counted = counted_shapes(config, entry, branch.engine.spec, name, source.size_wh)
    feed = feed_of(name, source, is_live=is_live, config=config)
    return AddedSource(name, capture, feed, branch, is_new_model, counted)


def _added_branch(
    assembly: Assembly, choice: ModelChoice, name: str, source: FrameSource, entry: SourceConfig
) -> ModelBranch:
    """The branch of a model that a run does not have yet."""
    label = free_label(choice.name, {branch.name for branch in assembly.branches})
    share = Share(int(runs_live(source, assembly.config.flow.mode)), len(assembly.branches) + 1)
    group = ModelGroup(choice, label, (name,))
    branch = open_branch(assembly.config, group, {name: source}, {name: entry}, share, True)
    return replace(branch, idle=assembly.idle)


def _refuse_unknown_world(choice: ModelChoice, sources: Mapping[str, FrameSource]) -> None:
    """Refuse the detector that comes with streamdet where nobody named it and the pictures are not drawn ones."""
    not_drawn = [name for name, source in sources.items() if not (is_drawn(name) or isinstance(source, HasGroundTruth))]
    if choice.word is None and not_drawn:
        raise ConfigError(
            f"--model must be given for {not_drawn[0]}: try --model {_FIRST.name} ({_FIRST.licence}, "
            f"{_FIRST.size_in_words} download), another name of `streamdet models`, or an ONNX file; "
            "--model demo, the detector that comes with streamdet, knows drawn streets only"
        )


def _warn_of_unused_model(config: RunConfig, groups: Sequence[ModelGroup], *, takes_sources: bool) -> None:
    is_used = ModelChoice.of(config, None) in [group.choice for group in groups]
    if config.model is not None and not takes_sources and not is_used:
        logger.warning("the model of the run, %s, is used by no source: each names its own", config.model)


def _joined(captures: Sequence[Capture], branches: Sequence[ModelBranch]) -> Flow[Result]:
    """The frames of each model's sources through its stages, and then all results together."""
    flows = []
    for branch in branches:
        of_branch = [capture for capture in captures if capture.source_id in branch.source_ids]
        flows.append(detecting(Flow.from_sources(*of_branch), branch))
    return Flow.joined(*flows)


def _private(flow: Flow[Result], config: RunConfig, suppressions: Mapping[str, Suppression]) -> Flow[Result]:
    """The flow behind which no picture shows what is private; the tracker comes later, and gets all that it needs."""
    if not config.privacy.is_requested:
        return flow

    def conceal(source_id: str) -> Conceal:
        privacy = suppressions[source_id].privacy
        assert privacy is not None
        return Conceal(privacy.options, lambda: suppressions[source_id].kept_of(source_id))

    return flow.then_per_source(conceal, name=CONCEAL.role, capacity=config.flow.queue_capacity)
