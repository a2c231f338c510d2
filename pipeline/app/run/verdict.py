"""Verdict: the numbers of a run → what limits it, and the one change to make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.app.config.run import RunConfig
from pipeline.app.roles import advice_for
from pipeline.app.stages import Limit
from pipeline.app.terminal import short_name
from pipeline.flow.meters import StageStatistics
from pipeline.flow.running import RunStatistics
from pipeline.sources.kind import SourceLimit
from pipeline.sources.source import FrameSource

FEWEST_FRAMES = 10
"""Of fewer delivered frames, rates and busy stages say nothing: most of their time is the start of the run."""

# A live run that loses less than this share of its frames keeps up.
_KEEPS_UP = 0.02
# Below this share of its time no stage is to blame.
_BUSY = 0.6
# From this share of its cores on a run has no processor to spare.
_SATURATED = 0.9


@dataclass(frozen=True, slots=True)
class Verdict:
    """The node that limits a run (or `nothing`), and a sentence for a person."""

    limited_by: str
    advice: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run was made of, which its advice depends on."""

    config: RunConfig = field(default_factory=RunConfig)
    sources: Mapping[str, FrameSource] = field(default_factory=dict)  # by the name of their node

    def limit_of(self, node_name: str) -> Limit:
        """What limits where this node does."""
        source = self.sources.get(node_name)
        if source is None or len(self.sources) != len(self.config.sources):
            return Limit(self.config)
        word = self.config.source_words[list(self.sources).index(node_name)]
        return Limit(self.config, SourceLimit(word, source, self.config.flow.every))


@dataclass(frozen=True, slots=True)
class ProcessorUse:
    """How much of the processor a run used, and for what."""

    cores: int  # that it may use
    cores_used: float  # on average
    seconds_by_role: Mapping[str, float]


def judge(
    statistics: RunStatistics,
    *,
    is_live: bool,
    processor: ProcessorUse | None = None,
    setup: Setup = Setup(),
) -> Verdict:
    """Name the limit of a run, from a snapshot of it and, where that was measured, from its use of the processor."""
    frames = statistics.frames
    if frames.delivered < FEWEST_FRAMES:
        return _too_few(frames.delivered)
    by_busy = sorted((node for node in statistics.nodes if node.service.num), key=lambda node: -node.busy)
    if is_live and frames.dropped <= _KEEPS_UP * frames.captured:
        return _limited_by_source(statistics, by_busy)
    # Where no core is left, a stage's time is also the time for which it waits for one.
    if processor is not None and processor.cores_used >= _SATURATED * processor.cores:
        return _limited_by_processor(processor, statistics, setup)
    if not by_busy or by_busy[0].busy < _BUSY:
        return _limited_by_no_stage(statistics, by_busy)
    return _limited_by_stage(by_busy, setup, num_sources=len(statistics.frames_by_source))


def _too_few(num_delivered: int) -> Verdict:
    if not num_delivered:
        return Verdict("nothing", "No frame was delivered, so nothing can be said about speed.")
    frames = "One frame says" if num_delivered == 1 else f"{num_delivered} frames say"
    return Verdict("nothing", f"{frames} nothing about speed: most of the time is the start of the run.")


def _limited_by_source(statistics: RunStatistics, by_busy: Sequence[StageStatistics]) -> Verdict:
    captured_rate = statistics.frames.captured_rate
    rate = f"{captured_rate:.1f} frames/s" if captured_rate else "its frames"
    spare = f", with {_name(by_busy[0])} {by_busy[0].busy:.0%} busy" if by_busy else ""
    return Verdict("source", f"Limited by the source: it gives {rate} and the run keeps up{spare}; change nothing.")


def _limited_by_no_stage(statistics: RunStatistics, by_busy: Sequence[StageStatistics]) -> Verdict:
    idle = f"none is busy more than {by_busy[0].busy if by_busy else 0:.0%} of the time"
    frames = statistics.frames
    # A live source's time is not work, so its meter has counted frames but no service.
    live = [node for node in statistics.nodes if node.kind == "source" and node.rate_by_source and not node.service.num]
    if live and frames.dropped > _KEEPS_UP * frames.captured:
        dropped = f"{frames.dropped} of {frames.captured} frames were dropped"
        return Verdict("waiting", f"Limited by no stage ({idle}), yet {dropped}: look for other work on this machine.")
    if live:
        return Verdict("source", f"Limited by no stage ({idle}) but by the pace of {_name(live[0])}; change nothing.")
    return Verdict("waiting", f"Limited by no stage ({idle}): look for other work on this machine.")


def _limited_by_stage(by_busy: Sequence[StageStatistics], setup: Setup, *, num_sources: int) -> Verdict:
    busiest, *others = by_busy
    of_all_sources = [node for node in others if len(node.rate_by_source) == num_sources]  # whose rates compare
    advice = (
        advice_for(busiest.role, setup.limit_of(busiest.name)) or "make this stage cheaper, or give it more workers"
    )
    busy = f"{busiest.busy:.0%} busy, {_milliseconds(busiest)} ms per frame"
    sentence = f"Limited by {_name(busiest)} ({busy}): {advice}"
    ceiling = _ceiling(of_all_sources[0]) if of_all_sources else None
    if ceiling is not None:
        sentence += f"; {_name(of_all_sources[0])} would limit next, at about {ceiling:.0f} frames/s"
    return Verdict(busiest.name, sentence + ".")


def _limited_by_processor(processor: ProcessorUse, statistics: RunStatistics, setup: Setup) -> Verdict:
    role = max(processor.seconds_by_role, key=lambda name: processor.seconds_by_role[name])
    share = processor.seconds_by_role[role] / sum(processor.seconds_by_role.values())
    busiest = max((node for node in statistics.nodes if node.role == role), key=lambda node: node.busy, default=None)
    name = role if busiest is None else busiest.name
    advice = advice_for(role, setup.limit_of(name)) or "make it cheaper"
    return Verdict(
        name,
        f"Limited by the CPU ({processor.cores_used:.1f} of {processor.cores} cores busy), of which {role} takes "
        f"{share:.0%}: {advice}.",
    )


def _name(node: StageStatistics) -> str:
    return short_name(node.name, node.role)


def _milliseconds(node: StageStatistics) -> str:
    return f"{1000 * (node.service.mean or 0):.1f}"


def _ceiling(node: StageStatistics) -> float | None:
    return node.workers / node.service.mean if node.service.mean else None
