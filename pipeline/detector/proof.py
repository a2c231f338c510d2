"""Proof of a reading: readings of a foreign network → their evidence in pictures that are mirrored, shifted and scaled.

Under the right reading detections move along with the picture, and lie on the objects that were drawn; under a wrong
one they do not. No labels are needed. The measurements are kept in the cache folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.cache_folder import cache_folder
from pipeline.detector.heads import Outputs, head_of
from pipeline.detector.heads.claims import Claim
from pipeline.detector.installation import load_runtime
from pipeline.detector.onnx_file import graph_hash
from pipeline.detector.probe import PICTURE, VIEWS, street, street_objects, textures
from pipeline.detector.runtime_types import Array, Session
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError, first_line
from pipeline.picture.boxes import areas, intersection_over_union
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture, PixelArray
from pipeline.picture.suppression import SuppressionOptions, suppress
from pipeline.remembered import from_finding
from pipeline.version import __version__
from pipeline.whole_file import write_whole

_LEAST_SCORE = 0.02  # low, because what is found faintly moves along as well
MOVES_ALONG = 0.25  # a share of what is found that means something
_SURE = 0.05  # a score that a class which was never taught does not get
_MOST_CANDIDATES = 400
_MOST_FOUND = 20
_SEEN_WHOLE = 0.7  # the share of a moved box that must still be in the picture
_ON_OBJECT = 0.5  # IoU with a drawn object
_IN_THE_STREET = frozenset(("person", "bicycle", "car", "bus", "truck"))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of pictures for one reading. Numbers are sums of scores."""

    objection: str | None = None  # that a value cannot be
    answers_alike: bool = False  # whether every picture gets the same answer, which proves nothing
    total: float = 0.0  # of the best in the pictures as they are
    steady: float = 0.0  # of these × the IoU with what is found where each should have moved to
    on_objects: float = 0.0  # of the best that lie on the drawn objects, whatever their class
    class_ids: tuple[int, ...] = ()  # of what is found beyond doubt, in whatever place
    named: float | None = None  # of those under the object's own name; None: the class names have none of the street

    @property
    def steadiness(self) -> float:
        """The share of what is found that moves along with the picture."""
        return self.steady / self.total if self.total else 0.0

    @property
    def merit(self) -> float:
        """How much is found steadily, and on objects: to compare ways to prepare a picture."""
        return self.steady + self.on_objects

    @property
    def is_worth_something(self) -> bool:
        """Whether so much is found that its moving along, or not, means something."""
        return self.objection is None and not self.answers_alike and self.total >= 0.3

    @property
    def share_in_words(self) -> str:
        """How much of what it finds moves along."""
        return f"{self.steadiness:.0%} of what it finds moves along when pictures are mirrored, shifted and scaled"

    def __str__(self) -> str:
        if self.answers_alike:
            return "not proved: it answers every picture alike"
        if not self.is_worth_something:
            return "not proved: it finds next to nothing in the drawn pictures"
        return f"{'proved: ' if self.steadiness >= MOVES_ALONG else 'not proved: only '}{self.share_in_words}"


def weigh(path: Path, session: Session, claims: Sequence[Claim]) -> list[Evidence]:
    """The evidence of each claim on a file that `session` has open; measured once, then kept in the cache."""
    cache_path = cache_folder() / "recognised" / f"{_key(path, claims)}.json"
    remembered = _remembered(cache_path, len(claims))
    if remembered is not None:
        return remembered
    runs: dict[str, list[tuple[PixelArray, Outputs]] | str] = {}
    evidence = []
    for claim in claims:
        key = input_key(claim.spec)
        if key not in runs:
            runs[key] = _run_all(session, claim.spec)
        evidence.append(_evidence(claim, runs[key]))
    _remember(cache_path, evidence)
    return evidence


def run_once(session: Session, spec: DetectorSpec, tensor: Array) -> Outputs:
    """Run a bare session on a tensor of the spec's layout and dtype, batch first."""
    feed = {spec.input_name: tensor if spec.takes_batch else tensor[0], **spec.extra_feed(len(tensor))}
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def show(session: Session, spec: DetectorSpec, pixels: PixelArray) -> Outputs:
    """The outputs of a bare session for a picture of the network's size, in every image of the batch."""
    _, tensor = TensorWriter(spec).tensor_of(ArrayPicture(pixels))
    return run_once(session, spec, np.repeat(tensor, spec.batch or 1, axis=0))


def _run_all(session: Session, spec: DetectorSpec) -> list[tuple[PixelArray, Outputs]] | str:
    """The street and the textures, each as it is and in every view, with the answers; or why it does not run."""
    shown = []
    for pixels in (street(spec.network_wh), textures(spec.network_wh)):
        for picture in (pixels, *(view.show(pixels) for view in VIEWS)):
            try:
                shown.append((picture, show(session, spec, picture)))
            except Exception as error:  # ONNX Runtime's exceptions have no common base
                return f"it does not run: {first_line(error)}"
    return shown


