"""Adding a head: one file and its row in each table → its files are recognised, told from others, and run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from pipeline.detector import heads, recognise
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.facts import ModelFacts
from pipeline.detector.heads.claims import Claim, NotThisError
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output
from pipeline.detector.heads.recipes import Recipe
from pipeline.detector.heads.specs import spec_for
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture
from tests.support.tiny_detector import write_detector

ROW = np.array([[900, 8, 16, 40, 48], [100, 0, 0, 64, 64]], np.float32)  # per mille, then corners


def per_mille(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, N, 5]`: the score of the only class in per mille, and corners in pixels."""
    rows = output(outputs, spec)[batch_index]  # [N, 5]
    scores = rows[:, 0] / 1000  # [N]
    chosen = np.flatnonzero(scores >= score_threshold)  # [M]
    return Candidates(boxes_to_network(rows[chosen, 1:], spec), scores[chosen], np.zeros(len(chosen), np.int64))


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """An output [B, N, 5]."""
    tensor = facts.outputs[0]
    if len(tensor.shape) != 3 or tensor.shape[2] != 5:
        raise NotThisError("per_mille: one output [batch, n, 5]")
    reason = f"per_mille: {tensor} has a score in per mille"
    outputs = (tensor.name,)
    yield Claim(
        spec_for(facts, hints, head="per_mille", num_classes=1, reason=reason, recipe=Recipe("RGB"), outputs=outputs)
    )


@pytest.fixture
def with_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row in both tables."""
    rows = MappingProxyType({**heads.HEADS, "per_mille": per_mille})
    families = MappingProxyType({**heads.FAMILIES, claims: ("per_mille",)})
    for module in (heads, recognise):
        monkeypatch.setattr(module, "HEADS", rows)
    monkeypatch.setattr(recognise, "FAMILIES", families)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_detector(tmp_path / "toy.onnx", {"rows": ROW}, adds_mean=False)


@pytest.mark.usefixtures("with_the_head")
def test_a_head_is_recognised_and_run_with_nothing_but_its_rows(path: Path) -> None:
    spec = recognise.recognise(path)
    assert (spec.head, spec.outputs) == ("per_mille", ("rows",))
    detector = EngineDetector(OrtEngine(path, spec, intra_op_threads=1), score_threshold=0.5)
    (detections,) = detector([ArrayPicture(np.zeros((64, 64, 3), np.uint8))])
    np.testing.assert_allclose(detections.boxes_xyxy, [[8, 16, 40, 48]])
    np.testing.assert_allclose(detections.scores, [0.9])


@pytest.mark.usefixtures("with_the_head")
def test_a_head_can_be_named_in_hints(path: Path) -> None:
    assert recognise.recognise(path, Hints(head="per_mille")).head == "per_mille"
    with pytest.raises(ModelError, match=r"--head must be one of boxes, .*per_mille, .*, got per_cent"):
        recognise.recognise(path, Hints(head="per_cent"))


def test_a_head_that_is_in_no_table_is_refused_with_those_that_are(path: Path) -> None:
    spec = DetectorSpec("images", (64, 64), "per_mille", ("thing",))
    with pytest.raises(ModelError, match=r"head must be one of boxes, detr, .*, got per_mille; update streamdet"):
        EngineDetector(OrtEngine(path, spec, intra_op_threads=1))
