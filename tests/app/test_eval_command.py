"""Does `streamdet eval` judge what the pipeline finds, on each kind of labels, and say each mistake in one line?"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.accuracy.opening import open_labelled, with_images
from pipeline.accuracy.truth import LabelledData
from pipeline.app.class_names import names_of
from pipeline.app.config.loading import load_config
from pipeline.app.detection_run import detect_all
from pipeline.app.labelled_data import drawn_data
from pipeline.detector.recognise import recognise
from pipeline.errors import ConfigError
from pipeline.sources.street.traffic import TrafficSource
from tests.support.assets import MODELS, VOC100, needs_assets
from tests.support.command_line import Streamdet

pytest.importorskip("pycocotools", reason="AP needs pycocotools")
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

YOLOX = MODELS / "yolox_nano_coco_416.onnx"

# What `small_detector` finds in every black picture of its own size, and scores .9 and .4.
CAT, DOG = [8, 16, 16, 16], [32, 24, 24, 20]


def write_images(folder: Path, *names: str, size_wh: tuple[int, int] = (64, 64)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        assert cv2.imwrite(str(folder / name), np.zeros((size_wh[1], size_wh[0], 3), np.uint8))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two of three images are labelled: a cat and a dog in one, a cat, where none is found, in the other."""
    write_images(tmp_path / "images", "1.png", "2.png", "3.png")
    values = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 64} for number in (1, 3)],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 5, "bbox": CAT},
            {"id": 2, "image_id": 3, "category_id": 6, "bbox": DOG},
            {"id": 3, "image_id": 1, "category_id": 5, "bbox": [40, 40, 20, 20]},
        ],
        "categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "dog"}],
    }
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(values))
    return path


# Of two cats one is found, beside one wrong one that scores the same and comes first: precision 1/2 up to recall 1/2.
# The dog is found beside one wrong one, too.
CAT_AP = 51 / 101 / 2
DOG_AP = 1 / 2


def test_a_model_is_judged_on_the_labelled_images_alone(
    streamdet: Streamdet, tmp_path: Path, labels: Path, small_detector: Path
) -> None:
    report = tmp_path / "report.json"
    done = streamdet("eval", "--model", small_detector, "--data", labels, "--device", "cpu", "--report", report)
    assert done.returncode == 0, done.stderr
    header, row, *about = done.stdout.splitlines()
    assert " ".join(header.split()) == "model AP AP50 AP75 APs APm APl AR100 VOC AP50 ms"
    assert row.split()[:3] == ["cats", f"{(CAT_AP + DOG_AP) / 2:.3f}", f"{(CAT_AP + DOG_AP) / 2:.3f}"]
    assert row.split()[5:7] == ["–", "–"]  # neither medium nor large objects
    assert about == [
        f"{labels}: 2 images, 3 objects of 2 classes, 0 more that are ignored",
        "cats: on cpu, scores from 0.001 on, at most 100 detections an image; ms is the median time of the stage "
        "detect",
    ]
    written = json.loads(report.read_text())
    assert written["data"] == {
        "origin": str(labels),
        "num_images": 2,
        "num_objects": 3,
        "num_classes": 2,
        "num_ignored": 0,
    }
    (result,) = written["results"]
    assert result["coco"]["AP"] == pytest.approx((CAT_AP + DOG_AP) / 2, abs=1e-6)
    assert result["coco"]["APl"] is None
    assert result["voc"] == {"AP50": 0.375, "AP50 at 11 points": pytest.approx((6 / 11 / 2 + 0.5) / 2, abs=1e-6)}
    assert [(each["name"], each["num_objects"]) for each in result["classes"]] == [("cat", 2), ("dog", 1)]
    assert result["confusion"]["score_threshold"] == recognise(small_detector).score_threshold
    assert result["confusion"]["rows are truth, columns are found"] == [[1, 0, 1], [0, 1, 0], [1, 1, 0]]
    assert result["detect_ms"] > 0
    assert (result["device"], result["score_threshold"], result["max_detections"]) == ("cpu", 0.001, 100)


