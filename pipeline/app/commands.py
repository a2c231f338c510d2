"""Commands: marked options → the functions that Typer registers; what was typed → a command's options."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typer

from pipeline.app.config.flags import marked_keys
from pipeline.app.config.loading import ConfigRequest, preset_names
from pipeline.app.logs import log_to_stderr
from pipeline.app.options import Argument, ConfigFlags, Flag, TypeForm, flag_names
from pipeline.app.signals import exit_code_of
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Mark = Flag | Argument | ConfigFlags

_CONFIG_FILE = Flag(
    f"A YAML file, or a preset: {', '.join(preset_names())}.",
    ("--config", "-c"),
    metavar="FILE.yaml|PRESET",
)
_SETTINGS = Flag("Set any key of the configuration, such as engine.threads=1.", ("--set",), metavar="KEY=VALUE")
_VERBOSE = Flag("Log more, and show tracebacks.", ("--verbose", "-v"))
_REQUIRED = inspect.Parameter.empty
_METAVARS: Mapping[TypeForm, str] = {int: "N", float: "X", str: "WORD", Path: "FILE"}


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the command line.

    options: a frozen dataclass with marked fields; its docstring is the command's help.
    entry: `package.module:function`, imported when the command runs; takes the options and returns the exit code.
    """

    name: str
    options: type[DataclassInstance]
    entry: str

    def function(self) -> Callable[..., None]:
        """A function with one parameter for each option, as Typer registers it."""

        def run(**typed: object) -> None:
            log_to_stderr(bool(typed.pop("verbose")))
            try:
                options = collect(self.options, typed)
                module, _, name = self.entry.partition(":")
                status: int = getattr(importlib.import_module(module), name)(options)
            except KeyboardInterrupt as error:  # here, because Typer makes 130 of every signal
                print("streamdet: interrupted", file=sys.stderr)
                status = exit_code_of(error)
            if status:
                raise typer.Exit(status)

        run.__doc__ = self.options.__doc__
        own = options_of(self.options)
        options = (*own, Option("verbose", bool, False, _VERBOSE, panel=own[-1].panel if own else None))
        parameters = [option.parameter() for option in options]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run


@dataclass(frozen=True, slots=True)
class Option:
    """One parameter of a command.

    key: a field of the command's options, or a dotted key of the configuration.
    kind: the field's type. default: the field's, or `inspect.Parameter.empty`.
    """

    key: str
    kind: TypeForm
    default: object
    mark: Flag | Argument
    is_of_configuration: bool = False
    panel: str | None = None  # the heading in the help

    @property
    def name(self) -> str:
        """The name of the parameter."""
        return self.key.replace(".", "_")

    @property
    def flags(self) -> tuple[str, ...]:
        """The flag's names with their dashes, `--a/--b` for true and false; none of an argument."""
        return flag_names(self.mark, self.key)

    @property
    def word(self) -> str:
        """What an error calls the option: its first flag, or the argument's name."""
        return self.flags[0].partition("/")[0] if self.flags else self.mark.metavar or self.key

    @property
    def _is_number_of_configuration(self) -> bool:
        return self.is_of_configuration and _bare(self.kind) in (int, float)

    def parameter(self) -> inspect.Parameter:
        """The parameter as Typer reads it."""
        default = self._typed_default()
        kind = self._typed_kind()
        if default is None:
            kind = Union[kind, None]  # noqa: UP007
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, self._info(default)],
        )

    def value(self, typed: object) -> object:
        """The field's value of what was typed. Raises ConfigError."""
        if typed == "" and getattr(self.mark, "parse", None) is None:
            raise ConfigError(f"{self.word} must not be empty; leave it out, or give it a value")
        if isinstance(self.mark, Flag) and self.mark.parse is not None:
            return self.mark.parse(typed, self.word)
        if self._is_number_of_configuration and isinstance(typed, str):
            with suppress(ValueError):  # of which the configuration says what it must be
                return int(typed) if _bare(self.kind) is int else float(typed)
        choices = () if self.is_of_configuration else _choices(self.kind)  # the configuration checks its own
        if choices and typed not in choices:
            raise ConfigError(f"{self.word} must be one of {', '.join(choices)}, got {typed!r}")
        return tuple(typed) if isinstance(typed, list) else typed

    def _info(self, default: object) -> object:
        if isinstance(self.mark, Argument):
            return typer.Argument(metavar=self.mark.metavar, help=self.mark.help, show_default=False)
        return typer.Option(
            *self.flags,
            metavar=self.mark.metavar or "|".join(_choices(self.kind)) or _METAVARS.get(_bare(self.kind)),
            help=self.mark.help,
            min=self.mark.at_least,
            max=self.mark.at_most,
            callback=_finite if _bare(self.kind) is float and not self.is_of_configuration else None,
            show_default=default is not None and default is not False,
            rich_help_panel=self.panel,
        )

    def _typed_kind(self) -> TypeForm:
        if isinstance(self.mark, Flag) and (self.mark.typed or self.mark.parse):
            return self.mark.typed or str
        if isinstance(self.mark, Argument) and self.mark.typed:
            return self.mark.typed
        kind = _bare(self.kind)
        if self._is_number_of_configuration:
            return str  # which `value` reads: a mistake is one line then, and not a usage error
        if get_origin(kind) is tuple:
            return list[get_args(kind)[0]]  # type: ignore[misc]
        return str if get_origin(kind) is Literal else kind

    def _typed_default(self) -> object:
        if self.default is _REQUIRED:
            return _REQUIRED
        if self.is_of_configuration:
            return None
        if isinstance(self.mark, Flag) and self.mark.default_text is not None:
            return self.mark.default_text
        return None if isinstance(self.default, tuple) else self.default


