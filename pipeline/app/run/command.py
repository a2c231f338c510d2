"""Command `run`, and `demo`: a configuration → a run shown as it goes, its report and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from pipeline.app.assemble import Assembly, assemble
from pipeline.app.config.loading import ConfigRequest
from pipeline.app.config.run import RunConfig
from pipeline.app.logs import is_verbose, log_as_json
from pipeline.app.open_outputs import warn_of_unused_look
from pipeline.app.output_paths import make_folder
from pipeline.app.overlay import OverlayText
from pipeline.app.process import prepare_process
from pipeline.app.report_file import write_report
from pipeline.app.run.control import Control, refuse_socket
from pipeline.app.run.count_tally import CountTally
from pipeline.app.run.counts_in_words import print_line_and_zone_counts
from pipeline.app.run.dry_run import print_dry_run
from pipeline.app.run.live import Live, LiveRun
from pipeline.app.run.object_tally import ObjectTally
from pipeline.app.run.objects_in_words import print_counts, why_nothing
from pipeline.app.run.options import DEMO_FOLDER, DemoOptions, RunOptions
from pipeline.app.run.panel import RunView, panel_for
from pipeline.app.run.report import ModelReport, print_images, print_report, report_of
from pipeline.app.run.service import Service
from pipeline.app.run.supervisor import Supervisor
from pipeline.app.run.truth_tally import ClassTally, TruthTally
from pipeline.app.run.verdict import Setup, judge
from pipeline.app.signals import Signals, threads_left_behind
from pipeline.app.standard_streams import lines_given_up_after
from pipeline.app.terminal import short_name, tell, wide_console
from pipeline.errors import StreamdetError
from pipeline.events import event
from pipeline.flow.failure import OnError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running, RunStatistics
from pipeline.picture.detections import Result
from pipeline.sinks.events.delivery import DeliversEvents, DeliveryStatistics
from pipeline.sinks.network.statistics import SendsFrames, SendStatistics
from pipeline.sources.source import HasGroundTruth, HasImages, HasParts

logger = logging.getLogger(__name__)

NEXT_COMMAND = "streamdet run VIDEO.mp4 -m yolox-nano -o out.mp4"
_DEMO_LINES = {"road": "0.42,0.98,0.62,0.4"}
_DEMO_ZONES = {"pavement": "0.02,0.62,0.3,0.45,0.42,0.55,0.2,0.98,0.02,0.98"}
NEXT_MODEL = "on a video of your own, with YOLOX-Nano (80 classes, Apache-2.0, 3.7 MB download)"


@dataclass(frozen=True, slots=True)
class Tallies:
    """What sees every result of a run."""

    objects: ObjectTally
    counting: CountTally
    truth: TruthTally | None  # None: no source knows it


def run_sources(options: RunOptions) -> int:
    """Run the sources of a command line; returns the exit code, see `run_and_report`."""
    if options.log_format == "json":
        log_as_json(sys.argv[1:])
    config = options.config.load()
    if options.dry_run:
        return _run_dry(options.config, config)
    with Service(config, metrics=options.metrics) as service:
        return _run(config, service, is_quiet=options.log_format == "json")


def run_demo(options: DemoOptions) -> int:
    """Run the demo; returns the exit code, see `run_and_report`. Raises SinkError for a folder that cannot be made."""
    if options.config.load().serve is not None:
        return _serve_demo(options)
    folder = options.folder
    make_folder("--output", folder)
    config = replace(options.config, file="demo").load(
        output__video=str(folder / "demo.mp4"),
        output__jsonl=str(folder / "demo.jsonl"),
        output__report=str(folder / "report.json"),
        output__show=options.show,
        output__overwrite=options.overwrite or folder == DEMO_FOLDER,
    )
    with Service(config) as service:
        code = _run(config, service)
    if code == 0:
        _tell_what_next(folder)
    return code


def _serve_demo(options: DemoOptions) -> int:
    """The same video again and again at its own pace, in a browser, with a line and a zone; nothing is written."""
    request = replace(options.config, file="demo")
    config = request.load(output__show=options.show, flow__mode="live", lines=_DEMO_LINES, zones=_DEMO_ZONES)
    with Service(config) as service:
        return run_and_report(config, service=service, loops=True)


def _tell_what_next(folder: Path) -> None:
    """The video to look at, and the one command to type after the demo."""
    console = wide_console()
    tell(console, f"look at  {folder / 'demo.mp4'}")
    tell(console, f"next     {NEXT_COMMAND}", "bold")
    tell(console, f"         {NEXT_MODEL}", "dim")


def _run_dry(request: ConfigRequest, config: RunConfig) -> int:
    """Open everything, print what would be run with which settings, and close it."""
    prepare_process()
    output = config.output.model_copy(update={"overwrite": True})  # it writes nothing
    assembly = assemble(config.model_copy(update={"output": output}))
    is_verbose = logging.getLogger("pipeline").isEnabledFor(logging.DEBUG)
    try:
        print_dry_run(request, config, assembly, wide_console(140), all_keys=is_verbose)
    finally:
        assembly.close()
    return 0


def _run(config: RunConfig, service: Service, *, is_quiet: bool = False) -> int:
    try:
        return run_and_report(config, service=service, is_quiet=is_quiet)
    except BrokenPipeError:  # the reader of the JSON lines left, as `head` does, which is not a mistake
        return 0


def run_and_report(
    config: RunConfig, *, service: Service | None = None, is_quiet: bool = False, loops: bool = False
) -> int:
    """Run to the end, show how it goes, and report. Returns the exit code.

    service: hears of the run. is_quiet: nothing is printed; what matters is in the log. loops: recorded sources begin
    anew where they end.
    0: the sources ended or the window was closed; 1: with `strict`, something could not be read or sent;
    130, 143, 129: Ctrl-C, SIGTERM, SIGHUP, which a closed terminal sends.
    Raises a StreamdetError for what cannot run or breaks on the way, after the report, and KeyboardInterrupt for a
    signal that comes before the run.
    """
    prepare_process()
    service = service or Service(config)
    console = wide_console(140, stderr=config.output.jsonl == "-")
    console.quiet = is_quiet
    overlay = OverlayText()
    if config.control is not None:
        refuse_socket(Path(config.control))
    live = None if config.serve is None else Live.listening(config.serve)
    with (
        live or nullcontext(),
        Signals(grace_seconds=config.flow.grace_s) as signals,
        lines_given_up_after(config.flow.grace_s),
    ):
        assembly = assemble(config, overlay=overlay, loops=loops, wait_for=signals.wait_for)
        warn_of_unused_look(config)
        if config.track.kind is None and assembly.config.track.kind is not None:
            tell(console, f"tracking with {assembly.config.track.kind}, which counting needs (--track)", "dim")
        for branch in assembly.branches:
            sources = f": {', '.join(map(short_name, branch.source_ids))}" if len(assembly.branches) > 1 else ""
            engine = branch.engine
            for line in (f"{engine.describe()}{sources}", branch.shape_remark, engine.reason, engine.agreement):
                if line is not None:
                    tell(console, line, "dim")
        if live is not None:
            tell(console, f"serving  {live.url}", "bold")
            live.log_address()
        return _run_assembly(assembly, config, console, overlay, signals, service, live)


def _run_assembly(
    assembly: Assembly,
    config: RunConfig,
    console: Console,
    overlay: OverlayText,
    signals: Signals,
    service: Service,
    live: Live | None,
) -> int:
    """The exit code of the signal that ended the run, or of its losses. Raises what broke it, after the report."""
    source_of_part = {
        part_id: name
        for name, source in assembly.sources.items()
        if isinstance(source, HasParts)
        for part_id in source.part_ids
    }
    objects, counting = ObjectTally(source_of_part), CountTally(source_of_part)
    flow, truth = _with_truth(assembly)
    flow = flow.observe(objects).observe(counting)
    on_error = OnError(sink=config.output.on_error, frame="continue" if config.strict is False else "stop")
    stays_open = config.control is not None
    running = Running(
        flow, grace_seconds=config.flow.grace_s, on_error=on_error, stays_open=stays_open, collects_cycles=True
    )
    supervisor = Supervisor(running, assembly)
    overlay.statistics = running.statistics
    view = RunView(
        flow, running.statistics, objects.counts, counting.counts_by_source, captures_now=lambda: supervisor.captures
    )
    tallies = Tallies(objects, counting, truth)
    try:
        with (
            signals.answered_by(running.stop),
            running,
            _control_of(config, supervisor),
            nullcontext() if live is None else live.serving(LiveRun(running, supervisor, service)),
            panel_for(console, view) as panel,
        ):
            service.began(supervisor, running, counting.counts_by_source)

            def on_tick() -> None:
                panel.update()
                service.observe(is_stopping=bool(signals.numbers))

            running.wait(on_tick=on_tick)
    except BaseException as error:
        try:
            _report(running.statistics(), supervisor, config, console, tallies, service, broken_by=error)
        except StreamdetError as second:  # what broke the run is not to be hidden by it
            error.add_note(str(second))
        raise
    else:
        _report(running.statistics(), supervisor, config, console, tallies, service)
    finally:
        if not threads_left_behind():  # an inference that never returns would keep the engine from closing
            supervisor.assembly.close_engines()
    return (
        128 + signals.numbers[0] if signals.numbers else int(bool(config.strict and _has_losses(supervisor.assembly)))
    )


def _has_losses(assembly: Assembly) -> bool:
    """Whether something could not be read, or not be sent."""
    is_damaged = any(source.damage for source in assembly.sources.values())
    return is_damaged or any(stream.num_not_sent for stream in _streams(assembly).values())


def _control_of(config: RunConfig, supervisor: Supervisor) -> AbstractContextManager[object]:
    """What listens to `streamdet ctl`, where that was requested."""
    return nullcontext() if config.control is None else Control(Path(config.control), supervisor)


def _streams(assembly: Assembly) -> dict[str, SendStatistics]:
    """What became of the frames that were to be sent to addresses, by address."""
    sinks = [getattr(node.part, "sink", node.part) for node in assembly.flow.nodes]  # that of a mosaic is behind it
    return {sink.name: sink.statistics() for sink in sinks if isinstance(sink, SendsFrames)}


def _deliveries(assembly: Assembly) -> dict[str, DeliveryStatistics]:
    """What became of the events that were to be delivered, by receiver."""
    sinks = [node.part for node in assembly.flow.nodes if isinstance(node.part, DeliversEvents)]
    return {name: counted for sink in sinks for name, counted in sink.deliveries().items()}


def _with_truth(assembly: Assembly) -> tuple[Flow[Result], TruthTally | None]:
    """Compare with the truth where the one source knows it, as drawn traffic does."""
    from pipeline.sources.street.traffic import TrafficSource

    ((name, source), *others) = assembly.sources.items()
    if others or not isinstance(source, HasGroundTruth):
        return assembly.flow, None
    tally = TruthTally(source, every=5 if isinstance(source, TrafficSource) else 1)
    return assembly.flow.to(tally, name="truth", watches=True, only_sources=[name]), tally


def _report(
    statistics: RunStatistics,
    supervisor: Supervisor,
    config: RunConfig,
    console: Console,
    tallies: Tallies,
    service: Service,
    *,
    broken_by: BaseException | None = None,
) -> None:
    assembly = supervisor.assembly
    damage = {name: source.damage for name, source in assembly.sources.items()}
    of_files = {name: source for name, source in assembly.sources.items() if isinstance(source, HasImages)}
    models = _models(assembly)
    report = report_of(
        statistics,
        verdict=judge(statistics, is_live=assembly.is_live, setup=Setup(config, assembly.sources)),
        model=", ".join(models),
        device=", ".join(dict.fromkeys(f"{model['device']} {model['precision']}" for model in models.values())),
        damage=damage,
        every=config.flow.every,
        agreement="; ".join(filter(None, (model["agreement"] for model in models.values()))) or None,
        models=models,
        unreadable={name: source.unreadable for name, source in of_files.items()},
        objects=tallies.objects,
        counting=tallies.counting.counts_by_source(),
        streams=_streams(assembly),
        deliveries=_deliveries(assembly),
        gates=assembly.gates(),
        states={name: capture.states for name, capture in supervisor.captures.items()},
    )
    service.observe()  # for the sources' last states
    service.ended(report, error=broken_by)
    images, truth = tallies.objects.images(), tallies.truth
    print_counts(tallies.objects.counts(), images, console, nothing=_why_nothing(assembly))
    print_line_and_zone_counts(tallies.counting.counts_by_source(), console)
    if truth is not None:
        _print_tally(truth.tally(), truth.num_frames, console)
    if images is not None:
        print_images(report, console, num_unreadable=sum(len(source.unreadable) for source in of_files.values()))
    if images is None or is_verbose():
        print_report(report, console, is_verbose=is_verbose())
    for name, lines in damage.items():
        for line in lines:
            tell(console, f"warning: {name}: {line}", "yellow")
            logger.info("%s: %s", name, line, extra=event("source_damage", source=name, damage=line))
    if config.output.report is not None:
        write_report(report, Path(config.output.report))
    written = [
        target.words
        for target in assembly.targets
        if _is_there(Path(target.path)) and not str(broken_by).startswith(f"{target.path}: ")
    ]
    if written:
        tell(console, "written  " + ", ".join(written))


def _models(assembly: Assembly) -> dict[str, ModelReport]:
    """What the report says of each model."""
    return {
        branch.name: {
            "device": branch.engine.device,
            "precision": branch.engine.precision,
            "agreement": branch.engine.agreement,
            "sources": list(branch.source_ids),
        }
        for branch in assembly.branches
    }


def _why_nothing(assembly: Assembly) -> str:
    """What would have been kept of each model."""
    reasons = {
        branch.name: why_nothing(branch.suppression.detection, branch.engine.spec) for branch in assembly.branches
    }
    if len(reasons) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"of {name} {reason}" for name, reason in reasons.items())


def _is_there(path: Path) -> bool:
    """Whether something was written: a file, or a folder with something in it."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _print_tally(tally: Sequence[ClassTally], num_frames: int, console: Console) -> None:
    num_there, num_found, num_false = (
        sum(getattr(row, name) for row in tally) for name in ("num_there", "num_found", "num_false")
    )
    share = f"{num_found / num_there:.1%}" if num_there else "–"
    objects = f"{num_found} of {num_there} objects ({share})"
    tell(console, f"truth    {objects} found in {num_frames} frames, {num_false} false alarms")
    if tally:
        tell(console, "         " + ", ".join(f"{row.name} {row.num_found}/{row.num_there}" for row in tally))