def test_the_same_numbers_come_from_each_format(
    streamdet: Streamdet, tmp_path: Path, labels: Path, small_detector: Path
) -> None:
    boxes = {"1": [("cat", [40, 40, 20, 20])], "3": [("cat", CAT), ("dog", DOG)]}
    (tmp_path / "xml").mkdir()
    (tmp_path / "yolo/labels").mkdir(parents=True)
    write_images(tmp_path / "yolo/images", "1.png", "3.png")
    (tmp_path / "yolo/data.yaml").write_text("names: {0: dog, 1: cat}\nval: images\n")
    for stem, objects in boxes.items():
        texts, lines = [], []
        for name, (x, y, width, height) in objects:
            corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
            box = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
            texts.append(f"<object><name>{name}</name><bndbox>{box}</bndbox></object>")
            shares = ((x + width / 2) / 64, (y + height / 2) / 64, width / 64, height / 64)
            lines.append(" ".join(map(str, (int(name == "cat"), *shares))))
        text = f"<annotation><filename>{stem}.png</filename>{''.join(texts)}</annotation>"
        (tmp_path / f"xml/{stem}.xml").write_text(text)
        (tmp_path / f"yolo/labels/{stem}.txt").write_text("\n".join(lines))
    rows = {
        streamdet("eval", "--model", small_detector, "--data", data).stdout.splitlines()[1].rpartition(" ")[0].strip()
        for data in (labels, tmp_path / "xml", tmp_path / "yolo", tmp_path / "yolo/data.yaml")
    }
    assert len(rows) == 1, rows


def test_detections_are_saved_and_judged_again_without_the_model_and_without_the_images(
    streamdet: Streamdet, tmp_path: Path, labels: Path, small_detector: Path
) -> None:
    saved = tmp_path / "found.json"
    first = streamdet("eval", "--model", small_detector, "--data", labels, "--save-detections", saved)
    assert first.returncode == 0, first.stderr
    rows = json.loads(saved.read_text())
    assert {row["image_id"] for row in rows} == {1, 3}
    assert {tuple(row["bbox"]) for row in rows if row["category_id"] == 5} == {tuple(map(float, CAT))}
    shutil.rmtree(tmp_path / "images")
    again = streamdet("eval", "--data", labels, "--detections", saved)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[1].split()[1:9] == first.stdout.splitlines()[1].split()[1:9]
    assert again.stdout.splitlines()[1].split()[-1] == "–"  # nothing ran


