"""Recognising: an ONNX file → the spec of the detector in it; makes the claims, tries and proves them.

Our own metadata says it. A foreign file is claimed by conventions that fit its graph and metadata, each as sure as
these make it; a claim is then tried on a picture. A file is ambiguous where several claims hold: these are proved on
pictures that are changed, see `pipeline.detector.proof`. Every conclusion is kept in `DetectorSpec.provenance`, and
`pipeline.detector.recognition` is the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.detector.facts import ImageInput, ModelFacts, facts_of, image_input, open_plainly
from pipeline.detector.heads import FAMILIES, HEADS, Outputs, head_of
from pipeline.detector.heads.claims import Certainty, Claim, NotThisError
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.specs import network_wh
from pipeline.detector.other_kinds import kind_by_shape, kind_in_metadata
from pipeline.detector.probe import street
from pipeline.detector.proof import input_key, show
from pipeline.detector.published import hints_for
from pipeline.detector.recognition import Recognition, Refusal, grouped, reading_in_words
from pipeline.detector.runtime_types import Session
from pipeline.detector.weighing import are_same, certainty_of, proved
from pipeline.errors import ModelError, first_line
from pipeline.picture.detector_spec import METADATA_KEY, ROIS_INPUT, DetectorSpec
from pipeline.picture.nv12 import NV12_INPUTS

_OUR_OWN = f"the {METADATA_KEY} metadata"
_MOST_LOOKED_AT = 100  # boxes of a claim, the surest


def recognise(path: str | Path, hints: Hints | None = None) -> DetectorSpec:
    """The spec of the detector in an ONNX file.

    Raises ModelError, with the reason and the outputs, for a file that is not an ONNX model or has no head in `HEADS`,
    and for a hint that says nothing to its head.
    """
    hints = hints or Hints()
    spec = examine(path, hints).spec()
    try:
        hints.refuse_useless(spec.head)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return spec


def assumptions_of(spec: DetectorSpec) -> tuple[str, ...]:
    """The assumptions about a foreign file, in words; none about a file with our own metadata."""
    if any(reason.startswith(_OUR_OWN) for reason in spec.provenance):
        return ()
    return tuple(reason for reason in spec.provenance if " assumed: " in reason)


def examine(path: str | Path, hints: Hints | None = None) -> Recognition:
    """The readings of a file, with everything that speaks for and against them.

    Raises ModelError for a file that is not an ONNX model, or whose own metadata does not fit it.
    """
    session = open_plainly(path)
    hints = hints_for(Path(path), hints or Hints())
    facts = facts_of(session, Path(path))
    if METADATA_KEY in facts.metadata:
        try:
            return Recognition(facts, (hints.applied_to_own(_our_own(facts, hints)),), (), (), ())
        except ModelError as error:
            raise ModelError(f"{path}: {error} ({facts})") from None
    claims, near_misses, far_misses = claims_of(facts, hints)
    refused: list[Refusal] = []
    possible = _borne_out_at_once(claims, hints, session, refused)
    if len(possible) > 1 or any(claim.certainty < Certainty.SETTLED for claim in possible):
        is_only_one = (hints.head or hints.columns) is not None and len(possible) == 1
        possible = proved(Path(path), session, possible, refused, is_only_one=is_only_one)
    surest = max(map(certainty_of, possible), default=None)
    accepted = [claim.spec for claim in possible if certainty_of(claim) == surest]
    unlikely = [claim.spec for claim in possible if certainty_of(claim) != surest]
    accepted = [_with_doubt_about_class_ids(spec, unlikely) for spec in accepted]
    refused += [(spec, "another is likelier") for spec in unlikely]
    kind = None if accepted else kind_by_shape(facts)
    return Recognition(
        facts,
        tuple(accepted),
        grouped(refused, reading_in_words),
        tuple(near_misses),
        tuple(far_misses),
        kind,
        objections=grouped(refused, lambda spec: spec.provenance[0]),
    )


def _with_doubt_about_class_ids(spec: DetectorSpec, unlikely: Sequence[DetectorSpec]) -> DetectorSpec:
    """The spec, which says so where its class ids start where such files' do and not where a picture has shown it."""
    is_open = any(
        other.first_class_id != spec.first_class_id
        and are_same(spec, dataclasses.replace(other, first_class_id=spec.first_class_id, class_names=spec.class_names))
        for other in unlikely
    )
    if not is_open or not any(reason.startswith("class names assumed") for reason in spec.provenance):
        return spec
    *reasons, proof = spec.provenance
    doubt = f"class ids assumed: from {spec.first_class_id}, as is usual, no picture tells it; see --first-class-id"
    return dataclasses.replace(spec, provenance=(*reasons, doubt, proof))


