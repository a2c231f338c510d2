"""Which detector is in this ONNX file?

Our own metadata says it. A foreign file is claimed by conventions that fit its graph and metadata; each claim is then
tried on a picture, and the one that is borne out is believed. Every conclusion stands in `DetectorSpec.provenance`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.detector.facts import ModelFacts, facts_of, image_input, open_plainly
from pipeline.detector.heads import FAMILIES, HEADS, Outputs
from pipeline.detector.heads.claims import Claim, Hints, NotThisError, network_wh
from pipeline.detector.providers import first_line
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.frame import ArrayPicture, PixelArray
from pipeline.picture.nv12 import NV12_INPUTS

_MOST_LOOKED_AT = 100  # boxes of a claim, the surest


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a file was taken for, and why not for something else."""

    facts: ModelFacts
    accepted: tuple[DetectorSpec, ...]  # exactly one where the file can be run
    refused: tuple[str, ...]  # claims that the picture did not bear out: what, and why not
    near: tuple[str, ...]  # conventions that fit in part
    far: tuple[str, ...]  # conventions that do not fit

    def spec(self) -> DetectorSpec:
        """The one reading. Raises ModelError, with what was seen and the flags that settle it."""
        if len(self.accepted) == 1:
            return self.accepted[0]
        if self.accepted:
            readings = "; or ".join(_in_words(each) for each in self.accepted)
            raise ModelError(
                f"{self.facts.path}: can be read in {len(self.accepted)} ways: {readings}. Settle it with "
                f"{_flags(self.accepted)}, and `streamdet adopt` writes the choice into a copy ({self.facts})"
            )
        reasons = "; ".join((*self.refused, *self.near) or ("no convention known here has such outputs",))
        raise ModelError(
            f"{self.facts.path}: not recognised: {reasons}. Name it with --head ({', '.join(sorted(HEADS))}) and what "
            "else it needs (--size, --resize, --colour, --mean, --std, --scores, --box-format, --anchors) "
            f"({self.facts})"
        )


def recognise(path: str | Path, hints: Hints | None = None) -> DetectorSpec:
    """The spec of the detector in an ONNX file.

    Raises ModelError, with the reason and the outputs, for a file that is no ONNX model or no detector known here.
    """
    return examine(path, hints).spec()


def examine(path: str | Path, hints: Hints | None = None) -> Recognition:
    """All that speaks for and against the readings of a file.

    Raises ModelError for a file that is no ONNX model, or whose own metadata does not fit it.
    """
    hints = hints or Hints()
    session = open_plainly(path)
    facts = facts_of(session, Path(path))
    if METADATA_KEY in facts.metadata:
        try:
            return Recognition(facts, (hints.applied_to(_our_own(facts, hints)),), (), (), ())
        except ModelError as error:
            raise ModelError(f"{path}: {error} ({facts})") from None
    claims, near, far = claims_of(facts, hints)
    accepted: list[DetectorSpec] = []
    refused: list[str] = []
    for claim in claims:
        spec = hints.applied_to(claim.spec)
        objection = _objection_to(dataclasses.replace(claim, spec=spec), session)
        if objection is None:
            if not any(_same(spec, other) for other in accepted):  # hints may have made two readings one
                accepted.append(spec)
        else:
            refused.append(f"{spec.provenance[0]}, but {objection}")
    return Recognition(facts, tuple(accepted), tuple(refused), tuple(near), tuple(far))


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
    found: list[Claim] = []
    near: list[str] = []
    far: list[str] = []
    for family, heads in FAMILIES.items():
        if hints.head not in (None, *heads):
            continue
        try:
            for claim in family(facts, hints):  # one by one: a later reading may not fit where an earlier does
                found.append(claim)
        except NotThisError as reason:
            (near if reason.is_near or hints.head else far).append(str(reason))
        except ModelError as error:
            raise ModelError(f"{facts.path}: {error} ({facts})") from error
    if hints.head is not None and not found and not near:
        near.append(f"{hints.head}: the outputs are none that this head reads")
    return found, near, far