def _evidence(claim: Claim, shown: list[tuple[PixelArray, Outputs]] | str) -> Evidence:
    if isinstance(shown, str):
        return Evidence(objection=shown)
    spec = claim.spec
    detections: list[Candidates] = []
    class_ids: set[int] = set()
    for _, outputs in shown:
        objection = claim.objection(outputs, spec)
        if objection is not None:
            return Evidence(objection=objection)
        try:
            candidates = head_of(spec)(outputs, spec, score_threshold=_LEAST_SCORE, batch_index=0)
        except (ModelError, ValueError) as error:
            return Evidence(objection=str(error))
        class_ids.update(candidates.class_ids[candidates.scores >= _SURE].tolist())
        detections.append(_best(candidates))
    names = [name for name in spec.outputs if name in shown[0][1]] or list(shown[0][1])
    alike = all(np.array_equal(outputs[name], shown[0][1][name]) for _, outputs in shown[1:] for name in names)
    as_they_are = detections[:: 1 + len(VIEWS)]
    sums = [_steady(as_is, detections[index * (1 + len(VIEWS)) + 1 :], spec) for index, as_is in enumerate(as_they_are)]
    on_objects, named = _on_objects(as_they_are[0], spec)
    return Evidence(
        answers_alike=alike,
        total=sum(total for total, _ in sums),
        steady=sum(steady for _, steady in sums),
        on_objects=on_objects,
        class_ids=tuple(sorted(class_ids)),
        named=named,
    )


def _best(candidates: Candidates) -> Candidates:
    surest = np.argsort(-candidates.scores, kind="stable")[:_MOST_CANDIDATES]
    candidates = candidates.select(surest)
    options = SuppressionOptions(iou_threshold=0.5, max_detections=_MOST_FOUND)
    kept, _ = suppress(candidates.boxes_xyxy, candidates.scores, candidates.class_ids, options)
    return candidates.select(kept)


def _steady(as_is: Candidates, in_views: Sequence[Candidates], spec: DetectorSpec) -> tuple[float, float]:
    """The scores of what is found in a picture, and these × IoU, both summed over the mean of its views."""
    total = steady = 0.0
    for view, candidates in zip(VIEWS, in_views, strict=False):
        moved = view.move(as_is.boxes_xyxy, spec.network_wh)  # [N, 4]
        clipped = moved.clip(0, np.array(spec.network_wh * 2, np.float32))
        is_whole = areas(clipped) >= _SEEN_WHOLE * areas(moved)  # [N]
        boxes = candidates.boxes_xyxy.clip(0, np.array(spec.network_wh * 2, np.float32))  # [M, 4]
        overlaps = np.nan_to_num(intersection_over_union(clipped, boxes))  # [N, M]
        overlaps = overlaps * (as_is.class_ids[:, None] == candidates.class_ids)
        best = overlaps.max(axis=1, initial=0)  # [N]
        total += float(as_is.scores[is_whole].sum())
        steady += float((as_is.scores * best)[is_whole].sum())
    return total / len(VIEWS), steady / len(VIEWS)


def _on_objects(candidates: Candidates, spec: DetectorSpec) -> tuple[float, float | None]:
    boxes, names = street_objects(spec.network_wh)
    overlaps = np.nan_to_num(intersection_over_union(boxes, candidates.boxes_xyxy))  # [T, N]
    scores = candidates.scores * (overlaps > _ON_OBJECT)  # [T, N]
    on_objects = float(scores.max(axis=1, initial=0).sum())
    if not _IN_THE_STREET.intersection(spec.class_names):
        return on_objects, None
    class_names = np.array([*spec.class_names, ""])[np.minimum(candidates.class_ids, len(spec.class_names))]  # [N]
    is_named = np.array(names)[:, None] == class_names  # [T, N]
    return on_objects, float((scores * is_named).max(axis=1, initial=0).sum())


def input_key(spec: DetectorSpec) -> str:
    """The part of a spec that decides about the network's input tensors, as a key."""
    return repr((spec.network_wh, spec.resize, spec.pad_value, spec.colour, spec.mean, spec.std, spec.extra_inputs))


def _key(path: Path, claims: Sequence[Claim]) -> str:
    readings = [dataclasses.replace(claim.spec, provenance=(), model_name="").to_json() for claim in claims]
    parts = [graph_hash(path), __version__, _method(), load_runtime().__version__, *readings]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@lru_cache(maxsize=1)
def _method() -> str:
    """A hash of what measures and reads: between two versions it changes with every edit."""
    digest = hashlib.sha256(PICTURE.read_bytes())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _remembered(path: Path, num_claims: int) -> list[Evidence] | None:
    try:
        evidence = [from_finding(Evidence, fields) for fields in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return evidence if len(evidence) == num_claims else None


def _remember(path: Path, evidence: Sequence[Evidence]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps([asdict(reading) for reading in evidence]).encode())
    except OSError:
        return  # a cache that cannot be written is measured again
