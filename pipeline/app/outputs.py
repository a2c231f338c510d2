"""Outputs: a table of sinks → those that a configuration requests, opened and hung on a flow of results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from pipeline.app.config import LabelFormat, OutputConfig, RunConfig
from pipeline.app.output_paths import inputs_of, make_folder, refuse_folder_of_inputs, refuse_overwriting
from pipeline.app.stages import RENDER, Advice, Limit
from pipeline.errors import ConfigError, SinkError
from pipeline.flow.graph import Flow
from pipeline.flow.stage import Sink
from pipeline.picture.detections import RenderedFrame, Result
from pipeline.segment_limits import SegmentLimit, parse_segment, parse_size
from pipeline.sinks.network.address import StreamAddress, is_address
from pipeline.sinks.output_lock import LockedSink, OutputLock
from pipeline.sinks.picture_names import PictureNames, source_stems
from pipeline.sinks.writable import is_regular, refuse_unwritable
from pipeline.sources.file_sets import IMAGE_SUFFIXES

if TYPE_CHECKING:  # brings libav along
    from pipeline.sinks.soundtrack import SoundSource

T = TypeVar("T")

_MOST_MOSAIC_FPS = 30.0
_MOSAIC_FPS_OF_IMAGES = 10.0

Overlay = Callable[[Result], Sequence[str]]
"""The lines to write over a picture's top left."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The frames of one source, as they come to the outputs."""

    source_id: str
    frames_per_second: float | None  # declared; None: not known
    is_live: bool
    images: Sequence[str] = ()  # the files, of a source whose frames, or some of them, are images of their own
    part_ids: Sequence[str] = ()  # of a source that reads several files one after another
    part_rate: Callable[[str], float | None] | None = None  # declared, of a part that has been opened
    size_wh: tuple[int, int] | None = None  # in pixels; None: not known, or of several sizes
    file: Path | None = None  # that its frames are read from, with their media times; None: there is no such file
    end_seconds: Callable[[], float | None] | None = None  # of its last frame, once a recorded source has ended

    @property
    def frame_ids(self) -> Sequence[str]:
        """The source_ids of its frames."""
        return self.part_ids or (self.source_id,)

    @property
    def recorded_ids(self) -> Sequence[str]:
        """Those of its frames that are not images."""
        return [frame_id for frame_id in self.frame_ids if frame_id != self.source_id or not self.images]


@dataclass(frozen=True, slots=True)
class SinkRequest:
    """One sink to open."""

    config: RunConfig
    target: str  # as the output's `target` gave it; of several sources that are written to files, each has its own
    feed: Feed | None = None  # of an output that has a sink for each source
    feeds: Sequence[Feed] = ()  # of the whole run
    class_names: Sequence[str] = ()  # of the model, where it is known
    overlay: Overlay | None = None  # the lines that the rendered pictures lack, and that a window writes over them

    def picture_names(self) -> PictureNames:
        """The names that the run's pictures have in every output."""
        images = [image for feed in self.feeds for image in feed.images]
        return PictureNames(_frame_ids(self.feeds), images)


