"""Adapter: any PyTorch detector, and its owner's description of input and outputs → an `Exportable`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from export.exportable import Exportable, ExportRequest, boxes_spec_of
from export.graph.ops import best_pairs, take_rows
from export.proof.read_by_head import reference_by_head
from export.weights.loading import load_checkpoint
from pipeline.errors import ModelError, first_line
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.detector_spec import DetectorSpec, ScoreActivation
from pipeline.picture.frame import ColourOrder
from pipeline.picture.letterbox import ResizeMode


@dataclass(frozen=True)
class Adapter:
    """The input and outputs of a module.

    It takes (pixel - mean) / std, float [N, 3, h, w], pixels in 0..255. `read` turns the result of its forward, in eval
    mode, into the pair (boxes [N, A, 4], class values [N, A, C]); by default the result is that pair. With
    `score_activation="softmax"` and `first_class_id=1`, column 0 is background.
    """

    network_wh: tuple[int, int]
    class_names: tuple[str, ...]
    read: Callable[..., tuple[Tensor, Tensor]] = lambda outputs: outputs
    colour: ColourOrder = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    resize: ResizeMode = "letterbox-center"
    pad_value: int = 114
    box_format: BoxFormat = "xyxy"
    boxes_are_normalised: bool = False
    score_activation: ScoreActivation = "none"
    first_class_id: int = 0
    needs_nms: bool = True
    score_threshold: float = 0.25
    iou_threshold: float = 0.5
    max_detections: int = 300
    max_candidates: int = 1000


def build_own(request: ExportRequest, adapter_word: str | None) -> Exportable:
    """The detector that `package.module:function` makes, read by an adapter.

    Raises ModelError for a name that does not exist, a module or an adapter of another type, and outputs that the
    adapter does not describe.
    """
    if adapter_word is None:
        raise ModelError(
            f"{request.name} needs --adapter package.module:NAME, an export.adapter.Adapter that describes "
            "its input and outputs"
        )
    module, adapter = _module_of(request.name), _adapter_of(adapter_word, request)
    if request.checkpoint is not None:
        load_checkpoint(module, request.checkpoint)
    return adapt(module, adapter, name=request.name.rpartition(":")[2])


def _adapter_of(word: str, request: ExportRequest) -> Adapter:
    """The adapter `package.module:NAME`, with the size and the class names of a request."""
    adapter = _load(word, "--adapter")
    if not isinstance(adapter, Adapter):
        raise ModelError(f"--adapter must name an export.adapter.Adapter, {word} is a {type(adapter).__name__}")
    adapter = replace(
        adapter,
        network_wh=request.network_wh or adapter.network_wh,
        class_names=adapter.class_names if request.class_names is None else request.class_names,
    )
    if request.num_classes not in (None, len(adapter.class_names)):
        raise ModelError(
            f"--num-classes is {request.num_classes}, but the adapter names {len(adapter.class_names)} classes"
        )
    return adapter


def adapt(module: nn.Module, adapter: Adapter, *, name: str) -> Exportable:
    """A module, read by an adapter, ready for export. Raises ModelError if the adapter does not fit its outputs."""
    body = OwnBody(module.eval(), adapter.read)
    _check_outputs(body, adapter, name)
    body_spec = DetectorSpec(
        input_name="images",
        network_wh=adapter.network_wh,
        head="ssd_decoded",
        class_names=adapter.class_names,
        batch=None,
        resize=adapter.resize,
        pad_value=adapter.pad_value,
        colour=adapter.colour,
        mean=adapter.mean,
        std=adapter.std,
        outputs=("class_values", "raw_boxes"),
        box_format=adapter.box_format,
        boxes_are_normalised=adapter.boxes_are_normalised,
        score_activation=adapter.score_activation,
        first_class_id=adapter.first_class_id,
        needs_nms=adapter.needs_nms,
        score_threshold=adapter.score_threshold,
        iou_threshold=adapter.iou_threshold,
        max_detections=adapter.max_detections,
        model_name=name,
    )
    return Exportable(
        body=body,
        decode=OwnDecode(adapter),
        spec=boxes_spec_of(body_spec),
        reference=reference_by_head(body, body_spec),
        body_outputs=body_spec.outputs,
        body_head=body_spec,
    )


class OwnBody(nn.Module):
    """Normalised pixels [N, 3, h, w] → class values [N, A, C] and boxes [N, A, 4]."""

    def __init__(self, module: nn.Module, read: Callable[..., tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.module = module
        self.read = read

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        boxes, values = self.read(self.module(images))
        return values, boxes


class OwnDecode(nn.Module):
    """Class values [N, A, C] and boxes [N, A, 4] → the K best pairs of a box and a class, before NMS."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, values: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        adapter = self.adapter
        if adapter.score_activation == "softmax":
            values = values.softmax(dim=2)
        elif adapter.score_activation == "sigmoid":
            values = values.sigmoid()
        class_scores = values[:, :, adapter.first_class_id :]  # [N, A, classes]
        scores, anchor_ids, class_ids = best_pairs(class_scores, adapter.max_candidates)  # [N, K]
        return self._corners(take_rows(boxes, anchor_ids)), scores, class_ids

    def _corners(self, boxes: Tensor) -> Tensor:
        a, b, c, d = boxes.unbind(dim=2)
        box_format = self.adapter.box_format
        if box_format == "yxyx" or box_format == "cycxhw":
            a, b, c, d = b, a, d, c
        if box_format in ("cxcywh", "cycxhw"):
            a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
        elif box_format == "xywh":
            c, d = a + c, b + d
        boxes = torch.stack([a, b, c, d], dim=2)
        return boxes * boxes.new_tensor(self.adapter.network_wh * 2) if self.adapter.boxes_are_normalised else boxes