def options_of(kind: type[DataclassInstance]) -> tuple[Option, ...]:
    """The options of a command, from the marked fields of its dataclass."""
    return tuple(_own_options(kind))


def config_options() -> tuple[Option, ...]:
    """Every key of the configuration that has a flag."""
    return tuple(Option(*marked, is_of_configuration=True) for marked in marked_keys())


def collect(kind: type[T], typed: Mapping[str, object]) -> T:
    """A command's options of what was typed, by the names of its parameters; what was left out has the default.

    Raises ConfigError for what cannot be read.
    """
    values: dict[str, Any] = {}  # of any dataclass
    keys: dict[str, object] = {}
    for option in options_of(kind):
        if typed.get(option.name) is not None:
            (keys if option.is_of_configuration else values)[option.key] = option.value(typed[option.name])
    request = _request_field(kind)
    if request is not None:
        values[request] = ConfigRequest(values.pop("config_file", None), values.pop("settings", ()), keys)
    return kind(**values)


def _own_options(kind: type[DataclassInstance]) -> Iterator[Option]:
    for field, field_type, mark in _marked_fields(kind):
        if isinstance(mark, ConfigFlags):
            yield from _options_of_configuration(mark)
        else:
            default = _REQUIRED if field.default is dataclasses.MISSING else field.default
            panel = mark.panel if isinstance(mark, Flag) else None
            yield Option(field.name, field_type, default, mark, panel=panel)


def _options_of_configuration(mark: ConfigFlags) -> Iterator[Option]:
    named = {*mark.keys, *(key for keys in mark.panels.values() for key in keys)}
    for key in mark.keys:
        yield from _options_below(key, named)
    if mark.file:
        yield Option("config_file", str | None, None, _CONFIG_FILE)
    for panel, keys in mark.panels.items():
        for key in keys:
            yield from (replace(option, panel=panel) for option in _options_below(key, named))
    if mark.settings:
        yield Option("settings", tuple[str, ...], (), _SETTINGS, panel=_last_panel(mark))


def _options_below(key: str, named: Collection[str]) -> list[Option]:
    """The option of a key, or those of a section or of all keys (*), but for the ones that are named by themselves."""
    chosen = [option for option in config_options() if f"{option.key}.".startswith(f"{key}.") or key == "*"]
    assert chosen, f"no key of the configuration has a flag below {key}"
    return [option for option in chosen if option.key == key or option.key not in named]


def _last_panel(mark: ConfigFlags) -> str | None:
    return list(mark.panels)[-1] if mark.panels else None


def _marked_fields(kind: type[DataclassInstance]) -> tuple[tuple[dataclasses.Field[object], TypeForm, Mark], ...]:
    """The fields with a mark, their types and their marks."""
    hints = get_type_hints(kind, include_extras=True)
    marked = ((field, *_split(hints[field.name])) for field in dataclasses.fields(kind))
    return tuple((field, field_type, mark) for field, field_type, mark in marked if mark is not None)


def _request_field(kind: type[DataclassInstance]) -> str | None:
    return next((field.name for field, _, mark in _marked_fields(kind) if isinstance(mark, ConfigFlags)), None)


def _finite(number: float | None) -> float | None:
    """The same number; inf and nan, which pass any bound, are a usage error."""
    if isinstance(number, float) and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number.")
    return number


def _split(hint: TypeForm) -> tuple[TypeForm, Mark | None]:
    """A field's type and its mark, None without one."""
    if get_origin(hint) is not Annotated:
        return hint, None
    field_type, *extras = get_args(hint)
    return field_type, next((extra for extra in extras if isinstance(extra, Flag | Argument | ConfigFlags)), None)


def _bare(kind: TypeForm) -> TypeForm:
    """A type without None and without what is annotated."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _bare(next(member for member in get_args(kind) if member is not type(None)))
    return kind


def _choices(kind: TypeForm) -> tuple[str, ...]:
    bare = _bare(kind)
    return get_args(bare) if get_origin(bare) is Literal else ()
