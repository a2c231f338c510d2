"""Configuration keys: every setting of a run, its type, default, meaning and flag; values → a checked RunConfig."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.app.options import (
    OR_NAME,
    OVERWRITE,
    Argument,
    Flag,
    TypeForm,
    by_name,
    comma_separated,
    flag_names,
    named_values,
    triple,
    width_and_height,
)
from pipeline.meaning import Meaning
from pipeline.picture.choices import Anchor, ColourBy, TrackerKind
from pipeline.picture.counting.selection import Selection
from pipeline.segment_limits import DEFAULT_PATTERN, SegmentLimit, check_pattern, parse_segment, parse_size
from pipeline.sources.opening import kinds_in_words
from pipeline.sources.options import CameraOptions, DecodeOptions, Isolation, NetworkOptions
from pipeline.user_path import user_path

T = TypeVar("T")

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Threads = Annotated[int, Field(ge=1, le=1024)]

LabelFormat = Literal["yolo", "coco", "voc", "label-studio", "cvat"]


def _width_and_height(value: object) -> object:
    """WIDTHxHEIGHT of the same, of WIDTH,HEIGHT, and of one number for both; anything but text and numbers stays."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return value
    size_wh = width_and_height(str(value))
    if size_wh is None:
        raise PydanticCustomError("size", "must be WIDTHxHEIGHT, such as 640x384")
    return f"{size_wh[0]}x{size_wh[1]}"


def _device(value: object) -> object:
    """The device that a word means: gpu, cuda:0 and 0 are cuda. Another GPU is chosen by the environment."""
    match = re.fullmatch(r"(?:(?:cuda|gpu):?)?(\d+)|gpu|nvidia", str(value).strip().lower())
    if match is None or isinstance(value, bool):
        return value.strip().lower() if isinstance(value, str) else value
    if int(match[1] or 0) == 0:
        return "cuda"
    raise PydanticCustomError(
        "device",
        "must be cuda, the first visible GPU; for another, set CUDA_VISIBLE_DEVICES={number} in the environment",
        {"number": match[1]},
    )


def _class_words(value: object, *, key: str = "detection.classes") -> object:
    """Names and ids of classes as text: of a list, of one word, and of several with commas between them."""
    if isinstance(value, str):
        return comma_separated(value, key) if value.strip(", ") else value
    words = value if isinstance(value, list | tuple) else [value]
    return [str(word) if isinstance(word, int) and not isinstance(word, bool) else word for word in words]


def _names_as_text(value: object) -> object:
    return {str(name): part for name, part in value.items()} if isinstance(value, dict) else value


def _seconds_of(time: object) -> object:
    """Seconds of 62.5, 1:02.5 or 0:01:02.5."""
    if not isinstance(time, str):
        return time
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", time.strip())
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0, 60, 60)
    if (match is None) or (match[2] and seconds >= 60) or (match[1] and minutes >= 60):
        raise PydanticCustomError("time", "must be seconds or HH:MM:SS, such as 62.5 or 1:02.5")
    return 3600 * hours + 60 * minutes + seconds


Time = Annotated[float, BeforeValidator(_seconds_of), Field(ge=0)]


def _checked(parse: Callable[[Any], object]) -> AfterValidator:
    """Let a value stand as it was typed where it can be parsed; what the parser says is the error."""

    def check(value: T) -> T:
        try:
            parse(value)
        except ValueError as error:
            raise PydanticCustomError("word", "{reason}", {"reason": str(error)}) from error
        return value

    return AfterValidator(check)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DetectionConfig(_Section):
    """Which detections are kept; what is left out is the model's own."""

    score_threshold: Annotated[
        Share | None,
        Flag(
            "Keep detections with at least this score; the model's own threshold if left out.",
            ("--score-threshold", "--conf"),
        ),
    ] = None
    iou_threshold: Annotated[
        Share | None,
        Flag(
            "NMS: of two boxes that overlap by more than this IoU, keep the better; the model's own if left out.",
            ("--iou-threshold", "--iou"),
        ),
    ] = None
    suppression: Annotated[
        Literal["class-aware", "class-agnostic", "soft-linear", "soft-gaussian"],
        Meaning("How overlapping boxes are thinned out: within a class or among all, or by lowering their scores."),
    ] = "class-aware"
    max_detections: Annotated[
        Count | None, Meaning("The most detections that are kept in a frame; the model's own limit if left out.")
    ] = None
    classes: Annotated[
        tuple[str, ...],
        BeforeValidator(_class_words, json_schema_input_type=list[str | int] | str),
        Flag(
            "Keep only these classes, by name or id: person,traffic light or 0,9.",
            metavar="NAME,NAME…",
            parse=comma_separated,
        ),
    ] = ()  # empty: all
    class_score_thresholds: Annotated[
        Mapping[str, Share],
        BeforeValidator(_names_as_text, json_schema_input_type=dict[str, Share]),
        Meaning("Score thresholds of single classes, by name or id: {person: 0.5}; the others have score_threshold."),
    ] = {}


