"""Class names: the number of classes, metadata and hints → the names of a reading, and why they are believed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from pipeline.detector.facts import ModelFacts
from pipeline.detector.heads.hints import Hints
from pipeline.errors import ModelError
from pipeline.picture.coco import COCO_80, COCO_91, EITHER_COCO, UNUSED_CLASSES
from pipeline.picture.detector_spec import DetectorSpec

VOC_20 = tuple(
    """aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike, person,
    pottedplant, sheep, sofa, train, tvmonitor""".replace("\n    ", " ").split(", ")
)
_NUM_ALIKE = sum(one == other for one, other in zip(COCO_80, EITHER_COCO, strict=False))


def named_by(spec: DetectorSpec, class_ids: Collection[int], *, are_cocos: bool) -> DetectorSpec:
    """A spec that was left with `EITHER_COCO`, with the names that the detected class ids leave possible.

    are_cocos: False where drawn objects are detected, but not under COCO's names.
    """
    if spec.class_names != EITHER_COCO:
        return spec
    unused = UNUSED_CLASSES.intersection(class_ids)
    beyond = [class_id for class_id in class_ids if class_id >= len(COCO_80)]
    if not are_cocos or (unused and beyond):
        names, why = tuple(f"class {index}" for index in range(len(EITHER_COCO))), "they are not COCO's"
    elif unused:
        lowest = min(unused) + spec.first_class_id
        names, why = COCO_80, f"since it finds a class {lowest}, which COCO's category ids leave out"
    elif beyond:
        names, why = COCO_91, f"since it finds a class {max(beyond) + spec.first_class_id}"
    else:
        names, why = EITHER_COCO, "in which its 80 and its category ids agree, nothing tells the others"
    reasons = tuple(
        f"{_assumed(names)}, {why}; see --class-names" if reason.startswith(_assumed(EITHER_COCO)) else reason
        for reason in spec.provenance
    )
    return dataclasses.replace(spec, class_names=names, provenance=reasons)


def _assumed(names: tuple[str, ...]) -> str:
    words = {COCO_80: "COCO's 80", COCO_91: "COCO's category ids", EITHER_COCO: f"{_NUM_ALIKE} of COCO's"}
    return f"class names assumed: {words.get(names, 'unknown')}"


def class_names_for(
    facts: ModelFacts, hints: Hints, num_classes: int | None, usual: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str]:
    """The names and the reason for them. num_classes: None if the graph does not say; usual: the convention's.

    Raises ModelError for a hint of another number of names.
    """
    if hints.class_names is not None:
        if num_classes is not None and len(hints.class_names) != num_classes:
            raise ModelError(f"--class-names must name {num_classes} classes, got {len(hints.class_names)}")
        return hints.class_names, f"{len(hints.class_names)} class names: {hints.reason_for('class_names')}"
    named = facts.names_of_exporter()
    if named and num_classes in (None, len(named)):
        return named, f"{len(named)} class names: its metadata"
    doubt = f", not the {len(named)} of its metadata" if named else ""
    if num_classes is None:
        return usual or COCO_80, f"{_assumed(usual or COCO_80)}, the graph does not say; see --class-names"
    if usual is not None and num_classes == len(usual):
        return usual, f"{len(usual)} class names: this convention's{doubt}"
    if num_classes == len(COCO_80):
        return COCO_80, f"80 class names: COCO's{doubt}"
    if num_classes in (90, 91):
        names = COCO_91 if num_classes == 90 else ("N/A", *COCO_91)
        return names, f"{num_classes} class names: COCO's category ids{doubt}"
    if num_classes == len(VOC_20):
        return VOC_20, f"20 class names: Pascal VOC's{doubt}"
    return tuple(f"class {index}" for index in range(num_classes)), f"{num_classes} classes, names unknown{doubt}"
