"""Counting of a run: a configuration, a source's own settings and its model → checked lines and zones for a counter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.app.config.counting import LineConfig, ZoneConfig
from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.thresholds import class_ids_of
from pipeline.errors import ConfigError
from pipeline.picture.counting.counter import CounterOptions
from pipeline.picture.counting.homography import Homography
from pipeline.picture.counting.shapes import Line, Zone, far_point, is_in_picture
from pipeline.picture.detector_spec import DetectorSpec

DEFAULT_TRACKER = "bytetrack"
NEEDS_COUNTING = "need a run that counts: give it a --line, a --zone or --track at its start"


@dataclass(frozen=True, slots=True)
class ShapeSettings:
    """The lines and zones of one source by name, as they are configured."""

    lines: Mapping[str, LineConfig] = field(default_factory=dict)
    zones: Mapping[str, ZoneConfig] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CountedShapes:
    """What is counted in the pictures of one source. Another one takes its place where somebody draws."""

    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()
    homography: Homography | None = None
    settings: ShapeSettings = ShapeSettings()  # that they are made from


def counts_something(config: RunConfig) -> bool:
    """Whether a run counts, or measures speeds, in one of its sources."""
    parts: tuple[RunConfig | SourceConfig, ...] = (config, *config.source_configs)
    return any(part.lines or part.zones or part.homography for part in parts)


def can_count(config: RunConfig, *, takes_shapes: bool) -> bool:
    """Whether a run has a stage that counts: it has something to count at, or follows objects, and that may come."""
    return counts_something(config) or (takes_shapes and config.track.kind is not None)


def with_tracking(config: RunConfig) -> RunConfig:
    """The same, with the tracker that counting needs, where none is named."""
    if config.track.kind is not None or not counts_something(config):
        return config
    return with_keys(config, {"track.kind": DEFAULT_TRACKER})


def counter_options(config: RunConfig) -> CounterOptions:
    """How a run counts."""
    counting = config.counting
    return CounterOptions(
        hysteresis=counting.hysteresis,
        steady_seconds=counting.steady_s,
        memory_seconds=config.track.memory_s,
        hold_seconds=counting.hold_s,
        cooldown_seconds=counting.cooldown_s,
    )


def counted_shapes(
    config: RunConfig,
    entry: SourceConfig | None,
    spec: DetectorSpec,
    source_id: str,
    size_wh: tuple[int, int] | None,
) -> CountedShapes:
    """The lines and zones of a source: those of the run, and its own, which come in the place of those of their names.

    spec: of its model. size_wh: of its pictures; None: not known. Raises as `checked_shapes`.
    """
    own = entry or SourceConfig.model_construct(url=source_id)
    rows = own.homography or config.homography
    homography = None if rows is None else Homography(rows)
    is_typed = config.file is None and not (own.lines or own.zones)
    settings = shape_settings(config, own)
    return checked_shapes(settings, config, spec, source_id, size_wh, homography=homography, is_typed=is_typed)


def shape_settings(config: RunConfig, own: SourceConfig) -> ShapeSettings:
    """The lines and zones of the run, and a source's own, which come in the place of those of their names."""
    return ShapeSettings({**config.lines, **own.lines}, {**config.zones, **own.zones})


def checked_shapes(
    settings: ShapeSettings,
    config: RunConfig,
    spec: DetectorSpec,
    source_id: str,
    size_wh: tuple[int, int] | None,
    *,
    homography: Homography | None = None,
    is_typed: bool = False,
) -> CountedShapes:
    """What is counted in a source by its settings, beside those of the run's counting.

    is_typed: whether they come from the command line, so that errors name its flags.
    Raises ConfigError for a name that a line and a zone have, a class that the model lacks, a shape that is outside
    of the picture, and a point that is farther outside than the picture is wide or high.
    """
    lines, zones = settings.lines, settings.zones
    for name in lines.keys() & zones.keys():
        raise ConfigError(f"zones.{name} must have a name that no line has; rename one of the two")
    shapes = CountedShapes(
        tuple(
            Line(name, line.points, line.anchor or config.counting.anchor, _class_ids(line, spec, f"lines.{name}"))
            for name, line in lines.items()
        ),
        tuple(
            Zone(
                name,
                zone.points,
                zone.anchor or config.counting.anchor,
                _class_ids(zone, spec, f"zones.{name}"),
                zone.dwell_s or config.counting.dwell_s,
            )
            for name, zone in zones.items()
        ),
        homography,
        settings,
    )
    if size_wh is not None:
        picture = f"the picture, {size_wh[0]}×{size_wh[1]} of {source_id}"
        for kind, some in (("line", shapes.lines), ("zone", shapes.zones)):
            _refuse_outside(some, f"--{kind} " if is_typed else f"{kind}s.", picture, size_wh)
    return shapes


def _class_ids(shape: LineConfig | ZoneConfig, spec: DetectorSpec, key: str) -> frozenset[int] | None:
    return (
        frozenset(class_id for name in shape.classes for class_id in class_ids_of(name, spec, f"{key}.classes")) or None
    )


def _refuse_outside(shapes: Sequence[Line | Zone], prefix: str, picture: str, size_wh: tuple[int, int]) -> None:
    for shape in shapes:
        points = shape.points(size_wh)
        if not is_in_picture(points, size_wh):
            corners = ",".join(f"{number:g}" for number in points.ravel().tolist())
            raise ConfigError(
                f"{prefix}{shape.name} must lie within {picture}, got {corners}; nothing would ever be counted there"
            )
        far = far_point(points, size_wh)
        if far is not None:
            raise ConfigError(
                f"{prefix}{shape.name} must have points in or near {picture}, got {far[0]:g},{far[1]:g}, which is "
                "farther outside than the picture is wide or high; move it nearer"
            )
