"""Report of a run: its statistics → JSON for a program, a table for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NotRequired, TypedDict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.app.machine import versions
from pipeline.app.run.object_tally import NO_OBJECTS, ObjectCounts, ObjectTally
from pipeline.app.run.verdict import FEWEST_FRAMES, Verdict
from pipeline.app.stages import DETECT
from pipeline.app.terminal import short_name, shortened, tell
from pipeline.flow.ledger import FrameCounts
from pipeline.flow.meters import DurationSummary, StageStatistics
from pipeline.flow.running import RunStatistics
from pipeline.json_values import Json
from pipeline.picture.counting.as_json import counts_as_json
from pipeline.picture.counting.counts import Counts
from pipeline.sinks.events.delivery import DeliveryStatistics
from pipeline.sinks.network.statistics import SendStatistics
from pipeline.sources.states import SourceStates, StateName
from pipeline.stages.gate import GateStatistics

_FEWEST_IMAGES = 4  # of fewer, a rate says nothing
_TABLE_WIDTH = 80  # of the table of stages, with 14 columns for a name


class FramesReport(TypedDict):
    """The frames of a run, or of one of its sources."""

    frames: dict[str, int]  # by what became of them
    fps: dict[str, float | None]
    latency_ms: dict[str, float | None]


class ClassReport(TypedDict):
    """The objects of one class."""

    frames: int  # in which it was seen
    most_at_once: int
    boxes: int  # over all frames
    tracks: int | None  # distinct identities; null where the results have none


class ObjectsReport(TypedDict, total=False):
    """What was detected in a run, or in one of its sources; left out where nobody counted it."""

    frames_with_objects: int
    objects: dict[str, ClassReport]  # by class, the most frequent first


class StageReport(TypedDict):
    """One node of the flow."""

    kind: str
    role: str
    workers: int
    fps: float | None
    service_ms: dict[str, float | None]
    wait_ms: dict[str, float | None]
    busy: float  # share of the time, 0 to 1
    dropped: int


class StateReport(TypedDict):
    """What a source was doing when the report was made."""

    name: StateName
    since: str  # ISO 8601, UTC
    reason: str  # why it was not as it should be; empty: it was


class BreakReport(TypedDict):
    """A time without pictures."""

    kind: str  # stalled, or lost
    began: str  # ISO 8601, UTC
    seconds: float | None  # null: the source did not come back
    reason: str


class ModelReport(TypedDict):
    """One of a run's models."""

    device: str
    precision: str
    agreement: str | None  # of the device's detections with the CPU's in fp32; null: they are those
    sources: list[str]  # whose pictures it got


class StepReport(TypedDict):
    """A change of every how many frames are looked at."""

    at_s: float  # since the first result
    every: int
    late: bool  # because results were too old; else because there was room


class GateReport(TypedDict):
    """What a gate let through to the network, and how often it missed something."""

    inferred: int  # frames that the network looked at
    packed: int  # of those, frames of which it saw the changed parts alone
    carried: int  # frames that carry on the objects of the last of those
    undecoded: int  # frames that were not even decoded, because nothing changed
    duty: float | None  # the share of inferred frames
    carried_fps: float | None
    reasons: dict[str, int]  # inferred frames by why
    checked: int  # frames that were looked at although nothing had changed
    missed: int  # of those, frames with an object that would have been missing
    miss_rate: float | None
    miss_rate_95: tuple[float, float]  # its 95 % interval, of Wilson
    open: int  # sources of which the network looks at every frame, because too much was missed
    every: NotRequired[int]  # of live frames that change, every nth is looked at; there where the load chooses n
    steps: NotRequired[list[StepReport]]  # of that, the last hundred


class SourceReport(FramesReport, ObjectsReport):
    """One source's part of a run."""

    gate: NotRequired[GateReport]

    model: NotRequired[str]
    state: NotRequired[StateReport]
    num_breaks: NotRequired[int]
    breaks: NotRequired[list[BreakReport]]  # the last hundred

    counts: NotRequired[Mapping[str, Json]]  # of its lines and zones; left out where there are none
    damage: list[str]  # that could not be read
    unreadable: list[str]  # images and videos of which nothing could be read


