"""Command `explain`: a frame and a model → a picture beside it, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.app.explain.explained import is_pytorch
from pipeline.app.explain.options import ExplainOptions
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from tests.support.command_line import Streamdet
from tests.support.tiny_detector import write_detector


@pytest.fixture
def black(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A black picture of 96 × 64, in which the small detector sees a cat and a dog."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((64, 96, 3), np.uint8))
    return Path("black.png")


@pytest.fixture
def steady_detector(tmp_path: Path) -> Path:
    """Sees the same cat and dog in every picture, whatever its colours."""
    spec = DetectorSpec("images", (64, 64), "boxes", ("cat", "dog"), layout="nhwc", dtype="uint8", batch=None)
    outputs = {
        "boxes": np.array([[8, 16, 24, 32], [32, 24, 56, 44]], np.float32),
        "scores": np.array([0.9, 0.4], np.float32),
        "class_ids": np.array([0, 1]),
    }
    return write_detector(
        tmp_path / "model.onnx",
        outputs,
        input_shape=("batch", 64, 64, 3),
        input_type="uint8",
        metadata={METADATA_KEY: spec.to_json()},
        adds_mean=False,
    )


@pytest.mark.parametrize("method", [("drise", "--masks", 20), ("occlusion", "--patch", 12)], ids=lambda words: words[0])
def test_the_picture_lies_beside_and_the_objects_are_listed(
    streamdet: Streamdet, black: Path, steady_detector: Path, method: tuple[object, ...]
) -> None:
    done = streamdet("explain", black, "-m", steady_detector, "--object", 2, "--method", *method)
    assert done.returncode == 0, done.stderr
    assert "  1  cat 0.90" in done.stdout
    assert "→  2  dog 0.40" in done.stdout
    picture = cv2.imread(f"black-{method[0]}.png")
    assert picture is not None
    assert picture.shape == (320, 2 * 480 + 8, 3)  # 96 × 64, five times


def test_a_frame_of_a_video_and_an_output_of_ones_own(
    streamdet: Streamdet, tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    words = ("explain", small_video, "-m", small_detector, "--masks", 16, "-o", tmp_path / "new" / "why.jpg")
    assert streamdet(*words, "--frame", 29).returncode == 0
    assert (tmp_path / "new" / "why.jpg").stat().st_size > 1000
    assert streamdet(*words).stderr.strip().endswith("replace it with --overwrite, or name another file")
    done = streamdet(*words, "--overwrite", "--frame", 30)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"--frame must name a frame of {small_video}, got 30: it has 30 frames")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--method", "occlusion", "--masks", 99), "--masks are those of --method drise"),
        (("--object", 3), "--object must be the number of an object that the model sees, which are 2 in this frame"),
        (("--patch", 9), "--patch is the square of --method occlusion"),
        (("--method", "gradcam", "--masks", 99), "--masks are those of --method drise"),
        (("--checkpoint", "w.pt"), "--checkpoint is of a PyTorch detector, which --model names as streamdet export"),
        (("-o", "why.xyz"), "why.xyz: a picture's name must end in"),
        (("-o", "black.png", "--overwrite"), "--output must not be the frame, got black.png"),
        (("--method", "guess"), "--method must be one of occlusion, drise, gradcam, cam, got 'guess'"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    streamdet: Streamdet, black: Path, small_detector: Path, words: tuple[object, ...], line: str
) -> None:
    before = black.read_bytes()
    done = streamdet("explain", black, "-m", small_detector, *words)
    warned = "streamdet: warning: cats.onnx has no parity certificate"
    lines = [text for text in done.stderr.splitlines() if not text.startswith(warned)]
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    assert line in lines[0]
    assert [path.name for path in Path().iterdir()] == ["black.png"]
    assert black.read_bytes() == before


def test_the_map_inside_a_file_lights_up_where_the_object_is(
    streamdet: Streamdet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx", reason="takes an ONNX file apart")
    pytest.importorskip("torch", reason="the extra export is not installed")
    monkeypatch.chdir(tmp_path)
    done = streamdet("explain", "sim:traffic?seed=3&size=640x360", "--frame", 100, "--method", "cam")
    assert done.returncode == 0, done.stderr
    share = int(next(line for line in done.stdout.splitlines() if "speaks for the object" in line).partition("%")[0])
    left, top, right, bottom = (int(side) for side in done.stdout.split("→")[1].splitlines()[0].split()[-4:])
    assert share > 5 * 100 * (right - left) * (bottom - top) / (640 * 360)
    assert cv2.imread(next(str(path) for path in Path().glob("*-cam.png"))) is not None


def test_a_file_without_a_feature_map_is_one_line(streamdet: Streamdet, black: Path, steady_detector: Path) -> None:
    pytest.importorskip("torch", reason="the extra export is not installed")
    done = streamdet("explain", black, "-m", steady_detector, "--method", "gradcam")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "has no map of the picture on which the object's score depends; take --method drise"
    )
    assert [path.name for path in Path().iterdir()] == ["black.png", "model.onnx"]


def test_a_pytorch_detector_is_explained_by_its_name(
    streamdet: Streamdet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="the extra export is not installed")
    detection = pytest.importorskip("torchvision", reason="the extra export is not installed").models.detection
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    torch.save(network.state_dict(), "weights.pt")
    chance = np.random.default_rng(0)
    cv2.imwrite("noise.png", chance.integers(0, 255, (120, 200, 3)).astype(np.uint8))
    words = (
        "explain",
        "noise.png",
        "-m",
        "ssdlite320_mobilenet_v3_large",
        "--checkpoint",
        "weights.pt",
        "--num-classes",
        2,
    )
    done = streamdet(*words, "--method", "gradcam", "--score-threshold", 0.05)
    assert done.returncode == 0, done.stderr
    assert "; Grad-CAM, " in done.stdout
    assert "body.head.classification_head" in done.stdout  # the layer's name in PyTorch
    assert cv2.imread("noise-gradcam.png") is not None
    done = streamdet(*words, "--device", "cuda")
    assert (done.returncode, "is a PyTorch detector, which runs on the CPU" in done.stderr) == (1, True), done.stderr


def test_a_name_that_is_published_means_the_published_file() -> None:
    names = ("yolox-nano", "ssdlite320_mobilenet_v3_large", "model.onnx", "demo", None)
    assert [is_pytorch(ExplainOptions("street.jpg", model=name)) for name in names] == [
        False,
        True,
        False,
        False,
        False,
    ]
