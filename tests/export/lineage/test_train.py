"""Training: what comes out is one file that the pipeline runs with its own proposals, and that says how it was made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.examples import Example
from export.lineage import backbone, fast_rcnn, spp_net
from export.lineage.learning import Recipe, Training
from export.lineage.scenes import FIRST_HELD_OUT_SEED, Scenes, World, training_streets
from export.lineage.system import System
from export.lineage.systems import SYSTEMS, systems_named
from export.lineage.train import record_of, train_system
from pipeline.app.lineage.compare import Row, speedups_of
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.errors import ConfigError, ModelError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running
from pipeline.picture.detections import Result
from pipeline.picture.frame import ArrayPicture, Frame
from pipeline.stages.detect import Detect
from pipeline.stages.nms import Nms
from pipeline.stages.preprocess import Preprocess
from pipeline.stages.propose import Propose
from pipeline.testing import CollectingSink, ItemSource
from tests.support.command_line import Streamdet, refused

pytest.importorskip("skimage", reason='selective search: pip install "streamdet[lineage]"')
pytest.importorskip("pycocotools", reason='mAP: pip install "streamdet[measure]"')

WORLD = World(("red", "blue"), (96, 64))


def squares(seed: int) -> Example:
    """Three squares of two colours on noise."""
    chance = np.random.default_rng(seed)
    pixels = chance.integers(90, 120, (64, 96, 3)).astype(np.uint8)
    class_ids = chance.integers(0, 2, 3)
    corners = np.stack([np.arange(3) * 32 + chance.integers(2, 10, 3), chance.integers(2, 40, 3)], axis=1)
    for (x, y), class_id in zip(corners.tolist(), class_ids.tolist(), strict=True):
        pixels[y : y + 20, x : x + 20] = ((220, 30, 30), (30, 30, 220))[class_id]
    boxes = np.concatenate([corners, corners + 20], axis=1).astype(np.float32)
    return Example(pixels, boxes, class_ids, np.zeros((0, 4), np.float32))


def scenes(first_seed: int) -> Scenes:
    return Scenes(WORLD, tuple(squares(first_seed + number) for number in range(8)), f"squares {first_seed}")


@pytest.mark.parametrize("system", [spp_net.SPP_NET, fast_rcnn.FAST_R_CNN], ids=lambda system: system.name)
def test_a_trained_system_detects_in_the_pipeline_what_its_file_was_judged_on(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(backbone, "_PRETRAINING", Recipe(steps=12, learning_rate=3e-3))
    for module in (spp_net, fast_rcnn):
        monkeypatch.setattr(module, "_RECIPE", Recipe(steps=80, learning_rate=3e-3))
    monkeypatch.setattr("export.lineage.train.drawn_images", lambda: ())
    path, held_out = tmp_path / f"{system.name}.onnx", scenes(100)
    trained = train_system(system, scenes(0), held_out, path, Training(), num_threads=1)
    assert trained.parity.matched_share == 1
    assert trained.record.judgement.map50 > 0.5
    assert record_of(path) == record_of(path, "squares") == trained.record
    with pytest.raises(ModelError, match=r"must be judged on scattered, it was on squares 100; choose it with --on"):
        record_of(path, "scattered")

    spec = recognise(path)
    assert spec.num_rois > 0
    pictures = [ArrayPicture(np.ascontiguousarray(example.pixels[..., ::-1])) for example in held_out.examples]
    engine = OrtEngine(path, spec)
    alone = EngineDetector(engine)(pictures)
    frames = ItemSource([replace(Frame.from_pixels(p.pixels), index=i) for i, p in enumerate(pictures)])
    sink: CollectingSink[Result] = CollectingSink()
    flow = Flow.from_sources(frames).then(Preprocess(spec)).then(Propose(spec)).then(Detect(engine)).then(Nms(spec))
    with Running(flow.to(sink)) as running:
        running.wait()
    for result, expected in zip(sink.got, alone, strict=True):
        np.testing.assert_array_equal(result.detections.boxes_xyxy, expected.boxes_xyxy)
        np.testing.assert_array_equal(result.detections.scores, expected.scores)


def test_streets_are_the_same_again_and_never_those_that_are_held_out() -> None:
    first, again = training_streets(1), training_streets(1)
    assert len(first.examples) == 8
    for one, other in zip(first.examples, again.examples, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
    with pytest.raises(ValueError, match=r"num_streets must lie within 1\.\.100000"):
        training_streets(FIRST_HELD_OUT_SEED + 1)


def test_a_system_is_known_by_its_name_and_the_nearest_one_is_offered() -> None:
    assert systems_named("all") == SYSTEMS
    assert [system.name for system in systems_named("hog-svm")] == ["hog-svm"]
    with pytest.raises(ConfigError, match=r"got 'hogsvm'; did you mean hog-svm\?"):
        systems_named("hogsvm")


def test_a_file_of_another_command_has_no_record(small_detector: Path) -> None:
    with pytest.raises(ModelError, match="must be a file of `streamdet lineage train`"):
        record_of(small_detector)


def row(name: str, *, network_ms: float, propose_ms: float, train_minutes: float) -> Row:
    return Row(name, name, 2014, "crops", 0.5, 0.3, 2.0, propose_ms, network_ms, 1.0, 1000, 600, train_minutes)


def test_speed_ups_are_of_the_network_of_the_frame_and_of_the_training() -> None:
    slow = row("r-cnn", network_ms=400, propose_ms=100, train_minutes=3)
    fast = row("fast-r-cnn", network_ms=10, propose_ms=100, train_minutes=1)
    speedups = {(s.faster, s.slower, s.what): s.ours for s in speedups_of([slow, fast])}
    assert speedups == {
        ("fast-r-cnn", "r-cnn", "network"): 40,
        ("fast-r-cnn", "r-cnn", "frame"): pytest.approx(500 / 110),
        ("fast-r-cnn", "r-cnn", "training"): 3,
    }


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("train", "vgg", "--out", "new"), "a system must be hog-svm, r-cnn, spp-net, fast-r-cnn"),
        (("compare", "--out", "new"), "--out must hold trained systems, new has none; begin with lineage train all"),
        (("train", "hog-svm", "--on", "a.mp4"), "--on must be streets or scattered, the pictures to learn from, got"),
        (("compare", "--on", "scattered"), "lineage/scattered has none; begin with lineage train all --on scattered"),
        (("compare", "--minutes", 1), "--minutes has no effect on lineage compare; leave it out"),
        (("compare", "--threads", 1), "--threads has no effect on lineage compare; leave it out"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_made(
    streamdet: Streamdet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(streamdet("lineage", *words), line)
    assert not list(tmp_path.iterdir())


def test_a_trained_file_is_not_replaced_unasked(
    streamdet: Streamdet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hog-svm.onnx").write_bytes(b"mine")
    assert refused(
        streamdet("lineage", "train", "hog-svm", "--out", "."), "exists already; replace it with --overwrite"
    )
    assert Path("hog-svm.onnx").read_bytes() == b"mine"