def _grid(value: object) -> object:
    """ROWSxCOLUMNS, and auto, as text."""
    word = str(value).strip().lower()
    if word == "auto" or not isinstance(value, str) or re.fullmatch(r"[1-9]\d?x[1-9]\d?", word, re.ASCII):
        return word if isinstance(value, str) else value
    raise PydanticCustomError("grid", "must be ROWSxCOLUMNS, such as 2x3, or auto")


class TilesConfig(_Section):
    """Tiles of a frame that the network looks at one by one, for objects that are small in the frame."""

    grid: Annotated[
        Annotated[str, BeforeValidator(_grid)] | None,
        Flag(
            "Look at overlapping tiles of each frame, for small objects: 2x3 is 2 rows of 3; auto: as many as "
            "--smallest-object needs.",
            ("--tiles",),
            metavar="ROWSxCOLUMNS|auto",
        ),
    ] = None
    overlap: Annotated[
        Annotated[float, Field(ge=0, le=0.9)],
        Flag("The share of a tile's side that its neighbour has too; at least as wide as the small objects are."),
    ] = 0.2
    whole_frame: Annotated[
        bool,
        Flag(
            "With --tiles, look at the whole frame as well, for objects larger than a tile.",
            ("--whole-frame/--no-whole-frame",),
            typed=bool,
        ),
    ] = True
    smallest_px: Annotated[
        Positive | None,
        Flag(
            "For --tiles auto: the shorter side, in pixels of the frame, of the smallest object to detect.",
            ("--smallest-object",),
            metavar="PIXELS",
        ),
    ] = None


def _private_classes(manner: str) -> Flag:
    return Flag(
        f"{manner} these classes beyond recognition, before anything is shown, written or sent: person,0.",
        metavar="NAME,NAME…",
        parse=comma_separated,
    )


class PrivacyConfig(_Section):
    """What is made unrecognisable in every picture that leaves the run."""

    blur: Annotated[
        tuple[str, ...],
        BeforeValidator(partial(_class_words, key="privacy.blur"), json_schema_input_type=list[str | int] | str),
        _private_classes("Blur"),
    ] = ()
    pixelate: Annotated[
        tuple[str, ...],
        BeforeValidator(partial(_class_words, key="privacy.pixelate"), json_schema_input_type=list[str | int] | str),
        _private_classes("Pixelate"),
    ] = ()
    margin: Annotated[
        Annotated[float, Field(ge=0, le=2)],
        Meaning("The share of a box's width and height by which the concealed area is larger on every side."),
    ] = 0.1
    hold_s: Annotated[
        Annotated[float, Field(ge=0)],
        Meaning("Seconds of media time for which the last area of an object stays concealed that is not detected."),
    ] = 0.5
    min_score: Annotated[
        Share, Meaning("Private classes are concealed from this score on, or from the run's own where that is lower.")
    ] = 0.1

    @property
    def is_requested(self) -> bool:
        """Whether anything is private."""
        return bool(self.blur or self.pixelate)


