"""Command line: what was typed → one command, and its exit code; a user's mistake is one line, never a traceback.

Each command is a row: its name, its options, and where its work is, which is imported when it runs.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from pipeline.app.bench.options import BenchOptions
from pipeline.app.commands import Command
from pipeline.app.compare.options import CompareOptions
from pipeline.app.ctl.options import CtlOptions
from pipeline.app.evaluate.options import EvalOptions
from pipeline.app.explain.options import ExplainOptions
from pipeline.app.help_text import HelpfulCommand, HelpfulGroup
from pipeline.app.lineage.options import LineageOptions
from pipeline.app.logs import tell_error
from pipeline.app.map.options import MapOptions
from pipeline.app.models.options import (
    AdoptOptions,
    BuildOptions,
    ExportOptions,
    FlopsOptions,
    InspectOptions,
    ModelsOptions,
    QuantizeOptions,
    VerifyOptions,
)
from pipeline.app.optimise.options import OptimiseOptions
from pipeline.app.run.fleet.options import FleetOptions
from pipeline.app.run.options import DemoOptions, DoctorOptions, RunOptions
from pipeline.app.settings.options import ConfigOptions
from pipeline.app.signals import Signals, end_process
from pipeline.app.standard_streams import outlets
from pipeline.app.tune.options import TuneOptions
from pipeline.errors import StreamdetError, shortage
from pipeline.masking import masked_address
from pipeline.version import __version__

COMMANDS = (
    Command("run", RunOptions, "pipeline.app.run.command:run_sources"),
    Command("map", MapOptions, "pipeline.app.map.command:run_map"),
    Command("fleet", FleetOptions, "pipeline.app.run.fleet.command:run_fleet"),
    Command("ctl", CtlOptions, "pipeline.app.ctl.command:run_ctl"),
    Command("demo", DemoOptions, "pipeline.app.run.command:run_demo"),
    Command("doctor", DoctorOptions, "pipeline.app.doctor:run_doctor"),
    Command("config", ConfigOptions, "pipeline.app.settings.command:run_config"),
    Command("models", ModelsOptions, "pipeline.app.models.catalogue:run_models"),
    Command("inspect", InspectOptions, "pipeline.app.models.inspect:run_inspect"),
    Command("adopt", AdoptOptions, "pipeline.app.models.adopt:run_adopt"),
    Command("export", ExportOptions, "pipeline.app.models.export:run_export"),
    Command("verify", VerifyOptions, "pipeline.app.models.verify:run_verify"),
    Command("quantize", QuantizeOptions, "pipeline.app.models.quantize:run_quantize"),
    Command("flops", FlopsOptions, "pipeline.app.models.flops:run_flops"),
    Command("build", BuildOptions, "pipeline.app.models.build:run_build"),
    Command("bench", BenchOptions, "pipeline.app.bench.command:run_bench"),
    Command("eval", EvalOptions, "pipeline.app.evaluate.command:run_eval"),
    Command("compare", CompareOptions, "pipeline.app.compare.command:run_compare"),
    Command("explain", ExplainOptions, "pipeline.app.explain.command:run_explain"),
    Command("lineage", LineageOptions, "pipeline.app.lineage.command:run_lineage"),
    Command("tune", TuneOptions, "pipeline.app.tune.command:run_tune"),
    Command("optimise", OptimiseOptions, "pipeline.app.optimise.command:run_optimise"),
)

app = typer.Typer(
    name="streamdet",
    cls=HelpfulGroup,
    help="Streaming object detection on video: an ONNX detector on a webcam, a file or a network camera, live.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_LONGEST_NAME = 200  # of a file, in an error


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 1, never a traceback."""
    with Signals(), outlets(sys.argv[1:]) as both:
        end_process(both.status(_run_app()))


def _run_app() -> int:
    """The exit code of the command."""
    try:
        app()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except StreamdetError as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        logging.getLogger(__name__).debug("the traceback", exc_info=error)
        tell_error(f"{error}{notes}")
        return 1
    except OSError as error:
        if error.filename is None and not _has_working_folder():
            tell_error("the folder in which this was started is gone; change into another")
            return 1
        if error.filename is None:  # of no file that somebody named: ours, with its traceback
            raise
        logging.getLogger(__name__).debug("the traceback", exc_info=error)
        name = masked_address(str(error.filename))
        shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
        tell_error(f"{shown}: {error.strerror or error}")
        return 1
    except Exception as error:  # of any library
        reason = shortage(error)
        if reason is None:
            raise
        logging.getLogger(__name__).debug("the traceback", exc_info=error)
        tell_error(reason)
        return 1
    return 0


def _has_working_folder() -> bool:
    try:
        return bool(os.getcwd())  # noqa: PTH109 - Path.cwd is the same
    except OSError:
        return False


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"streamdet {__version__}")
        raise typer.Exit


@app.callback()
def _streamdet(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


for command in COMMANDS:
    app.command(command.name, cls=HelpfulCommand)(command.function())


if __name__ == "__main__":
    main()
