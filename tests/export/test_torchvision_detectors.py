"""torchvision's detectors: taken apart for export, they find what torchvision finds."""

from __future__ import annotations

import urllib.request
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
import torchvision
from torch import Tensor

from export.exportable import Exportable, ExportRequest
from export.families.torchvision_detectors import NAMES, build
from export.graph.forms import BodyForm, BoxesForm, Normalise
from export.graph.ops import TRANSLATIONS
from export.proof.random_weights import some_images
from pipeline.detector.heads.ssd import ssd_raw
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_91
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.suppression import SuppressionOptions, suppress
from tests.support.calibrated import random_exportable

SMALL = (192, 128)
FAMILIES: dict[str, dict[str, Any]] = {
    "ssdlite320_mobilenet_v3_large": {"network_wh": (320, 320)},
    "retinanet_resnet50_fpn": {"network_wh": SMALL, "background": 1.0},
    "fcos_resnet50_fpn": {"network_wh": SMALL},
    "fasterrcnn_mobilenet_v3_large_320_fpn": {"network_wh": SMALL},
    "maskrcnn_resnet50_fpn": {"network_wh": SMALL, "is_narrow": True},
    "keypointrcnn_resnet50_fpn": {
        "network_wh": SMALL,
        "is_narrow": True,
        "num_classes": 1,
        "background": 0.0,
        "seed": 2,
    },
}
Detect = Callable[[Tensor], list[Candidates]]


@pytest.fixture(scope="module")
def family() -> Callable[[str], Exportable]:
    """Each family's detector, made once."""
    made: dict[str, Exportable] = {}

    def get(name: str) -> Exportable:
        if name not in made:
            made[name] = random_exportable(name, **FAMILIES[name])
        return made[name]

    return get


def in_torch(exportable: Exportable) -> Detect:
    form = BoxesForm(exportable).eval()

    def detect(pixels: Tensor) -> list[Candidates]:
        with torch.inference_mode():
            return detections([output.numpy() for output in form(pixels)], exportable)

    return detect