def _of_255(values: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    """A standard deviation of pixels in 0..255; the ones that people know by heart are of pixels in 0..1."""
    if values is not None and not min(values) > 0:
        raise PydanticCustomError("std", "must be above 0")
    if values is not None and max(values) < 1:
        raise PydanticCustomError("std", "must be of pixels in 0..255, as then.mean; multiply both by 255")
    return values


class ThenConfig(_Section):
    """A second model, a classifier, that looks at the objects of the first; what is left out is as its file says."""

    model: Annotated[
        str | None,
        Flag(
            "Let a second model, a classifier, name what the objects are beside their class.",
            ("--then",),
            metavar="CLASSIFIER.onnx",
        ),
    ] = None
    classes: Annotated[
        tuple[str, ...],
        BeforeValidator(partial(_class_words, key="then.classes"), json_schema_input_type=list[str | int] | str),
        Flag(
            "With --then, only objects of these classes: person,0; all if left out.",
            ("--then-on",),
            metavar="NAME,NAME…",
            parse=comma_separated,
        ),
    ] = ()
    top: Annotated[Count, Meaning("The most labels of the second model that an object has, the best first.")] = 1
    min_score: Annotated[Share, Meaning("A label of the second model has at least this score.")] = 0.25
    every: Annotated[
        Count,
        Meaning("An object that is followed keeps its labels for so long, in frames, until it is looked at again."),
    ] = 10
    class_names: Annotated[str | None, Meaning("A file of the second model's class names, one per line.")] = None
    size: Annotated[
        Annotated[str, BeforeValidator(_width_and_height, json_schema_input_type=str | int)] | None,
        Meaning("The second model's input size, where its file leaves it open; 224x224 if nothing says another."),
    ] = None
    resize: Annotated[
        Literal["stretch", "letterbox-center"],
        Meaning("How an object is brought to that size: stretched, or with its proportions between grey margins."),
    ] = "stretch"
    colour: Annotated[Literal["rgb", "bgr"], Meaning("The channel order that the second model expects.")] = "rgb"
    mean: Annotated[
        tuple[float, float, float] | None,
        Meaning("Per-channel mean, in 0..255 and in that order; with then.std, else as the file says, or ImageNet's."),
    ] = None
    std: Annotated[
        tuple[float, float, float] | None,
        AfterValidator(_of_255),
        Meaning("Per-channel standard deviation, by which the pixels are divided; with then.mean."),
    ] = None
    scores: Annotated[
        Literal["none", "sigmoid", "softmax"] | None,
        Meaning("The activation that the second model's scores still need; by default as a trial run shows."),
    ] = None


class HintsConfig(_Section):
    """Hints on a foreign model file; what is left out is recognised."""

    head: Annotated[str | None, Flag("How the outputs of a foreign model are read: yolox, detr, lists …")] = None
    size: Annotated[
        Annotated[str, BeforeValidator(_width_and_height, json_schema_input_type=str | int)] | None,
        Flag(
            "The network's input size, for a model that leaves it open: 640x384, or 640 for both.",
            ("--size", "--imgsz"),
            metavar="WxH",
        ),
    ] = None
    resize: Annotated[
        Literal["letterbox-center", "letterbox-topleft", "stretch", "in-graph"] | None,
        Flag("How frames are resized for a foreign model."),
    ] = None
    colour: Annotated[Literal["rgb", "bgr"] | None, Flag("The channel order that a foreign model expects.")] = None
    mean: Annotated[
        tuple[float, float, float] | None,
        Flag(
            "Per-channel mean, in 0..255 and in the model's channel order, subtracted from the pixels.",
            metavar="R,G,B",
            parse=triple,
        ),
    ] = None
    std: Annotated[
        tuple[float, float, float] | None,
        Flag("Per-channel standard deviation, by which the pixels are divided.", metavar="R,G,B", parse=triple),
    ] = None
    pad_value: Annotated[
        Annotated[int, Field(ge=0, le=255)] | None, Flag("The grey of a foreign model's letterbox padding, 0..255.")
    ] = None
    box_format: Annotated[
        Literal["xyxy", "yxyx", "cxcywh", "cycxhw", "xywh"] | None, Flag("The box format of a foreign model.")
    ] = None
    normalised_boxes: Annotated[
        bool | None,
        Flag("Whether a foreign model's boxes are in 0..1 or in pixels.", ("--normalised-boxes/--pixel-boxes",)),
    ] = None
    scores: Annotated[
        Literal["none", "sigmoid", "softmax"] | None, Flag("The activation that a foreign model's scores still need.")
    ] = None
    first_class_id: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Flag("The id of a foreign model's first class; smaller ids are background."),
    ] = None
    columns: Annotated[
        tuple[str, ...] | None,
        Flag(
            "The columns of a foreign model's table: x1,y1,x2,y2,score,class …",
            metavar="NAME,NAME…",
            parse=comma_separated,
        ),
    ] = None
    anchors: Annotated[str | None, Flag("The anchors of a raw SSD.", metavar="FILE.npy")] = None
    class_names: Annotated[str | None, Flag("A file of class names, one per line.", metavar="FILE")] = None


