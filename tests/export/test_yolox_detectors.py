"""YOLOX: body and decode follow its convention. The network is a stand-in: the package has no wheel."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.exportable import Exportable, ExportRequest
from export.families.yolox_detectors import build, exportable_of
from export.graph.forms import BodyForm, BoxesForm
from pipeline.detector.heads.yolo import yolox
from pipeline.errors import MissingExtraError, ModelError


class _Head(nn.Module):
    """Three levels of 5 + C channels, objectness and classes in 0..1, as YOLOX's head gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.decode_in_inference = True
        self.levels = nn.ModuleList(nn.Conv2d(3, 5 + 4, kernel_size=stride, stride=stride) for stride in (8, 16, 32))

    def forward(self, images: Tensor) -> Tensor:
        assert not self.decode_in_inference
        maps = [level(images / 64 - 2).flatten(2) for level in self.levels]  # [N, 9, cells]
        cells = torch.cat(maps, dim=2).permute(0, 2, 1)  # [N, A, 9]
        return torch.cat([cells[..., :4], (2 * cells[..., 4:]).sigmoid()], dim=2)


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = _Head()

    def forward(self, images: Tensor) -> Tensor:
        cells: Tensor = self.head(images)
        return cells


def test_body_and_decode_say_what_the_runtime_reads_in_the_body() -> None:
    exportable, pixels = _exportable(), _pixels(2)
    assert exportable.body_head is not None
    with torch.inference_mode():
        boxes, scores, class_ids, num = BoxesForm(exportable).eval()(pixels)
        (cells,) = BodyForm(exportable).eval()(pixels.permute(0, 3, 1, 2).float())
    for index in range(2):
        expected = yolox({"cells": cells.numpy()}, exportable.body_head, score_threshold=0.0, batch_index=index)
        order = np.argsort(-expected.scores, kind="stable")
        assert num[index] == len(order) == 12 * 8 + 6 * 4 + 3 * 2
        np.testing.assert_allclose(scores[index].numpy(), expected.scores[order], atol=1e-6)
        np.testing.assert_allclose(boxes[index].numpy(), expected.boxes_xyxy[order], atol=1e-3)
        np.testing.assert_array_equal(class_ids[index].numpy(), expected.class_ids[order])


def test_one_cell_decoded_by_hand() -> None:
    exportable = _exportable()
    cells = torch.zeros(1, 12 * 8 + 6 * 4 + 3 * 2, 9)
    cells[0, 12 * 8 + 6 + 2, :] = torch.tensor([0.5, 0.25, np.log(2), 0.0, 0.8, 0.1, 0.9, 0.2, 0.3])  # y 1, x 2 at 16
    boxes, scores, class_ids = exportable.decode(cells)
    np.testing.assert_allclose(boxes[0, 0].numpy(), (24, 12, 56, 28), rtol=1e-6)  # centre 40, 20, sides 32, 16
    assert scores[0, 0] == pytest.approx(0.72)
    assert class_ids[0, 0] == 1


def test_the_network_gets_bgr_in_0_to_255_from_the_top_left() -> None:
    spec = _exportable().spec
    assert (spec.colour, spec.resize, spec.pad_value) == ("bgr", "letterbox-topleft", 114)
    assert (spec.mean, spec.std) == ((0, 0, 0), (1, 1, 1))
    assert (spec.needs_nms, spec.iou_threshold, spec.class_names[3]) == (True, 0.65, "class 3")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ModelError, match=r"one of yolox-nano, .* got yolox-huge"):
        build(ExportRequest("yolox-huge"))
    with pytest.raises(ModelError, match=r"yolox-nano comes without weights: take yolox_nano.pth"):
        build(ExportRequest("yolox-nano"))
    with pytest.raises(ModelError, match="multiples of 32, got 100 x 64"):
        exportable_of(_Network(), ExportRequest("yolox-nano", network_wh=(100, 64)), num_classes=4, own_wh=(96, 64))


@pytest.mark.skipif(importlib.util.find_spec("yolox") is not None, reason="yolox is installed")
def test_a_missing_package_is_named() -> None:
    with pytest.raises(MissingExtraError, match="YOLOX needs its package"):
        build(ExportRequest("yolox-nano", weights="none"))


def _exportable() -> Exportable:
    torch.manual_seed(0)
    return exportable_of(_Network(), ExportRequest("yolox-nano"), num_classes=4, own_wh=(96, 64))


def _pixels(num_images: int) -> Tensor:
    random = np.random.default_rng(0)
    return torch.from_numpy(random.integers(0, 256, (num_images, 64, 96, 3), dtype=np.uint8))
