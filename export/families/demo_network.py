"""Demo network: the detector that ships with streamdet, pixels → class logits and box offsets.

An SSD (Liu et al. 2016, https://arxiv.org/abs/1512.02325) on inverted residuals (Sandler et al. 2018,
https://arxiv.org/abs/1801.04381): four grids, a few anchors in each cell, for each anchor one softmax over background
and classes and four offsets. Coarse grids hand their context down to the finer ones.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.examples import PAD_VALUE
from export.exportable import Exportable, boxes_spec_of
from export.graph.ops import best_pairs, take_rows
from export.proof.read_by_head import reference_by_head
from pipeline.picture.detector_spec import DetectorSpec, pack_anchors

NETWORK_WH = (512, 288)
STRIDES = (8, 16, 32, 64)
ANCHOR_SIZES_PX = ((12.0, 17.0, 25.0), (37.0, 56.0), (84.0, 125.0), (180.0, 280.0))  # square roots of the areas
ANCHOR_ASPECTS = (0.4, 1.0, 1.9)  # width over height
OFFSET_SCALE = (0.1, 0.1, 0.2, 0.2)  # "variances": offsets are divided by these, so that they are of order 1
LARGEST_LOG_RATIO = math.log(1000 / 16)  # torchvision's limit: a box is at most 62 times its anchor


def anchors(network_wh: tuple[int, int] = NETWORK_WH) -> Tensor:
    """All anchors [A, 4] as centre x, centre y, width, height in network pixels: grid, row, column, size, aspect."""
    grids: list[Tensor] = []
    for stride, sizes in zip(STRIDES, ANCHOR_SIZES_PX, strict=True):
        columns, rows = (-(-side // stride) for side in network_wh)
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")  # [rows, columns]
        centres = torch.stack([x, y], dim=2).reshape(-1, 1, 2) * stride  # [cells, 1, 2]
        shapes = torch.tensor([(size * aspect**0.5, size / aspect**0.5) for size in sizes for aspect in ANCHOR_ASPECTS])
        cells = centres.expand(-1, len(shapes), 2), shapes.expand(len(centres), -1, 2)
        grids.append(torch.cat(cells, dim=2).reshape(-1, 4))
    return torch.cat(grids)


def encode(boxes_xyxy: Tensor, anchors_cxcywh: Tensor) -> Tensor:
    """The offsets [..., 4] that turn anchors [..., 4] into boxes [..., 4]; `decode` turns them back."""
    centre, size = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2, boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    shift = (centre - anchors_cxcywh[..., :2]) / anchors_cxcywh[..., 2:]
    ratio = torch.log(size / anchors_cxcywh[..., 2:])
    return torch.cat([shift, ratio], dim=-1) / anchors_cxcywh.new_tensor(OFFSET_SCALE)


def decode(offsets: Tensor, anchors_cxcywh: Tensor) -> Tensor:
    """The boxes xyxy [..., 4] in network pixels at offsets [..., 4] from anchors [..., 4]; the inverse of `encode`."""
    offsets = offsets * anchors_cxcywh.new_tensor(OFFSET_SCALE)
    centre = anchors_cxcywh[..., :2] + offsets[..., :2] * anchors_cxcywh[..., 2:]
    half = anchors_cxcywh[..., 2:] * torch.exp(offsets[..., 2:].clamp(max=LARGEST_LOG_RATIO)) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def convolution(inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow again; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, widen: int = 4) -> None:
        super().__init__()
        wide = inputs * widen
        self.adds_input = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *([convolution(inputs, wide)] if widen > 1 else []),
            convolution(wide, wide, kernel=3, stride=stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = cast(Tensor, self.layers(x))
        return x + y if self.adds_input else y


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """A 3 x 3 filter in each channel, then a mix of the channels."""
    return nn.Sequential(convolution(inputs, inputs, kernel=3, groups=inputs), convolution(inputs, outputs))


class DemoNetwork(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1 → class logits [N, A, 1 + classes] and offsets [N, A, 4].

    Column 0 of the logits is the background.
    """

    def __init__(self, num_classes: int, *, width: int = 64) -> None:
        super().__init__()
        self.num_classes = num_classes
        block = InvertedResidual
        self.to_stride_8 = nn.Sequential(
            convolution(3, 16, kernel=3, stride=2),
            block(16, 16, widen=1),
            block(16, 24, stride=2, widen=3),
            block(24, 24, widen=3),
            block(24, 40, stride=2),
            block(40, 40),
            block(40, 40),
        )
        self.to_stride_16 = nn.Sequential(block(40, 80, stride=2), block(80, 80), block(80, 80), block(80, 80))
        self.to_stride_32 = nn.Sequential(block(80, 128, stride=2), block(128, 128), block(128, 128))
        self.to_stride_64 = nn.Sequential(block(128, 128, stride=2), block(128, 128))
        self.narrow = nn.ModuleList([convolution(channels, width) for channels in (40, 80, 128, 128)])
        self.mix = nn.ModuleList([separable(width, width) for _ in STRIDES])
        per_cell = [len(sizes) * len(ANCHOR_ASPECTS) for sizes in ANCHOR_SIZES_PX]
        self.classify = nn.ModuleList(
            [nn.Sequential(separable(width, width), nn.Conv2d(width, num * (1 + num_classes), 1)) for num in per_cell]
        )
        self.locate = nn.ModuleList(
            [nn.Sequential(separable(width, width), nn.Conv2d(width, num * 4, 1)) for num in per_cell]
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features: list[Tensor] = []
        x = pixels
        for stage in (self.to_stride_8, self.to_stride_16, self.to_stride_32, self.to_stride_64):
            x = stage(x)
            features.append(x)
        context: Tensor | None = None
        logits: list[Tensor] = []
        offsets: list[Tensor] = []
        for index in reversed(range(len(STRIDES))):  # from the coarsest grid down
            x = self.narrow[index](features[index])
            if context is not None:
                x = x + F.interpolate(context, size=x.shape[2:], mode="nearest")
            context = self.mix[index](x)
            logits.append(_by_anchor(self.classify[index](context), 1 + self.num_classes))
            offsets.append(_by_anchor(self.locate[index](context), 4))
        return torch.cat(logits[::-1], dim=1), torch.cat(offsets[::-1], dim=1)


def _by_anchor(x: Tensor, values: int) -> Tensor:
    """[N, anchors * values, rows, columns] → [N, rows * columns * anchors, values]."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


class DemoDecode(nn.Module):
    """Logits [N, A, 1 + classes] and offsets [N, A, 4] → the best K pairs of anchor and class.

    Returns boxes [N, K, 4] xyxy in network pixels, clipped to the network's input, scores [N, K] in 0..1, best first,
    and class ids [N, K], before NMS.
    """

    def __init__(self, *, network_wh: tuple[int, int] = NETWORK_WH, max_candidates: int = 1000) -> None:
        super().__init__()
        self.max_candidates = max_candidates
        self.anchors: Tensor
        self.limits: Tensor
        self.register_buffer("anchors", anchors(network_wh))
        self.register_buffer("limits", torch.tensor(network_wh * 2, dtype=torch.float32))

    def forward(self, logits: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        class_scores = logits.softmax(dim=2)[:, :, 1:]  # [N, A, classes]
        scores, anchor_ids, class_ids = best_pairs(class_scores, self.max_candidates)  # [N, K]
        boxes = decode(take_rows(offsets, anchor_ids), self.anchors[anchor_ids])  # [N, K, 4]
        return torch.minimum(boxes.clamp(min=0), self.limits), scores, class_ids


def demo_exportable(
    network: DemoNetwork,
    class_names: tuple[str, ...],
    *,
    network_wh: tuple[int, int] = NETWORK_WH,
    max_candidates: int = 1000,
) -> Exportable:
    """The demo detector, ready for export."""
    body_spec = DetectorSpec(
        input_name="images",
        network_wh=network_wh,
        head="ssd_raw",
        class_names=class_names,
        batch=None,
        resize="letterbox-center",
        pad_value=PAD_VALUE,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        outputs=("class_logits", "box_deltas"),
        box_format="cxcywh",
        score_activation="softmax",
        first_class_id=1,
        anchors=pack_anchors((anchors(network_wh) / torch.tensor(network_wh * 2)).numpy()),
        anchor_variances=OFFSET_SCALE,
        score_threshold=0.3,
        iou_threshold=0.45,
        model_name="streamdet demo",
    )
    return Exportable(
        body=network.eval(),
        decode=DemoDecode(network_wh=network_wh, max_candidates=max_candidates),
        spec=boxes_spec_of(body_spec),
        reference=reference_by_head(network, body_spec),
        body_outputs=body_spec.outputs,
        body_head=body_spec,
    )


def normalised(pixels: Tensor) -> Tensor:
    """uint8 [N, h, w, 3] → float32 [N, 3, h, w] in -1..1."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1
