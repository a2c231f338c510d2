"""Which detector is in this ONNX file?

Our own metadata says it; a foreign file is recognised from its graph and its exporter's metadata, or refused with the
reason. Every conclusion stands in `DetectorSpec.provenance`.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.detector.heads import HEADS
from pipeline.detector.heads.yolo import YOLOX_STRIDES
from pipeline.detector.providers import first_line, load_runtime
from pipeline.errors import ModelError
from pipeline.picture.coco import COCO_80
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec, InputType, Layout

_INPUT_TYPES: Mapping[str, InputType] = {"float": "float32", "float16": "float16", "uint8": "uint8"}
# The grids of the YOLO family: as usual, with a coarser one (P6), with a finer one (P2).
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
_DEFAULT_SIDE = 640


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output as the graph declares it; a dynamic side is None."""

    name: str
    shape: tuple[int | None, ...]
    element_type: str  # ONNX's word: float, float16, uint8, int64

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.element_type} [{sides}]"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What an ONNX file says about itself."""

    path: Path
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    metadata: Mapping[str, str]


def recognise(path: str | Path) -> DetectorSpec:
    """The spec of the detector in an ONNX file.

    Raises ModelError, with the reason and the outputs, for a file that is no ONNX model or no detector known here.
    """
    return recognise_facts(read_facts(path))


