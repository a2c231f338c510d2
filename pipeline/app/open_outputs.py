"""Opened outputs: a configuration and the sources of a run → checked outputs, opened and hung on a flow of results."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline.app import outputs
from pipeline.app.config.flags import FLAGS
from pipeline.app.config.output import OutputConfig
from pipeline.app.config.render import RenderConfig
from pipeline.app.config.run import RunConfig
from pipeline.app.event_outputs import SNAPSHOTS, refuse_useless_events
from pipeline.app.output import Feed, Output, Overlay, SinkRequest, is_folder
from pipeline.app.output_paths import inputs_of, refuse_folder_of_inputs, refuse_overwriting
from pipeline.app.stages import RENDER
from pipeline.app.video_outputs import ANNOTATED, MOSAIC
from pipeline.errors import ConfigError
from pipeline.flow.graph import Flow
from pipeline.flow.stage import Sink
from pipeline.picture.detections import RenderedFrame, Result
from pipeline.sinks.network.address import is_address
from pipeline.sinks.output_lock import LockedSink, OutputLock
from pipeline.sinks.writable import is_regular, refuse_unwritable

if TYPE_CHECKING:
    from pipeline.picture.annotators import Annotators

logger = logging.getLogger(__name__)

_LOOK_KEYS = ("theme", "box_style", "colour_by", "line_width", "text_size", "annotators")

T = TypeVar("T")


def with_outputs(
    flow: Flow[Result],
    config: RunConfig,
    feeds: Sequence[Feed],
    *,
    class_names: Sequence[str],
    overlay: Overlay | None,
    takes_shapes: bool,
    undo: ExitStack,
) -> Flow[Result]:
    """Open the outputs that are requested and hang them on a flow; nothing is rendered where no output takes it.

    class_names: of the models. overlay: the lines to write over each picture. takes_shapes: whether lines and zones
    may come later. undo: learns how to close each sink.
    Raises a StreamdetError for an output that cannot be opened.
    """
    _refuse_useless(config)
    refuse_useless_events(config, takes_shapes=takes_shapes)
    if config.output.report is not None:
        refuse_unwritable(Path(config.output.report), "the report")
    burnt, unburnt = _overlays(config, feeds, overlay)
    locks: dict[str, OutputLock] = {}
    requests = [
        (output, replace(request, class_names=class_names, overlay=unburnt))
        for output in outputs.OUTPUTS
        for request in output.requests(config, feeds)
    ]
    of_results = [(output, request) for output, request in requests if output.takes == "result"]
    of_pictures = [(output, request) for output, request in requests if output.takes == "rendered"]
    flow = _with_sinks(flow, of_results, locks, undo)
    if not of_pictures:
        return flow
    in_planes = all(output.takes_planes for output, _ in of_pictures)
    return flow.branch(
        lambda results: _with_sinks(_rendered(results, config, burnt, in_planes=in_planes), of_pictures, locks, undo)
    )


def with_outputs_of_source(
    flow: Flow[Result], config: RunConfig, feed: Feed, earlier: Sequence[Feed], *, undo: ExitStack
) -> tuple[Flow[Result], list[OutputTarget]]:
    """Hang outputs of its own on a flow for a source that came later; those of all sources take it as it is.

    Returns what they may write, too. A recording gets the name that it would have had from the start, or, where that
    file is there, with a number.
    earlier: the feeds that the run has or had. undo: learns how to close each sink.
    Raises ConfigError for outputs that are made for the sources at the start, SinkError for one that cannot be opened.
    """
    for fixed, option in ((MOSAIC, "--mosaic"), (ANNOTATED, "--output as images")):
        if fixed.target(config) is not None:
            raise ConfigError(
                f"{option} takes the sources that are there at the start; record with -o FILE.mp4 instead"
            )
    if feed.part_ids:
        raise ConfigError(f"{feed.source_id}: a folder of videos cannot be added; name it at the start")
    feeds = [*(other for other in earlier if other.source_id != feed.source_id), feed]
    if len(feeds) == 1:  # as a source that is not the only one is named
        feeds = [Feed("", None, is_live=False), feed]
    targets, tip = [], flow.tip
    for output in outputs.OUTPUTS:
        for request in output.requests(config, feeds) if output.per_source else ():
            if request.feed is feed:
                target = request.target if output.file_option is None else _free_path(request.target)
                sinks = [(output, replace(request, target=target))]
                flow = flow.at(RENDER.role) if output.takes == "rendered" else Flow(flow.nodes, tip)
                flow = _with_sinks(flow, sinks, {}, undo)
                if output.file_option is not None:
                    targets.append(OutputTarget(target, target))
    return Flow(flow.nodes, tip), targets


def _free_path(path: str) -> str:
    """The path, or where something is there, with a number: out-door-2.mp4."""
    free, number = Path(path), 2
    while free.exists():
        free, number = Path(path).with_stem(f"{Path(path).stem}-{number}"), number + 1
    return str(free)


def refuse_outputs(config: RunConfig, feeds: Sequence[Feed]) -> None:
    """Raise SinkError for an output that would overwrite an input, another output, or, unasked, a file."""
    _refuse_annotators(config)
    if config.render.colour_by == "track" and config.track.kind is None:
        raise ConfigError("--colour-by track colours objects that are followed: add --track, or leave it out")
    inputs, requests = inputs_of(config), _file_requests(config, feeds)
    folders = [(output.file_option or "", request.target) for output, request in requests if output.names_files]
    files = output_files(config, feeds)
    for option, folder in folders:
        refuse_folder_of_inputs(option, folder, inputs)
    appended = list(dict.fromkeys(_files_of([row for row in requests if row[0].appends(config)])))
    refuse_overwriting(files, inputs, overwrite=config.output.overwrite, folders=folders, appended=appended)
    for output in outputs.LABELS:  # which know what in a folder are labels; without a picture, they write nothing
        for request in output.requests(config, feeds):
            output.open(request).close()


def warn_of_unused_look(config: RunConfig) -> None:
    """Log a warning for settings of how pictures are drawn where none is."""
    draws = (*(output for output in outputs.OUTPUTS if output.takes == "rendered"), SNAPSHOTS)
    saves_drawn = config.output.save_frames is not None and config.output.draw_frames
    if saves_drawn or any(output.target(config) is not None for output in draws):
        return
    usual, chosen = RenderConfig(), config.render
    keys = [key for key in _LOOK_KEYS if getattr(chosen, key) != getattr(usual, key)]
    if keys:
        flags = " and ".join(FLAGS[f"render.{key}"] for key in keys)
        page = "; the page draws in its own way" if config.serve is not None else ""
        logger.warning("%s: nothing is drawn%s; add -o out.mp4, or --show for a window", flags, page)


def refuse_different_classes(config: RunConfig, class_names: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError for an output with one list of classes where models have others. class_names: by model."""
    (first, names), *others = class_names.items()
    other = next((model for model, its_names in others if tuple(its_names) != tuple(names)), None)
    for output in outputs.OUTPUTS:
        if output.has_class_list and other is not None and output.target(config) is not None:
            raise ConfigError(
                f"{output.file_option} has one list of classes for all pictures, and {first} and {other} have "
                "different ones; run them apart, or write --labels voc=FOLDER, where each box has the name of its class"
            )


