"""Configuration: a file or preset, `--set` and the command line → a run's settings, or an error that names the key.

Three layers, each validated on its own so that an error can name where it stands: a file or preset,
`--set key=value`, and the command line's options. The later wins.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from pipeline.app.options import (
    OR_NAME,
    OVERWRITE,
    Argument,
    Flag,
    TypeForm,
    by_name,
    comma_separated,
    flag_names,
    triple,
    width_and_height,
)
from pipeline.errors import ConfigError, reason_of
from pipeline.json_values import Json
from pipeline.masking import MASK, masked_address
from pipeline.meaning import Meaning
from pipeline.segment_limits import DEFAULT_PATTERN, SegmentLimit, check_pattern, parse_segment, parse_size
from pipeline.sources.opening import kinds_in_words
from pipeline.sources.options import CameraOptions, DecodeOptions, NetworkOptions
from pipeline.yaml_file import NotYamlError, parse_yaml, read_yaml

T = TypeVar("T")

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Threads = Annotated[int, Field(ge=1, le=1024)]

COMMAND_LINE = "the command line"

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
            "Start without cameras that do not answer, and try them for network.reconnect_s; by default with several.",
            ("--wait-for-sources/--no-wait-for-sources",),
        ),
    ] = None
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
    show: Annotated[
        bool | None,
        Flag("Show a window; by default if there is a display and no other output.", ("--show/--no-show",)),
    ] = None


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

    @property
    def has_own_detection(self) -> bool:
        """Whether its detections are chosen otherwise than those of the run."""
        return self.classes is not None or self.score_threshold is not None

    def detection(self, of_run: DetectionConfig) -> DetectionConfig:
        """Which of its detections are kept."""
        own = {"classes": self.classes, "score_threshold": self.score_threshold}
        return of_run.model_copy(update={key: value for key, value in own.items() if value is not None})


_WORD, _SETTINGS = "a word", "its settings"  # the forms of a source, which pydantic puts into the place of an error


def _form_of_source(value: object) -> str:
    return _SETTINGS if isinstance(value, dict | SourceConfig) else _WORD


SourceEntry = Annotated[
    Annotated[str, Tag(_WORD)] | Annotated[SourceConfig, Tag(_SETTINGS)], Discriminator(_form_of_source)
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
    hints: HintsConfig = HintsConfig()
    detection: DetectionConfig = DetectionConfig()
    engine: EngineConfig = EngineConfig()
    flow: FlowConfig = FlowConfig()
    camera: CameraOptions = CameraOptions()
    decode: DecodeOptions = DecodeOptions()
    network: NetworkOptions = NetworkOptions()
    render: RenderConfig = RenderConfig()
    output: OutputConfig = OutputConfig()
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
        return self.model_copy(update={"output": OutputConfig(show=False)})


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


@dataclass(frozen=True, slots=True)
class ConfigRequest:
    """A configuration as a command line asks for it.

    file: of --config. settings: of --set, `key=value`. flags: values by dotted key.
    """

    file: str | None = None
    settings: tuple[str, ...] = ()
    flags: Mapping[str, object] = field(default_factory=dict)

    def load(self, **changes: object) -> RunConfig:
        """The configuration, with other values of some keys, whose dots are written as two underscores.

        Raises ConfigError.
        """
        keys = {name.replace("__", "."): value for name, value in changes.items()}
        return load_config(self.file, settings=self.settings, options={**self.flags, **keys})


def load_config(
    word: str | None = None,
    *,
    settings: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
    origin: str = COMMAND_LINE,
) -> RunConfig:
    """Put a run's configuration together.

    word: a YAML file, or the name of a preset.
    settings: `key=value` with dotted keys and YAML values, as of `--set`.
    options: dotted keys from the command line; None values say nothing. origin: what errors call them.
    Raises ConfigError that names file, key, and the nearest right key or value.
    """
    layers: list[tuple[str, dict[str, object]]] = []
    if word is not None:
        path = find_config(word)
        layers.append((path.name, _read(path)))
    layers += [("--set", _setting(text)) for text in settings]
    if not all(isinstance(key, str) for key in options or ()):
        raise ConfigError(f"{origin}: keys must be strings such as detection.score_threshold")
    present = {
        key: value
        for key, value in (options or {}).items()
        if value is not None and not (isinstance(value, tuple) and not value)
    }
    layers += [(origin, _nested(key, value)) for key, value in present.items()]
    merged: dict[str, object] = {}
    for where, values in layers:
        _validate(values, where)
        merged = _merge(merged, values)
    config = _validate(merged, "the configuration")
    if word is not None:
        config._file = find_config(word)
    return config


def with_keys(config: RunConfig, changes: Mapping[str, object]) -> RunConfig:
    """The same configuration with other values of some dotted keys."""
    values = config.model_dump()
    for key, value in changes.items():
        *sections, last = key.split(".")
        target = values
        for section in sections:
            target = target[section]
        target[last] = value
    changed = RunConfig.model_validate(values)
    changed._file = config.file
    return changed


def preset_folder() -> Path:
    """Where the presets are: inside the installed package, or in the repository that it is run from."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


