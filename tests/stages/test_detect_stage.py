"""Detect: each frame gets its own boxes, in whatever batches the network takes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.errors import ModelError
from pipeline.picture.frame import Frame
from pipeline.stages.detect import Detect
from pipeline.stages.preprocess import NetworkInput, Preprocess
from tests.support.counting_engine import CountingEngine
from tests.support.tiny_detector import write_boxes_detector

ROWS = [(1.0, 2.0, 30.0, 40.0, 0.25, 1), (5.0, 5.0, 6.0, 6.0, 0.0, 0)]


def open_engine(folder: Path, batch: int | None) -> CountingEngine:
    path = write_boxes_detector(folder / "pets.onnx", ROWS, batch=batch)
    return CountingEngine(path, recognise(path), device="cpu", intra_op_threads=1)


def prepare(engine: OrtEngine, greys: list[int]) -> list[NetworkInput]:
    """Uniform pictures; the detector adds their brightness to its scores."""
    stage = Preprocess(engine.spec)
    frames = [Frame.from_pixels(np.full((64, 64, 3), grey, np.uint8), index=i) for i, grey in enumerate(greys)]
    return [prepared for frame in frames for prepared in stage.process(frame)]


def test_a_frame_becomes_the_boxes_above_the_threshold(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, batch=1)
    detect = Detect(engine, score_threshold=0.2)
    (prepared,) = prepare(engine, [51])
    (detected,) = detect.process(prepared)
    assert detected.frame is prepared.frame
    assert detected.letterbox is prepared.letterbox
    assert detected.candidates.class_ids.tolist() == [1, 0]
    assert detected.candidates.scores == pytest.approx([0.45, 0.2], abs=1e-5)
    assert detected.candidates.boxes_xyxy[0] == pytest.approx([1.2, 2.2, 30.2, 40.2])


@pytest.mark.parametrize(
    ("batch", "num_items", "batches"),
    [(None, 5, (5,)), (None, 1, (1,)), (1, 3, (1, 1, 1)), (4, 5, (4, 4)), (4, 1, (4,)), (None, 0, ())],
)
def test_the_network_sees_as_many_frames_at_once_as_its_batch_allows(
    tmp_path: Path, batch: int | None, num_items: int, batches: tuple[int, ...]
) -> None:
    engine = open_engine(tmp_path, batch)
    items = prepare(engine, [51 * (index % 3) for index in range(num_items)])
    detected = Detect(engine).process_batch(items)
    assert engine.batches == batches
    assert [each.frame.index for each in detected] == list(range(num_items))
    scores = [each.candidates.scores[0] for each in detected]
    assert scores == pytest.approx([0.25 + 0.2 * (index % 3) for index in range(num_items)], abs=1e-5)


def test_the_buffers_go_back_after_the_network_has_read_them(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, batch=None)
    returned: list[int] = []
    items = [
        dataclasses.replace(item, give_back=lambda index=index: returned.append(index))  # type: ignore[misc]
        for index, item in enumerate(prepare(engine, [0, 0, 0]))
    ]
    Detect(engine).process_batch(items)
    assert returned == [0, 1, 2]


def test_the_threshold_is_the_specs_unless_it_is_given(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, batch=1)
    (with_default,) = Detect(engine).process(prepare(engine, [0])[0])
    (with_lower,) = Detect(engine, score_threshold=0.0).process(prepare(engine, [0])[0])
    assert len(with_default.candidates.scores) == 1
    assert len(with_lower.candidates.scores) == 2


def test_an_unknown_head_is_refused_at_the_start(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, batch=1)
    engine.spec = dataclasses.replace(engine.spec, head="crystal-ball")
    with pytest.raises(ModelError, match=r"head must be one of boxes, .*, got crystal-ball"):
        Detect(engine)


def test_closing_the_stage_closes_the_engine(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, batch=1)
    detect = Detect(engine)
    assert list(detect.drain()) == []
    detect.close()
    assert engine.is_closed
