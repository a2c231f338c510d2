"""How is an SSD without its NMS told and read?

https://arxiv.org/abs/1512.02325: boxes as offsets from anchors, or decoded in the graph; the same for RetinaNet and
EfficientDet. Anchors are not in the graph of an undecoded file: they come from a file beside it, or from our export.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.detector.facts import ModelFacts, TensorFacts, image_input
from pipeline.detector.heads.activation import activated
from pipeline.detector.heads.candidates import Outputs, boxes_to_network, output, refuse_nan
from pipeline.detector.heads.claims import Claim, Hints, NotThisError, classes_then_boxes, spec_for
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec, ScoreActivation, pack_anchors, unpack_anchors

_LARGEST_LOG_RATIO = float(np.log(1000 / 16))  # torchvision's limit: no box is more than 62 times its anchor


def ssd_raw(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Class values `[B, A, C]` and offsets from anchors `[B, A, 4]`; ids below `first_class_id` are background."""
    chosen, scores, class_ids = _likely(outputs, spec, score_threshold, batch_index)  # [M] anchors
    offsets = output(outputs, spec, 1)[batch_index][chosen].astype(np.float32)  # [M, 4]
    if spec.box_format == "cycxhw":
        offsets = offsets[:, [1, 0, 3, 2]]
    offsets = offsets * np.array(spec.anchor_variances, np.float32)
    anchors = _anchors(spec.anchors, spec.network_wh)  # [A, 4]
    num = output(outputs, spec, 1).shape[1]
    if num != len(anchors):
        raise ModelError(f"head ssd_raw has {len(anchors)} anchors, the model returns {num} boxes")
    anchors = anchors[chosen]  # [M, 4]
    centres = anchors[:, :2] + offsets[:, :2] * anchors[:, 2:]  # [M, 2]
    halves = anchors[:, 2:] * np.exp(np.minimum(offsets[:, 2:], _LARGEST_LOG_RATIO)) / 2  # [M, 2]
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)  # [M, 4]
    # Clipped before suppression, as torchvision and TensorFlow do: what lies outside does not count as overlap.
    return Candidates(np.clip(boxes, 0, np.array(spec.network_wh * 2, np.float32)), scores, class_ids)


def ssd_decoded(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """Class values `[B, A, C]` and boxes `[B, A, 4]`; ids below `first_class_id` are background."""
    chosen, scores, class_ids = _likely(outputs, spec, score_threshold, batch_index)
    return Candidates(boxes_to_network(output(outputs, spec, 1)[batch_index][chosen], spec), scores, class_ids)


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """Two outputs, class values [B, A, C] and boxes or offsets [B, A, 4]."""
    pair = classes_then_boxes(facts)
    if pair is None:
        raise NotThisError("ssd: one input and two outputs, class values [batch, anchors, classes] and boxes [.., 4]")
    classes, boxes = pair
    num_anchors, num_columns = boxes.shape[1], classes.shape[2]
    if num_columns in (None, 1) or classes.shape[1] != num_anchors or (num_anchors or 1001) <= 300:
        raise NotThisError(
            f"ssd: as many boxes as class values, more than 300, and a column of background, not {classes} and {boxes}",
            is_near=True,
        )
    if hints.head != "ssd_raw":
        for activation in _activations(hints):
            spec = _decoded(facts, hints, classes, boxes, activation)
            yield Claim(spec, _decoded_objection)
    if hints.head != "ssd_decoded":
        for activation in _activations(hints):
            spec = _raw(facts, hints, classes, boxes, activation)
            yield Claim(spec, _raw_objection)


def read_anchors(path: Path) -> FloatArray:
    """Anchors [A, 4] of a .npy file: centre y, centre x, height, width in 0..1, as TensorFlow's detectors have them.

    Raises ModelError for a missing file and for anything else in it.
    """
    try:
        anchors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"--anchors must be a .npy file, got {path}: {error}") from error
    if anchors.ndim != 2 or anchors.shape[1] != 4 or not np.issubdtype(anchors.dtype, np.floating):
        raise ModelError(f"{path}: anchors must be floats [A, 4], got {anchors.dtype} {list(anchors.shape)}")
    if not np.isfinite(anchors).all() or anchors[:, 2:].min(initial=1) <= 0 or np.abs(anchors).max(initial=0) > 2:
        raise ModelError(f"{path}: anchors must be centre y, centre x, height, width in 0..1 of the network's input")
    return np.asarray(anchors, np.float32)


def _activations(hints: Hints) -> tuple[ScoreActivation, ...]:
    return ("none", "sigmoid", "softmax") if hints.score_activation is None else (hints.score_activation,)


