"""YOLOX: a network of the yolox package → an `Exportable`.

PyPI has the package as an sdist only, which needs torch to build and pins an onnx of 2021: hence no extra of ours,
and the special way in which it installs.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from export import known
from export.exportable import Exportable, ExportRequest, Reference, boxes_spec_of
from export.graph.forms import Normalise
from export.graph.ops import take_rows
from export.proof.random_weights import SEED, LogitScale, calibrate, fitted_proof_pixels, scale_logits
from export.weights.loading import load_checkpoint
from pipeline.errors import MissingExtraError, ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_80
from pipeline.picture.detector_spec import DetectorSpec

NAMES = known.NAMES["yolox"]

_NUM_CANDIDATES = 1000
_STRIDES = (8, 16, 32)


def build(request: ExportRequest) -> Exportable:
    """The detector of a request, in eval mode.

    Raises ModelError for a name, weights or a size that YOLOX does not have, MissingExtraError without yolox.
    """
    if request.name not in NAMES:
        raise ModelError(f"a YOLOX detector must be one of {', '.join(NAMES)}, got {request.name}")
    if request.uses_published_weights:
        raise ModelError(
            f"{request.name} comes without weights: take {request.name.replace('-', '_')}.pth from YOLOX's releases "
            "and pass it as --checkpoint, or pass --weights none"
        )
    experiment = _yolox("yolox.exp").get_exp(None, request.name)
    experiment.num_classes = request.num_requested_classes or experiment.num_classes
    torch.manual_seed(SEED)
    model = experiment.get_model()
    if request.checkpoint is not None:
        load_checkpoint(model, request.checkpoint)
    height, width = experiment.test_size
    exportable = exportable_of(model, request, num_classes=experiment.num_classes, own_wh=(width, height))
    if request.checkpoint is None:
        _randomise_weights(exportable)
    return exportable


def _randomise_weights(exportable: Exportable) -> None:
    """Scale random weights, in place, so that there are many detections with many different scores."""
    body: Any = exportable.body
    pixels = Normalise(exportable.spec)(fitted_proof_pixels(exportable.spec))
    calibrate(body, lambda: body(pixels))
    head = body.model.head
    scale_logits(
        lambda: body(pixels),
        *(LogitScale([layer], 1.0) for layer in head.cls_preds),
        *(LogitScale([layer], 0.15) for layer in head.reg_preds),
        *(LogitScale([layer], 1.0, mean=None, share=0.002) for layer in head.obj_preds),
    )


def exportable_of(model: Any, request: ExportRequest, *, num_classes: int, own_wh: tuple[int, int]) -> Exportable:
    """The two parts of a network that has YOLOX's `head.decode_in_inference`; `own_wh` is the size of its tests."""
    model.eval().requires_grad_(False)
    network_wh = request.network_wh or own_wh
    if any(side % _STRIDES[-1] for side in network_wh):
        width, height = network_wh
        raise ModelError(
            f"{request.name} needs a width and a height that are multiples of {_STRIDES[-1]}, got {width} x {height}"
        )
    body_spec = DetectorSpec(
        input_name="images",
        network_wh=network_wh,
        head="yolox",
        class_names=_class_names(request, num_classes),
        batch=None,
        resize="letterbox-topleft",
        pad_value=114,
        colour="bgr",
        std=(1.0, 1.0, 1.0),
        box_format="cxcywh",
        iou_threshold=0.65,
        form="body",
        model_name=request.name,
    )
    return Exportable(
        body=_Body(model),
        decode=DecodeCells(network_wh),
        spec=boxes_spec_of(body_spec),
        reference=_reference(model, num_classes),
        body_outputs=("cells",),
        body_head=body_spec,
    )


def _class_names(request: ExportRequest, num_classes: int) -> tuple[str, ...]:
    """Those of the request, of COCO, or numbers. Raises ModelError for names that are too few or too many."""
    if not request.class_names:
        is_coco = request.num_classes is None and num_classes == len(COCO_80)
        return COCO_80 if is_coco else tuple(f"class {index}" for index in range(num_classes))
    if len(request.class_names) != num_classes:
        raise ModelError(
            f"{request.name}: {num_classes} classes need {num_classes} names, got {len(request.class_names)}"
        )
    return request.class_names


class _Body(nn.Module):
    """Pixels in 0..255, float [N, 3, h, w] BGR → [N, A, 5 + C]: offset, log size, objectness, class scores in 0..1."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor]:
        self.model.head.decode_in_inference = False
        return (self.model(images),)


class DecodeCells(nn.Module):
    """The best cells with their best class, best first, before suppression; their boxes are not clipped."""

    def __init__(self, network_wh: tuple[int, int]) -> None:
        super().__init__()
        corners, strides = [], []
        for stride in _STRIDES:
            width, height = (side // stride for side in network_wh)
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            corners.append(torch.stack([x, y], dim=2).view(-1, 2))
            strides.append(torch.full((width * height, 1), stride))
        self.corners: Tensor
        self.strides: Tensor
        self.register_buffer("corners", torch.cat(corners).float(), persistent=False)  # [A, 2] in cells
        self.register_buffer("strides", torch.cat(strides).float(), persistent=False)  # [A, 1] pixels a cell
        self.num_best = min(_NUM_CANDIDATES, len(self.corners))

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        class_scores, class_ids = cells[..., 5:].max(dim=2)  # [N, A]
        scores, best = (cells[..., 4] * class_scores).topk(self.num_best, dim=1)  # [N, K]
        boxes = take_rows(cells[..., :4], best)  # [N, K, 4]
        centres = (boxes[..., :2] + self.corners[best]) * self.strides[best]
        halves = boxes[..., 2:].exp() * self.strides[best] / 2
        return torch.cat([centres - halves, centres + halves], dim=2), scores, class_ids.gather(1, best)


def _reference(model: Any, num_classes: int) -> Reference:
    """The original network with its own decoding, and the post-processing of its evaluation."""

    def reference(pixels: Tensor) -> Sequence[Candidates]:
        postprocess = _yolox("yolox.utils").postprocess
        model.head.decode_in_inference = True
        with torch.inference_mode():
            decoded = model(pixels.permute(0, 3, 1, 2).float())  # [N, A, 5 + C]
            detections = postprocess(decoded, num_classes, conf_thre=0.01, nms_thre=0.65)
        # In each image [M, 7]: x, y, x, y, objectness, score, class; None where there is nothing.
        rows = [torch.zeros(0, 7) if detected is None else detected for detected in detections]
        return [
            Candidates(row[:, :4].numpy(), (row[:, 4] * row[:, 5]).numpy(), row[:, 6].numpy().astype("int64"))
            for row in rows
        ]

    return reference


def _yolox(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"YOLOX needs its package ({error}): pip install --no-build-isolation --no-deps yolox; "
            "pip install loguru psutil tabulate thop"
        ) from error