def output_files(config: RunConfig, feeds: Sequence[Feed]) -> list[tuple[str, str]]:
    """The files that a run may write anew, with the option that names each; - is standard output."""
    report = [] if config.output.report is None else [("--report", config.output.report)]
    replaced = [row for row in _file_requests(config, feeds) if not row[0].appends(config)]
    return report + _files_of(replaced)


def _files_of(requests: Sequence[tuple[Output, SinkRequest]]) -> list[tuple[str, str]]:
    return [
        (output.file_option, file)
        for output, request in requests
        for file in ([request.target] if output.files is None else output.files(request))
        if output.file_option is not None
        if not is_address(file)
    ]


def _refuse_useless(config: RunConfig) -> None:
    """Raise ConfigError for what says how a video is recorded where none is, or not in such a way."""
    chosen = config.output
    if chosen.mosaic and chosen.video is None:
        raise ConfigError("--mosaic puts all sources into the one video of --output, which is missing: add -o wall.mp4")
    if chosen.segment is not None and chosen.video is None:
        raise ConfigError("--segment divides a recording, and there is none: name it with --output, or leave it out")
    if chosen.segment is not None and (chosen.mosaic or is_address(chosen.video)):
        other = "--mosaic" if chosen.mosaic else "an address"
        raise ConfigError(f"--segment divides recordings of single sources, not {other}; leave one of them out")
    if chosen.save_frames is None and (chosen.draw_frames or chosen.frames != OutputConfig().frames):
        flag = "--draw-frames" if chosen.draw_frames else "--frames"
        raise ConfigError(f"{flag} is for --save-frames, which is missing: add --save-frames any, or leave it out")
    if chosen.append and chosen.jsonl in (None, "-") and chosen.csv is None and config.events.file in (None, "-"):
        raise ConfigError("--append adds to the file of --jsonl or --csv, and there is none: name one, or leave it out")
    if chosen.keep and chosen.segment is None:
        raise ConfigError("--keep deletes segments, and there are none: give --segment 10m as well, or leave it out")


