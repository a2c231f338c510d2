"""Options of `streamdet eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, REPORT, ConfigFlags, Flag


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """Measure accuracy on labelled images.

    The detectors run through the pipeline; the result is COCO's and Pascal VOC's AP.
    """

    models: Annotated[
        tuple[str, ...],
        Flag(
            f"An ONNX file, {OR_NAME}; repeat it for several. Left out: the one that comes with streamdet.",
            ("--model", "-m"),
            metavar="MODEL",
        ),
    ] = ()
    data: Annotated[
        str | None,
        Flag(
            "The labels: a COCO JSON, a folder with Pascal VOC's XML, a YOLO dataset, or drawn traffic.",
            metavar="COCO.json|FOLDER|data.yaml|sim:traffic",
        ),
    ] = None
    images: Annotated[
        Path | None, Flag("The folder of the images, if they are not beside the labels.", metavar="FOLDER")
    ] = None
    score_threshold: Annotated[
        float | None, Flag("Evaluate detections with at least this score; 0.001 if left out.")
    ] = None
    max_images: Annotated[int | None, Flag("Evaluate the first N images only.", metavar="N", at_least=1)] = None
    detections: Annotated[
        Path | None, Flag("Evaluate detections in COCO's result format, without a model.", metavar="FILE.json")
    ] = None
    save_detections: Annotated[
        Path | None, Flag("Write the detections in COCO's result format.", metavar="FILE.json")
    ] = None
    report: Annotated[Path | None, REPORT] = None
    charts: Annotated[
        Path | None, Flag("Draw precision-recall curves and the confusion matrix, as PNG.", metavar="FOLDER")
    ] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    per_class: Annotated[bool, Flag("Show a table of the classes as well.")] = False
    streams: Annotated[
        bool,
        Flag("Streaming AP of a live run: evaluate the detections shown at the time of each frame.", ("--streaming",)),
    ] = False
    pretended_latencies: Annotated[
        tuple[str, ...],
        Flag(
            "Streaming AP on a simulated clock with this latency; measured: with this machine's own.",
            ("--pretend-latency",),
            metavar="80ms",
        ),
    ] = ()
    tracks: Annotated[
        bool, Flag("Track the detections with ByteTrack and evaluate the tracks: HOTA, MOTA, IDF1.", ("--tracking",))
    ] = False
    frames_per_second: Annotated[
        float | None,
        Flag("The frame rate, if the labelled images are a video's frames in order.", ("--fps",), at_least=0.001),
    ] = None
    config: Annotated[ConfigRequest, ConfigFlags(("engine.device", "tiles"), file=False)] = ConfigRequest()
