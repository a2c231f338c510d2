"""Does what the README shows for Python work as written?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from pipeline.app.run.python_api import in_python
from pipeline.errors import ConfigError, DeviceError, ModelError, SourceError, StreamdetError
from pipeline.testing import CollectingSink
from tests.support import realistic_outputs as real
from tests.support.foreign_detector import write


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


def test_a_file_that_needs_a_word_is_refused_in_the_fields_of_the_hints(tmp_path: Path) -> None:
    boxes, class_ids, scores = real.finished()
    path = write(tmp_path / "lists.onnx", {"x": boxes, "y": np.maximum(class_ids, 1), "z": scores})
    with pytest.raises(ModelError, match=r"Settle it with hints\.first_class_id 0\|1, and") as raised:
        recognise(path)
    assert "--" not in str(raised.value)
    table = write(tmp_path / "nonsense.onnx", {"x": np.full((20, 6), 0.5, np.float32)})
    with pytest.raises(ModelError, match=r"hints\.head .*hints\.boxes_are_normalised, .*hints\.score_activation"):
        recognise(table)
    with pytest.raises(ModelError, match=r"hints\.head .*hints\.normalised_boxes, .*hints\.scores"):
        pipeline.detect(np.zeros((8, 8, 3), np.uint8), model=table)


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
    for name in dir(pipeline):
        assert getattr(pipeline, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'detct'"):
        pipeline.detct  # type: ignore[attr-defined]  # noqa: B018


def test_detect_takes_numbers_paths_arrays_and_lists(small_video: Path, small_detector: Path, tmp_path: Path) -> None:
    by_word = list(pipeline.detect(str(small_video), model=str(small_detector)))
    assert len(list(pipeline.detect(small_video, model=small_detector))) == len(by_word) == 30
    both = list(pipeline.detect([small_video, str(small_video)], model=small_detector))
    assert {result.frame.source_id for result in both} == {str(small_video), f"{small_video}#2"}
    pictures = [result.frame.pixels for result in by_word[:3]]
    one = list(pipeline.detect(pictures[0], model=small_detector))
    several = list(pipeline.detect(pictures, model=small_detector))
    assert [len(one), len(several)] == [1, 3]
    assert [result.frame.index for result in several] == [0, 1, 2]
    for ours, theirs in zip(several, by_word, strict=False):
        assert np.array_equal(ours.frame.pixels, theirs.frame.pixels)
        assert np.allclose(ours.detections.boxes_xyxy, theirs.detections.boxes_xyxy)
    grey = list(pipeline.detect(np.zeros((48, 64), np.uint8), model=small_detector))
    assert grey[0].frame.size_wh == (64, 48)
    with pytest.raises(SourceError, match="camera"):
        pipeline.detect(97, model=small_detector)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        pytest.param(
            (np.zeros((3, 8, 8), np.float32),), r"picture 0 must be a uint8 array \[H, W, 3\].*float32", id="type"
        ),
        pytest.param(
            ([np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 3), np.uint8)],), r"picture 1 .*\[0, 8, 3\]", id="0"
        ),
        pytest.param((1.5,), "a source must be a number, .* an image of PIL or a list of them", id="float"),
        pytest.param((True,), "a source must be a number, .* got bool", id="bool"),
        pytest.param(("a.mp4", np.zeros((8, 8, 3), np.uint8)), "must be given to calls of their own", id="mixed"),
    ],
)
def test_what_is_no_source_is_refused_with_what_it_was(
    sources: tuple[Any, ...], said: str, small_detector: Path
) -> None:
    with pytest.raises(StreamdetError, match=said):
        pipeline.detect(*sources, model=small_detector)


def test_errors_speak_of_settings_and_not_of_a_command_line(small_video: Path, small_detector: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model must be given for .*: try model yolox-nano \(.*; model demo, .*$"):
        pipeline.detect(small_video)
    with pytest.raises(ConfigError, match=r"^detect\(\): there is no key detection\.treshold"):
        pipeline.detect(small_video, model=small_detector, settings={"detection.treshold": 0.5})
    told = in_python(DeviceError("use --device cpu, or --unproved to go on; see --score-threshold"))
    assert str(told) == "use engine.device cpu, or engine.unproved to go on; see detection.score_threshold"
    assert isinstance(told, DeviceError)


def test_the_demo_detector_runs_on_anything_where_it_is_named(small_video: Path) -> None:
    assert len(list(pipeline.detect(small_video, model="demo", settings={"flow.max_frames": 2}))) == 2
    street = pipeline.detect("sim:traffic?seconds=1&size=320x180", settings={"flow.max_frames": 2})
    assert len(list(street)) == 2


def test_numbers_of_numpy_are_numbers(small_video: Path, small_detector: Path) -> None:
    settings = {"detection.score_threshold": np.float32(0.5), "flow.max_frames": np.int64(2)}
    assert len(list(pipeline.detect(small_video, model=small_detector, settings=settings))) == 2
    with pytest.raises(SourceError, match="camera"):
        pipeline.detect(np.int64(97), model=small_detector)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"settings": ["a=b"]}, "settings must be a dict of dotted keys and values, got list"),
        ({"settings": {1: 2}}, "keys must be strings"),
        ({"model": b"onnx"}, "model must be a string or a path, got bytes"),
        ({"config": 5}, "config must be a string or a path, got int"),
    ],
)
def test_what_is_of_the_wrong_type_is_named(small_video: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        pipeline.detect(small_video, **wrong)


def test_the_settings_wanted_most_often_are_keywords(small_video: Path, small_detector: Path) -> None:
    one = pipeline.detect(small_video, model=small_detector, score_threshold=np.float64(0.5), device="cpu", batch=2)
    assert {len(result.detections) for result in one} == {1}
    for classes in ("dog", ["dog"], ("dog",), " dog, "):
        dogs = pipeline.detect(small_video, model=small_detector, classes=classes, settings={"flow.max_frames": 1})
        assert [result.counts() for result in dogs] == [{"dog": 1}]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"score_treshold": 0.5},
            r"^detect\(\) has no keyword score_treshold; did you mean score_threshold\?; other keys",
        ),
        (
            {"nonsense": 1},
            r"no keyword nonsense; there are device, precision, .*; other keys go into settings, a dict$",
        ),
        ({"score_threshold": 2}, r"^detect\(\): detection\.score_threshold must be less than or equal to 1, got 2$"),
        ({"device": "mps"}, r"engine\.device"),
        ({"classes": ","}, "^classes must name at least one"),
        ({"classes": []}, r"^classes must name at least one, got \[\]; leave it out to keep all$"),
        ({"classes": ()}, r"^classes must name at least one, got \(\)"),
        ({"classes": "dgo"}, "the model has no class 'dgo'; did you mean 'dog'"),
        (
            {"score_threshold": 0.5, "settings": {"detection.score_threshold": 0.4}},
            r"score_threshold must be set once, got the keyword and detection\.score_threshold in settings",
        ),
    ],
)
def test_a_wrong_keyword_is_refused_by_its_name(
    wrong: dict[str, Any], said: str, small_video: Path, small_detector: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        pipeline.detect(small_video, model=small_detector, **wrong)


nothing: Any = None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda video: pipeline.recognise(nothing), "^a model must be the path of an ONNX file, got NoneType$"),
        (lambda video: pipeline.JsonLines(nothing), "^JSON lines must have a path, got NoneType$"),
        (lambda video: pipeline.Recording(nothing), "^a recording must have a path, got NoneType$"),
        (lambda video: pipeline.detect(video, model=5000 * "x"), "^x{200}…: File name too long; a model must be"),
        (lambda video: pipeline.detect(video, model=video, config=5000 * "x"), "^--config must be"),
    ],
)
def test_what_is_no_path_is_one_line_of_our_own(call: Callable[[Path], Any], said: str, small_video: Path) -> None:
    with pytest.raises(StreamdetError, match=said.replace("--config", "config")):
        call(small_video)
