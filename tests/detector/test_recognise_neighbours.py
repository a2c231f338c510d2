"""Are the neighbours of each convention read as their authors say, and other kinds of models named as what they are?

The files answer every picture alike, so that graph, metadata and values must do, or the user's word.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.recipes import IMAGENET_MEAN
from pipeline.detector.recognise import assumptions_of, examine, recognise
from pipeline.errors import ModelError
from pipeline.picture.coco import COCO_80, COCO_91, EITHER_COCO
from tests.support import realistic_outputs as real
from tests.support.foreign_detector import any_number, check_finds_the_object, write

CORNERS = ("x1", "y1", "x2", "y2")
UNKNOWN = tuple(f"class {index}" for index in range(90))
CAR_AMONG_THREE = ("person", "bicycle", "car")
ULTRALYTICS = {"task": "detect", "stride": "32", "names": repr(dict(enumerate(COCO_80)))}


def rf_detr(columns: int, names: tuple[str, str] = ("dets", "labels")) -> real.Outputs:
    """Boxes, and logits of which the first ones are the classes; at 91 columns COCO's category ids."""
    outputs = real.detr("sigmoid")
    logits = np.full((len(outputs["logits"]), columns), -7, np.float32)
    first = 1 if columns == 91 else 0
    num = min(columns - first, real.NUM_CLASSES)
    logits[:, first : first + num] = outputs["logits"][:, :num]
    return dict(zip(names, (outputs["pred_boxes"], logits), strict=True))


@pytest.mark.parametrize("names", [("dets", "labels"), ("a", "b")])
@pytest.mark.parametrize(
    ("columns", "hints"),
    [(91, Hints()), (4, Hints(class_names=CAR_AMONG_THREE)), (91, Hints(class_names=COCO_91))],
)
def test_rf_detr_is_read_under_any_names(columns: int, hints: Hints, names: tuple[str, str], tmp_path: Path) -> None:
    path = write(tmp_path / "rfdetr.onnx", rf_detr(columns, names))
    spec = recognise(path, hints)
    assert (spec.head, spec.score_activation, spec.resize, spec.mean) == ("detr", "sigmoid", "stretch", IMAGENET_MEAN)
    check_finds_the_object(path, spec)


def test_rf_detr_has_a_column_more_than_classes_and_perhaps_masks(tmp_path: Path) -> None:
    outputs = {**rf_detr(4), "masks": np.zeros((100, 8, 12), np.float32)}
    spec = recognise(write(tmp_path / "rfdetr.onnx", outputs))
    assert (spec.outputs, len(spec.class_names), spec.mean) == (("labels", "dets"), 3, IMAGENET_MEAN)


@pytest.mark.parametrize("columns", [80, 5])
def test_hidden_states_do_not_hide_a_detr(columns: int, tmp_path: Path) -> None:
    outputs = real.detr("sigmoid")
    outputs["logits"] = outputs["logits"][:, :columns]
    outputs["last_hidden_state"] = np.random.default_rng(0).normal(0, 1, (100, 256)).astype(np.float32)
    outputs["intermediate_logits"] = np.zeros((6, 100, columns), np.float32)
    path = write(tmp_path / "detr.onnx", outputs)
    spec = recognise(path, Hints(class_names=COCO_80[:columns]))
    assert (spec.outputs, spec.std) == (("logits", "pred_boxes"), (255.0,) * 3)
    check_finds_the_object(path, spec)


def test_a_detr_whose_scores_are_activated_in_the_graph_is_read(tmp_path: Path) -> None:
    outputs = real.detr("sigmoid")
    outputs["logits"] = 1 / (1 + np.exp(-outputs["logits"]))
    path = write(tmp_path / "detr.onnx", outputs)
    spec = recognise(path)
    assert (spec.head, spec.score_activation) == ("detr", "none")
    check_finds_the_object(path, spec)


@pytest.mark.parametrize("num_classes", [3, 4, 80])
def test_rt_detr_by_ultralytics_is_read(num_classes: int, tmp_path: Path) -> None:
    boxes = real.boxes_cxcywh(300, row=7) / real.SIDES
    scores = real.class_scores(300, row=7)[:, :num_classes]
    metadata = {**ULTRALYTICS, "names": repr(dict(enumerate(COCO_80[:num_classes])))}
    outputs = {"output0": np.concatenate([boxes, scores], axis=1)}
    path = write(tmp_path / "rtdetr.onnx", outputs, metadata=metadata)
    spec = recognise(path)
    assert (spec.head, spec.boxes_are_normalised, spec.needs_nms, spec.resize) == ("yolov8", True, False, "stretch")
    check_finds_the_object(path, spec)


