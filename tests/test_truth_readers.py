"""Do COCO JSON, Pascal VOC's XML and YOLO folders say the same of the same images, and is what is wrong refused?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.accuracy.coco_json import read_coco_json
from pipeline.accuracy.opening import open_labelled, with_images
from pipeline.accuracy.truth import LabelledData, Truth, marked
from pipeline.accuracy.voc_xml import read_voc_folder
from pipeline.accuracy.yolo_folder import read_yolo_folder
from pipeline.errors import ConfigError
from tests.conftest import ASSETS

VOC100 = ASSETS / "images" / "voc100"

# A street of 200 × 100 pixels: a car and a person, and a car that counts for nothing.
CAR, PERSON, HIDDEN = (20, 30, 80, 70), (100, 10, 120, 90), (150, 40, 200, 60)
SIZE = (200, 100)


def write_image(path: Path, size_wh: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    return path


def coco(path: Path, **changes: Any) -> Path:
    """`changes` go into the annotation of the car."""
    car = {"id": 1, "image_id": 3, "category_id": 7, "bbox": [20, 30, 60, 40], "area": 1500, **changes}
    person = {"id": 2, "image_id": 3, "category_id": 2, "bbox": [100, 10, 20, 80]}
    crowd = {"id": 3, "image_id": 3, "category_id": 7, "bbox": [150, 40, 50, 20], "iscrowd": 1}
    values = {
        "images": [
            {"id": 5, "file_name": "empty.jpg", "width": 64, "height": 64},
            {"id": 3, "file_name": "street.jpg", "width": SIZE[0], "height": SIZE[1]},
        ],
        "annotations": [car, person, crowd],
        "categories": [{"id": 2, "name": "person"}, {"id": 7, "name": "car"}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return path


def xml_object(name: str, box: tuple[int, int, int, int], *, difficult: int = 0) -> str:
    """From the first pixel to the last, the image's first pixel being 1."""
    first_x, first_y, last_x, last_y = box[0] + 1, box[1] + 1, box[2], box[3]
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{first_x}</xmin>"
        f"<ymin>{first_y}</ymin><xmax>{last_x}</xmax><ymax>{last_y}</ymax></bndbox></object>"
    )


def xml(path: Path, *objects: str, size: tuple[int, int] = SIZE, name: str = "street.jpg") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    size_text = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    path.write_text(f"<annotation><filename>{name}</filename>{size_text}{''.join(objects)}</annotation>")
    return path


def yolo(folder: Path, *lines: str, data: str = "names: [person, car]\nval: images/val\n") -> Path:
    """A dataset with the street, and an image without a label file."""
    write_image(folder / "images/val/street.jpg")
    write_image(folder / "images/val/empty.jpg", (64, 64))
    label = folder / "labels/val/street.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text("\n".join(lines))
    (folder / "data.yaml").write_text(data)
    return folder


def objects_of(truth: Truth, data: LabelledData) -> list[tuple[str, tuple[float, ...]]]:
    boxes = (tuple(box) for box in truth.objects.boxes_xyxy.tolist())
    return sorted(zip((data.class_names[each] for each in truth.objects.class_ids), boxes, strict=True))


def test_three_formats_say_the_same(tmp_path: Path) -> None:
    xml(
        tmp_path / "voc/a.xml",
        xml_object("car", CAR),
        xml_object("person", PERSON),
        xml_object("car", HIDDEN, difficult=1),
    )
    xml(tmp_path / "voc/b.xml", size=(64, 64), name="empty.jpg")
    every = (
        read_coco_json(coco(tmp_path / "labels.json")),
        read_voc_folder(tmp_path / "voc"),
        read_yolo_folder(yolo(tmp_path / "yolo", "1 0.25 0.5 0.3 0.4", "0 0.55 0.5 0.1 0.8")),
    )
    for data in every:
        street = next(image for image in data.images if Path(image.name).name == "street.jpg")
        empty = next(image for image in data.images if Path(image.name).name == "empty.jpg")
        assert objects_of(street.truth, data) == [("car", CAR), ("person", PERSON)]
        assert (street.size_wh, empty.size_wh) == (SIZE, (64, 64))
        assert len(empty.truth.objects) == len(empty.truth.ignored) == 0
        assert (street.truth.objects.scores == 1).all()
        assert data.num_objects_by_class().tolist() == [1, 1]
        if "yolo" not in data.origin:  # which knows no ignored objects
            assert street.truth.ignored.boxes_xyxy.tolist() == [list(HIDDEN)]
            assert data.class_names[int(street.truth.ignored.class_ids[0])] == "car"


