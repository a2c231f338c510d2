"""EfficientDet: body and decode find what effdet's own bench finds."""

from __future__ import annotations

import functools
import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export.exportable import Exportable, ExportRequest
from export.families.effdet_detectors import NAMES, build
from export.graph.forms import BodyForm, BoxesForm, Normalise
from export.proof.random_weights import LogitScale, calibrate, scale_logits
from pipeline.errors import ModelError
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_91
from pipeline.picture.detector_spec import unpack_anchors
from pipeline.picture.suppression import SuppressionOptions, suppress

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses torch.jit.script
    pytest.importorskip("effdet")

_FIVE = ("ant", "bee", "cat", "dog", "elk")


def test_body_and_decode_say_what_the_bench_says() -> None:
    exportable = _calibrated("efficientdet_d0", network_wh=(256, 128))
    pixels = _pixels(exportable, 2)
    _assert_same_as_the_bench(exportable, pixels, [output.numpy() for output in _run(BoxesForm(exportable), pixels)])


def test_an_exported_file_says_the_same_for_any_batch() -> None:
    exportable = _calibrated("tf_efficientdet_lite0", network_wh=(128, 128))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            BoxesForm(exportable).eval(),
            (_pixels(exportable, 2),),
            dynamo=True,
            opset_version=20,
            external_data=False,
            input_names=["pixels"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
            verbose=False,
        )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for num_images in (1, 3):
        pixels = _pixels(exportable, num_images)
        _assert_same_as_the_bench(exportable, pixels, session.run(None, {"pixels": pixels.numpy()}))


def test_the_body_form_comes_with_its_anchors() -> None:
    exportable = _calibrated("efficientdet_d0", network_wh=(256, 128))
    head = exportable.body_head
    assert head is not None
    assert (head.head, head.score_activation, head.box_format) == ("ssd_raw", "sigmoid", "xyxy")
    images = Normalise(exportable.spec)(_pixels(exportable, 1))
    logits, offsets = _run(BodyForm(exportable), images)
    anchors = unpack_anchors(head.anchors) * (256, 128, 256, 128)  # [A, 4] cx, cy, w, h in network pixels
    assert anchors.shape == offsets[0].shape
    # Decoded by hand, the best anchor is the first of the boxes form.
    index, class_id = np.unravel_index(logits[0].numpy().argmax(), logits[0].shape)
    dx, dy, dw, dh = offsets[0, index].tolist()
    x, y, width, height = anchors[index]
    x, y, width, height = x + dx * width, y + dy * height, width * np.exp(dw), height * np.exp(dh)
    corners = np.clip([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 0, (256, 128, 256, 128))
    boxes, _, class_ids, _ = _run(BoxesForm(exportable), _pixels(exportable, 1))
    np.testing.assert_allclose(boxes[0, 0].numpy(), corners, atol=1e-3)
    assert class_ids[0, 0] == class_id


def test_pictures_are_prepared_as_effdet_prepares_them(tmp_path: Path) -> None:
    small: Any = build(ExportRequest("tf_efficientdet_d0", weights="none", network_wh=(128, 128))).body
    torch.save(small.model.state_dict(), tmp_path / "trained.pth")  # at 512 × 512 random ones are dear to calibrate
    spec = build(ExportRequest("tf_efficientdet_d0", checkpoint=tmp_path / "trained.pth")).spec
    assert (spec.network_wh, spec.resize, spec.pad_value) == ((512, 512), "letterbox-topleft", (124, 116, 104))
    assert spec.class_names == COCO_91
    assert (spec.needs_nms, spec.iou_threshold, spec.max_detections) == (True, 0.5, 100)
    np.testing.assert_allclose(spec.mean, (123.675, 116.28, 103.53))
    adversarial = build(ExportRequest("tf_efficientdet_d0_ap", weights="none", network_wh=(128, 128))).spec
    assert adversarial.pad_value == 0
    np.testing.assert_allclose(adversarial.std, (127.5, 127.5, 127.5))


def test_a_size_off_the_stride_is_refused() -> None:
    with pytest.raises(ModelError, match="multiples of 128, got 300 x 256"):
        build(ExportRequest("efficientdet_d0", weights="none", network_wh=(300, 256)))


def test_a_name_without_weights_and_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ModelError, match="effdet has no weights of efficientdet_d2"):
        build(ExportRequest("efficientdet_d2"))
    with pytest.raises(ModelError, match="weights have 90 classes, got 5"):
        build(ExportRequest("tf_efficientdet_d0", num_classes=5))