def read_facts(path: str | Path) -> ModelFacts:
    """Read inputs, outputs and metadata. Raises ModelError for a missing file and for what is no ONNX model."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file; --model takes an ONNX file")
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL  # only its signature is wanted
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelError(
            f"{path} must be an ONNX model: {first_line(error)}; a PyTorch model must be exported to ONNX first"
        ) from error
    return ModelFacts(
        path,
        tuple(_tensor_facts(each) for each in session.get_inputs()),
        tuple(_tensor_facts(each) for each in session.get_outputs()),
        session.get_modelmeta().custom_metadata_map,
    )


def recognise_facts(facts: ModelFacts) -> DetectorSpec:
    """The spec of the detector that these facts describe. Raises ModelError, with the reason and the outputs."""
    try:
        if METADATA_KEY in facts.metadata:
            return _our_own(facts)
        return _yolo(facts)
    except ModelError as error:
        outputs = "; ".join(map(str, facts.outputs))
        inputs = "; ".join(map(str, facts.inputs))
        raise ModelError(f"{facts.path}: {error} (inputs: {inputs}; outputs: {outputs})") from None


def _our_own(facts: ModelFacts) -> DetectorSpec:
    spec = DetectorSpec.from_json(facts.metadata[METADATA_KEY])
    if spec.head not in HEADS:
        raise ModelError(f"head must be one of {', '.join(HEADS)}, its metadata says {spec.head}; update streamdet")
    declared = [_image_input(facts)] if len(facts.inputs) == 1 else []
    if [(spec.input_name, spec.layout, spec.dtype)] != [(each.name, each.layout, each.dtype) for each in declared]:
        raise ModelError(
            f"its metadata describes an input {spec.input_name} {spec.dtype} {spec.layout} that the graph has not; "
            "export it again"
        )
    reason = f"the {METADATA_KEY} metadata, written by export"
    return dataclasses.replace(
        spec, provenance=(*spec.provenance, reason), model_name=spec.model_name or facts.path.stem
    )


def _yolo(facts: ModelFacts) -> DetectorSpec:
    image = _image_input(facts)
    task = facts.metadata.get("task", "detect")
    if task != "detect":
        raise ModelError(f"its metadata says task {task}, only detectors are read")
    if len(facts.outputs) != 1 or len(facts.outputs[0].shape) != 3:
        raise ModelError(
            "not recognised: YOLOv5 and YOLOX have one output [1, boxes, 5 + classes], YOLOv8 and YOLO11 have "
            "[1, 4 + classes, boxes], and our own export writes what it is into the file"
        )
    _, *sides = facts.outputs[0].shape
    if sides[1] == 6 and "True" in (facts.metadata.get("end2end"), _exporter_arguments(facts).get("nms")):
        raise ModelError("its NMS is inside the graph, which is not read yet; export it with nms=False, end2end=False")
    network_wh, size_reason = _network_wh(facts, image)
    head, num_classes, reason = _yolo_head(facts, sides, network_wh)
    class_names, names_reason = _class_names(facts, num_classes)
    is_yolox = head == "yolox"
    return DetectorSpec(
        input_name=image.name,
        network_wh=network_wh,
        head=head,
        class_names=class_names,
        layout=image.layout,
        dtype=image.dtype,
        batch=image.batch,
        resize="letterbox-topleft" if is_yolox else "letterbox-center",
        pad_value=114,
        colour="bgr" if is_yolox else "rgb",
        std=(1.0, 1.0, 1.0) if is_yolox else (255.0, 255.0, 255.0),
        box_format="cxcywh",
        model_name=facts.path.stem,
        provenance=(
            reason,
            size_reason,
            names_reason,
            f"preprocessing: {head}'s, "
            + ("BGR 0..255, letterbox top left" if is_yolox else "RGB 0..1, letterbox centred")
            + ", pad 114",
        ),
    )


def _yolo_head(facts: ModelFacts, sides: list[int | None], network_wh: tuple[int, int]) -> tuple[str, int, str]:
    """Head, number of classes and the reason, from the two sides of the output after the batch."""
    cells = {sum(network_wh[0] // s * (network_wh[1] // s) for s in strides): strides for strides in _STRIDES}
    width, height = network_wh
    rows, columns = sides
    shape = facts.outputs[0]
    if rows is None or columns is None:
        # An export with dynamic sizes. Only Ultralytics writes `stride`; the channels side tells its two families.
        if "stride" in facts.metadata and rows is not None:
            return "yolov8", _num_classes(rows, 4), f"yolov8: {shape} and its exporter's metadata"
        if "stride" in facts.metadata and columns is not None:
            return "yolov5", _num_classes(columns, 5), f"yolov5: {shape} and its exporter's metadata"
        raise ModelError("the number of boxes is dynamic, so its family cannot be told; export it with a fixed size")
    if rows % 3 == 0 and rows // 3 in cells:
        return "yolov5", _num_classes(columns, 5), f"yolov5: {shape} has 3 anchors for each of {rows // 3} cells"
    named = _names_of_exporter(facts)
    if rows in cells and columns - 4 == len(named or COCO_80):
        return "yolov8", columns - 4, f"yolov8: {shape} has a row for each of {rows} cells and no objectness"
    if rows in cells and cells[rows] == YOLOX_STRIDES:
        return "yolox", _num_classes(columns, 5), f"yolox: {shape} has a row for each of {rows} cells"
    if columns in cells:
        return "yolov8", _num_classes(rows, 4), f"yolov8: {shape} has a column for each of {columns} cells"
    raise ModelError(
        f"not recognised: at {width} x {height} YOLOv5 has 3 x {min(cells)} boxes, "
        f"YOLOX, YOLOv8 and YOLO11 have {min(cells)}"
    )


def _num_classes(side: int | None, num_others: int) -> int:
    if side is None or side <= num_others:
        raise ModelError(f"not recognised: a box has {num_others} values before its classes, got {side} in all")
    return side - num_others


@dataclass(frozen=True, slots=True)
class _ImageInput:
    name: str
    layout: Layout
    dtype: InputType
    batch: int | None
    size_wh: tuple[int | None, int | None]


def _image_input(facts: ModelFacts) -> _ImageInput:
    if len(facts.inputs) != 1 or len(facts.inputs[0].shape) != 4:
        raise ModelError("not recognised: a detector has one input, an image [batch, 3, height, width]")
    (declared,) = facts.inputs
    if declared.element_type not in _INPUT_TYPES:
        raise ModelError(f"not recognised: an image is {', '.join(_INPUT_TYPES)}, not {declared.element_type}")
    batch, *rest = declared.shape
    if rest[0] == 3:
        return _ImageInput(declared.name, "nchw", _INPUT_TYPES[declared.element_type], batch, (rest[2], rest[1]))
    if rest[2] == 3:
        return _ImageInput(declared.name, "nhwc", _INPUT_TYPES[declared.element_type], batch, (rest[1], rest[0]))
    raise ModelError("not recognised: an image has 3 channels, [batch, 3, height, width] or [batch, height, width, 3]")


def _network_wh(facts: ModelFacts, image: _ImageInput) -> tuple[tuple[int, int], str]:
    width, height = image.size_wh
    if width is not None and height is not None:
        return (width, height), f"{width} x {height}: the input's shape"
    size = _literal(facts.metadata.get("imgsz", ""))
    if isinstance(size, int):
        size = [size, size]
    match size:
        case [int(h), int(w)] if min(h, w) > 0:
            reason = "imgsz in its metadata"
        case _:
            h = w = _DEFAULT_SIDE
            reason = "the input is dynamic, and nothing in its metadata says otherwise"
    width, height = width or w, height or h
    return (width, height), f"{width} x {height}: {reason}"


def _class_names(facts: ModelFacts, num_classes: int) -> tuple[tuple[str, ...], str]:
    named = _names_of_exporter(facts)
    if named and len(named) == num_classes:
        return named, f"{num_classes} class names: its metadata"
    doubt = f", not the {len(named)} of its metadata" if named else ""
    if num_classes == len(COCO_80):
        return COCO_80, f"80 class names: COCO's{doubt}"
    return tuple(f"class {index}" for index in range(num_classes)), f"{num_classes} classes, names unknown{doubt}"


def _names_of_exporter(facts: ModelFacts) -> tuple[str, ...] | None:
    """The metadata `names`, a dict by class id or a list, or None where there are none that can be read."""
    names = _literal(facts.metadata.get("names", ""))
    if isinstance(names, dict) and all(isinstance(key, int) for key in names):
        names = [names[key] for key in sorted(names)]
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _exporter_arguments(facts: ModelFacts) -> dict[str, str]:
    arguments = _literal(facts.metadata.get("args", ""))
    return {str(key): str(value) for key, value in arguments.items()} if isinstance(arguments, dict) else {}


def _literal(text: str) -> Any:
    """The Python literal in a text, or None."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _tensor_facts(declared: Any) -> TensorFacts:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in declared.shape)
    return TensorFacts(declared.name, shape, declared.type.removeprefix("tensor(").removesuffix(")"))
