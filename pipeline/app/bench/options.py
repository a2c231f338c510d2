"""Options of `streamdet bench`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.config import ConfigRequest
from pipeline.app.options import REPORT, Argument, ConfigFlags, Flag, comma_separated


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """Measure real-time FPS and what limits it.

    Of the whole path, stage by stage, beside the floors: the source alone, the bare network, the encoder.
    """

    sources: Annotated[tuple[str, ...], Argument("What `run` takes; several run side by side.", "SOURCE...")] = ()
    models: Annotated[
        tuple[str | None, ...],
        Flag(
            "An ONNX detector, or several; the one that comes with streamdet if left out.",
            ("--model", "-m"),
            metavar="MODEL.onnx",
            typed=list[str],
        ),
    ] = (None,)
    devices: Annotated[tuple[str, ...], Flag("A device, as of `run`, or several.", ("--device",))] = ("auto",)
    precisions: Annotated[tuple[str, ...], Flag("fp32, fp16 or bf16, or several.", ("--precision",))] = ("auto",)
    sizes: Annotated[
        tuple[str | None, ...],
        Flag("An input size, of models that leave it open, or several.", ("--size",), metavar="WxH", typed=list[str]),
    ] = (None,)
    batches: Annotated[
        tuple[int, ...], Flag("How many frames are run at once, or several such numbers.", ("--batch",), at_least=1)
    ] = (1,)
    outputs: Annotated[
        tuple[str, ...],
        Flag(
            "boxes: nothing is drawn; recording: drawn and recorded; or both.",
            parse=comma_separated,
            default_text="boxes,recording",
        ),
    ] = ("boxes", "recording")
    rate: Annotated[
        float | None, Flag("Also measure the latency behind a camera of this many frames a second.", at_least=0.1)
    ] = None
    finds_highest_rate: Annotated[
        bool, Flag("Find the highest camera rate at which no frame is dropped.", ("--highest-rate",))
    ] = False
    repeats: Annotated[int, Flag("How often each candidate is measured, in turns.", at_least=1)] = 3
    seconds: Annotated[float, Flag("How long each measurement takes.", at_least=0.5)] = 5.0
    warm_up_seconds: Annotated[
        float, Flag("Seconds before each measurement that are not counted.", ("--warm-up",), at_least=0)
    ] = 1.0
    tests_itself: Annotated[
        bool,
        Flag("Check the meters against runs of known cost first; exit with 1 if they are off.", ("--self-test",)),
    ] = False
    data: Annotated[str | None, Flag("Labelled images, as of `eval`: the accuracy beside the speed.")] = None
    report: Annotated[Path | None, REPORT] = None
    html: Annotated[Path | None, Flag("Write a page with charts that needs no other file.", metavar="FILE")] = None
    config: Annotated[ConfigRequest, ConfigFlags()] = ConfigRequest()
