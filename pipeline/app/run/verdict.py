"""What limits a run, and what is the one change to make? Derived from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.flow.meters import StageStatistics
from pipeline.flow.running import RunStatistics

# A live run that loses less than this share of its frames keeps up.
_KEEPS_UP = 0.02
# Below this share of its time no stage is to blame.
_BUSY = 0.6
# From this share of its cores on a run has no processor to spare.
_SATURATED = 0.9

_ADVICE = {
    "source": "give it smaller pictures, or a codec that is cheaper to decode",
    "preprocess": "feed a video nearer to the network's size",
    "detect": "take a smaller network or input size, or a faster --device",
    "nms": "raise --score-threshold, so that fewer candidates reach it",
    "render": "leave out what is drawn (--set render.labels=false) or the outputs that need it",
    "record": "record on a GPU (--set output.codec=h264_nvenc) or leave -o out",
    "jsonl": "write the JSON lines to a faster disk",
    "window": "run without the window (--no-show)",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The node that limits a run (or `nothing`), and a sentence for a person."""

    limited_by: str
    advice: str


@dataclass(frozen=True, slots=True)
class ProcessorUse:
    """How much of the processor a run used, and for what."""

    cores: int  # that it may use
    cores_used: float  # on average
    seconds_by_role: Mapping[str, float]


def judge(statistics: RunStatistics, *, is_live: bool, processor: ProcessorUse | None = None) -> Verdict:
    """Say what limits a run, from a snapshot of it and, where that was measured, from where its processor time went."""
    frames = statistics.frames
    if not frames.delivered:
        return Verdict("nothing", "No frame was delivered, so nothing can be said about speed.")
    workers = [node for node in statistics.nodes if node.service.num]
    busiest = max(workers, key=lambda node: node.busy, default=None)
    if is_live and frames.dropped <= _KEEPS_UP * frames.captured:
        rate = f"{frames.captured_rate:.1f} frames/s" if frames.captured_rate else "its frames"
        spare = f", with {busiest.name} {busiest.busy:.0%} busy" if busiest is not None else ""
        return Verdict("source", f"Limited by the source: it gives {rate} and the run keeps up{spare}; change nothing.")
    # Where no core is left, a stage's time is also the time for which it waits for one.
    if processor is not None and processor.cores_used >= _SATURATED * processor.cores:
        return _limited_by_processor(processor, statistics)
    if busiest is None or busiest.busy < _BUSY:
        idle = f"none is busy more than {busiest.busy if busiest else 0:.0%} of the time"
        # A live source's time is not work, so its meter has counted frames but no service.
        live = [
            node.name
            for node in statistics.nodes
            if node.kind == "source" and node.rate_by_source and not node.service.num
        ]
        if live:
            return Verdict("source", f"Limited by no stage ({idle}) but by the pace of {live[0]}; change nothing.")
        return Verdict("waiting", f"Limited by no stage ({idle}): look for other work on this machine.")
    advice = _ADVICE.get(role_of(busiest), "make this stage cheaper, or give it more workers")
    sentence = f"Limited by {busiest.name} ({busiest.busy:.0%} busy, {_milliseconds(busiest)} ms a frame): {advice}"
    runner_up = max((node for node in workers if node is not busiest), key=lambda node: node.busy, default=None)
    ceiling = _ceiling(runner_up) if runner_up is not None else None
    if runner_up is not None and ceiling is not None:
        sentence += f"; {runner_up.name} would limit next, at about {ceiling:.0f} frames/s"
    return Verdict(busiest.name, sentence + ".")


def _limited_by_processor(processor: ProcessorUse, statistics: RunStatistics) -> Verdict:
    role = max(processor.seconds_by_role, key=lambda each: processor.seconds_by_role[each])
    share = processor.seconds_by_role[role] / sum(processor.seconds_by_role.values())
    busiest = max((node for node in statistics.nodes if role_of(node) == role), key=_busy, default=None)
    advice = _ADVICE.get(role, "make it cheaper")
    return Verdict(
        role if busiest is None else busiest.name,
        f"Limited by the processor ({processor.cores_used:.1f} of {processor.cores} cores busy), of which {role} takes "
        f"{share:.0%}: {advice}.",
    )


def _busy(node: StageStatistics) -> float:
    return node.busy


def role_of(node: StageStatistics) -> str:
    """What a node does, whatever file or device is in its name: source, preprocess, detect, record …"""
    if node.kind == "source":
        return "source"
    return next((role for role in _ADVICE if node.name == role or node.name.startswith(role + " ")), node.name)


def _milliseconds(node: StageStatistics) -> str:
    return f"{1000 * (node.service.mean or 0):.1f}"


def _ceiling(node: StageStatistics) -> float | None:
    return node.workers / node.service.mean if node.service.mean else None