class DeliveryReport(TypedDict):
    """What became of the events that were to be delivered to a receiver."""

    delivered: int
    given_up: int  # refused, or too many waited
    waiting: int  # lost, or kept for the next run
    reason: str  # why one was last not delivered; empty: all were


class StreamReport(TypedDict):
    """What became of the frames that were to be sent to an address."""

    sent: int
    not_sent: int  # while there was no connection, or because the receiver was too slow
    breaks: int
    reason: str  # why there was last no connection; empty: there always was


class RunReport(FramesReport, ObjectsReport):
    """A run in JSON types; times in milliseconds unless named otherwise."""

    stages: dict[str, StageReport]  # by the node's name
    limited_by: str
    advice: str
    every: NotRequired[int]  # one of this number of frames was captured; left out where 1
    gate: NotRequired[GateReport]  # left out where the network looks at every frame
    model: str  # of several, all with commas between them, as of the next two
    device: str
    agreement: str | None
    models: NotRequired[dict[str, ModelReport]]  # by their names in `stages` and `sources`
    versions: dict[str, str]
    seconds: float
    sources: dict[str, SourceReport]
    streams: NotRequired[dict[str, StreamReport]]  # by the name of the output; left out where nothing is sent
    deliveries: NotRequired[dict[str, DeliveryReport]]  # of events, by receiver; left out where there is none


def report_of(
    statistics: RunStatistics,
    *,
    verdict: Verdict,
    model: str,
    device: str,
    damage: Mapping[str, tuple[str, ...]],
    every: int = 1,
    agreement: str | None = None,
    unreadable: Mapping[str, Sequence[str]] | None = None,
    objects: ObjectTally | None = None,
    counting: Mapping[str, Counts] | None = None,
    streams: Mapping[str, SendStatistics] | None = None,
    deliveries: Mapping[str, DeliveryStatistics] | None = None,
    states: Mapping[str, SourceStates] | None = None,
    models: Mapping[str, ModelReport] | None = None,
    gates: Mapping[str, GateStatistics] | None = None,
) -> RunReport:
    """The report of a run.

    damage: what could not be read, by source. every: one of this many frames was captured; reported where not 1.
    unreadable: files of which nothing could be read, by source.
    agreement: how the device's detections agree with the CPU's in fp32; None: they are those.
    objects: what was detected. counting: what lines and zones counted, by source.
    streams: what became of the frames that were to be sent to addresses, by the name of the output.
    deliveries: what became of the events that were to be delivered, by receiver.
    states: what the sources were doing, by source.
    models: by name, where the run says it of each.
    gates: what they let through to the network, by source; None, or empty: everything.
    """
    by_source: dict[str, float | None] = {}
    for node in statistics.nodes:
        by_source |= node.rate_by_source if node.role == DETECT.role else {}
    frames = _frames(statistics.frames, statistics.rate_of_role(DETECT.role))
    report: RunReport = {
        "frames": frames["frames"],
        "fps": frames["fps"],
        "latency_ms": frames["latency_ms"],
        "stages": {node.name: _stage(node) for node in statistics.nodes},
        "limited_by": verdict.limited_by,
        "advice": verdict.advice,
        "model": model,
        "device": device,
        "agreement": agreement,
        "versions": versions(),
        "seconds": round(statistics.elapsed_seconds, 3),
        "sources": {
            source_id: _source(
                counts, by_source.get(source_id), damage.get(source_id, ()), (unreadable or {}).get(source_id, ())
            )
            for source_id, counts in statistics.frames_by_source.items()
        },
    }
    for source_id, source_states in (states or {}).items():
        if source_id in report["sources"]:
            _add_states(report["sources"][source_id], source_states)
    if models:
        report["models"] = dict(models)
        for name, model_report in models.items():
            for source_id in report["sources"].keys() & model_report["sources"]:
                report["sources"][source_id]["model"] = name
    if every != 1:
        report["every"] = every
    if gates:
        report["gate"] = gate_report(sum(gates.values(), GateStatistics()), statistics.elapsed_seconds)
        for source_id in report["sources"].keys() & gates.keys():
            report["sources"][source_id]["gate"] = gate_report(gates[source_id], statistics.elapsed_seconds)
    if objects is not None:
        _add_objects(report, objects.counts())
        counts_by_source = objects.counts_by_source()
        for source_id, source in report["sources"].items():
            _add_objects(source, counts_by_source.get(source_id, NO_OBJECTS))
    for source_id in report["sources"].keys() & (counting or {}).keys():
        report["sources"][source_id]["counts"] = counts_as_json((counting or {})[source_id])
    if streams:
        report["streams"] = {
            name: {
                "sent": stream.num_sent,
                "not_sent": stream.num_not_sent,
                "breaks": stream.num_breaks,
                "reason": stream.reason,
            }
            for name, stream in streams.items()
        }
    if deliveries:
        report["deliveries"] = {
            name: {
                "delivered": counted.num_delivered,
                "given_up": counted.num_given_up,
                "waiting": counted.num_waiting,
                "reason": counted.reason,
            }
            for name, counted in deliveries.items()
        }
    return report


