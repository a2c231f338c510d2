"""Does what the README shows for Python work as written?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline import (
    Capture,
    Detect,
    Detections,
    Flow,
    Nms,
    OrtEngine,
    Preprocess,
    Result,
    Running,
    open_source,
    recognise,
)
from pipeline.errors import ConfigError
from pipeline.testing import CollectingSink


class KeepLarge:
    """A stage of one's own: forgets what is smaller than 700 square pixels."""

    def process(self, result: Result) -> Iterable[Result]:
        boxes = result.detections.boxes_xyxy
        large = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) >= 700
        yield replace(result, detections=result.detections.select(large))

    def drain(self) -> Iterable[Result]:
        return ()

    def close(self) -> None: ...


def test_detect_yields_a_result_for_each_frame(small_video: Path, small_detector: Path) -> None:
    results = list(pipeline.detect(str(small_video), model=str(small_detector)))
    assert [result.frame.index for result in results] == list(range(30))
    assert [results[0].class_name(int(class_id)) for class_id in results[0].detections.class_ids] == ["cat", "dog"]
    assert results[29].frame.pixels.shape == (64, 96, 3)


def test_the_loop_may_be_left_early(small_video: Path, small_detector: Path) -> None:
    for result in pipeline.detect(str(small_video), model=str(small_detector)):
        if result.frame.index == 3:
            break


def test_detect_takes_settings_and_refuses_wrong_ones(small_video: Path, small_detector: Path) -> None:
    settings = {"detection.score_threshold": 0.5, "flow.max_frames": 2}
    results = list(pipeline.detect(str(small_video), model=str(small_detector), settings=settings))
    assert [len(result.detections) for result in results] == [1, 1]
    with pytest.raises(ConfigError, match=r"did you mean detection\.score_threshold"):
        pipeline.detect(str(small_video), settings={"detection.score_treshold": 0.5})


def test_a_flow_can_be_built_by_hand_with_a_stage_of_ones_own(small_video: Path, small_detector: Path) -> None:
    spec = recognise(small_detector)
    sink: CollectingSink[Result] = CollectingSink()
    flow = (
        Flow.from_sources(Capture(open_source(str(small_video))))
        .then(Preprocess(spec))
        .then(Detect(OrtEngine(small_detector, spec, device="cpu")), workers=2)
        .then(Nms(spec))
        .then(KeepLarge())
        .to(sink)
    )
    with Running(flow) as running:
        running.wait()
    assert running.statistics().frames.delivered == 30
    found = [result.class_name(int(class_id)) for result in sink.got for class_id in result.detections.class_ids]
    assert found == ["dog"] * 30


def test_detections_go_to_supervision(small_video: Path, small_detector: Path) -> None:
    pytest.importorskip("supervision", reason="supervision is an extra")
    (result, *_) = pipeline.detect(str(small_video), model=str(small_detector))
    theirs = result.detections.to_supervision(result.class_names)
    np.testing.assert_array_equal(theirs.xyxy, result.detections.boxes_xyxy)
    assert list(theirs.data["class_name"]) == ["cat", "dog"]


def test_detections_refuse_nonsense_at_birth() -> None:
    boxes, scores, ids = np.zeros((2, 4), np.float32), np.zeros(2, np.float32), np.zeros(2, np.int64)
    assert len(Detections(boxes, scores, ids)) == 2
    with pytest.raises(ValueError, match=r"must be \[N, 4\], \[N\] and \[N\]"):
        Detections(boxes[:1], scores, ids)
    with pytest.raises(ValueError, match="must be float32, float32 and int64"):
        Detections(boxes.astype(np.float64), scores, ids)
    with pytest.raises(ValueError, match="finite"):
        Detections(boxes + np.float32(np.nan), scores, ids)
    with pytest.raises(ValueError, match="scores within"):
        Detections(boxes, scores + np.float32(1.5), ids)
    with pytest.raises(ValueError, match="track_ids must have one entry for each of the 2"):
        Detections(boxes, scores, ids, track_ids=np.zeros(3, np.int64))


def test_every_public_name_can_be_imported() -> None:
    for name in pipeline.__all__:
        assert getattr(pipeline, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'detct'"):
        pipeline.detct  # noqa: B018
