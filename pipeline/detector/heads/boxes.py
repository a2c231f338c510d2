"""Boxes: the outputs of our own export → candidates."""

from __future__ import annotations

import numpy as np

from pipeline.detector.heads.outputs import Outputs, boxes_to_network, refuse_not_finite
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec


def boxes(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`boxes [B, K, 4]`, `scores [B, K]`, `class_ids [B, K]`: decoded in the graph, padded with score 0 and class -1.

    Where they are, `masks [B, K, h, w]` stretch over their boxes, and `keypoints [B, K, points, 3]` are x, y in network
    pixels and a score. `num_detections [B]`, which counts the rows that are not padding, is for other readers.
    """
    try:
        all_boxes, scores, class_ids = (outputs[name][batch_index] for name in ("boxes", "scores", "class_ids"))
    except KeyError as error:
        raise ModelError(
            f"head boxes reads the outputs boxes, scores and class_ids, the model returns {', '.join(outputs)}"
        ) from error
    refuse_not_finite(scores, spec)
    chosen = np.flatnonzero((scores >= np.float32(score_threshold)) & (class_ids >= 0))  # [M]
    masks, keypoints = outputs.get("masks"), outputs.get("keypoints")
    return Candidates(
        boxes_to_network(all_boxes[chosen], spec),
        scores[chosen].astype(np.float32),
        class_ids[chosen].astype(np.int64),
        None if masks is None else masks[batch_index][chosen].astype(np.float32),
        None if keypoints is None else keypoints[batch_index][chosen].astype(np.float32),
    )