class TrackConfig(_Section):
    """Whether objects are followed from frame to frame, and when tracks begin, match and end."""

    kind: Annotated[
        TrackerKind | None,
        Flag(
            "Follow objects and number them; bytetrack if no tracker is named, the others need the extra track.",
            ("--track",),
            bare="bytetrack",
        ),
    ] = None
    memory_s: Annotated[
        Annotated[float, Field(ge=0)],
        Meaning("Seconds of media time for which an object that is not seen keeps its number."),
    ] = 2.0
    confirm_hits: Annotated[Count, Meaning("Detections in consecutive frames after which an object has a number.")] = 2
    high_score: Annotated[
        Share | None,
        Meaning("Detections from this score on are matched first; the score threshold if left out."),
    ] = None
    start_score: Annotated[
        Share | None, Meaning("A detection from this score on may begin a track; high_score if left out.")
    ] = None
    low_score: Annotated[
        Share, Meaning("Weaker detections from this score on continue a track that no better one matches.")
    ] = 0.1
    match_iou: Annotated[Share, Meaning("The least IoU of a detection and the predicted box that it matches.")] = 0.1
    low_match_iou: Annotated[Share, Meaning("The same of a detection below high_score.")] = 0.1
    sure_share: Annotated[
        Share,
        Meaning(
            "A detection below the score threshold is shown only while this share of its object's detections reach it; "
            "0: always."
        ),
    ] = 0.5
    by_class: Annotated[bool, Meaning("Keep the class of a track; false: it may go on as another.")] = True


# NumPy is imported where points are read, so that help is quick.


def _coordinates(value: object) -> tuple[float, ...]:
    from pipeline.picture.counting.shapes import parse_coordinates

    try:
        return parse_coordinates(value)
    except ValueError as error:
        raise PydanticCustomError("points", "{reason}", {"reason": str(error)}) from error


def _as_line(line: LineConfig) -> object:
    from pipeline.picture.counting.shapes import Line

    return Line("", line.points)


def _as_zone(zone: ZoneConfig) -> object:
    from pipeline.picture.counting.shapes import Zone

    return Zone("", zone.points)


def _as_homography(rows: tuple[tuple[float, float, float, float], ...]) -> object:
    from pipeline.picture.counting.homography import Homography

    return Homography(rows)


def _with_points(value: object) -> object:
    """The settings of a line or zone that is written as its points alone."""
    return {"points": value} if isinstance(value, str | list | tuple) else value


class LineConfig(_Section):
    """A line that objects cross; what is left out is that of the run."""

    points: Annotated[
        tuple[float, ...], BeforeValidator(_coordinates, json_schema_input_type=str | list[float | str | list[float]])
    ]
    anchor: Anchor | None = None
    classes: Annotated[
        tuple[str, ...],
        BeforeValidator(partial(_class_words, key="classes"), json_schema_input_type=list[str | int] | str),
    ] = ()  # empty: all


class ZoneConfig(LineConfig):
    """A polygon that objects are in; what is left out is that of the run."""

    dwell_s: Positive | None = None


_ShapeName = Annotated[str, Field(pattern=r"^\w[\w .-]{0,59}$")]
_PointsAlone = str | list[float | str | list[float]]

