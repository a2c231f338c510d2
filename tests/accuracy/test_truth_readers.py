"""Truth readers: COCO JSON, Pascal VOC's XML and YOLO folders agree on the same images, and refuse wrong labels."""

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
from pipeline.accuracy.outline import box_of_rle
from pipeline.accuracy.truth import LabelledData, Truth, marked
from pipeline.accuracy.voc_xml import read_voc_folder
from pipeline.accuracy.yolo_folder import read_yolo_folder
from pipeline.errors import ConfigError
from tests.support.assets import VOC100, needs_assets

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
        ({"bbox": [1, 0, 5]}, r"annotation 1: bbox must be left, top, width and height, got \[1, 0, 5\]"),
    ],
)
def test_coco_annotations_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"labels.json.*{words}") as caught:
        read_coco_json(coco(tmp_path / "labels.json", **changes))
    assert "\n" not in str(caught.value)


OUTLINE = [[20, 30, 80, 30, 80, 70, 20, 70]]
# Columns of 100: 20 outside, then 60 columns with the rows 30 to 70, as runs down the columns.
RLE = {"size": [100, 200], "counts": [20 * 100 + 30, 40, *([60, 40] * 59), 30 + 120 * 100]}


@pytest.mark.parametrize(
    "changes",
    [
        {"bbox": None, "segmentation": OUTLINE},
        {"bbox": [], "segmentation": OUTLINE},
        {"bbox": [], "segmentation": RLE},
        {"bbox": ["20", "30", "60", "40"]},
        {"area": None},
        {"area": "1500"},
        {"iscrowd": "0"},
        {"iscrowd": None},
        {"iscrowd": False},
        {"image_id": "3"},
        {"image_id": 3.0, "category_id": "7"},
    ],
)
def test_odd_coco_annotations_are_read_where_they_are_certain(tmp_path: Path, changes: dict[str, Any]) -> None:
    data = read_coco_json(coco(tmp_path / "labels.json", **changes))
    assert objects_of(data.images[0].truth, data) == [("car", CAR), ("person", PERSON)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"bbox": None},
            "annotation 1: must have a bbox of left, top, width and height, or a segmentation",
        ),
        ({"bbox": [], "segmentation": [[1, 2, 3]]}, "annotation 1: its segmentation, .* 3 points or more"),
        ({"bbox": [], "segmentation": {"size": [9, 9], "counts": [1]}}, r"annotation 1: .*must add up to 9 × 9"),
        ({"bbox": ["a", 0, 5, 5]}, 'annotation 1: bbox must be a number, got "a"'),
        ({"area": "large"}, 'annotation 1: area must be a number, got "large"'),
        ({"area": -1}, "annotation 1: area must be a number from 0 on, got -1"),
        ({"iscrowd": "maybe"}, 'annotation 1: iscrowd must be 0 or 1, got "maybe"'),
        ({"image_id": [3]}, r"annotation 1: image_id must be a whole number or a string, got \[3\]"),
        ({"image_id": None}, "must hold COCO's images, annotations and categories: annotation 1 has no image_id"),
    ],
)
def test_odd_coco_annotations_are_refused_in_words(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"labels.json.*{words}") as caught:
        read_coco_json(coco(tmp_path / "labels.json", **changes))
    assert "Error" not in str(caught.value)