def test_coco_areas_are_those_of_the_outlines_where_they_are_given(tmp_path: Path) -> None:
    street = read_coco_json(coco(tmp_path / "labels.json")).images[0]
    assert street.image_id == 3  # by id, whatever the order in the file
    assert street.truth.areas.tolist() == [1500, 1600]


def test_numbers_of_results_are_the_files_own(tmp_path: Path) -> None:
    assert read_coco_json(coco(tmp_path / "labels.json")).category_ids == (2, 7)
    text = "path: .\nnames: {4: person, 9: car}\nval: images/val\n"
    data = read_yolo_folder(yolo(tmp_path, "9 0.25 0.5 0.3 0.4", data=text))
    assert (data.class_names, data.category_ids) == (("person", "car"), (4, 9))
    assert objects_of(data.images[1].truth, data) == [("car", CAR)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"category_id": 8}, "annotation 1: category 8 is not among the file's categories"),
        ({"image_id": 8}, "annotation 1: image 8 is not among the file's images"),
        ({"bbox": [201, 0, 5, 5]}, r"annotation 1: the box \(201, 0, 206, 5\) lies outside its image of 200×100; the"),
        ({"bbox": [1, 0, -5, 5]}, "annotation 1: a box must have finite corners and no negative side, got "),
        ({"bbox": [1, 0, float("nan"), 5]}, "annotation 1: a box must have finite corners and no negative side, got "),
        ({"bbox": [1, 0, 5]}, "must hold COCO's images, annotations and categories: ValueError"),
    ],
)
def test_coco_annotations_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"labels.json.*{words}") as caught:
        read_coco_json(coco(tmp_path / "labels.json", **changes))
    assert "\n" not in str(caught.value)


def test_a_voc_box_begins_with_its_first_pixel(tmp_path: Path) -> None:
    """xmin 1, xmax 1 is one pixel wide; tools that count from 0 are not moved out of the image."""
    xml(tmp_path / "a.xml", xml_object("cat", (0, 0, 1, 1)), xml_object("cat", (-1, -1, 200, 100)))
    truth = read_voc_folder(tmp_path).images[0].truth
    assert truth.objects.boxes_xyxy.tolist() == [[0, 0, 1, 1], [0, 0, 200, 100]]
    assert truth.areas.tolist() == [1, 20000]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<annotation><object>", "no element found"),
        ("<html></html>", "it is <html>"),
        ("<annotation><object><name>cat</name></object></annotation>", "<object> has no bndbox/xmin"),
        (
            "<annotation><object><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object>"
            "</annotation>",
            "<object> has no name",
        ),
    ],
)
def test_xml_that_is_no_annotation_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(ConfigError, match=rf"a.xml must be an annotation in Pascal VOC's XML.*{words}"):
        read_voc_folder(tmp_path)


def test_a_voc_box_outside_its_image_is_refused(tmp_path: Path) -> None:
    xml(tmp_path / "a.xml", xml_object("cat", CAR), size=(10, 10))
    with pytest.raises(ConfigError, match=r"a.xml: the box \(20, 30, 80, 70\) lies outside its image of 10×10"):
        read_voc_folder(tmp_path)


def test_a_yolo_outline_is_as_large_as_its_corners(tmp_path: Path) -> None:
    data = read_yolo_folder(yolo(tmp_path, "1 0.1 0.5 0.4 0.3 0.25 0.7"))
    ((name, box),) = objects_of(data.images[1].truth, data)
    assert name == "car"
    assert box == pytest.approx(CAR)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", r"line 1: class 2 is not among the 2 names"),
        ("0.5 0.5 0.5 0.1 0.1", r"line 1: class 0.5 is not among the 2 names"),
        ("0 0.5 0.5 0.1", r"line 1: must be a class and 4 numbers, or an outline of 3 points or more"),
        ("0 100 50 20 20", r"line 1: a box must lie within its image, its sides being shares of 0 to 1"),
        ("0 0.5 0.5 nan 0.1", r"line 1: a box must lie within its image"),
        ("0 0.5 0.5 -0.1 0.1", r"line 1: a box must lie within its image"),
        ("car 0.5 0.5 0.1 0.1", r"line 1: must be numbers, got 'car 0.5 0.5 0.1 0.1'"),
    ],
)
def test_yolo_lines_that_cannot_be_are_refused(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"street.txt, {words}"):
        read_yolo_folder(yolo(tmp_path, line))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("names: [a]", "must be a YAML file with names and val"),
        ("- 1", "must be a YAML file with names and val"),
        ("names: [a\nval: x", "must be a YAML file with names and val"),
        ("names: [a]\nval: nowhere", "there must be images at nowhere, looked for .*nowhere"),
        ("names: [a]\nval: labels", "there must be images at labels, .*labels has none"),
    ],
)
def test_a_yaml_that_describes_no_dataset_is_refused(tmp_path: Path, data: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"data.yaml.*{words}"):
        read_yolo_folder(yolo(tmp_path, data=data))


