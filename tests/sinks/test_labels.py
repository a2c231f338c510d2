"""Labels: what the formats say, read by their own tools or as their documents have it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml

from pipeline.app.config.output import LabelFormat
from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.picture.masks import Masks
from pipeline.sinks.labels.coco import CocoLabels
from pipeline.sinks.labels.cvat import CvatLabels
from pipeline.sinks.labels.formats import FORMATS
from pipeline.sinks.labels.label_sink import LabelSink
from pipeline.sinks.labels.label_studio import LabelStudioLabels
from pipeline.sinks.labels.voc import VocLabels
from pipeline.sinks.labels.yolo import YoloLabels
from pipeline.sinks.picture_names import PictureNames

IN_ONE_FILE = [CocoLabels, LabelStudioLabels, CvatLabels]
IN_A_FOLDER = [YoloLabels, VocLabels]
BOXES = [(10.0, 20.0, 30.0, 60.0), (-5.0, 50.0, 100.4, 80.25)]  # the second one leaves the picture of 100 × 80


def result(image: str | None = "photos/bus.jpg", *, index: int = 0, num: int = 2, **more: Any) -> Result:
    frame = Frame.from_pixels(np.zeros((80, 100, 3), np.uint8), source_id="v.mp4", index=index, image=image)
    boxes, scores = np.array(BOXES[:num], np.float32).reshape(-1, 4), np.array([0.9, 0.4][:num], np.float32)
    return Result(frame, Detections(boxes, scores, np.array([1, 3][:num], np.int64), **more), ("cat", "dog & <bird>"))


def write(sink: LabelSink, *results: Result) -> None:
    try:
        for item in results:
            sink.write(item)
    finally:
        sink.close()
        sink.close()


def test_every_format_that_the_configuration_has_is_in_the_table() -> None:
    assert set(FORMATS) == set(get_args(LabelFormat))


def test_yolo_has_a_text_a_picture_and_a_data_yaml(tmp_path: Path) -> None:
    write(YoloLabels(tmp_path), result(), result(None, index=7, num=0))
    assert (tmp_path / "labels" / "bus.txt").read_text().splitlines() == [
        "1 0.200000 0.500000 0.200000 0.500000",
        "3 0.500000 0.812500 1.000000 0.375000",
    ]
    assert (tmp_path / "labels" / "v-000007.txt").read_text() == ""
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "train": "images",
        "val": "images",
        "nc": 4,
        "names": {0: "cat", 1: "dog & <bird>", 2: "class 2", 3: "class 3"},
    }


def test_a_yolo_folder_is_valid_after_each_picture(tmp_path: Path) -> None:
    sink = YoloLabels(tmp_path)
    sink.write(result(num=0))
    assert yaml.safe_load((tmp_path / "data.yaml").read_text())["nc"] == 2
    sink.write(result("b.jpg"))
    assert yaml.safe_load((tmp_path / "data.yaml").read_text())["nc"] == 4
    sink.close()


def test_voc_counts_whole_pixels_from_one(tmp_path: Path) -> None:
    write(VocLabels(tmp_path / "new" / "Annotations"), result())
    root = ElementTree.parse(tmp_path / "new" / "Annotations" / "bus.xml").getroot()
    assert (root.findtext("filename"), root.findtext("size/width"), root.findtext("size/height")) == (
        "bus.jpg",
        "100",
        "80",
    )
    boxes = [[int(corner.text or "") for corner in box] for box in root.iter("bndbox")]
    assert boxes == [[11, 21, 30, 60], [1, 51, 100, 80]]
    assert [name.text for name in root.findall("object/name")] == ["dog & <bird>", "class 3"]


def test_pycocotools_reads_the_coco_file(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="reads it")
    write(CocoLabels(tmp_path / "c.json"), result(), result(None, index=7, num=0))
    theirs = coco.COCO(str(tmp_path / "c.json"))
    assert [image["file_name"] for image in theirs.loadImgs(theirs.getImgIds())] == ["bus.jpg", "v-000007.jpg"]
    first, second = theirs.loadAnns(theirs.getAnnIds(imgIds=[1]))
    assert (first["bbox"], first["area"], first["score"]) == ([10.0, 20.0, 20.0, 40.0], 800.0, 0.9)
    assert second["bbox"] == [0.0, 50.0, 100.0, 30.0]
    names = [category["name"] for category in theirs.loadCats([first["category_id"], second["category_id"]])]
    assert names == ["dog & <bird>", "class 3"]
    assert theirs.getAnnIds(imgIds=[2]) == []


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_coco_keeps_masks_and_keypoints(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="reads it")
    masks = np.zeros((2, 80, 100), bool)
    masks[0, 20:60, 10:30], masks[1, 50:80:2, ::3] = True, True
    points = np.array([[[12, 22, 0.9], [np.nan, np.nan, 0.9]]] * 2, np.float32)
    write(CocoLabels(tmp_path / "c.json"), result(masks=Masks.of(masks), keypoints=points))
    theirs = coco.COCO(str(tmp_path / "c.json"))
    annotations = theirs.loadAnns(theirs.getAnnIds())
    for mask, annotation in zip(masks, annotations, strict=True):
        np.testing.assert_array_equal(theirs.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        assert (annotation["keypoints"], annotation["num_keypoints"]) == ([12, 22, 2, 0, 0, 0], 1)
    assert theirs.loadCats([1])[0]["keypoints"] == ["point 1", "point 2"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of supervision's readers
def test_supervision_reads_three_formats_alike(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="reads them")
    images = tmp_path / "images"
    images.mkdir()
    assert cv2.imwrite(str(images / "bus.jpg"), np.zeros((80, 100, 3), np.uint8))
    item = result(str(images / "bus.jpg"))
    write(YoloLabels(tmp_path), item)
    write(CocoLabels(tmp_path / "coco.json"), item)
    write(VocLabels(tmp_path / "voc"), item)
    dataset, folder = supervision.DetectionDataset, str(images)
    for theirs in (
        dataset.from_yolo(folder, str(tmp_path / "labels"), str(tmp_path / "data.yaml")),
        dataset.from_coco(folder, str(tmp_path / "coco.json")),
        dataset.from_pascal_voc(folder, str(tmp_path / "voc")),
    ):
        (objects,) = theirs.annotations.values()
        assert [theirs.classes[class_id] for class_id in objects.class_id] == ["dog & <bird>", "class 3"]
        np.testing.assert_allclose(objects.xyxy, [[10, 20, 30, 60], [0, 50, 100, 80]], atol=1)


@pytest.mark.parametrize("kind", [VocLabels, LabelStudioLabels, CvatLabels])
def test_a_format_without_masks_says_once_that_they_are_left_out(
    kind: type[LabelSink], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masks = np.ones((2, 80, 100), bool)
    with caplog.at_level(logging.WARNING):
        write(kind(tmp_path / "labels"), result(masks=Masks.of(masks)), result("b.jpg", masks=Masks.of(masks)))
    assert [record.getMessage().partition("have ")[2] for record in caplog.records] == [
        "boxes only, masks are left out"
    ]


def test_label_studio_has_percentages_and_scores(tmp_path: Path) -> None:
    write(LabelStudioLabels(tmp_path / "l.json"), result("p/bus #1.jpg"), result("https://h/a.jpg?k=1", num=0))
    first, second = json.loads((tmp_path / "l.json").read_text())
    assert first["data"]["image"] == "/data/local-files/?d=bus%20%231.jpg"
    assert second == {
        "data": {"image": "https://h/a.jpg?k=1"},
        "predictions": [{"model_version": "streamdet", "result": []}],
    }
    (prediction,) = first["predictions"]
    assert prediction["score"] == pytest.approx(0.65)
    region = prediction["result"][0]
    assert region["value"] == {
        "x": 10.0,
        "y": 25.0,
        "width": 20.0,
        "height": 50.0,
        "rotation": 0,
        "rectanglelabels": ["dog & <bird>"],
    }
    assert (region["score"], region["original_width"], region["original_height"]) == (0.9, 100, 80)


def test_cvat_has_images_with_boxes(tmp_path: Path) -> None:
    write(CvatLabels(tmp_path / "c.xml"), result(), result(None, index=7, num=0))
    root = ElementTree.parse(tmp_path / "c.xml").getroot()
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    assert [name.text for name in root.findall("meta/task/labels/label/name")] == ["cat", "dog & <bird>"]
    bus, empty = root.findall("image")
    assert bus.attrib == {"id": "0", "name": "bus.jpg", "width": "100", "height": "80"}
    box = bus.findall("box")[1].attrib
    assert [box[corner] for corner in ("label", "xtl", "ytl", "xbr", "ybr")] == [
        "class 3", "0.00", "50.00", "100.00", "80.00"
    ]  # fmt: skip
    assert (empty.attrib["id"], empty.attrib["name"], len(empty)) == ("1", "v-000007.jpg", 0)


@pytest.mark.parametrize("kind", FORMATS.values())
def test_labels_that_are_there_are_not_replaced_unless_it_is_allowed(kind: type[LabelSink], tmp_path: Path) -> None:
    path = tmp_path / "labels"
    write(kind(path), result())
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(SinkError, match=r"must not replace others, and .* there already"):
        kind(path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    write(kind(path, overwrite=True), result(num=0))
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} != before


@pytest.mark.parametrize("kind", FORMATS.values())
def test_what_is_opened_and_closed_leaves_nothing(kind: type[LabelSink], tmp_path: Path) -> None:
    kind(tmp_path / "labels").close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FORMATS.values())
def test_an_image_that_comes_twice_is_labelled_once(kind: type[LabelSink], tmp_path: Path) -> None:
    write(kind(tmp_path / "one"), result())
    write(kind(tmp_path / "two"), result(), result())
    one, two = (
        [file.read_bytes() for file in sorted([tmp_path / name, *(tmp_path / name).rglob("*")]) if file.is_file()]
        for name in ("one", "two")
    )
    assert one == two


@pytest.mark.parametrize("kind", FORMATS.values())
def test_names_that_no_format_was_made_for_leave_a_file_that_can_be_read(kind: type[LabelSink], tmp_path: Path) -> None:
    item = result("caf\udce9 \"'%s.jpg")  # os.fsdecode(b"caf\xe9…")
    write(kind(tmp_path / "labels"), Result(item.frame, item.detections, ("a", "no\x00 \ud800character")))
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        content = file.read_bytes()
        content.decode()
        if content.startswith(b"<"):
            ElementTree.fromstring(content)


def test_two_images_of_one_name_that_nobody_announced_are_refused(tmp_path: Path) -> None:
    sink = CocoLabels(tmp_path / "c.json")
    sink.write(result("a/bus.jpg"))
    with pytest.raises(SinkError, match=r"a/bus\.jpg and b/bus\.jpg are both bus\.jpg; give `names` all images"):
        sink.write(result("b/bus.jpg"))
    sink.close()


def test_labels_of_yolo_lie_as_the_pictures_in_images_lie(tmp_path: Path) -> None:
    write(YoloLabels(tmp_path), result(f"{tmp_path}/images/train/bus.jpg"), result(f"{tmp_path}/other/car.jpg"))
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt")}
    assert names == {"labels/train/bus.txt", "labels/car.txt"}


@pytest.mark.parametrize("kind", IN_A_FOLDER)
def test_a_picture_in_a_folder_has_its_labels_in_one_of_that_name(kind: type[LabelSink], tmp_path: Path) -> None:
    images = ["p/a/bus.jpg", "p/b/bus.jpg"]
    write(kind(tmp_path, names=PictureNames(images=images)), *map(result, images))
    files = list(tmp_path.rglob("bus.*"))
    assert sorted(file.parent.name for file in files) == ["a", "b"]


@pytest.mark.parametrize("kind", IN_A_FOLDER)
def test_two_images_that_would_share_a_file_of_labels_are_refused(kind: type[LabelSink], tmp_path: Path) -> None:
    names = PictureNames(images=["p/bus.png", "p/bus.jpg"])
    with pytest.raises(SinkError, match=r"bus\.jpg and bus\.png would share; rename one of them, or"):
        kind(tmp_path, names=names)


@pytest.mark.parametrize("kind", IN_A_FOLDER)
def test_a_file_in_place_of_the_folder_is_refused(kind: type[LabelSink], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SinkError, match=r"must be written into a folder, and .*file is a file"):
            kind(path)


@pytest.mark.parametrize("kind", IN_ONE_FILE)
def test_a_file_takes_its_place_when_it_is_finished(kind: type[LabelSink], tmp_path: Path) -> None:
    sink = kind(tmp_path / "labels")
    sink.write(result())
    assert not (tmp_path / "labels").exists()
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


@pytest.mark.parametrize("kind", [LabelStudioLabels, CvatLabels])  # COCO needs a file beside it
def test_a_full_disk_is_one_clear_error(kind: type[LabelSink]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(SinkError, match=r"/dev/full: .* cannot be written: No space left"):
        write(kind("/dev/full"), *(result(f"{number}.jpg") for number in range(200)))


def test_a_folder_that_cannot_be_filled_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("in the way")
    with pytest.raises(SinkError, match=r": YOLO labels cannot be written: "):
        write(YoloLabels(tmp_path), result())
    assert (tmp_path / "labels").read_text() == "in the way"


def test_a_box_outside_of_its_picture_is_no_label(tmp_path: Path) -> None:
    boxes = np.array([[200, 10, 220, 30], [10, 10, 10, 30]], np.float32)
    item = result()
    detections = Detections(boxes, item.detections.scores, item.detections.class_ids)
    write(YoloLabels(tmp_path), Result(item.frame, detections, item.class_names))
    assert (tmp_path / "labels" / "bus.txt").read_text() == ""


def test_yolo_has_the_outline_of_a_mask_or_the_keypoints_behind_a_box(tmp_path: Path) -> None:
    masks = np.zeros((2, 80, 100), bool)
    masks[0, 20:60, 10:30] = True  # the other is empty, and gets the corners of its box
    write(YoloLabels(tmp_path / "seg"), result(masks=Masks.of(masks)))
    first, second = next((tmp_path / "seg/labels").glob("*.txt")).read_text().splitlines()
    corners = {tuple(pair) for pair in np.array(first.split()[1:], float).reshape(-1, 2).round(4).tolist()}
    assert corners == {(0.105, 0.2562), (0.105, 0.7438), (0.295, 0.2562), (0.295, 0.7438)}  # centres of pixels
    assert len(second.split()) == 1 + 8
    points = np.array([[[12, 22, 0.9], [np.nan, np.nan, 0.9], [5, 5, 0.1], [400, 5, 0.9]]] * 2, np.float32)
    write(YoloLabels(tmp_path / "pose"), result(keypoints=points))
    first, _ = next((tmp_path / "pose/labels").glob("*.txt")).read_text().splitlines()
    assert first.split()[5:] == ["0.120000", "0.275000", "2", *"000", *"000", *"000"]
    assert "kpt_shape:\n- 4\n- 3" in (tmp_path / "pose/data.yaml").read_text()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_yolo_and_coco_have_the_corners_of_oriented_boxes(tmp_path: Path) -> None:
    corners = np.array([[[20, 10], [40, 30], [30, 40], [10, 20]], [[-5, 60], [50, 50], [60, 80], [0, 90]]], np.float32)
    write(YoloLabels(tmp_path / "obb"), result(corners=corners))
    first, second = next((tmp_path / "obb/labels").glob("*.txt")).read_text().splitlines()
    assert first == "1 0.200000 0.125000 0.400000 0.375000 0.300000 0.500000 0.100000 0.250000"
    assert second.split()[1:3] == ["0.000000", "0.750000"]  # moved into the picture, as readers demand
    assert all(0 <= float(share) <= 1 for share in second.split()[1:])
    coco = pytest.importorskip("pycocotools.coco", reason="reads it")
    write(CocoLabels(tmp_path / "c.json"), result(corners=corners))
    theirs = coco.COCO(str(tmp_path / "c.json"))
    annotation = theirs.loadAnns([1])[0]
    assert (annotation["segmentation"], annotation["area"]) == ([[20, 10, 40, 30, 30, 40, 10, 20]], 400)
    assert theirs.annToMask(annotation).sum() == pytest.approx(400, rel=0.1)
