"""Grad-CAM and CAM: by steps in an ONNX file as by gradients in PyTorch, with the weights of the layer that scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou, roi_align

from export.activation.heat import Activation, Method, maps_of_picture
from export.activation.onnx_activation import onnx_activation
from export.activation.torch_activation import torch_activation
from export.exportable import Exportable
from export.exporting import TorchPath
from export.graph.forms import BOXES_OUTPUTS, BoxesForm
from export.graph.ops import pool_regions
from export.graph.to_onnx import to_onnx, write_model
from export.lineage.dense import by_anchor
from export.lineage.judging import picture_of
from export.lineage.learning import pixels_of
from export.lineage.system import lineage_spec
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detections import Detections
from pipeline.picture.frame import ArrayPicture, PixelArray
from pipeline.picture.letterbox import Letterbox
from tests.support import small_exportable
from tests.support.lineage_scenes import WORLD, rectangles

SIDE = 24.0  # of the box of each cell
CELLS = (WORLD.network_wh[1] // 8, WORLD.network_wh[0] // 8)


class Cells(nn.Module):
    """Two convolutions, and one of 1 × 1 that scores two classes in each cell of 8 × 8 pixels, by sigmoids."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(
            *(nn.Conv2d(3, 12, 5, stride=4, padding=2), nn.ReLU()),
            *(nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
        )
        self.classify = nn.Conv2d(16, 2, 1, bias=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.classify(self.see(pixels)),)


class CellsDecode(nn.Module):
    """Logits [N, 2, h, w] → the better class of each cell, and a box round its centre."""

    def __init__(self) -> None:
        super().__init__()
        rows, columns = torch.meshgrid(*(torch.arange(count) * 8.0 + 4 for count in CELLS), indexing="ij")
        centres = torch.stack([columns, rows], dim=2).reshape(-1, 2)
        self.boxes: Tensor
        self.register_buffer("boxes", torch.cat([centres - SIDE / 2, centres + SIDE / 2], dim=1))

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, class_ids = by_anchor(logits, 2).sigmoid().max(dim=2)
        best = scores.topk(20, dim=1)
        return self.boxes[best.indices], best.values, class_ids.gather(1, best.indices)


def cells(network: nn.Module) -> Exportable:
    return Exportable(network.eval(), CellsDecode().eval(), lineage_spec(WORLD, "Cells"), reference=None)


@pytest.fixture(scope="module")
def learnt() -> Cells:
    """The cells after two hundred steps on rectangles."""
    torch.manual_seed(0)
    network, scenes = Cells(), rectangles(24)
    pixels, targets = pixels_of(e.pixels for e in scenes.examples), torch.zeros(24, 2, *CELLS)
    boxes = CellsDecode().boxes
    for index, example in enumerate(scenes.examples):
        if len(example.boxes_xyxy):
            best = box_iou(torch.from_numpy(example.boxes_xyxy), boxes).argmax(dim=1)
            targets[index].flatten(1)[torch.from_numpy(example.class_ids), best] = 1
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(network(pixels)[0], targets, pos_weight=torch.tensor(8.0))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network


def file_of(exportable: Exportable, path: Path) -> Path:
    width, height = exportable.spec.network_wh
    pixels = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    write_model(to_onnx(BoxesForm(exportable).eval(), pixels, input_name="pixels", output_names=BOXES_OUTPUTS), path)
    return path


def picture_with_objects(seed: int = 5) -> tuple[PixelArray, FloatArray, int]:
    example = next(e for e in rectangles(8, seed=seed).examples if len(e.boxes_xyxy))
    return picture_of(example).pixels, example.boxes_xyxy[0], int(example.class_ids[0])


def surest(exportable: Exportable, pixels: PixelArray) -> Detections:
    (detections,) = TorchPath(exportable, score_threshold=0.05)([ArrayPicture(pixels)])
    assert len(detections)
    return detections