@dataclass(frozen=True, slots=True)
class Output:
    """A kind of sink: when it is requested, what it takes, how it is opened, and what reports and charts say about it.

    target: the file, address or title that a configuration requests; None: not requested.
    open: raises a StreamdetError where the target cannot be written to or shown.
    colour: in charts, #rrggbb.
    file_option: the option that names the target, a file, which must not overwrite an input, and which the run names
        when it has ended; None: the output writes no file.
    files: those that a sink may write, where its target is not the one file.
    appends: the files may be there and are added to, so that they need no --overwrite.
    names_files: the target is a folder in which the sink names files, so that nothing that is read may lie there.
    per_source: each source has a sink of its own. in_main_thread: the sink is a `MainThreadSink`.
    takes_planes: a rendered picture may be on planes, because the sink encodes them.
    """

    role: str
    takes: Literal["result", "rendered"]
    target: Callable[[RunConfig], str | None]
    open: Callable[[SinkRequest], Sink[Any]]
    advice: Advice
    colour: str
    file_option: str | None = None
    files: Callable[[SinkRequest], Sequence[str]] | None = None
    appends: bool = False
    names_files: bool = False
    per_source: bool = False
    in_main_thread: bool = False
    takes_planes: bool = False

    def requests(self, config: RunConfig, feeds: Sequence[Feed]) -> list[SinkRequest]:
        """The sinks to open; none where the output is not requested."""
        target = self.target(config)
        if target is None:
            return []
        if not self.per_source:
            return [SinkRequest(config, target, feeds=feeds)]
        if self.file_option is None or _is_annotated(target):
            return [SinkRequest(config, target, feed, feeds) for feed in feeds]
        paths = recording_paths(target, _frame_ids(feeds))
        return [SinkRequest(config, paths.get(feed.source_id, target), feed, feeds) for feed in feeds]

    def node_name(self, request: SinkRequest) -> str:
        """The role, and where there is a sink for each source, its file or its source."""
        if request.feed is None:
            return self.role
        has_own_file = (self.file_option is not None and len(request.feeds) == 1) or request.target != self.target(
            request.config
        )
        return f"{self.role} {request.target if has_own_file else request.feed.source_id}"