def scores_and_corners() -> real.Outputs:
    return {"s": real.class_scores(400), "b": real.corners(real.boxes_cxcywh(400))}


@pytest.mark.parametrize("turned", [(), ("s",), ("s", "b")])
@pytest.mark.parametrize("extra", [{}, {"scale_factor": ("float32", (1, 2))}])
def test_scores_and_corners_without_background_are_read(
    turned: tuple[str, ...], extra: dict[str, Any], tmp_path: Path
) -> None:
    outputs = {
        name: np.ascontiguousarray(values.T) if name in turned else values
        for name, values in scores_and_corners().items()
    }
    outputs["selected"] = np.zeros((5, 3), np.int64)  # as ONNX's NonMaxSuppression gives
    path = write(tmp_path / "pair.onnx", outputs, extra_inputs=extra)
    spec = recognise(path)
    assert (spec.head, spec.first_class_id, spec.class_names) == ("ssd_decoded", 0, COCO_80)
    assert {extra.name for extra in spec.extra_inputs} == set(extra)
    check_finds_the_object(path, spec)


def test_background_may_be_the_last_column(tmp_path: Path) -> None:
    outputs = real.ssd_decoded("softmax")
    outputs["scores"] = np.roll(outputs["scores"], -1, axis=1)
    path = write(tmp_path / "ssd.onnx", outputs)
    spec = recognise(path)
    assert (spec.head, spec.score_activation, spec.first_class_id, len(spec.class_names)) == (
        "ssd_decoded",
        "softmax",
        0,
        80,
    )
    check_finds_the_object(path, spec)


def finished_lists(boxes: str, class_ids: str, scores: str, **more: Any) -> real.Outputs:
    """Of somebody whose class ids start at 0, as a row of class 0 shows."""
    all_boxes, ids, all_scores = real.finished()
    ids[1] = 0
    return {boxes: all_boxes, class_ids: ids, scores: all_scores, **more}


@pytest.mark.parametrize(
    "outputs",
    [
        finished_lists("pred_boxes", "pred_classes", "pred_scores", num_predictions=np.array([20], np.int64)),
        finished_lists("detected_boxes", "detected_classes", "detected_scores"),
        finished_lists("bboxes", "labels", "scores", num_dets=np.array([20], np.int32)),
        finished_lists("boxes", "labels", "scores", masks=np.zeros((20, 28, 28), np.float32)),
        finished_lists("x", "y", "z"),
    ],
    ids=["super-gradients", "azure", "num_dets", "with masks", "no names"],
)
def test_lists_are_read_under_any_names(outputs: real.Outputs, tmp_path: Path) -> None:
    path = write(tmp_path / "lists.onnx", outputs)
    spec = recognise(path)
    assert (spec.head, spec.first_class_id, spec.class_names) == ("lists", 0, COCO_80)
    check_finds_the_object(path, spec)


def test_lists_may_have_a_side_of_1_and_float_class_ids(tmp_path: Path) -> None:
    outputs = finished_lists("x", "y", "z")
    outputs = {"x": outputs["x"], "y": outputs["y"].astype(np.float32)[:, None], "z": outputs["z"][:, None]}
    path = write(tmp_path / "lists.onnx", outputs)
    check_finds_the_object(path, recognise(path))


def test_dets_of_five_columns_are_read_under_any_names(tmp_path: Path) -> None:
    dets, labels = real.mmdeploy().values()
    path = write(tmp_path / "dets.onnx", {"x": dets, "y": labels})
    spec = recognise(path, Hints(first_class_id=0))
    assert spec.head == "lists"
    check_finds_the_object(path, spec)


def turned(outputs: real.Outputs) -> real.Outputs:
    return {name: np.ascontiguousarray(values.T) for name, values in outputs.items()}


def in_three(outputs: real.Outputs) -> real.Outputs:
    (rows,) = outputs.values()
    return {"b": rows[:, :4], "o": rows[:, 4:5], "c": rows[:, 5:]}