def _our_own(facts: ModelFacts, hints: Hints) -> DetectorSpec:
    spec = DetectorSpec.from_json(facts.metadata[METADATA_KEY])
    if spec.head not in HEADS:
        raise ModelError(f"head must be one of {', '.join(HEADS)}, its metadata says {spec.head}; update streamdet")
    if hints.head not in (None, spec.head):
        raise ModelError(f"--head {hints.head} contradicts its metadata, which says {spec.head}; leave it out")
    if spec.pixels == "nv12":
        return _our_own_of_planes(facts, spec)
    image = image_input(facts)
    inputs = {each.name for each in facts.inputs} - {image.name}
    if (spec.input_name, spec.layout, spec.dtype) != (image.name, image.layout, image.dtype) or inputs != {
        each.name for each in spec.extra_inputs
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
    names = tuple(each.name for each in facts.inputs)
    if names != NV12_INPUTS:
        raise ModelError(
            f"its metadata describes the inputs {', '.join(NV12_INPUTS)}, the graph has {', '.join(names)}; "
            "export it again"
        )
    return _as_written(spec, facts)


def _as_written(spec: DetectorSpec, facts: ModelFacts) -> DetectorSpec:
    reason = f"the {METADATA_KEY} metadata, written by {'export' if spec.form else 'adopt'}"
    return dataclasses.replace(
        spec, provenance=(*spec.provenance, reason), model_name=spec.model_name or facts.path.stem
    )


def _objection_to(claim: Claim, session: Any) -> str | None:
    """What a run on a picture says against a claim, or None where it bears it out."""
    spec = claim.spec
    _, tensor = TensorWriter(spec).tensor_of(ArrayPicture(_probe_pixels(*spec.network_wh)))
    try:
        outputs = run_once(session, spec, np.repeat(tensor, spec.batch or 1, axis=0))
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        return f"it does not run: {first_line(error)}"
    for name, values in outputs.items():
        if name in spec.outputs and values.dtype.kind == "f" and not np.isfinite(values).all():
            return f"{name} has values that are not finite"
    return claim.objection(outputs, spec) or _objection_to_boxes(outputs, spec)


def _objection_to_boxes(outputs: Outputs, spec: DetectorSpec) -> str | None:
    try:
        found = HEADS[spec.head](outputs, spec, score_threshold=0.0, batch_index=0)
    except ModelError as error:
        return str(error)
    if not len(found.scores):
        return None  # a graph with NMS inside that finds nothing in the picture: nothing speaks against it
    if found.scores.min() < 0 or found.scores.max() > 1 + 1e-3:
        return f"its scores reach from {found.scores.min():g} to {found.scores.max():g}, which is not within 0..1"
    if found.class_ids.max() >= len(spec.class_names):
        return f"it has a class {found.class_ids.max()} and only {len(spec.class_names)} are known; see --class-names"
    surest = np.argsort(-found.scores, kind="stable")[:_MOST_LOOKED_AT]
    boxes = found.boxes_xyxy[surest].astype(np.float64)  # [M, 4]
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


def run_once(session: Any, spec: DetectorSpec, tensor: Any) -> Outputs:
    """Run a bare session on a tensor as the spec wants it."""
    if spec.layout in ("chw", "hwc"):
        tensor = tensor[0]
    extra = {each.name: np.tile(np.array(each.values, each.dtype), (len(tensor), 1)) for each in spec.extra_inputs}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {spec.input_name: tensor, **extra}), strict=True))


def _probe_pixels(width: int, height: int) -> PixelArray:
    """A picture with large and small things in it, the same each time, uint8 [height, width, 3]."""
    chance = np.random.default_rng(0)
    pixels = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64):
        noise = chance.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        pixels += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    for _ in range(12):
        left, top = int(chance.integers(0, width)), int(chance.integers(0, height))
        w, h = (
            int(chance.integers(width // 16 + 1, width // 3 + 2)),
            int(chance.integers(height // 16 + 1, height // 3 + 2)),
        )
        pixels[top : top + h, left : left + w] = chance.uniform(0, 255, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _in_words(spec: DetectorSpec) -> str:
    return f"{spec.provenance[0]} ({spec.colour.upper()}, {spec.resize})"


def _same(one: DetectorSpec, other: DetectorSpec) -> bool:
    """Whether two readings differ in nothing but their reasons."""
    return dataclasses.replace(one, provenance=()) == dataclasses.replace(other, provenance=())


def _flags(specs: Sequence[DetectorSpec]) -> str:
    """The flags in which readings differ."""
    flags = {"--head": "head", "--colour": "colour", "--resize": "resize", "--mean": "mean", "--std": "std"}
    flags |= {"--scores": "score_activation", "--box-format": "box_format"}
    flags |= {"--normalised-boxes": "boxes_are_normalised"}
    differing = [
        f"{flag} {'|'.join(dict.fromkeys(_as_typed(getattr(spec, name)) for spec in specs))}"
        for flag, name in flags.items()
        if len({getattr(spec, name) for spec in specs}) > 1
    ]
    return ", ".join(differing) or "--head"


def _as_typed(value: Any) -> str:
    return ",".join(f"{each:g}" for each in value) if isinstance(value, tuple) else str(value)
