"""Recognition: an ONNX file → the spec of the detector in it, with the reasons.

Our own metadata says it. A foreign file is claimed by conventions that fit its graph and metadata, each as sure as
these make it; a claim is then tried on a picture, and where several hold, proved on pictures that are changed, see
`pipeline.detector.proof`. Every conclusion stands in `DetectorSpec.provenance`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.detector.facts import ModelFacts, facts_of, image_input, open_plainly
from pipeline.detector.heads import FAMILIES, HEADS, Outputs, head_of
from pipeline.detector.heads.claims import Certainty, Claim, NotThisError
from pipeline.detector.heads.class_names import named_by
from pipeline.detector.heads.hints import FLAGS, Hints
from pipeline.detector.heads.specs import network_wh
from pipeline.detector.other_kinds import has_upright_boxes, kind_by_shape, kind_in_metadata
from pipeline.detector.probe import street
from pipeline.detector.proof import MOVES_ALONG, Evidence, input_key, show, weigh
from pipeline.errors import ModelError, first_line
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.nv12 import NV12_INPUTS

Refusal = tuple[DetectorSpec, str]
"""A reading, and what speaks against it."""
_OUR_OWN = f"the {METADATA_KEY} metadata"
_MOST_LOOKED_AT = 100  # boxes of a claim, the surest
_LONGEST_REASONS = 170  # characters in one error; `inspect --why` shows the others
_CLEARLY = 2.0  # how much more of what is found must move along under one reading than under another
_MORE = 1.15  # how much more must be found in pictures that are prepared in another way
_MUCH_MORE = 1.4  # the same where this way is the usual one
_KNOWS_THE_STREET = 2.0  # the sum of scores on drawn objects from which a network is one for streets
_STANDS_STILL = 0.1
_LEAST_NAMED = 0.5  # the sum of scores of drawn objects under their own names that says something


@dataclass(frozen=True, slots=True)
class Recognition:
    """The readings of a file, and why others were refused."""

    facts: ModelFacts
    accepted: tuple[DetectorSpec, ...]  # exactly one where the file can be run
    refused: tuple[str, ...]  # claims that the pictures did not bear out: what, and why not
    near: tuple[str, ...]  # conventions that fit in part
    far: tuple[str, ...]  # conventions that do not fit
    kind: str | None = None  # what it seems to be instead of a detector
    objections: tuple[str, ...] = ()  # `refused` in short

    def spec(self) -> DetectorSpec:
        """The one reading. Raises ModelError, with what was seen and the flags that settle it."""
        if len(self.accepted) == 1:
            return self.accepted[0]
        if self.accepted:
            readings = "; or ".join(_few(_differences(self.accepted), at_least=2))
            settled_by = _flags(self.accepted) or "outputs whose names say which are boxes, class ids and scores"
            raise ModelError(
                f"{self.facts.path}: can be read in {len(self.accepted)} ways: {readings}. Settle it with "
                f"{settled_by}, and `streamdet adopt` writes the choice into a copy"
            )
        with_a_way_out = sorted((*self.objections, *self.near), key=lambda reason: "--" not in reason)
        reasons = "; ".join(
            _few([*filter(None, (self.kind,)), *with_a_way_out]) or ("no convention of streamdet has such outputs",)
        )
        raise ModelError(
            f"{self.facts.path}: not recognised: {reasons}. Name it with --head and other hints "
            f"(--columns, --box-format, --normalised-boxes, --first-class-id, --scores) ({self.facts.outputs_in_words})"
        )


def _few(reasons: Sequence[str], at_least: int = 1) -> list[str]:
    """The first reasons, as many as fit into a line."""
    every = list(dict.fromkeys(reasons))
    fitting = sum(length <= _LONGEST_REASONS for length in accumulate(map(len, every)))
    shown = every[: max(at_least, fitting)]
    more = len(every) - len(shown)
    return [*shown, *([f"{more} more, see `inspect --why`"] if more > 0 else [])]


def _differences(specs: Sequence[DetectorSpec]) -> list[str]:
    """The readings in words, one of each head first; how all of them begin is said once, what all have alike not."""
    are_prepared_alike = len({_prepared(spec) for spec in specs}) == 1
    firsts = {spec.head: spec for spec in reversed(specs)}
    ordered = sorted(specs, key=lambda spec: spec is not firsts[spec.head])
    words = [spec.provenance[0] if are_prepared_alike else _in_words(spec) for spec in ordered]
    num_alike = sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*words, strict=False)))
    alike = words[0][:num_alike]
    start = max((alike.rfind(mark) + len(mark) for mark in (", ", ": ") if mark in alike), default=0)
    return [words[0], *(reading[start:] for reading in words[1:])]


def recognise(path: str | Path, hints: Hints | None = None) -> DetectorSpec:
    """The spec of the detector in an ONNX file.

    Raises ModelError, with the reason and the outputs, for a file that is not an ONNX model or has no head in `HEADS`.
    """
    return examine(path, hints).spec()


def assumptions_of(spec: DetectorSpec) -> tuple[str, ...]:
    """The assumptions about a foreign file, in words; none about a file with our own metadata."""
    if any(reason.startswith(_OUR_OWN) for reason in spec.provenance):
        return ()
    return tuple(reason for reason in spec.provenance if " assumed: " in reason)


def examine(path: str | Path, hints: Hints | None = None) -> Recognition:
    """The readings of a file, with everything that speaks for and against them.

    Raises ModelError for a file that is not an ONNX model, or whose own metadata does not fit it.
    """
    hints = hints or Hints()
    session = open_plainly(path)
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
        possible = _proved(Path(path), session, possible, refused, is_only_one=is_only_one)
    surest = max(map(_certainty, possible), default=None)
    accepted = [claim.spec for claim in possible if _certainty(claim) == surest]
    unlikely = [claim.spec for claim in possible if _certainty(claim) != surest]
    accepted = [_with_doubt_about_class_ids(spec, unlikely) for spec in accepted]
    refused += [(spec, "another is likelier") for spec in unlikely]
    kind = None if accepted else kind_by_shape(facts)
    return Recognition(
        facts,
        tuple(accepted),
        _grouped(refused, _in_words),
        tuple(near_misses),
        tuple(far_misses),
        kind,
        objections=_grouped(refused, lambda spec: spec.provenance[0]),
    )


def _with_doubt_about_class_ids(spec: DetectorSpec, unlikely: Sequence[DetectorSpec]) -> DetectorSpec:
    """The spec, which says so where its class ids start where such files' do and not where a picture has shown it."""
    alike: dict[str, Any] = {"first_class_id": spec.first_class_id, "class_names": spec.class_names}
    is_open = any(
        other.first_class_id != spec.first_class_id and _same(spec, dataclasses.replace(other, **alike))
        for other in unlikely
    )
    if not is_open or not any(reason.startswith("class names assumed") for reason in spec.provenance):
        return spec
    *reasons, proof = spec.provenance
    doubt = f"class ids assumed: from {spec.first_class_id}, as is usual, no picture tells it; see --first-class-id"
    return dataclasses.replace(spec, provenance=(*reasons, doubt, proof))