class OutputTarget(NamedTuple):
    """What a run names when it has ended: a file or folder, and the words for it, which tell of further files."""

    path: str
    words: str


def output_targets(config: RunConfig, feeds: Sequence[Feed]) -> tuple[OutputTarget, ...]:
    """What a run may write: its files, and a folder for all files in it; - is standard output."""
    report = config.output.report
    targets = [] if report is None else [OutputTarget(report, report)]
    targets += [_target_of(output, request) for output, request in _file_requests(config, feeds)]
    return tuple(dict.fromkeys(targets))


def _target_of(output: Output, request: SinkRequest) -> OutputTarget:
    """The file of a sink, its folder, or the first of many files."""
    if output.files is None or is_folder(request.target):
        return OutputTarget(request.target, request.target)
    first, *others = output.files(request)
    return OutputTarget(first, f"{first} … ({1 + len(others)} files)" if others else first)


def _file_requests(config: RunConfig, feeds: Sequence[Feed]) -> list[tuple[Output, SinkRequest]]:
    writing = [output for output in outputs.OUTPUTS if output.file_option is not None]
    return [(output, request) for output in writing for request in output.requests(config, feeds)]


def _overlays(
    config: RunConfig, feeds: Sequence[Feed], overlay: Overlay | None
) -> tuple[Overlay | None, Overlay | None]:
    """The lines that are drawn into the pictures, and so recorded, and those that only a window shows."""
    if overlay is None or config.render.overlay is not None:
        return (overlay if config.render.overlay else None), None
    lines_of = overlay
    live = {frame_id for feed in feeds if feed.is_live for frame_id in feed.frame_ids}
    return (
        lambda result: lines_of(result) if result.frame.source_id in live else (),
        lambda result: () if result.frame.source_id in live else lines_of(result),
    )


def _rendered(
    results: Flow[Result], config: RunConfig, overlay: Overlay | None, *, in_planes: bool
) -> Flow[RenderedFrame]:
    from pipeline.stages.render import Render

    requests = config.render.annotator_requests()

    def render(annotators: Annotators | None = None) -> Render:
        return Render(
            overlay=overlay,
            labels=config.render.labels,
            scores=config.render.scores,
            predicted=config.render.predicted,
            boxes=config.render.boxes,
            look=config.render.look(),
            in_planes=in_planes,
            annotators=annotators,
        )

    capacity = config.flow.queue_capacity
    if not requests:
        return results.then(render(), name=RENDER.role, capacity=capacity)
    from pipeline.picture.annotators import Annotators

    return results.then_per_source(lambda _: render(Annotators(requests)), name=RENDER.role, capacity=capacity)


def _refuse_annotators(config: RunConfig) -> None:
    """Raise a StreamdetError for annotators that cannot draw, before anything runs."""
    requests = config.render.annotator_requests()
    if not requests:
        return
    from pipeline.picture.annotators import Annotators, needs_tracks

    Annotators(requests)
    tracked = next((request.name for request in requests if needs_tracks(request)), None)
    if tracked is not None and config.track.kind is None:
        raise ConfigError(f"render.annotators: {tracked} draws objects that are followed: add --track, or leave it out")


def _opened(output: Output, request: SinkRequest, locks: dict[str, OutputLock]) -> Sink[Any]:
    """The sink; one of a regular file or folder keeps other runs from it. locks: that this run has, by target."""
    target = Path(request.target)
    if output.file_option is None or request.target == "-" or not is_regular(target):
        return output.open(request)
    if request.target in locks:  # a folder, of a sink for each source
        lock = locks[request.target].held_again()
    else:
        lock = locks[request.target] = OutputLock(target)
    try:
        return LockedSink(output.open(request), lock)
    except BaseException:
        lock.release()
        raise


def _with_sinks(
    flow: Flow[T], requests: Sequence[tuple[Output, SinkRequest]], locks: dict[str, OutputLock], undo: ExitStack
) -> Flow[T]:
    for output, request in requests:
        sink = _opened(output, request, locks)
        undo.callback(sink.close)
        flow = flow.to(
            sink,
            name=output.node_name(request),
            role=output.role,
            only_sources=None if request.feed is None else [request.feed.source_id],
            capacity=request.config.flow.queue_capacity,
            in_main_thread=output.in_main_thread,
        )
    return flow
