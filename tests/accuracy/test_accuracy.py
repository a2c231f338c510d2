"""COCO's AP: what pycocotools says, by the classes' names, of labels that stand beside the images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.accuracy.coco import COCO_NUMBERS, coco_accuracy, precision_against, precision_on_labels
from pipeline.accuracy.coco_json import find_coco_json, read_coco_json
from pipeline.accuracy.result_file import read_result_file, write_result_file
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, marked
from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections
from tests.support.assets import ASSETS, needs_assets

pytest.importorskip("pycocotools", reason="AP needs pycocotools")

ORACLE = ASSETS / "eval"
# What pycocotools' authors say of these results, ../shared/assets/README.md.
ORACLE_NUMBERS = {
    "AP": 0.504581,
    "AP50": 0.696973,
    "AP75": 0.572982,
    "APs": 0.585626,
    "APm": 0.519400,
    "APl": 0.501398,
    "AR1": 0.386813,
    "AR10": 0.593680,
    "AR100": 0.595353,
}
Row = tuple[float, float, float, float, float, int]

CAT: Row = (10, 10, 110, 90, 0.9, 0)
DOG: Row = (200, 50, 300, 250, 0.8, 1)


def detections(*rows: Row) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)  # [N, 6]
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def labels(*, names: tuple[str, ...] = ("cat", "dog", "zebra")) -> LabelledData:
    """A cat in image 7, a cat and a dog in image 9; category ids 10, 20, …"""
    one, two = (Truth.of(marked([row[:4] for row in rows], [row[5] for row in rows])) for rows in ([CAT], [CAT, DOG]))
    images = (LabelledImage("a.jpg", 7, one), LabelledImage("b.jpg", 9, two))
    return LabelledData("labels.json", names, tuple(10 * (place + 1) for place in range(len(names))), images)


IMAGES = ("a.jpg", "b.jpg")


@needs_assets
def test_ap_and_ar_are_what_the_authors_of_pycocotools_say(tmp_path: Path) -> None:
    """Read by our readers, and once more after our writer."""
    truth = read_coco_json(ORACLE / "instances_val2014_100.json")
    found = read_result_file(ORACLE / "instances_val2014_fakebbox100_results.json", truth)
    write_result_file(tmp_path / "again.json", found, truth)
    for each in (found, read_result_file(tmp_path / "again.json", truth)):
        accuracy = coco_accuracy(each, [image.truth for image in truth.images])
        for name, expected in ORACLE_NUMBERS.items():
            assert accuracy.numbers[name] == pytest.approx(expected, abs=6e-7), name
    assert len(accuracy.classes) == 70
    assert np.mean([each.ap for each in accuracy.classes]) == pytest.approx(ORACLE_NUMBERS["AP"], abs=6e-7)


@needs_assets
def test_classes_in_another_order_have_the_same_ap() -> None:
    truth = read_coco_json(ORACLE / "instances_val2014_100.json")
    found = read_result_file(ORACLE / "instances_val2014_fakebbox100_results.json", truth)
    class_names = tuple(sorted(truth.class_names))
    renumbered = np.array([class_names.index(name) for name in truth.class_names], np.int64)
    theirs = [Detections(each.boxes_xyxy, each.scores, renumbered[each.class_ids]) for each in found]
    names = [image.name for image in truth.images]
    expected = ORACLE_NUMBERS["AP"], ORACLE_NUMBERS["AP50"]
    assert precision_on_labels(theirs, names, class_names, truth) == pytest.approx(expected, abs=6e-7)


def test_perfect_detections_have_ap_1() -> None:
    found = [detections(CAT), detections(DOG, CAT)]
    assert precision_on_labels(found, IMAGES, ("cat", "dog"), labels()) == pytest.approx((1, 1))


def judge(found: list[Detections], truths: list[Truth]) -> dict[str, float | None]:
    return dict(coco_accuracy(found, truths).numbers)


def square(side: float, *, left: float = 0, score: float = 0.9, class_id: int = 0) -> Row:
    return (left, 0, left + side, side, score, class_id)


def truth_of(*rows: Row, ignored: tuple[Row, ...] = ()) -> Truth:
    return Truth.of(*(marked([row[:4] for row in part], [row[5] for row in part]) for part in (rows, ignored)))


def test_sizes_without_objects_have_no_number() -> None:
    """A side of 20 pixels is small; COCO's own tool says -1 of medium and large."""
    numbers = judge([detections(square(20))], [truth_of(square(20))])
    assert numbers == {
        name: None if name in ("APm", "APl", "ARm", "ARl") else pytest.approx(1) for name in COCO_NUMBERS
    }


def test_without_any_object_there_is_no_number() -> None:
    assert judge([detections(CAT)], [truth_of()]) == dict.fromkeys(COCO_NUMBERS)
    assert judge([], []) == dict.fromkeys(COCO_NUMBERS)
    assert coco_accuracy([detections(CAT)], [truth_of(ignored=(CAT,))]).classes == ()


