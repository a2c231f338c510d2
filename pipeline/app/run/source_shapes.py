"""Source shapes: what is counted in the sources of a run ↔ plain values that may change while it goes on.

shapes = SourceShapes(lambda: supervisor.assembly)
shapes.change("door", {"lines": {"gate": [[0, 0.5], [1, 0.5]]}, "zones": {}})
shapes.save("door")
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from pipeline.app.assemble import Assembly
from pipeline.app.config.counting import LineConfig, ZoneConfig
from pipeline.app.config.loading import shapes_of
from pipeline.app.counting import NEEDS_COUNTING, ShapeSettings, checked_shapes
from pipeline.app.run.shapes_file import ShapesFile, shape_in_file
from pipeline.app.stages import COUNT
from pipeline.errors import ConfigError, UnknownSourceError
from pipeline.json_values import Json

_KEYS = frozenset(("lines", "zones"))
_MOST_SHAPES = 100  # of one source


class SourceShapes:
    """Reads, changes and saves the lines and zones of the sources of a run. Every method may be called from any thread.

    assembly: what the run is assembled from now.
    Raises UnknownSourceError, from each, for a source that the run does not have.
    """

    def __init__(self, assembly: Callable[[], Assembly]) -> None:
        self._assembly = assembly
        self._changing = threading.Lock()
        self._file = ShapesFile()

    def of(self, name: str) -> dict[str, Json]:
        """The lines and zones of a source, as docs/live-protocol.md describes them, and whether they can be changed."""
        assembly, settings = self._assembly(), self._settings(name)
        config = assembly.config
        return {
            "lines": {line: _as_json(own) for line, own in settings.lines.items()},
            "zones": {zone: _as_json(own) for zone, own in settings.zones.items()},
            "obstacle": self._obstacle(assembly),
            "file": None if config.file is None else config.file.name,
            "file_obstacle": self._file.obstacle(config, assembly.entries, name),
            "is_saved": self._file.has(config, assembly.entries, name, settings),
            "yaml": as_yaml(settings),
        }

    def change(self, name: str, values: Mapping[str, Json]) -> dict[str, Json]:
        """Count at other lines and zones of a source from its next frame on; returns as `of`.

        values: `lines` and `zones` by name, all that there are to be, each as in a configuration.
        A shape that is as it was, but perhaps for its name, goes on with its counts; any other begins at 0.
        Raises ConfigError for what a configuration may not have either, and for a run that does not count.
        """
        if set(values) != _KEYS:
            raise ConfigError(
                f"shapes must have the keys lines and zones, and no other, got {', '.join(sorted(values)) or 'none'}"
            )
        settings = ShapeSettings(*shapes_of(values, "the request"))
        if len(settings.lines) + len(settings.zones) > _MOST_SHAPES:
            raise ConfigError(f"a source must have at most {_MOST_SHAPES} lines and zones")
        with self._changing:
            self._settings(name)
            assembly = self._assembly()
            obstacle = self._obstacle(assembly)
            if obstacle is not None:
                raise ConfigError(obstacle)
            assembly.counted[name] = checked_shapes(
                settings,
                assembly.config,
                assembly.suppressions[name].spec,
                name,
                assembly.sources[name].size_wh,
                homography=assembly.counted[name].homography,
            )
        return self.of(name)

    def save(self, name: str) -> Path:
        """Write the lines and zones of a source to the file of --config, whose other settings stay; returns its path.

        Raises ConfigError where there is no such file, or it cannot have them.
        """
        with self._changing:
            assembly, settings = self._assembly(), self._settings(name)
            return self._file.save(assembly.config, assembly.entries, name, settings)

    def _settings(self, name: str) -> ShapeSettings:
        counted = self._assembly().counted
        if name not in counted:
            raise UnknownSourceError(f"the run has no source {name!r}; it has {', '.join(counted)}")
        return counted[name].settings

    @staticmethod
    def _obstacle(assembly: Assembly) -> str | None:
        """Why shapes cannot be changed; None: they can."""
        has_stage = any(node.role == COUNT.role for node in assembly.flow.nodes)
        return None if has_stage else f"lines and zones {NEEDS_COUNTING}"


def _as_json(shape: LineConfig | ZoneConfig) -> dict[str, Json]:
    """A line or zone with its points [[x, y], …] as they are configured, and what else it has of its own."""
    pairs: list[Json] = [[x, y] for x, y in zip(shape.points[::2], shape.points[1::2], strict=True)]
    return {"points": pairs, **_own(shape)}


def _own(shape: LineConfig | ZoneConfig) -> dict[str, Json]:
    values: dict[str, Json] = shape.model_dump(mode="json", exclude={"points"}, exclude_defaults=True)
    return values


def as_yaml(settings: ShapeSettings) -> str:
    """What a configuration has to hold."""
    kinds = {"lines": settings.lines, "zones": settings.zones}
    values = {kind: {name: shape_in_file(own) for name, own in shapes.items()} for kind, shapes in kinds.items()}
    text: str = yaml.safe_dump(
        {kind: shapes for kind, shapes in values.items() if shapes}, sort_keys=False, allow_unicode=True
    )
    return "" if text == "{}\n" else text