def preset_names() -> list[str]:
    """The names that `--config` knows."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def find_config(word: str) -> Path:
    """The file that a word of `--config` means. Raises ConfigError if there is none."""
    path = Path(word)
    try:
        is_file = path.is_file()
    except OSError as error:
        raise ConfigError(f"--config must be a YAML file or a preset, got {word[:99]}…: {reason_of(error)}") from error
    if path.suffix in (".yaml", ".yml") or is_file:
        if is_file:
            return path
        raise ConfigError(f"--config: there is no file {word}")
    return find_preset(word, must="--config must be a YAML file or a preset")


def find_preset(name: str, *, must: str = "--preset must be one of the presets") -> Path:
    """The file of a preset. must: how the error begins. Raises ConfigError for a name that no preset has."""
    names = preset_names()
    if name in names:
        return preset_folder() / f"{name}.yaml"
    raise ConfigError(f"{must} ({', '.join(names)}), got {name!r}{_did_you_mean(name, names)}")


def _read(path: Path) -> dict[str, object]:
    try:
        values = read_yaml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {reason_of(error)}") from error
    except NotYamlError as error:
        line = "" if error.line is None else f", line {error.line}"
        raise ConfigError(f"{path}{line}: is not YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold keys and values, got {type(values).__name__}")
    return {key: value for key, value in values.items() if not (value is None and key in _section_names())}


def _section_names() -> set[str]:
    """The keys that hold keys: one without any, such as `output:` alone, leaves all of its own as they are."""
    fields_of_run = RunConfig.model_fields.items()
    return {name for name, info in fields_of_run if isinstance(info.default, _Section) or is_dataclass(info.default)}


def _setting(text: str) -> dict[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set must be key=value, such as flow.mode=live, got {masked_address(text)!r}")
    try:
        return _nested(key.strip(), parse_yaml(value))
    except NotYamlError as error:
        raise ConfigError(f"--set {key}: {_Shown(key).repr(value)} is not a YAML value") from error


def _nested(dotted_key: str, value: object) -> dict[str, object]:
    *sections, last = dotted_key.split(".")
    nested: dict[str, object] = {last: value}
    for section in reversed(sections):
        nested = {section: nested}
    return nested


def _merge(below: dict[str, object], above: dict[str, object]) -> dict[str, object]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _validate(values: dict[str, object], where: str) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem, where) for problem in error.errors())) from error


def source_of(value: object, where: str) -> SourceConfig:
    """A source as an entry of `sources` has it. where: it stands, for the error. Raises ConfigError."""
    try:
        (source,) = _validate({"sources": [value]}, where).source_configs
    except ConfigError as error:
        raise ConfigError(str(error).replace("sources.0", "source")) from error
    return source


def _explain(problem: ErrorDetails, where: str) -> str:
    location = [masked_address(str(part)) for part in problem["loc"] if part not in (_WORD, _SETTINGS)]
    key = ".".join(location).removesuffix(".[key]")  # a key of a mapping that is none of its choices
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        nearest = _nearest_key_of_source(key) if location[0] == "sources" else _nearest_key(key)
        return f"{where}: there is no key {key}" + (f"; did you mean {nearest}?" if nearest else "")
    if problem["type"] == "value_error":  # of a section that is a dataclass, whose words begin with the key
        return f"{where}: {key}.{problem['ctx']['error']}"
    got = problem["input"]
    choices = problem.get("ctx", {}).get("expected", "")
    hint = ""
    if problem["type"] == "literal_error" and isinstance(got, str):
        hint = _did_you_mean(got, [choice.strip("' ") for choice in choices.replace(" or ", ",").split(",")])
    message = problem["msg"].replace("Input should be", "must be")
    named = FLAGS.get(re.sub(r"\.\d+$", "", key)) if where == COMMAND_LINE else None  # without a place in a list
    return f"{named or f'{where}: {key}'} {message}, got {_Shown(key).repr(got)}{hint}"


class _Shown(reprlib.Repr):
    """A value in an error: its beginning, with the addresses in it masked.

    Under `sources` all before an @ may be part of an address, because YAML takes one apart at `: `.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, 200, 200, 200
        self._is_of_sources = key.split(".")[0] == "sources"

    def repr_str(self, x: str, level: int) -> str:
        shown = masked_address(x)
        if self._is_of_sources and "@" in shown and not re.match("[A-Za-z]{2,}:/", shown):
            shown = f"{MASK}@{shown.rpartition('@')[2]}"
        return super().repr_str(shown, level)


def without_secrets(value: Json) -> Json:
    """A value of JSON types with the addresses in it masked."""
    if isinstance(value, dict):
        return {name: without_secrets(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_secrets(part) for part in value]
    return masked_address(value) if isinstance(value, str) else value


def _nearest_key_of_source(key: str) -> str:
    """The key of a source that is nearest to what was written, or all that there are."""
    prefix, _, last = key.rpartition(".")
    names = list(SourceConfig.model_fields)
    nearest = difflib.get_close_matches(last, names, n=1)
    return f"{prefix}.{nearest[0]}" if nearest else ", ".join(names)


def _nearest_key(key: str) -> str | None:
    keys = _known_keys(RunConfig)
    by_last = {dotted.rpartition(".")[2]: dotted for dotted in keys}
    nearest = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    nearest_last = difflib.get_close_matches(key.rpartition(".")[2], list(by_last), n=1, cutoff=0.7)
    return nearest[0] if nearest else by_last[nearest_last[0]] if nearest_last else None


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        if get_origin(kind) in (Union, UnionType):
            kind = next(member for member in get_args(kind) if member is not type(None))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += _known_keys(kind, f"{prefix}{name}.")
        elif isinstance(kind, type) and is_dataclass(kind):
            keys += [f"{prefix}{name}.{option.name}" for option in fields(kind)]
        keys.append(prefix + name)
    return keys


def _did_you_mean(word: str, words: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
