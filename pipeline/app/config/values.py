"""Values of settings: what is typed → what is kept, or one line that says what must hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pipeline.app.options import comma_separated, width_and_height

T = TypeVar("T")


Share = Annotated[float, Field(ge=0, le=1)]


Positive = Annotated[float, Field(gt=0)]


Count = Annotated[int, Field(ge=1)]


Threads = Annotated[int, Field(ge=1, le=1024)]


def as_width_and_height(value: object) -> object:
    """WIDTHxHEIGHT of the same, of WIDTH,HEIGHT, and of one number for both; anything but text and numbers stays."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return value
    size_wh = width_and_height(str(value))
    if size_wh is None:
        raise PydanticCustomError("size", "must be WIDTHxHEIGHT, such as 640x384")
    return f"{size_wh[0]}x{size_wh[1]}"


def as_class_words(value: object, *, key: str = "detection.classes") -> object:
    """Names and ids of classes as text: of a list, of one word, and of several with commas between them."""
    if isinstance(value, str):
        return comma_separated(value, key) if value.strip(", ") else value
    words = value if isinstance(value, list | tuple) else [value]
    return [str(word) if isinstance(word, int) and not isinstance(word, bool) else word for word in words]


def names_as_text(value: object) -> object:
    """A mapping with its keys as text: YAML reads the id 0 as a number."""
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


def _share_of(value: object) -> object:
    """A share of 30% or 0.3."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    return float(match[1]) / 100 if match else value


AboveZeroShare = Annotated[float, BeforeValidator(_share_of), Field(gt=0, le=1)]
"""In (0, 1], also typed as a percentage."""


Time = Annotated[float, BeforeValidator(_seconds_of), Field(ge=0)]


def checked(parse: Callable[[Any], object]) -> AfterValidator:
    """Let a value stand as it was typed where it can be parsed; what the parser says is the error."""

    def check(value: T) -> T:
        try:
            parse(value)
        except ValueError as error:
            raise PydanticCustomError("word", "{reason}", {"reason": str(error)}) from error
        return value

    return AfterValidator(check)


class Section(BaseModel):
    """A section of the settings: no key that is not there, nothing infinite, nothing changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, value: object, info: ValidationInfo) -> object:
        """A number is never true or false, as YAML reads yes and no; pydantic would make 1 and 0 of them."""
        kinds = _kinds_of(cls.model_fields[info.field_name or ""].annotation)
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise PydanticCustomError("number", "must be a number")
        return value


def _kinds_of(annotation: Any) -> set[object]:
    """The types that an annotation joins, without what else is said of them."""
    if get_origin(annotation) is Annotated:
        return _kinds_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for member in get_args(annotation) for kind in _kinds_of(member)}
    return {annotation}
