"""What can be configured, and what is wrong with a given file, key or value?

Three layers, each validated on its own so that an error can name where it stands: a file or preset,
`--set key=value`, and the command line's options. The later wins.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from pipeline.errors import ConfigError, reason_of
from pipeline.masking import MASK, masked_address
from pipeline.sources.options import CameraOptions, DecodeOptions, NetworkOptions

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

COMMAND_LINE = "the command line"
FLAGS: Mapping[str, str] = {
    "model": "--model",
    "strict": "--strict",
    "engine.device": "--device",
    "engine.precision": "--precision",
    "engine.unproved": "--unproved",
    "engine.batch": "--batch",
    "output.video": "--output",
    "output.jsonl": "--jsonl",
    "output.report": "--report",
    "output.show": "--show",
    "flow.mode": "--live",
    "flow.rate_fps": "--rate",
    "flow.every": "--every",
    "flow.max_frames": "--max-frames",
    "flow.max_latency_ms": "--max-latency",
    "detection.score_threshold": "--score-threshold",
    "detection.iou_threshold": "--iou-threshold",
    "detection.classes": "--classes",
    **{
        f"hints.{name}": f"--{name.replace('_', '-')}"
        for name in (
            *("head", "size", "resize", "colour", "mean", "std", "box_format", "normalised_boxes", "scores"),
            *("first_class_id", "columns", "anchors", "class_names"),
        )
    },
}
"""What the command line calls a key."""


def _width_and_height(text: str) -> str:
    if re.fullmatch("[1-9][0-9]*[xX][1-9][0-9]*", text) is None:
        raise PydanticCustomError("size", "must be WIDTHxHEIGHT, such as 640x384")
    return text


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DetectionConfig(_Section):
    """Which detections are kept. None takes the model's own value."""

    score_threshold: Share | None = None
    iou_threshold: Share | None = None
    suppression: Literal["class-aware", "class-agnostic", "soft-linear", "soft-gaussian"] = "class-aware"
    max_detections: Count | None = None  # None: the model's own
    classes: tuple[str, ...] = ()  # empty: all
    class_score_thresholds: Mapping[str, Share] = {}


class HintsConfig(_Section):
    """What is said about a foreign model file. None says nothing: it is recognised."""

    head: str | None = None
    size: Annotated[str, AfterValidator(_width_and_height)] | None = None
    resize: Literal["letterbox-center", "letterbox-topleft", "stretch", "in-graph"] | None = None
    colour: Literal["rgb", "bgr"] | None = None
    mean: tuple[float, float, float] | None = None  # in the order of `colour`, of pixels in 0..255
    std: tuple[float, float, float] | None = None
    pad_value: Annotated[int, Field(ge=0, le=255)] | None = None
    box_format: Literal["xyxy", "yxyx", "cxcywh", "cycxhw", "xywh"] | None = None
    normalised_boxes: bool | None = None
    scores: Literal["none", "sigmoid", "softmax"] | None = None  # what is still to be done to them
    first_class_id: Annotated[int, Field(ge=0)] | None = None
    columns: tuple[str, ...] | None = None  # of a table: x1, y1, x2, y2, score, class, image
    anchors: str | None = None  # a .npy file
    class_names: str | None = None  # a text file, a name a line


class EngineConfig(_Section):
    """What runs the network. None chooses by mode: recorded sources for throughput, live ones for latency."""

    device: Literal["auto", "cpu", "openvino", "cuda", "tensorrt"] = "auto"
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    threads: Count | None = None  # of one inference
    inflight: Count | None = None  # inferences at once
    unproved: bool = False  # go on with a provider that finds something else than the CPU in fp32
    spin_us: Annotated[int, Field(ge=0)] | None = None  # an idle thread burns its core so long; None: 200
    batch: Count | None = None  # the most frames that are run at once; None: 1, and on a GPU as a short trial finds
    cuda_graph: bool | None = None  # record each run on the GPU once and play it back; None: as the trial finds
    channels_last: bool | None = (
        None  # convolve in that layout on CUDA, which may serve float16; None: as the trial finds
    )


class FlowConfig(_Section):
    """How frames travel."""

    mode: Literal["auto", "live", "every-frame"] = "auto"  # auto: as each source is
    rate_fps: Positive | None = None  # at which recorded sources are played where the mode is live
    queue_capacity: Count = 2
    max_age_ms: Positive | None = 1000.0  # of a live frame when the network would take it
    max_latency_ms: Positive | None = None  # a batch waits to be full while no frame gets older; None: never
    every: Count = 1  # of so many frames of a source the first; the others are not even decoded where that is possible
    max_frames: Count | None = None  # of each source, of those that are handed out