@pytest.fixture(scope="module")
def file(learnt: Cells, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return file_of(cells(learnt), tmp_path_factory.mktemp("cells") / "cells.onnx")


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_the_weights_are_those_of_the_layer_that_scores_the_class(learnt: Cells, file: Path, method: Method) -> None:
    exportable = cells(learnt)
    pixels, box, class_id = picture_with_objects()
    rows = learnt.classify.weight[:, :, 0, 0].detach().numpy() / np.prod(CELLS)
    by_gradient = torch_activation(exportable, pixels, box, class_id, method=method)
    by_steps = onnx_activation(file, exportable.spec, pixels, box, class_id, method=method)
    _, tensor = TensorWriter(exportable.spec).tensor_of(ArrayPicture(pixels))
    with torch.no_grad():
        maps = learnt.see(torch.from_numpy(tensor).permute(0, 3, 1, 2) / 127.5 - 1)[0].numpy()
    for activation in (by_gradient, by_steps):
        is_alive = activation.maps.any(axis=(1, 2))
        # A score near 1 has few digits, which the steps see and the gradient does not.
        digits = (1e-3 if activation is by_gradient else 0.02) * np.abs(rows).max()
        np.testing.assert_allclose(activation.weights[is_alive], rows[class_id][is_alive], atol=digits)
        np.testing.assert_allclose(activation.maps, maps, atol=1e-4)


def test_steps_in_a_file_and_gradients_in_pytorch_agree(tmp_path: Path) -> None:
    exportable = small_exportable.exportable()
    path = file_of(exportable, tmp_path / "small.onnx")
    pixels = np.random.default_rng(0).integers(0, 255, (70, 150, 3)).astype(np.uint8)  # not of the network's shape
    letterbox = Letterbox.fit((150, 70), exportable.spec.network_wh, exportable.spec.resize)
    detections = surest(exportable, pixels)
    for index in (0, len(detections) // 2):
        box, class_id = detections.boxes_xyxy[index], int(detections.class_ids[index])
        by_gradient = torch_activation(exportable, pixels, box, class_id).heat(letterbox)
        by_steps = onnx_activation(path, exportable.spec, pixels, box, class_id).heat(letterbox)
        assert by_gradient.shape == by_steps.shape == (70, 150)
        assert np.corrcoef(by_steps.ravel(), by_gradient.ravel())[0, 1] > 0.999
        np.testing.assert_allclose(by_steps, by_gradient, atol=0.06 * np.abs(by_gradient).max())  # softmax is curved


def test_a_network_with_shuffled_weights_has_another_map(learnt: Cells) -> None:
    """The sanity check of Adebayo et al. 2018, https://arxiv.org/abs/1810.03292."""
    shuffled = Cells()
    shuffled.load_state_dict(learnt.state_dict())
    chance = torch.Generator().manual_seed(3)
    for weight in shuffled.parameters():
        weight.data = weight.data.flatten()[torch.randperm(weight.numel(), generator=chance)].view_as(weight)
    shares, likenesses = [], []
    for seed in range(5, 11):
        pixels, box, class_id = picture_with_objects(seed)
        letterbox = Letterbox.fit(WORLD.network_wh, WORLD.network_wh, "letterbox-center")
        heats = []
        for network in (learnt, shuffled):
            exportable = cells(network)
            own = surest(exportable, pixels)
            is_mine = own.class_ids == class_id
            chosen = class_id if is_mine.any() else int(own.class_ids[0])
            target = box if network is learnt else own.boxes_xyxy[own.class_ids == chosen][0]
            heats.append(torch_activation(exportable, pixels, target, chosen).heat(letterbox).clip(0))
        inside = np.zeros(heats[0].shape, np.bool_)
        left, top, right, bottom = box.astype(int)
        inside[top:bottom, left:right] = True
        shares.append([heat[inside].sum() / max(heat.sum(), 1e-9) / inside.mean() for heat in heats])
        one, other = (heat.ravel() - heat.mean() for heat in heats)
        likenesses.append(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-9))
    of_learnt, of_shuffled = np.mean(shares, axis=0)
    assert of_learnt > 2.5  # times as much in the box as if it were even
    assert of_shuffled < 0.6 * of_learnt
    assert np.mean(likenesses) < 0.5


def test_heat_lies_where_its_cell_lies_in_the_picture() -> None:
    maps = np.zeros((2, 8, 12), np.float32)
    maps[0, 4, 9], maps[1] = 1, 5
    letterbox = Letterbox.fit((300, 100), (96, 64), "letterbox-center")  # 96 × 32, 16 rows above
    heat = Activation("layer", maps, np.array([2, 0], np.float32)).heat(letterbox)
    assert heat.shape == (100, 300)
    row, column = np.unravel_index(np.argmax(heat), heat.shape)
    assert abs(column - 9.5 * 8 * 300 / 96) < 4
    assert abs(row - (4.5 * 8 - 16) * 300 / 96) < 4


def test_maps_of_the_picture_are_told_from_those_of_regions() -> None:
    shapes = [(1, 3, 64, 96), (1, 8, 8, 12), (30, 8, 7, 7), (1, 8, 7, 7), (1, 8, 3, 4), (1, 8, 1, 1), (1, 8)]
    assert maps_of_picture(shapes, (96, 64)) == [4, 1, 0]


def test_pooled_regions_pass_the_gradient_on_as_in_torchvision() -> None:
    torch.manual_seed(2)
    features = [torch.randn(2, 3, 8, 12, requires_grad=True), torch.randn(2, 3, 4, 6, requires_grad=True)]
    regions = torch.tensor([[[4.0, 4, 60, 40], [0, 0, 0, 0]], [[10, 5, 90, 60], [0, 0, 96, 64]]])
    levels = torch.tensor([[0, -1], [1, 1]])
    weight = torch.randn(4, 3, 7, 7)
    ours = torch.autograd.grad(
        (pool_regions(features, regions, levels, [1 / 8, 1 / 16], 7, 2) * weight).sum(), features
    )
    fine = roi_align(features[0], [regions[0, :1], regions[1, :0]], 7, 1 / 8, 2)
    coarse = roi_align(features[1], [regions[0, :0], regions[1]], 7, 1 / 16, 2)
    expected = torch.autograd.grad((fine * weight[:1]).sum() + (coarse * weight[2:]).sum(), features)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_what_is_not_there_is_not_explained(learnt: Cells, file: Path) -> None:
    exportable = cells(learnt)
    pixels, _, class_id = picture_with_objects()
    nowhere = np.array([-900, -900, -800, -800], np.float32)
    with pytest.raises(ModelError, match="the object must be among the candidates of the network"):
        onnx_activation(file, exportable.spec, pixels, nowhere, class_id)
    with pytest.raises(ModelError, match="the object must be among the candidates of the network"):
        torch_activation(exportable, pixels, nowhere, class_id)
