"""How does a convention claim a file that does not say what it is?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.detector.facts import ImageInput, ModelFacts, TensorFacts, image_input, literal
from pipeline.detector.heads.candidates import Outputs
from pipeline.errors import ModelError
from pipeline.picture.coco import COCO_80, COCO_91
from pipeline.picture.detector_spec import BoxFormat, DetectorSpec, ScoreActivation
from pipeline.picture.frame import ColourOrder
from pipeline.picture.letterbox import ResizeMode

DEFAULT_SIDE = 640
IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB in 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)
VOC_20 = tuple(
    """aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike, person,
    pottedplant, sheep, sofa, train, tvmonitor""".replace("\n    ", " ").split(", ")
)


@dataclass(frozen=True, slots=True)
class Hints:
    """What a user says about a foreign file; None says nothing. Each field wins over what was recognised."""

    head: str | None = None
    network_wh: tuple[int, int] | None = None
    resize: ResizeMode | None = None
    colour: ColourOrder | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    pad_value: int | None = None
    box_format: BoxFormat | None = None
    boxes_are_normalised: bool | None = None
    score_activation: ScoreActivation | None = None
    first_class_id: int | None = None
    iou_threshold: float | None = None
    class_names: tuple[str, ...] | None = None
    anchors: Path | None = None

    def applied_to(self, spec: DetectorSpec) -> DetectorSpec:
        """The spec with what the user says in it, and that it was the user who said so."""
        told = {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if each.name not in ("head", "anchors") and getattr(self, each.name) is not None
        }
        reasons = tuple(f"{name} {value}: as told" for name, value in told.items() if name != "class_names")
        return dataclasses.replace(spec, **told, provenance=spec.provenance + reasons)


@dataclass(frozen=True, slots=True)
class Claim:
    """A reading of a file that fits its graph; a run on a picture has still to bear it out."""

    spec: DetectorSpec  # provenance: one reason an entry
    objection: Callable[[Outputs, DetectorSpec], str | None] = field(default=lambda outputs, spec: None)
    """What in the network's outputs speaks against this reading, with the user's hints in its spec; or None."""


class NotThisError(Exception):
    """Why a file is not of a convention. `is_near`: much of it fits, so that a user may want to know."""

    def __init__(self, reason: str, *, is_near: bool = False) -> None:
        super().__init__(reason)
        self.is_near = is_near


class Claims(Protocol):
    """Finds the readings of a file under one family of conventions."""

    def __call__(self, facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
        """The likeliest first. Raises NotThisError, or ModelError from `spec_for`."""


def spec_for(
    facts: ModelFacts, hints: Hints, *, head: str, num_classes: int | None, reason: str, recipe: str, **values: Any
) -> DetectorSpec:
    """A spec with what the graph says of the input, size and class names, and what the convention adds.

    num_classes: without background; None: the graph does not say. recipe: the preprocessing in words. Raises
    ModelError for a file without an image input.
    """
    image = image_input(facts)
    network_wh, size_reason = _network_wh(facts, hints, image)
    class_names, names_reason = _class_names(facts, hints, num_classes, values.pop("known_names", None))
    return DetectorSpec(
        **{
            "input_name": image.name,
            "network_wh": network_wh,
            "head": head,
            "class_names": class_names,
            "layout": image.layout,
            "dtype": image.dtype,
            "batch": image.batch,
            "model_name": facts.path.stem,
            "provenance": (reason, size_reason, names_reason, f"preprocessing: {recipe}"),
            **values,
        }
    )


def classes_then_boxes(facts: ModelFacts) -> tuple[TensorFacts, TensorFacts] | None:
    """The outputs [B, N, C] and [B, N, 4] of a file with one input that has just these two, told by shape, or by name
    where there are four classes."""
    if len(facts.inputs) != 1 or len(facts.outputs) != 2 or any(len(each.shape) != 3 for each in facts.outputs):
        return None
    boxes = [each for each in facts.outputs if each.shape[-1] == 4]
    if len(boxes) == 2:
        boxes = [each for each in boxes if "box" in each.name.lower()]
    if len(boxes) != 1:
        return None
    (classes,) = (each for each in facts.outputs if each is not boxes[0])
    return classes, boxes[0]


def network_wh(facts: ModelFacts, hints: Hints) -> tuple[int, int]:
    """The size that the network would be run in. Raises ModelError for a file without an image input."""
    return _network_wh(facts, hints, image_input(facts))[0]


def _network_wh(facts: ModelFacts, hints: Hints, image: ImageInput) -> tuple[tuple[int, int], str]:
    width, height = image.size_wh
    if width is not None and height is not None:
        if hints.network_wh not in (None, (width, height)):
            raise ModelError(f"--size must be {width}x{height}, which is fixed in the graph, got {hints.network_wh}")
        return (width, height), f"{width} x {height}: the input's shape"
    if hints.network_wh is not None:
        return hints.network_wh, "{} x {}: as told".format(*hints.network_wh)
    size = literal(facts.metadata.get("imgsz", ""))
    if isinstance(size, int):
        size = [size, size]
    match size:
        case [int(h), int(w)] if min(h, w) > 0:
            reason = "imgsz in its metadata"
        case _:
            h = w = DEFAULT_SIDE
            reason = "the input is dynamic, and nothing in its metadata says otherwise; --size changes it"
    width, height = width or w, height or h
    return (width, height), f"{width} x {height}: {reason}"


def _class_names(
    facts: ModelFacts, hints: Hints, num_classes: int | None, known: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str]:
    if hints.class_names is not None:
        if num_classes is not None and len(hints.class_names) != num_classes:
            raise ModelError(f"--class-names must name {num_classes} classes, got {len(hints.class_names)}")
        return hints.class_names, f"{len(hints.class_names)} class names: as told"
    named = facts.names_of_exporter()
    if named and num_classes in (None, len(named)):
        return named, f"{len(named)} class names: its metadata"
    doubt = f", not the {len(named)} of its metadata" if named else ""
    if known is not None and num_classes in (None, len(known)):
        return known, f"{len(known)} class names: this convention's{doubt}"
    if num_classes is None or num_classes == len(COCO_80):
        return COCO_80, f"80 class names: COCO's{doubt}{'' if num_classes else ', the graph does not say'}"
    if num_classes in (90, 91):
        names = COCO_91 if num_classes == 90 else ("N/A", *COCO_91)
        return names, f"{num_classes} class names: COCO's category ids{doubt}"
    if num_classes == len(VOC_20):
        return VOC_20, f"20 class names: Pascal VOC's{doubt}"
    return tuple(f"class {index}" for index in range(num_classes)), f"{num_classes} classes, names unknown{doubt}"
