"""Do marked fields become the parameters of a command, and what is typed its options?"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from pipeline.app.cli import COMMANDS
from pipeline.app.commands import Command, collect, config_options, options_of
from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import Argument, ConfigFlags, Flag, comma_separated, duration
from pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ToyOptions:
    """Try things out.

    At some length.
    """

    path: Annotated[Path, Argument("Where.", "PATH")]
    words: Annotated[tuple[str, ...], Flag("Which.", parse=comma_separated, default_text="a,b")] = ("a", "b")
    numbers: Annotated[tuple[int, ...], Flag("How many.", ("--number", "-n"), at_least=1)] = ()
    kind: Annotated[Literal["small", "large"], Flag("How large.")] = "small"
    wait_seconds: Annotated[float | None, Flag("How long.", ("--wait",), metavar="2s", parse=duration)] = None
    is_loud: Annotated[bool, Flag("Say it.", ("--loud",))] = False
    config: Annotated[ConfigRequest, ConfigFlags(("engine.device", "flow.mode"), file=False)] = ConfigRequest()


seen: list[Any] = []


def keep(options: Any) -> int:
    """Keep what arrived; the exit code is how many words there were beyond two."""
    seen.append(options)
    return max(0, len(options.words) - 2)


def toy(*words: str) -> tuple[int, ToyOptions | None, str]:
    """The exit code, the options that arrived, and what was printed."""
    seen.clear()
    app = typer.Typer(rich_markup_mode=None)
    app.command("toy")(Command("toy", ToyOptions, f"{__name__}:keep").function())
    outcome = CliRunner().invoke(app, words, catch_exceptions=True)
    if isinstance(outcome.exception, ConfigError):
        return 1, None, str(outcome.exception)
    return outcome.exit_code, seen[0] if seen else None, outcome.output


def test_what_is_left_out_has_the_fields_default() -> None:
    assert toy("a.txt") == (0, ToyOptions(Path("a.txt")), "")


def test_every_field_can_be_typed() -> None:
    words = (
        "a.txt --words x,y,z -n 2 --number 3 --kind large --wait 250ms --loud --device cpu --live --set flow.every=2"
    )
    status, options, _ = toy(*words.split())
    config = ConfigRequest(None, ("flow.every=2",), {"engine.device": "cpu", "flow.mode": "live"})
    assert options == ToyOptions(Path("a.txt"), ("x", "y", "z"), (2, 3), "large", 0.25, True, config)
    assert status == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--kind huge", "--kind must be one of small, large, got 'huge'"),
        ("--words ,", "--words must name at least one, with commas between several, got ','"),
        ("--wait 80", "--wait must be a duration with its unit, such as 80ms, 2s or 2min, got '80'"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_flag(words: str, message: str) -> None:
    assert toy("a.txt", *words.split()) == (1, None, message)


def test_numbers_out_of_range_and_unknown_flags_are_refused_before_the_command_runs() -> None:
    for words in (("a.txt", "-n", "0"), ("a.txt", "--soft"), ()):
        status, options, _ = toy(*words)
        assert (status, options) == (2, None)


def test_help_shows_choices_defaults_and_metavars() -> None:
    _, _, shown = toy("--help")
    for part in ("--kind small|large", "[default: small]", "--wait 2s", "[default: a,b]", "PATH", "At some length."):
        assert part in shown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_says_what_it_does_and_reads_its_own_default(command: Command) -> None:
    for option in options_of(command.options):
        assert option.mark.help[0].isupper() or option.mark.help[0] in "bf"
        assert option.mark.help.endswith((".", "…")), option.flags
        if isinstance(option.mark, Flag) and option.mark.default_text is not None:
            assert option.value(option.mark.default_text) == option.default
    assert inspect.signature(command.function()).parameters.keys() >= {"verbose"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_no_flag_stands_twice_in_a_command(command: Command) -> None:
    flags = [name for option in options_of(command.options) for flag in option.flags for name in flag.split("/")]
    assert len(set(flags)) == len(flags)


def test_a_key_of_the_configuration_has_one_flag_in_every_command() -> None:
    flags = {option.key: option.flags for option in config_options()}
    for command in COMMANDS:
        for option in options_of(command.options):
            if option.is_of_configuration:
                assert option.flags == flags[option.key]


def test_a_request_loads_flags_above_settings_above_the_file() -> None:
    request = ConfigRequest("webcam", ("flow.every=2", "engine.threads=3"), {"flow.every": 4})
    config = request.load(sources=("0",))
    assert (config.flow.every, config.engine.threads, config.sources) == (4, 3, ("0",))
    assert replace(request, flags={}).load(flow__every=5).flow.every == 5


def test_options_are_collected_by_the_names_of_the_parameters() -> None:
    assert collect(ToyOptions, {"path": Path("b"), "engine_device": "cuda"}).config.flags == {"engine.device": "cuda"}
