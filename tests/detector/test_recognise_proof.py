"""Do pictures that are mirrored, shifted and scaled prove the right reading, where values alone cannot?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from export.draw_probe import draw
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads.hints import Hints
from pipeline.detector.probe import PICTURE, VIEWS, street, street_objects, textures
from pipeline.detector.recognise import examine, recognise
from pipeline.errors import ModelError
from pipeline.picture.detections import Detections
from pipeline.picture.frame import ArrayPicture
from tests.support.blob_detector import HEIGHT, NAMES, WIDTH, Convention, Graph, write_blob_detector
from tests.support.foreign_detector import write

IMAGENET: dict[str, Any] = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
CHANNELS_LAST: dict[str, Any] = {"layout": "nhwc", "dtype": "uint8"}
NAMED = {"names": repr(dict(enumerate(NAMES)))}


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def lists(box_format: str, *, normalised: bool = False, first_class_id: int = 0) -> Convention:
    """Boxes, class ids and scores under names that tell nothing."""

    def convention(graph: Graph, boxes: str, scores: str) -> dict[str, str]:
        boxes, best, class_ids = graph.best(boxes, scores)
        return {
            "a": converted(graph, boxes, box_format, normalised=normalised),
            "b": graph.node("Add", class_ids, graph.constant(first_class_id, np.int64)),
            "c": best,
        }

    return convention


def pair(box_format: str, *, normalised: bool = False, logits: bool = False) -> Convention:
    """The scores of every class, and boxes."""

    def convention(graph: Graph, boxes: str, scores: str) -> dict[str, str]:
        values = graph.logits(scores) if logits else scores
        return {"a": values, "b": converted(graph, boxes, box_format, normalised=normalised)}

    return convention


def table(*columns: str, first_class_id: int = 0) -> Convention:
    """All in one output."""

    def convention(graph: Graph, boxes: str, scores: str) -> dict[str, str]:
        boxes, best, class_ids = graph.best(boxes, scores)
        class_ids = graph.node("Add", class_ids, graph.constant(first_class_id, np.int64))
        every = graph.side_by_side(graph.corners(boxes), graph.column(best), graph.column(class_ids))
        image = graph.node("Mul", graph.column(best), 0.0)
        order = ("x1", "y1", "x2", "y2", "score", "class", "image")
        return {"a": graph.columns(graph.side_by_side(every, image), [order.index(name) for name in columns])}

    return convention


def converted(graph: Graph, boxes_cxcywh: str, box_format: str, *, normalised: bool) -> str:
    boxes = boxes_cxcywh if box_format == "cxcywh" else graph.corners(boxes_cxcywh)
    boxes = graph.normalised(boxes) if normalised else boxes
    return graph.columns(boxes, (1, 0, 3, 2)) if box_format == "yxyx" else boxes


def found_in(path: Path, hints: Hints | None = None) -> Detections:
    """What a file finds in a grey picture with a red, a green and a blue area, whatever its network's size."""
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for (left, top), colour in zip(((16, 32), (64, 80), (112, 16)), np.eye(3)[:, ::-1], strict=True):
        pixels[top : top + 24, left : left + 24] = colour * 255  # BGR
    spec = dataclasses.replace(recognise(path, hints), score_threshold=0.3)
    (detections,) = EngineDetector(OrtEngine(path, spec, device="cpu", intra_op_threads=1))([ArrayPicture(pixels)])
    return detections


def check_finds_the_areas(path: Path, hints: Hints | None = None) -> None:
    detections = found_in(path, hints)
    centres = (detections.boxes_xyxy[:, :2] + detections.boxes_xyxy[:, 2:]) / 2
    at = {int(class_id): tuple(centre) for class_id, centre in zip(detections.class_ids, centres.tolist(), strict=True)}
    assert at == {0: (28, 44), 1: (76, 92), 2: (124, 28)}
    sizes = detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2]
    assert (sizes[:, 1] > sizes[:, 0]).all()  # the network's boxes are upright


ULTRALYTICS = ("x1", "y1", "x2", "y2", "score", "class")
YOLO_NAS = ("image", *ULTRALYTICS)
AUTOML = ("image", "y1", "x1", "y2", "x2", "score", "class")


