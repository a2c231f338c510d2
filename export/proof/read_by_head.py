"""Reference by head: a PyTorch body and its spec → detections read by the runtime's head, in numpy.

Neither the exported decoder nor ONNX Runtime takes part in this reading of the body's outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.exportable import Reference
from pipeline.detector.heads import head_of
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

_LEAST_SCORE = 0.01


def reference_by_head(body: nn.Module, spec: DetectorSpec) -> Reference:
    """The body, with input and head of its body form's spec."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    head = head_of(spec)

    def detect(pixels: Tensor) -> Sequence[Candidates]:
        raw = body((pixels.permute(0, 3, 1, 2).float() - mean) / std)
        outputs = dict(zip(spec.outputs, (tensor.numpy() for tensor in raw), strict=True))
        return [head(outputs, spec, score_threshold=_LEAST_SCORE, batch_index=index) for index in range(len(pixels))]

    return detect