def print_report(report: RunReport, console: Console, *, is_verbose: bool = False) -> None:
    """Show what became of the frames, how fast and how late, a table of the stages, and what limits.

    Of few frames no rates and percentiles, and stages only with `is_verbose`.
    """
    has_rates = report["frames"]["delivered"] >= FEWEST_FRAMES
    frames, fps, latency = report["frames"], report["fps"], report["latency_ms"]
    dropped = frames["dropped_stale"] + frames["dropped_full"]
    ends = [f"{frames['delivered']} delivered", f"{dropped} dropped", f"{frames['failed']} failed"]
    if frames["filtered"]:
        ends.insert(1, f"{frames['filtered']} filtered")
    share = f" (1 of every {report['every']})" if "every" in report else ""
    console.print(f"frames   {frames['captured']} captured{share} = {' + '.join(ends)}, in {report['seconds']:.1f} s")
    if has_rates:
        carried = f"carried {_number(report['gate']['carried_fps'])}, " if "gate" in report else ""
        console.print(
            f"FPS      captured {_number(fps['captured'])}, inferred {_number(fps['inferred'])}, {carried}"
            f"delivered {_number(fps['delivered'])}"
        )
    if "gate" in report:
        tell(console, f"gate     {_gate_in_words(report['gate'])}", "yellow" if report["gate"]["open"] else None)
    if frames["delivered"]:
        console.print(f"latency  {_latency_in_words(latency, frames['delivered'])}, capture to sink")
    _print_streams(report, console)
    if has_rates or is_verbose:
        console.print(_stage_table(report, width=console.width))
    if has_rates or is_verbose or not frames["delivered"]:
        tell(console, report["advice"], "bold")


def _print_streams(report: RunReport, console: Console) -> None:
    for name, stream in report.get("streams", {}).items():
        tell(console, f"sent     {_stream_in_words(name, stream)}", "yellow" if stream["not_sent"] else None)

    for name, counted in report.get("deliveries", {}).items():
        has_losses = bool(counted["given_up"] or counted["waiting"])
        tell(console, f"events   {_delivery_in_words(name, counted)}", "yellow" if has_losses else None)