def _borne_out_at_once(claims: Sequence[Claim], hints: Hints, session: Any, refused: list[Refusal]) -> list[Claim]:
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
            index = next((index for index, other in enumerate(possible) if _same(hinted.spec, other.spec)), None)
            if index is None:
                possible.append(hinted)
            elif _certainty(hinted) > _certainty(possible[index]):  # hints may have made two readings one
                possible[index] = hinted
    return possible


def _certainty(claim: Claim) -> tuple[Certainty, Certainty]:
    return claim.certainty, claim.certainty_of_recipe


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


def _proved(
    path: Path, session: Any, claims: Sequence[Claim], refused: list[Refusal], *, is_only_one: bool
) -> list[Claim]:
    """The claims that changed pictures do not contradict; adds to `refused` what they say against the others.

    is_only_one: whether the user's hints leave one reading, which then stands, proved or not.
    """
    weighed = list(zip(claims, weigh(path, session, claims), strict=True))
    left = []
    for claim, evidence in weighed:
        if evidence.objection is not None:
            refused.append((claim.spec, evidence.objection))
        else:
            left.append((claim, evidence))
    kept = []
    for claim, evidence in left:
        objection = None if is_only_one else _objection_of_proof(claim, evidence, left)
        if objection is None:
            kept.append((claim, evidence))
        else:
            refused.append((claim.spec, objection))
    return [dataclasses.replace(claim, spec=_with_evidence(claim.spec, evidence)) for claim, evidence in kept]


