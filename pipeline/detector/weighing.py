"""Weighing: claims and the evidence of changed pictures → the claims that none of it contradicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pipeline.detector.heads.claims import Certainty, Claim
from pipeline.detector.heads.class_names import named_by
from pipeline.detector.proof import MOVES_ALONG, Evidence, input_key, weigh
from pipeline.detector.recognition import Refusal
from pipeline.detector.runtime_types import Session
from pipeline.picture.detector_spec import DetectorSpec

_CLEARLY = 2.0  # how much more of what is found must move along under one reading than under another
_MORE = 1.15  # how much more must be found in pictures that are prepared in another way
_MUCH_MORE = 1.4  # the same where this way is the usual one
_KNOWS_THE_STREET = 2.0  # the sum of scores on drawn objects from which a network is one for streets
_STANDS_STILL = 0.1
_LEAST_NAMED = 0.5  # the sum of scores of drawn objects under their own names that says something


def certainty_of(claim: Claim) -> tuple[Certainty, Certainty]:
    """How certain a claim is, of the outputs and of the preprocessing, for ordering."""
    return claim.certainty, claim.certainty_of_recipe


def proved(
    path: Path, session: Session, claims: Sequence[Claim], refused: list[Refusal], *, is_only_one: bool
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
        factor = _MORE if certainty_of(other) >= certainty_of(claim) else _MUCH_MORE
        if _read_alike(claim.spec, other.spec) and _is_prepared_better(seen, evidence, factor):
            return "in pictures that are prepared in another way it finds more, and no less steadily"
    return None


def _is_prepared_better(one: Evidence, other: Evidence, factor: float) -> bool:
    """Whether much more is found on the drawn objects; where these are strange to the network, more and steadier."""
    if one.on_objects >= _KNOWS_THE_STREET:
        return one.on_objects > factor * other.on_objects and one.steadiness > 0.9 * other.steadiness
    return one.merit > factor * other.merit and one.steadiness > factor * other.steadiness


def _differ_in_background_alone(one: DetectorSpec, other: DetectorSpec) -> bool:
    return one.head.startswith("ssd") and are_same(
        one, dataclasses.replace(other, first_class_id=one.first_class_id, class_names=one.class_names)
    )


def _read_alike(one: DetectorSpec, other: DetectorSpec) -> bool:
    """Whether readings differ at most in how pictures are prepared."""
    fields = {name: getattr(one, name) for name in ("colour", "mean", "std", "resize", "pad_value")}
    return are_same(one, dataclasses.replace(other, **fields))


def are_same(one: DetectorSpec, other: DetectorSpec) -> bool:
    """Whether two readings differ in nothing but their reasons."""
    return dataclasses.replace(one, provenance=()) == dataclasses.replace(other, provenance=())
