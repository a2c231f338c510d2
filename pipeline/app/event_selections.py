"""Event selections: what `--on` selects and the lines and zones of a run → an error where it can never happen."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import get_args

from pipeline.app.config.counting import LineConfig, ZoneConfig
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.errors import ConfigError
from pipeline.picture.choices import Direction
from pipeline.picture.counting.selection import Selection

Shapes = Mapping[str, list[LineConfig | ZoneConfig]]
"""The lines and zones by name; sources may have several of one name."""


def refuse_impossible_events(config: RunConfig, *, takes_shapes: bool) -> None:
    """Raise ConfigError for a command of `--on` whose event none of the lines and zones can have.

    takes_shapes: whether further ones may come; then only those that are named must have such an event now.
    """
    shapes = _shapes_of(config)
    for words in config.events.commands:
        selection = Selection.parse(words)
        if selection.name is None:
            meant = None if takes_shapes else list(chain(*shapes.values()))
        else:
            meant = shapes.get(selection.name, [])
            if not meant:
                names = ", ".join(sorted(shapes)) or "the run, which has none"
                raise ConfigError(f"--on {words!r} must name a line or zone of {names}{_hint(selection, shapes)}")
        obstacle = None if meant is None else _obstacle(selection, meant, config)
        if obstacle is not None:
            raise ConfigError(f"--on {words!r} can never happen: {obstacle}")


def _shapes_of(config: RunConfig) -> Shapes:
    shapes: dict[str, list[LineConfig | ZoneConfig]] = {}
    parts: tuple[RunConfig | SourceConfig, ...] = (config, *config.source_configs)
    for part in parts:
        for name, shape in chain(part.lines.items(), part.zones.items()):
            shapes.setdefault(name, []).append(shape)
    return shapes


def _obstacle(selection: Selection, shapes: Sequence[LineConfig | ZoneConfig], config: RunConfig) -> str | None:
    """Why none of these has such an event; None: one has."""
    zones = [shape for shape in shapes if isinstance(shape, ZoneConfig)]
    kind, name = selection.kind, selection.name
    if not shapes:
        return "there is no line and no zone; add --line gate=0.5,0,0.5,1 or --zone"
    if kind is None:
        return None
    if selection.is_at_line:
        only = "there are only zones" if name is None else f"{name} is a zone"
        in_zones = ", ".join(Selection.kinds(at_line=False))
        return None if len(zones) < len(shapes) else f"{only}, and only a line is {kind}; of a zone take {in_zones}"
    if not zones:
        only = "there are only lines" if name is None else f"{name} is a line"
        at_lines = ", ".join(Selection.kinds(at_line=True))
        return f"{only}, and only a zone has {kind}; of a line take {at_lines}, or add a --zone"
    if kind == "dwelt" and config.counting.dwell_s is None and not any(zone.dwell_s for zone in zones):
        return "counting.dwell_s is null, and no such zone has dwell_s; set one of them"
    return None


def _hint(selection: Selection, shapes: Shapes) -> str:
    """What may have been meant by a name that no line or zone has."""
    wrong = selection.name or ""
    name, _, last = wrong.rpartition(" ")
    if last in get_args(Direction) and name in shapes:
        return f"; {selection.kind} has no direction {last}: leave it out"
    nearest = difflib.get_close_matches(wrong, shapes, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