class RenderConfig(_Section):
    """What is drawn."""

    labels: bool = True
    scores: bool = True
    overlay: bool = True


class OutputConfig(_Section):
    """Where results go. `show` None: a window if there is a display and nothing else was asked for."""

    video: str | None = None
    codec: Literal["libx264", "h264_nvenc"] = "libx264"
    preset: Literal["ultrafast", "superfast", "veryfast"] | None = None  # of libx264
    jsonl: str | None = None
    report: str | None = None
    show: bool | None = None


class RunConfig(_Section):
    """A whole run."""

    sources: tuple[str, ...] = ()
    model: str | None = None  # None: the detector that comes with streamdet
    strict: bool = False  # whether damage in a source makes the run fail
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
    def file(self) -> Path | None:
        """The file that it was read from, beside what the command line says; None without one."""
        return self._file

    def without_outputs(self) -> RunConfig:
        """The same run that writes and shows nothing, whatever outputs there are."""
        return self.model_copy(update={"output": OutputConfig(show=False)})


def load_config(
    word: str | None = None,
    *,
    settings: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    origin: str = COMMAND_LINE,
) -> RunConfig:
    """Put a run's configuration together.

    word: a YAML file, or the name of a preset.
    settings: `key=value` with dotted keys and YAML values, as of `--set`.
    options: dotted keys from the command line; None values say nothing. origin: what errors call them.
    Raises ConfigError that names file, key, and the nearest right key or value.
    """
    layers: list[tuple[str, dict[str, Any]]] = []
    if word is not None:
        path = find_config(word)
        layers.append((path.name, _read(path)))
    layers += [("--set", _setting(each)) for each in settings]
    if not all(isinstance(key, str) for key in options or ()):
        raise ConfigError(f"{origin}: keys must be strings such as detection.score_threshold")
    given = {
        key: value
        for key, value in (options or {}).items()
        if value is not None and not (isinstance(value, tuple) and not value)
    }
    layers += [(origin, _nested(key, value)) for key, value in given.items()]
    merged: dict[str, Any] = {}
    for where, values in layers:
        _validate(values, where)
        merged = _merge(merged, values)
    config = _validate(merged, "the configuration")
    if word is not None:
        config._file = find_config(word)
    return config


def with_keys(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The same configuration with other values of some dotted keys."""
    values = config.model_dump()
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place[section]
        place[last] = value
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
    if word in preset_names():
        return preset_folder() / f"{word}.yaml"
    raise ConfigError(
        f"--config must be a YAML file or a preset ({', '.join(preset_names())}), got {word!r}"
        + _did_you_mean(word, preset_names())
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {reason_of(error)}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}{place}: is no YAML: {getattr(error, 'problem', error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold keys and values, got {type(values).__name__}")
    return values


def _setting(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set must be key=value, such as flow.mode=live, got {masked_address(text)!r}")
    try:
        return _nested(key.strip(), yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: {_Shown(key).repr(value)} is no YAML value") from error


def _nested(dotted_key: str, value: Any) -> dict[str, Any]:
    *sections, last = dotted_key.split(".")
    nested: dict[str, Any] = {last: value}
    for section in reversed(sections):
        nested = {section: nested}
    return nested


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _validate(values: dict[str, Any], where: str) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(dict(each), where) for each in error.errors())) from error


def _explain(problem: dict[str, Any], where: str) -> str:
    location = [masked_address(str(part)) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        nearest = _nearest_key(key)
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


def without_secrets(value: Any) -> Any:
    """A value of JSON types with the addresses in it masked."""
    if isinstance(value, dict):
        return {name: without_secrets(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_secrets(each) for each in value]
    return masked_address(value) if isinstance(value, str) else value


def _nearest_key(key: str) -> str | None:
    known = _known_keys(RunConfig)
    by_last = {each.rpartition(".")[2]: each for each in known}
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    near_last = difflib.get_close_matches(key.rpartition(".")[2], list(by_last), n=1, cutoff=0.7)
    return near[0] if near else by_last[near_last[0]] if near_last else None


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if get_origin(kind) in (Union, UnionType):
            kind = next(each for each in get_args(kind) if each is not type(None))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += _known_keys(kind, f"{prefix}{name}.")
        elif isinstance(kind, type) and is_dataclass(kind):
            keys += [f"{prefix}{name}.{option.name}" for option in fields(kind)]
        keys.append(prefix + name)
    return keys


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
