"""Specs: a graph, hints and a convention → the `DetectorSpec` of one reading, with its reasons."""

from __future__ import annotations

from typing import TypedDict, Unpack

from pipeline.detector.facts import ImageInput, ModelFacts, image_input, literal
from pipeline.detector.heads.claims import NotThisError
from pipeline.detector.heads.class_names import class_names_for
from pipeline.detector.heads.hints import Hints, size_in_words
from pipeline.detector.heads.recipes import Recipe
from pipeline.errors import ModelError
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.detector_spec import DetectorSpec, ExtraInput, ScoreActivation

DEFAULT_SIDE = 640


class OutputFields(TypedDict, total=False):
    """The fields of `DetectorSpec` that a convention sets: what outputs mean, and what it takes beside an image."""

    outputs: tuple[str, ...]
    columns: tuple[str, ...]
    box_format: BoxFormat
    has_angles: bool
    boxes_are_normalised: bool
    score_activation: ScoreActivation
    keypoint_names: tuple[str, ...]
    first_class_id: int
    anchors: str
    extra_inputs: tuple[ExtraInput, ...]
    needs_nms: bool
    score_threshold: float
    iou_threshold: float


def spec_for(
    facts: ModelFacts,
    hints: Hints,
    *,
    head: str,
    num_classes: int | None,
    reason: str,
    recipe: Recipe,
    usual_names: tuple[str, ...] | None = None,
    resize_is_assumed: bool = False,
    **fields: Unpack[OutputFields],
) -> DetectorSpec:
    """A spec with what the graph says of the input, size and class names, and what the convention adds.

    num_classes: without background; None: the graph does not say. usual_names: the class names of the convention.
    resize_is_assumed: whether nothing tells who wrote the file, and so how its pictures are resized.
    Raises ModelError for a file without an image input, and for a hint of a size or number of classes that it has not.
    """
    doubts = ("resizing assumed: no picture tells it; see --resize",) if resize_is_assumed else ()
    image = image_input(facts)
    network_wh, size_reason = _network_wh(facts, hints, image)
    class_names, names_reason = class_names_for(facts, hints, num_classes, usual_names)
    spec = DetectorSpec(
        input_name=image.name,
        network_wh=network_wh,
        head=head,
        class_names=class_names,
        layout=image.layout,
        dtype=image.dtype,
        batch=image.batch,
        model_name=facts.path.stem,
        provenance=(reason, size_reason, names_reason, *doubts),
        **fields,
    )
    return recipe.applied_to(spec)


def resize_inputs(facts: ModelFacts, hints: Hints, family: str) -> tuple[ExtraInput, ...]:
    """PaddleDetection's inputs beside the image: its height and width, and the scale 1.

    Raises NotThisError for any other input.
    """
    width, height = network_wh(facts, hints)
    values = {"im_shape": (float(height), float(width)), "scale_factor": (1.0, 1.0)}
    others = [tensor for tensor in facts.inputs if tensor.name != image_input(facts).name]
    for tensor in others:
        if tensor.name not in values or tensor.element_type != "float" or tensor.shape[-1:] != (2,):
            raise NotThisError(f"{family}: no value is known for input {tensor}", is_near=True)
    return tuple(ExtraInput(tensor.name, "float32", values[tensor.name]) for tensor in others)


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
        return hints.network_wh, f"{size_in_words(hints.network_wh)}: {hints.reason_for('network_wh')}"
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