Lines = Mapping[
    _ShapeName,
    Annotated[
        LineConfig,
        BeforeValidator(_with_points, json_schema_input_type=_PointsAlone | LineConfig),
        _checked(_as_line),
    ],
]
Zones = Mapping[
    _ShapeName,
    Annotated[
        ZoneConfig,
        BeforeValidator(_with_points, json_schema_input_type=_PointsAlone | ZoneConfig),
        _checked(_as_zone),
    ],
]
GroundRows = Annotated[tuple[tuple[float, float, float, float], ...], _checked(_as_homography)]


class CountingConfig(_Section):
    """How lines and zones count the objects that are followed."""

    anchor: Annotated[
        Anchor, Meaning("The point of a box that counts: the middle of its lower edge, or its centre.")
    ] = "bottom"
    hysteresis: Annotated[
        Annotated[float, Field(ge=0, le=1)],
        Meaning("How far beyond a line or outline an object must be to have crossed it, as a share of its box's size."),
    ] = 0.05
    dwell_s: Annotated[
        Positive | None, Meaning("Seconds in a zone after which an object has dwelt there; null: never.")
    ] = 10.0
    hold_s: Annotated[
        Annotated[float, Field(ge=0)],
        Meaning("Seconds for which another number of objects must be in a zone until that is an event."),
    ] = 0.5
    cooldown_s: Annotated[
        Annotated[float, Field(ge=0)], Meaning("Seconds between two such events of one zone, at least.")
    ] = 1.0


class EngineConfig(_Section):
    """What runs the network; what is left out is chosen: files for throughput, live sources for latency."""

    device: Annotated[
        Literal["auto", "cpu", "openvino", "cuda", "tensorrt"],
        BeforeValidator(_device, json_schema_input_type=Literal["auto", "cpu", "openvino", "cuda", "tensorrt"]),
        Flag("The device that runs the network; if you name one that cannot, the command fails."),
    ] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "fp16", "bf16"],
        Flag("The precision of the network, if the device offers several; fp32 rules out OpenVINO's bf16."),
    ] = "auto"
    shape: Annotated[
        Literal["auto", "model"],
        Flag(
            "The shape in which a model runs that leaves its size open: that of the video, at the same scale (auto), "
            "or as its file says (model)."
        ),
    ] = "auto"
    threads: Annotated[
        Threads | None,
        Meaning("Threads of one inference; by default as cores and sources are."),
    ] = None
    inflight: Annotated[Threads | None, Meaning("Inferences at once; by default as cores and sources are.")] = None
    unproved: Annotated[
        bool,
        Flag("If the device's detections differ from CPU fp32, warn and run instead of failing.", typed=bool | None),
    ] = False
    spin_us: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Meaning("Microseconds for which an idle thread keeps its core busy before it sleeps; 200 if left out."),
    ] = None
    batch: Annotated[
        Count | None,
        Flag("The most frames that the network runs at once; by default 1, on a GPU the best of a short trial."),
    ] = None
    cuda_graph: Annotated[
        bool | None,
        Meaning("Record each run on the GPU once and play it back; by default as a short trial finds it faster."),
    ] = None
    channels_last: Annotated[
        bool | None,
        Meaning("Convolve in channels-last layout on CUDA, for float16; by default as a short trial finds it faster."),
    ] = None


