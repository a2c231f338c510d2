"""Pictures of ideas: what they draw is what other code counts, also where there is nothing, or one box, to draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.accuracy.truth import Truth
from pipeline.accuracy.voc import voc_precisions
from pipeline.errors import ConfigError
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections
from pipeline.picture.suppression import SuppressionOptions
from tests.support.command_line import Streamdet, refused

pytest.importorskip("matplotlib", reason="the extra measure is not installed")

from export.lineage.pictures.iou import LEVELS, spread_pairs
from export.lineage.pictures.nms import nms_steps
from export.lineage.pictures.precision_recall import mean_ap_by_iou, staircase


def random_detections(seed: int, num: int, *, num_classes: int = 3) -> Detections:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (num, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (num, 2))], axis=1).astype(np.float32)
    return Detections(boxes, random.random(num).astype(np.float32), random.integers(0, num_classes, num))


@pytest.mark.parametrize("mode", ["class-aware", "class-agnostic"])
@pytest.mark.parametrize("seed", range(6))
def test_the_steps_of_nms_are_those_of_torchvision(seed: int, mode: str) -> None:
    ops = pytest.importorskip("torchvision.ops", reason="the reference")
    torch = pytest.importorskip("torch")
    candidates = random_detections(seed, 80)
    steps = nms_steps(candidates, SuppressionOptions(mode, iou_threshold=0.4))  # type: ignore[arg-type]
    groups = candidates.class_ids if mode == "class-aware" else np.zeros(80, np.int64)
    boxes, scores = torch.from_numpy(candidates.boxes_xyxy), torch.from_numpy(candidates.scores)
    kept = ops.batched_nms(boxes, scores, torch.from_numpy(groups), 0.4).numpy()
    np.testing.assert_array_equal(steps.kept.boxes_xyxy, candidates.boxes_xyxy[kept])
    np.testing.assert_array_equal(steps.best.boxes_xyxy, candidates.boxes_xyxy[kept[:1]])
    rivals = np.flatnonzero(groups == groups[kept[0]])
    over = rivals[ops.box_iou(boxes[kept[:1]], boxes[rivals]).numpy()[0] > 0.4]
    assert {tuple(box) for box in steps.removed.boxes_xyxy.tolist()} == {
        tuple(box) for box in candidates.boxes_xyxy[np.setdiff1d(over, kept[:1])].tolist()
    }


def test_one_candidate_stays_and_none_is_refused() -> None:
    steps = nms_steps(random_detections(0, 1), SuppressionOptions())
    assert (len(steps.candidates), len(steps.best), len(steps.removed), len(steps.kept)) == (1, 1, 0, 1)
    for nothing in (Detections.empty(), random_detections(0, 5)):
        with pytest.raises(ConfigError, match="the frame must show an object that the model sees, got none"):
            nms_steps(nothing, SuppressionOptions(score_threshold=1.0))


def test_the_candidates_against_a_box_have_the_ious_of_the_levels() -> None:
    box = np.array([[0, 0, 100, 10]], np.float32)
    widths = np.array([95, 90, 70, 50, 30, 10], np.float32)
    rivals = np.stack([np.array([0, 0, width, 10], np.float32) for width in widths])
    kept = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64))
    candidates = Detections(rivals, np.full(6, 0.5, np.float32), np.zeros(6, np.int64))
    chosen, pairs = spread_pairs(kept, candidates)
    np.testing.assert_allclose(intersection_over_union(chosen[None], pairs)[0], LEVELS, atol=1e-6)
    others = Detections(rivals, candidates.scores, np.ones(6, np.int64))
    with pytest.raises(ConfigError, match="got none"):
        spread_pairs(kept, others)
    with pytest.raises(ConfigError, match="got none"):
        spread_pairs(Detections.empty(), candidates)


def test_the_area_below_the_best_precision_is_the_ap() -> None:
    truths = [Truth.of(random_detections(seed, 12)) for seed in range(5)]
    random = np.random.default_rng(1)
    detections = []
    for truth in truths:
        objects = truth.objects
        shifted = (objects.boxes_xyxy + random.normal(0, 4, (12, 4))).astype(np.float32)
        detections.append(Detections(shifted, random.random(12).astype(np.float32), objects.class_ids))
    recall, precision = staircase(detections, truths, 1, iou_threshold=0.5)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    area = float((np.diff(recall, prepend=0.0) * envelope).sum())
    assert 0.1 < area < 0.9
    assert area == pytest.approx(voc_precisions(detections, truths, num_classes=3)[1])
    means = mean_ap_by_iou(detections, truths, num_classes=3)
    assert (np.diff(means) <= 1e-9).all()  # a stricter threshold accepts no more
    assert len(staircase([Detections.empty()] * 5, truths, 1, iou_threshold=0.5)[0]) == 0


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


EMPTY = ("--on", "sim:traffic?density=0&size=320x180")
STREET = ("--on", "sim:traffic?seed=3&size=320x180", "--frame", 30)


@pytest.mark.parametrize("idea", ["iou", "nms", "anchors", "fpn", "pr"])
def test_each_idea_is_drawn_from_a_frame(streamdet: Streamdet, desk: Path, idea: str) -> None:
    cv2 = pytest.importorskip("cv2")
    for module in {"anchors": ("torch",), "fpn": ("onnx",)}.get(idea, ()):
        pytest.importorskip(module, reason="draws this picture")
    done = streamdet("lineage", "show", idea, *STREET, "--frames", 2)
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(desk / f"{idea}.png"))
    assert min(picture.shape[:2]) > 400
    assert picture.std() > 10


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("nms", "-o", "nms.gif"), "--output must end in .png or .jpg, got nms.gif"),
        (("pr", "--on", "street.mp4"), "--on must be sim:traffic?… for pr"),
        (("anchors", "-m", "demo"), "--model has no effect on anchors"),
        (
            ("nms", "--on", "sim:traffic?density=0&size=320x180", "--score-threshold", 1),
            "the frame must show an object that the model sees",
        ),
        (("pr", "--on", "sim:traffic?density=0&size=320x180", "--frames", 1), "the frames must have objects"),
        (("iou", "--minutes", 1), "--minutes has no effect on lineage show"),
        (("dpm",), "lineage show must name an idea: iou, nms, pr, anchors, fpn; got dpm"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    streamdet: Streamdet, desk: Path, words: tuple[object, ...], line: str
) -> None:
    assert refused(streamdet("lineage", "show", *words), line)
    assert not list(desk.iterdir())


def test_a_network_without_a_pyramid_is_refused(streamdet: Streamdet, small_detector: Path) -> None:
    done = streamdet("lineage", "show", "fpn", "-m", small_detector, *STREET)
    assert done.returncode == 1
    assert "has no feature pyramid that shows" in done.stderr.splitlines()[-1]
