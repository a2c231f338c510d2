"""Extra values: a file's outputs and metadata → what the values of a box beyond its classes may be.

By Ultralytics, a box has the weights of K prototypes, which are an output [B, K, h / 4, w / 4] beside it, or keypoints,
of which `kpt_shape` in the metadata says the number, and whether each has a score; or it is turned by an angle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.detector.facts import ModelFacts, TensorFacts, literal
from pipeline.detector.heads.outputs import Outputs, output
from pipeline.detector.runtime_types import Array
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.keypoints import COCO_POINTS, point_names

_LARGEST_ANGLE = np.pi + 0.01
_STRIDE = 4  # network pixels to a sample of a prototype
_MOST_PROTOTYPES = 256
_Objection = Callable[[Outputs, DetectorSpec], str | None]


@dataclass(frozen=True, slots=True)
class ExtraValues:
    """The values of a box beyond its classes."""

    num: int
    in_words: str = ""
    outputs: tuple[str, ...] = ()  # the prototypes
    keypoint_names: tuple[str, ...] = ()
    has_angles: bool = False


NO_EXTRA = ExtraValues(0)
_ANGLE = ExtraValues(1, "and an angle", has_angles=True)


def extra_values(
    facts: ModelFacts, tensor: TensorFacts, network_wh: tuple[int, int], *, num_others: Collection[int]
) -> Iterator[ExtraValues]:
    """What they may be in an output [B, N, values] or its transpose; the likeliest first, values tell.

    num_others: how many values a box of one class may have beside these.
    """
    prototypes = [other for other in facts.outputs if _are_prototypes(other, tensor, network_wh)]
    if len(prototypes) == 1:
        num = prototypes[0].shape[1] or 0
        yield ExtraValues(num, f"and the weights of {num} prototypes in {prototypes[0].name}", (prototypes[0].name,))
        return
    if task_of(facts) == "obb":
        yield _ANGLE
        return
    is_pose = task_of(facts) == "pose"
    match literal(facts.metadata.get("kpt_shape", "")):
        case [int(num), (2 | 3) as values] if is_pose and num > 0:
            yield ExtraValues(num * values, f"and {num} keypoints", keypoint_names=_names(facts, num))
            return
    if not is_pose:
        yield NO_EXTRA
    num = len(COCO_POINTS)
    # COCO's 17 points of the one class person: told by the number of values, and by the values themselves.
    if any(other + 3 * num in tensor.shape[1:] for other in num_others):
        yield ExtraValues(3 * num, f"and {num} keypoints", keypoint_names=COCO_POINTS)
    if not task_of(facts):
        yield _ANGLE


def task_of(facts: ModelFacts) -> str:
    """Ultralytics' word for what a file is made for: detect, segment, pose, obb, classify; empty where none is."""
    return facts.metadata.get("task", "").strip().lower()


def looks_like_angles(last: Array, others: Array) -> str | None:
    """Why values [M] are angles in radians, and not scores as the others [M, C] are; None if nothing says so.

    Angles are negative or above 1; where a picture has none such, they are high where no class is.
    """
    if not (last.size and others.size) or not np.isfinite(last).all():
        return None
    is_beyond = last.max() > 1.001 or last.min() < -0.001
    others_are_scores = others.max() <= 1.001 and others.min() >= -0.001
    if is_beyond and others_are_scores and np.abs(last).max() <= _LARGEST_ANGLE:
        return f"reaches from {last.min():.2g} to {last.max():.2g}, as angles do"
    if not is_beyond and others_are_scores and np.median(np.abs(last)) > 0.1 > np.median(others.max(axis=1)):
        return "is high where no class is, as an angle may be"
    return None


def with_extra_values(objection: _Objection, extra: ExtraValues) -> _Objection:
    """The objection to a reading, and then that of the extra values."""

    def objection_to_both(outputs: Outputs, spec: DetectorSpec) -> str | None:
        return objection(outputs, spec) or _objection_to(extra, _last_values(outputs, spec, extra.num), spec)

    return objection_to_both if extra.num else objection


def _objection_to(extra: ExtraValues, values: Array, spec: DetectorSpec) -> str | None:
    """What the values [M, E] say against what they are taken for."""
    if not values.any():
        return None  # padding
    if extra.has_angles:
        reach = np.abs(values).max()
        return None if reach <= 2 * _LARGEST_ANGLE else f"its angles reach {reach:.3g}, which are not radians"
    if not extra.keypoint_names:
        is_like_scores = values.min() >= 0 and values.max() <= 1
        return "its weights of prototypes lie within 0..1, as scores of classes do" if is_like_scores else None
    points = values.reshape(len(values), len(extra.keypoint_names), -1)  # [M, points, 2 or 3]
    reach = np.abs(points[..., :2]).max()
    if reach <= 2 and not spec.boxes_are_normalised:
        return f"its keypoints reach {reach:.3g} pixels, as scores of classes do"
    if points.shape[2] == 3 and not (points[..., 2].min() >= -0.001 and points[..., 2].max() <= 1.001):
        return f"the scores of its keypoints reach {points[..., 2].min():.3g} and {points[..., 2].max():.3g}"
    return None


def _last_values(outputs: Outputs, spec: DetectorSpec, num: int) -> Array:
    """The last values [M, num] of each box of all images."""
    rows = output(outputs, spec)  # [B, N, values], or its transpose
    num_values = len(spec.columns) + num if spec.columns else len(spec.class_names) + num + 4
    is_turned = rows.shape[2] not in (num_values, num_values + 1)
    rows = rows.transpose(0, 2, 1) if is_turned else rows
    return rows[..., -num:].reshape(-1, num)


def _are_prototypes(other: TensorFacts, tensor: TensorFacts, network_wh: tuple[int, int]) -> bool:
    """Whether an output is [B, K, h / 4, w / 4], with room for K weights in each box."""
    if len(other.shape) != 4 or other.shape[1] is None or not other.element_type.startswith("float"):
        return False
    width, height = network_wh
    is_map = all(side in (None, full // _STRIDE) for side, full in zip(other.shape[2:], (height, width), strict=True))
    sides = [side for side in tensor.shape[1:] if side is not None]
    return is_map and other.shape[1] <= _MOST_PROTOTYPES and any(side >= 5 + other.shape[1] for side in sides)


def _names(facts: ModelFacts, num_points: int) -> tuple[str, ...]:
    """Of the metadata, which has them for each class; else the usual ones."""
    match literal(facts.metadata.get("kpt_names", "")):
        case dict() as by_class if by_class:
            names = next(iter(by_class.values()))
            if isinstance(names, list | tuple) and len(names) == num_points:
                return tuple(map(str, names))
    return point_names(num_points)