def _check_outputs(body: OwnBody, adapter: Adapter, name: str) -> None:
    width, height = adapter.network_wh
    try:
        with torch.inference_mode():
            values, boxes = body(torch.zeros(2, 3, height, width))
        shapes = f"boxes {list(boxes.shape)} and class values {list(values.shape)}"
    except Exception as error:  # the owner's code may raise anything
        raise ModelError(f"{name} and its adapter do not fit: {_in_one_line(error)}") from error
    columns = len(adapter.class_names) + adapter.first_class_id
    if boxes.ndim != 3 or boxes.shape[::2] != (2, 4) or values.shape != (2, boxes.shape[1], columns):
        raise ModelError(
            f"{name}: for 2 images, the adapter must read boxes [2, A, 4] and class values [2, A, {columns}], as it "
            f"names {len(adapter.class_names)} classes; it reads {shapes}"
        )


def _module_of(word: str) -> nn.Module:
    """The module `package.module:name`, or the one that a function of this name makes."""
    loaded = _load(word, "MODEL")
    module = loaded if isinstance(loaded, nn.Module) else _made_by(loaded, word)
    if not isinstance(module, nn.Module):
        raise ModelError(f"{word} must be or return a torch.nn.Module, got {type(module).__name__}")
    return module


def _made_by(make: object, word: str) -> object:
    try:
        return make()  # type: ignore[operator]  # what cannot be called raises TypeError
    except Exception as error:  # the owner's code may raise anything
        raise ModelError(
            f"{word} must be a torch.nn.Module or return one when called without arguments: {_in_one_line(error)}"
        ) from error


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _load(word: str, what: str) -> object:
    """The object `package.module:name`; the working folder is searched first, as by `python -m`."""
    module_name, _, name = word.partition(":")
    if not module_name or not name:
        raise ModelError(f"{what} must be package.module:name, got {word!r}")
    folder = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        value: object = importlib.import_module(module_name)
    except Exception as error:  # the owner's code may raise anything
        raise ModelError(f"{what}: {module_name} cannot be imported: {_in_one_line(error)}") from error
    for part in name.split("."):
        if not hasattr(value, part):
            raise ModelError(f"{what}: {module_name} has no {name}")
        value = getattr(value, part)
    return value
