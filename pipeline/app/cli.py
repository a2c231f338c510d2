"""What can be typed? The command line; everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.app.logs import Verbose, log_to_stderr
from pipeline.app.measure_commands import COMMANDS as MEASURE_COMMANDS
from pipeline.app.model_commands import (
    COMMANDS,
    Anchors,
    BoxFormat,
    ClassNames,
    Colour,
    Columns,
    FirstClassId,
    Head,
    Mean,
    NormalisedBoxes,
    Resize,
    Scores,
    Size,
    Std,
    hint_options,
)
from pipeline.app.standard_streams import outlets
from pipeline.errors import StreamdetError
from pipeline.masking import masked_address
from pipeline.sources.opening import kinds_in_words
from pipeline.version import __version__

if TYPE_CHECKING:
    from pipeline.app.config import RunConfig

app = typer.Typer(
    name="streamdet",
    help="Streaming object detection on video: an ONNX detector on a webcam, a file or a network camera, live.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Device = Annotated[
    str | None,
    typer.Option(help="auto, cpu, openvino, cuda or tensorrt; what is asked for is what runs, or an error."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="An ONNX detector; demo: the one that comes with streamdet, which knows drawn streets only.",
    ),
]


_LONGEST_NAME = 200  # of a file, in an error


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 1, never a traceback."""
    with outlets(sys.argv[1:]) as both:
        status = both.status(_run_app())
    sys.exit(status)


def _run_app() -> int:
    """The exit code of the command."""
    try:
        app()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except StreamdetError as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        logging.getLogger(__name__).debug("the traceback", exc_info=error)
        print(f"streamdet: error: {error}{notes}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:  # of no file that somebody named: ours, with its traceback
            raise
        logging.getLogger(__name__).debug("the traceback", exc_info=error)
        name = masked_address(str(error.filename))
        shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
        print(f"streamdet: error: {shown}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("streamdet: interrupted", file=sys.stderr)
        return 130
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"streamdet {__version__}")
        raise typer.Exit


@app.callback()
def _streamdet(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


@app.command()
def run(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help=f"One or several of: {kinds_in_words()}.",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    device: Device = None,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, fp16 or bf16, where the device lets one choose; fp32 refuses OpenVINO's bf16."),
    ] = None,
    unproved: Annotated[
        bool | None,
        typer.Option(
            "--unproved", help="Go on with a device that finds something else than the CPU in fp32.", show_default=False
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Record the video with everything drawn on it (.mp4, .mkv, .mov)."),
    ] = None,
    jsonl: Annotated[
        str | None,
        typer.Option(help="Write a JSON line a frame; - is stdout."),
    ] = None,
    report: Annotated[str | None, typer.Option(help="Write the run's numbers as JSON.")] = None,
    show: Annotated[
        bool | None,
        typer.Option(
            "--show/--no-show",
            help="Show a window; by default if there is a display and no other output.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(metavar="N", help="Detect in every Nth frame; of files, hardly more is decoded."),
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="End after so many frames of each source.")] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(help="Keep detections from this score on; the model's own value if left out."),
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(help="Of two boxes that overlap by more, the better one stays; the model's own if left out."),
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Keep only these classes: person,car.")] = None,
    live: Annotated[
        bool | None,
        typer.Option(
            "--live/--every-frame",
            help="Drop old frames for new ones, or never drop; by default as the source is.",
            show_default=False,
        ),
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option(
            metavar="MS", help="Let a batch of live frames wait to be full while none of them gets older than this."
        ),
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict/--no-strict", help="Exit with 1 if a part of a source could not be read.", show_default=False
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", help="A YAML file, or a preset: demo, file, gpu, rtsp, throughput, webcam."),
    ] = None,
    head: Head = None,
    size: Size = None,
    resize: Resize = None,
    colour: Colour = None,
    mean: Mean = None,
    std: Std = None,
    box_format: BoxFormat = None,
    normalised_boxes: NormalisedBoxes = None,
    scores: Scores = None,
    first_class_id: FirstClassId = None,
    columns: Columns = None,
    anchors: Anchors = None,
    class_names: ClassNames = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the configuration, such as engine.threads=1."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the stage graph and exit.")] = False,
    verbose: Verbose = False,
) -> None:
    """Detect objects in one source or several; show, record, write and measure the result live."""
    from pipeline.app.config import load_config
    from pipeline.app.model_hints import words_of

    log_to_stderr(verbose)
    options: dict[str, Any] = {
        "sources": tuple(sources or ()),
        "model": model,
        "strict": strict,
        "engine.device": device,
        "engine.precision": precision,
        "engine.unproved": unproved,
        "output.video": output,
        "output.jsonl": jsonl,
        "output.report": report,
        "output.show": show,
        "flow.every": every,
        "flow.max_frames": max_frames,
        "flow.max_latency_ms": max_latency,
        "flow.mode": None if live is None else "live" if live else "every-frame",
        "detection.score_threshold": score_threshold,
        "detection.iou_threshold": iou_threshold,
        "detection.classes": None if classes is None else words_of(classes, "--classes", such_as="person,car"),
        **hint_options(
            head=head,
            size=size,
            resize=resize,
            colour=colour,
            mean=mean,
            std=std,
            box_format=box_format,
            normalised_boxes=normalised_boxes,
            scores=scores,
            first_class_id=first_class_id,
            columns=columns,
            anchors=anchors,
            class_names=class_names,
        ),
    }
    _run(load_config(config, settings=settings or (), options=options), dry_run=dry_run)


@app.command()
def demo(
    output: Annotated[
        str, typer.Option("--output", "-o", help="The folder for video, JSON lines and report.")
    ] = "demo-output",
    device: Device = None,
    show: Annotated[bool, typer.Option("--show/--no-show", help="Show a window as well.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the configuration."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Run the detector that comes with streamdet on a street that the machine draws itself: no camera, no network."""
    from pipeline.app.config import load_config
    from pipeline.app.output_paths import make_folder

    log_to_stderr(verbose)
    folder = Path(output)
    make_folder("--output", folder)
    options = {
        "engine.device": device,
        "output.video": str(folder / "demo.mp4"),
        "output.jsonl": str(folder / "demo.jsonl"),
        "output.report": str(folder / "report.json"),
        "output.show": show,
    }
    _run(load_config("demo", settings=settings or (), options=options), dry_run=False)


@app.command()
def doctor(verbose: Verbose = False) -> None:
    """Say what this machine can do, and what is wrong with the installation."""
    from pipeline.app.doctor import print_diagnosis

    log_to_stderr(verbose)
    if not print_diagnosis():
        raise typer.Exit(1)


def _run(config: RunConfig, *, dry_run: bool) -> None:
    """Run, and exit with what the run came to."""
    from pipeline.app.run.command import run_and_report

    try:
        status = run_and_report(config, dry_run=dry_run)
    except BrokenPipeError:  # the reader of the JSON lines left, as `head` does; that is no mistake
        status = 0
    if status:
        raise typer.Exit(status)


for command in COMMANDS:
    app.command()(command)
for name, measure in MEASURE_COMMANDS.items():
    app.command(name)(measure)


if __name__ == "__main__":
    main()