def _open_json_lines(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.jsonl import JsonLines

    return JsonLines(request.target)


def _open_csv(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.csv_table import CsvTable

    return CsvTable(request.target)


def _open_parquet(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.parquet import ParquetTable

    return ParquetTable(request.target)


def _open_crops(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.crops import Crops

    return Crops(request.target, names=request.picture_names())


def _open_saved_frames(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.frame_condition import frame_condition
    from pipeline.sinks.saved_frames import SavedFrames

    output = request.config.output
    condition = frame_condition(output.save_frames or "", request.class_names, flag="--save-frames")
    return SavedFrames(request.target, condition, names=request.picture_names(), drawn=output.draw_frames)


def _open_recording(request: SinkRequest) -> Sink[RenderedFrame]:
    assert request.feed is not None
    _refuse_no_suffix(request.target)
    return _recording(request, request.target, request.feed)


def _refuse_no_suffix(path: str) -> None:
    if not Path(path).suffix:
        raise SinkError(
            "--output must be a video (.mp4, .mkv, .mov, .webm), an image, or a folder, which ends in a slash "
            f"({path}/), got {path}"
        )


def _sound_of(request: SinkRequest) -> SoundSource | None:
    """The sound of a file, where a recording keeps it."""
    feed = request.feed
    if feed is None or feed.file is None or feed.is_live or not request.config.output.sound:
        return None
    from pipeline.sources.video.sound import Sound

    return Sound.of(feed.file)


def _open_recordings(request: SinkRequest) -> Sink[RenderedFrame]:
    """The recording of a source, or one after another of the files that it reads."""
    from pipeline.sinks.annotated import Recordings

    assert request.feed is not None
    return Recordings(partial(_record, request)) if request.feed.part_ids else _open_recording(request)


def _open_annotated(request: SinkRequest) -> Sink[RenderedFrame]:
    from pipeline.sinks.annotated import AnnotatedFolder, AnnotatedImage, refuse_image

    if is_folder(request.target):
        return AnnotatedFolder(request.target, names=request.picture_names(), record=partial(_record, request))
    refuse_image(
        request.target,
        num_images=sum(len(feed.images) for feed in request.feeds),
        videos=[source_id for feed in request.feeds for source_id in feed.recorded_ids],
    )
    return AnnotatedImage(request.target)


def _record(request: SinkRequest, source_id: str) -> Sink[RenderedFrame]:
    """The recording of one source or file."""
    return _open_recording(_of_part(request, source_id))


def _of_part(request: SinkRequest, source_id: str) -> SinkRequest:
    """The request for the recording of one source or file."""
    assert request.feed is not None
    assert request.config.output.video is not None
    path = recording_paths(request.config.output.video, _frame_ids(request.feeds))[source_id]
    if is_folder(request.target):
        make_folder("--output", Path(path).parent)
    feed = request.feed
    if feed.part_rate is not None:
        rate = feed.part_rate(source_id)
        feed = replace(feed, frames_per_second=None if rate is None else rate / request.config.flow.every)
    if feed.part_ids and source_id in feed.recorded_ids:
        feed = replace(feed, file=Path(source_id))
    return replace(request, target=path, feed=feed)


def _open_segments(request: SinkRequest) -> Sink[RenderedFrame]:
    """The segments of a source, or one after another of the files that it reads."""
    from pipeline.sinks.annotated import Recordings

    assert request.feed is not None
    if request.feed.part_ids:
        return Recordings(lambda source_id: _segments(_of_part(request, source_id)))
    return _segments(_of_part(request, request.feed.source_id))


def _segments(request: SinkRequest) -> Sink[RenderedFrame]:
    from pipeline.sinks.segment_archive import shared_archive
    from pipeline.sinks.segmented import SegmentedRecording

    output, feed, path = request.config.output, request.feed, Path(request.target)
    assert feed is not None
    assert output.video is not None
    assert output.segment is not None
    _refuse_no_suffix(request.target)
    archive = shared_archive(
        segment_index(output.video), keep=SegmentLimit.of(output.keep), min_free_bytes=parse_size(output.min_free)
    )
    try:
        part = path.with_name(f"{path.stem}.part{path.suffix}")
        _recording(request, str(part), feed).close()  # whether it can be recorded
        return SegmentedRecording(
            path,
            open_recording=lambda part: _recording(request, str(part), feed),
            archive=archive,
            limit=parse_segment(output.segment),
            pattern=output.segment_name,
            is_live=feed.is_live,
        )
    except BaseException:
        archive.leave()
        raise


def segment_index(video: str) -> Path:
    """The index of the segments of all sources: out.segments.jsonl beside out.mp4, out/segments.jsonl of out/."""
    return Path(video) / "segments.jsonl" if is_folder(video) else Path(video).with_suffix(".segments.jsonl")


def _segment_index_of(request: SinkRequest) -> Sequence[str]:
    assert request.config.output.video is not None
    return [str(segment_index(request.config.output.video))]


def _recorded_files(request: SinkRequest) -> Sequence[str]:
    """The recordings of one source or of the files that it reads."""
    assert request.feed is not None
    assert request.config.output.video is not None
    paths = recording_paths(request.config.output.video, _frame_ids(request.feeds))
    return [paths[frame_id] for frame_id in request.feed.frame_ids]


def _annotated_files(request: SinkRequest) -> Sequence[str]:
    """The images and recordings that an annotated folder gets of one source, or the one image."""
    from pipeline.sinks.annotated import image_paths

    assert request.feed is not None
    if not is_folder(request.target):
        return [request.target]
    images = image_paths(request.target, request.feed.images, request.picture_names())
    paths = recording_paths(request.target, _frame_ids(request.feeds))
    return images + [paths[source_id] for source_id in request.feed.recorded_ids]


def _frame_ids(feeds: Sequence[Feed]) -> list[str]:
    """The source_ids of all frames of a run."""
    return [frame_id for feed in feeds for frame_id in feed.frame_ids]


def is_folder(word: str) -> bool:
    """Whether an output is a folder: one that is there, or a word that ends in a slash."""
    return "://" not in word and (word.endswith(("/", os.sep)) or Path(word).is_dir())


def _is_annotated(word: str | None) -> bool:
    """Whether -o is written as image files, and not as one recording."""
    return word is not None and (is_folder(word) or ("://" not in word and Path(word).suffix.lower() in IMAGE_SUFFIXES))


def _open_stream(request: SinkRequest) -> Sink[RenderedFrame]:
    assert request.feed is not None
    address = StreamAddress.parse(request.target)
    if len(request.feeds) > 1:
        address = address.of_source(source_stems([feed.source_id for feed in request.feeds])[request.feed.source_id])
    return _stream(request, address, request.feed)


def _open_mosaic(request: SinkRequest) -> Sink[RenderedFrame]:
    from pipeline.sinks.joined import SOURCE_ID, Joined

    feeds, output = {feed.source_id: feed for feed in request.feeds}, request.config.output
    is_live = any(feed.is_live for feed in request.feeds)
    if is_live and not all(feed.is_live for feed in request.feeds):
        raise ConfigError("--mosaic needs sources that are all live or all recorded; --live plays files as cameras do")
    rates = [feed.frames_per_second for feed in request.feeds if feed.frames_per_second is not None]
    rate = output.mosaic_fps or min(max(rates, default=_MOSAIC_FPS_OF_IMAGES), _MOST_MOSAIC_FPS)
    width, height = map(int, output.mosaic_size.lower().split("x"))
    joined_feed = Feed(SOURCE_ID, rate, is_live)

    def end_seconds(name: str) -> float | None:
        end = feeds[name].end_seconds
        return None if end is None else end()

    address = StreamAddress.parse(request.target) if is_address(request.target) else None
    return Joined(
        _recording(request, request.target, joined_feed) if address is None else _stream(request, address, joined_feed),
        sizes_wh={name: feed.size_wh for name, feed in feeds.items()},
        most_wh=(width, height),
        frames_per_second=rate,
        is_live=is_live,
        end_seconds=end_seconds,
    )


def _recording(request: SinkRequest, path: str, feed: Feed) -> Sink[RenderedFrame]:
    from pipeline.sinks.recording import Recording

    output = request.config.output
    return Recording(
        path,
        frames_per_second=feed.frames_per_second,
        is_live=feed.is_live,
        codec=output.codec,
        preset=output.preset,
        sound=_sound_of(request),
    )


def _stream(request: SinkRequest, address: StreamAddress, feed: Feed) -> Sink[RenderedFrame]:
    from pipeline.sinks.network.stream import NetworkStream

    output = request.config.output
    return NetworkStream(
        address,
        frames_per_second=feed.frames_per_second,
        is_live=feed.is_live,
        codec=output.codec,
        preset=output.preset,
        patience_seconds=request.config.network.open_timeout_s,
    )


def _open_window(request: SinkRequest) -> Sink[RenderedFrame]:
    from pipeline.sinks.window import Window

    sizes_wh = {feed.source_id: feed.size_wh for feed in request.feeds}
    tiles = {frame_id: feed.source_id for feed in request.feeds for frame_id in feed.frame_ids}
    return Window(request.target, sizes_wh=sizes_wh, tiles=tiles, overlay=request.overlay)


def _of_video(config: RunConfig) -> Literal["record", "segments", "annotate", "stream", "mosaic"]:
    """The role of the output that writes `output.video`."""
    if config.output.mosaic:
        return "mosaic"
    if is_address(config.output.video):
        return "stream"
    if config.output.segment is not None:
        return "segments"
    return "annotate" if _is_annotated(config.output.video) else "record"


def _window_title(config: RunConfig) -> str | None:
    """A title where a window is requested, or where there is a display and no other output is requested."""
    shows = config.output.show
    if shows is None and all(output.target(config) is None for output in OUTPUTS if output is not WINDOW):
        from pipeline.sinks.window import has_display

        shows = has_display()
    return "streamdet" if shows else None


def _of_json_lines(limit: Limit) -> str:
    is_piped = limit.config.output.jsonl == "-"
    return "what reads the JSON lines is slower than the run" if is_piped else "write the JSON lines to a faster disk"


def _of_recording(limit: Limit) -> str:
    from pipeline.sinks.encoder import encoder_failure

    chosen = limit.config.output
    if chosen.codec == "libx264" and encoder_failure("h264_nvenc") is None:
        return "record on the GPU (--set output.codec=h264_nvenc) or leave -o out"
    if chosen.preset not in (None, "ultrafast"):
        return "leave output.preset out, which takes the fastest, or leave -o out"
    return "leave -o out, or record smaller pictures"


JSON_LINES = Output(
    role="jsonl",
    takes="result",
    target=lambda config: config.output.jsonl,
    open=_open_json_lines,
    advice=_of_json_lines,
    colour="#9d755d",
    file_option="--jsonl",
)
CSV = Output(
    role="csv",
    takes="result",
    target=lambda config: config.output.csv,
    open=_open_csv,
    advice="write the CSV to a faster disk",
    colour="#bab0ac",
    file_option="--csv",
)
PARQUET = Output(
    role="parquet",
    takes="result",
    target=lambda config: config.output.parquet,
    open=_open_parquet,
    advice="write the Parquet file to a faster disk",
    colour="#79706e",
    file_option="--parquet",
)


def _labels(label_format: LabelFormat, colour: str) -> Output:
    def open_labels(request: SinkRequest) -> Sink[Result]:
        from pipeline.sinks.labels.formats import FORMATS

        overwrite = request.config.output.overwrite
        return FORMATS[label_format](request.target, names=request.picture_names(), overwrite=overwrite)

    return Output(
        role=f"{label_format} labels",
        takes="result",
        target=lambda config: config.output.labels.get(label_format),
        open=open_labels,
        advice="label fewer frames (--every 10) or write to a faster disk",
        colour=colour,
        file_option=f"--labels {label_format}",
    )


LABELS = (
    _labels("yolo", "#17becf"),
    _labels("coco", "#9edae5"),
    _labels("voc", "#bcbd22"),
    _labels("label-studio", "#dbdb8d"),
    _labels("cvat", "#c49c94"),
)
CROPS = Output(
    role="crops",
    takes="result",
    target=lambda config: config.output.crops,
    open=_open_crops,
    advice="cut fewer classes out (--classes person) or write to a faster disk",
    colour="#8cd17d",
    file_option="--crops",
    names_files=True,
)
SAVED_FRAMES = Output(
    role="frames",
    takes="result",
    target=lambda config: None if config.output.save_frames is None else config.output.frames,
    open=_open_saved_frames,
    advice="save fewer frames, by a stricter --save-frames, or write to a faster disk",
    colour="#86bcb6",
    file_option="--frames",
    names_files=True,
)
RECORDING = Output(
    role="record",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "record" else None,
    open=_open_recordings,
    advice=_of_recording,
    colour="#e45756",
    file_option="--output",
    files=_recorded_files,
    per_source=True,
    takes_planes=True,
)
SEGMENTS = Output(
    role="segments",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "segments" else None,
    open=_open_segments,
    advice=_of_recording,
    colour="#b5423c",
    file_option="--output",
    files=_segment_index_of,
    appends=True,
    per_source=True,
    takes_planes=True,
)
ANNOTATED = Output(
    role="annotate",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "annotate" else None,
    open=_open_annotated,
    advice="write JPEG instead of PNG, to a faster disk, or leave -o out",
    colour="#d37295",
    file_option="--output",
    files=_annotated_files,
    per_source=True,
    takes_planes=True,
)
STREAM = Output(
    role="stream",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "stream" else None,
    open=_open_stream,
    advice="a file is sent at its own pace, as a camera would; record it (-o out.mp4) to be done sooner",
    colour="#ffbf79",
    per_source=True,
    takes_planes=True,
)
MOSAIC = Output(
    role="mosaic",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "mosaic" else None,
    open=_open_mosaic,
    advice="make it smaller (--set output.mosaic_size=1280x720) or slower (--set output.mosaic_fps=10)",
    colour="#54a24b",
    file_option="--output",
)
WINDOW = Output(
    role="window",
    takes="rendered",
    target=_window_title,
    open=_open_window,
    advice="run without the window (--no-show)",
    colour="#ff9da6",
    in_main_thread=True,
)

OUTPUTS: tuple[Output, ...] = (
    *(JSON_LINES, CSV, PARQUET, *LABELS, CROPS, SAVED_FRAMES),
    *(RECORDING, SEGMENTS, ANNOTATED, STREAM, MOSAIC, WINDOW),
)
"""Opened in this order; a sink needs a row and nothing else in `app`."""


def with_outputs(
    flow: Flow[Result],
    config: RunConfig,
    feeds: Sequence[Feed],
    *,
    class_names: Sequence[str],
    overlay: Overlay | None,
    undo: ExitStack,
) -> Flow[Result]:
    """Open the outputs that are requested and hang them on a flow; nothing is rendered where no output takes it.

    class_names: of the model. overlay: the lines to write over each picture. undo: learns how to close each sink.
    Raises a StreamdetError for an output that cannot be opened.
    """
    _refuse_useless(config)
    if config.output.report is not None:
        refuse_unwritable(Path(config.output.report), "the report")
    burnt, unburnt = _overlays(config, feeds, overlay)
    locks: dict[str, OutputLock] = {}
    requests = [
        (output, replace(request, class_names=class_names, overlay=unburnt))
        for output in OUTPUTS
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
    targets = []
    for output in OUTPUTS:
        for request in output.requests(config, feeds) if output.per_source else ():
            if request.feed is feed:
                target = request.target if output.file_option is None else _free_path(request.target)
                sinks = [(output, replace(request, target=target))]
                flow = _with_sinks(flow.at(RENDER.role), sinks, {}, undo)
                if output.file_option is not None:
                    targets.append(OutputTarget(target, target))
    return flow, targets


def _free_path(path: str) -> str:
    """The path, or where something is there, with a number: out-door-2.mp4."""
    free, number = Path(path), 2
    while free.exists():
        free, number = Path(path).with_stem(f"{Path(path).stem}-{number}"), number + 1
    return str(free)


def refuse_outputs(config: RunConfig, feeds: Sequence[Feed]) -> None:
    """Raise SinkError for an output that would overwrite an input, another output, or, unasked, a file."""
    inputs, requests = inputs_of(config), _file_requests(config, feeds)
    folders = [(output.file_option or "", request.target) for output, request in requests if output.names_files]
    files = output_files(config, feeds)
    for option, folder in folders:
        refuse_folder_of_inputs(option, folder, inputs)
    appended = list(dict.fromkeys(_files_of([row for row in requests if row[0].appends])))
    refuse_overwriting(files, inputs, overwrite=config.output.overwrite, folders=folders, appended=appended)
    for output in LABELS:  # which know what in a folder are labels; without a picture, they write nothing
        for request in output.requests(config, feeds):
            output.open(request).close()


def output_files(config: RunConfig, feeds: Sequence[Feed]) -> list[tuple[str, str]]:
    """The files that a run may write anew, with the option that names each; - is standard output."""
    report = [] if config.output.report is None else [("--report", config.output.report)]
    replaced = [row for row in _file_requests(config, feeds) if not row[0].appends]
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
    outputs = [output for output in OUTPUTS if output.file_option is not None]
    return [(output, request) for output in outputs for request in output.requests(config, feeds)]


def recording_paths(path: str, source_ids: Sequence[str]) -> dict[str, str]:
    """The file of each source: `out.mp4` for one, `out-street.mp4`, `out-0.mp4` … for several; `out/street.mp4`."""
    stems = source_stems(source_ids)
    if is_folder(path):
        return {source_id: str(Path(path) / f"{stem}.mp4") for source_id, stem in stems.items()}
    if len(source_ids) == 1:
        return {source_ids[0]: path}
    base = Path(path)
    return {source_id: str(base.with_name(f"{base.stem}-{stem}{base.suffix}")) for source_id, stem in stems.items()}


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

    render = Render(
        overlay=overlay,
        labels=config.render.labels,
        scores=config.render.scores,
        in_planes=in_planes,
    )
    return results.then(render, name=RENDER.role, capacity=config.flow.queue_capacity)


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
