"""Lines and zones as they are typed → checked points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Never

from pydantic import BeforeValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from pipeline.app.config.values import Positive, Section, as_class_words, checked
from pipeline.meaning import Meaning
from pipeline.picture.choices import Anchor

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


class LineConfig(Section):
    """A line that objects cross; what is left out is that of the run."""

    points: Annotated[
        tuple[float, ...], BeforeValidator(_coordinates, json_schema_input_type=str | list[float | str | list[float]])
    ]
    anchor: Anchor | None = None
    classes: Annotated[
        tuple[str, ...],
        BeforeValidator(partial(as_class_words, key="classes"), json_schema_input_type=list[str | int] | str),
    ] = ()  # empty: all


class ZoneConfig(LineConfig):
    """A polygon that objects are in; what is left out is that of the run."""

    dwell_s: Positive | None = None


def _in_words(name: object, check: ValidatorFunctionWrapHandler) -> str:
    try:
        text: str = check(name)
    except ValidationError as error:
        raise PydanticCustomError(
            "name",
            "must be a name of at most 60 letters, digits, blanks and . - _, which begins with a letter or digit and "
            "does not end with a blank",
        ) from error
    return text


ShapeName = Annotated[str, Field(pattern=r"^\w([\w .-]{0,58}[\w.-])?$"), WrapValidator(_in_words)]


_PointsAlone = str | list[float | str | list[float]]


Lines = Mapping[
    ShapeName,
    Annotated[
        LineConfig,
        BeforeValidator(_with_points, json_schema_input_type=_PointsAlone | LineConfig),
        checked(_as_line),
    ],
]


Zones = Mapping[
    ShapeName,
    Annotated[
        ZoneConfig,
        BeforeValidator(_with_points, json_schema_input_type=_PointsAlone | ZoneConfig),
        checked(_as_zone),
    ],
]


NO_SHAPES: Mapping[str, Never] = {}
GroundRows = Annotated[tuple[tuple[float, float, float, float], ...], checked(_as_homography)]


class CountingConfig(Section):
    """How lines and zones count the objects that are followed."""

    anchor: Annotated[
        Anchor, Meaning("The point of a box that counts: the middle of its lower edge, or its centre.")
    ] = "bottom"
    hysteresis: Annotated[
        Annotated[float, Field(ge=0, le=1)],
        Meaning("How far beyond a line or outline an object must be to have crossed it, as a share of its box's size."),
    ] = 0.1
    steady_s: Annotated[
        Annotated[float, Field(ge=0, le=60)],
        Meaning(
            "Seconds over which boxes are steadied, and hidden lower edges made up for; 0: they count as detected."
        ),
    ] = 0.3
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
