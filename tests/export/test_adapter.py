"""Adapter: an unknown module is exported by its owner's description of it."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads import HEADS
from pipeline.detector.recognise import recognise
from pipeline.errors import ModelError
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.candidates import Candidates
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import ScoreActivation
from pipeline.picture.frame import ArrayPicture
from pipeline.picture.parity import FP32_BAR, compare

pytest.importorskip("torch", reason="the extra export is not installed")

import torch
from torch import Tensor, nn

from export.adapter import Adapter, adapt, build_own
from export.exportable import Exportable, ExportRequest
from export.exporting import TorchPath, export_detector
from export.graph.forms import module_for
from export.proof.images import ProofImage
from tests.support.pictures import noise

SIDE = 64
NAMES = ("cat", "dog", "bird")


class OwnNetwork(nn.Module):
    """A box around each cell of a 4 × 4 grid, as a format and an activation want it; a background class for softmax."""

    def __init__(self, box_format: str = "cxcywh", activation: str = "sigmoid", *, normalised: bool = True) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.box_format, self.activation, self.normalised = box_format, activation, normalised
        self.features = nn.Conv2d(3, 16, 16, stride=16)
        self.boxes = nn.Conv2d(16, 4, 1)
        self.classes = nn.Conv2d(16, len(NAMES) + (activation == "softmax"), 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.features(images).relu()  # [N, 16, h, w]
        offsets = self.boxes(features).flatten(2).transpose(1, 2).tanh()  # [N, A, 4]
        rows, columns = (torch.arange(side, dtype=torch.float32) for side in features.shape[2:])
        y, x = torch.meshgrid((rows + 0.5) / len(rows), (columns + 0.5) / len(columns), indexing="ij")
        centres = torch.stack([x, y], dim=2).view(1, -1, 2) + 0.05 * offsets[:, :, :2]  # [N, A, 2]
        sizes = 0.2 + 0.1 * offsets[:, :, 2:]  # [N, A, 2]
        if not self.normalised:
            scale = torch.tensor([images.shape[3], images.shape[2]], dtype=torch.float32)
            centres, sizes = centres * scale, sizes * scale
        low, high = centres - sizes / 2, centres + sizes / 2
        boxes = {
            "xyxy": torch.cat([low, high], dim=2),
            "yxyx": torch.cat([low.flip(2), high.flip(2)], dim=2),
            "cxcywh": torch.cat([centres, sizes], dim=2),
            "cycxhw": torch.cat([centres.flip(2), sizes.flip(2)], dim=2),
            "xywh": torch.cat([low, sizes], dim=2),
        }[self.box_format]
        logits = 3 * self.classes(features).flatten(2).transpose(1, 2)  # [N, A, C]
        return {"boxes": boxes, "values": logits.sigmoid() if self.activation == "none" else logits}


def read(outputs: Any) -> tuple[Tensor, Tensor]:
    return outputs["boxes"], outputs["values"]


ADAPTER = Adapter(
    network_wh=(SIDE, SIDE),
    class_names=NAMES,
    read=read,
    box_format="cxcywh",
    boxes_are_normalised=True,
    score_activation="sigmoid",
)


def own_exportable(
    box_format: BoxFormat = "cxcywh", activation: ScoreActivation = "sigmoid", *, normalised: bool = True
) -> Exportable:
    adapter = replace(
        ADAPTER,
        box_format=box_format,
        score_activation=activation,
        boxes_are_normalised=normalised,
        first_class_id=int(activation == "softmax"),
    )
    return adapt(OwnNetwork(box_format, activation, normalised=normalised), adapter, name="own")


def as_detections(candidates: Candidates) -> Detections:
    return Detections(
        candidates.boxes_xyxy.astype(np.float32),
        candidates.scores.astype(np.float32),
        candidates.class_ids.astype(np.int64),
    )


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize(
    ("box_format", "activation"), list(itertools.product(get_args(BoxFormat), get_args(ScoreActivation)))
)
def test_the_decoder_says_what_the_runtimes_head_says(
    box_format: BoxFormat, activation: ScoreActivation, normalised: bool
) -> None:
    exportable = own_exportable(box_format, activation, normalised=normalised)
    pixels = torch.from_numpy(np.stack([noise(SIDE, SIDE, seed=seed) for seed in range(3)]))
    module, spec, names = module_for(exportable, "boxes", half=False)
    assert exportable.reference is not None
    with torch.inference_mode():
        outputs = dict(zip(names, (output.numpy() for output in module(pixels)), strict=True))
        theirs = [as_detections(candidates) for candidates in exportable.reference(pixels)]
    ours = [as_detections(HEADS["boxes"](outputs, spec, score_threshold=0.01, batch_index=index)) for index in range(3)]
    parity = compare(ours, theirs, FP32_BAR)
    assert FP32_BAR.passed_by(parity), parity
    assert parity.num_detections >= 30
    widths = theirs[0].boxes_xyxy[:, 2] - theirs[0].boxes_xyxy[:, 0]
    assert 0.1 * SIDE <= widths.min() <= widths.max() <= 0.3 * SIDE


def test_every_format_and_activation_reads_the_same_objects() -> None:
    picture = ArrayPicture(noise(100, 60))

    def detect(*words: Any, **options: Any) -> Detections:
        return TorchPath(own_exportable(*words, **options), score_threshold=0.04)([picture])[0]

    expected = [detect()]
    for box_format in get_args(BoxFormat):
        assert FP32_BAR.passed_by(compare([detect(box_format, "none", normalised=False)], expected, FP32_BAR))


def test_no_more_candidates_are_kept_than_the_adapter_says() -> None:
    exportable = adapt(OwnNetwork(), replace(ADAPTER, max_candidates=7), name="own")
    module, _, _ = module_for(exportable, "boxes", half=False)
    with torch.inference_mode():
        boxes, scores, class_ids, counts = module(torch.from_numpy(noise(SIDE, SIDE))[None])
    assert (boxes.shape, scores.shape, class_ids.shape) == ((1, 7, 4), (1, 7), (1, 7))
    assert counts.tolist() == [7]
    assert (scores.diff(dim=1) <= 0).all()


def test_what_the_adapter_says_stands_in_the_spec() -> None:
    adapter = replace(
        ADAPTER, colour="bgr", mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), resize="stretch", needs_nms=False
    )
    spec = adapt(OwnNetwork(), adapter, name="own").spec
    assert (spec.colour, spec.mean, spec.std, spec.resize, spec.needs_nms) == (
        "bgr",
        (1.0, 2.0, 3.0),
        (4.0, 5.0, 6.0),
        "stretch",
        False,
    )
    assert (spec.model_name, spec.class_names, spec.network_wh, spec.dtype) == ("own", NAMES, (SIDE, SIDE), "uint8")


def test_an_own_module_is_exported_verified_and_run(tmp_path: Path) -> None:
    images = [
        ProofImage(f"{width} x {height}", ArrayPicture(noise(width, height)))
        for width, height in [(64, 64), (100, 40), (30, 90)]
    ]
    exported = export_detector(own_exportable(), tmp_path / "own.onnx", images=images)
    assert exported.evidence.passes
    spec = recognise(tmp_path / "own.onnx")
    assert (spec.class_names, spec.form, spec.batch) == (NAMES, "boxes", None)
    assert spec.parity is not None
    assert (spec.parity["passed"], spec.parity["num_images"]) == (True, 3)
    detector = EngineDetector(OrtEngine(tmp_path / "own.onnx", spec, device="cpu"), score_threshold=0.04)
    pictures = [image.picture for image in images]
    expected = TorchPath(own_exportable(), score_threshold=0.04)(pictures)
    parity = compare(detector(pictures), expected, FP32_BAR, iou_threshold=spec.iou_threshold)
    assert FP32_BAR.passed_by(parity), parity


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda n: (torch.zeros(n, 16, 5), torch.zeros(n, 16, 3)), r"it reads boxes \[2, 16, 5\] and class values"),
        (lambda n: (torch.zeros(n, 16, 4), torch.zeros(n, 16, 4)), r"class values \[2, A, 3\], as it names 3 classes"),
        (lambda n: (torch.zeros(n, 16, 4), torch.zeros(n, 15, 3)), r"class values \[2, 15, 3\]$"),
        (lambda n: (torch.zeros(1, 16, 4), torch.zeros(1, 16, 3)), r"for 2 images, .* reads boxes \[1, 16, 4\]"),
        (lambda n: (torch.zeros(16, 4), torch.zeros(16, 3)), r"it reads boxes \[16, 4\]"),
        (lambda n: torch.zeros(n, 16, 7), "own and its adapter do not fit: AttributeError|it reads boxes"),
        (lambda n: {"boxes": 1, "scores": 2, "labels": 3}, r"own and its adapter do not fit: ValueError: too many"),
        (lambda n: ([1], [2]), "own and its adapter do not fit: AttributeError"),
    ],
)
def test_outputs_that_are_not_what_the_adapter_promises_are_refused(outputs: Any, message: str) -> None:
    class Strange(nn.Module):
        def forward(self, images: Tensor) -> Any:
            return outputs(len(images))

    with pytest.raises(ModelError, match=message) as caught:
        adapt(Strange(), Adapter(network_wh=(SIDE, SIDE), class_names=NAMES), name="own")
    assert "\n" not in str(caught.value)


PACKAGE = """
import torch
from export.adapter import Adapter
from tests.export.test_adapter import ADAPTER, OwnNetwork

