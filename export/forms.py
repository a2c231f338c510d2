"""Which modules are exported? The three faces of one network: body, boxes, frame."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor, nn

from export.exportable import Exportable
from export.graph_ops import keep_best
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import DetectorSpec, Form

# What scores less is padding: nobody looks there, and counting it would make every image as full as K.
SCORE_FLOOR = 1e-3
BOXES_OUTPUTS = ("boxes", "scores", "class_ids", "num_detections")


def module_for(exportable: Exportable, form: Form, *, half: bool) -> tuple[nn.Module, DetectorSpec, tuple[str, ...]]:
    """The module of a form, in eval mode, the spec of its file, and the names of its outputs.

    Raises ModelError for a form or a precision that this detector cannot have.
    """
    if half and exportable.half_is_refused_because:
        raise ModelError(f"--half: {exportable.spec.model_name} cannot: {exportable.half_is_refused_because}")
    if form == "body":
        if exportable.body_head is None:
            raise ModelError(f"--form body: {exportable.spec.model_name} cannot: {exportable.no_body_because}")
        spec = dataclasses.replace(exportable.body_head, form="body", batch=None, outputs=exportable.body_outputs)
        return BodyForm(exportable, half=half).eval(), spec, exportable.body_outputs
    boxes, names = BoxesForm(exportable, half=half), BOXES_OUTPUTS + exportable.more_outputs
    if form == "boxes":
        return boxes.eval(), dataclasses.replace(exportable.spec, form="boxes", batch=None), names
    if exportable.more_outputs:
        raise ModelError(
            f"--form frame: {exportable.spec.model_name} also gives {', '.join(exportable.more_outputs)}, which the "
            "frame form does not map back; take --form boxes"
        )
    spec = dataclasses.replace(
        exportable.spec, form="frame", batch=None, resize="in-graph", colour="bgr", needs_nms=False
    )
    return FrameForm(boxes, exportable.spec).eval(), spec, BOXES_OUTPUTS


class BodyForm(nn.Module):
    """Normalised pixels, float [N, 3, h, w] → the raw outputs of the network, float32."""

    def __init__(self, exportable: Exportable, *, half: bool = False) -> None:
        super().__init__()
        # A copy, because the reference runs the same module in float32.
        self.body = copy.deepcopy(exportable.body).half() if half else exportable.body
        self.is_half = half

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        raw = self.body(images.half() if self.is_half else images)
        return tuple(each.float() for each in raw)


class BoxesForm(nn.Module):
    """Pixels uint8 [N, h, w, 3] of the network's size → the best K boxes, padded and counted.

    Returns boxes [N, K, 4] xyxy in network pixels, scores [N, K] best first, class_ids int64 [N, K] (-1 in the
    padding), num_detections int64 [N], and what the detector has besides.
    """

    def __init__(self, exportable: Exportable, *, half: bool = False) -> None:
        super().__init__()
        self.body = BodyForm(exportable, half=half)
        self.decode = exportable.decode
        self.normalise = Normalise(exportable.spec)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        boxes, scores, class_ids, *others = self.decode(*self.body(self.normalise(pixels)))
        return *padded(boxes, scores, class_ids), *others


class FrameForm(nn.Module):
    """Frames uint8 [N, H, W, 3] BGR of any size → what is left after suppression, in their own pixels.

    Returns the same as `BoxesForm`, boxes in frame pixels, K the detector's `max_detections`.
    """

    def __init__(self, boxes_form: BoxesForm, spec: DetectorSpec) -> None:
        super().__init__()
        self.boxes_form = boxes_form
        self.spec = spec
        self.fit = FitFrame(spec)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        pixels, scale, offset, limit = self.fit(frames)
        if self.spec.colour == "rgb":
            pixels = pixels.flip(3)
        boxes, scores, class_ids, _ = self.boxes_form(pixels)
        if self.spec.needs_nms:
            # Boxes of different classes are moved apart, so that they never overlap.
            shift = class_ids.clamp(min=0).to(boxes) * (boxes.abs().amax(dim=(1, 2))[:, None] * 2 + 1)  # [N, K]
            stays = keep_best(boxes + shift[:, :, None], scores, self.spec.iou_threshold, SCORE_FLOOR)  # [N, K]
            scores = torch.where(stays, scores, torch.zeros_like(scores))
        best, places = scores.topk(min(self.spec.max_detections, scores.shape[1]), dim=1)  # [N, K']
        boxes = boxes.gather(1, places[:, :, None].expand(-1, -1, 4))  # [N, K', 4]
        boxes = torch.minimum(((boxes - offset) / scale).clamp(min=0), limit)
        return padded(boxes, best, class_ids.gather(1, places))


class FitFrame(nn.Module):
    """Frames uint8 [N, H, W, 3] → float pixels 0..255 [N, h, w, 3] of the network's size, as `Letterbox` lays them.

    Bilinear at half-pixel centres, as cv2.resize, rows first and then columns, by Gather, so that every shape but the
    frame's is fixed. Returns also scale, offset and limit, each [4] for xyxy, which take boxes back: (box - offset) /
    scale.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.network_wh = spec.network_wh
        self.resize = spec.resize
        self.padding: Tensor
        padding = spec.pad_values if spec.colour == "bgr" else spec.pad_values[::-1]
        self.register_buffer("padding", torch.tensor(padding, dtype=torch.float32))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        width, height = self.network_wh
        frame_w = torch.scalar_tensor(frames.shape[2], dtype=torch.float32)
        frame_h = torch.scalar_tensor(frames.shape[1], dtype=torch.float32)
        content_w, content_h = torch.scalar_tensor(float(width)), torch.scalar_tensor(float(height))
        left = top = torch.scalar_tensor(0.0)
        if self.resize != "stretch":
            scale = torch.minimum(content_w / frame_w, content_h / frame_h)
            fitted_w, fitted_h = ((side * scale).round().clamp(min=1) for side in (frame_w, frame_h))
            if self.resize == "letterbox-center":
                left, top = ((content_w - fitted_w) / 2).floor(), ((content_h - fitted_h) / 2).floor()
            content_w, content_h = fitted_w, fitted_h
        scale_x, scale_y = content_w / frame_w, content_h / frame_h
        pixels = _resampled(frames, height, top, content_h, frame_h, dim=1)  # [N, h, W, 3]
        pixels = _resampled(pixels, width, left, content_w, frame_w, dim=2)  # [N, h, w, 3]
        pixels = pixels.round()  # as cv2.resize, which gives whole values
        y, x = torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32)
        inside = ((y >= top) & (y < top + content_h))[:, None] & ((x >= left) & (x < left + content_w))[None]  # [h, w]
        pixels = torch.where(inside[None, :, :, None], pixels, self.padding)
        scale = torch.stack([scale_x, scale_y, scale_x, scale_y])
        return pixels, scale, torch.stack([left, top, left, top]), torch.stack([frame_w, frame_h, frame_w, frame_h])


