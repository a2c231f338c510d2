"""Which modules are exported? The three faces of one network: body, boxes, frame."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor, nn

from export.exportable import Exportable
from export.graph.ops import keep_best, take_rows
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import DetectorSpec, Form, Pixels
from pipeline.picture.nv12 import NV12_INPUTS

# What scores less is padding: nobody looks there, and counting it would make every image as full as K.
SCORE_FLOOR = 1e-3
BOXES_OUTPUTS = ("boxes", "scores", "class_ids", "num_detections")


def module_for(
    exportable: Exportable, form: Form, *, half: bool, pixels: Pixels = "packed"
) -> tuple[nn.Module, DetectorSpec, tuple[str, ...]]:
    """The module of a form, in eval mode, the spec of its file, and the names of its outputs.

    pixels: what the boxes and the frame form take; with nv12 the graph resizes in the boxes form as well.

    Raises ModelError for a form or a precision that this detector cannot have.
    """
    if half and exportable.half_is_refused_because:
        raise ModelError(f"--half: {exportable.spec.model_name} cannot: {exportable.half_is_refused_because}")
    if pixels == "nv12" and form == "body":
        raise ModelError("--pixels nv12 needs --form boxes or --form frame, whose graphs take pixels; got --form body")
    if form == "body":
        if exportable.body_head is None:
            raise ModelError(f"--form body: {exportable.spec.model_name} cannot: {exportable.no_body_because}")
        spec = dataclasses.replace(exportable.body_head, form="body", batch=None, outputs=exportable.body_outputs)
        return BodyForm(exportable, half=half).eval(), spec, exportable.body_outputs
    boxes, names = BoxesForm(exportable, half=half), BOXES_OUTPUTS + exportable.more_outputs
    if form == "boxes":
        spec = dataclasses.replace(exportable.spec, form="boxes", batch=None)
        if pixels == "packed":
            return boxes.eval(), spec, names
        spec = dataclasses.replace(spec, colour="bgr", pixels="nv12", input_name=NV12_INPUTS[0])
        return PlanesBoxesForm(boxes, exportable.spec).eval(), spec, names
    if exportable.more_outputs:
        raise ModelError(
            f"--form frame: {exportable.spec.model_name} also gives {', '.join(exportable.more_outputs)}, which the "
            "frame form does not map back; take --form boxes"
        )
    spec = dataclasses.replace(
        exportable.spec, form="frame", batch=None, resize="in-graph", colour="bgr", needs_nms=False
    )
    if pixels == "nv12":
        spec = dataclasses.replace(spec, pixels="nv12", input_name=NV12_INPUTS[0])
    return FrameForm(boxes, exportable.spec, pixels).eval(), spec, BOXES_OUTPUTS


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


class PlanesBoxesForm(nn.Module):
    """Planes of frames of any size, as `FitNv12` takes them → what `BoxesForm` returns, boxes in network pixels.

    Without suppression inside, all shapes follow from the batch and the frame's size: a CUDA graph can be recorded.
    """

    def __init__(self, boxes_form: BoxesForm, spec: DetectorSpec) -> None:
        super().__init__()
        self.boxes_form = boxes_form
        self.is_rgb = spec.colour == "rgb"
        self.fit = FitNv12(spec)

    def forward(self, *planes: Tensor) -> tuple[Tensor, ...]:
        pixels = self.fit(*planes)[0]
        boxes: tuple[Tensor, ...] = self.boxes_form(pixels.flip(3) if self.is_rgb else pixels)
        return boxes


class FrameForm(nn.Module):
    """Frames of any size, as `FitFrame` or `FitNv12` takes them → what is left after suppression, in their own pixels.

    Returns the same as `BoxesForm`, boxes in frame pixels, K the detector's `max_detections`.
    """

    def __init__(self, boxes_form: BoxesForm, spec: DetectorSpec, pixels: Pixels = "packed") -> None:
        super().__init__()
        self.boxes_form = boxes_form
        self.spec = spec
        self.fit = FitNv12(spec) if pixels == "nv12" else FitFrame(spec)

    def forward(self, *frames: Tensor) -> tuple[Tensor, ...]:
        pixels, scale, offset, limit = self.fit(*frames)
        if self.spec.colour == "rgb":
            pixels = pixels.flip(3)
        boxes, scores, class_ids, _ = self.boxes_form(pixels)
        if self.spec.needs_nms:
            # Boxes of different classes are moved apart, so that they never overlap.
            shift = class_ids.clamp(min=0).to(boxes) * (boxes.abs().amax(dim=(1, 2))[:, None] * 2 + 1)  # [N, K]
            stays = keep_best(boxes + shift[:, :, None], scores, self.spec.iou_threshold, SCORE_FLOOR)  # [N, K]
            scores = torch.where(stays, scores, torch.zeros_like(scores))
        best, places = scores.topk(min(self.spec.max_detections, scores.shape[1]), dim=1)  # [N, K']
        boxes = take_rows(boxes, places)  # [N, K', 4]
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
        self.lay = LetterboxInGraph(spec)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        frame_w = torch.scalar_tensor(frames.shape[2], dtype=torch.float32)
        frame_h = torch.scalar_tensor(frames.shape[1], dtype=torch.float32)
        lie: Placement = self.lay(frame_w, frame_h)
        pixels = _resampled(frames, lie.rows, dim=1)  # [N, h, W, 3]
        pixels = _resampled(pixels, lie.columns, dim=2)  # [N, h, w, 3]
        return lie.framed(pixels)


class FitNv12(nn.Module):
    """The two planes of frames → what `FitFrame` makes of their pixels.

    y: uint8 [N, H, pitch]; uv: uint8 [N, H / 2, pitch], U and V in turns; frame_wh: float [2], the true width and
    height, so that nothing behind the rows is looked at; yuv_to_bgr: float [3, 4]. Planes are resized as they are and
    only then become colours, each sample of colour lying in the middle of its four pixels.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.lay = LetterboxInGraph(spec)

    def forward(
        self, y: Tensor, uv: Tensor, frame_wh: Tensor, yuv_to_bgr: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        lie: Placement = self.lay(frame_wh[0], frame_wh[1])
        light = _resampled(_resampled(y, lie.rows, dim=1), lie.columns, dim=2)  # [N, h, w]
        both = _resampled(uv, lie.rows.halved(), dim=1)  # [N, h, pitch]
        blue, red = (_resampled(both, lie.columns.halved(), dim=2, spacing=2, start=start) for start in (0, 1))
        # Not as a matrix product, which a GPU would round to 10 bits (TF32).
        pixels = yuv_to_bgr[:, 3]  # [3]
        for plane, share in zip((light, blue, red), yuv_to_bgr[:, :3].unbind(1), strict=True):
            pixels = pixels + plane[..., None] * share  # [N, h, w, 3]
        return lie.framed(pixels.clamp(0, 255))


class LetterboxInGraph(nn.Module):
    """The size of a frame → where it lies in the network's input, as `Letterbox.fit` says."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.network_wh = spec.network_wh
        self.resize = spec.resize
        self.padding: Tensor
        padding = spec.pad_values if spec.colour == "bgr" else spec.pad_values[::-1]
        self.register_buffer("padding", torch.tensor(padding, dtype=torch.float32))

    def forward(self, frame_w: Tensor, frame_h: Tensor) -> Placement:
        width, height = self.network_wh
        content_w, content_h = torch.scalar_tensor(float(width)), torch.scalar_tensor(float(height))
        left = top = torch.scalar_tensor(0.0)
        if self.resize != "stretch":
            scale = torch.minimum(content_w / frame_w, content_h / frame_h)
            fitted_w, fitted_h = ((side * scale).round().clamp(min=1) for side in (frame_w, frame_h))
            if self.resize == "letterbox-center":
                left, top = ((content_w - fitted_w) / 2).floor(), ((content_h - fitted_h) / 2).floor()
            content_w, content_h = fitted_w, fitted_h
        return Placement(_Side(height, top, content_h, frame_h), _Side(width, left, content_w, frame_w), self.padding)


@dataclasses.dataclass(frozen=True, slots=True)
class _Side:
    """One side of the network's input, `content` of which, from `start` on, show the frame's."""

    size: int
    start: Tensor
    content: Tensor
    source: Tensor  # of the frame, in pixels
    pixels_a_sample: int = 1

    def halved(self) -> _Side:
        """The same side of a plane that has one sample for two pixels."""
        return dataclasses.replace(self, pixels_a_sample=2)

    def samples(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each place [size]: the sample before it, the one after, and the share of the latter."""
        places = torch.arange(self.size, dtype=torch.float32)
        position = (places - self.start + 0.5) * (self.source / self.content)
        num_samples = self.source
        if self.pixels_a_sample > 1:
            position = position / self.pixels_a_sample
            num_samples = (num_samples / self.pixels_a_sample).ceil()
        position = torch.minimum((position - 0.5).clamp(min=0), num_samples - 1)
        before = position.floor()
        return before.long(), torch.minimum(before + 1, num_samples - 1).long(), position - before

    def inside(self) -> Tensor:
        """Which places show the frame, bool [size]."""
        places = torch.arange(self.size, dtype=torch.float32)
        return (places >= self.start) & (places < self.start + self.content)


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """Where a frame lies in the network's input."""

    rows: _Side
    columns: _Side
    padding: Tensor  # [3], BGR

    def framed(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pixels [N, h, w, 3] in whole values, as cv2.resize gives them, padded; scale, offset and limit of boxes."""
        inside = self.rows.inside()[:, None] & self.columns.inside()[None]  # [h, w]
        pixels = torch.where(inside[None, :, :, None], pixels.round(), self.padding)
        sides = (self.columns, self.rows) * 2
        scale = torch.stack([side.content / side.source for side in sides])
        return pixels, scale, torch.stack([side.start for side in sides]), torch.stack([side.source for side in sides])


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


def _resampled(planes: Tensor, side: _Side, *, dim: int, spacing: int = 1, start: int = 0) -> Tensor:
    """Resample one side of planes [N, H, W, ...]; its samples lie `spacing` apart, from `start` on."""
    first, second, share = side.samples()
    if spacing > 1:
        first, second = (each * spacing + start for each in (first, second))
    share = share.view([-1 if each == dim else 1 for each in range(planes.dim())])
    one, other = (planes.index_select(dim, each).to(torch.float32) for each in (first, second))
    return one + (other - one) * share