def _with_evidence(spec: DetectorSpec, evidence: Evidence) -> DetectorSpec:
    contradicts = evidence.is_worth_something and evidence.on_objects >= max(
        _LEAST_NAMED, (evidence.named or 0.0) * _CLEARLY
    )
    named = named_by(spec, evidence.class_ids, are_cocos=not contradicts)
    return dataclasses.replace(named, provenance=(*named.provenance, str(evidence)))


def _objection_of_proof(claim: Claim, evidence: Evidence, weighed: Sequence[tuple[Claim, Evidence]]) -> str | None:
    """What mirrored, shifted and scaled pictures say against a claim beside all those that values bear out."""
    worth = [pair for pair in weighed if pair[1].is_worth_something]
    alike = [pair for pair in worth if input_key(pair[0].spec) == input_key(claim.spec)]
    best = max((seen.steadiness for _, seen in worth), default=0.0)
    own = max((seen.steadiness for other, seen in worth if _read_alike(claim.spec, other.spec)), default=0.0)
    contradicted = any(
        evidence.steady * _CLEARLY < seen.steady
        or (evidence.steadiness * _CLEARLY < seen.steadiness and evidence.total < seen.total * _CLEARLY)
        for _, seen in alike
    )
    if best >= MOVES_ALONG and (own * _CLEARLY < best or contradicted):
        return f"{evidence.share_in_words}, against {best:.0%} under another reading"
    if worth and best < _STANDS_STILL and claim.certainty < Certainty.SETTLED:
        return f"only {evidence.share_in_words}"
    if worth and claim.certainty == Certainty.UNLIKELY and evidence.steadiness < MOVES_ALONG:
        return f"only {evidence.share_in_words}, and it is unusual"
    named = max((pair[1].named or 0.0 for pair in worth), default=0.0)
    if named >= _LEAST_NAMED and (evidence.named or 0.0) * _CLEARLY < named:
        return "what it finds on the drawn cars and people it calls by other names"
    if claim.spec.first_class_id and any(
        _differ_in_background_alone(claim.spec, other.spec) and evidence.steady * _MORE < seen.steady
        for other, seen in alike
    ):
        return "what its first column finds moves along as well, so that it is a class"
    for other, seen in worth:
        factor = _MORE if _certainty(other) >= _certainty(claim) else _MUCH_MORE
        if _read_alike(claim.spec, other.spec) and _is_prepared_better(seen, evidence, factor):
            return "in pictures that are prepared in another way it finds more, and no less steadily"
    return None


def _is_prepared_better(one: Evidence, other: Evidence, factor: float) -> bool:
    """Whether much more is found on the drawn objects; where these are strange to the network, more and steadier."""
    if one.on_objects >= _KNOWS_THE_STREET:
        return one.on_objects > factor * other.on_objects and one.steadiness > 0.9 * other.steadiness
    return one.merit > factor * other.merit and one.steadiness > factor * other.steadiness


def _differ_in_background_alone(one: DetectorSpec, other: DetectorSpec) -> bool:
    return one.head.startswith("ssd") and _same(
        one, dataclasses.replace(other, first_class_id=one.first_class_id, class_names=one.class_names)
    )


def _read_alike(one: DetectorSpec, other: DetectorSpec) -> bool:
    """Whether readings differ at most in how pictures are prepared."""
    fields = {name: getattr(one, name) for name in ("colour", "mean", "std", "resize", "pad_value")}
    return _same(one, dataclasses.replace(other, **fields))


