"""Outputs: the table of all kinds of sinks."""

from __future__ import annotations

from pipeline.app.config.output import LabelFormat
from pipeline.app.config.run import RunConfig
from pipeline.app.event_outputs import CLIPS, COMMANDS, EVENT_FILE, MQTT, SNAPSHOTS, WEBHOOK, private_packets
from pipeline.app.extras import load
from pipeline.app.output import Feed, Output, SinkRequest
from pipeline.app.stages import Limit
from pipeline.app.video_outputs import ANNOTATED, MOSAIC, RECORDING, SEGMENTS, STREAM
from pipeline.flow.stage import Sink
from pipeline.picture.detections import RenderedFrame, Result


def _open_json_lines(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.jsonl import JsonLines

    return JsonLines(request.target, append=request.config.output.append)


def _open_csv(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.csv_table import CsvTable

    return CsvTable(request.target, append=request.config.output.append)


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
    look = request.config.render.look() if output.draw_frames else None
    return SavedFrames(request.target, condition, names=request.picture_names(), look=look)


def _open_window(request: SinkRequest) -> Sink[RenderedFrame]:
    from pipeline.sinks.window import Window

    sizes_wh = {feed.source_id: feed.size_wh for feed in request.feeds}
    tiles = {frame_id: feed.source_id for feed in request.feeds for frame_id in feed.frame_ids}
    return Window(request.target, sizes_wh=sizes_wh, tiles=tiles, overlay=request.overlay)


def _open_view(request: SinkRequest) -> Sink[Result]:
    load("pipeline.serve.server", extra="serve")
    from pipeline.serve.view import LiveView, ViewOptions

    feed, rate_fps = request.feed, request.config.flow.rate_fps
    assert feed is not None
    options = ViewOptions(
        feed.source_id,
        request.class_names,
        is_paced=feed.is_live and not feed.part_ids and rate_fps is None,
        obstacle=_why_not_packets(request.config, feed),
    )
    return LiveView(options, packets=feed.packets)


def _why_not_packets(config: RunConfig, feed: Feed) -> str | None:
    """Why a viewer must not get the source's own packets; None: it may."""
    return private_packets(config) or (None if feed.is_live else "the file is read faster than it plays")


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


JSON_LINES = Output(
    role="jsonl",
    takes="result",
    target=lambda config: config.output.jsonl,
    open=_open_json_lines,
    advice=_of_json_lines,
    colour="#9d755d",
    file_option="--jsonl",
    appends=lambda config: config.output.append,
)
CSV = Output(
    role="csv",
    takes="result",
    target=lambda config: config.output.csv,
    open=_open_csv,
    advice="write the CSV to a faster disk",
    colour="#bab0ac",
    file_option="--csv",
    appends=lambda config: config.output.append,
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


def _labels(label_format: LabelFormat, colour: str, *, has_class_list: bool = False) -> Output:
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
        has_class_list=has_class_list,
    )


LABELS = (
    _labels("yolo", "#17becf", has_class_list=True),
    _labels("coco", "#9edae5", has_class_list=True),
    _labels("voc", "#bcbd22"),
    _labels("label-studio", "#dbdb8d"),
    _labels("cvat", "#c49c94", has_class_list=True),
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
WINDOW = Output(
    role="window",
    takes="rendered",
    target=_window_title,
    open=_open_window,
    advice="run without the window (--no-show)",
    colour="#ff9da6",
    in_main_thread=True,
)
VIEW = Output(
    role="serve",
    takes="result",
    target=lambda config: config.serve,
    open=_open_view,
    advice="close some of the pages that show it",
    colour="#76b7b2",
    per_source=True,
)

OUTPUTS: tuple[Output, ...] = (
    *(JSON_LINES, CSV, PARQUET, *LABELS, CROPS, SAVED_FRAMES),
    *(RECORDING, SEGMENTS, ANNOTATED, STREAM, MOSAIC, WINDOW, VIEW),
    *(EVENT_FILE, WEBHOOK, MQTT, COMMANDS, SNAPSHOTS, CLIPS),
)
"""Opened in this order; a sink needs a row and nothing else in `app`."""
