"""How is a PyTorch body compared with its export by a second reading of its outputs?

The runtime's head, in numpy, reads what the body returns in PyTorch: neither the decoder that is exported nor ONNX
Runtime has a hand in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.exportable import Reference
from pipeline.detector.heads import HEADS
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

_LEAST_SCORE = 0.01


def reference_by_head(body: nn.Module, spec: DetectorSpec) -> Reference:
    """The body, fed as a spec of its body form says and read by that spec's head."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (spec.mean, spec.std))
    head = HEADS[spec.head]

    def detect(pixels: Tensor) -> Sequence[Candidates]:
        raw = body((pixels.permute(0, 3, 1, 2).float() - mean) / std)
        outputs = dict(zip(spec.outputs, (each.numpy() for each in raw), strict=True))
        return [head(outputs, spec, score_threshold=_LEAST_SCORE, batch_index=place) for place in range(len(pixels))]

    return detect
