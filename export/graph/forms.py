"""Forms: an `Exportable` → the module that is exported in the form body, boxes or frame, and the spec of its file."""

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

# Lower scores are padding: no threshold goes below, and counting them would make every image as full as K.
SCORE_FLOOR = 1e-3
BOXES_OUTPUTS = ("boxes", "scores", "class_ids", "num_detections")


def module_for(
    exportable: Exportable, form: Form, *, half: bool, pixels: Pixels = "packed"
) -> tuple[nn.Module, DetectorSpec, tuple[str, ...]]:
    """The module of a form, in eval mode, the spec of its file, and the names of its outputs.

    pixels: the input of the boxes and the frame form; with nv12 the graph resizes in the boxes form as well.

    Raises ModelError for a form or a precision that this detector does not have.
    """
    model_name = exportable.spec.model_name
    if half and exportable.half_is_refused_because:
        raise ModelError(f"--half: {model_name} does not work in float16: {exportable.half_is_refused_because}")
    if pixels == "nv12" and form == "body":
        raise ModelError("--pixels nv12 needs --form boxes or --form frame, whose graphs take pixels; got --form body")
    if form == "body":
        if exportable.body_head is None:
            raise ModelError(f"--form body: {model_name} has no body form: {exportable.no_body_because}")
        spec = dataclasses.replace(exportable.body_head, form="body", batch=None, outputs=exportable.body_outputs)
        return BodyForm(exportable, half=half).eval(), spec, exportable.body_outputs
    if exportable.spec.num_rois:
        if (form, pixels, half) != ("boxes", "packed", False):
            raise ModelError(f"{model_name} takes proposals; it has only --form boxes --pixels packed in float32")
        spec = dataclasses.replace(exportable.spec, form="boxes", batch=None)
        return RoisBoxesForm(exportable).eval(), spec, BOXES_OUTPUTS
    boxes, names = BoxesForm(exportable, half=half), BOXES_OUTPUTS + exportable.more_outputs
    if form == "boxes":
        spec = dataclasses.replace(exportable.spec, form="boxes", batch=None)
        if pixels == "packed":
            return boxes.eval(), spec, names
        spec = dataclasses.replace(spec, colour="bgr", pixels="nv12", input_name=NV12_INPUTS[0])
        return PlanesBoxesForm(boxes, exportable.spec).eval(), spec, names
    if exportable.more_outputs:
        raise ModelError(
            f"--form frame: {model_name} also returns {', '.join(exportable.more_outputs)}, which this "
            "form does not map to frame pixels; use --form boxes"
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
        return tuple(tensor.float() for tensor in raw)


class BoxesForm(nn.Module):
    """Pixels uint8 [N, h, w, 3] of the network's size → the best K boxes, padded and counted.

    Returns boxes [N, K, 4] xyxy in network pixels, scores [N, K] best first, class_ids int64 [N, K] (-1 in the
    padding), num_detections int64 [N], and the detector's further outputs.
    """

    def __init__(self, exportable: Exportable, *, half: bool = False) -> None:
        super().__init__()
        self.body = BodyForm(exportable, half=half)
        self.decode = exportable.decode
        self.normalise = Normalise(exportable.spec)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        boxes, scores, class_ids, *others = self.decode(*self.body(self.normalise(pixels)))
        return *padded(boxes, scores, class_ids), *others


class RoisBoxesForm(nn.Module):
    """Pixels uint8 [N, h, w, 3] and proposals float [N, P, 4] in network pixels → the outputs of `BoxesForm`.

    Both parts take the proposals last: the body behind the pixels, the decoder behind the body's outputs.
    """

    def __init__(self, exportable: Exportable) -> None:
        super().__init__()
        self.body = exportable.body
        self.decode = exportable.decode
        self.normalise = Normalise(exportable.spec)

    def forward(self, pixels: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
        return padded(*self.decode(*self.body(self.normalise(pixels), rois), rois))


class PlanesBoxesForm(nn.Module):
    """Planes of frames of any size, as `FitNv12` takes them → the outputs of `BoxesForm`, boxes in network pixels.

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
    """Frames of any size, as `FitFrame` or `FitNv12` takes them → detections after suppression, in frame pixels.

    Returns the same as `BoxesForm`; K is the detector's `max_detections`.
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
        best, indices = scores.topk(min(self.spec.max_detections, scores.shape[1]), dim=1)  # [N, K']
        boxes = take_rows(boxes, indices)  # [N, K', 4]
        boxes = torch.minimum(((boxes - offset) / scale).clamp(min=0), limit)
        return padded(boxes, best, class_ids.gather(1, indices))


class FitFrame(nn.Module):
    """Frames uint8 [N, H, W, 3] → float pixels 0..255 [N, h, w, 3] of the network's size, placed as by `Letterbox`.

    Bilinear at half-pixel centres, as cv2.resize, rows first and then columns, by Gather, so that every shape but the
    frame's is fixed. Returns also scale, offset and limit, each [4] for xyxy, which take boxes back: (box - offset) /
    scale.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.letterbox = LetterboxInGraph(spec)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        frame_w = torch.scalar_tensor(frames.shape[2], dtype=torch.float32)
        frame_h = torch.scalar_tensor(frames.shape[1], dtype=torch.float32)
        placement: Placement = self.letterbox(frame_w, frame_h)
        pixels = _resampled(frames, placement.rows, dim=1)  # [N, h, W, 3]
        pixels = _resampled(pixels, placement.columns, dim=2)  # [N, h, w, 3]
        return placement.pad(pixels), *placement.box_mapping()


class FitNv12(nn.Module):
    """The luma and chroma planes of frames → the outputs of `FitFrame` for the same frames.

    y: uint8 [N, H, pitch]; uv: uint8 [N, H / 2, pitch], Cb and Cr in turns; frame_wh: float [2], the true width and
    height, so that the padding of the rows is not read; yuv_to_bgr: float [3, 4]. Planes are resized first and only
    then converted to BGR; each chroma sample lies in the middle of its four pixels.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.letterbox = LetterboxInGraph(spec)

    def forward(
        self, y: Tensor, uv: Tensor, frame_wh: Tensor, yuv_to_bgr: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        placement: Placement = self.letterbox(frame_wh[0], frame_wh[1])
        luma = _resampled(_resampled(y, placement.rows, dim=1), placement.columns, dim=2)  # [N, h, w]
        chroma = _resampled(uv, placement.rows.halved(), dim=1)  # [N, h, pitch]
        cb, cr = (_resampled(chroma, placement.columns.halved(), dim=2, spacing=2, start=start) for start in (0, 1))
        # Not as a matrix product, which a GPU would round to 10 bits (TF32).
        pixels = yuv_to_bgr[:, 3]  # [3]
        for plane, weights in zip((luma, cb, cr), yuv_to_bgr[:, :3].unbind(1), strict=True):
            pixels = pixels + plane[..., None] * weights  # [N, h, w, 3]
        return placement.pad(pixels.clamp(0, 255)), *placement.box_mapping()


class LetterboxInGraph(nn.Module):
    """The size of a frame → its `Placement` in the network's input, the same as by `Letterbox.fit`."""

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
        return Placement(_Axis(height, top, content_h, frame_h), _Axis(width, left, content_w, frame_w), self.padding)


@dataclasses.dataclass(frozen=True, slots=True)
class _Axis:
    """An axis of the network's input: `content` pixels from `start` on show the `source` pixels of the frame."""

    size: int
    start: Tensor
    content: Tensor
    source: Tensor
    pixels_per_sample: int = 1

    def halved(self) -> _Axis:
        """The same axis of a plane that has one sample for two pixels."""
        return dataclasses.replace(self, pixels_per_sample=2)

    def samples(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each pixel [size]: the sample before it, the one after, and the weight of the latter."""
        pixels = torch.arange(self.size, dtype=torch.float32)
        position = (pixels - self.start + 0.5) * (self.source / self.content)
        num_samples = self.source
        if self.pixels_per_sample > 1:
            position = position / self.pixels_per_sample
            num_samples = (num_samples / self.pixels_per_sample).ceil()
        position = torch.minimum((position - 0.5).clamp(min=0), num_samples - 1)
        before = position.floor()
        return before.long(), torch.minimum(before + 1, num_samples - 1).long(), position - before

    def shows_frame(self) -> Tensor:
        """Which pixels show the frame, bool [size]."""
        pixels = torch.arange(self.size, dtype=torch.float32)
        return (pixels >= self.start) & (pixels < self.start + self.content)


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """The position of a frame in the network's input."""

    rows: _Axis
    columns: _Axis
    padding: Tensor  # [3], BGR

    def pad(self, pixels: Tensor) -> Tensor:
        """Pixels [N, h, w, 3], rounded to whole values as by cv2.resize, with the padding around the frame."""
        is_content = self.rows.shows_frame()[:, None] & self.columns.shows_frame()[None]  # [h, w]
        return torch.where(is_content[None, :, :, None], pixels.round(), self.padding)

    def box_mapping(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scale, offset and limit of xyxy, [4] each: (box - offset) / scale is in frame pixels, 0..limit."""
        axes = (self.columns, self.rows) * 2
        scale = torch.stack([axis.content / axis.source for axis in axes])
        return scale, torch.stack([axis.start for axis in axes]), torch.stack([axis.source for axis in axes])


class Normalise(nn.Module):
    """Pixels uint8 [N, h, w, 3] → float [N, 3, h, w], less the spec's mean and divided by its std."""

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
    """Mark boxes that score less than `SCORE_FLOOR` as padding, and count the others [N]."""
    is_real = ~(scores < SCORE_FLOOR)  # [N, K]; NaN is not padding: the reader must see it
    scores = torch.where(is_real, scores, torch.zeros_like(scores))
    class_ids = torch.where(is_real, class_ids, torch.full_like(class_ids, -1))
    return boxes, scores, class_ids, is_real.sum(dim=1)


def _resampled(planes: Tensor, axis: _Axis, *, dim: int, spacing: int = 1, start: int = 0) -> Tensor:
    """Resample one axis of planes [N, H, W, ...]; its samples lie `spacing` apart, from `start` on."""
    before, after, weight = axis.samples()
    if spacing > 1:
        before, after = before * spacing + start, after * spacing + start
    weight = weight.view([-1 if index == dim else 1 for index in range(planes.dim())])
    low, high = (planes.index_select(dim, indices).to(torch.float32) for indices in (before, after))
    return low + (high - low) * weight