def gate_report(gate: GateStatistics, seconds: float) -> GateReport:
    """What the gate of one source or of several let through in a run of some seconds."""
    misses = gate.misses
    low, high = misses.interval
    report: GateReport = {
        "inferred": gate.num_inferred,
        "packed": gate.num_packed,
        "carried": gate.num_carried,
        "undecoded": gate.num_undecoded,
        "duty": None if gate.duty is None else round(gate.duty, 6),
        "carried_fps": _rounded(gate.num_carried / seconds if seconds > 0 else None),
        "reasons": {str(reason): num for reason, num in sorted(gate.num_looks.items())},
        "checked": misses.num_checked,
        "missed": misses.num_missed,
        "miss_rate": None if misses.share is None else round(misses.share, 6),
        "miss_rate_95": (round(low, 6), round(high, 6)),
        "open": gate.num_open,
    }
    if gate.every is not None:
        report["every"] = gate.every
        report["steps"] = [
            {"at_s": round(step.at_seconds, 3), "every": step.every, "late": step.late} for step in gate.steps
        ]
    return report


def _gate_in_words(gate: GateReport) -> str:
    """How much was inferred, and, always beside it, how much was missed."""
    num = gate["inferred"] + gate["carried"] + gate["undecoded"]
    share = f" ({gate['inferred'] / num:.0%})" if num else ""
    low, high = gate["miss_rate_95"]
    checks = f"{gate['missed']} of {gate['checked']} checks missed an object (95 %: {low:.1%} to {high:.1%})"
    packed = f", {gate['packed']} of them in parts" if gate["packed"] else ""
    looked = f"{gate['inferred']} of {num} frames inferred{share}{packed}, {gate['carried']} carried"
    looked += f", {gate['undecoded']} not decoded" if gate["undecoded"] else ""
    too_much = "; too much was missed, so that every frame is inferred" if gate["open"] else ""
    return f"{looked}; {checks if gate['checked'] else 'nothing was checked'}{too_much}{_steps_in_words(gate)}"


def _steps_in_words(gate: GateReport) -> str:
    """`; one in 4 at the load, after 6 steps, 4 of them because results were late`, where the load chooses."""
    if "every" not in gate:
        return ""
    steps = gate.get("steps", [])
    num_late = sum(step["late"] for step in steps)
    last = "" if not steps else f", the last at {steps[-1]['at_s']:.0f} s"
    return f"; one in {gate['every']} at the load, after {len(steps)} steps, {num_late} for late results{last}"


def _delivery_in_words(name: str, counted: DeliveryReport) -> str:
    numbers = {"given up": counted["given_up"], "not delivered": counted["waiting"]}
    lost = [f"{number} {words}" for words, number in numbers.items() if number]
    reason = f" (last: {counted['reason']})" if counted["reason"] else ""
    return f"{', '.join([str(counted['delivered']) + ' delivered', *lost])}: {name}{reason}"


def _stream_in_words(name: str, stream: StreamReport) -> str:
    sent = f"{stream['sent']} of {stream['sent'] + stream['not_sent']} frames to {name}"
    breaks = f", {stream['breaks']} break{'s' if stream['breaks'] > 1 else ''}" if stream["breaks"] else ""
    reason = f" (last: {stream['reason']})" if stream["reason"] else ""
    return sent + breaks + reason


def _latency_in_words(latency_ms: Mapping[str, float | None], num: int) -> str:
    """The percentiles that as many frames have: a p95 takes 20, a p99 100."""
    if num == 1:
        return f"{_number(latency_ms['p50'])} ms"
    names = [name for name, least in (("p50", 1), ("p95", 20), ("p99", 100)) if num >= least]
    return ", ".join(f"{name} {_number(latency_ms[name])} ms" for name in names)


def print_images(report: RunReport, console: Console, *, num_unreadable: int) -> None:
    """The same of images, of which neither latency nor rates of stages say much: how many, and how fast."""
    num, seconds = report["frames"]["captured"], report["seconds"]
    num_lost = num - report["frames"]["delivered"]
    unreadable = f", {num_unreadable} could not be read" if num_unreadable else ""
    lost = f", {num_lost} not in every output" if num_lost else ""
    rate = f", {num / seconds:.1f} images/s" if num >= _FEWEST_IMAGES and seconds > 0 else ""
    console.print(
        f"images   {num} read{unreadable}{lost}, in {seconds:.{1 if seconds >= 1 else 2}f} s{rate}", highlight=False
    )
    _print_streams(report, console)