def test_several_models_stand_one_below_the_other_with_their_classes_and_charts(
    streamdet: Streamdet, tmp_path: Path, labels: Path, small_detector: Path
) -> None:
    pytest.importorskip("matplotlib", reason="charts are drawn by matplotlib")
    other = tmp_path / "others.onnx"
    shutil.copy(small_detector, other)
    words = (
        "--model",
        small_detector,
        "--model",
        other,
        "--data",
        labels,
        "--per-class",
        "--charts",
        tmp_path / "charts",
    )
    done = streamdet("eval", *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [lines[1].split()[0], lines[2].split()[0]] == ["cats", "others"]
    assert [line.split()[:4] for line in lines if line.startswith(("cat ", "dog "))] == [
        ["cat", "2", f"{CAT_AP:.3f}", f"{CAT_AP:.3f}"],
        ["dog", "1", "0.500", "0.500"],
    ] * 2
    assert sorted(path.name for path in (tmp_path / "charts").iterdir()) == [
        "cats-confusion.png",
        "cats-precision-recall.png",
        "others-confusion.png",
        "others-precision-recall.png",
    ]


def test_the_detector_that_comes_along_finds_what_is_drawn(streamdet: Streamdet, tmp_path: Path) -> None:
    report, saved = tmp_path / "report.json", tmp_path / "found.json"
    word = "sim:traffic?seed=1003&seconds=30&fps=1"
    done = streamdet("eval", "--data", word, "--max-images", "8", "--report", report, "--save-detections", saved)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(report.read_text())["results"]
    assert json.loads(report.read_text())["data"]["num_images"] == 8
    assert result["coco"]["AP50"] > 0.85
    again = streamdet("eval", "--data", word, "--max-images", "8", "--detections", saved)
    assert again.stdout.splitlines()[1].split()[1:9] == done.stdout.splitlines()[1].split()[1:9]


def test_drawn_frames_have_the_time_and_truth_of_their_source() -> None:
    data = drawn_data("sim:traffic?seconds=1&fps=4&seed=7")
    source = TrafficSource.from_spec("sim:traffic?seconds=1&fps=4&seed=7")
    assert [image.pts_seconds for image in data.images] == [0, 0.25, 0.5, 0.75]
    for index, image in enumerate(data.images):
        assert image.truth.objects.boxes_xyxy.tolist() == source.truth(index).boxes_xyxy.tolist()
        assert image.truth.ignored.boxes_xyxy.tolist() == source.ignored(index).boxes_xyxy.tolist()
    with pytest.raises(ConfigError, match=r"must end: give it seconds=20, or --max-images"):
        drawn_data("sim:traffic?seconds=inf")
    assert len(drawn_data("sim:traffic?seconds=inf", max_images=2).images) == 2


def test_what_a_model_cannot_know_is_said_and_counts_nothing(
    streamdet: Streamdet, labels: Path, small_detector: Path
) -> None:
    values = json.loads(labels.read_text())
    values["categories"][1]["name"] = "unicorn"
    labels.write_text(json.dumps(values))
    done = streamdet("eval", "--model", small_detector, "--data", labels)
    assert done.stdout.splitlines()[1].split()[1] == f"{CAT_AP / 2:.3f}"
    assert "cats: does not know 1 of these classes, each of which counts 0: unicorn\n" in done.stdout


def one_row(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps([{"image_id": 3, "category_id": 5, "bbox": CAT, "score": 0.5, **changes}]))
    return path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--data must name the labels: a COCO JSON, a folder with Pascal VOC's XML, a data.yaml, or sim"),
        (("--data", "nowhere.json"), "--data must be a COCO JSON, a folder of Pascal VOC's XML files"),
        (("--data", "sim:trafic"), "the one drawn scene is sim:traffic"),
        (("--data", "sim:traffic?seconds=inf"), "sim:traffic?seconds=inf must end: give it seconds=20"),
        (("--data", "LABELS"), "demo must know one of the classes of LABELS (cat, dog), it knows person, bicycle"),
        (("--data", "LABELS", "--model", "nowhere.onnx"), "nowhere.onnx"),
        (("--data", "LABELS", "--images", "nowhere"), "--images must be a folder, got nowhere"),
        (("--data", "LABELS", "--detections", "nowhere.json"), "nowhere.json must hold COCO's results"),
        (("--data", "LABELS", "--detections", "ROW", "--save-detections", "f.json"), "takes one --model"),
        (("--data", "LABELS", "--report", "/dev/null/r.json"), "/dev/null/r.json: report cannot be written there"),
        (("--data", "LABELS", "--report", "LABELS"), "--report must not be what is read, got LABELS"),
        (("--data", "LABELS", "--detections", "ROW", "--charts", "LABELS"), "--charts must be a folder, got "),
        (("--data", "LABELS", "--set", "flow.every=3"), "flow.every must be 1 for eval, which judges every"),
        (("--data", "LABELS", "--set", "detection.max=3"), "--set: there is no key detection.max"),
        (("--data", "LABELS", "--score-threshold", "7"), "--score-threshold must be less than or equal to 1"),
    ],
)  # fmt: skip
def test_every_mistake_is_one_line(
    streamdet: Streamdet,
    tmp_path: Path,
    labels: Path,
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"LABELS": str(labels), "ROW": str(one_row(tmp_path / "row.json"))}
    done = streamdet("eval", *(paths.get(word, word) for word in words))
    assert done.returncode == 1
    assert done.stderr.startswith("streamdet: error: ")
    assert message.replace("LABELS", str(labels)) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    assert json.loads(labels.read_text())


def test_images_that_are_missing_broken_or_of_another_size_are_refused(
    streamdet: Streamdet, tmp_path: Path, labels: Path, small_detector: Path
) -> None:
    words = ("--model", small_detector, "--data", labels)
    (tmp_path / "images/3.png").write_bytes(b"no image")
    assert "every labelled image must be readable, 1 of 2 are not: " in streamdet("eval", *words).stderr
    write_images(tmp_path / "images", "3.png", size_wh=(64, 32))
    assert "3.png: the labels are of an image of 64×64, it is 64×32" in streamdet("eval", *words).stderr
    (tmp_path / "images/3.png").unlink()
    assert "1 of 2 labelled images are missing, such as 3.png; looked in " in streamdet("eval", *words).stderr