def test_the_annotated_area_tells_small_from_large() -> None:
    """A box of 40 × 40 whose outline has 900 square pixels is small."""
    objects = truth_of(square(40))
    outlined = Truth(objects.objects, np.array([900.0]), objects.ignored)
    assert judge([detections(square(40))], [objects])["APm"] == pytest.approx(1)
    assert judge([detections(square(40))], [outlined])["APs"] == pytest.approx(1)
    assert judge([detections(square(40))], [outlined])["APm"] is None


def test_recall_depends_on_how_many_detections_count() -> None:
    """Of 20 objects the best detection finds one, the best ten ten."""
    rows = [square(50, left=100 * place) for place in range(20)]
    numbers = judge([detections(*rows)], [truth_of(*rows)])
    assert [numbers[name] for name in ("AR1", "AR10", "AR100")] == [pytest.approx(each) for each in (0.05, 0.5, 1)]


def test_ignored_objects_are_neither_missed_nor_wrongly_found() -> None:
    wrong, right = square(60, left=200, score=0.95), square(50, score=0.9)
    in_it = square(30, left=210, score=0.99)  # a crowd takes all that lies in it
    assert judge([detections(wrong, in_it, right)], [truth_of(right, ignored=(wrong,))])["AP"] == pytest.approx(1)
    assert judge([detections(right)], [truth_of(right, ignored=(wrong,))])["AR100"] == pytest.approx(1)
    assert judge([detections(wrong, right)], [truth_of(right)])["AP"] == pytest.approx(0.5)


def test_each_class_has_its_own_numbers_and_curve() -> None:
    """Class 4: right, wrong, right: precision 1 up to half of the recall, and two thirds after. Class 1: not found."""
    near, far, other = square(50, class_id=4), square(50, left=100, score=0.5, class_id=4), square(50, class_id=1)
    wrong = square(50, left=300, score=0.7, class_id=4)
    first, second = coco_accuracy([detections(near, wrong, far)], [truth_of(near, far, other)]).classes
    assert (first.class_id, first.num_objects, first.ap, first.ap50, first.ar100) == (1, 1, 0, 0, 0)
    assert (second.class_id, second.num_objects, second.ar100) == (4, 2, 1)
    assert second.precisions == pytest.approx([1] * 51 + [2 / 3] * 50)
    assert [second.ap, second.ap50] == pytest.approx([(51 + 50 * 2 / 3) / 101] * 2)


def test_nothing_found_has_ap_0() -> None:
    assert precision_on_labels([Detections.empty()] * 2, IMAGES, ("cat", "dog"), labels()) == (0, 0)


def test_wrong_classes_have_ap_0() -> None:
    found = [detections((*CAT[:5], 1)), detections((*CAT[:5], 1), (*DOG[:5], 0))]
    assert precision_on_labels(found, IMAGES, ("cat", "dog"), labels()) == pytest.approx((0, 0))


def test_half_of_the_cats_are_half_of_their_ap() -> None:
    """Recall .5 at precision 1 is 51 of the 101 points of COCO's curve."""
    ap, ap50 = precision_on_labels([Detections.empty(), detections(CAT, DOG)], IMAGES, ("cat", "dog"), labels())
    assert (ap, ap50) == pytest.approx(((51 / 101 + 1) / 2,) * 2)


def test_loose_boxes_count_at_low_thresholds_only() -> None:
    loose = (10.0, 10.0, 110.0, 74.0, 0.9, 0)  # IoU .8: 7 of the 10 thresholds
    ap, ap50 = precision_on_labels([detections(loose)], ("a.jpg",), ("cat",), labels())
    assert (ap, ap50) == pytest.approx((0.7, 1), abs=0.001)


def test_images_without_labels_do_not_count() -> None:
    found = [detections(CAT), detections(DOG, DOG, CAT), detections(CAT, DOG)]
    assert precision_on_labels(found, ("a.jpg", "strange.jpg", "b.jpg"), ("cat", "dog"), labels()) == pytest.approx(
        (1, 1)
    )


def test_classes_that_the_labels_do_not_know_do_not_count() -> None:
    found = [detections(CAT, (0, 0, 50, 50, 0.99, 2)), detections(DOG, CAT)]
    assert precision_on_labels(found, IMAGES, ("cat", "dog", "unicorn"), labels()) == pytest.approx((1, 1))


def test_class_ids_without_a_name_do_not_count() -> None:
    found = [detections(CAT, (0, 0, 50, 50, 0.99, 5)), detections(DOG, CAT)]
    assert precision_on_labels(found, IMAGES, ("cat", "dog"), labels()) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("coco", "voc"),
    [
        ("potted plant", "pottedplant"),
        ("motorcycle", "motorbike"),
        ("tv", "tvmonitor"),
        ("airplane", "aeroplane"),
        ("couch", "sofa"),
        ("dining table", "diningtable"),
    ],
)
def test_coco_and_voc_names_mean_the_same(coco: str, voc: str) -> None:
    found = [detections(CAT), detections(CAT, DOG)]
    for ours, theirs in ((coco, voc), (voc, coco)):
        assert precision_on_labels(found, IMAGES, ("cat", ours), labels(names=("cat", theirs))) == pytest.approx((1, 1))