def in_onnx(exportable: Exportable) -> Detect:
    width, height = exportable.spec.network_wh
    names = ["boxes", "scores", "class_ids", "num_detections", *exportable.more_outputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            BoxesForm(exportable).eval(),
            (torch.zeros(2, height, width, 3, dtype=torch.uint8),),
            dynamo=True,
            opset_version=20,
            external_data=False,
            input_names=["pixels"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
            verbose=False,
            custom_translation_table=TRANSLATIONS,
        )
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def detect(pixels: Tensor) -> list[Candidates]:
        return detections([np.asarray(output) for output in session.run(names, {"pixels": pixels.numpy()})], exportable)

    return detect


def detections(outputs: Sequence[npt.NDArray[Any]], exportable: Exportable) -> list[Candidates]:
    """The outputs of a boxes form, read as by the runtime."""
    spec, images = exportable.spec, []
    boxes, scores, class_ids, counts, *more = outputs
    for image in range(len(boxes)):
        in_image = Candidates(
            boxes[image],
            scores[image],
            class_ids[image],
            more[0][image] if exportable.more_outputs == ("masks",) else None,
            more[0][image] if exportable.more_outputs == ("keypoints",) else None,
        ).select(np.arange(counts[image]))
        images.append(suppressed(in_image, spec) if spec.needs_nms else in_image)
    return images


def suppressed(candidates: Candidates, spec: DetectorSpec) -> Candidates:
    options = SuppressionOptions(iou_threshold=spec.iou_threshold, max_detections=spec.max_detections)
    kept, _ = suppress(candidates.boxes_xyxy, candidates.scores, candidates.class_ids, options)
    return candidates.select(kept)


def assert_same(ours: Sequence[Candidates], theirs: Sequence[Candidates], *, score_tolerance: float = 1e-3) -> None:
    """As sets, down to a score of 0.05: where scores tie, or nearly, either may order as it likes."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for candidates, partners in ((one, other), (other, one)):
            for index in np.flatnonzero(candidates.scores >= 0.05 + score_tolerance):
                _assert_has_partner(candidates, int(index), partners, score_tolerance)


def _assert_has_partner(candidates: Candidates, index: int, partners: Candidates, tolerance: float) -> None:
    box, score, class_id = candidates.boxes_xyxy[index], candidates.scores[index], candidates.class_ids[index]
    distance = np.abs(partners.boxes_xyxy - box).max(axis=1)  # [M], pixels
    allowed = max(0.01 * float((box[2:] - box[:2]).min()) / 2, 0.05)  # an IoU of 0.99 or so; boxes may have no area
    alike = (distance <= allowed) & (partners.class_ids == class_id)
    alike &= np.abs(partners.scores - score) <= tolerance
    assert alike.any(), f"nothing is like {box}, score {score}, class {class_id}"
    partner = int(np.flatnonzero(alike)[np.abs(partners.scores[alike] - score).argmin()])
    if candidates.box_masks is not None and partners.box_masks is not None:
        assert np.abs(candidates.box_masks[index] - partners.box_masks[partner]).max() < 0.03
    if candidates.keypoints is not None and partners.keypoints is not None:
        point, twin = candidates.keypoints[index], partners.keypoints[partner]
        assert np.abs(point[:, 2] - twin[:, 2]).max() < 0.02
        # Maps of random weights have many peaks of the same height, so that a few points may lie elsewhere.
        assert (np.abs(point[:, :2] - twin[:, :2]).max(axis=1) < 1.5).mean() > 0.8


@pytest.mark.parametrize("name", FAMILIES)
def test_taken_apart_a_detector_finds_the_same(family: Callable[[str], Exportable], name: str) -> None:
    exportable = family(name)
    pixels = some_images(2, exportable.spec.network_wh, seed=5)
    assert exportable.reference is not None
    expected = exportable.reference(pixels)
    assert all((candidates.scores >= 0.05).sum() > 5 for candidates in expected)
    assert_same(in_torch(exportable)(pixels), expected)


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
@pytest.mark.parametrize("num_images", [1, 3])
def test_exported_a_detector_finds_the_same_in_any_batch(
    family: Callable[[str], Exportable], exported: Callable[[str], Detect], name: str, num_images: int
) -> None:
    exportable = family(name)
    pixels = some_images(num_images, exportable.spec.network_wh, seed=6)
    assert exportable.reference is not None
    assert_same(exported(name)(pixels), exportable.reference(pixels))


@pytest.fixture(scope="module")
def exported(family: Callable[[str], Exportable]) -> Callable[[str], Detect]:
    made: dict[str, Detect] = {}

    def get(name: str) -> Detect:
        if name not in made:
            made[name] = in_onnx(family(name))
        return made[name]

    return get


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn"])
def test_where_nothing_is_found_nothing_is_given(name: str) -> None:
    num_classes = 1 if name.startswith("keypoint") else 3
    exportable = random_exportable(name, network_wh=(128, 96), num_classes=num_classes, background=60.0, is_narrow=True)
    pixels = some_images(2, (128, 96))
    assert exportable.reference is not None
    assert [len(image.scores) for image in exportable.reference(pixels)] == [0, 0]
    assert [len(image.scores) for image in in_torch(exportable)(pixels)] == [0, 0]
    assert [len(image.scores) for image in in_onnx(exportable)(pixels[:1])] == [0]


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn"])
def test_the_runtime_reads_the_body_as_torchvision_does(family: Callable[[str], Exportable], name: str) -> None:
    exportable = family(name)
    pixels = some_images(2, exportable.spec.network_wh, seed=5)
    with torch.inference_mode():
        raw = BodyForm(exportable).eval()(Normalise(exportable.spec)(pixels))
    outputs = {name: output.numpy() for name, output in zip(exportable.body_outputs, raw, strict=True)}
    spec = exportable.body_head
    assert spec is not None
    candidates = [ssd_raw(outputs, spec, score_threshold=0.05, batch_index=image) for image in range(len(pixels))]
    assert exportable.reference is not None
    assert_same([suppressed(image, spec) for image in candidates], exportable.reference(pixels))


def test_a_background_is_left_out_of_the_body_where_nobody_trains_it(family: Callable[[str], Exportable]) -> None:
    ssd = family("ssdlite320_mobilenet_v3_large").body_head
    retinanet = family("retinanet_resnet50_fpn").body_head
    assert ssd is not None
    assert retinanet is not None
    assert (ssd.score_activation, ssd.first_class_id) == ("softmax", 1)
    assert (retinanet.score_activation, retinanet.first_class_id) == ("sigmoid", 0)
    logits, _ = family("retinanet_resnet50_fpn").body(torch.zeros(1, 3, 128, 192))
    assert logits.shape[2] == len(retinanet.class_names)


def test_the_body_may_be_halved_without_touching_the_reference() -> None:
    exportable = build(ExportRequest("ssdlite320_mobilenet_v3_large", weights="none"))
    BodyForm(exportable, half=True)
    assert exportable.reference is not None
    assert len(exportable.reference(some_images(1, (320, 320)))) == 1


def test_the_spec_says_what_torchvision_does_to_an_image() -> None:
    spec = build(ExportRequest("ssdlite320_mobilenet_v3_large", weights="none")).spec
    assert (spec.resize, spec.network_wh, spec.colour, spec.batch) == ("stretch", (320, 320), "rgb", None)
    assert spec.mean == pytest.approx((127.5,) * 3)
    assert spec.class_names == COCO_91
    faster = build(ExportRequest("fasterrcnn_mobilenet_v3_large_320_fpn", weights="none")).spec
    assert (faster.resize, faster.network_wh, faster.needs_nms) == ("letterbox-topleft", (576, 320), False)
    assert faster.pad_value == (124, 116, 104)


def test_more_outputs_are_named(family: Callable[[str], Exportable]) -> None:
    masks, keypoints = family("maskrcnn_resnet50_fpn"), family("keypointrcnn_resnet50_fpn")
    assert (masks.more_outputs, masks.spec.keypoint_names) == (("masks",), ())
    assert (keypoints.more_outputs, keypoints.spec.keypoint_names[0]) == (("keypoints",), "nose")


def test_own_classes_come_with_a_checkpoint(tmp_path: Path) -> None:
    make = torchvision.models.detection.ssdlite320_mobilenet_v3_large
    torch.save(make(weights=None, weights_backbone=None, num_classes=3).state_dict(), tmp_path / "mine.pth")
    request = ExportRequest(
        "ssdlite320_mobilenet_v3_large", checkpoint=tmp_path / "mine.pth", class_names=("cup", "jar")
    )
    assert build(request).spec.class_names == ("cup", "jar")


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (ExportRequest("yolo", weights="none"), "not one of torchvision's detectors: ssdlite320"),
        (
            ExportRequest("ssd300_vgg16", weights="none", network_wh=(320, 320)),
            "made for 300 x 300 pixels, got 320 x 320",
        ),
        (ExportRequest("fcos_resnet50_fpn", weights="none", network_wh=(640, 360)), "multiples of 32, got 640 x 360"),
        (ExportRequest("fcos_resnet50_fpn", num_classes=3), "know 90 classes, so --num-classes cannot be chosen"),
        (ExportRequest("fcos_resnet50_fpn", weights="none", num_classes=0), "at least one class"),
        (
            ExportRequest("ssd300_vgg16", weights="none", num_classes=3, class_names=("a",)),
            "1 class names contradict 3",
        ),
    ],
)
def test_what_cannot_be_is_refused(mistake: ExportRequest, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build(mistake)


def test_without_a_network_it_says_where_weights_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(ModelError, match=r"must be downloaded once.*--checkpoint or --weights none") as caught:
        build(ExportRequest("ssdlite320_mobilenet_v3_large"))
    assert "\n" not in str(caught.value)


def test_every_name_is_torchvisions() -> None:
    assert set(NAMES) <= set(torchvision.models.list_models(torchvision.models.detection))