class Normalise(nn.Module):
    """Pixels uint8 [N, h, w, 3] → float [N, 3, h, w] as the spec wants it."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        # One multiplication and one addition, which ONNX Runtime folds into the first convolution where it may.
        self.scale: Tensor
        self.shift: Tensor
        mean, std = torch.tensor(spec.mean, dtype=torch.float64), torch.tensor(spec.std, dtype=torch.float64)
        self.register_buffer("scale", (1 / std).float().view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).float().view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift


def padded(boxes: Tensor, scores: Tensor, class_ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mark what scores too little as padding, and count the rest [N]."""
    is_real = ~(scores < SCORE_FLOOR)  # [N, K]; NaN is no padding: whoever reads it must learn of it
    scores = torch.where(is_real, scores, torch.zeros_like(scores))
    class_ids = torch.where(is_real, class_ids, torch.full_like(class_ids, -1))
    return boxes, scores, class_ids, is_real.sum(dim=1)


def _resampled(frames: Tensor, size: int, start: Tensor, content: Tensor, source: Tensor, *, dim: int) -> Tensor:
    """Resample one side of frames [N, H, W, 3] to `size`, `content` of which, from `start` on, show the source."""
    position = (torch.arange(size, dtype=torch.float32) - start + 0.5) * (source / content) - 0.5  # [size]
    position = torch.minimum(position.clamp(min=0), source - 1)
    before = position.floor()
    share = position - before  # [size]
    first, second = before.long(), torch.minimum(before + 1, source - 1).long()
    share = share.view([-1 if each == dim else 1 for each in range(4)])
    one, other = (frames.index_select(dim, each).to(torch.float32) for each in (first, second))
    return one + (other - one) * share
