"""Options of the commands on model files: models, inspect, adopt, export, verify, quantize, flops, build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import OR_NAME, OVERWRITE, Argument, ConfigFlags, Flag, size
from pipeline.errors import ConfigError

_NETWORK_SIZE = Flag("The network's input size, for a model that leaves it open.", ("--size",), "WxH", parse=size)
_ADAPTER = "MODULE:NAME"


def _weights(text: str, flag: str) -> str:
    if text not in ("DEFAULT", "none"):
        raise ConfigError(f"{flag} must be DEFAULT or none, got {text!r}; pass your own with --checkpoint")
    return text


@dataclass(frozen=True, slots=True)
class ModelsOptions:
    """List the detectors that a name stands for.

    Their files are published under permissive licences, and are downloaded when they are first used.
    """

    json_file: Annotated[
        Path | None, Flag("Write the list as JSON; - is the standard output.", ("--json",), metavar="FILE")
    ] = None
    overwrite: Annotated[bool, OVERWRITE] = False


@dataclass(frozen=True, slots=True)
class InspectOptions:
    """Show what an ONNX file expects and returns.

    Exits with 0 only if it would run.
    """

    model: Annotated[Path, Argument(f"An ONNX file, {OR_NAME}.", "MODEL")]
    why: Annotated[bool, Flag("Show the evidence for and against each reading of the outputs.")] = False
    config: Annotated[ConfigRequest, ConfigFlags(("hints",), file=False, settings=False)] = ConfigRequest()


@dataclass(frozen=True, slots=True)
class AdoptOptions:
    """Write into an ONNX file what it expects and returns.

    The copy then runs without the flags that a foreign file needs.
    """

    model: Annotated[Path, Argument(f"A foreign ONNX file, {OR_NAME}.", "MODEL")]
    output: Annotated[Path, Flag("The copy, with the description inside.", ("--output", "-o"), metavar="FILE")]
    overwrite: Annotated[bool, OVERWRITE] = False
    config: Annotated[ConfigRequest, ConfigFlags(("hints",), file=False, settings=False)] = ConfigRequest()


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Export a PyTorch detector to ONNX, and verify it.

    The file describes itself, and is compared with the PyTorch model before it is written.
    """

    model: Annotated[
        str | None,
        Argument("A name of --list, a hub id or folder of transformers, or package.module:function.", "MODEL"),
    ] = None
    output: Annotated[
        Path | None, Flag("The ONNX file; NAME.onnx if left out.", ("--output", "-o"), metavar="FILE")
    ] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    form: Annotated[
        Literal["boxes", "frame", "body"],
        Flag(
            "boxes: pixels of the network's size in, the best K boxes out; frame: frames of any size in, the boxes "
            "that NMS keeps out; body: the bare network."
        ),
    ] = "boxes"
    pixels: Annotated[
        Literal["packed", "nv12"],
        Flag(
            "The input: packed pixels, or nv12, the planes of a video decoder, which the graph then resizes itself, in "
            "the boxes form too."
        ),
    ] = "packed"
    weights: Annotated[
        Literal["DEFAULT", "none"],
        Flag("DEFAULT: the trained weights; none: random ones, to try the export.", parse=_weights),
    ] = "DEFAULT"
    checkpoint: Annotated[Path | None, Flag("Your weights: a state dict, or a .safetensors file.", metavar="FILE")] = (
        None
    )
    num_classes: Annotated[
        int | None, Flag("The number of classes in the checkpoint, without background.", at_least=1, at_most=100_000)
    ] = None
    class_names: Annotated[Path | None, Flag("A file of class names, one per line.", metavar="FILE")] = None
    adapter: Annotated[
        str | None, Flag("The adapter that says what a model of your own takes and returns.", metavar=_ADAPTER)
    ] = None
    network_wh: Annotated[tuple[int, int] | None, _NETWORK_SIZE] = None
    video: Annotated[
        str | None,
        Flag(
            "Make it in the shape of this video: at the same scale, without most of the padding.",
            ("--for",),
            metavar="VIDEO",
        ),
    ] = None
    half: Annotated[bool, Flag("Export the body in float16; decoding stays in float32.")] = False
    opset: Annotated[int, Flag("The ONNX operator set.", at_least=20)] = 20
    verify_on: Annotated[
        str | None,
        Flag("A folder, image or video to compare on, in addition to the drawn images.", metavar="IMAGES"),
    ] = None
    max_images: Annotated[int, Flag("Compare on at most N of these.", metavar="N", at_least=1)] = 16
    force: Annotated[bool, Flag("Write the file even if verification fails, and mark it.")] = False
    list_names: Annotated[bool, Flag("List the names that can be exported, and exit.", ("--list",))] = False


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """Compare an ONNX file with its PyTorch model.

    Exits with 0 only if both detect the same.
    """

    model: Annotated[Path, Argument(f"The ONNX file to verify, {OR_NAME}.", "MODEL")]
    against: Annotated[
        str | None,
        Flag(
            "The reference: another ONNX file, a checkpoint of the network that it was exported from, or a name that "
            "`export` knows; left out: the file itself on the CPU, image by image.",
            metavar="CHECKPOINT|MODEL.onnx|NAME",
        ),
    ] = None
    images: Annotated[str | None, Flag("A folder, image or video; drawn images if left out.", metavar="IMAGES")] = None
    max_images: Annotated[int, Flag("Compare on at most N of these.", metavar="N", at_least=1)] = 100
    adapter: Annotated[
        str | None, Flag("The adapter of a model of your own, with --against MODULE:FUNCTION.", metavar=_ADAPTER)
    ] = None
    device: Annotated[Literal["cpu", "openvino", "cuda", "tensorrt"], Flag("The device that runs the file.")] = "cpu"
    bar: Annotated[
        Literal["fp32", "fp16"],
        Flag("fp32: all detections at IoU 0.99 and within 0.001 in score; fp16: 99.5% at IoU 0.95 and 0.01."),
    ] = "fp32"


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """Make an INT8 file within a limit on AP loss.

    Nothing is written if the limit cannot be met.
    """

    model: Annotated[Path, Argument(f"A float32 ONNX detector, {OR_NAME}.", "MODEL")]
    calibrate: Annotated[str, Flag("Images like those that the detector will see.", metavar="VIDEO|FOLDER")]
    output: Annotated[
        Path | None, Flag("The INT8 file; MODEL-int8.onnx if left out.", ("--output", "-o"), metavar="FILE")
    ] = None
    overwrite: Annotated[bool, OVERWRITE] = False
    max_drop: Annotated[float, Flag("The maximum AP loss, in points (0–100).", at_least=0, at_most=100)] = 0.5
    max_images: Annotated[
        int, Flag("Use at most N images: half to calibrate, all to evaluate.", metavar="N", at_least=2)
    ] = 64


