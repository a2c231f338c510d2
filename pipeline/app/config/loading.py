"""Configuration: a file or preset, `--set` and the command line → a run's settings, or an error that names the key.

Three layers, each validated on its own so that an error can name where it stands: a file or preset,
`--set key=value`, and the command line's options. The later wins.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_core import ErrorDetails

from pipeline.app.config.counting import Lines, Zones
from pipeline.app.config.detection import DetectionConfig
from pipeline.app.config.flags import FLAGS
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SETTINGS_FORM, WORD_FORM, SourceConfig
from pipeline.app.config.values import Section
from pipeline.errors import ConfigError, reason_of
from pipeline.json_values import Json
from pipeline.masking import MASK, masked_address
from pipeline.yaml_file import NotYamlError, parse_yaml, read_yaml

COMMAND_LINE = "the command line"


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
    inside = Path(__file__).parents[2] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "configs"


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


def config_of_text(text: str, where: str) -> RunConfig:
    """The settings of a YAML file alone. where: its name, for the error. Raises ConfigError."""
    return _validate(_values_of(lambda: parse_yaml(text), where), where)


def _read(path: Path) -> dict[str, object]:
    return _values_of(lambda: read_yaml(path), str(path))


def _values_of(read: Callable[[], object], path: str) -> dict[str, object]:
    """Keys and values of a file. path: its name, for the error. Raises ConfigError."""
    try:
        values = read()
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
    return {name for name, info in fields_of_run if isinstance(info.default, Section) or is_dataclass(info.default)}


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


def detection_of(values: Mapping[str, object], where: str) -> DetectionConfig:
    """The section `detection` of keys and values. where: they stand, for the error. Raises ConfigError."""
    return _validate({"detection": dict(values)}, where).detection


def shapes_of(values: Mapping[str, object], where: str) -> tuple[Lines, Zones]:
    """Lines and zones by name, as the keys `lines` and `zones` have them. where: they stand. Raises ConfigError."""
    config = _validate({key: values[key] for key in ("lines", "zones") if key in values}, where)
    return config.lines, config.zones


def _explain(problem: ErrorDetails, where: str) -> str:
    location = [masked_address(str(part)) for part in problem["loc"] if part not in (WORD_FORM, SETTINGS_FORM)]
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
    message = problem["msg"].replace("Input should be", "must be").partition(", unable to parse")[0]
    named = _flag_of(key) if where == COMMAND_LINE else None
    received = "" if ", got " in message else f", got {_Shown(key).repr(got)}"
    return f"{named or f'{where}: {key}'} {message}{received}{hint}"


def _flag_of(key: str) -> str | None:
    """The flag of a key; of one in a mapping with the name that is typed before the `=`."""
    flag = FLAGS.get(re.sub(r"\.\d+$", "", key))  # without a place in a list
    first, _, rest = key.partition(".")
    return f"{FLAGS[first]} {rest.partition('.')[0]}" if flag is None and first in FLAGS else flag


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