def _raw(
    facts: ModelFacts, hints: Hints, classes: TensorFacts, boxes: TensorFacts, activation: ScoreActivation
) -> DetectorSpec:
    path = hints.anchors or facts.path.with_name(f"{facts.path.stem}_anchors.npy")
    if hints.anchors is None and not path.is_file():
        # All files of one network, raw and finished, may share their anchors: net_anchors.npy beside net_raw.onnx.
        path = facts.path.with_name(f"{facts.path.stem.removesuffix('_raw')}_anchors.npy")
    if hints.anchors is None and not path.is_file():
        raise NotThisError("ssd_raw: its anchors are not in the graph, give them with --anchors FILE.npy", is_near=True)
    anchors = read_anchors(path)
    if boxes.shape[1] not in (None, len(anchors)):
        raise ModelError(f"{path}: the graph has {boxes.shape[1]} anchors, the file {len(anchors)}")
    return spec_for(
        facts,
        hints,
        head="ssd_raw",
        num_classes=(classes.shape[2] or 1) - 1,
        reason=f"ssd_raw: {classes}, {activation}, and {boxes}, anchors of {path.name}",
        outputs=(classes.name, boxes.name),
        box_format="cycxhw",
        anchors=pack_anchors(anchors[:, [1, 0, 3, 2]]),
        score_activation=activation,
        first_class_id=1,
        **_recipe(facts),
    )


def _decoded(
    facts: ModelFacts, hints: Hints, classes: TensorFacts, boxes: TensorFacts, activation: ScoreActivation
) -> DetectorSpec:
    num_classes = (classes.shape[2] or 1) - 1
    return spec_for(
        facts,
        hints,
        head="ssd_decoded",
        num_classes=num_classes,
        known_names=("face",) if num_classes == 1 and "face" in facts.path.stem.lower() else None,
        reason=f"ssd_decoded: {classes}, {activation}, and {boxes}, corners in 0..1",
        outputs=(classes.name, boxes.name),
        boxes_are_normalised=True,
        score_activation=activation,
        first_class_id=1,
        iou_threshold=0.3 if num_classes == 1 else 0.45,
        score_threshold=0.7 if num_classes == 1 else 0.4,
        **_recipe(facts),
    )


def _recipe(facts: ModelFacts) -> dict[str, Any]:
    if image_input(facts).dtype == "uint8":
        return {"recipe": "RGB as it is, stretched", "resize": "stretch"}
    return {
        "recipe": "SSD's, RGB (pixel - 127) / 128, stretched",
        "resize": "stretch",
        "mean": (127.0, 127.0, 127.0),
        "std": (128.0, 128.0, 128.0),
    }


def _objection_to_scores(outputs: Outputs, spec: DetectorSpec) -> str | None:
    values = output(outputs, spec, 0)[0].astype(np.float64)  # [A, C]
    is_within = values.min(initial=0) >= -1e-4 and values.max(initial=0) <= 1 + 1e-4
    if spec.score_activation == "none":
        return None if is_within else f"its class values reach {values.max():g}, so they are no scores yet"
    if is_within:
        return "its class values lie in 0..1, so they are scores already"
    # By softmax, background wins nearly everywhere; by sigmoid, nearly every value is far below 0.
    below = float(np.mean(values[:, 1:] < 0))
    background_wins = float(np.mean(values.argmax(axis=1) == 0))
    if spec.score_activation == "softmax" and background_wins < 0.5:
        return "its first column is not background, which must win nearly everywhere"
    if spec.score_activation == "sigmoid" and (below < 0.8 or background_wins >= 0.5):
        return "its first column wins as background does, so that its scores come by softmax"
    return None


def _decoded_objection(outputs: Outputs, spec: DetectorSpec) -> str | None:
    boxes = output(outputs, spec, 1)[0]  # [A, 4]
    ordered = np.mean((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    inside = np.mean((boxes > -0.5) & (boxes < 1.5))
    if ordered < 0.95 or inside < 0.9:
        return f"{ordered:.0%} of its boxes are corners in order, {inside:.0%} of the values lie in 0..1"
    return _objection_to_scores(outputs, spec)


def _raw_objection(outputs: Outputs, spec: DetectorSpec) -> str | None:
    boxes = output(outputs, spec, 1)[0]  # [A, 4]
    if np.mean((boxes[:, 2:] > boxes[:, :2]).all(axis=1)) > 0.95:
        return "its boxes are corners already"
    return _objection_to_scores(outputs, spec)


def _likely(
    outputs: Outputs, spec: DetectorSpec, score_threshold: float, batch_index: int
) -> tuple[Any, FloatArray, Any]:
    """The pairs of anchor and class that reach the threshold: anchors [M], scores [M], class ids [M]."""
    values = output(outputs, spec, 0)[batch_index]  # [A, C]
    if spec.score_activation != "softmax":
        values = values[:, spec.first_class_id :]
    scores = activated(values, spec.score_activation)
    refuse_nan(scores, spec)
    if spec.score_activation == "softmax":
        scores = scores[:, spec.first_class_id :]  # after it: background takes its share
    chosen, class_ids = np.nonzero(scores >= np.float32(score_threshold))  # [M], [M]
    return chosen, scores[chosen, class_ids], class_ids.astype(np.int64)


@lru_cache(maxsize=8)
def _anchors(text: str, network_wh: tuple[int, int]) -> FloatArray:
    """Anchors [A, 4] as centre x, centre y, width, height in network pixels."""
    return np.asarray(unpack_anchors(text) * np.array(network_wh * 2, np.float32), np.float32)
