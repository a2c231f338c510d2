"""Where results go: videos, images, rows, labels, a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, field_validator
from pydantic_core import PydanticCustomError

from pipeline.app.config.values import Positive, Section, as_width_and_height, checked
from pipeline.app.options import OVERWRITE, Flag, by_name
from pipeline.meaning import Meaning
from pipeline.segment_limits import DEFAULT_PATTERN, SegmentLimit, check_pattern, parse_segment, parse_size
from pipeline.user_path import user_path

LabelFormat = Literal["yolo", "coco", "voc", "label-studio", "cvat"]


class OutputConfig(Section):
    """Where results go; without any output they are shown in a window, if there is a display."""

    video: Annotated[
        str | None,
        Flag(
            "Write what comes in with everything drawn on it: a video (.mp4, .mkv, .mov, .webm), an image, a folder/ "
            "that gets an image for each image and a video for each video, or send it to rtsp://, rtmp://, udp:// …",
            ("--output", "-o"),
            metavar="FILE|FOLDER/|ADDRESS",
        ),
    ] = None
    mosaic: Annotated[
        bool,
        Flag(
            "Put all sources into one picture, a grid, in place of a video for each.",
            ("--mosaic/--no-mosaic",),
            typed=bool,
        ),
    ] = False
    mosaic_size: Annotated[
        Annotated[str, BeforeValidator(as_width_and_height)],
        Meaning("The most pixels that a mosaic has, as 1920x1080."),
    ] = "1920x1080"
    mosaic_fps: Annotated[
        Positive | None,
        Meaning("Frames per second of a mosaic; by default as many as the source with the most, up to 30."),
    ] = None
    codec: Annotated[
        Literal["libx264", "h264_nvenc"], Meaning("The encoder of recordings: on the processor, or on an NVIDIA GPU.")
    ] = "libx264"
    preset: Annotated[
        Literal["ultrafast", "superfast", "veryfast"] | None,
        Meaning("How much libx264 works for a smaller file; by default the least."),
    ] = None
    sound: Annotated[bool, Flag("Keep the sound of a file in its recording.", ("--sound/--no-sound",), typed=bool)] = (
        True
    )
    segment: Annotated[
        Annotated[str, checked(parse_segment)] | None,
        Flag("Record in segments of this length or size, such as 10m or 500MB, with an index.", metavar="TIME|SIZE"),
    ] = None
    segment_name: Annotated[
        Annotated[str, checked(check_pattern)],
        Meaning("The name of a segment, a pattern of strftime in UTC; {name} is the name of the recording."),
    ] = DEFAULT_PATTERN
    keep: Annotated[
        Annotated[
            tuple[str, ...],
            BeforeValidator(
                lambda words: (words,) if isinstance(words, str) else words, json_schema_input_type=list[str] | str
            ),
            checked(SegmentLimit.of),
        ],
        Flag(
            "Delete segments that are older, or the oldest while all are larger, such as 7d or 50GB; repeatable.",
            metavar="TIME|SIZE",
        ),
    ] = ()  # empty: for ever
    min_free: Annotated[
        Annotated[
            str,
            BeforeValidator(lambda size: "0" if size == 0 else size, json_schema_input_type=str | int),
            checked(parse_size),
        ],
        Meaning("Delete the oldest segments while less than this is free on their disk; 0: never for that."),
    ] = "500MB"
    jsonl: Annotated[str | None, Flag("Write one JSON line per frame; - is the standard output.", metavar="FILE")] = (
        None
    )
    csv: Annotated[str | None, Flag("Write one row per detection as CSV.", metavar="FILE")] = None
    parquet: Annotated[
        str | None, Flag("Write one row per detection as Parquet; needs the extra tables.", metavar="FILE")
    ] = None
    labels: Annotated[
        Mapping[LabelFormat, str],
        Flag(
            "Write labels for training or correction; yolo and voc fill a folder, coco, label-studio and cvat a file.",
            metavar="FORMAT=PATH",
            typed=list[str],
            parse=lambda words, flag: by_name(words, flag, get_args(LabelFormat)),
        ),
    ] = {}
    crops: Annotated[
        str | None,
        Flag("Cut every detection out, into a folder with one for each class.", metavar="FOLDER"),
    ] = None
    save_frames: Annotated[
        str | None,
        Flag(
            "Save the frames whose detections meet a condition on the numbers of classes, such as "
            "'person>=2 and not car' or 'any'.",
            metavar="CONDITION",
        ),
    ] = None
    frames: Annotated[str, Flag("The folder of --save-frames.", metavar="FOLDER")] = "frames"
    draw_frames: Annotated[bool, Flag("Draw the detections on the frames of --save-frames.", typed=bool | None)] = False
    report: Annotated[str | None, Flag("Write the run's numbers as JSON.", metavar="FILE")] = None
    on_error: Annotated[
        Literal["continue", "stop"],
        Flag("Whether the others go on when an output fails; the exit code is 1 either way.", ("--on-sink-error",)),
    ] = "continue"
    overwrite: Annotated[bool, replace(OVERWRITE, typed=bool | None)] = False
    append: Annotated[
        bool,
        Flag(
            "Add to the files of --jsonl and --csv that are there, as a run does that was started anew.",
            typed=bool | None,
        ),
    ] = False
    show: Annotated[
        bool | None,
        Flag("Show a window; by default if there is a display and no other output.", ("--show/--no-show",)),
    ] = None

    @field_validator("video", "jsonl", "csv", "parquet", "crops", "frames", "report", mode="after")
    @classmethod
    def _in_home(cls, path: str | None) -> str | None:
        """A path with `~` in full, which a shell leaves as it is after `=` and in quotes, and YAML always."""
        if path is None or not path.startswith("~"):
            return path
        try:
            return str(user_path(path)) + "/" * path.endswith("/")
        except ValueError as error:
            raise PydanticCustomError("word", "{reason}", {"reason": str(error)}) from error
