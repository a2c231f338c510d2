"""Is a wrong reading refused with what speaks against it, and does the user have the last word?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.app.config.flags import FLAGS as FLAGS_OF_KEYS
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads import HEADS
from pipeline.detector.heads.hints import FLAGS, Hints
from pipeline.detector.recognise import examine, recognise
from pipeline.errors import ModelError
from pipeline.picture.frame import ArrayPicture
from tests.support import realistic_outputs as real
from tests.support.foreign_detector import any_number, check_finds_the_object, write
from tests.support.tiny_detector import write_boxes_detector


def nonsense(rows: int, columns: int) -> dict[str, Any]:
    return {"output": np.random.default_rng(3).normal(0, 300, (rows, columns)).astype(np.float32)}


@pytest.mark.parametrize(
    ("outputs", "options", "reasons"),
    [
        (nonsense(378, 85), {}, ["yolov5: .* but its scores reach from"]),
        (nonsense(84, 126), {}, ["yolov8: .* and 1 more reading, but its scores reach"]),
        (nonsense(126, 85), {}, ["yolox: .* but its", "YOLOX .*and 1 more reading, but its boxes are offsets"]),
        (nonsense(100, 6), {}, ["but its class column holds fractions", "but its score column|but its class column"]),
        (nonsense(100, 7), {}, ["but its class column holds fractions"]),
        (
            {"logits": np.zeros((100, 5), np.float32), "boxes": np.full((100, 4), 40, np.float32)},
            {},
            ["sigmoid, .* but its boxes reach 40, which is not 0..1"],
        ),
        (
            {"scores": nonsense(400, 5)["output"], "boxes": nonsense(400, 4)["output"]},
            {},
            ["ssd_decoded: .*of its boxes are corners in order"],
        ),
        (
            {"logits": real.detr("sigmoid")["logits"], "boxes": np.full((100, 4), np.nan, np.float32)},
            {},
            ["boxes has values that are not finite"],
        ),
        (
            {**real.torchvision(), "labels": np.full(20, 91)},
            {},
            ["it has a class 90 and only 90 are known; see --class-names"],
        ),
        (
            {**real.torchvision(), "boxes": real.finished()[0] / real.SIDES},
            any_number(real.torchvision()),
            [r"its boxes are 0\.\d+ pixels large"],
        ),
        (
            {**real.torchvision(), "boxes": real.finished()[0] * 20},
            {},
            ["its boxes lie outside the picture, up to .* pixels off"],
        ),
        (
            {**real.torchvision(), "boxes": real.finished()[0][:, ::-1].copy()},
            any_number(real.torchvision()),
            ["corners of its boxes are not in"],
        ),
        (
            real.torchvision(),
            {"extra_inputs": {"flag": ("float32", (1,))}},
            ["lists: .*Name it with --head"],
        ),
    ],
)
def test_a_wrong_reading_is_refused_with_what_speaks_against_it(
    outputs: dict[str, Any], options: dict[str, Any], reasons: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path / "foreign.onnx", outputs, **options)
    recognition = examine(path)
    with pytest.raises(ModelError) as raised:
        recognise(path)
    for reason in reasons:
        assert re.search(reason, "; ".join((*recognition.refused, str(raised.value))))
    assert len(str(raised.value)) - len(str(path)) < 480
    assert str(raised.value).startswith(f"{path}: not recognised: ")
    assert "outputs: " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_network_that_does_not_run_is_refused_with_the_runtimes_words(tmp_path: Path) -> None:
    inputs = {"orig_target_sizes": ("int64", (3, 2))}
    scaled_by = {"boxes": "orig_target_sizes"}
    path = write(tmp_path / "foreign.onnx", real.detr_with_sizes(), extra_inputs=inputs, scaled_by=scaled_by)
    with pytest.raises(ModelError, match=r"but it does not run: .*orig_target_sizes"):
        recognise(path)


@pytest.fixture
def ambiguous(tmp_path: Path) -> Path:
    """Two outputs that may be a DETR of 400 queries or offsets from 400 anchors that fit so well that all are small."""
    outputs = real.ssd_raw()
    chance = np.random.default_rng(4)
    outputs["box_encodings"] = chance.uniform(0, 1, (400, 4)).astype(np.float32)
    np.save(tmp_path / "either_anchors.npy", real.anchors())
    return write(tmp_path / "either.onnx", outputs)


def test_a_file_that_can_be_read_in_several_ways_names_the_flags_that_settle_it(ambiguous: Path) -> None:
    with pytest.raises(
        ModelError, match=r"either\.onnx is ambiguous, it can be read in 3 ways: detr: .*; or ssd_raw: "
    ) as raised:
        recognise(ambiguous)
    assert "Settle it with --head detr|ssd_raw, --mean 0,0,0|123.675,116.28,103.53" in str(raised.value)
    assert "`streamdet adopt` writes the choice" in str(raised.value)


@pytest.mark.parametrize("head", ["detr", "ssd_raw"])
def test_a_hint_settles_a_file_that_can_be_read_in_several_ways(ambiguous: Path, head: str) -> None:
    assert recognise(ambiguous, Hints(head=head)).head == head


@pytest.mark.parametrize(
    "hints",
    [
        {"colour": "bgr"},
        {"resize": "stretch"},
        {"mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0)},
        {"pad_value": 7},
        {"iou_threshold": 0.7},
        {"class_names": tuple(f"thing {index}" for index in range(80))},
        {"boxes_are_normalised": False},
    ],
)
def test_hints_win_over_what_was_recognised(hints: dict[str, Any], tmp_path: Path) -> None:
    spec = recognise(write(tmp_path / "foreign.onnx", real.yolov8()), Hints(**hints))
    assert spec.head == "yolov8"
    for name, value in hints.items():
        assert getattr(spec, name) == value
        flag = "--pixel-boxes" if name == "boxes_are_normalised" else f"--{name.replace('_', '-')}"
        words = "80 class names" if name == "class_names" else f"{name} {value}"
        assert f"{words}: set by {flag}" in spec.provenance


def test_hints_win_over_our_own_metadata(tmp_path: Path) -> None:
    spec = recognise(write_boxes_detector(tmp_path / "pets.onnx", []), Hints(colour="bgr", iou_threshold=0.9))
    assert (spec.head, spec.colour, spec.iou_threshold) == ("boxes", "bgr", 0.9)


@pytest.mark.parametrize(
    ("hints", "flag"),
    [
        (Hints(box_format="cxcywh"), "--box-format"),
        (Hints(boxes_are_normalised=False), "--pixel-boxes"),
        (Hints(score_activation="sigmoid"), "--scores"),
        (Hints(first_class_id=1), "--first-class-id"),
    ],
)
def test_a_hint_that_says_nothing_to_the_head_is_refused(hints: Hints, flag: str, tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", [])
    with pytest.raises(ModelError, match=f"pets.onnx: {flag} cannot be heeded: it says nothing to head boxes; leave"):
        recognise(path, hints)


def test_a_hint_has_the_flag_of_its_key_in_the_configuration() -> None:
    assert {flags.split("|")[0] for flags in FLAGS.values()} <= set(FLAGS_OF_KEYS.values())


def test_a_hint_that_boxes_are_normalised_is_one_reading_not_two(tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.onnx", real.yolov8_normalised())
    assert recognise(path, Hints(boxes_are_normalised=True)).boxes_are_normalised
    with pytest.raises(ModelError, match=r"but its boxes are 0\.\d+ pixels large"):
        recognise(path, Hints(boxes_are_normalised=False))


def test_a_detr_with_corners_is_read_as_one_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    outputs = real.detr("sigmoid")
    outputs["pred_boxes"] = real.corners(outputs["pred_boxes"])
    path = write(tmp_path / "foreign.onnx", outputs)
    spec = recognise(path)
    assert (spec.head, spec.box_format) == ("detr", "xyxy")
    check_finds_the_object(path, spec)
    with pytest.raises(ModelError, match="but its boxes are corners"):
        recognise(path, Hints(box_format="cxcywh"))


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        (Hints(head="yolov9"), "--head must be one of boxes, detr, .*, got yolov9"),
        (Hints(head="detr"), "not recognised: detr: one input, and logits"),
        (Hints(head="fastestdet"), "not recognised: fastestdet: one output"),
        (Hints(head="nanodet"), "not recognised: nanodet"),
        (Hints(head="table"), "not recognised: table: one output"),
        (Hints(head="boxes"), "not recognised: "),
        (Hints(head="yolov5"), "scores|boxes|classes"),
        (Hints(network_wh=(640, 640)), r"--size must be 96x64, which is fixed in the graph, got \(640, 640\)"),
        (Hints(class_names=("a", "b")), "--class-names must name 80 classes, got 2"),
        (Hints(std=(0.0, 1.0, 1.0)), "std must not be 0"),
        (Hints(pad_value=300), "pad_value must lie within 0..255"),
        (Hints(iou_threshold=1.5), r"iou_threshold must lie within \[0, 1\]"),
    ],
)
def test_a_hint_that_cannot_be_is_refused(hints: Hints, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        recognise(write(tmp_path / "foreign.onnx", real.yolov8()), hints)
    assert "\n" not in str(raised.value)


def test_a_detr_whose_classes_are_told_wrongly_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.onnx", real.detr("sigmoid"))
    with pytest.raises(ModelError, match="--class-names must name 80 classes, got 3"):
        recognise(path, Hints(class_names=("a", "b", "c")))


def test_our_own_file_is_not_run_in_a_size_that_its_graph_has_not(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"pets\.onnx: --size must be 64x64, which is fixed in the graph"):
        recognise(write_boxes_detector(tmp_path / "pets.onnx", []), Hints(network_wh=(128, 128)))


def every(*readers: Callable[[], Mapping[str, Any]]) -> list[Any]:
    return [pytest.param(reader(), id=reader.__name__) for reader in readers]


@pytest.mark.parametrize("outputs", every(real.yolov5, real.yolox, real.yolov8, real.nanodet, real.fastestdet))
def test_float16_networks_are_read_as_well(outputs: dict[str, Any], tmp_path: Path) -> None:
    half = {name: values.astype(np.float16) for name, values in outputs.items()}
    path = write(tmp_path / "foreign.onnx", half, input_type="float16")
    spec = recognise(path)
    assert spec.dtype == "float16"
    check_finds_the_object(path, spec)


def test_our_own_file_keeps_its_number_of_classes(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", [])
    assert recognise(path, Hints(class_names=("lion", "wolf"))).class_names == ("lion", "wolf")
    with pytest.raises(ModelError, match="--class-names must name 2 classes, got 1"):
        recognise(path, Hints(class_names=("lion",)))


def test_a_head_that_contradicts_our_own_metadata_is_refused(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", [])
    assert recognise(path, Hints(head="boxes")).head == "boxes"
    with pytest.raises(ModelError, match="--head yolox contradicts its metadata, which says boxes"):
        recognise(path, Hints(head="yolox"))


EVERY_ANSWER = every(
    real.yolov5,
    real.yolov5_with_its_maps,
    real.yolov6,
    real.yolox,
    real.yolov8,
    real.yolov8_turned,
    real.tensorflow,
    real.efficient_nms,
    real.mmdeploy,
    real.detectron2,
    real.torchvision,
    real.detr_with_sizes,
    real.ssd_raw,
    real.nanodet,
    real.nanodet_plus,
    real.picodet,
    real.fastestdet,
)


@pytest.mark.parametrize("outputs", EVERY_ANSWER)
def test_a_head_that_does_not_fit_is_refused_or_read_but_never_fails_otherwise(
    outputs: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path / "foreign.onnx", outputs)
    np.save(tmp_path / "foreign_anchors.npy", real.anchors())
    for head in HEADS:
        try:
            assert recognise(path, Hints(head=head)).head in HEADS
        except ModelError:
            continue


@pytest.mark.parametrize("metadata", [None, {"stride": "32"}])
@pytest.mark.parametrize(
    ("outputs", "declared", "head"),
    [
        (real.yolov5(), {"output": (1, "boxes", 85)}, "yolov5"),
        (real.yolov8(), {"output0": (1, 84, "boxes")}, "yolov8"),
    ],
)
def test_a_graph_that_leaves_the_number_of_boxes_open_shows_it_when_it_is_run(
    outputs: dict[str, Any],
    declared: dict[str, tuple[int | str, ...]],
    head: str,
    metadata: dict[str, str] | None,
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "foreign.onnx", outputs, declared_shapes=declared, metadata=metadata)
    if metadata is None:
        with pytest.raises(ModelError, match="the number of boxes is dynamic"):
            recognise(path)
    spec = recognise(path, None if metadata else Hints(head=head))
    assert (spec.head, spec.colour, spec.resize) == (head, "rgb", "letterbox-center")
    check_finds_the_object(path, spec)


def test_yolox_told_to_be_yolov5_is_read_as_decoded_only_where_it_is(tmp_path: Path) -> None:
    decoded = write(tmp_path / "decoded.onnx", real.yolox_decoded())
    assert recognise(decoded, Hints(head="yolov5")).colour == "bgr"
    raw = write(tmp_path / "raw.onnx", real.yolox())
    assert any(
        "but its boxes are offsets from their cells" in refusal for refusal in examine(raw, Hints("yolov5")).refused
    )


def few_classes(*, decoded: bool) -> dict[str, Any]:
    """[N, 7]: YOLOv8 turned, of three classes, or YOLOX decoded, of two."""
    if decoded:
        return {"output": real.yolox_decoded()["output"][:, [0, 1, 2, 3, 4, 6, 7]]}
    return {"output": real.yolov8_turned()["output0"][:, [0, 1, 2, 3, 4, 5, 6]]}


@pytest.mark.parametrize("decoded", [False, True])
def test_without_names_nothing_tells_three_classes_from_objectness_and_two(decoded: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.onnx", few_classes(decoded=decoded))
    with pytest.raises(ModelError, match=r"can be read in 2 ways: yolov8: .*; or yolov5: ") as raised:
        recognise(path)
    assert "Settle it with --head yolov8|yolov5, and" in str(raised.value)
    assert recognise(path, Hints(class_names=("a", "b", "c"))).head == "yolov8"
    assert recognise(path, Hints(class_names=("a", "b"))).head == "yolov5"


def test_a_raw_yolox_of_two_classes_needs_no_names(tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.onnx", {"output": real.yolox()["output"][:, [0, 1, 2, 3, 4, 6, 7]]})
    assert (recognise(path).head, recognise(path).class_names) == ("yolox", ("class 0", "class 1"))


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4])
def test_a_detr_may_have_few_classes(num_classes: int, tmp_path: Path) -> None:
    outputs = real.detr("sigmoid")
    outputs["logits"] = outputs["logits"][:, real.CLASS_ID : real.CLASS_ID + num_classes]
    path = write(tmp_path / "foreign.onnx", outputs)
    for hints in (Hints(mean=(0.0, 0.0, 0.0)), Hints(class_names=tuple("abcd"[:num_classes]))):
        spec = recognise(path, hints)
        assert (spec.head, len(spec.class_names), spec.outputs) == ("detr", num_classes, ("logits", "pred_boxes"))
    (detections,) = EngineDetector(OrtEngine(path, spec, device="cpu", intra_op_threads=1))(
        [ArrayPicture(np.zeros((64, 96, 3), np.uint8))]
    )
    assert detections.boxes_xyxy[0] == pytest.approx(real.BOX_XYXY, abs=0.05)


def test_class_values_without_a_column_of_background_are_scores_of_classes(tmp_path: Path) -> None:
    outputs = real.ssd_decoded("none")
    path = write(tmp_path / "foreign.onnx", {"scores": outputs["scores"][:, 3:4], "boxes": outputs["boxes"]})
    with pytest.raises(ModelError, match=r"can be read in 2 ways.* Settle it with --box-format xyxy\|yxyx, and"):
        recognise(path)
    spec = recognise(path, Hints(box_format="xyxy", class_names=("car",)))
    assert (spec.head, spec.first_class_id) == ("ssd_decoded", 0)
    check_finds_the_object(path, spec)
