"""How does a convention claim a file that does not say what it is?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from pipeline.detector.facts import ImageInput, ModelFacts, TensorFacts, image_input, literal
from pipeline.detector.heads.outputs import Outputs
from pipeline.errors import ModelError
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.coco import COCO_80, COCO_91, EITHER_COCO, UNUSED_CLASSES
from pipeline.picture.detector_spec import DetectorSpec, ExtraInput, ScoreActivation
from pipeline.picture.frame import ColourOrder
from pipeline.picture.letterbox import ResizeMode

DEFAULT_SIDE = 640
_NUM_ALIKE = sum(one == other for one, other in zip(COCO_80, EITHER_COCO, strict=False))
_FLOATS = ("float", "float16")
IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB in 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)
ZERO_TO_ONE: Mapping[str, Any] = {"recipe": "RGB 0..1", "colour": "rgb", "mean": (0.0,) * 3, "std": (255.0,) * 3}
LESS_IMAGENETS_MEAN: Mapping[str, Any] = {
    "recipe": "RGB less ImageNet's mean",
    "colour": "rgb",
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
}
BGR_AS_IT_IS: Mapping[str, Any] = {
    "recipe": "BGR 0..255",
    "colour": "bgr",
    "mean": (0.0,) * 3,
    "std": (1.0,) * 3,
}
VOC_20 = tuple(
    """aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike, person,
    pottedplant, sheep, sofa, train, tvmonitor""".replace("\n    ", " ").split(", ")
)
_ASSUMED = {
    "class_names": "class names",
    "resize": "resizing",
    "first_class_id": "class ids",
}  # a hint → what it settles


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
    columns: tuple[str, ...] | None = None  # of a table
    anchors: Path | None = None

    def applied_to(self, spec: DetectorSpec) -> DetectorSpec:
        """The spec with what the user says in it, and that it was the user who said so."""
        told = {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if each.name not in ("head", "anchors", "columns") and getattr(self, each.name) is not None
        }
        reasons = tuple(f"{name} {value}: as told" for name, value in told.items() if name != "class_names")
        settled = tuple(f"{what} assumed" for name, what in _ASSUMED.items() if name in told)
        kept = tuple(reason for reason in spec.provenance if not settled or not reason.startswith(settled))
        return dataclasses.replace(spec, **told, provenance=kept + reasons)


class Certainty(IntEnum):
    """How sure graph, names and metadata are of a reading before a picture says anything."""

    UNLIKELY = 0  # nobody known writes so: only a proof makes it win
    OPEN = 1  # as usual as others: it takes a proof, or a user's word
    SETTLED = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """A reading of a file that fits its graph; runs on pictures have still to bear it out."""

    spec: DetectorSpec  # provenance: one reason an entry
    objection: Callable[[Outputs, DetectorSpec], str | None] = field(default=lambda outputs, spec: None)
    """What in the network's outputs speaks against this reading, with the user's hints in its spec; or None."""
    certainty: Certainty = Certainty.SETTLED
    certainty_of_recipe: Certainty = Certainty.SETTLED  # which counts where readings are as certain as each other
    other_recipes: tuple[tuple[Mapping[str, Any], Certainty], ...] = ()
    """Other ways to prepare a picture for the same outputs: fields of the spec, with `recipe`, the way in words."""

    def with_other_recipes(self) -> Iterable[Claim]:
        """This claim, and one for each other way to prepare a picture."""
        yield dataclasses.replace(self, other_recipes=())
        for values, certainty in () if self.spec.dtype == "uint8" else self.other_recipes:
            *reasons, _ = self.spec.provenance  # the last one is of the preprocessing
            recipe = f"preprocessing: {values['recipe']}"
            fields = {name: value for name, value in values.items() if name != "recipe"}
            spec = dataclasses.replace(self.spec, **fields, provenance=(*reasons, recipe))
            yield Claim(spec, self.objection, self.certainty, certainty)


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
    facts: ModelFacts,
    hints: Hints,
    *,
    head: str,
    num_classes: int | None,
    reason: str,
    recipe: str,
    resize_is_assumed: bool = False,
    **values: Any,
) -> DetectorSpec:
    """A spec with what the graph says of the input, size and class names, and what the convention adds.

    num_classes: without background; None: the graph does not say. recipe: the preprocessing in words.
    resize_is_assumed: whether nothing tells who wrote the file, and so how its pictures are resized. Raises
    ModelError for a file without an image input.
    """
    doubts = ("resizing assumed: no picture tells it; see --resize",) if resize_is_assumed else ()
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
            "provenance": (reason, size_reason, names_reason, *doubts, f"preprocessing: {recipe}"),
            **values,
        }
    )


def classes_then_boxes(facts: ModelFacts) -> list[tuple[TensorFacts, TensorFacts]]:
    """The pairs of outputs [B, N, C] and [B, N, 4] of a file, whatever else it returns.

    Names count only where shapes leave a choice: of four classes and boxes, of features and class values.
    """
    threes = [each for each in facts.outputs if len(each.shape) == 3 and each.element_type in _FLOATS]
    pairs = [
        (classes, boxes)
        for boxes in threes
        if boxes.shape[-1] == 4
        for classes in threes
        if classes is not boxes and _may_be_equal(classes.shape[1], boxes.shape[1])
    ]
    for place, words in ((1, ("box", "det")), (0, ("logit", "score", "class", "cls", "label", "conf", "prob"))):
        named = [pair for pair in pairs if any(word in pair[place].name.lower() for word in words)]
        if place == 0 and len({boxes.name for _, boxes in pairs}) > 1:
            continue
        pairs = named or pairs
    return pairs


def _may_be_equal(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other


def resize_inputs(facts: ModelFacts, hints: Hints, family: str) -> tuple[ExtraInput, ...]:
    """What PaddleDetection wants to be told beside the image: its height and width, and that it was not scaled.

    Raises NotThisError for any other input.
    """
    width, height = network_wh(facts, hints)
    known = {"im_shape": (float(height), float(width)), "scale_factor": (1.0, 1.0)}
    others = [each for each in facts.inputs if each.name != image_input(facts).name]
    for each in others:
        if each.name not in known or each.element_type != "float" or each.shape[-1:] != (2,):
            raise NotThisError(f"{family}: nothing is known to feed {each} with", is_near=True)
    return tuple(ExtraInput(each.name, "float32", known[each.name]) for each in others)


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


def named_by(spec: DetectorSpec, found: Collection[int], *, are_cocos: bool) -> DetectorSpec:
    """A spec that was left with `EITHER_COCO`, with the names that the classes which are found leave possible.

    are_cocos: False where drawn things are found and not under their names by COCO.
    """
    if spec.class_names != EITHER_COCO:
        return spec
    unused, beyond = UNUSED_CLASSES.intersection(found), [each for each in found if each >= len(COCO_80)]
    if not are_cocos or (unused and beyond):
        names, why = tuple(f"class {index}" for index in range(len(EITHER_COCO))), "they are not COCO's"
    elif unused:
        class_id = min(unused) + spec.first_class_id
        names, why = COCO_80, f"since it finds a class {class_id}, which COCO's category ids leave out"
    elif beyond:
        names, why = COCO_91, f"since it finds a class {max(beyond) + spec.first_class_id}"
    else:
        names, why = EITHER_COCO, "in which its 80 and its category ids agree, nothing tells the others"
    reasons = tuple(
        f"{_assumed(names)}, {why}; see --class-names" if each.startswith(_assumed(EITHER_COCO)) else each
        for each in spec.provenance
    )
    return dataclasses.replace(spec, class_names=names, provenance=reasons)


def _assumed(names: tuple[str, ...]) -> str:
    known = {COCO_80: "COCO's 80", COCO_91: "COCO's category ids", EITHER_COCO: f"{_NUM_ALIKE} of COCO's"}
    return f"class names assumed: {known.get(names, 'unknown')}"


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
    if num_classes is None:
        return known or COCO_80, f"{_assumed(known or COCO_80)}, the graph does not say; see --class-names"
    if known is not None and num_classes == len(known):
        return known, f"{len(known)} class names: this convention's{doubt}"
    if num_classes == len(COCO_80):
        return COCO_80, f"80 class names: COCO's{doubt}"
    if num_classes in (90, 91):
        names = COCO_91 if num_classes == 90 else ("N/A", *COCO_91)
        return names, f"{num_classes} class names: COCO's category ids{doubt}"
    if num_classes == len(VOC_20):
        return VOC_20, f"20 class names: Pascal VOC's{doubt}"
    return tuple(f"class {index}" for index in range(num_classes)), f"{num_classes} classes, names unknown{doubt}"
