"""Options of `streamdet bench`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, REPORT, Argument, ConfigFlags, Flag, comma_separated


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """Measure real-time FPS and what limits it.

    The whole path is measured stage by stage, next to its floors: the source alone, the bare network, the encoder.
    """

    sources: Annotated[tuple[str, ...], Argument("What `run` takes; several run side by side.", "SOURCE...")] = ()
    models: Annotated[
        tuple[str | None, ...],
        Flag(
            f"An ONNX file, {OR_NAME}; repeat it for several. Left out: the one that comes with streamdet.",
            ("--model", "-m"),
            metavar="MODEL",
            typed=list[str],
        ),
    ] = (None,)
    devices: Annotated[
        tuple[str, ...], Flag("A device, as in `run`; repeat it for several.", ("--device",), metavar="DEVICE")
    ] = ("auto",)
    precisions: Annotated[
        tuple[str, ...], Flag("fp32, fp16 or bf16; repeat it for several.", ("--precision",), metavar="PRECISION")
    ] = ("auto",)
    sizes: Annotated[
        tuple[str | None, ...],
        Flag(
            "The network's input size, for models that leave it open; repeat it for several.",
            ("--size",),
            metavar="WxH",
            typed=list[str],
        ),
    ] = (None,)
    batches: Annotated[
        tuple[int, ...],
        Flag("How many frames the network runs at once; repeat it for several.", ("--batch",), metavar="N", at_least=1),
    ] = (1,)
    outputs: Annotated[
        tuple[str, ...],
        Flag(
            "boxes: only detect; recording: draw and record as well; or both, with a comma between.",
            metavar="NAME,NAME",
            parse=comma_separated,
            default_text="boxes,recording",
        ),
    ] = ("boxes", "recording")
    rate: Annotated[
        float | None, Flag("Also measure the latency behind a camera of this many frames per second.", at_least=0.1)
    ] = None
    finds_highest_rate: Annotated[
        bool, Flag("Find the highest camera rate at which no frame is dropped.", ("--highest-rate",))
    ] = False
    repeats: Annotated[int, Flag("How often each candidate is measured, candidates interleaved.", at_least=1)] = 3
    seconds: Annotated[float, Flag("How long each measurement takes.", at_least=0.5)] = 5.0
    warm_up_seconds: Annotated[
        float, Flag("Seconds of warm-up before each measurement, not counted.", ("--warm-up",), at_least=0)
    ] = 1.0
    tests_itself: Annotated[
        bool,
        Flag("Check the meters against runs of known cost first; exit with 1 if they are off.", ("--self-test",)),
    ] = False
    data: Annotated[
        str | None,
        Flag(
            "Labelled images, as in `eval`: measure the accuracy as well.",
            metavar="COCO.json|FOLDER|data.yaml|sim:traffic",
        ),
    ] = None
    report: Annotated[Path | None, REPORT] = None
    html: Annotated[Path | None, Flag("Write one self-contained page with charts.", metavar="FILE.html")] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    config: Annotated[ConfigRequest, ConfigFlags()] = ConfigRequest()