def _borne_out_at_once(claims: Sequence[Claim], hints: Hints, session: Session, refused: list[Refusal]) -> list[Claim]:
    """The claims, as hints have them, that one picture bears out; adds to `refused` what it says against the others."""
    possible: list[Claim] = []
    answers: dict[str, Outputs | str] = {}
    for claim in _agreeing_with(claims, hints):
        tried = dataclasses.replace(claim, spec=hints.applied_to(claim.spec))
        objection = _objection_to(tried, _answer(session, tried.spec, answers))
        if objection is not None:
            refused.append((tried.spec, objection))
            continue
        for variant in _prepared_agreeing_with(claim, hints):
            hinted = dataclasses.replace(variant, spec=hints.applied_to(variant.spec))
            index = next((index for index, other in enumerate(possible) if are_same(hinted.spec, other.spec)), None)
            if index is None:
                possible.append(hinted)
            elif certainty_of(hinted) > certainty_of(possible[index]):  # hints may have made two readings one
                possible[index] = hinted
    return possible


def _agreeing_with(claims: Sequence[Claim], hints: Hints) -> list[Claim]:
    """The claims without those that contradict a hint with which other claims of their head agree."""
    kept = list(claims)
    for name in ("first_class_id", "box_format", "boxes_are_normalised", "score_activation"):
        value = getattr(hints, name)
        agreeing = {claim.spec.head for claim in kept if getattr(claim.spec, name) == value}
        if value is not None:
            kept = [claim for claim in kept if getattr(claim.spec, name) == value or claim.spec.head not in agreeing]
    return kept


def _prepared_agreeing_with(claim: Claim, hints: Hints) -> list[Claim]:
    """The claim in each way to prepare a picture that the user leaves open.

    Who names the head gets what is usual with it, unless the pictures contradict.
    """
    variants = list(claim.with_other_recipes())
    if hints.head is not None:
        usual, *others = variants
        variants = [
            usual,
            *(dataclasses.replace(variant, certainty_of_recipe=Certainty.UNLIKELY) for variant in others),
        ]
    for name in ("colour", "mean", "std"):
        value = getattr(hints, name)
        if value is not None:
            variants = [variant for variant in variants if getattr(variant.spec, name) == value] or variants[:1]
    return variants


def claims_of(facts: ModelFacts, hints: Hints) -> tuple[Sequence[Claim], Sequence[str], Sequence[str]]:
    """The readings that fit what a file says of itself, the likeliest first; then near and far misses, in words.

    Raises ModelError for a file without an image among its inputs, or whose metadata names another kind of model, and
    for a head or a hint that cannot be.
    """
    if hints.head not in (None, *HEADS):
        raise ModelError(f"--head must be one of {', '.join(sorted(HEADS))}, got {hints.head}")
    try:
        image_input(facts)
    except ModelError as error:
        raise ModelError(f"{facts.path}: not recognised: {error} ({facts})") from None
    kind = kind_in_metadata(facts)
    if kind is not None:
        raise ModelError(f"{facts.path}: not recognised: {kind} ({facts.outputs_in_words})")
    claims: list[Claim] = []
    near_misses: list[str] = []
    far_misses: list[str] = []
    for family, heads in FAMILIES.items():
        if hints.head not in (None, *heads):
            continue
        try:
            for claim in family(facts, hints):  # one by one: a later reading may not fit where an earlier does
                claims.append(claim)
        except NotThisError as reason:
            (near_misses if reason.is_near or hints.head else far_misses).append(str(reason))
        except ModelError as error:
            raise ModelError(f"{facts.path}: {error} ({facts})") from error
    if hints.head is not None and not claims and not near_misses:
        near_misses.append(f"{hints.head}: this head reads no such outputs")
    return claims, near_misses, far_misses


def _our_own(facts: ModelFacts, hints: Hints) -> DetectorSpec:
    spec = DetectorSpec.from_json(facts.metadata[METADATA_KEY])
    head_of(spec)
    if hints.head not in (None, spec.head):
        raise ModelError(f"--head {hints.head} contradicts its metadata, which says {spec.head}; leave it out")
    if spec.pixels == "nv12":
        return _our_own_of_planes(facts, spec)
    image = image_input(facts)
    inputs = {extra.name: extra.shape for extra in facts.inputs if extra.name != image.name}
    rois = inputs.pop(ROIS_INPUT, None) if spec.num_rois else None
    if spec.num_rois and (rois is None or rois[1:] != (spec.num_rois, 4)):
        raise ModelError(f"its metadata describes {spec.num_rois} {ROIS_INPUT} that the graph has not; export it again")
    if (spec.input_name, spec.layout, spec.dtype) != (image.name, image.layout, image.dtype) or inputs.keys() != {
        extra.name for extra in spec.extra_inputs
    }:
        raise ModelError(
            f"its metadata describes an input {spec.input_name} {spec.dtype} {spec.layout} that the graph has not; "
            "export it again"
        )
    network_wh(facts, hints)  # refuses a size that the graph cannot take
    _refuse_other_sides(spec, image)
    if hints.class_names is not None and len(hints.class_names) != len(spec.class_names):
        raise ModelError(f"--class-names must name {len(spec.class_names)} classes, got {len(hints.class_names)}")
    return _as_written(spec, facts)


