from pathlib import Path

import numpy as np
import pytest

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.detector.proposals import propose
from pipeline.flow.running import Running
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.stages.preprocess import Preprocess
from pipeline.stages.propose import Propose
from pipeline.testing import CollectingSink
from tests.support.rois_detector import write_rois_detector

pytest.importorskip("skimage", reason='the first regions: pip install "streamdet[lineage]"')

SPEC = DetectorSpec(
    input_name="pixels",
    network_wh=(96, 64),
    head="boxes",
    class_names=("thing",),
    layout="nhwc",
    dtype="uint8",
    batch=None,
    num_rois=40,
    needs_nms=False,
)


def test_each_input_gets_the_proposals_of_its_own_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 60, 3)).astype(np.uint8)
    (prepared,) = Preprocess(SPEC).process(Frame.from_pixels(pixels))
    (proposed,) = Propose(SPEC).process(prepared)
    np.testing.assert_array_equal(proposed.rois, propose(prepared.tensor, prepared.letterbox, SPEC))
    assert prepared.rois is None
    assert not list(Propose(SPEC).drain())


def test_a_run_of_a_model_with_rois_has_the_stage_between_preprocess_and_detect(tmp_path: Path) -> None:
    write_rois_detector(tmp_path / "rois.onnx", SPEC)
    keys = {"model": str(tmp_path / "rois.onnx"), "detection.score_threshold": 0.0}
    config = load_config(options={"sources": ("sim:traffic?size=96x64&seconds=0.1&fps=20",), **keys})
    assembly = assemble(config)
    roles = [node.role for node in assembly.flow.nodes]
    assert roles == ["source", "preprocess", "propose", "detect", "nms"]
    sink: CollectingSink[Result] = CollectingSink()
    with Running(assembly.flow.to(sink)) as running:
        running.wait()
    for result in sink.got:
        (prepared,) = Preprocess(SPEC).process(result.frame)
        rois = propose(prepared.tensor, prepared.letterbox, SPEC)[0]
        assert {tuple(box) for box in result.detections.boxes_xyxy.tolist()} <= {tuple(box) for box in rois.tolist()}
        assert len(result.detections)
    assert len(sink.got) == 2
