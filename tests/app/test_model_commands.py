"""Do inspect, adopt, export, verify and quantize do what they say, and is every mistake one line?"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.app.model_files import DEMO_MODEL
from pipeline.detector.onnx_file import copy_with_metadata, graph_hash
from pipeline.detector.recognise import recognise
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from tests.support import realistic_outputs as real
from tests.support.command_line import Streamdet, refused
from tests.support.foreign_detector import write
from tests.support.tiny_detector import write_detector


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    return write(tmp_path / "foreign.onnx", real.yolov8())


@pytest.fixture
def ambiguous(tmp_path: Path) -> Path:
    """Two outputs that may be a DETR of 400 queries or offsets from 400 anchors."""
    outputs = real.ssd_raw()
    outputs["box_encodings"] = np.random.default_rng(4).uniform(0, 1, (400, 4)).astype(np.float32)
    np.save(tmp_path / "either_anchors.npy", real.anchors())
    return write(tmp_path / "either.onnx", outputs)


def write_finder(
    path: Path,
    *,
    names: tuple[str, ...] = ("cat", "dog", "bird"),
    score: float = 0.9,
    shift: float = 0.0,
    batch: int | None = None,
    parity: dict[str, Any] | None = None,
) -> Path:
    """A file that finds a cat and, less surely, a dog in the middle of every picture."""
    ids = [names.index("cat"), names.index("dog")]
    outputs: dict[str, npt.NDArray[Any]] = {
        "boxes": np.array([[20 + shift, 28, 36 + shift, 36], [30, 29, 40, 35]], np.float32),
        "scores": np.array([score, 0.4], np.float32),
        "class_ids": np.array(ids, np.int64),
    }
    spec = DetectorSpec("images", (64, 64), "boxes", names, batch=batch, parity=parity)
    shape = ("batch" if batch is None else batch, 3, 64, 64)
    return write_detector(path, outputs, input_shape=shape, adds_mean=False, metadata={METADATA_KEY: spec.to_json()})


# --- inspect and adopt


def test_inspect_says_why_a_file_is_taken_for_what_it_is(streamdet: Streamdet, foreign: Path) -> None:
    done = streamdet("inspect", foreign, "--why")
    assert done.returncode == 0, done.stderr
    assert "✓ yolov8: " in done.stdout
    assert "    80 class names: COCO's" in done.stdout
    assert sum(line.startswith("· ") for line in done.stdout.splitlines()) >= 3
    assert "foreign.onnx has no parity certificate" in done.stdout
    assert "·" not in streamdet("inspect", foreign).stdout


def test_inspect_says_both_readings_of_a_file_that_has_two(streamdet: Streamdet, ambiguous: Path) -> None:
    done = streamdet("inspect", ambiguous, "--why")
    assert refused(done, "can be read in 3 ways", "--head detr|ssd_raw", "streamdet adopt")
    assert "✓ detr: " in done.stdout
    assert "✓ ssd_raw: " in done.stdout
    assert streamdet("inspect", ambiguous, "--head", "detr").returncode == 0


def test_what_is_adopted_needs_no_flags_any_more(
    streamdet: Streamdet, ambiguous: Path, tmp_path: Path, small_video: Path
) -> None:
    before, adopted = ambiguous.read_bytes(), tmp_path / "adopted.onnx"
    assert refused(streamdet("run", small_video, "-m", ambiguous, "--jsonl", "-"), "can be read in 3 ways")
    done = streamdet("adopt", ambiguous, "-o", adopted, "--head", "detr", "--colour", "bgr")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{adopted}: detr, 96 × 64, 81 classes\n"
    assert ambiguous.read_bytes() == before
    assert graph_hash(adopted) == graph_hash(ambiguous)
    shown = streamdet("inspect", adopted)
    assert shown.returncode == 0, shown.stderr
    assert "BGR" in shown.stdout
    assert "written by adopt" in shown.stdout
    run = streamdet("run", small_video, "-m", adopted, "--jsonl", "-", "--max-frames", "2", "--device", "cpu")
    assert run.returncode == 0, run.stderr
    assert [json.loads(line)["frame"] for line in run.stdout.splitlines()] == [0, 1]


def test_what_is_assumed_of_a_foreign_file_is_said_when_it_runs_until_it_is_adopted(
    streamdet: Streamdet, tmp_path: Path, small_video: Path
) -> None:
    boxes, class_ids, scores = real.finished()
    class_ids[1] = 0
    model = write(tmp_path / "lists.onnx", {"x": boxes, "y": class_ids, "z": scores})
    assumed = ("class names assumed: COCO's 80, since it finds", "resizing assumed: no picture tells it; see --resize")
    run = ("run", small_video, "--jsonl", "-", "--max-frames", "1", "--device", "cpu", "-m")
    before = streamdet(*run, model).stderr
    assert [before.count(f"lists.onnx: {each}") for each in assumed] == [1, 1]
    adopted = streamdet("adopt", model, "-o", tmp_path / "adopted.onnx").stdout
    assert all(each in adopted for each in assumed)
    assert "assumed" not in streamdet(*run, tmp_path / "adopted.onnx").stderr


def test_an_adopted_file_may_be_adopted_again_with_other_words(
    streamdet: Streamdet, foreign: Path, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing {n}" for n in range(80)))
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    assert streamdet("adopt", foreign, "-o", one, "--colour", "bgr").returncode == 0
    assert streamdet("adopt", one, "-o", two, "--class-names", names).returncode == 0
    spec = recognise(two)
    assert (spec.colour, spec.class_names[79]) == ("bgr", "thing 79")


def test_adopt_does_not_touch_the_original(streamdet: Streamdet, foreign: Path, tmp_path: Path) -> None:
    before = foreign.read_bytes()
    assert refused(streamdet("adopt", foreign, "-o", foreign), "--output must be another file than MODEL")
    link = tmp_path / "link.onnx"
    link.symlink_to(foreign)
    assert refused(streamdet("adopt", foreign, "-o", link), "--output must be another file than MODEL")
    assert foreign.read_bytes() == before


def test_adopt_takes_away_a_certificate_because_it_was_of_another_reading(streamdet: Streamdet, tmp_path: Path) -> None:
    model = write_finder(tmp_path / "proven.onnx", parity={"passed": True})
    assert streamdet("adopt", model, "-o", tmp_path / "o.onnx", "--colour", "bgr").returncode == 0
    assert recognise(tmp_path / "o.onnx").parity is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adopt", "nowhere.onnx", "-o", "o.onnx"], "nowhere.onnx: no such file"),
        (["adopt", "VIDEO", "-o", "o.onnx"], "must be an ONNX model"),
        (["adopt", "MODEL", "-o", "/dev/null/o.onnx"], "/dev/null/o.onnx"),
        (["adopt", str(DEMO_MODEL), "-o", "o.onnx"], "says what it is already"),
    ],
)
def test_a_mistake_with_adopt_is_one_line_and_leaves_no_file(
    streamdet: Streamdet,
    tmp_path: Path,
    foreign: Path,
    small_video: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    stand_ins = {"VIDEO": str(small_video), "MODEL": str(foreign)}
    assert refused(streamdet(*(stand_ins.get(word, word) for word in words)), message)
    assert not (tmp_path / "o.onnx").exists()


# --- hints


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--colour", "bgr"], "BGR, (pixel - 0) / 255"),
        (["--mean", "123.7,116.3,103.5", "--std", "58.4,57.1,57.4"], "(pixel - (123.7, 116.3, 103.5)) / (58.4, 57.1"),
        (["--mean", "127.5", "--std", "128"], "(pixel - 127.5) / 128"),
        (["--resize", "stretch"], "stretch"),
        (["--size", "96x64"], "96 × 64"),
        (["--head", "yolov8"], "yolov8"),
    ],
)
def test_a_hint_is_heeded(streamdet: Streamdet, foreign: Path, flags: list[str], said: str) -> None:
    done = streamdet("inspect", foreign, *flags)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_a_run_takes_hints_by_flag_and_by_set(
    streamdet: Streamdet, ambiguous: Path, small_video: Path, tmp_path: Path
) -> None:
    words: list[str | Path] = ["run", small_video, "-m", ambiguous, "--jsonl", "-", "--max-frames", "1"]
    words += ["--score-threshold", "0.001", "--device", "cpu"]
    by_flag = streamdet(*words, "--head", "detr")
    by_key = streamdet(*words, "--set", "hints.head=detr")
    file = tmp_path / "mine.yaml"
    file.write_text("hints: {head: detr}\n")
    by_file = streamdet(*words, "--config", file)
    for done in (by_flag, by_key, by_file):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["detections"] == json.loads(by_flag.stdout)["detections"] != []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--head", "yolov99"], "--head must be one of boxes, detr"),
        (["--colour", "grb"], "--colour must be 'rgb' or 'bgr', got 'grb'"),
        (["--resize", "letterbox"], "--resize must be 'letterbox-center'"),
        (["--mean", "1,2"], "--mean must be one number or three with commas, such as 123.7,116.3,103.5, got '1,2'"),
        (["--std", "a"], "--std must be one number or three with commas"),
        (["--std", "0"], "std must not be 0"),
        (["--mean", "nan"], "--mean"),
        (["--size", "640"], "size"),
        (["--size", "0x640"], "size"),
        (["--size", "640x640"], "--size must be 96x64, which is fixed in the graph"),
        (["--size", "axb"], "error: --size must be WIDTHxHEIGHT, such as 640x384, got 'axb'"),
        (["--box-format", "xxyy"], "error: --box-format must be"),
        (["--scores", "relu"], "error: --scores must be"),
        (["--columns", ","], "--columns must name at least one"),
        (["--columns", "x1,y1,x2,y2,score,class"], "--columns"),
        (["--class-names", "nowhere.txt"], "--class-names must be a text file with one name per line, got nowhere.txt"),
        (["--anchors", "nowhere.npy"], "--anchors must be a .npy file, got nowhere.npy: No such file or directory"),
        (["--anchors", __file__], "it does not begin like one"),
    ],
)
def test_a_wrong_hint_is_one_line(streamdet: Streamdet, foreign: Path, flags: list[str], message: str) -> None:
    assert refused(streamdet("inspect", foreign, *flags), message)


def test_a_wrong_hint_by_set_is_one_line(streamdet: Streamdet, foreign: Path, small_video: Path) -> None:
    done = streamdet("run", small_video, "-m", foreign, "--no-show", "--set", "hints.color=bgr")
    assert refused(done, "there is no key hints.color; did you mean hints.colour?")


def test_what_a_model_has_no_use_for_is_refused(streamdet: Streamdet, tmp_path: Path, small_detector: Path) -> None:
    np.save(tmp_path / "anchors.npy", np.full((4, 4), 0.5, np.float32))
    done = streamdet("inspect", small_detector, "--anchors", tmp_path / "anchors.npy")
    assert refused(done, "--anchors has no effect on", "head boxes has none; leave it out")
    done = streamdet("inspect", small_detector, "--columns", "x1,y1,x2,y2,score,class")
    assert refused(done, "--columns has no effect on", "head boxes has none; leave it out")


# --- certificates


def test_a_run_says_once_that_nobody_has_verified_the_file(
    streamdet: Streamdet, foreign: Path, small_video: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(small_video.read_bytes())
    done = streamdet("run", small_video, other, "-m", foreign, "--jsonl", "-", "--max-frames", "2", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("parity certificate") == 1
    warning = "streamdet: warning: foreign.onnx has no parity certificate: it was never verified against the original"
    assert any(line.startswith(warning) for line in done.stderr.splitlines())
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 4


def test_a_certificate_of_this_graph_is_no_warning_and_of_another_one_is(
    streamdet: Streamdet, small_video: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="edits a weight")
    model = write_finder(tmp_path / "proven.onnx")
    certified = dataclasses.replace(recognise(model), parity={"passed": True, "graph_sha256": graph_hash(model)})
    copy_with_metadata(model, model, {METADATA_KEY: certified.to_json()})
    words: list[str | Path] = ["run", small_video, "--jsonl", "-", "--max-frames", "1", "--device", "cpu", "-m"]
    done = streamdet(*words, model)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    edited = onnx.load(model)
    boxes = next(each for each in edited.graph.initializer if each.name == "boxes_value")
    boxes.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(boxes) + np.float32(1), "boxes_value"))
    onnx.save(edited, tmp_path / "edited.onnx")
    done = streamdet(*words, tmp_path / "edited.onnx")
    assert done.returncode == 0
    assert done.stderr.count("warning") == 1
    assert "the parity certificate of edited.onnx was made with another version of the graph" in done.stderr
    json.loads(done.stdout)


def test_a_file_written_by_force_is_a_warning(streamdet: Streamdet, small_video: Path, tmp_path: Path) -> None:
    model = write_finder(tmp_path / "forced.onnx", parity={"passed": False, "forced": True})
    done = streamdet("run", small_video, "--jsonl", "-", "--max-frames", "1", "--device", "cpu", "-m", model)
    assert "forced.onnx failed verification against the original model" in done.stderr


def test_the_detector_that_comes_along_is_no_warning(streamdet: Streamdet, small_video: Path) -> None:
    done = streamdet("run", small_video, "--jsonl", "-", "--max-frames", "1", "--device", "cpu")
    assert "warning" not in done.stderr


# --- verify


@pytest.fixture
def quickly(small_video: Path) -> list[str]:
    """On a few black pictures, because drawing others takes a second."""
    return ["--images", str(small_video), "--max-images", "4"]


def test_files_that_say_the_same_verify(streamdet: Streamdet, tmp_path: Path, quickly: list[str]) -> None:
    one, two = write_finder(tmp_path / "one.onnx"), write_finder(tmp_path / "two.onnx", batch=1)
    for model, other, words in ((one, two, []), (two, one, quickly)):
        done = streamdet("verify", model, "--against", other, *words)
        assert done.returncode == 0, done
        assert "It says the same." in done.stdout
        assert f"{other} on the CPU" in done.stdout
        assert "has no parity certificate" in done.stdout
        assert "100.00% of" in done.stdout


def test_class_names_in_another_order_are_the_same_classes(
    streamdet: Streamdet, tmp_path: Path, quickly: list[str]
) -> None:
    one = write_finder(tmp_path / "one.onnx")
    for names in (("dog", "bird", "cat"), ("fish", "dog", "cat", "horse")):
        two = write_finder(tmp_path / "two.onnx", names=names)
        done = streamdet("verify", one, "--against", two, *quickly)
        assert done.returncode == 0, done


@pytest.mark.parametrize(
    ("change", "said"),
    [({"score": 0.85}, "Δ score"), ({"shift": 1.0}, "NOT met"), ({"names": ("dog", "cat", "bird")}, "8 class flips")],
)
def test_files_that_say_something_else_do_not_verify(
    streamdet: Streamdet, tmp_path: Path, quickly: list[str], change: dict[str, Any], said: str
) -> None:
    one, two = write_finder(tmp_path / "one.onnx"), write_finder(tmp_path / "two.onnx", **change)
    if "names" in change:  # the same numbers under names that say something else
        spec = dataclasses.replace(recognise(two), class_names=("cat", "dog", "bird"))
        copy_with_metadata(two, two, {METADATA_KEY: spec.to_json()})
    done = streamdet("verify", one, "--against", two, *quickly)
    assert done.returncode == 1, done
    verdict = "It is ruined: " if "names" in change else "It does NOT say the same: "
    assert verdict in done.stdout
    assert said in done.stdout
    assert not done.stderr


def test_the_looser_bar_lets_pass_what_float16_does(streamdet: Streamdet, tmp_path: Path, quickly: list[str]) -> None:
    one, two = write_finder(tmp_path / "one.onnx"), write_finder(tmp_path / "two.onnx", score=0.905)
    assert streamdet("verify", one, "--against", two, *quickly).returncode == 1
    assert streamdet("verify", one, "--against", two, *quickly, "--bar", "fp16").returncode == 0


def test_a_file_is_compared_with_itself_where_nothing_else_is_named(
    streamdet: Streamdet, tmp_path: Path, small_video: Path
) -> None:
    done = streamdet("verify", write_finder(tmp_path / "one.onnx"), "--images", small_video, "--max-images", "5")
    assert done.returncode == 0, done
    assert "100.00% of 20 in 5 images" in done.stdout
    assert "1, 2, 3, 4" in done.stdout


def test_nothing_found_is_nothing_shown(streamdet: Streamdet, tmp_path: Path, quickly: list[str]) -> None:
    spec = DetectorSpec("images", (64, 64), "boxes", ("cat",), batch=None)
    outputs: dict[str, npt.NDArray[Any]] = {
        "boxes": np.zeros((1, 4), np.float32),
        "scores": np.zeros(1, np.float32),
        "class_ids": np.zeros(1, np.int64),
    }
    model = write_detector(
        tmp_path / "blind.onnx",
        outputs,
        input_shape=("batch", 3, 64, 64),
        adds_mean=False,
        metadata={METADATA_KEY: spec.to_json()},
    )
    done = streamdet("verify", model, *quickly)
    assert done.returncode == 1
    assert "nothing was found in 4 images by either" in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bar", "fp8"], "--bar must be one of fp32, fp16, got 'fp8'"),
        (["--device", "gpu"], "--device must be one of cpu, openvino, cuda, tensorrt, got 'gpu'"),
        (["--against", "nowhere.onnx"], "nowhere.onnx: no such file"),
        (["--images", "nowhere.jpg"], "nowhere.jpg"),
    ],
)
def test_a_mistake_with_verify_is_one_line(
    streamdet: Streamdet, tmp_path: Path, flags: list[str], message: str
) -> None:
    assert refused(streamdet("verify", write_finder(tmp_path / "one.onnx"), *flags), message)


def test_a_checkpoint_is_of_no_use_for_a_file_that_does_not_name_its_network(
    streamdet: Streamdet, foreign: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the extra export is not installed")
    done = streamdet("verify", foreign, "--against", tmp_path / "weights.pt")
    assert refused(done, "foreign.onnx does not say which network it was exported from")


# --- export and quantize


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--list", "x"], "--list takes no MODEL, got x;"),
        (["x", "--form", "box"], "--form must be one of boxes, frame, body, got 'box'"),
        (["x", "--size", "640x"], "--size must be WIDTHxHEIGHT, such as 640x384, got '640x'"),
        (["x", "--size", "640x-1"], "--size must be WIDTHxHEIGHT"),
        (
            ["x", "--weights", "mine.pt"],
            "--weights must be DEFAULT or none, got 'mine.pt'; pass your own with --checkpoint",
        ),
        (["x", "--class-names", "NAMES", "--num-classes", "3"], "--num-classes is 3, but --class-names names 2"),
        (["x", "--class-names", "nowhere.txt"], "--class-names must be a text file"),
        (["x", "-o", "/dev/null/x.onnx"], "/dev/null/x.onnx: the ONNX file cannot be written there"),
    ],
)
def test_a_wrong_option_of_export_is_one_line(
    streamdet: Streamdet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    assert refused(streamdet("export", *(str(names) if word == "NAMES" else word for word in words)), message)
    assert [path.name for path in tmp_path.iterdir()] == ["names.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ssdlite320_mobilenet_v3_larg", "did you mean ssdlite320_mobilenet_v3_large?"),
        ("fasterrcnn_resnet50", "did you mean fasterrcnn_resnet50_fpn"),
        (
            "yolov8n.pt",
            "checkpoints of Ultralytics are exported by their own (AGPL) package: yolo export model=yolov8n.pt",
        ),
        ("model.onnx", "model.onnx is an ONNX file already: streamdet inspect says"),
        ("weights.pth", "streamdet export NAME --checkpoint weights.pth"),
        ("own.module:make", "own.module:make needs --adapter"),
    ],
)
def test_a_name_that_is_not_known_says_the_way_out(
    streamdet: Streamdet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    pytest.importorskip("torch", reason="the extra export is not installed")
    monkeypatch.chdir(tmp_path)
    done = streamdet("export", name)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_export_lists_the_names_that_it_knows(streamdet: Streamdet) -> None:
    done = streamdet("export", "--list")
    assert done.returncode == 0, done.stderr
    for part in ("torchvision", "ssdlite320_mobilenet_v3_large", "transformers", "effdet", "yolox", "--adapter"):
        assert part in done.stdout
    without = streamdet("export")
    assert (without.returncode, without.stdout) == (2, done.stdout)


def test_without_pytorch_export_names_the_extra_and_what_needs_none_works_all_the_same(
    tmp_path: Path, quickly: list[str]
) -> None:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        program = (
            f"import sys; sys.modules['torch'] = None; sys.argv = {['streamdet', *map(str, words)]!r}\n"
            "from pipeline.app import cli\n"
            "cli.main()"
        )
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    name = "ssdlite320_mobilenet_v3_large"
    for words in (["export", name, "-o", str(tmp_path / "o.onnx")], ["flops", name]):
        done = run(*words)
        assert done.returncode == 1
        assert done.stderr.endswith('streamdet: error: this needs torch: pip install "streamdet[export]"\n')
        assert "Traceback" not in done.stderr
    assert name in run("export", "--list").stdout
    one, two = write_finder(tmp_path / "one.onnx"), write_finder(tmp_path / "two.onnx")
    for words in (["verify", str(one), "--against", str(two), *quickly], ["flops", str(one)]):
        done = run(*words)
        assert done.returncode == 0, done.stderr


def test_quantize_does_not_overwrite_its_model(streamdet: Streamdet, tmp_path: Path, small_video: Path) -> None:
    model = write_finder(tmp_path / "one.onnx")
    before = model.read_bytes()
    done = streamdet("quantize", model, "--calibrate", small_video, "-o", model)
    assert refused(done, "--output must be another file than MODEL")
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    ("calibrate", "message"),
    [("nowhere", "nowhere"), ("STILL", "--calibrate must give at least 2 images")],
)
def test_quantize_says_what_is_wrong_with_its_images(
    streamdet: Streamdet, tmp_path: Path, calibrate: str, message: str
) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "still.png"), np.zeros((8, 8, 3), np.uint8))
    word = str(tmp_path / "still.png") if calibrate == "STILL" else calibrate
    model = write_finder(tmp_path / "one.onnx")
    assert refused(streamdet("quantize", model, "--calibrate", word), message)
    assert not (tmp_path / "one-int8.onnx").exists()


def test_quantize_prints_what_it_did(streamdet: Streamdet, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra export is not installed")
    pytest.importorskip("pycocotools", reason="AP needs pycocotools")
    import cv2

    from tests.support.float_detector import images, write_float_detector

    model = write_float_detector(tmp_path / "street.onnx")
    (tmp_path / "stills").mkdir()
    for image in images():
        cv2.imwrite(str(tmp_path / "stills" / image.name), image.picture.pixels)
    done = streamdet("quantize", model, "--calibrate", tmp_path / "stills", "--max-drop", "100")
    assert done.returncode == 0, done.stderr
    assert "5 of 5 layers" in done.stdout
    assert "met: at most 100 AP points lost" in done.stdout
    assert "8 nodes after the last layers, in float" in done.stdout
    assert "5 of 5 layers in INT8: AP" in done.stderr
    shown = streamdet("inspect", tmp_path / "street-int8.onnx")
    assert shown.returncode == 0, shown.stderr
    assert "street.onnx in float32" in shown.stdout