def _refuse_other_sides(spec: DetectorSpec, image: ImageInput) -> None:
    """Raise ModelError where the metadata says another size or batch than the graph fixes."""
    for what, described, fixed in (
        ("the width", spec.network_wh[0], image.size_wh[0]),
        ("the height", spec.network_wh[1], image.size_wh[1]),
        ("the batch", spec.batch, image.batch),
    ):
        if fixed is not None and described != fixed:
            raise ModelError(
                f"its metadata describes {what} {'any' if described is None else described}, the graph has {fixed}; "
                "export it again"
            )


def _our_own_of_planes(facts: ModelFacts, spec: DetectorSpec) -> DetectorSpec:
    names = tuple(tensor.name for tensor in facts.inputs)
    if names != NV12_INPUTS:
        raise ModelError(
            f"its metadata describes the inputs {', '.join(NV12_INPUTS)}, the graph has {', '.join(names)}; "
            "export it again"
        )
    return _as_written(spec, facts)


def _as_written(spec: DetectorSpec, facts: ModelFacts) -> DetectorSpec:
    reason = f"{_OUR_OWN}, written by {'export' if spec.form else 'adopt'}"
    return dataclasses.replace(
        spec, provenance=(*spec.provenance, reason), model_name=spec.model_name or facts.path.stem
    )


def _answer(session: Session, spec: DetectorSpec, answers: dict[str, Outputs | str]) -> Outputs | str:
    """What the network answers to the street as this spec prepares it, or why it does not; `answers` knows it then."""
    key = input_key(spec)
    if key not in answers:
        try:
            answers[key] = show(session, spec, street(spec.network_wh))
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            answers[key] = f"it does not run: {first_line(error)}"
    return answers[key]


def _objection_to(claim: Claim, outputs: Outputs | str) -> str | None:
    """What the answer to a picture says against a claim, or None where it bears it out."""
    spec = claim.spec
    if isinstance(outputs, str):
        return outputs
    for name, values in outputs.items():
        if name in spec.outputs and values.dtype.kind == "f" and not np.isfinite(values).all():
            return f"{name} has values that are not finite"
    return claim.objection(outputs, spec) or _objection_to_boxes(outputs, spec)


def _objection_to_boxes(outputs: Outputs, spec: DetectorSpec) -> str | None:
    try:
        candidates = head_of(spec)(outputs, spec, score_threshold=0.0, batch_index=0)
    except ModelError as error:
        return str(error)
    if not len(candidates.scores):
        return None  # a graph with NMS inside that finds nothing in the picture: nothing speaks against it
    if candidates.scores.min() < 0 or candidates.scores.max() > 1 + 1e-3:
        lowest, highest = candidates.scores.min(), candidates.scores.max()
        return f"its scores reach from {lowest:g} to {highest:g}, which is not within 0..1"
    if candidates.class_ids.max() >= len(spec.class_names):
        return (
            f"it has a class {candidates.class_ids.max()} and only {len(spec.class_names)} are known; see --class-names"
        )
    surest = np.argsort(-candidates.scores, kind="stable")[:_MOST_LOOKED_AT]
    boxes = candidates.boxes_xyxy[surest].astype(np.float64)  # [M, 4]
    if not np.isfinite(boxes).all():
        return "its boxes are not finite"
    network = np.array(spec.network_wh, np.float64)
    sizes, centres = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2  # [M, 2], [M, 2]
    if np.median(sizes.max(axis=1)) < 2 and np.abs(boxes).max() < 4:
        return f"its boxes are {np.median(sizes.max(axis=1)):.2g} pixels large"
    if np.mean((sizes >= 0).all(axis=1)) < 0.8:
        return "the corners of its boxes are not in order"
    inside = ((centres > -0.5 * network) & (centres < 1.5 * network) & (sizes < 3 * network)).all(axis=1)
    if np.mean(inside) < 0.8:
        return f"its boxes lie outside the picture, up to {np.abs(boxes).max():.3g} pixels off"
    return None