instance = OwnNetwork()
number = 3

def make():
    return OwnNetwork()

def make_nothing():
    return None

def make_with(size):
    return OwnNetwork()

def fail():
    raise RuntimeError("out of\\ncheese")

class inner:
    adapter = ADAPTER
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package in the working folder, which is not on the path, and nothing of it is left over."""
    folder = tmp_path / "ownpackage"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "net.py").write_text(PACKAGE)
    (folder / "broken.py").write_text("def (:\n")
    (folder / "needy.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "ownpackage"]:
        del sys.modules[name]


def request(word: str, **options: Any) -> ExportRequest:
    return ExportRequest(name=f"ownpackage.{word}", **options)


@pytest.mark.parametrize("word", ["net:make", "net:OwnNetwork", "net:instance"])
def test_a_function_a_class_and_a_module_are_taken(package: Path, word: str) -> None:
    exportable = build_own(request(word), "ownpackage.net:ADAPTER")
    assert exportable.spec.model_name == word.partition(":")[2]
    assert exportable.spec.class_names == NAMES
    assert build_own(request(word), "ownpackage.net:inner.adapter").spec == exportable.spec


def test_size_class_names_and_checkpoint_win_over_the_adapter(package: Path, tmp_path: Path) -> None:
    trained = OwnNetwork()
    with torch.no_grad():
        trained.classes.weight += 1
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    names = ("a", "b", "c")
    exportable = build_own(
        request("net:make", network_wh=(96, 32), class_names=names, checkpoint=tmp_path / "weights.pt"),
        "ownpackage.net:ADAPTER",
    )
    assert (exportable.spec.network_wh, exportable.spec.class_names) == ((96, 32), names)
    torch.testing.assert_close(exportable.body.state_dict()["module.classes.weight"], trained.classes.weight.detach())


@pytest.mark.parametrize(
    ("word", "adapter", "message"),
    [
        ("net:make", None, r"ownpackage.net:make needs --adapter package.module:NAME"),
        ("net:make", "ownpackage.net:number", r"--adapter must name an export.adapter.Adapter, .* is a int"),
        ("net:make", "ownpackage.net:nothing", r"--adapter: ownpackage.net has no nothing"),
        ("net:make", "ownpackage.net", r"--adapter must be package.module:name, got 'ownpackage.net'"),
        ("net:make", ":name", r"--adapter must be package.module:name, got ':name'"),
        ("net:nothing", "ownpackage.net:ADAPTER", r"MODEL: ownpackage.net has no nothing"),
        ("nowhere:make", "ownpackage.net:ADAPTER", r"MODEL: ownpackage.nowhere cannot be imported: .*No module named"),
        ("broken:make", "ownpackage.net:ADAPTER", r"MODEL: ownpackage.broken cannot be imported: SyntaxError"),
        ("needy:make", "ownpackage.net:ADAPTER", r"ownpackage.needy cannot be imported: .*a_package_that_is_not_there"),
        ("net:make_nothing", "ownpackage.net:ADAPTER", r"must be or return a torch.nn.Module, got NoneType"),
        ("net:number", "ownpackage.net:ADAPTER", r"or return one when called without arguments: TypeError: 'int'"),
        ("net:make_with", "ownpackage.net:ADAPTER", r"called without arguments: TypeError: .*missing 1 required"),
        ("net:fail", "ownpackage.net:ADAPTER", r"called without arguments: RuntimeError: out of$"),
    ],
)
def test_a_mistake_in_a_name_is_one_line(package: Path, word: str, adapter: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        build_own(request(word), adapter)
    assert "\n" not in str(caught.value)