@pytest.mark.parametrize("arranged", [turned, in_three])
@pytest.mark.parametrize("outputs", [real.yolov5(), real.yolox(), real.yolox_decoded()], ids=["v5", "X", "X decoded"])
@pytest.mark.parametrize("is_named", [True, False])
def test_a_yolo_with_objectness_may_lie_turned_or_in_three_outputs(
    outputs: real.Outputs, arranged: Callable[[real.Outputs], real.Outputs], is_named: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / "yolo.onnx", arranged(outputs), metadata=ULTRALYTICS if is_named else None)
    spec = recognise(path)
    assert spec.head == ("yolox" if np.array_equal(outputs["output"], real.yolox()["output"]) else "yolov5")
    check_finds_the_object(path, spec)


@pytest.mark.parametrize("arranged", [turned, in_three])
def test_a_raw_yolox_of_two_classes_that_lies_turned_needs_its_head(
    arranged: Callable[[real.Outputs], real.Outputs], tmp_path: Path
) -> None:
    rows = real.yolox()["output"][:, [0, 1, 2, 3, 4, 6, 7]]
    path = write(tmp_path / "yolo.onnx", arranged({"output": rows}))
    spec = recognise(path, Hints(head="yolox", class_names=("bus", "car")))
    check_finds_the_object(path, spec)


def test_corners_beside_an_objectness_are_not_read_without_it(tmp_path: Path) -> None:
    parts = in_three(real.yolox_decoded())
    parts["b"] = real.corners(parts["b"])
    path = write(tmp_path / "yolo.onnx", parts)
    with pytest.raises(ModelError, match="but its boxes are corners; see --box-format"):
        recognise(path)
    check_finds_the_object(path, recognise(path, Hints(box_format="xyxy")))


def lists_of(class_ids: real.Array) -> real.Outputs:
    boxes, _, scores = real.finished(len(class_ids))
    return {"x": boxes, "y": class_ids, "z": scores}


COCOS_IDS = np.array([2, 0, 4, 84, 89])  # of a car, a person, an airplane, a vase and a toothbrush, less 1
AMONG_80 = np.array([2, 0, 4, 11, 79])  # a stop sign in 11th place, where the category ids have none


@pytest.mark.parametrize("first_class_id", [0, 1])
@pytest.mark.parametrize(
    ("class_ids", "names", "reason"),
    [
        (COCOS_IDS, COCO_91, "COCO's category ids, since it finds a class {}; see --class-names"),
        (AMONG_80, COCO_80, "COCO's 80, since it finds a class {}, which COCO's category ids leave out; see --class-"),
        (np.array([2, 0, 4, 11, 84]), UNKNOWN, "unknown, they are not COCO's; see --class-names"),
        (
            np.array([2, 0, 4, 1, 1]),
            EITHER_COCO,
            "11 of COCO's, in which its 80 and its category ids agree, nothing tells",
        ),
    ],
    ids=["category ids", "80", "neither", "either"],
)
def test_the_names_of_classes_are_those_that_the_ids_which_are_found_leave_possible(
    class_ids: real.Array, names: tuple[str, ...], reason: str, first_class_id: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "lists.onnx", lists_of(class_ids + first_class_id))
    spec = recognise(path, Hints(first_class_id=first_class_id))
    assert (spec.first_class_id, spec.class_names) == (first_class_id, names)
    seen = (11 if names == COCO_80 else 89) + first_class_id
    (assumed, _) = assumptions_of(spec)
    assert assumed.startswith(f"class names assumed: {reason.format(seen)}")


def test_what_a_user_says_is_not_assumed_any_more(tmp_path: Path) -> None:
    path = write(tmp_path / "lists.onnx", lists_of(AMONG_80))
    assert [assumption.split(":")[0] for assumption in assumptions_of(recognise(path))] == [
        "class names assumed",
        "resizing assumed",
    ]
    assert assumptions_of(recognise(path, Hints(class_names=COCO_80, resize="stretch"))) == ()


def test_lists_that_are_written_as_tensorflow_writes_them_are_stretched(tmp_path: Path) -> None:
    outputs = lists_of(COCOS_IDS + 1)
    outputs["x"] = (outputs["x"] / real.SIDES)[:, [1, 0, 3, 2]]
    path = write(tmp_path / "lists.onnx", outputs, input_shape=(1, 64, 96, 3), input_type="uint8")
    spec = recognise(path, Hints(box_format="yxyx", first_class_id=1))
    assert (spec.resize, spec.class_names) == ("stretch", COCO_91)


