"""Graph operations: they compute what torchvision computes, in PyTorch and in ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints

from export.graph.ops import TRANSLATIONS, find_peaks, keep_best, pool_regions

NUM_BOXES = 40
SCALES = [0.25, 0.125, 0.0625]
Run = Callable[..., Tensor]


class Suppress(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return torch.as_tensor(keep_best(boxes, scores, 0.5, 0.05))


class PoolThree(nn.Module):
    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor, regions: Tensor, levels: Tensor) -> Tensor:
        return torch.as_tensor(pool_regions([fine, middle, coarse], regions, levels, SCALES, 5, 2))


class Peaks(nn.Module):
    def forward(self, maps: Tensor, sizes: Tensor) -> Tensor:
        return torch.as_tensor(find_peaks(maps, sizes))


def exported(module: nn.Module, *example: Tensor) -> Any:
    """The module as an ONNX model with a dynamic first axis."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=20,
            external_data=False,
            dynamic_shapes=tuple({0: torch.export.Dim("batch", min=1, max=1024)} for _ in example),
            verbose=False,
            custom_translation_table=TRANSLATIONS,
        )
    assert program is not None
    return program.model_proto


def in_onnx(module: nn.Module, *example: Tensor) -> Run:
    """The module exported, run by ONNX Runtime."""
    model = exported(module, *example).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return torch.from_numpy(np.asarray(session.run(None, feed)[0]))

    return run


