"""Options: marks on fields → how each is typed on the command line, with its help, said once.

    repeats: Annotated[int, Flag("How often each candidate is measured.", at_least=1)] = 3

Fields of a command's own frozen dataclass and keys of the configuration are marked alike; the field's default is the
only one. `pipeline.app.commands` makes the parameters of a command of them.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pipeline.errors import ConfigError

TypeForm: TypeAlias = object
"""A type as an annotation has it: `str`, `int | None`, `Literal["a", "b"]`; `typing` has no type for all of them."""

Parse = Callable[[Any, str], object]
"""The typed value and the flag's name, for the error → the field's value. Raises ConfigError."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A field that is typed with a flag.

    names: with their dashes; `--field-name` if left out. `--a/--b` means true and false.
    metavar: the word behind the flag in the help; the choices, where the field is a Literal.
    typed: the type that is read from the command line where it is not the field's own; `parse` turns it into that.
    default_text: the field's default as one would type it, where `parse` is needed to read it.
    panel: the heading in the help under which it stands; by default Options.
    bare: the value of a flag with choices that is typed without one; see `pipeline.app.bare_flags`.
    is_pair: it is typed with two words, which are read as one, with an = between them.
    """

    help: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    typed: TypeForm = None
    parse: Parse | None = None
    at_least: float | None = None
    at_most: float | None = None
    default_text: str | None = None
    panel: str | None = None
    bare: str | None = None
    is_pair: bool = False


@dataclass(frozen=True, slots=True)
class Argument:
    """A field that is typed without a flag. typed: the type that is read, where it is not the field's own."""

    help: str
    metavar: str
    typed: TypeForm = None


def flag_names(mark: Flag | Argument, key: str) -> tuple[str, ...]:
    """The flags of a field or dotted key, with their dashes, `--a/--b` for true and false; none of an argument."""
    if isinstance(mark, Argument):
        return ()
    return mark.names or (f"--{key.rpartition('.')[2].replace('_', '-')}",)


@dataclass(frozen=True, slots=True)
class ConfigFlags:
    """On a field of type ConfigRequest: the keys and sections of the configuration that a command has flags for.

    panels: further keys and sections, by the heading in the help under which they stand; a section means those of its
        keys that are named nowhere else. file, settings: whether the command takes --config and --set as well.
    """

    keys: tuple[str, ...] = ()
    panels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    file: bool = True
    settings: bool = True


def comma_separated(text: str, flag: str) -> tuple[str, ...]:
    """The words of a,b,c, without blanks around them. Raises ConfigError where there is none."""
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise ConfigError(f"{flag} must name at least one, with commas between several, got {text!r}")
    return words


def by_name(words: Sequence[str], flag: str, names: Sequence[str]) -> dict[str, str]:
    """The values of name=value, of each name at most one. Raises ConfigError for another name or none, or no value."""
    values: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in names or not value:
            nearest = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {nearest[0]}=…?" if nearest and name not in names else ""
            raise ConfigError(f"{flag} must be NAME=PATH with a name of {', '.join(names)}, got {word!r}{hint}")
        if name in values:
            raise ConfigError(f"{flag} {name}=… must be there once, got {values[name]!r} and {value!r}")
        values[name] = value
    return values


def named_values(words: Sequence[str], flag: str, example: str, *, form: str = "NAME=…") -> dict[str, str]:
    """The values of name=value, of each name once. Raises ConfigError for a name twice, and for none, or no value.

    form: how it is typed, for the error.
    """
    values: dict[str, str] = {}
    for word in words:
        name, _, value = (part.strip() for part in word.partition("="))
        if not name or not value:
            raise ConfigError(f"{flag} must be {form}, such as {example}, got {word!r}")
        if name in values:
            raise ConfigError(f"{flag} {name}=… must be there once, got {values[name]!r} and {value!r}")
        values[name] = value
    return values


def duration(text: str, flag: str, *, may_be_zero: bool = False) -> float:
    """Seconds of a duration such as 80ms, 2s or 2min. Raises ConfigError for anything else."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|min)", text.strip())
    if match is None or not (float(match[1]) or may_be_zero):
        raise ConfigError(f"{flag} must be a duration with its unit, such as 80ms, 2s or 2min, got {text!r}")
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "min": 60.0}[match[2]]


def size(text: str, flag: str) -> tuple[int, int]:
    """Width and height of WIDTHxHEIGHT, as `width_and_height` reads it. Raises ConfigError for anything else."""
    size_wh = width_and_height(text)
    if size_wh is None:
        raise ConfigError(f"{flag} must be WIDTHxHEIGHT, such as 640x384, got {text!r}")
    return size_wh


def width_and_height(text: str) -> tuple[int, int] | None:
    """The numbers of 640x384, of 640,384, and of 640, which is both; None for anything else.

    >>> width_and_height("640x384"), width_and_height("320"), width_and_height("0x320")
    ((640, 384), (320, 320), None)
    """
    match = re.fullmatch(r"([1-9]\d{0,5})(?: *[xX×,] *([1-9]\d{0,5}))?", text.strip(), re.ASCII)
    return None if match is None else (int(match[1]), int(match[2] or match[1]))


def triple(text: str, flag: str) -> tuple[float, float, float]:
    """Three numbers with commas between them, or one for all three. Raises ConfigError for anything else."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{flag} must be one number or three with commas, such as 123.7,116.3,103.5, got {text!r}")
    return numbers[0], numbers[1], numbers[2]


OR_NAME = "or a name of `streamdet models`"
"""Behind what takes a model."""

OVERWRITE = Flag("Replace outputs that exist already.", ("--overwrite",))
"""Of every command that writes files."""

REPORT = Flag("Write all numbers as JSON.", metavar="FILE.json")
"""Of every command that measures."""