def _stage_table(report: RunReport, *, width: int) -> Table:
    """A row a stage; without waits and workers where a terminal is narrower than 80 columns."""
    is_narrow = width < _TABLE_WIDTH
    columns = ("stage", "frames/s", "service ms p50 / p95", "wait ms p50 / p95", "busy", "workers")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns if not is_narrow else ("stage", "frames/s", "service ms p50 / p95", "busy"):
        table.add_column(column, justify="left" if column == "stage" else "right", no_wrap=True)
    most_of_name = max(14, width - (_TABLE_WIDTH - 14))
    for name, stage in report["stages"].items():
        wait = f"{_number(stage['wait_ms']['p50'], 2)} / {_number(stage['wait_ms']['p95'], 2)}"
        table.add_row(
            Text(shortened(short_name(name, stage["role"]), most_of_name)),
            _number(stage["fps"]),
            f"{_number(stage['service_ms']['p50'], 2)} / {_number(stage['service_ms']['p95'], 2)}",
            *([] if is_narrow else [wait]),
            "–" if stage["service_ms"]["p50"] is None else f"{stage['busy']:.0%}",
            *([] if is_narrow else [str(stage["workers"])]),
        )
    return table


def _add_objects(report: RunReport | SourceReport, counts: ObjectCounts) -> None:
    report["frames_with_objects"] = counts.num_frames_with_objects
    report["objects"] = {
        count.name: {
            "frames": count.num_frames,
            "most_at_once": count.most_at_once,
            "boxes": count.num_boxes,
            "tracks": count.num_tracks,
        }
        for count in counts.classes
    }


def _frames(counts: FrameCounts, inferred_rate: float | None) -> FramesReport:
    return {
        "frames": {
            "captured": counts.captured,
            "delivered": counts.delivered,
            "dropped_stale": counts.dropped_stale,
            "dropped_full": counts.dropped_full,
            "filtered": counts.filtered,
            "failed": counts.failed,
        },
        "fps": {
            "captured": _rounded(counts.captured_rate),
            "inferred": _rounded(inferred_rate),
            "delivered": _rounded(counts.delivered_rate),
        },
        "latency_ms": _spread(counts.latency, "p50", "p95", "p99"),
    }


def _source(
    counts: FrameCounts, inferred_rate: float | None, damage: Sequence[str], unreadable: Sequence[str]
) -> SourceReport:
    frames = _frames(counts, inferred_rate)
    return {
        "frames": frames["frames"],
        "fps": frames["fps"],
        "latency_ms": frames["latency_ms"],
        "damage": list(damage),
        "unreadable": list(unreadable),
    }


def _add_states(source: SourceReport, states: SourceStates) -> None:
    state = states.state
    source["state"] = {"name": state.name, "since": _iso_time(state.since_unix_seconds), "reason": state.reason}
    source["num_breaks"] = states.num_breaks
    source["breaks"] = [
        {
            "kind": gap.kind,
            "began": _iso_time(gap.began_unix_seconds),
            "seconds": None if gap.seconds is None else round(gap.seconds, 3),
            "reason": gap.reason,
        }
        for gap in states.breaks
    ]


def _iso_time(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds")


def _stage(node: StageStatistics) -> StageReport:
    return {
        "kind": node.kind,
        "role": node.role,
        "workers": node.workers,
        "fps": _rounded(node.rate),
        "service_ms": _spread(node.service, "p50", "p95"),
        "wait_ms": _spread(node.wait, "p50", "p95"),
        "busy": round(node.busy, 4),
        "dropped": node.dropped,
    }


def _spread(spread: DurationSummary, *names: str) -> dict[str, float | None]:
    values = {name: getattr(spread, name) for name in names}
    return {name: None if value is None else round(1000 * value, 3) for name, value in values.items()}


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 3)


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