@pytest.fixture(scope="module", params=["torch", "onnx"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def prepared(module: nn.Module, backend: str, *example: Tensor) -> Run:
    return in_onnx(module, *example) if backend == "onnx" else module


@pytest.fixture(scope="module")
def suppress_all(backend: str) -> Run:
    return prepared(Suppress(), backend, *some_boxes(2))


@pytest.fixture(scope="module")
def pool_all(backend: str) -> Run:
    return prepared(PoolThree(), backend, *pyramid(2), some_boxes(2)[0], torch.zeros(2, NUM_BOXES, dtype=torch.int64))


@pytest.fixture(scope="module")
def peaks_of_all(backend: str) -> Run:
    return prepared(Peaks(), backend, torch.rand(2, 4, 14, 14), torch.full((2, 2), 20))


def some_boxes(num_images: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes [N, P, 4] within 256 pixels, many of which overlap, and scores [N, P]."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 12, (num_images, NUM_BOXES, 2), generator=generator) * 16.0
    size = torch.rand(num_images, NUM_BOXES, 2, generator=generator) * 60 + 4
    return torch.cat([corner, corner + size], dim=2), torch.rand(num_images, NUM_BOXES, generator=generator)


def pyramid(num_images: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(num_images, 6, int(256 * scale), int(256 * scale), generator=generator) for scale in SCALES]


def kept_by_torchvision(boxes: Tensor, scores: Tensor) -> Tensor:
    stays = torch.zeros_like(scores, dtype=torch.bool)
    for image in range(len(boxes)):
        candidates = torch.where(scores[image] > 0.05)[0]
        stays[image, candidates[torchvision.ops.nms(boxes[image, candidates], scores[image, candidates], 0.5)]] = True
    return stays


@pytest.mark.parametrize("num_images", [1, 3])
def test_suppression_keeps_what_torchvision_keeps(suppress_all: Run, num_images: int) -> None:
    boxes, scores = some_boxes(num_images, seed=num_images)
    assert torch.equal(suppress_all(boxes, scores), kept_by_torchvision(boxes, scores))


def test_of_equal_scores_the_first_stays(suppress_all: Run) -> None:
    boxes, scores = some_boxes(2)
    scores = (scores * 3).round() / 3
    assert torch.equal(suppress_all(boxes, scores), kept_by_torchvision(boxes, scores))


def test_boxes_without_area_suppress_nobody(suppress_all: Run) -> None:
    boxes, scores = some_boxes(1)
    boxes[:, ::2, 2:] = boxes[:, ::2, :2]
    boxes[:, 2] = boxes[:, 0]
    assert torch.equal(suppress_all(boxes, scores), kept_by_torchvision(boxes, scores))


def test_a_score_at_the_threshold_takes_no_part(suppress_all: Run) -> None:
    boxes, scores = some_boxes(2)
    scores[0] = 0.05
    scores[1] = -1.0
    assert not suppress_all(boxes, scores).any()


def by_torchvision(features: list[Tensor], regions: Tensor) -> tuple[Tensor, Tensor]:
    """What MultiScaleRoIAlign pools [N * R, C, 5, 5] and the levels [N, R] it takes."""
    pool = torchvision.ops.MultiScaleRoIAlign(["0", "1", "2"], 5, 2, canonical_scale=32, canonical_level=4)
    named = {str(index): feature for index, feature in enumerate(features)}
    pooled = pool(named, list(regions), [(256, 256)] * len(regions))
    return pooled, pool.map_levels(list(regions)).reshape(regions.shape[:2])


@pytest.mark.parametrize("num_images", [1, 3])
def test_regions_are_pooled_as_torchvision_pools_them(pool_all: Run, num_images: int) -> None:
    features, regions = pyramid(num_images), some_boxes(num_images)[0]
    pooled, levels = by_torchvision(features, regions)
    assert set(levels.flatten().tolist()) == {0, 1, 2}
    torch.testing.assert_close(pool_all(*features, regions, levels), pooled)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_all_regions_may_lie_on_one_level(pool_all: Run, level: int) -> None:
    features, regions = pyramid(2), some_boxes(2)[0]
    levels = torch.full((2, NUM_BOXES), level)
    images = torch.arange(2.0).repeat_interleave(NUM_BOXES)[:, None]
    rois = torch.cat([images, regions.flatten(0, 1)], dim=1)
    expected = torchvision.ops.roi_align(features[level], rois, 5, SCALES[level], 2)
    torch.testing.assert_close(pool_all(*features, regions, levels), expected)


def test_padding_is_pooled_from_nowhere(pool_all: Run) -> None:
    features, regions = pyramid(2), some_boxes(2)[0]
    _, levels = by_torchvision(features, regions)
    levels[0, 5:] = -1
    pooled = pool_all(*features, regions, levels).reshape(2, NUM_BOXES, 6, 5, 5)
    assert not pooled[0, 5:].any()
    assert pooled[0, :5].any()
    assert not pool_all(*features, regions, torch.full_like(levels, -1)).any()


@pytest.mark.parametrize("num_regions", [1, 5])
def test_peaks_lie_where_torchvision_finds_keypoints(peaks_of_all: Run, num_regions: int) -> None:
    generator = torch.Generator().manual_seed(num_regions)
    maps = torch.randn(num_regions, 4, 14, 14, generator=generator)
    sizes = torch.randint(1, 90, (num_regions, 2), generator=generator)
    boxes = torch.cat([torch.zeros(num_regions, 2), sizes.flip(1).float()], dim=1)
    keypoints, scores = heatmaps_to_keypoints(maps, boxes)
    peaks = peaks_of_all(maps, sizes)
    torch.testing.assert_close(peaks[..., :2] + 0.5, keypoints[..., :2])
    torch.testing.assert_close(peaks[..., 2], scores, rtol=1e-4, atol=1e-4)


def test_a_peak_on_the_border_stays_there(peaks_of_all: Run) -> None:
    maps = torch.zeros(2, 4, 14, 14)
    maps[:, :, 13, 0] = 1
    peaks = peaks_of_all(maps, torch.tensor([[28, 42], [1, 1]]))
    assert peaks[0, 0, :2].tolist() == [0, 27]
    assert peaks[1, 0, :2].tolist() == [0, 0]


class Sample(nn.Module):
    def __init__(self, *, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, features: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(features, grid, "bilinear", "zeros", align_corners=self.align_corners)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 1, 1), (1, 1, 9), (8, 20, 13)], ids=str)
def test_features_are_sampled_as_pytorch_samples_them_without_a_node_that_cuda_lacks(
    shape: tuple[int, int, int], align_corners: bool
) -> None:
    torch.manual_seed(0)
    features, grid = torch.randn(3, *shape), 1.3 * torch.randn(3, 5, 7, 2)
    edges = [[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [50.0, 0.0], [0.0, -1e6], [1 + 1e-6, 0.0], [0.0, 0.0]]
    grid[0, 0] = torch.tensor(edges)
    module = Sample(align_corners=align_corners)
    run = in_onnx(module, features, grid)
    torch.testing.assert_close(run(features, grid), module(features, grid), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(run(features[:1], grid[:1]), module(features[:1], grid[:1]), rtol=1e-5, atol=1e-5)
    assert "GridSample" not in {node.op_type for node in exported(module, features, grid).graph.node}


def test_a_place_that_is_no_number_is_no_number_and_spoils_no_other() -> None:
    module = Sample(align_corners=False)
    features, grid = torch.ones(2, 3, 4, 6), torch.zeros(2, 2, 2, 2)
    run = in_onnx(module, features, grid)
    grid[0, 0, 0, 0] = float("nan")
    sampled = run(features, grid)
    assert sampled[0, :, 0, 0].isnan().all()
    assert (sampled.nan_to_num(1.0) == 1).all()


def test_every_operation_passes_torchs_own_check() -> None:
    boxes, scores = some_boxes(2)
    levels = torch.zeros(2, NUM_BOXES, dtype=torch.int64)
    checks: list[tuple[Any, tuple[Any, ...]]] = [
        (keep_best, (boxes, scores, 0.5, 0.05)),
        (pool_regions, (pyramid(2), boxes, levels, SCALES, 5, 2)),
        (find_peaks, (torch.rand(2, 4, 14, 14), torch.full((2, 2), 20))),
    ]
    for operation, arguments in checks:
        torch.library.opcheck(operation, arguments, test_utils=("test_schema", "test_faketensor"))