class FlowConfig(_Section):
    """How frames travel."""

    mode: Annotated[
        Literal["auto", "live", "every-frame"],
        Flag(
            "Drop old frames for new ones, or process every frame; by default as the source is.",
            ("--live/--every-frame",),
            typed=bool,
            parse=lambda is_live, _: "live" if is_live else "every-frame",
        ),
    ] = "auto"
    rate_fps: Annotated[
        Annotated[float, Field(ge=0.001)] | None,
        Flag("Play recorded sources at this many frames per second, with --live.", ("--rate",)),
    ] = None
    queue_capacity: Annotated[
        Count, Meaning("Frames that may wait before each stage; more only smooths uneven work.")
    ] = 2
    max_age_ms: Annotated[
        Positive | None,
        Meaning("Milliseconds after which a live frame is dropped before the network takes it; null keeps all."),
    ] = 1000.0
    max_latency_ms: Annotated[
        Positive | None,
        Flag(
            "Let a batch of live frames fill up as long as none of them is older than this.",
            ("--max-latency",),
            metavar="MS",
        ),
    ] = None
    start: Annotated[
        Time | None,
        Flag("Begin there in a video, in seconds or as 1:02:03.5, as a player counts.", metavar="TIME", typed=str),
    ] = None
    end: Annotated[Time | None, Flag("End before that time of a video.", metavar="TIME", typed=str)] = None
    every: Annotated[
        Count, Flag("Detect in every Nth frame; most others of a file are not even decoded.", metavar="N")
    ] = 1
    max_frames: Annotated[Count | None, Flag("Stop after N frames of each source.", metavar="N")] = None
    wait_for_sources: Annotated[
        bool | None,
        Flag(
            "Start without cameras that do not answer, or refuse a password or path, and try them for "
            "network.reconnect_s; by default those that do not answer, with several sources and in live mode.",
            ("--wait-for-sources/--no-wait-for-sources",),
        ),
    ] = None
    isolate: Annotated[
        Isolation,
        Flag(
            "Read sources in processes of their own, so that a driver or decoder that crashes or hangs harms no other: "
            "auto: cameras of this machine; all: videos and streams as well.",
        ),
    ] = "auto"
    grace_s: Annotated[
        Positive,
        Flag(
            "After Ctrl-C or another signal, wait no longer than this for a part that does not return.",
            ("--grace",),
            metavar="SECONDS",
        ),
    ] = 5.0


class RenderConfig(_Section):
    """What is drawn."""

    labels: Annotated[bool, Meaning("Write the class above each box.")] = True
    scores: Annotated[bool, Meaning("Write the score behind the class.")] = True
    colour_by: Annotated[ColourBy, Meaning("What has a colour of its own: a class, or an object that is followed.")] = (
        "class"
    )
    trail_s: Annotated[
        Annotated[float, Field(ge=0, le=60)], Meaning("Seconds of the way behind an object that is followed; 0: none.")
    ] = 1.5
    predicted: Annotated[
        bool, Meaning("Draw dashed where an object that is followed is supposed to be while it is not seen.")
    ] = True
    overlay: Annotated[
        bool | None,
        Flag(
            "Write FPS and latency over the picture; by default in the window, and in recordings of live sources.",
            ("--overlay/--no-overlay",),
        ),
    ] = None


