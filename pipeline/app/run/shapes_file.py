"""Shapes file: a source's lines and zones → the configuration file that its run was started with, changed in place.

What a user wrote stays: other settings, comments and order. Before the first change of a run the file is copied to
FILE.bak, and what is written has been read back first: each source has what it is to have, and nothing else differs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.app.config.counting import LineConfig, ZoneConfig
from pipeline.app.config.loading import config_of_text, preset_folder
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.counting import ShapeSettings, shape_settings
from pipeline.errors import ConfigError, reason_of
from pipeline.json_values import Json
from pipeline.masking import masked_address
from pipeline.sources.kinds import source_words
from pipeline.text_file import read_text
from pipeline.whole_file import write_whole
from pipeline.yaml_edit import Keys, with_value, without_value
from pipeline.yaml_file import parse_yaml

logger = logging.getLogger(__name__)

Kind = Literal["lines", "zones"]
_KINDS: tuple[Kind, ...] = ("lines", "zones")
Entries = Mapping[str, SourceConfig]
"""The sources of a run, with the settings that each has of its own, by name, in order."""


class _Edit(NamedTuple):
    """A change of a file. shape: None: it goes."""

    keys: Keys
    shape: LineConfig | ZoneConfig | None


class ShapesFile:
    """Saves the shapes of a run's sources to the file of its configuration. For one thread at a time."""

    def __init__(self) -> None:
        self._copied: set[Path] = set()

    def obstacle(self, config: RunConfig, entries: Entries, name: str) -> str | None:
        """Why the shapes of a source cannot be saved; None: they can."""
        try:
            _index_of(name, _opened(config)[2], entries)
        except ConfigError as error:
            return str(error)
        return None

    def has(self, config: RunConfig, entries: Entries, name: str, settings: ShapeSettings) -> bool:
        """Whether the file has just these of a source."""
        try:
            of_file = _opened(config)[2]
            index = _index_of(name, of_file, entries)
        except ConfigError:
            return False
        return _settings_at(of_file, index) == settings

    def save(self, config: RunConfig, entries: Entries, name: str, settings: ShapeSettings) -> Path:
        """Write them; returns the file. Raises ConfigError where that cannot be, and the file is as it was then."""
        path, text, before = _opened(config)
        index = _index_of(name, before, entries)
        edited = text
        for edit in _edits(before, index, settings):
            edited = _applied(edited, edit)
        _refuse_other_changes(path, before, config_of_text(edited, path.name), index, settings)
        if edited != text:
            self._write(path, edited)
        logger.info("saved the lines and zones of %s to %s", masked_address(name), path)
        return path

    def _write(self, path: Path, text: str) -> None:
        backup = path.with_name(f"{path.name}.bak")
        try:
            if path not in self._copied:
                backup.unlink(missing_ok=True)
                backup.touch(mode=0o600)
                write_whole(backup, path.read_bytes())
                self._copied.add(path)
            write_whole(path, text.encode())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {reason_of(error)}; it is as it was") from error


def shape_in_file(shape: LineConfig | ZoneConfig) -> Json:
    """A line or zone as a file has it: its points alone, where it has nothing else of its own."""
    points = ",".join(_written(number) for number in shape.points)
    own: dict[str, Json] = shape.model_dump(mode="json", exclude={"points"}, exclude_defaults=True)
    return {"points": points, **own} if own else points


def _written(number: float) -> str:
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def _opened(config: RunConfig) -> tuple[Path, str, RunConfig]:
    """The file, its text, and what it says now. Raises ConfigError where the user has none, and for one that is bad."""
    path = config.file
    if path is None or path.parent == preset_folder():
        came = "without a file" if path is None else f"with the preset {path.stem}"
        raise ConfigError(f"lines and zones are saved to the file of --config, and this run was started {came}")
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {reason_of(error)}") from error
    return path, text, config_of_text(text, path.name)


def _index_of(name: str, of_file: RunConfig, entries: Entries) -> int | None:
    """Where a source stands in the file; None: it names none, and the run has no other, so those of the run are its.

    Raises ConfigError for a source that did not come from the file.
    """
    words = [(index, word) for index, entry in enumerate(of_file.source_configs) for word in source_words(entry.url)]
    if not words and len(entries) == 1:
        return None
    position = list(entries).index(name) if name in entries else len(words)
    index, word = words[position] if position < len(words) else (0, None)
    entry = of_file.source_configs[index] if words else None
    if entry is None or (word, word, entry.name) != (entry.url, entries[name].url, entries[name].name):
        raise ConfigError(
            f"{masked_address(name)} must be a source of its own in the file of --config to have its lines and zones "
            "saved there; write it under `sources`"
        )
    return index


def _settings_at(config: RunConfig, index: int | None) -> ShapeSettings:
    own = SourceConfig.model_construct(url="") if index is None else config.source_configs[index]
    return shape_settings(config, own)


def _edits(config: RunConfig, index: int | None, settings: ShapeSettings) -> Iterator[_Edit]:
    """What is to change, so that one source has these shapes and the others have what they had."""
    sources = config.source_configs
    has_others = index is not None and len(sources) > 1
    for kind in _KINDS:
        of_run, now = _of_kind(config, kind), _of_kind(settings, kind)
        own = {} if index is None else _of_kind(sources[index], kind)
        at_source: Keys = () if index is None else ("sources", index)
        for name in [name for name in of_run if name not in now]:
            yield _Edit((kind, name), None)
            for other in [other for other in range(len(sources)) if has_others and other != index]:
                if name not in _of_kind(sources[other], kind):
                    yield _Edit(("sources", other, kind, name), of_run[name])
        for name in [name for name in own if name not in now]:
            yield _Edit((*at_source, kind, name), None)
        for name, shape in now.items():
            if shape != {**of_run, **own}.get(name):
                is_own = name in own or has_others or (own and name not in of_run)
                yield _Edit((*(at_source if is_own else ()), kind, name), shape)


def _of_kind(settings: RunConfig | SourceConfig | ShapeSettings, kind: Kind) -> Mapping[str, LineConfig | ZoneConfig]:
    return settings.lines if kind == "lines" else settings.zones


def _applied(text: str, edit: _Edit) -> str:
    """The text of a file with one change."""
    if edit.shape is None:
        return without_value(text, edit.keys)
    if edit.keys[0] == "sources":
        values = parse_yaml(text)
        sources = values["sources"] if isinstance(values, dict) else None
        index = edit.keys[1]
        if isinstance(sources, list) and isinstance(index, int) and not isinstance(sources[index], dict):
            text = with_value(text, edit.keys[:2], {"url": str(sources[index])})
    return with_value(text, edit.keys, shape_in_file(edit.shape))


def _refuse_other_changes(
    path: Path, before: RunConfig, after: RunConfig, index: int | None, settings: ShapeSettings
) -> None:
    """Raise ConfigError, before the file is written, unless one source has its shapes and nothing else has changed."""
    indexes: list[int | None] = [*range(len(before.source_configs))] or [None]
    expected = [settings if other == index else _settings_at(before, other) for other in indexes]
    is_right = [_settings_at(after, other) for other in indexes] == expected
    if not is_right or _without_shapes(before) != _without_shapes(after):
        raise ConfigError(f"{path}: cannot be changed by itself; write what is under `As YAML` into it by hand")


def _without_shapes(config: RunConfig) -> tuple[object, ...]:
    sources = [source.model_copy(update={"lines": {}, "zones": {}}) for source in config.source_configs]
    return config.model_copy(update={"lines": {}, "zones": {}, "sources": ()}), sources
