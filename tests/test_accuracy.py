"""Is AP what pycocotools says, by the classes' names, and are labels found beside the images?"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.accuracy.coco import Labels, precision_against, precision_on_labels
from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections
from tests.conftest import ASSETS

pytest.importorskip("pycocotools", reason="AP needs pycocotools")

ORACLE = ASSETS / "eval"
# What pycocotools' authors say of these results: val2014_fake_eval_res.txt.
ORACLE_AP, ORACLE_AP50 = 0.504581, 0.696973
Row = tuple[float, float, float, float, float, int]

CAT: Row = (10, 10, 110, 90, 0.9, 0)
DOG: Row = (200, 50, 300, 250, 0.8, 1)


def detections(*rows: Row) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)  # [N, 6]
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def annotation(row: Row, *, image_id: int, category_id: int, number: int) -> dict[str, Any]:
    x1, y1, x2, y2 = row[:4]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
    }


def labels(*, names: tuple[str, ...] = ("cat", "dog", "zebra")) -> Labels:
    """A cat in image 7, a cat and a dog in image 9; category ids 10, 20, …"""
    categories = {name: 10 * (place + 1) for place, name in enumerate(names)}
    annotations = (
        annotation(CAT, image_id=7, category_id=10, number=1),
        annotation(CAT, image_id=9, category_id=10, number=2),
        annotation(DOG, image_id=9, category_id=20, number=3),
    )
    return Labels(Path("labels.json"), {"a.jpg": 7, "b.jpg": 9}, annotations, categories)


IMAGES = ("a.jpg", "b.jpg")


@pytest.mark.skipif(not ORACLE.is_dir(), reason="needs ../shared/assets/eval")
def test_ap_is_what_the_authors_of_pycocotools_say() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = Labels.read(ORACLE / "instances_val2014_100.json")
    results = json.loads((ORACLE / "instances_val2014_fakebbox100_results.json").read_text())
    class_names = tuple(sorted(truth.category_ids))  # another order than COCO's
    places = {truth.category_ids[name]: place for place, name in enumerate(class_names)}
    rows: dict[int, list[Row]] = {number: [] for number in truth.image_ids.values()}
    for each in results:
        x, y, width, height = each["bbox"]
        rows[each["image_id"]].append((x, y, x + width, y + height, each["score"], places[each["category_id"]]))
    names = tuple(truth.image_ids)
    found = [detections(*rows[truth.image_ids[name]]) for name in names]
    ours = precision_on_labels(found, names, class_names, truth)
    # Of boxes given with two decimals, some meet a threshold exactly, and as float32 corners they miss it.
    assert ours == pytest.approx((ORACLE_AP, ORACLE_AP50), abs=1e-3)
    for each in results:
        x, y, width, height = each["bbox"]
        corner = np.array([x, y], np.float32)
        each["bbox"] = [*corner.tolist(), *(np.array([x + width, y + height], np.float32) - corner).tolist()]
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO(str(ORACLE / "instances_val2014_100.json"))
        evaluation = COCOeval(dataset, dataset.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert ours == pytest.approx(tuple(evaluation.stats[:2]), abs=1e-9)


def test_perfect_detections_have_ap_1() -> None:
    found = [detections(CAT), detections(DOG, CAT)]
    assert precision_on_labels(found, IMAGES, ("cat", "dog"), labels()) == pytest.approx((1, 1))


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


def coco_json(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = labels()
    values = {
        "images": [{"file_name": f"val2014/{name}", "id": number} for name, number in truth.image_ids.items()],
        "annotations": list(truth.annotations),
        "categories": [{"name": name, "id": number} for name, number in truth.category_ids.items()],
    }
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("place", ["images/any.json", "images/annotations/any.json", "instances_val.json"])
def test_labels_are_found_with_the_images(tmp_path: Path, place: str) -> None:
    (tmp_path / "images").mkdir()
    path = coco_json(tmp_path / place)
    found = Labels.find(tmp_path / "images")
    assert found is not None
    assert found.path == path
    assert found.image_ids == {"a.jpg": 7, "b.jpg": 9}
    assert found.category_ids == {"cat": 10, "dog": 20, "zebra": 30}
    assert precision_on_labels([detections(CAT)], ("a.jpg",), ("cat",), found) == pytest.approx((1, 1))


def test_a_stray_json_beside_the_folder_is_no_labels(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "package.json").write_text("{}")
    assert Labels.find(tmp_path / "images") is None
    assert Labels.find(tmp_path / "nowhere" / "images") is None


def test_labels_that_could_be_either_of_two_are_refused(tmp_path: Path) -> None:
    coco_json(tmp_path / "a.json")
    coco_json(tmp_path / "annotations" / "b.json")
    with pytest.raises(ConfigError, match=r"one COCO JSON must be with the images, found .*a.json, .*b.json"):
        Labels.find(tmp_path)


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
        Labels.read(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"labels.json must hold COCO's"):
        Labels.read(path)


def test_labels_may_count_from_0(tmp_path: Path) -> None:
    """COCO's API takes the number 0 for no match."""
    path = coco_json(tmp_path / "labels.json")
    values = json.loads(path.read_text())
    for number, each in enumerate(values["annotations"]):
        each["id"] = number
    path.write_text(json.dumps(values))
    found = [detections(CAT), detections(DOG, CAT)]
    assert precision_on_labels(found, IMAGES, ("cat", "dog"), Labels.read(path)) == pytest.approx((1, 1))


def test_labels_without_areas_numbers_and_crowds_will_do(tmp_path: Path) -> None:
    """Some tools write no more than the box."""
    path = coco_json(tmp_path / "labels.json")
    values = json.loads(path.read_text())
    for each in values["annotations"]:
        del each["id"], each["area"], each["iscrowd"]
    path.write_text(json.dumps(values))
    found = [detections(CAT), detections(DOG, CAT)]
    assert precision_on_labels(found, IMAGES, ("cat", "dog"), Labels.read(path)) == pytest.approx((1, 1))