@pytest.mark.parametrize(("images", "names"), [(("x.jpg",), ("cat",)), (("a.jpg",), ("unicorn",))])
def test_labels_of_something_else_are_refused(images: tuple[str, ...], names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"labels.json: must label some of the images and of the model's classes"):
        precision_on_labels([detections(CAT)], images, names, labels())


def test_a_detector_is_perfect_against_itself() -> None:
    found = [detections(CAT, (0, 0, 9, 9, 0.1, 3)), detections(), detections(DOG, CAT)]
    assert precision_against(found, found, score_threshold=0.25) == pytest.approx((1, 1))


def test_what_the_other_is_sure_of_is_the_truth() -> None:
    reference = [detections(CAT, (*DOG[:4], 0.2, 1)), detections(CAT, DOG)]
    found = [detections(CAT), detections(CAT, DOG)]
    assert precision_against(found, reference, score_threshold=0.25) == pytest.approx((1, 1))
    ap, _ = precision_against(found, reference, score_threshold=0.1)
    assert ap == pytest.approx((51 / 101 + 1) / 2)


@pytest.mark.parametrize(("score", "expected"), [(0.1, (1.0, 1.0)), (0.9, (0.0, 0.0))])
def test_where_the_other_is_sure_of_nothing_so_must_one_be(score: float, expected: tuple[float, float]) -> None:
    found = [detections((*CAT[:4], score, 0))]
    assert precision_against(found, [detections((*CAT[:4], 0.1, 0))], score_threshold=0.25) == expected
    assert precision_against([Detections.empty()], [detections(CAT)], score_threshold=0.25) == (0, 0)


def coco_json(path: Path, **changes: Any) -> Path:
    """The same labels as a file; `changes` go into each annotation, None takes a key away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ((CAT, 7, 10), (CAT, 9, 10), (DOG, 9, 20))
    annotations = []
    for number, ((x1, y1, x2, y2, _, _), image_id, category_id) in enumerate(rows, 1):
        values = {"id": number, "image_id": image_id, "category_id": category_id, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        values |= {"area": (x2 - x1) * (y2 - y1), "iscrowd": 0, **changes}
        annotations.append({key: value for key, value in values.items() if value is not None})
    names = {"cat": 10, "dog": 20, "zebra": 30}
    whole = {
        "images": [{"file_name": f"val2014/{name}", "id": number} for name, number in (("b.jpg", 9), ("a.jpg", 7))],
        "annotations": annotations,
        "categories": [{"name": name, "id": number} for name, number in names.items()],
    }
    path.write_text(json.dumps(whole))
    return path


@pytest.mark.parametrize("place", ["images/any.json", "images/annotations/any.json", "instances_val.json"])
def test_labels_are_found_with_the_images(tmp_path: Path, place: str) -> None:
    (tmp_path / "images").mkdir()
    path = coco_json(tmp_path / place)
    found = find_coco_json(tmp_path / "images")
    assert found is not None
    assert found.origin == str(path)
    assert [(image.name, image.image_id) for image in found.images] == [("val2014/a.jpg", 7), ("val2014/b.jpg", 9)]
    assert (found.class_names, found.category_ids) == (("cat", "dog", "zebra"), (10, 20, 30))
    assert precision_on_labels([detections(CAT)], ("a.jpg",), ("cat",), found) == pytest.approx((1, 1))


def test_a_stray_json_beside_the_folder_is_no_labels(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "package.json").write_text("{}")
    assert find_coco_json(tmp_path / "images") is None
    assert find_coco_json(tmp_path / "nowhere" / "images") is None


def test_labels_that_could_be_either_of_two_are_refused(tmp_path: Path) -> None:
    coco_json(tmp_path / "a.json")
    coco_json(tmp_path / "annotations" / "b.json")
    with pytest.raises(ConfigError, match=r"one COCO JSON must be with the images, found .*a.json, .*b.json"):
        find_coco_json(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        "{}",
        '{"images": [{}], "annotations": [], "categories": []}',
        '{"images": [], "annotations": [{"id": 1}], "categories": []}',
        "\x00",
    ],
)
def test_a_json_that_is_no_labels_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"labels.json must hold COCO's images, annotations and categories: "):
        read_coco_json(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"labels.json must hold COCO's"):
        read_coco_json(path)


@pytest.mark.parametrize("changes", [{"id": 0}, {"id": None, "area": None, "iscrowd": None}])
def test_labels_with_numbers_that_cocos_api_misreads_or_with_boxes_alone_will_do(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """COCO's API takes the number 0 for no match; some tools write no more than the box."""
    truth = read_coco_json(coco_json(tmp_path / "labels.json", **changes))
    found = [detections(CAT), detections(DOG, CAT)]
    assert precision_on_labels(found, IMAGES, ("cat", "dog"), truth) == pytest.approx((1, 1))
