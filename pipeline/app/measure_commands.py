"""What can be typed to measure detectors? How fast they are, and how accurate."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pipeline.app.logs import Verbose, log_to_stderr

Device = Annotated[
    str | None,
    typer.Option(help="auto, cpu, openvino, cuda or tensorrt; what is asked for is what runs, or an error."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the configuration, such as engine.threads=1."),
]


def finite(number: float | None) -> float | None:
    """The same number; inf and nan, which pass any bound, are a usage error."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number.")
    return number


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="An ONNX detector, or several; the one that comes with streamdet if left out."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="COCO.json|FOLDER|data.yaml|sim:traffic",
            help="What is labelled: a COCO JSON, a folder with Pascal VOC's XML, a YOLO dataset, or drawn traffic.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where the images are, if not with the labels.")
    ] = None,
    device: Device = None,
    score_threshold: Annotated[
        float | None, typer.Option(help="Judge detections from this score on; 0.001 if left out.")
    ] = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="Judge the first so many images.")] = None,
    detections: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="Judge detections in COCO's result format, without a model.")
    ] = None,
    save_detections: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="Write what was found, in COCO's result format.")
    ] = None,
    report: Annotated[str | None, typer.Option(help="Write all numbers as JSON.")] = None,
    charts: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Draw precision over recall and the confusion of classes, as PNG."),
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show a table of the classes as well.")] = False,
    streaming: Annotated[
        bool,
        typer.Option("--streaming", help="Streaming AP of a live run: judge at each frame's time what is shown then."),
    ] = False,
    pretend_latency: Annotated[
        list[str] | None,
        typer.Option(metavar="80ms", help="Streaming AP on a simulated clock; measured: with this machine's latency."),
    ] = None,
    tracking: Annotated[
        bool, typer.Option("--tracking", help="Follow what is found by ByteTrack, and judge it: HOTA, MOTA, IDF1.")
    ] = False,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.001, callback=finite, help="Labelled images are frames of a video at that rate, in their order."
        ),
    ] = None,
    settings: Settings = None,
    verbose: Verbose = False,
) -> None:
    """Say how accurate detectors are on labelled images, run through the pipeline: COCO's and Pascal VOC's AP."""
    from pipeline.app.evaluate.command import EvalOptions, run_eval

    log_to_stderr(verbose)
    run_eval(
        EvalOptions(
            models=tuple(models or ()),
            data=data,
            images=None if images is None else Path(images),
            device=device,
            score_threshold=score_threshold,
            max_images=max_images,
            detections=None if detections is None else Path(detections),
            save_detections=None if save_detections is None else Path(save_detections),
            report=None if report is None else Path(report),
            charts=None if charts is None else Path(charts),
            per_class=per_class,
            settings=tuple(settings or ()),
            streams=streaming,
            pretended_latencies=tuple(pretend_latency or ()),
            tracks=tracking,
            frames_per_second=fps,
        )
    )


def bench(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="What `run` takes; several run side by side.", show_default=False),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="An ONNX detector, or several; the one that comes with streamdet if left out."
        ),
    ] = None,
    devices: Annotated[list[str] | None, typer.Option("--device", help="As of `run`, or several.")] = None,
    precisions: Annotated[list[str] | None, typer.Option("--precision", help="fp32, fp16, bf16, or several.")] = None,
    sizes: Annotated[
        list[str] | None, typer.Option("--size", metavar="WxH", help="Of models that leave it open, or several.")
    ] = None,
    batches: Annotated[list[int] | None, typer.Option("--batch", min=1, help="Frames at once, or several.")] = None,
    outputs: Annotated[
        str, typer.Option(help="boxes: nothing is drawn; recording: drawn and recorded; or both.")
    ] = "boxes,recording",
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.1, callback=finite, help="Measure the latency behind a camera of so many frames a second as well."
        ),
    ] = None,
    highest_rate: Annotated[
        bool, typer.Option("--highest-rate", help="Find the fastest camera that nothing of is dropped.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="How often each is measured, in turns.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, callback=finite, help="How long each time.")] = 5.0,
    warm_up: Annotated[float, typer.Option(min=0, callback=finite, help="Seconds before that are not counted.")] = 1.0,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Let the meters read what is known first; exit with 1 if they are off.")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="Labelled images, as of `eval`: the accuracy beside the speed.")
    ] = None,
    report: Annotated[str | None, typer.Option(help="Write all numbers as JSON.")] = None,
    html: Annotated[str | None, typer.Option(help="Write a page with charts that needs no other file.")] = None,
    config: Annotated[str | None, typer.Option("--config", "-c", help="A YAML file, or a preset.")] = None,
    settings: Settings = None,
    verbose: Verbose = False,
) -> None:
    """Measure real-time FPS of the whole path, where the time goes, and what limits, beside the floors."""
    from pipeline.app.bench.command import BenchOptions, run_bench
    from pipeline.app.model_hints import words_of

    log_to_stderr(verbose)
    options = BenchOptions(
        sources=tuple(sources or ()),
        models=tuple(models or (None,)),
        devices=tuple(devices or ("auto",)),
        precisions=tuple(precisions or ("auto",)),
        sizes=tuple(sizes or (None,)),
        batches=tuple(batches or (1,)),
        outputs=words_of(outputs, "--outputs", such_as="boxes,recording"),
        rate=rate,
        finds_highest_rate=highest_rate,
        repeats=repeats,
        seconds=seconds,
        warm_up_seconds=warm_up,
        tests_itself=self_test,
        settings=tuple(settings or ()),
        config=config,
        data=data,
        report=None if report is None else Path(report),
        html=None if html is None else Path(html),
    )
    if not run_bench(options):
        raise typer.Exit(1)