def test_yolo_images_may_be_listed_and_stand_a_folder_higher(tmp_path: Path) -> None:
    yolo(tmp_path, "1 0.25 0.5 0.3 0.4")
    (tmp_path / "list.txt").write_text("./images/val/street.jpg\n\n")
    for text, num in (("val: list.txt", 1), ("val: ../images/val", 2), ("val: [images/val, list.txt]", 3)):
        (tmp_path / "data.yaml").write_text(f"names: [person, car]\n{text}\n")
        assert len(read_yolo_folder(tmp_path / "data.yaml").images) == num


def test_images_that_nobody_has_labelled_are_refused(tmp_path: Path) -> None:
    (yolo(tmp_path) / "labels/val/street.txt").unlink()
    with pytest.raises(ConfigError, match=r"data.yaml: val must have labels beside its 2 images, such as .*empty.txt"):
        open_labelled(str(tmp_path))
    xml(tmp_path / "voc/a.xml")
    with pytest.raises(ConfigError, match=r"voc: no object is labelled in its 1 images"):
        open_labelled(str(tmp_path / "voc"))


def test_one_word_finds_each_format(tmp_path: Path) -> None:
    coco(tmp_path / "coco/annotations/instances_val.json")
    xml(tmp_path / "VOC2012/Annotations/a.xml", xml_object("car", CAR))
    yolo(tmp_path / "yolo", "1 0.25 0.5 0.3 0.4")
    for word in ("coco", "coco/annotations/instances_val.json", "VOC2012", "yolo", "yolo/data.yaml"):
        data = open_labelled(str(tmp_path / word))
        assert data.origin == str(tmp_path / word)
        assert "car" in data.class_names


@pytest.mark.parametrize("word", ["nowhere", "street.mp4", "."])
def test_words_that_mean_nothing_labelled_are_refused(
    tmp_path: Path, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("street.mp4").touch()
    with pytest.raises(
        ConfigError, match=rf"--data must be a COCO JSON, a folder of .*sim:traffic; {re.escape(word)} is"
    ):
        open_labelled(word)


@pytest.mark.parametrize("place", ["annotations", "annotations/../val2017", "images", "images/val2017", "JPEGImages"])
def test_images_are_found_where_they_usually_are(tmp_path: Path, place: str) -> None:
    data = open_labelled(str(coco(tmp_path / "annotations/instances_val2017.json")))
    for name in ("street.jpg", "empty.jpg"):
        write_image(tmp_path / place / name)
    found = with_images(data, None)
    assert all(image.path is not None and image.path.samefile(tmp_path / place / image.name) for image in found.images)
    assert with_images(data, tmp_path / place).images[0].path == tmp_path / place / "street.jpg"


def test_images_that_are_missing_are_said(tmp_path: Path) -> None:
    data = open_labelled(str(coco(tmp_path / "labels.json")))
    write_image(tmp_path / "street.jpg")
    with pytest.raises(
        ConfigError, match=r"1 of 2 labelled images are missing, such as empty.jpg; looked in .*--images"
    ):
        with_images(data, None)
    only = data.first(1)
    assert [image.name for image in with_images(only, None).images] == ["street.jpg"]


def test_objects_are_as_large_as_their_boxes() -> None:
    assert Truth.of(marked([CAR], [0])).areas.tolist() == [2400]
    assert Truth.of(marked([], [])).areas.tolist() == []


@pytest.mark.skipif(not VOC100.is_dir(), reason="needs ../shared/assets")
def test_real_photographs_have_the_same_objects_in_both_formats() -> None:
    """Its COCO JSON was made of the XML without the step from 1 to 0, and counts difficult objects like the others."""
    ours = with_images(open_labelled(str(VOC100 / "pascalvoc_format")), None)
    theirs = with_images(open_labelled(str(VOC100)), None)
    assert len(ours.images) == len(theirs.images) == 100
    assert ours.num_objects_by_class().sum() + sum(len(image.truth.ignored) for image in ours.images) == 273
    by_name = {image.name: image for image in theirs.images}
    for image in ours.images:
        other = by_name[image.name]
        assert image.path is not None
        assert other.path is not None
        assert image.path.samefile(other.path)
        assert image.size_wh == other.size_wh
        listed = {(name, *(box[0] - 1, box[1] - 1, *box[2:])) for name, box in objects_of(other.truth, theirs)}
        assert {(name, *box) for name, box in objects_of(image.truth, ours)} <= listed
