"""What can be typed about model files? Export, verify, quantise, count, inspect, adopt, build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.app.logs import Verbose, log_to_stderr
from pipeline.app.measure_commands import finite
from pipeline.errors import ConfigError

Head = Annotated[str | None, typer.Option(help="How the outputs of a foreign model are read: yolox, detr, lists …")]
Size = Annotated[str | None, typer.Option(metavar="WxH", help="The network's size, where the model leaves it open.")]
Resize = Annotated[
    str | None,
    typer.Option(help="How a foreign model's image is fitted: letterbox-center, letterbox-topleft, stretch."),
]
Colour = Annotated[str | None, typer.Option(help="The order of a foreign model's channels: rgb, bgr.")]
Mean = Annotated[
    str | None, typer.Option(metavar="R,G,B", help="Taken off a foreign model's pixels 0..255, in its channels' order.")
]
Std = Annotated[str | None, typer.Option(metavar="R,G,B", help="What they are divided by then.")]
BoxFormat = Annotated[
    str | None, typer.Option(help="What a foreign model's boxes are: xyxy, yxyx, cxcywh, cycxhw, xywh.")
]
NormalisedBoxes = Annotated[
    bool | None,
    typer.Option(
        "--normalised-boxes/--pixel-boxes", help="Whether a foreign model's boxes are in 0..1.", show_default=False
    ),
]
Scores = Annotated[str | None, typer.Option(help="What a foreign model's scores still need: none, sigmoid, softmax.")]
FirstClassId = Annotated[
    int | None, typer.Option(help="What a foreign model calls its first class; smaller ids are background: 0, 1.")
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="NAME,NAME…", help="The columns of a foreign model's table: x1,y1,x2,y2,score,class …"),
]
Anchors = Annotated[str | None, typer.Option(metavar="FILE.npy", help="The anchors of a raw SSD.")]
ClassNames = Annotated[str | None, typer.Option(metavar="FILE", help="Class names, one a line.")]


def hint_options(
    *,
    head: str | None,
    size: str | None,
    resize: str | None,
    colour: str | None,
    mean: str | None,
    std: str | None,
    box_format: str | None,
    normalised_boxes: bool | None,
    scores: str | None,
    first_class_id: int | None,
    columns: str | None,
    anchors: str | None,
    class_names: str | None,
) -> dict[str, Any]:
    """The flags about a foreign model as dotted keys of the configuration."""
    from pipeline.app.model_hints import triple_of, words_of

    return {
        "hints.head": head,
        "hints.size": size,
        "hints.resize": resize,
        "hints.colour": colour,
        "hints.mean": triple_of(mean, "--mean"),
        "hints.std": triple_of(std, "--std"),
        "hints.box_format": box_format,
        "hints.normalised_boxes": normalised_boxes,
        "hints.scores": scores,
        "hints.first_class_id": first_class_id,
        "hints.columns": None if columns is None else words_of(columns, "--columns", such_as="x1,y1,x2,y2,score,class"),
        "hints.anchors": anchors,
        "hints.class_names": class_names,
    }


def inspect(
    model: Annotated[str, typer.Argument(help="An ONNX file.")],
    why: Annotated[
        bool, typer.Option("--why", help="Say what it was taken for and why, and why for nothing else.")
    ] = False,
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
    verbose: Verbose = False,
) -> None:
    """Say what an ONNX file expects and returns; exit with 0 only if it would run."""
    from pipeline.app.model_hints import hints_from_options
    from pipeline.app.models.inspect import print_model, print_reasons

    log_to_stderr(verbose)
    hints = hints_from_options(
        hint_options(
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
        )
    )
    if why:
        print_reasons(Path(model), hints)
    print_model(Path(model), hints)


def adopt(
    model: Annotated[str, typer.Argument(help="A foreign ONNX file.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The copy that says what it is.")],
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
    verbose: Verbose = False,
) -> None:
    """Write what a foreign ONNX file expects and returns into a copy of it, so that it is said once."""
    from pipeline.app.model_hints import hints_from_options
    from pipeline.app.models.adopt import adopt_model

    log_to_stderr(verbose)
    hints = hints_from_options(
        hint_options(
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
        )
    )
    adopt_model(Path(model), Path(output), hints, class_names=None if class_names is None else Path(class_names))


def export(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A name of --list, a hub id or folder of transformers, or package.module:function with --adapter.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="The ONNX file; NAME.onnx if left out.")] = None,
    form: Annotated[
        str,
        typer.Option(
            help="boxes: pixels of the network's size in, the best K boxes out; frame: frames of any size in, what is "
            "left after NMS out; body: the bare network."
        ),
    ] = "boxes",
    pixels: Annotated[
        str,
        typer.Option(
            help="What the graph takes: packed pixels, or nv12, the planes that a video decoder leaves, "
            "which the graph then resizes itself, in the boxes form too."
        ),
    ] = "packed",
    weights: Annotated[str, typer.Option(help="DEFAULT: the trained ones; none: random ones, to try.")] = "DEFAULT",
    checkpoint: Annotated[str | None, typer.Option(help="Your weights: a state dict, or a .safetensors file.")] = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="Classes in the checkpoint, without background.")
    ] = None,
    class_names: ClassNames = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="MODULE:NAME", help="Says what a model of your own takes and returns.")
    ] = None,
    size: Size = None,
    half: Annotated[bool, typer.Option("--half", help="Body in float16, decoding in float32.")] = False,
    opset: Annotated[int, typer.Option(min=20, help="ONNX operator set.")] = 20,
    verify_on: Annotated[
        str | None,
        typer.Option(metavar="IMAGES", help="A folder, image or video to compare on, beside the drawn images."),
    ] = None,
    max_images: Annotated[int, typer.Option(min=1, help="Of these, at most so many.")] = 16,
    force: Annotated[
        bool, typer.Option("--force", help="Write a file that is not the same all the same, marked.")
    ] = False,
    list_names: Annotated[bool, typer.Option("--list", help="List the names that are known, and exit.")] = False,
    verbose: Verbose = False,
) -> None:
    """Export a PyTorch detector to one ONNX file that says what it is, and prove that it says the same."""
    from pipeline.app.models.export import ExportOptions, print_names, run_export

    log_to_stderr(verbose)
    if list_names and model is not None:
        raise ConfigError(f"--list takes no model, got {model}; leave one of both out")
    if list_names or model is None:
        print_names()
        raise typer.Exit(0 if list_names else 2)
    run_export(
        ExportOptions(
            model=model,
            output=output,
            form=form,
            pixels=pixels,
            weights=weights,
            checkpoint=checkpoint,
            num_classes=num_classes,
            class_names=class_names,
            adapter=adapter,
            size=size,
            half=half,
            opset=opset,
            verify_on=verify_on,
            max_images=max_images,
            force=force,
        )
    )


def verify(
    model: Annotated[str, typer.Argument(help="The ONNX file in question.")],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT|MODEL.onnx|NAME",
            help="What it must agree with: another ONNX file, a checkpoint of the network that it was exported from, "
            "or a name that `export` knows; left out: itself on the CPU, image by image.",
        ),
    ] = None,
    images: Annotated[
        str | None, typer.Option(metavar="IMAGES", help="A folder, image or video; drawn images if left out.")
    ] = None,
    max_images: Annotated[int, typer.Option(min=1, help="Of these, at most so many.")] = 100,
    adapter: Annotated[
        str | None, typer.Option(metavar="MODULE:NAME", help="Of a model of your own, with --against MODULE:FUNCTION.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where it runs: cpu, openvino, cuda, tensorrt.")] = "cpu",
    bar: Annotated[
        str, typer.Option(help="fp32: all at IoU .99 and .001 in score; fp16: 99.5% at IoU .95 and .01.")
    ] = "fp32",
    verbose: Verbose = False,
) -> None:
    """Compare an ONNX file with what it should say; exit with 0 only if it does."""
    from pipeline.app.models.verify import VerifyOptions, run_verify

    log_to_stderr(verbose)
    options = VerifyOptions(
        model=Path(model),
        against=against,
        images=images,
        max_images=max_images,
        adapter=adapter,
        device=device,
        bar=bar,
    )
    if not run_verify(options):
        raise typer.Exit(1)


def quantize(
    model: Annotated[str, typer.Argument(help="A float32 ONNX detector.")],
    calibrate: Annotated[str, typer.Option(metavar="VIDEO|FOLDER", help="Images like those that it will see.")],
    output: Annotated[str | None, typer.Option("--output", "-o", help="MODEL-int8.onnx if left out.")] = None,
    max_drop: Annotated[
        float, typer.Option(min=0, max=100, callback=finite, help="The AP points, of 100, that it may lose at most.")
    ] = 0.5,
    max_images: Annotated[int, typer.Option(min=2, help="Images taken, half to calibrate, all to judge.")] = 64,
    verbose: Verbose = False,
) -> None:
    """Make an INT8 file whose accuracy stays within a bound of the float32 one, or none."""
    from pipeline.app.models.quantize import run_quantize

    log_to_stderr(verbose)
    run_quantize(
        Path(model),
        None if output is None else Path(output),
        calibrate=calibrate,
        max_drop=max_drop / 100,
        max_images=max_images,
    )


def flops(
    model: Annotated[str, typer.Argument(help="An ONNX file, or a name that `export` knows.")],
    size: Size = None,
    layers: Annotated[bool, typer.Option("--layers", help="Say it of every layer as well.")] = False,
    json_file: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write it all as JSON.")] = None,
    verbose: Verbose = False,
) -> None:
    """Count parameters and operations of a network, by layer and in all."""
    from pipeline.app.models.flops import run_flops

    log_to_stderr(verbose)
    run_flops(model, size=size, layers=layers, json_file=None if json_file is None else Path(json_file))


def build(
    model: Annotated[str, typer.Argument(help="An ONNX file.")],
    device: Annotated[str, typer.Option(help="For what: tensorrt.")] = "tensorrt",
    precision: Annotated[
        str, typer.Option(help="auto, fp32, fp16 or bf16; the same as engine.precision of the run.")
    ] = "auto",
    batch: Annotated[
        int, typer.Option(min=1, help="The most images at once; the same as engine.batch of the run.")
    ] = 1,
    frame_size: Annotated[
        str | None, typer.Option(metavar="WxH", help="The frames' size, for a model that takes any.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Build and keep what takes minutes on a GPU, so that the first frame need not wait for it."""
    from pipeline.app.models.build import BuildOptions, run_build

    log_to_stderr(verbose)
    run_build(BuildOptions(Path(model), device, precision, batch, frame_size))


COMMANDS = (inspect, adopt, export, verify, quantize, flops, build)