@pytest.mark.parametrize("first_class_id", [0, 1])
def test_the_first_class_of_lists_with_a_side_for_the_batch_is_asked_for(first_class_id: int, tmp_path: Path) -> None:
    outputs = real.torchvision()
    outputs["labels"] = outputs["labels"] - 1 + first_class_id
    outputs["labels"][outputs["labels"] == 0] = 1
    path = write(tmp_path / "lists.onnx", outputs)
    with pytest.raises(ModelError, match=r"can be read in 2 ways: .* Settle it with --first-class-id 0\|1, and"):
        recognise(path)
    check_finds_the_object(path, recognise(path, Hints(first_class_id=first_class_id)))


def test_yolo_nas_is_told_from_automl_by_a_class_0_or_by_the_exporters_name(tmp_path: Path) -> None:
    columns = ("image", *CORNERS, "score", "class")
    with_person, without = (real.table(*columns)["output0"] for _ in range(2))
    with_person[3, 6], without[:, 6] = 0, np.maximum(without[:, 6], 1)
    for outputs in ({"out": with_person}, {"graph2_flat_predictions": without}):
        path = write(tmp_path / "nas.onnx", outputs, **any_number(outputs))
        assert recognise(path).columns == columns
        check_finds_the_object(path, recognise(path))
    path = write(tmp_path / "nas.onnx", {"out": without}, **any_number({"out": without}))
    with pytest.raises(ModelError, match=r"can be read in 2 ways: .*--columns image,x1,y1,.*\|image,y1,x1,"):
        recognise(path)
    for hints in (Hints(columns=columns), Hints(box_format="xyxy")):
        check_finds_the_object(path, recognise(path, hints))


@pytest.mark.parametrize(
    "columns", [("x1", "y1"), (*CORNERS, "score", "score"), (*CORNERS, "score", "id"), (*CORNERS, "image", "class")]
)
def test_columns_that_cannot_be_are_refused(columns: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "table.onnx", real.table(*CORNERS, "score", "class"))
    with pytest.raises(ModelError, match="--columns must name each of x1, y1, x2, y2, score, class"):
        recognise(path, Hints(columns=columns))


def with_columns(*columns: real.Array) -> real.Outputs:
    return {"output0": np.concatenate([real.yolov8()["output0"][:19], *columns]).astype(np.float32)}


@pytest.mark.parametrize(("least", "most"), [(-0.78, 2.35), (0, 1), (0, 1.57)])
@pytest.mark.parametrize("head", [None, "yolov8"])
def test_angles_are_told_from_a_class_without_metadata(
    least: float, most: float, head: str | None, tmp_path: Path
) -> None:
    angles = np.random.default_rng(0).uniform(least, most, (1, real.num_cells()))
    path = write(tmp_path / "obb.onnx", with_columns(angles))
    spec = recognise(path, Hints(head=head))
    assert (spec.has_angles, len(spec.class_names)) == (True, 15)


@pytest.mark.parametrize("head", [None, "yolov8"])
@pytest.mark.parametrize(("task", "kind"), [("semantic", "a segmentation model"), ("classify", "a classifier")])
def test_what_the_metadata_calls_it_is_said(task: str, kind: str, head: str | None, tmp_path: Path) -> None:
    path = write(tmp_path / "other.onnx", real.yolov8(), metadata={**ULTRALYTICS, "task": task})
    with pytest.raises(ModelError, match=f"not recognised: it is {kind}: its metadata says task {task}") as raised:
        recognise(path, Hints(head=head))
    assert "name a detector, such as -m yolox-nano" in str(raised.value)
    assert "--head" not in str(raised.value)


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        ({"logits": np.zeros(1000, np.float32)}, "a classifier: logits"),
        ({"logits": np.zeros(6, np.float32)}, "a classifier: logits"),
        ({"logits": np.zeros((10, 1, 1), np.float32)}, "a classifier: logits"),
        ({"map": np.zeros((21, 16, 24), np.float32)}, "a segmentation model: map"),
        ({"map": np.zeros((64, 96, 21), np.float32)}, "a segmentation model: map"),
        (
            {f"map{stride}": np.zeros((255, 64 // stride, 96 // stride), np.float32) for stride in (8, 16, 32)},
            "a detector that leaves its maps undecoded",
        ),
    ],
)
def test_what_the_outputs_look_like_is_said(outputs: dict[str, Any], kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "other.onnx", outputs)
    with pytest.raises(ModelError, match=f"not recognised: it looks like {kind}"):
        recognise(path)
    assert (examine(path).kind or "").startswith(f"it looks like {kind}")
