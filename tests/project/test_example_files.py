"""Examples: every file of `examples/` runs as it stands, on a small video, photographs and model that stand in."""

from __future__ import annotations

import ast
import http.client
import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import streamdet
from pipeline.errors import SinkError
from pipeline.sources.images import read_image
from tests.support.assets import ASSETS, MODELS, needs_assets

EXAMPLES = Path(__file__).parents[2] / "examples"
BLACK = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def desk(tmp_path: Path, small_video: Path, small_detector: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder: a black video, two black photographs, and a detector that finds a cat and a dog in black."""
    shutil.copy(small_video, tmp_path / "street.mp4")
    shutil.copy(small_detector, tmp_path / "cats.onnx")
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "photos" / f"{name}.png"), BLACK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str, *words: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_one_picture() -> None:
    printed = run("one_picture.py", "photos/a.png", "cats.onnx").splitlines()
    assert printed[0] == "1 cat, 1 dog in photos/a.png (64×48)"
    assert printed[1].split()[:2] == ["cat", "0.90"]
    assert printed[3] == f"written {Path('annotated') / 'a.png'}"
    assert Path("annotated/a.png").stat().st_size > 0


def run_folder_of_pictures() -> None:
    printed = run("folder_of_pictures.py", "photos/", "cats.onnx")
    assert f"1 cat, 1 dog in {Path('photos/b.png').resolve()} (64×48)" in printed
    assert names_in("photos-annotated") == ["a.png", "b.png"]


def names_in(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def run_own_drawing() -> None:
    assert run("own_drawing.py", "street.mp4", "cats.onnx") == "written drawn.mp4\n"
    video = cv2.VideoCapture("drawn.mp4")
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    assert video.read()[1].max() > 100  # of a black street


def run_looks() -> None:
    assert run("looks.py", "photos/a.png", "cats.onnx") == "written looks.png\n"
    sheet = read_image(Path("looks.png"))
    assert sheet.shape == (3 * 48, 2 * 64, 3)
    assert len({sheet[top : top + 48, left : left + 64].tobytes() for top in (0, 48, 96) for left in (0, 64)}) == 6


def run_own_sink() -> None:
    comes, frames = run("own_sink.py", "street.mp4", "cats.onnx", "cat").splitlines()
    assert comes == "   0.00 s  cat comes"
    assert frames == "30 frames"


def run_counting_per_class() -> None:
    rows = [line.split() for line in run("counting_per_class.py", "street.mp4", "cats.onnx").splitlines()]
    assert rows == [["30", "frames"], ["class", "at", "most", "mean"], ["cat", "1", "1.00"], ["dog", "1", "1.00"]]


def run_many_files() -> None:
    printed = run("many_files.py", "street.mp4", "photos", "cats.onnx").splitlines()
    assert sorted(printed) == [
        "photos: 2 frames, {'cat': 2, 'dog': 2}",
        "street.mp4: 30 frames, {'cat': 30, 'dog': 30}",
    ]


def run_web_handler() -> None:
    command = [sys.executable, str(EXAMPLES / "web_handler.py"), "cats.onnx", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().rpartition(" ")[2])
            answers = [posted(port, body) for body in (Path("photos/a.png").read_bytes(), b"no image", b"")]
        finally:
            server.terminate()
    assert [status for status, _ in answers] == [200, 400, 400]
    detections = json.loads(answers[0][1])
    assert [detection["class"] for detection in detections] == ["cat", "dog"]
    assert [len(detection["box"]) for detection in detections] == [4, 4]


def posted(port: int, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/", body)
    response = connection.getresponse()
    return response.status, response.read()


def run_compare_two_models() -> None:
    from tests.support.tiny_detector import write_boxes_detector

    write_boxes_detector(Path("other.onnx"), [(8.0, 16.0, 24.0, 32.0, 0.9, 0)], dtype="uint8")
    printed = run("compare_two_models.py", "photos", "cats.onnx", "other.onnx")
    assert printed.endswith("0 of 2 pictures show the same to both\n")
    assert len(list(Path("disagreements").iterdir())) == 2
    assert "2 of 2 pictures" in run("compare_two_models.py", "photos", "cats.onnx", "cats.onnx")


def run_own_torch_module() -> None:
    pytest.importorskip("torch", reason="the extra export is not installed")
    bright = BLACK.copy()
    bright[16:32, 32:48] = 255
    cv2.imwrite("lamp.png", bright)
    printed = run("own_torch_module.py", "lamp.png")
    assert printed.splitlines()[-1] == "1 lamp in lamp.png (64×48)"


def run_notebook() -> None:
    notebook = json.loads((EXAMPLES / "detection.ipynb").read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") for cell in notebook["cells"])  # its pictures would bloat the repository
    if importlib.util.find_spec("nbclient") and importlib.util.find_spec("ipykernel"):
        nbclient, nbformat = (importlib.import_module(name) for name in ("nbclient", "nbformat"))
        executed = nbclient.NotebookClient(nbformat.reads(json.dumps(notebook), as_version=4), timeout=120).execute()
        kinds = [set(output.get("data", ())) for cell in executed.cells for output in cell.get("outputs", ())]
        assert {"text/html", "image/jpeg", "text/plain"} in kinds  # a result that ends a cell
        assert {"image/jpeg", "text/plain"} in kinds  # show()
        return
    names: dict[str, Any] = {}
    values = [value_of("".join(cell["source"]), names) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert isinstance(values[1], streamdet.Result)
    assert "<table>" in values[1]._repr_html_()
    assert Path("annotated/street.png").stat().st_size > 0
    assert all(values[-1])


def value_of(program: str, names: dict[str, Any]) -> Any:
    """What the last expression of a cell is; show() needs a notebook, or a display, and says so."""
    *before, last = ast.parse(program).body
    try:
        exec(compile(ast.Module(before, []), "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        return exec(compile(ast.Module([last], []), "cell", "exec"), names)
    except SinkError:
        if program.endswith(".show()"):
            return None
        raise


RUNS: dict[str, Callable[[], None]] = {
    "one_picture.py": run_one_picture,
    "folder_of_pictures.py": run_folder_of_pictures,
    "looks.py": run_looks,
    "own_drawing.py": run_own_drawing,
    "own_sink.py": run_own_sink,
    "counting_per_class.py": run_counting_per_class,
    "many_files.py": run_many_files,
    "web_handler.py": run_web_handler,
    "own_torch_module.py": run_own_torch_module,
    "compare_two_models.py": run_compare_two_models,
    "detection.ipynb": run_notebook,
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("desk")
def test_an_example_runs_as_it_stands(name: str) -> None:
    RUNS[name]()


def test_an_example_says_how_it_is_called_and_is_short() -> None:
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert f"\npython examples/{path.name} " in (ast.get_docstring(ast.parse(text)) or ""), path
        assert len([line for line in text.splitlines() if line.strip()]) <= 45, path


def test_a_folder_of_pictures_loses_none_and_leaves_videos_out(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite("photos/a.jpg", BLACK)
    cv2.imwrite("photos/a.hdr", BLACK.astype(np.float32))
    shutil.copy("street.mp4", "photos/street.mp4")
    (desk / "photos" / "below").mkdir()
    for folder, word in (("photos", "."), ("photos/below", "..")):
        monkeypatch.chdir(desk / folder)
        assert len(run("folder_of_pictures.py", word, str(desk / "cats.onnx")).splitlines()) == 4
        assert names_in(desk / "photos-annotated") == ["a.hdr.jpg", "a.jpg", "a.png", "b.png"]
        shutil.rmtree(desk / "photos-annotated")


@pytest.mark.usefixtures("desk")
def test_many_files_take_a_model_of_one_picture_and_batches_where_they_are_asked_for() -> None:
    from tests.support.tiny_detector import write_boxes_detector

    write_boxes_detector(Path("one.onnx"), [(8.0, 16.0, 24.0, 32.0, 0.9, 0)], dtype="uint8", batch=1)
    assert run("many_files.py", "photos", "one.onnx").startswith("photos: 2 frames, ")
    assert run("many_files.py", "photos", "cats.onnx", "--batch", "4") == "photos: 2 frames, {'cat': 2, 'dog': 2}\n"


@needs_assets
@pytest.mark.usefixtures("desk")
def test_the_first_example_finds_what_a_person_sees_with_a_real_model() -> None:
    photo, model = ASSETS / "images" / "stills" / "bus.jpg", MODELS / "yolox_nano_coco_416.onnx"
    assert run("one_picture.py", str(photo.resolve()), str(model.resolve())).startswith("3 person, 1 bus in ")