@dataclass(frozen=True, slots=True)
class FlopsOptions:
    """Count the parameters and operations of a network."""

    model: Annotated[str, Argument(f"An ONNX file, {OR_NAME}, or one that `export` knows.", "MODEL")]
    network_wh: Annotated[tuple[int, int] | None, _NETWORK_SIZE] = None
    layers: Annotated[bool, Flag("List every layer as well.")] = False
    json_file: Annotated[Path | None, Flag("Write all numbers as JSON.", ("--json",), metavar="FILE")] = None
    overwrite: Annotated[bool, OVERWRITE] = False


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Build a TensorRT engine ahead of time.

    It takes minutes and is kept, so that the first frame need not wait for it.
    """

    model: Annotated[Path, Argument(f"An ONNX file, {OR_NAME}.", "MODEL")]
    device: Annotated[Literal["tensorrt"], Flag("The device to build for.")] = "tensorrt"
    precision: Annotated[Literal["auto", "fp32", "fp16", "bf16"], Flag("The same as engine.precision of the run.")] = (
        "auto"
    )
    batch: Annotated[int, Flag("The most images at once; the same as engine.batch of the run.", at_least=1)] = 1
    frame_wh: Annotated[
        tuple[int, int] | None,
        Flag("The frames' size, for a model that takes any.", ("--frame-size",), "WxH", parse=size),
    ] = None
