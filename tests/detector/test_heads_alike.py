"""Does every head keep images apart, and survive an empty answer, half precision and broken numbers?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.detector.heads import HEADS
from pipeline.detector.heads.hints import Hints
from pipeline.detector.postprocess import Postprocess
from pipeline.errors import ModelError, OutputError
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_80
from pipeline.picture.detector_spec import DetectorSpec, pack_anchors
from pipeline.picture.keypoints import COCO_POINTS
from pipeline.picture.letterbox import Letterbox
from tests.support import realistic_outputs as real

CORNERS = ("x1", "y1", "x2", "y2")
NORMALISED: dict[str, Any] = {"box_format": "cxcywh", "boxes_are_normalised": True}


def our_own() -> real.Outputs:
    boxes, class_ids, scores = real.finished()
    return {"boxes": boxes, "scores": scores, "class_ids": class_ids}


def case(head: str, outputs: real.Outputs, *, label: str = "", **values: Any) -> Any:
    """A head, outputs with a batch of one, and the spec that it reads them by."""
    spec = DetectorSpec("images", real.NETWORK_WH, head, COCO_80, batch=None, outputs=tuple(outputs), **values)
    return pytest.param(spec, {name: array[None] for name, array in outputs.items()}, id=f"{head} {label}".strip())


CASES = [
    case("boxes", our_own()),
    case("yolov5", real.yolov5(), box_format="cxcywh"),
    case("yolov8", real.yolov8(), box_format="cxcywh"),
    case("yolov8", real.yolov8_turned(), label="turned", box_format="cxcywh"),
    case("yolox", real.yolox(), box_format="cxcywh"),
    case("detr", real.detr("sigmoid"), label="sigmoid", score_activation="sigmoid", **NORMALISED),
    case("detr", real.detr("softmax"), label="softmax", score_activation="softmax", **NORMALISED),
    case("fastestdet", real.fastestdet(), **NORMALISED),
    case("nanodet", real.nanodet()),
    case("nanodet_plus", real.nanodet_plus()),
    case("picodet", real.picodet()),
    case("ssd_decoded", real.ssd_decoded("none"), boxes_are_normalised=True, first_class_id=1),
    case(
        "ssd_decoded",
        real.ssd_decoded("softmax"),
        label="softmax",
        boxes_are_normalised=True,
        first_class_id=1,
        score_activation="softmax",
    ),
    case(
        "ssd_raw",
        real.ssd_raw(),
        box_format="cycxhw",
        first_class_id=1,
        score_activation="sigmoid",
        anchors=pack_anchors(real.anchors()[:, [1, 0, 3, 2]]),
    ),
    case("lists", real.torchvision(), first_class_id=1),
    case(
        "lists", {name: real.efficient_nms()[name] for name in ("det_boxes", "det_classes", "det_scores", "num_dets")}
    ),
    case("lists", real.mmdeploy(), label="scores beside the boxes"),
    case("lists", real.poses(), label="keypoints", keypoint_names=COCO_POINTS),
    case("yolov8", real.yolov8_oriented(), label="oriented", box_format="cxcywh", has_angles=True),
    case(
        "table",
        real.table_oriented(),
        label="oriented",
        columns=("cx", "cy", "w", "h", "score", "class"),
        box_format="cxcywh",
        has_angles=True,
    ),
    case("table", real.table(*CORNERS, "score", "class"), columns=(*CORNERS, "score", "class")),
]
every_head = pytest.mark.parametrize(("spec", "outputs"), CASES)


def read(
    outputs: real.Outputs, spec: DetectorSpec, *, score_threshold: float = 0.1, batch_index: int = 0
) -> Candidates:
    return HEADS[spec.head](outputs, spec, score_threshold=score_threshold, batch_index=batch_index)


def assert_same(candidates: Candidates, expected: Candidates, *, tolerance: float = 0) -> None:
    assert candidates.boxes_xyxy == pytest.approx(expected.boxes_xyxy, rel=tolerance, abs=tolerance)
    assert candidates.scores == pytest.approx(expected.scores, abs=tolerance)
    assert candidates.class_ids.tolist() == expected.class_ids.tolist()


def test_every_head_is_tried_here() -> None:
    assert {param.values[0].head for param in CASES} == set(HEADS)


@every_head
def test_one_detection_is_read_where_it_lies(spec: DetectorSpec, outputs: real.Outputs) -> None:
    candidates = read(outputs, spec, score_threshold=0.8)
    assert candidates.boxes_xyxy == pytest.approx(np.array([real.BOX_XYXY]), abs=0.05)
    assert candidates.scores == pytest.approx([real.SCORE], abs=0.01)
    assert candidates.class_ids.tolist() == [0 if "dets" in outputs and spec.keypoint_names else real.CLASS_ID]
    assert [array.dtype for array in (candidates.boxes_xyxy, candidates.scores, candidates.class_ids)] == [
        np.float32,
        np.float32,
        np.int64,
    ]


OTHER_VALUES: dict[str, tuple[Any, ...]] = {
    "box_format": ("xyxy", "cxcywh", "cycxhw"),
    "boxes_are_normalised": (True, False),
    "score_activation": ("none", "sigmoid", "softmax"),
    "first_class_id": (0, 1),
}


@pytest.mark.parametrize("hint", OTHER_VALUES)
@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_hint_is_refused_just_where_the_head_takes_no_notice_of_it(head: str, hint: str) -> None:
    changes = False
    for spec, outputs in (param.values for param in CASES if param.values[0].head == head):
        expected = read(outputs, spec)
        for value in OTHER_VALUES[hint]:
            candidates = read(outputs, replace(spec, **{hint: value}))
            changes |= any(
                not np.array_equal(getattr(candidates, name), getattr(expected, name))
                for name in ("boxes_xyxy", "scores", "class_ids")
            )
    is_refused = False
    try:
        Hints(**{hint: OTHER_VALUES[hint][-1]}).refuse_useless(head)
    except ModelError:
        is_refused = True
    # The boxes of our own export are xyxy in network pixels, whatever a spec that somebody changed says.
    assert is_refused != changes or (head == "boxes" and is_refused)


@every_head
def test_nothing_above_the_threshold_is_nothing(spec: DetectorSpec, outputs: real.Outputs) -> None:
    candidates = read(outputs, spec, score_threshold=0.95)
    assert (candidates.boxes_xyxy.shape, candidates.scores.shape, candidates.class_ids.shape) == ((0, 4), (0,), (0,))
    assert [array.dtype for array in (candidates.boxes_xyxy, candidates.scores, candidates.class_ids)] == [
        np.float32,
        np.float32,
        np.int64,
    ]


@every_head
def test_the_images_of_a_batch_are_kept_apart(spec: DetectorSpec, outputs: real.Outputs) -> None:
    other = {name: array * 0.97 if array.dtype.kind == "f" else array for name, array in outputs.items()}
    other = {name: array.astype(outputs[name].dtype) for name, array in other.items()}
    if "class" in spec.columns:
        other["output0"][..., spec.columns.index("class")] = outputs["output0"][..., spec.columns.index("class")]
    batch = {name: np.concatenate([array, other[name]]) for name, array in outputs.items()}
    assert_same(read(batch, spec, batch_index=0), read(outputs, spec))
    assert_same(read(batch, spec, batch_index=1), read(other, spec))
    assert not np.array_equal(read(outputs, spec).scores, read(other, spec).scores)


@every_head
def test_half_precision_is_computed_with_in_full(spec: DetectorSpec, outputs: real.Outputs) -> None:
    half = {name: array.astype(np.float16) if array.dtype.kind == "f" else array for name, array in outputs.items()}
    full = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in half.items()}
    assert_same(read(half, spec), read(full, spec), tolerance=2e-3)


@every_head
def test_numbers_in_the_outputs_are_left_alone(spec: DetectorSpec, outputs: real.Outputs) -> None:
    before = {name: array.copy() for name, array in outputs.items()}
    read(outputs, spec)
    assert all(np.array_equal(outputs[name], before[name]) for name in outputs)


@every_head
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_scores_and_boxes_without_a_value_are_an_error_not_an_empty_scene(
    spec: DetectorSpec, outputs: real.Outputs, broken: float
) -> None:
    wrong = {name: np.full_like(array, broken) if array.dtype.kind == "f" else array for name, array in outputs.items()}
    letterbox = Letterbox.fit(real.NETWORK_WH, real.NETWORK_WH, "stretch")
    with pytest.raises(OutputError, match="float16"):
        Postprocess(spec)(read(wrong, spec), letterbox)


@pytest.mark.parametrize("head", ["yolov5", "yolox"])
def test_class_scores_without_a_value_are_an_error_though_objectness_has_one(head: str) -> None:
    outputs = {name: array[None].copy() for name, array in getattr(real, head)().items()}
    spec = DetectorSpec("images", real.NETWORK_WH, head, COCO_80, outputs=tuple(outputs), box_format="cxcywh")
    for array in outputs.values():
        array[..., 5:] = np.nan
    with pytest.raises(OutputError, match="NaN for scores"):
        read(outputs, spec)


@every_head
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_broken_numbers_are_refused_or_found_nothing_of_and_nothing_crashes(
    spec: DetectorSpec, outputs: real.Outputs, broken: float
) -> None:
    postprocess = Postprocess(spec, replace(spec.suppression, score_threshold=0.1))
    letterbox = Letterbox.fit(real.NETWORK_WH, real.NETWORK_WH, "stretch")
    for name, values in outputs.items():
        if values.dtype.kind != "f":
            continue
        for half in (False, True):
            wrong = values.copy()
            wrong.reshape(-1)[:: 2 if half else 1] = broken
            try:
                candidates = postprocess(read({**outputs, name: wrong}, spec), letterbox)
            except ModelError:
                continue
            assert np.isfinite(candidates.boxes_xyxy).all()


@pytest.mark.parametrize("num_names", [1, 79, 81])
@pytest.mark.parametrize(
    ("head", "outputs"), [("yolox", real.yolox()), ("yolov8", real.yolov8()), ("nanodet_plus", real.nanodet_plus())]
)
def test_other_names_than_the_model_has_classes_are_refused(head: str, outputs: real.Outputs, num_names: int) -> None:
    names = tuple(map(str, range(num_names)))
    spec = DetectorSpec("images", real.NETWORK_WH, head, names, outputs=tuple(outputs), box_format="cxcywh")
    batch = {name: array[None] for name, array in outputs.items()}
    with pytest.raises(ModelError, match=rf"reads {num_names} classes, the model returns \d+; see --class-names"):
        HEADS[head](batch, spec, score_threshold=0.25, batch_index=0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"std": (1e23, 1.0, 1.0)}, "std must lie within 0.001..65535"),
        ({"std": (1.0, 1e-9, 1.0)}, "std must lie within 0.001..65535"),
        ({"mean": (0.0, -1e6, 0.0)}, "mean must lie within ±65535"),
        ({"batch": 10**9}, "batch must be at most 65536"),
        ({"first_class_id": 10**9}, "first_class_id must lie within 0..1000000"),
        ({"columns": ("x1", "y1")}, "columns must have x1, y1, x2, y2, score, class"),
    ],
)
def test_numbers_beyond_all_measure_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        DetectorSpec("images", (64, 64), "yolov8", ("cat",), **values)