def test_settings_of_the_user_win_over_those_of_the_command(
    labels: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    words = ("--model", small_detector, "--data", labels)
    done = streamdet("eval", *words, "--set", "detection.max_detections=1", "--set", "detection.score_threshold=0.2")
    assert "scores from 0.2 on, at most 1 detections an image" in done.stdout
    done = streamdet("eval", *words, "--score-threshold", "0.5", "--set", "detection.score_threshold=0.2")
    assert "scores from 0.5 on, at most 100 detections an image" in done.stdout


def test_what_is_found_stands_image_by_image_in_the_classes_of_the_data(small_detector: Path, labels: Path) -> None:
    data = with_images(open_labelled(str(labels)), None)
    turned = LabelledData(data.origin, data.class_names[::-1], data.category_ids[::-1], data.images)
    config = load_config(options={"model": str(small_detector), "output.show": False, "engine.device": "cpu"})
    for each, classes in ((data, [0, 1]), (turned, [1, 0])):
        seen: list[None] = []
        run = detect_all(config, each, recognise(small_detector), on_image=partial(seen.append, None))
        assert [found.class_ids.tolist() for found in run.detections] == [classes, classes]
        assert len(seen) == 2
        assert run.device == "cpu"
        assert run.statistics.frames.delivered == 2


@needs_assets
def test_a_real_detector_is_as_good_as_its_publisher_says(streamdet: Streamdet, tmp_path: Path) -> None:
    """Whose table counts scores from .05 on."""
    report = tmp_path / "report.json"
    done = streamdet("eval", "--model", YOLOX, "--data", VOC100, "--score-threshold", "0.05", "--report", report)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(report.read_text())["results"][0]["coco"]
    assert (numbers["AP"], numbers["AP50"]) == pytest.approx((0.506, 0.745), abs=0.01)


@needs_assets
def test_difficult_objects_count_as_pycocotools_counts_crowds(streamdet: Streamdet, tmp_path: Path) -> None:
    """Every box of the XML from its first pixel on, given to pycocotools without any of our readers."""
    report, saved = tmp_path / "report.json", tmp_path / "found.json"
    xml = VOC100 / "pascalvoc_format"
    words = ("--model", YOLOX, "--data", xml, "--report", report, "--save-detections", saved)
    assert streamdet("eval", *words).returncode == 0
    pattern = r"<name>(\w+)</name>.*?<difficult>(\d)</difficult>.*?" + "".join(
        rf"<{corner}>(\d+)</{corner}>\s*" for corner in ("xmin", "ymin", "xmax", "ymax")
    )
    annotations: list[dict[str, Any]] = []
    paths = sorted(xml.glob("*.xml"))
    for image_id, path in enumerate(paths, 1):
        for name, difficult, *corners in re.findall(pattern, path.read_text(), re.DOTALL):
            x1, y1, x2, y2 = map(int, corners)
            box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
            row = {"id": len(annotations) + 1, "image_id": image_id, "bbox": box, "area": box[2] * box[3]}
            annotations.append({**row, "category_id": name, "iscrowd": int(difficult)})
    names = sorted({each["category_id"] for each in annotations})
    for each in annotations:
        each["category_id"] = names.index(each["category_id"]) + 1
    assert len(annotations) == 273
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = COCO()
        images, categories = range(1, len(paths) + 1), range(1, len(names) + 1)
        truth.dataset = {
            "info": {},
            "images": [{"id": each} for each in images],
            "annotations": annotations,
            "categories": [{"id": each} for each in categories],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(str(saved)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = json.loads(report.read_text())["results"][0]["coco"]
    assert list(numbers.values()) == pytest.approx(evaluation.stats.tolist(), abs=1e-6)


def test_the_same_model_twice_is_refused_because_one_would_overwrite_the_others_charts() -> None:
    with pytest.raises(ConfigError, match=r"every model must be listed only once, got a/x\.onnx, a/x\.onnx"):
        names_of(["a/x.onnx", "a/x.onnx"])
    assert names_of(["a/x.onnx", "b/x.onnx", "y.onnx"]) == ["a/x.onnx", "b/x.onnx", "y.onnx"]
    assert names_of(["a/x.onnx", "b/y.onnx"]) == ["x", "y"]