def test_a_checkpoint_gives_the_weights(tmp_path: Path) -> None:
    first = build(ExportRequest("efficientdet_d0", weights="none", class_names=_FIVE, network_wh=(128, 128)))
    network: Any = first.body.model
    torch.save({"state_dict": network.state_dict()}, tmp_path / "trained.pth")
    request = ExportRequest(
        "efficientdet_d0", checkpoint=tmp_path / "trained.pth", class_names=_FIVE, network_wh=(128, 128)
    )
    images = torch.ones(1, 3, 128, 128)
    torch.testing.assert_close(_run(build(request).body, images), _run(first.body, images))


def test_all_names_are_effdets() -> None:
    published = importlib.import_module("effdet.config.model_config").efficientdet_model_param_dict
    assert set(NAMES) == set(published)


@functools.cache
def _calibrated(name: str, *, network_wh: tuple[int, int]) -> Exportable:
    """A network with random weights whose scores spread out, instead of vanishing or tying."""
    torch.manual_seed(0)
    exportable = build(ExportRequest(name, weights="none", class_names=_FIVE, network_wh=network_wh))
    images = Normalise(exportable.spec)(_pixels(exportable, 3))
    network: Any = exportable.body.model
    calibrate(network, lambda: network(images))  # on these images, not on those that export calibrates on
    classes, boxes = (
        [layer for layer in net.predict.modules() if isinstance(layer, nn.Conv2d)][-1:]
        for net in (network.class_net, network.box_net)
    )
    scale_logits(lambda: network(images), LogitScale(classes, 1.5, mean=None, share=0.01), LogitScale(boxes, 0.3))
    return exportable


def _pixels(exportable: Exportable, num_images: int) -> Tensor:
    """Coloured noise uint8 [N, h, w, 3], the same for the same size."""
    width, height = exportable.spec.network_wh
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (num_images, height // 8, width // 8, 3), dtype=np.uint8)
    return torch.from_numpy(small.repeat(8, axis=1).repeat(8, axis=2))


def _run(module: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        outputs: tuple[Tensor, ...] = module.eval()(images)
    return outputs


def _assert_same_as_the_bench(exportable: Exportable, pixels: Tensor, outputs: Any) -> None:
    """After suppression, both ways, whatever the order: the same class, IoU 0.99, score to within a thousandth."""
    assert exportable.reference is not None
    for index, theirs in enumerate(exportable.reference(pixels)):
        num = int(outputs[3][index])
        ours = Candidates(*(output[index, :num] for output in outputs[:3]))
        options = SuppressionOptions(iou_threshold=0.5, score_threshold=0.01, max_detections=100)
        kept, _ = suppress(ours.boxes_xyxy, ours.scores, ours.class_ids, options)
        ours = ours.select(kept)
        assert len(ours.scores) >= 50
        for one, other in ((ours, theirs), (theirs, ours)):
            sides = one.boxes_xyxy[:, 2:] - one.boxes_xyxy[:, :2]
            counts = (sides.min(axis=1) > 1) & (one.scores > one.scores.min() + 1e-3)  # [M]; at the cut two may tie
            one = one.select(counts)
            alike = intersection_over_union(one.boxes_xyxy, other.boxes_xyxy) >= 0.99  # [M, M']
            alike &= one.class_ids[:, None] == other.class_ids[None]
            alike &= np.abs(one.scores[:, None] - other.scores[None]) <= 1e-3
            assert alike.any(axis=1).all()
