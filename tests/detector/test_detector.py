"""Does the path without stages find what the stages find, one by one and in batches?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads import Outputs
from pipeline.detector.heads.hints import Hints
from pipeline.detector.recognise import recognise
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.frame import ArrayPicture, Frame
from pipeline.stages.detect import Detect
from pipeline.stages.nms import Nms
from pipeline.stages.preprocess import Preprocess
from tests.support import realistic_outputs as real
from tests.support.tiny_detector import write_boxes_detector, write_detector

ROWS = [(1.0, 17.0, 30.0, 40.0, 0.5, 1), (2.0, 17.0, 30.0, 40.0, 0.4, 1), (40.0, 20.0, 60.0, 44.0, 0.2, 0)]
SIZES = [(64, 64), (128, 64), (30, 90), (200, 10)]


class CountingEngine(OrtEngine):
    """Remembers how many images each run had."""

    def __init__(self, path: Path, hints: Hints | None = None) -> None:
        self.batches: list[int] = []
        super().__init__(path, recognise(path, hints), device="cpu", intra_op_threads=1)

    def infer(self, tensor: npt.NDArray[Any]) -> Outputs:
        self.batches.append(len(tensor))
        return super().infer(tensor)


def pictures() -> list[ArrayPicture]:
    """Of different sizes and brightness; the tiny detector's scores rise with it."""
    return [
        ArrayPicture(np.full((height, width, 3), 20 * index, np.uint8)) for index, (width, height) in enumerate(SIZES)
    ]


def assert_same(found: list[Detections], expected: list[Detections]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
        assert np.array_equal(one.scores, other.scores)
        assert np.array_equal(one.class_ids, other.class_ids)


def by_the_stages(engine: OrtEngine) -> list[Detections]:
    results = []
    for picture in pictures():
        (prepared,) = Preprocess(engine.spec).process(Frame.from_pixels(picture.pixels))
        (detected,) = Detect(engine).process(prepared)
        (result,) = Nms(engine.spec).process(detected)
        results.append(result.detections)
    return results


@pytest.mark.parametrize(("batch", "batches"), [(None, [4]), (4, [4]), (1, [1, 1, 1, 1]), (3, [3, 3]), (6, [6])])
def test_it_finds_what_the_stages_find_whatever_the_batch(
    tmp_path: Path, batch: int | None, batches: list[int]
) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS, batch=batch)
    one_by_one = CountingEngine(write_boxes_detector(tmp_path / "single.onnx", ROWS, batch=1))
    engine = CountingEngine(path)
    found = EngineDetector(engine)(pictures())
    assert engine.batches == batches
    assert all(len(each) for each in found)
    assert len({float(each.scores[0]) for each in found}) == len(SIZES)  # each picture its own answer
    assert_same(found, by_the_stages(one_by_one))


@pytest.mark.parametrize("num", [0, 1, 2, 3, 4])
def test_fewer_pictures_than_the_batch_are_filled_up_and_the_filling_is_not_returned(tmp_path: Path, num: int) -> None:
    engine = CountingEngine(write_boxes_detector(tmp_path / "pets.onnx", ROWS, batch=4))
    every = EngineDetector(engine)(pictures())
    assert_same(EngineDetector(engine)(pictures()[:num]), every[:num])
    assert set(engine.batches) == {4}


def test_more_pictures_than_the_batch_are_all_answered(tmp_path: Path) -> None:
    engine = CountingEngine(write_boxes_detector(tmp_path / "pets.onnx", ROWS, batch=2))
    free = CountingEngine(write_boxes_detector(tmp_path / "free.onnx", ROWS))
    assert_same(EngineDetector(engine)(pictures()), EngineDetector(free)(pictures()))


def test_a_threshold_wins_over_that_of_the_spec(tmp_path: Path) -> None:
    engine = CountingEngine(write_boxes_detector(tmp_path / "pets.onnx", ROWS))
    black = [ArrayPicture(np.zeros((64, 64, 3), np.uint8))]
    counts = [len(EngineDetector(engine, score_threshold=threshold)(black)[0]) for threshold in (0.0, 0.25, 0.6)]
    assert counts == [2, 1, 0]
    assert len(EngineDetector(engine)(black)[0]) == 1


@pytest.mark.parametrize("input_shape", [(3, "h", "w"), ("n", 3, "h", "w"), (1, "h", "w", 3)])
def test_a_network_that_resizes_itself_gets_pictures_of_any_size(
    tmp_path: Path, input_shape: tuple[int | str, ...]
) -> None:
    layout = {3: "chw", 4: "nhwc" if input_shape[-1] == 3 else "nchw"}[len(input_shape)]
    boxes, class_ids, scores = real.finished(5)
    outputs = {"boxes": boxes, "scores": scores, "class_ids": class_ids}
    spec = DetectorSpec(
        "images",
        (96, 64),
        "boxes",
        tuple(map(str, range(80))),
        layout=layout,  # type: ignore[arg-type]
        batch=None if input_shape[0] == "n" else 1,
        resize="in-graph",
        needs_nms=False,
    )
    shapes = {name: (1, *values.shape) for name, values in outputs.items()}
    path = write_detector(
        tmp_path / "pets.onnx",
        {name: values[None] for name, values in outputs.items()},
        input_shape=input_shape,
        adds_mean=False,
        unbatched=tuple(outputs),
        declared_shapes=shapes,
        metadata={METADATA_KEY: spec.to_json()},
    )
    for found, size_wh in zip(EngineDetector(CountingEngine(path))(pictures()[:3]), SIZES[:3], strict=True):
        expected = boxes[0].clip(0, np.array(size_wh * 2))  # in source pixels already
        assert found.boxes_xyxy[0].tolist() == expected.tolist()


def test_a_rank_3_network_is_asked_picture_by_picture(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "foreign.onnx", real.torchvision(), input_shape=(3, 64, 96), adds_mean=False)
    engine = CountingEngine(path, Hints(first_class_id=1))
    found = EngineDetector(engine)(pictures())
    assert engine.batches == [1] * len(SIZES)
    assert all(each.scores[0] == pytest.approx(real.SCORE) for each in found)


def test_the_second_input_of_a_detr_is_fed_for_each_picture(tmp_path: Path) -> None:
    path = write_detector(
        tmp_path / "foreign.onnx",
        real.detr_with_sizes(),
        input_shape=("n", 3, 64, 96),
        adds_mean=False,
        extra_inputs={"orig_target_sizes": ("int64", ("n", 2))},
        scaled_by={"boxes": "orig_target_sizes"},
    )
    engine = CountingEngine(path)
    found = EngineDetector(engine)(pictures())
    assert engine.batches == [len(SIZES)]
    assert_same(found, [EngineDetector(engine)([picture])[0] for picture in pictures()])
    for detections, (width, height) in zip(found, SIZES, strict=True):
        box = np.array(real.BOX_XYXY) / real.SIDES * np.array([width, height] * 2)
        assert detections.boxes_xyxy[0] == pytest.approx(box, rel=1e-4)