def changed_coco(folder: Path, **sections: Any) -> Path:
    path = coco(folder / "labels.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | sections))
    return path


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"images": [{"id": 3, "file_name": "a.jpg"}, {"id": "3", "file_name": "b.jpg"}]}, "3 must be of one image"),
        (
            {"images": [{"id": 3, "file_name": "a.jpg"}, {"id": 4, "file_name": "a.jpg"}]},
            "image 3 are both a.jpg",
        ),
        ({"images": [{"id": 3}]}, "image 3: file_name must be a name, got null"),
        ({"categories": [{"id": 2, "name": "person"}, {"id": 7}]}, "category 7: name must be a name, got null"),
        ({"annotations": {}}, "it has no list annotations, only images, annotations, categories"),
        ({"images": ["a.jpg"]}, 'image 1 of 1: must be an object with an id, got "a.jpg"'),
    ],
)
def test_coco_entries_that_cannot_be_are_refused(tmp_path: Path, sections: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_coco_json(changed_coco(tmp_path, **sections))


def test_coco_ids_may_be_of_two_kinds(tmp_path: Path) -> None:
    images = [{"id": "b", "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}]
    assert [each.image_id for each in read_coco_json(changed_coco(tmp_path, images=images)).images] == [3, "b"]


@pytest.mark.parametrize("compressed", ["0", "2N5", "Y1"])
def test_outlines_in_runs_have_pycocotools_boxes(compressed: str) -> None:
    mask = pytest.importorskip("pycocotools.mask", reason="the reference")
    pixels = np.zeros((40, 50), np.uint8, order="F")
    if compressed != "0":
        pixels[7 : 7 + 3 * len(compressed), 11:29] = 1
        pixels[30:34, 40:42] = 1
    coded = mask.encode(pixels)
    text = {"size": coded["size"], "counts": coded["counts"].decode()}
    x, y, width, height = mask.toBbox(coded)
    assert box_of_rle(text) == ((x, y, x + width, y + height) if pixels.any() else None)


def test_one_class_named_twice_counts_once_if_one_is_unused_and_is_refused_else(tmp_path: Path) -> None:
    """Some tools write a parent of the classes, of the same name, before them."""
    categories = [{"id": 0, "name": "car"}, {"id": 2, "name": "person"}, {"id": 7, "name": "Car"}]
    data = open_labelled(str(changed_coco(tmp_path, categories=categories)))
    assert (data.class_names, data.category_ids) == (("person", "Car"), (2, 7))
    assert objects_of(data.images[0].truth, data) == [("Car", CAR), ("person", PERSON)]
    categories = [{"id": 2, "name": "car"}, {"id": 7, "name": "car"}]
    with pytest.raises(ConfigError, match=r"a name of its own, 2 is 'car' and 7 is 'car'"):
        open_labelled(str(changed_coco(tmp_path, categories=categories)))


@pytest.mark.parametrize(
    "name", ["street.jpg", "IMG_1.jpg", "a.png", "A.JPG", "C:\\photos\\IMG_1.jpg", "/data/a.jpg", ""]
)
def test_the_image_beside_the_xml_is_taken_whatever_it_was_called(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / "a.jpg")
    xml(tmp_path / "a.xml", xml_object("car", CAR), name=name)
    assert [each.path for each in with_images(open_labelled(str(tmp_path)), None).images] == [tmp_path / "a.jpg"]


def test_of_two_images_beside_the_xml_the_named_one_is_taken_or_none(tmp_path: Path) -> None:
    for image in ("a.jpg", "a.png"):
        write_image(tmp_path / image)
    xml(tmp_path / "a.xml", xml_object("car", CAR), name="a.png")
    assert with_images(open_labelled(str(tmp_path)), None).images[0].path == tmp_path / "a.png"
    xml(tmp_path / "a.xml", xml_object("car", CAR), name="b.png")
    with pytest.raises(
        ConfigError, match=r"a.xml must be of one image, a.jpg and a.png bear its name, and it says b.png"
    ):
        with_images(open_labelled(str(tmp_path)), None)


def test_an_image_that_two_files_label_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "street.jpg")
    for name in ("a.xml", "b.xml"):
        xml(tmp_path / name, xml_object("car", CAR))
    with pytest.raises(ConfigError, match=r"must be labelled once, .*a.xml and .*b.xml are both of .*street.jpg"):
        with_images(open_labelled(str(tmp_path)), None)


def test_xml_in_capitals_is_read_and_what_macos_leaves_is_not(tmp_path: Path) -> None:
    xml(tmp_path / "a.XML", xml_object("car", CAR))
    (tmp_path / "._a.XML").write_bytes(b"\0\5\26\7")
    assert len(read_voc_folder(tmp_path).images) == 1


@pytest.mark.parametrize(("text", "words"), [("nan", "bndbox/xmin must be a number, got 'nan'"), ("x", "got 'x'")])
def test_a_voc_corner_that_is_no_number_is_refused_with_its_object(tmp_path: Path, text: str, words: str) -> None:
    content = xml(tmp_path / "a.xml", xml_object("car", CAR), xml_object("person", PERSON)).read_text()
    (tmp_path / "a.xml").write_text(content.replace("<xmin>101<", f"<xmin>{text}<"))
    with pytest.raises(ConfigError, match=rf"a.xml must be .*: object 2: .*{words}"):
        read_voc_folder(tmp_path)


@pytest.mark.parametrize("word", ["1", "true", "True"])
def test_difficult_is_a_word_too(tmp_path: Path, word: str) -> None:
    text = xml(tmp_path / "a.xml", xml_object("car", CAR, difficult=7)).read_text()
    (tmp_path / "a.xml").write_text(text.replace(">7<", f">{word}<"))
    assert len(read_voc_folder(tmp_path).images[0].truth.ignored) == 1
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ConfigError, match="object 1: difficult must be 0 or 1, got '7'"):
        read_voc_folder(tmp_path)


POSE = {
    "[3, 2]": ("1 0.25 0.5 0.3 0.4 0.1 0.2 0.3 0.25 0.2 0.4", "0 0.55 0.5 0.1 0.8 0.9 0.8 0.6 0.3 0.7 0.5"),
    "[3, 3]": ("1 0.25 0.5 0.3 0.4 0.1 0.2 2 0.3 0.25 2 0.2 0.4 1", "0 0.55 0.5 0.1 0.8 0.9 0.8 2 0.6 0.3 0 0.7 0.5 1"),
    "[2, 3]": ("1 0.25 0.5 0.3 0.4 0.1 0.2 1 0.3 0.25 1", "0 0.55 0.5 0.1 0.8 0.9 0.8 1 0 0 0"),
}


@pytest.mark.parametrize("shape", POSE)
def test_points_behind_a_box_are_announced_or_refused(tmp_path: Path, shape: str) -> None:
    data = f"names: [person, car]\nval: images/val\nkpt_shape: {shape}\n"
    labelled = read_yolo_folder(yolo(tmp_path, *POSE[shape], data=data))
    found = objects_of(labelled.images[1].truth, labelled)
    assert [name for name, _ in found] == ["car", "person"]
    assert found[0][1] == pytest.approx(CAR)
    assert found[1][1] == pytest.approx(PERSON)
    with pytest.raises(ConfigError, match=r"street.txt, line 1: .*kpt_shape"):
        read_yolo_folder(yolo(tmp_path, *POSE[shape]))
    with pytest.raises(ConfigError, match=r"line 1: must be a class, 4 numbers, and the \d+ of kpt_shape, got 6"):
        read_yolo_folder(yolo(tmp_path, "1 0.1 0.5 0.4 0.3 0.25 0.7", data=data))


@pytest.mark.parametrize(
    "outline",
    ["0.1 0.3 0.4 0.3 0.4 0.7 0.1 0.7", "0.1 0.5 0.2 0.3 0.4 0.5 0.2 0.7 0.15 0.6", "0.25 0.3 0.4 0.7 0.1 0.7"],
)
def test_outlines_of_one_length_are_no_points(tmp_path: Path, outline: str) -> None:
    data = read_yolo_folder(yolo(tmp_path, f"1 {outline}", f"1 {outline.replace('0.4', '0.45')}"))
    assert objects_of(data.images[1].truth, data)[0][1] == pytest.approx(CAR)


@pytest.mark.parametrize("names", ["{'0': person, '1': car}", "{0: person, 1: car}", "person, car", "[person, car]"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_yolo_files_may_be_written_on_windows(tmp_path: Path, names: str, encoding: str) -> None:
    folder = yolo(tmp_path, "1 0.25 0.5 0.3 0.4")
    label = folder / "labels/val/street.txt"
    label.write_bytes(label.read_text().encode(encoding))
    (folder / "list.txt").write_bytes(".\\images\\val\\street.jpg\r\n".encode(encoding))
    for val in ("images\\val", "list.txt"):
        (folder / "data.yaml").write_bytes(f"names: {names}\nval: {val}\n".encode(encoding))
        data = read_yolo_folder(folder)
        ((name, box),) = objects_of(data.images[-1].truth, data)
        assert name == "car"
        assert box == pytest.approx(CAR)


def test_labels_in_capitals_are_read(tmp_path: Path) -> None:
    label = yolo(tmp_path, "1 0.25 0.5 0.3 0.4") / "labels/val/street.txt"
    label.rename(label.with_suffix(".TXT"))
    assert read_yolo_folder(tmp_path).num_objects_by_class().tolist() == [0, 1]


def test_a_line_that_is_there_twice_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = read_yolo_folder(yolo(tmp_path, "1 0.25 0.5 0.3 0.4", "1 0.25 0.5 0.3 0.4"))
    assert data.num_objects_by_class().tolist() == [0, 1]
    assert "street.txt: 1 lines are there twice and count once" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: [a, b]\nnc: 3\nval: images/val", "nc and names must be of as many classes, nc is 3, and 2 are named"),
        ("names: 7\nval: images/val", "names must be a list of names"),
        ("names: [a, b]\npath: [1]\nval: images/val", r"path must be a folder, got \[1\]"),
        ("names: [a, b]\nkpt_shape: 17\nval: images/val", "kpt_shape must be a number of points and 2 or 3 numbers"),
    ],
)
def test_a_yaml_that_contradicts_itself_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_yolo_folder(yolo(tmp_path, data=text))


def test_a_file_of_labels_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (yolo(tmp_path) / "labels/val/street.txt").write_bytes(b"\x80\x81")
    with pytest.raises(ConfigError, match=r"street.txt: must be a text file with an object a line"):
        read_yolo_folder(tmp_path)


def test_the_files_that_were_read_are_known(tmp_path: Path) -> None:
    data = read_yolo_folder(yolo(tmp_path, "1 0.25 0.5 0.3 0.4"))
    assert {path.name for path in data.files} == {"data.yaml", "street.txt", "street.jpg", "empty.jpg"}
    assert [path.name for path in read_coco_json(coco(tmp_path / "labels.JSON")).files] == ["labels.JSON"]
    assert open_labelled(str(tmp_path / "labels.JSON")).num_objects_by_class().tolist() == [1, 1]


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


@needs_assets
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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.1 0.1 nan 0.1 0.4 0.3", "a box must lie within its image"),
        ("0 0.1 0.1 inf 0.1 0.4 0.3", "a box must lie within its image"),
        ("0 " + "0.1 1.5 " * 20_000, "a box must lie within its image"),
    ],
)
def test_an_outline_that_cannot_be_is_refused_soon(tmp_path: Path, line: str, words: str) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "labels" / "a.txt").write_text(line)
    (tmp_path / "data.yaml").write_text("names: [cat]\nval: images\n")
    with pytest.raises(ConfigError, match=words):
        open_labelled(str(tmp_path))


@pytest.mark.parametrize("entry", ["/", "..", "x" * 300, "a\0b", "."])
def test_an_entry_that_no_image_can_have_is_one_error(tmp_path: Path, entry: str) -> None:
    (tmp_path / "list.txt").write_text(f"{entry}\n")
    (tmp_path / "data.yaml").write_text("names: [cat]\nval: list.txt\n")
    with pytest.raises(ConfigError, match="val must have labels beside its 1 images"):
        open_labelled(str(tmp_path))


def test_the_string_of_a_mask_without_an_end_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no such string"):
        box_of_rle({"size": [4, 4], "counts": "o" * 3_000_000})


def test_an_image_with_more_boxes_than_can_be_judged_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.accuracy.truth.MOST_BOXES", 2)
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, "bbox": [n, 0, 4, 4]} for n in range(3)],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"a.png: an image must have at most 2 boxes, got 3"):
        open_labelled(str(path))
