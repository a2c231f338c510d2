"""Keys of the configuration: its models → each key with default, meaning, values and flags; its JSON schema."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel, TypeAdapter

from pipeline.app.config.run import RunConfig
from pipeline.app.options import Argument, Flag, flag_names
from pipeline.errors import ConfigError
from pipeline.json_values import Json
from pipeline.meaning import Meaning

_IN_WORDS = {"boolean": "true or false", "integer": "whole number", "number": "number", "string": "text"}
_BOUNDS = {
    "minimum": "at least {:g}",
    "exclusiveMinimum": "greater than {:g}",
    "maximum": "at most {:g}",
    "exclusiveMaximum": "less than {:g}",
}


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key: dotted name, default in types of JSON, one sentence on what it means, and its flags, if it has some.

    values: what it takes, in words: "auto | cpu | cuda", "whole number, at least 1, or null".
    """

    name: str
    default: Json
    meaning: str
    values: str
    flags: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The name of its section; empty for a key that is in none."""
        return self.name.rpartition(".")[0]


class Section(NamedTuple):
    """A section of the configuration, or what is in none, whose name is empty."""

    name: str
    meaning: str
    keys: tuple[ConfigKey, ...]


@cache
def sections() -> tuple[Section, ...]:
    """All sections, in the order of the configuration."""
    return tuple(_sections())


def config_keys() -> tuple[ConfigKey, ...]:
    """All keys, in the order of the configuration."""
    return tuple(key for section in sections() for key in section.keys)


def select_keys(words: Sequence[str]) -> tuple[ConfigKey, ...]:
    """The keys that words mean: a key, a section, the last part of a key, or a beginning; in order.

    Raises ConfigError for a word that means none, with the nearest.
    """
    chosen = {key.name for word in words for key in _select(word)}
    return tuple(key for key in config_keys() if key.name in chosen)


def config_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a configuration file, with what its keys mean."""
    schema = RunConfig.model_json_schema()
    _describe(schema, sections()[0])
    for section in sections()[1:]:
        part = schema["$defs"][schema["properties"][section.name]["$ref"].rpartition("/")[2]]
        part["description"] = section.meaning
        _describe(part, section)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "streamdet's configuration"}
    return schema | head


def yaml_value(value: Json) -> str:
    """A value as one types it in YAML, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _describe(schema: dict[str, Any], section: Section) -> None:
    for key in section.keys:
        schema["properties"][key.name.rpartition(".")[2]]["description"] = key.meaning


def _select(word: str) -> Sequence[ConfigKey]:
    keys = config_keys()
    tests: tuple[Callable[[ConfigKey], bool], ...] = (
        lambda key: key.name == word or key.section == word.rstrip("."),
        lambda key: key.name.rpartition(".")[2] == word or word in key.flags,
        lambda key: key.name.startswith(word) or key.name.rpartition(".")[2].startswith(word),
    )
    for test in tests:
        chosen = [key for key in keys if word and test(key)]
        if chosen:
            return chosen
    names = [name for key in keys for name in (key.name, key.name.rpartition(".")[2], key.section)]
    nearest = difflib.get_close_matches(word, filter(None, names), n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "`streamdet config` lists them"
    raise ConfigError(f"there is no key {word!r} of the configuration; {hint}")


def _sections() -> Iterator[Section]:
    config = TypeAdapter(RunConfig).dump_python(RunConfig(), mode="json")
    schema = RunConfig.model_json_schema()
    marks = _marks(RunConfig)
    parts = {name: field.annotation for name, field in RunConfig.model_fields.items() if name not in marks}
    single = tuple(_key(name, mark, config[name], schema["properties"][name]) for name, mark in marks.items())
    yield Section("", _first_sentences(RunConfig), single)
    for name, kind in parts.items():
        assert isinstance(kind, type)
        properties = schema["$defs"][kind.__name__]["properties"]
        keys = (
            _key(f"{name}.{part}", mark, config[name][part], properties[part]) for part, mark in _marks(kind).items()
        )
        yield Section(name, _first_sentences(kind), tuple(keys))


def _key(name: str, mark: Flag | Argument | Meaning, default: Json, schema: Mapping[str, Any]) -> ConfigKey:
    if isinstance(mark, Meaning):
        return ConfigKey(name, default, mark.text, _values_in_words(schema))
    names = tuple(flag for flags in flag_names(mark, name) for flag in flags.split("/"))
    return ConfigKey(name, default, mark.help, _values_in_words(schema), names)


def _marks(section: type) -> dict[str, Flag | Argument | Meaning]:
    """Field → its mark; fields that are sections have none. A model keeps the marks, a dataclass their types."""
    if issubclass(section, BaseModel):
        metadata = {name: field.metadata for name, field in section.model_fields.items()}
    else:
        assert dataclasses.is_dataclass(section)
        hints = get_type_hints(section, include_extras=True)
        metadata = {
            field.name: list(get_args(hints[field.name])[1:]) if get_origin(hints[field.name]) is Annotated else []
            for field in dataclasses.fields(section)
        }
    marks = {
        name: [mark for mark in values if isinstance(mark, Flag | Argument | Meaning)]
        for name, values in metadata.items()
    }
    return {name: values[0] for name, values in marks.items() if values}


def _first_sentences(section: type) -> str:
    paragraph = " ".join((inspect.getdoc(section) or "").split("\n\n")[0].split())
    return re.sub(r" Raises \w+\.$", "", paragraph)


def _values_in_words(schema: Mapping[str, Any]) -> str:
    """What a JSON schema lets through, in words."""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return ", or ".join(_values_in_words(part) for part in choices)
    if "$ref" in schema:
        return "mapping"
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "prefixItems" in schema:
        return f"{len(schema['prefixItems'])} numbers"
    if schema["type"] == "array":
        return f"list of {_values_in_words(schema['items'])}"
    if schema["type"] == "object":
        return f"mapping of {_mapping_in_words(schema)}"
    if "minimum" in schema and "maximum" in schema:
        return f"{_IN_WORDS[schema['type']]}, {schema['minimum']:g} to {schema['maximum']:g}"
    bounds = [words.format(schema[name]) for name, words in _BOUNDS.items() if name in schema]
    return ", ".join([_IN_WORDS.get(schema["type"], schema["type"]), *bounds])


def _mapping_in_words(schema: Mapping[str, Any]) -> str:
    names = schema.get("propertyNames", {"type": "string"})
    values = schema.get("additionalProperties")
    return f"{_values_in_words(names)} to {_values_in_words(values) if isinstance(values, dict) else 'values'}"