def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="A.onnx B.onnx...", help="The candidates.", show_default=False)
    ],
    on: Annotated[
        str,
        typer.Option(
            "--on", metavar="VIDEO|FOLDER|sim:traffic", help="Your video; no label is needed.", show_default=False
        ),
    ],
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="T.onnx",
            help="Who labels the frames, in fp32; the candidate that computes most if left out.",
            show_default=False,
        ),
    ] = None,
    teacher_size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Of a teacher that leaves it open.", show_default=False)
    ] = None,
    tiles: Annotated[
        str,
        typer.Option(
            metavar="ROWSxCOLUMNS", help="Let the teacher look at so many overlapping tiles of each frame as well."
        ),
    ] = "1x1",
    frames: Annotated[int, typer.Option(min=1, help="How many frames to label, evenly over the video.")] = 60,
    sure_score: Annotated[
        float,
        typer.Option(
            min=0.05,
            callback=finite,
            max=1.0,
            help="From which score on a label counts; from half of it on, to find it is no mistake.",
        ),
    ] = 0.5,
    device: Device = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst frames to draw of each candidate.")] = 6,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FOLDER", help="Where they are drawn, as PNG.")
    ] = "compare-output",
    report: Annotated[str | None, typer.Option(help="Write all numbers as JSON.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0.5, callback=finite, help="How long speed is measured each time.")
    ] = 3.0,
    repeats: Annotated[int, typer.Option(min=1, help="How often, in turns.")] = 2,
    settings: Settings = None,
    verbose: Verbose = False,
) -> None:
    """Say which detector to take for a video without labels: how near to a teacher, who is no truth, and how fast."""
    from pipeline.app.compare.command import CompareOptions, run_compare

    log_to_stderr(verbose)
    run_compare(
        CompareOptions(
            models=tuple(models),
            source=on,
            teacher=teacher,
            teacher_size=teacher_size,
            tiles=tiles,
            frames=frames,
            sure_score=sure_score,
            device=device,
            worst=worst,
            output=Path(output),
            report=None if report is None else Path(report),
            seconds=seconds,
            repeats=repeats,
            settings=tuple(settings or ()),
        )
    )


def tune(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="What `run` takes; read again for each trial.", show_default=False)
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="An ONNX detector, and other files of the same one to try, such as its `frame` form, which has resize "
            "and NMS inside; the one that comes with streamdet if left out.",
        ),
    ] = None,
    device: Device = None,
    min_fps: Annotated[
        float | None,
        typer.Option(
            min=0.1, callback=finite, help="Take the least CPU time a frame of what delivers so many frames a second."
        ),
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option(metavar="80ms", help="Reject what has a greater p95 latency, from capture to sink.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            callback=finite,
            help="Play the file as a camera of so many frames a second, and tune for its latency.",
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            metavar="120s",
            help="How long to search; the most promising knob is tried whatever it is, TensorRT from 5min on.",
        ),
    ] = "120s",
    seconds: Annotated[float, typer.Option(min=0.5, callback=finite, help="How long each setting is measured.")] = 2.5,
    min_agreement: Annotated[
        float,
        typer.Option(
            min=0.0,
            callback=finite,
            max=1.0,
            help="Reject what agrees with the defaults in a smaller share of detections: IoU .99 and .001 in score, "
            "IoU .95 and .01 in another precision or file.",
        ),
    ] = 0.98,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE.yaml", help="Where the best is written, for `run --config`.")
    ] = "tuned.yaml",
    report: Annotated[str | None, typer.Option(help="Write all trials as JSON.")] = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="A YAML file, or a preset, to start from.")
    ] = None,
    settings: Settings = None,
    verbose: Verbose = False,
) -> None:
    """Find the settings that are best for a source and a model on this machine, and write them as a configuration.

    Best is: of a recorded source, most frames a second; of a live one, the lowest p95 latency without a dropped frame;
    with --min-fps, the least CPU time a frame. What you set yourself is left alone. Exits with 1 if nothing keeps the
    limits. Ctrl-C keeps the best until then.
    """
    from pipeline.app.tune.command import TuneOptions, run_tune, seconds_of

    log_to_stderr(verbose)
    options = TuneOptions(
        source=source,
        models=tuple(models or ()),
        device=device,
        min_fps=min_fps,
        max_latency_ms=None if max_latency is None else 1000 * seconds_of(max_latency, "--max-latency"),
        rate=rate,
        budget_seconds=seconds_of(budget, "--budget"),
        seconds=seconds,
        min_agreement=min_agreement,
        output=Path(output),
        report=None if report is None else Path(report),
        config=config,
        settings=tuple(settings or ()),
    )
    if not run_tune(options):
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {"bench": bench, "eval": evaluate, "compare": compare, "tune": tune}