@pytest.mark.parametrize(
    ("convention", "options", "expected"),
    [
        pytest.param(lists("xyxy"), {}, {"box_format": "xyxy"}, id="lists, x first"),
        pytest.param(lists("yxyx"), {}, {"box_format": "yxyx"}, id="lists, y first"),
        pytest.param(lists("xyxy", normalised=True), {}, {"box_format": "xyxy"}, id="lists, x first in 0..1"),
        pytest.param(lists("yxyx", normalised=True), {}, {"box_format": "yxyx"}, id="lists, y first in 0..1"),
        pytest.param(
            lists("xyxy", normalised=True), CHANNELS_LAST, {"box_format": "xyxy"}, id="lists, x first, channels last"
        ),
        pytest.param(lists("cxcywh"), {}, {"box_format": "cxcywh"}, id="lists, centres"),
        pytest.param(
            lists("yxyx", normalised=True, first_class_id=1),
            {"metadata": NAMED},
            {"box_format": "yxyx", "first_class_id": 1},
            id="lists, ids from 1 of three names",
        ),
        pytest.param(pair("xyxy"), {}, {"head": "ssd_decoded", "box_format": "xyxy"}, id="scores and corners"),
        pytest.param(pair("yxyx"), {}, {"head": "ssd_decoded", "box_format": "yxyx"}, id="scores and corners, y first"),
        pytest.param(
            pair("yxyx", normalised=True, logits=True),
            {},
            {"head": "ssd_decoded", "box_format": "yxyx", "score_activation": "sigmoid", "first_class_id": 0},
            id="logits and corners in 0..1, y first",
        ),
        pytest.param(
            pair("xyxy", normalised=True), CHANNELS_LAST, {"box_format": "xyxy"}, id="scores, x first, channels last"
        ),
        pytest.param(pair("cxcywh"), {}, {"head": "ssd_decoded", "box_format": "cxcywh"}, id="scores and centres"),
        pytest.param(table(*YOLO_NAS), {}, {"columns": YOLO_NAS, "first_class_id": 0}, id="YOLO-NAS's flat table"),
        pytest.param(table(*YOLO_NAS), CHANNELS_LAST, {"columns": YOLO_NAS}, id="the same, channels last"),
        pytest.param(table(*AUTOML, first_class_id=1), {"metadata": NAMED}, {"columns": AUTOML}, id="automl's table"),
        pytest.param(table(*AUTOML), {}, {"columns": AUTOML, "first_class_id": 0}, id="the same, ids from 0"),
        pytest.param(table(*ULTRALYTICS), {}, {"columns": ULTRALYTICS}, id="Ultralytics' table"),
        pytest.param(
            table("y1", "x1", "y2", "x2", "score", "class"),
            {},
            {"columns": ("y1", "x1", "y2", "x2", "score", "class")},
            id="six columns, y first",
        ),
    ],
)
def test_the_right_reading_is_proved(
    convention: Convention, options: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    path = write_blob_detector(tmp_path / "blobs.onnx", convention, **options)
    spec = recognise(path)
    assert {name: getattr(spec, name) for name in expected} == expected
    assert spec.provenance[-1].startswith("proved: ")
    check_finds_the_areas(path)


def mmdeploy(graph: Graph, boxes: str, scores: str) -> dict[str, str]:
    boxes, best, class_ids = graph.best(boxes, scores)
    return {"dets": graph.side_by_side(graph.corners(boxes), graph.column(best)), "labels": class_ids}


def detectron2(graph: Graph, boxes: str, scores: str) -> dict[str, str]:
    boxes, best, class_ids = graph.best(boxes, scores)
    one_by_one = {"769": (graph.corners(boxes), (-1, 4)), "770": (class_ids, (-1,)), "771": (best, (-1,))}
    outputs = {
        name: graph.node("Reshape", values, graph.constant(shape, np.int64))
        for name, (values, shape) in one_by_one.items()
    }
    return {**outputs, "772": graph.constant((HEIGHT, WIDTH), np.int64)}


RTMDET: dict[str, Any] = {"mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}


@pytest.mark.parametrize(
    ("convention", "options", "hints"),
    [
        pytest.param(mmdeploy, IMAGENET, Hints(), id="MMDetection by MMDeploy"),
        pytest.param(
            mmdeploy, {**RTMDET, "bgr": True}, Hints(colour="bgr", pad_value=114, **RTMDET), id="RTMDet, as documented"
        ),
        pytest.param(
            detectron2, {"layout": "chw", "bgr": True, "std": (1.0, 1.0, 1.0)}, Hints(), id="Detectron2 by tracing"
        ),
    ],
)
def test_files_as_mmdeploy_and_detectron2_write_them_run(
    convention: Convention, options: dict[str, Any], hints: Hints, tmp_path: Path
) -> None:
    path = write_blob_detector(tmp_path / "end2end.onnx", convention, **options)
    spec = recognise(path, hints)
    assert (spec.head, spec.needs_nms) == ("lists", False)
    check_finds_the_areas(path, hints)


Y_AND_CLASS_FIRST = ("y1", "x1", "y2", "x2", "class", "score")


def test_where_the_class_ids_of_a_table_that_nobody_known_writes_start_is_asked_for(tmp_path: Path) -> None:
    path = write_blob_detector(tmp_path / "blobs.onnx", table(*Y_AND_CLASS_FIRST, first_class_id=1), **CHANNELS_LAST)
    with pytest.raises(ModelError, match=r"can be read in 2 ways: .*--first-class-id 0\|1"):
        recognise(path)
    for hints in (Hints(), Hints(head="table", columns=Y_AND_CLASS_FIRST), Hints(box_format="yxyx")):
        with_ids = dataclasses.replace(hints, first_class_id=1)
        check_finds_the_areas(path, with_ids)


def test_class_ids_that_start_where_they_usually_do_are_assumed_to(tmp_path: Path) -> None:
    path = write_blob_detector(tmp_path / "blobs.onnx", table(*ULTRALYTICS, first_class_id=1))
    spec = recognise(path)
    assert (spec.first_class_id, "class ids assumed: from 0, as is usual" in "; ".join(spec.provenance)) == (0, True)
    check_finds_the_areas(path, Hints(first_class_id=1))
    from_0 = recognise(write_blob_detector(tmp_path / "blobs.onnx", table(*ULTRALYTICS)))
    assert "class ids assumed" not in "; ".join(from_0.provenance)


def test_a_table_of_boxes_in_0_to_1_is_read_and_flags_that_leave_no_doubt_settle_it(tmp_path: Path) -> None:
    def in_0_to_1(graph: Graph, boxes: str, scores: str) -> dict[str, str]:
        (output,) = table(*Y_AND_CLASS_FIRST, first_class_id=1)(graph, boxes, scores).values()
        return {"a": graph.node("Div", output, np.array([HEIGHT, WIDTH, HEIGHT, WIDTH, 1, 1]))}

    path = write_blob_detector(tmp_path / "blobs.onnx", in_0_to_1, **CHANNELS_LAST)
    check_finds_the_areas(path, Hints(first_class_id=1))
    every = Hints(
        head="table", columns=Y_AND_CLASS_FIRST, boxes_are_normalised=True, box_format="yxyx", first_class_id=1
    )
    check_finds_the_areas(path, every)
    with pytest.raises(ModelError, match=r"--box-format xyxy contradicts --columns, where y1 comes first; leave one"):
        recognise(path, dataclasses.replace(every, box_format="xyxy"))


def test_a_reading_under_which_nothing_moves_along_is_refused_with_the_shares(tmp_path: Path) -> None:
    recognition = examine(write_blob_detector(tmp_path / "blobs.onnx", lists("yxyx")))
    (reason,) = [
        refusal for refusal in recognition.refused if "boxes xyxy in pixels, class ids from 0 (RGB (0,0,0" in refusal
    ]
    assert "% of what it finds moves along when pictures are mirrored, shifted and scaled, against 6" in reason


def test_class_ids_that_no_picture_can_tell_are_asked_for_and_then_settled(tmp_path: Path) -> None:
    path = write_blob_detector(tmp_path / "blobs.onnx", lists("xyxy", first_class_id=1))
    with pytest.raises(
        ModelError, match=r"can be read in 2 ways: .*ids from 0; or class ids from 1. .* --first-class-id 0\|1,"
    ):
        recognise(path)
    check_finds_the_areas(path, Hints(first_class_id=1))


@pytest.mark.parametrize("preparation", [{}, IMAGENET])
def test_the_mean_of_a_detr_is_asked_for_where_it_makes_no_difference_that_counts(
    preparation: dict[str, Any], tmp_path: Path
) -> None:
    path = write_blob_detector(tmp_path / "blobs.onnx", pair("cxcywh", normalised=True, logits=True), **preparation)
    with pytest.raises(ModelError, match=r"in 2 ways: detr: .* --mean 0,0,0\|123\.675,116\.28,103\.53, --std 255"):
        recognise(path)
    check_finds_the_areas(path, Hints(**(preparation or {"mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)})))


@pytest.mark.parametrize("box_format", ["xyxy", "yxyx"])
def test_a_network_that_answers_every_picture_alike_proves_nothing_and_the_flag_settles_it(
    box_format: str, tmp_path: Path
) -> None:
    scores = np.zeros((400, 90), np.float32)
    scores[7, 2] = 0.9
    boxes = np.random.default_rng(0).uniform(0, 0.4, (400, 4)).astype(np.float32)
    boxes[:, 2:] += 0.5
    path = write(tmp_path / "foreign.onnx", {"scores": scores, "boxes": boxes})
    with pytest.raises(
        ModelError, match=r"in 2 ways: .* xyxy in 0\.\.1; or yxyx in 0\.\.1\. .*--box-format xyxy\|yxyx,"
    ):
        recognise(path)
    spec = recognise(path, Hints(box_format=box_format))  # type: ignore[arg-type]
    assert (spec.box_format, len(spec.class_names), spec.class_names[2]) == (box_format, 90, "car")
    assert "not proved: it answers every picture alike" in spec.provenance


def test_what_was_measured_is_remembered_by_the_file_and_not_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_blob_detector(tmp_path / "blobs.onnx", lists("yxyx"))
    assert recognise(first).box_format == "yxyx"
    again = (tmp_path / "copy.onnx").resolve()
    again.write_bytes(first.read_bytes())
    with monkeypatch.context() as without:
        without.setattr("pipeline.detector.proof._run_all", lambda *_: pytest.fail("it is known already"))
        assert recognise(again).box_format == "yxyx"
    assert recognise(write_blob_detector(again, lists("xyxy"))).box_format == "xyxy"


@pytest.mark.parametrize("content", ["", "[]", "[1]", '[{"found": 1}]', '{"a": 1}', "\x00"])
def test_a_cache_that_cannot_be_read_is_measured_again(content: str, tmp_path: Path) -> None:
    path = write_blob_detector(tmp_path / "blobs.onnx", lists("yxyx"))
    recognise(path)
    (kept,) = (tmp_path / "cache" / "streamdet" / "recognised").iterdir()
    before = kept.read_bytes()
    kept.write_text(content)
    assert recognise(path).box_format == "yxyx"
    assert kept.read_bytes() == before


def test_the_street_in_the_package_is_the_drawn_one() -> None:
    pixels, objects = draw()
    stored = cv2.imread(str(PICTURE))
    assert stored is not None
    assert np.abs(stored.astype(int) - pixels).mean() < 6
    boxes, names = street_objects((pixels.shape[1], pixels.shape[0]))
    assert [(name, box) for name, box in zip(names, boxes.tolist(), strict=True)] == objects


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
@pytest.mark.parametrize("draw_picture", [street, textures])
def test_boxes_move_as_the_picture_does(view: Any, draw_picture: Any) -> None:
    size = (640, 480)
    pixels = draw_picture(size)
    box = np.array([[200, 200, 280, 260]], np.float32)  # away from the borders in every view
    changed = view.show(pixels)
    (moved,) = view.move(box, size).round().astype(int).tolist()
    part = pixels[200:260, 200:280]
    if view.name == "mirrored":
        part = part[:, ::-1]
    elif view.name == "scaled":
        part = cv2.resize(part, (moved[2] - moved[0], moved[3] - moved[1]), interpolation=cv2.INTER_AREA)
    there = changed[moved[1] : moved[3], moved[0] : moved[2]]
    assert np.abs(there.astype(int) - part).mean() < 4
    assert changed.shape == pixels.shape