def claims_of(facts: ModelFacts, hints: Hints) -> tuple[Sequence[Claim], Sequence[str], Sequence[str]]:
    """The readings that fit what a file says of itself, the likeliest first; then near and far misses, in words.

    Raises ModelError for a file without an image among its inputs, and for a head or a hint that cannot be.
    """
    if hints.head not in (None, *HEADS):
        raise ModelError(f"--head must be one of {', '.join(sorted(HEADS))}, got {hints.head}")
    try:
        image_input(facts)
    except ModelError as error:
        raise ModelError(f"{facts.path}: not recognised: {error} ({facts})") from None
    kind = kind_in_metadata(facts)
    if kind is not None and not (hints.head and has_upright_boxes(facts)):
        return [], [kind], []
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
    inputs = {extra.name for extra in facts.inputs} - {image.name}
    if (spec.input_name, spec.layout, spec.dtype) != (image.name, image.layout, image.dtype) or inputs != {
        extra.name for extra in spec.extra_inputs
    }:
        raise ModelError(
            f"its metadata describes an input {spec.input_name} {spec.dtype} {spec.layout} that the graph has not; "
            "export it again"
        )
    network_wh(facts, hints)  # refuses a size that the graph cannot take
    if hints.class_names is not None and len(hints.class_names) != len(spec.class_names):
        raise ModelError(f"--class-names must name {len(spec.class_names)} classes, got {len(hints.class_names)}")
    return _as_written(spec, facts)


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


def _answer(session: Any, spec: DetectorSpec, answers: dict[str, Outputs | str]) -> Outputs | str:
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


def _grouped(refused: Sequence[Refusal], in_words: Callable[[DetectorSpec], str]) -> tuple[str, ...]:
    """Each objection once for a head, with the first of the readings that it is raised against."""
    groups: dict[tuple[str, tuple[str, ...], str], list[DetectorSpec]] = {}
    for spec, objection in refused:
        groups.setdefault((spec.head, spec.outputs, objection), []).append(spec)
    return tuple(
        f"{in_words(specs[0])}{_and_more(len(specs) - 1)}, but {objection}"
        for (_, _, objection), specs in groups.items()
    )


def _and_more(num: int) -> str:
    return f" and {num} more reading{'s' if num > 1 else ''}" if num else ""


def _in_words(spec: DetectorSpec) -> str:
    return f"{spec.provenance[0]} ({_prepared(spec)})"


def _prepared(spec: DetectorSpec) -> str:
    pixels = "as they are" if spec.dtype == "uint8" else f"({_as_typed(spec.mean)}; {_as_typed(spec.std)})"
    return f"{spec.colour.upper()} {pixels}, {spec.resize}"


def _same(one: DetectorSpec, other: DetectorSpec) -> bool:
    """Whether two readings differ in nothing but their reasons."""
    return dataclasses.replace(one, provenance=()) == dataclasses.replace(other, provenance=())


def _flags(specs: Sequence[DetectorSpec]) -> str:
    """The flags in which readings differ; where their heads do, the others are those within a head."""
    heads = tuple(dict.fromkeys(spec.head for spec in specs))
    if len(heads) > 1:
        within = [_flags([spec for spec in specs if spec.head == head]) for head in heads]
        return ", ".join(dict.fromkeys((f"--head {'|'.join(heads)}", *filter(None, within))))
    names = ("colour", "resize", "mean", "std", "score_activation", "box_format", "columns", "first_class_id")
    differing = [
        f"{FLAGS[name]} {'|'.join(dict.fromkeys(_as_typed(getattr(spec, name)) for spec in specs))}"
        for name in names
        if len({getattr(spec, name) for spec in specs}) > 1
    ]
    if len({spec.boxes_are_normalised for spec in specs}) > 1:
        differing.append(FLAGS["boxes_are_normalised"])
    return ", ".join(differing)


def _as_typed(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(item if isinstance(item, str) else f"{item:g}" for item in value)
    return str(value)
