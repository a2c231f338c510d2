"""Which modules are exported? The three faces of one network: body, boxes, frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.exportable import Exportable
from pipeline.picture.detector_spec import DetectorSpec

# What scores less is padding: nobody looks there, and counting it would make every image as full as K.
SCORE_FLOOR = 1e-3


class BodyForm(nn.Module):
    """Normalised pixels, float [N, 3, h, w] → the raw outputs of the network, float32."""

    def __init__(self, exportable: Exportable, *, half: bool = False) -> None:
        super().__init__()
        self.body = exportable.body.half() if half else exportable.body
        self.half_body = half

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        raw = self.body(images.half() if self.half_body else images)
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
        is_real = scores >= SCORE_FLOOR  # [N, K]
        scores = torch.where(is_real, scores, torch.zeros_like(scores))
        class_ids = torch.where(is_real, class_ids, torch.full_like(class_ids, -1))
        return boxes, scores, class_ids, is_real.sum(dim=1), *others


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
