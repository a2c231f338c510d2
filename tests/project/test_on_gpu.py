"""Does the GPU path find what the processor finds, with everything at once that can go wrong between its parts?

Decoders, batches of planes, recorded runs and others' CUDA contexts meet only on a GPU: these tests need one.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.model_files import DEMO_MODEL
from pipeline.detector.engine import OrtEngine
from pipeline.detector.probe_devices import probe_providers
from pipeline.detector.recognise import recognise
from pipeline.errors import DeviceError, StreamdetError
from pipeline.flow.running import Running
from pipeline.picture.detections import Detections
from pipeline.picture.parity import FP32_BAR, compare
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.on_gpu import what_is_missing
from pipeline.sources.video.source import VideoSource


def _why_not() -> str:
    try:
        report = next(each for each in probe_providers() if each.device == "cuda")
    except StreamdetError as error:
        return str(error)
    return (what_is_missing() or "") if report.works else report.detail


WHY_NOT = _why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(WHY_NOT), reason=f"needs CUDA and NVDEC: {WHY_NOT}")]


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights that takes planes and gives boxes for NMS outside."""
    pytest.importorskip("torch", reason="the extra export is not installed")
    from export.exporting import export_detector
    from tests.support.small_exportable import exportable, proof_images

    path = tmp_path_factory.mktemp("planes") / "planes.onnx"
    return export_detector(exportable(), path, images=proof_images(), pixels="nv12").path


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.drawn_video import write_street

    return write_street(tmp_path_factory.mktemp("street") / "street.mp4", size_wh=(640, 368), num_frames=60)


def found(street: Path, model: Path, device: str, *settings: str, copies: int = 1) -> dict[str, list[Detections]]:
    options = {
        "sources": (str(street),) * copies,
        "model": str(model),
        "engine.device": device,
        "output.show": False,
        "detection.score_threshold": 0.05,
    }
    results: dict[str, list[Detections]] = defaultdict(list)
    assembly = assemble(load_config(settings=["engine.precision=fp32", *settings], options=options))
    with Running(assembly.flow, results=True) as running:
        for result in running:
            results[result.frame.source_id].append(result.detections)
    return dict(results)


@pytest.fixture(scope="module")
def expected(street: Path, planes: Path) -> list[Detections]:
    (detections,) = found(street, planes, "cpu").values()
    return detections


ONE = ("engine.batch=1", "engine.cuda_graph=false", "engine.channels_last=false", "engine.inflight=1")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(ONE, id="uploaded"),
        pytest.param((*ONE, "decode.device=cuda"), id="decoded there"),
        pytest.param((*ONE, "decode.device=cuda", "engine.batch=4", "engine.inflight=2"), id="in batches"),
        pytest.param(
            (*ONE, "decode.device=cuda", "engine.batch=4", "engine.inflight=2", "engine.cuda_graph=true"),
            id="recorded in batches",
        ),
        pytest.param((*ONE, "engine.batch=4", "engine.cuda_graph=true"), id="uploaded, recorded in batches"),
        pytest.param((*ONE, "engine.channels_last=true"), id="channels last"),
    ],
)
def test_boxes_are_those_of_the_processor(
    street: Path, planes: Path, expected: list[Detections], settings: tuple[str, ...]
) -> None:
    (detections,) = found(street, planes, "cuda", *settings).values()
    parity = compare(detections, expected, bar=FP32_BAR, iou_threshold=0.45)
    assert parity.num_detections > 500
    assert FP32_BAR.passed_by(parity), parity


def test_several_sources_share_batches_while_runs_are_being_recorded(
    street: Path, planes: Path, expected: list[Detections]
) -> None:
    recorded = ("decode.device=cuda", "engine.batch=8", "engine.inflight=3", "engine.cuda_graph=true")
    by_source = found(street, planes, "cuda", *recorded, "engine.channels_last=false", copies=6)
    assert len(by_source) == 6
    for detections in by_source.values():
        parity = compare(detections, expected, bar=FP32_BAR, iou_threshold=0.45)
        assert FP32_BAR.passed_by(parity), parity


def test_settings_that_nobody_says_are_tried_and_still_right(
    street: Path, planes: Path, expected: list[Detections], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):  # tried, then remembered
        (detections,) = found(street, planes, "cuda", "decode.device=cuda").values()
        parity = compare(detections, expected, bar=FP32_BAR, iou_threshold=0.45)
        assert FP32_BAR.passed_by(parity), parity
    assert len(list((tmp_path / "streamdet" / "gpu").glob("*.json"))) == 1


def test_downloaded_pixels_are_those_of_the_processors_decoder(street: Path) -> None:
    sources = [VideoSource(street, decode=DecodeOptions(device=device)) for device in ("cuda", "cpu")]
    for ours, theirs in zip(*(source.pictures(threading.Event()) for source in sources), strict=True):
        for size_wh in ((640, 368), (320, 180)):
            mine, other = (timed.picture.resized(size_wh, colour="rgb") for timed in (ours, theirs))
            assert np.array_equal(mine, other)


@pytest.mark.parametrize("first", ["torch", "session", "torch then session", "decoder then session"])
def test_whoever_opens_the_gpu_first_the_decoder_shares_it(street: Path, first: str) -> None:
    """Each in a process of its own, because a context stays open."""
    steps = {
        "torch": "import torch\nkept.append(torch.zeros(1, device='cuda'))",
        "session": "kept.append(OrtEngine(DEMO_MODEL, recognise(DEMO_MODEL), device='cuda'))\nkept[-1].warm_up(1)",
        "decoder": "next(VideoSource(path, decode=gpu).pictures(threading.Event()))",
    }
    program = "\n".join(
        [
            "import sys, threading",
            "from pipeline.sources.options import DecodeOptions",
            "from pipeline.sources.video.source import VideoSource",
            "from pipeline.app.model_files import DEMO_MODEL",
            "from pipeline.detector.engine import OrtEngine",
            "from pipeline.detector.recognise import recognise",
            "kept, path, gpu = [], sys.argv[1], DecodeOptions(device='cuda')",
            *(steps[each] for each in first.split(" then ")),
            "print(sum(1 for _ in VideoSource(path, decode=gpu).pictures(threading.Event())))",
        ]
    )
    if "torch" in first:
        pytest.importorskip("torch", reason="the extra export is not installed")
    done = subprocess.run([sys.executable, "-c", program, str(street)], capture_output=True, text=True)
    assert done.stdout.split() == ["60"], done.stderr


def test_what_cannot_be_recorded_is_refused_in_a_line(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra export is not installed")
    from export.exporting import export_detector
    from tests.support.small_exportable import exportable, proof_images

    path = tmp_path / "frame.onnx"
    export_detector(exportable(), path, images=proof_images(), form="frame", pixels="nv12")
    with pytest.raises(DeviceError, match="has NonMaxSuppression inside; leave it out, or export --form boxes"):
        OrtEngine(path, recognise(path), device="cuda", cuda_graph=True)
    assert OrtEngine(DEMO_MODEL, recognise(DEMO_MODEL), device="cuda").device == "cuda"
