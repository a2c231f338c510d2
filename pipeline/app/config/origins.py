"""Origins: a request for a configuration → where the value of each key comes from, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from pipeline.app.config.flags import FLAGS
from pipeline.app.config.loading import COMMAND_LINE, ConfigRequest, find_config, preset_folder


def origins_of(request: ConfigRequest) -> dict[str, str]:
    """Dotted key → "webcam.yaml, line 7", "--set" or its flag, for every key that a request sets; the last one wins.

    A key of a mapping stands for what is below it too. Raises ConfigError for a file that is not there.
    """
    layers: list[tuple[str, str]] = []
    if request.file is not None:
        path = find_config(request.file)
        name = f"preset {path.stem}" if path.parent == preset_folder() else path.name
        layers += [(key, f"{name}, line {line}") for key, line in lines_of_keys(path).items()]
    layers += [(text.partition("=")[0].strip(), "--set") for text in request.settings]
    typed = [key for key, value in request.flags.items() if value is not None and value != ()]
    layers += [(key, FLAGS.get(key, COMMAND_LINE)) for key in typed]
    origins: dict[str, str] = {}
    for key, origin in layers:
        origins.pop(key, None)  # so that what comes last stands last
        origins[key] = origin
    return origins


def origin_of(key: str, origins: Mapping[str, str]) -> str:
    """Where a key's value comes from: its own origin, or the last of what stands below it or above it; else default."""
    related = [
        origin
        for name, origin in origins.items()
        if name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.")
    ]
    return related[-1] if related else "default"


def lines_of_keys(path: Path) -> dict[str, int]:
    """Dotted key → its line, from 1, of a YAML file that has been loaded before; only the last keys of each branch."""
    root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    return dict(_lines(root, "")) if isinstance(root, yaml.MappingNode) else {}


def _lines(mapping: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, int]]:
    for key, value in mapping.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _lines(value, f"{name}.")
        else:
            yield name, key.start_mark.line + 1