class OutputConfig(_Section):
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
        Annotated[str, BeforeValidator(_width_and_height)], Meaning("The most pixels that a mosaic has, as 1920x1080.")
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
        Annotated[str, _checked(parse_segment)] | None,
        Flag("Record in segments of this length or size, such as 10m or 500MB, with an index.", metavar="TIME|SIZE"),
    ] = None
    segment_name: Annotated[
        Annotated[str, _checked(check_pattern)],
        Meaning("The name of a segment, a pattern of strftime in UTC; {name} is the name of the recording."),
    ] = DEFAULT_PATTERN
    keep: Annotated[
        Annotated[
            tuple[str, ...],
            BeforeValidator(
                lambda words: (words,) if isinstance(words, str) else words, json_schema_input_type=list[str] | str
            ),
            _checked(SegmentLimit.of),
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
            _checked(parse_size),
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


def _selected(words: Mapping[str, str]) -> object:
    return [Selection.parse(word) for word in words]


class EventsConfig(_Section):
    """Where events at lines and in zones go, and what is kept of them."""

    file: Annotated[
        str | None,
        Flag(
            "Write each event as a JSON line, or as a row of a .csv; - is the standard output.",
            ("--events",),
            metavar="FILE",
        ),
    ] = None
    webhook: Annotated[
        str | None, Flag("POST each event as JSON, again and again until the server has it.", metavar="URL")
    ] = None
    mqtt: Annotated[
        str | None,
        Flag(
            "Publish each event to a topic of a broker, mqtt://HOST/TOPIC, or mqtts://, QoS 1; needs the extra mqtt.",
            metavar="URL",
        ),
    ] = None
    commands: Annotated[
        Annotated[Mapping[str, str], _checked(_selected)],
        Flag(
            "Run a command, such as --on 'crossed gate in' ./open.sh, with the event in its environment and on its "
            "standard input; repeatable.",
            ("--on",),
            metavar="EVENT COMMAND",
            typed=list[str],
            parse=lambda words, flag: named_values(words, flag, "--on 'crossed gate' ./open.sh"),
            is_pair=True,
        ),
    ] = {}
    command_limit_s: Annotated[
        Positive, Meaning("Seconds after which a command of --on is ended; four run at once.")
    ] = 30.0
    outbox: Annotated[
        str | None,
        Flag(
            "Keep events that the webhook or broker does not have yet in this folder, for the next run.",
            ("--event-outbox",),
            metavar="FOLDER",
        ),
    ] = None
    snapshots: Annotated[
        str | None, Flag("Write a JPEG of each event's frame, drawn, and one of its object.", metavar="FOLDER")
    ] = None
    clips: Annotated[
        str | None,
        Flag(
            "Write a video of each event, cut from the source's packets, or, with --blur, encoded anew.",
            metavar="FOLDER",
        ),
    ] = None
    clip_before_s: Annotated[
        Annotated[float, Field(ge=0, le=300)],
        Flag(
            "Seconds of a clip before its event, from the key frame before on.", ("--clip-before",), metavar="SECONDS"
        ),
    ] = 5.0
    clip_after_s: Annotated[
        Annotated[float, Field(ge=0, le=300)],
        Flag("Seconds of a clip after its last event.", ("--clip-after",), metavar="SECONDS"),
    ] = 5.0
    clip_memory: Annotated[
        Annotated[str, _checked(parse_size)],
        Meaning("Packets that are held for clips, for each source; a clip that needs more begins later."),
    ] = "256MB"


class SourceConfig(_Section):
    """A source with settings of its own; what is left out is that of the run."""

    url: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None  # in outputs, reports and file names
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0  # of 2: twice the share of a network that cannot keep up
    classes: (
        Annotated[
            tuple[str, ...],
            BeforeValidator(partial(_class_words, key="classes"), json_schema_input_type=list[str | int] | str),
        ]
        | None
    ) = None
    score_threshold: Share | None = None
    model: Annotated[str, Field(min_length=1)] | None = None  # as --model; sources of one model share its sessions
    hints: HintsConfig | None = None  # on the file of its model, as the run's are on that of the run
    isolate: bool | None = None  # whether a process of its own reads it
    lines: Lines = {}  # beside those of the run, or, with the name of one, in its place
    zones: Zones = {}
    homography: GroundRows | None = None

    @property
    def has_own_detection(self) -> bool:
        """Whether its detections are chosen otherwise than those of the run."""
        return self.classes is not None or self.score_threshold is not None

    def detection(self, of_run: DetectionConfig) -> DetectionConfig:
        """Which of its detections are kept."""
        own = {"classes": self.classes, "score_threshold": self.score_threshold}
        return of_run.model_copy(update={key: value for key, value in own.items() if value is not None})


WORD_FORM, SETTINGS_FORM = (
    "a word",
    "its settings",
)  # the forms of a source, which pydantic puts into the place of an error


def _form_of_source(value: object) -> str:
    return SETTINGS_FORM if isinstance(value, dict | SourceConfig) else WORD_FORM


SourceEntry = Annotated[
    Annotated[str, Tag(WORD_FORM)] | Annotated[SourceConfig, Tag(SETTINGS_FORM)], Discriminator(_form_of_source)
]


class RunConfig(_Section):
    """A whole run."""

    sources: Annotated[
        tuple[SourceEntry, ...],
        Argument(f"One or several of: {kinds_in_words()}.", "SOURCE...", typed=list[str]),
    ] = ()
    model: Annotated[
        str | None,
        Flag(
            f"An ONNX file, {OR_NAME}, which is downloaded once; demo: the detector that comes with streamdet, which "
            "knows drawn streets only.",
            ("--model", "-m"),
            metavar="MODEL",
        ),
    ] = None
    strict: Annotated[
        bool | None,
        Flag(
            "Exit with 1 if a part of a source could not be read, or a frame not be sent; with --no-strict, go on "
            "after a frame whose scores or boxes are NaN or infinite, which otherwise is an error.",
            ("--strict/--no-strict",),
        ),
    ] = None
    control: Annotated[
        str | None,
        Flag(
            "Listen at this socket to `streamdet ctl`, which adds and removes sources; the run goes on until stopped.",
            metavar="SOCKET",
        ),
    ] = None
    serve: Annotated[
        str | None,
        Flag(
            "Show the run in a browser, on this machine alone unless a host is named, which then needs the token that "
            "is printed; needs the extra serve.",
            metavar="[HOST:]PORT",
        ),
    ] = None
    lines: Annotated[
        Lines,
        Flag(
            "Count what crosses a line, in and out, in shares of the picture or in pixels: gate=0,0.5,1,0.5; "
            "repeatable.",
            ("--line",),
            metavar="NAME=X1,Y1,X2,Y2",
            typed=list[str],
            parse=lambda words, flag: named_values(words, flag, "gate=0,0.5,1,0.5"),
        ),
    ] = {}
    zones: Annotated[
        Zones,
        Flag(
            "Count what is in a polygon, comes and goes, and for how long it stays: yard=0,0.5,1,0.5,1,1,0,1; "
            "repeatable.",
            ("--zone",),
            metavar="NAME=X1,Y1,X2,Y2,X3,Y3…",
            typed=list[str],
            parse=lambda words, flag: named_values(words, flag, "yard=0,0.5,1,0.5,1,1,0,1"),
        ),
    ] = {}
    homography: Annotated[
        GroundRows | None,
        Meaning("Four points of the picture and where they are on the ground, as x, y, X and Y in metres, for speeds."),
    ] = None
    hints: HintsConfig = HintsConfig()
    detection: DetectionConfig = DetectionConfig()
    track: TrackConfig = TrackConfig()
    counting: CountingConfig = CountingConfig()
    tiles: TilesConfig = TilesConfig()
    then: ThenConfig = ThenConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    engine: EngineConfig = EngineConfig()
    flow: FlowConfig = FlowConfig()
    camera: CameraOptions = CameraOptions()
    decode: DecodeOptions = DecodeOptions()
    network: NetworkOptions = NetworkOptions()
    render: RenderConfig = RenderConfig()
    output: OutputConfig = OutputConfig()
    events: EventsConfig = EventsConfig()
    _file: Path | None = None

    @property
    def source_configs(self) -> tuple[SourceConfig, ...]:
        """The sources, with the settings that each has of its own."""
        # Not validated again: a file's name need not be valid UTF-8, which pydantic's checks of a text's length need.
        return tuple(
            SourceConfig.model_construct(url=source) if isinstance(source, str) else source for source in self.sources
        )

    @property
    def source_words(self) -> tuple[str, ...]:
        """The sources as words."""
        return tuple(source if isinstance(source, str) else source.url for source in self.sources)

    @property
    def file(self) -> Path | None:
        """The file that it was read from, beside what the command line says; None without one."""
        return self._file

    def without_outputs(self) -> RunConfig:
        """The same run that writes and shows nothing, whatever outputs there are."""
        return self.model_copy(update={"output": OutputConfig(show=False), "events": EventsConfig(), "serve": None})


def marked_keys(section: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[MarkedKey]:
    """Every key of the configuration that can be typed on a command line."""
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from marked_keys(info.annotation, f"{prefix}{name}.")
        for mark in info.metadata:
            if isinstance(mark, Flag | Argument):
                yield MarkedKey(f"{prefix}{name}", info.annotation, info.default, mark)


class MarkedKey(NamedTuple):
    """A dotted key, its type, its default, and how it is typed."""

    key: str
    kind: TypeForm
    default: object
    mark: Flag | Argument


FLAGS: Mapping[str, str] = {
    marked.key: flag_names(marked.mark, marked.key)[0].partition("/")[0]
    for marked in marked_keys()
    if isinstance(marked.mark, Flag)
}
"""The flag of each key that has one."""
