"""Sampling: the nodes that we write sample as PyTorch does, in few nodes that a GPU has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.families.transformers_attention import attention_in_one_part
from export.graph import sampling
from export.graph.sampling import deformable_attention
from export.graph.to_onnx import to_onnx

NUM_HEADS, DEPTH, NUM_QUERIES = 3, 4, 11
NAN = float("nan")


class Attend(nn.Module):
    def __init__(self, levels_hw: Sequence[int], num_points: Sequence[int]) -> None:
        super().__init__()
        self.levels_hw, self.num_points = list(levels_hw), list(num_points)

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return torch.as_tensor(deformable_attention(value, locations, weights, self.levels_hw, self.num_points))


def graph_of(module: Attend, inputs: Sequence[Tensor]) -> onnx.ModelProto:
    return to_onnx(module, inputs, input_name=["value", "locations", "weights"], output_names=["attended"])


def run(graph: onnx.ModelProto, inputs: Sequence[Tensor]) -> Tensor:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {"value": inputs[0].numpy(), "locations": inputs[1].numpy(), "weights": inputs[2].numpy()}
    return torch.from_numpy(np.asarray(session.run(None, feed)[0]))


def inputs_of(module: Attend, num_images: int = 2, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Random values, places of which many lie outside, and weights of both signs."""
    torch.manual_seed(0)
    num_cells = sum(h * w for h, w in zip(module.levels_hw[::2], module.levels_hw[1::2], strict=True))
    num_points = sum(module.num_points)
    value = torch.randn(num_images, num_cells, NUM_HEADS, DEPTH)
    locations = 0.5 + 0.6 * torch.randn(num_images, NUM_QUERIES, NUM_HEADS, num_points, 2)
    weights = torch.randn(num_images, NUM_QUERIES, NUM_HEADS, num_points)
    return value.to(dtype), locations.to(dtype), weights.to(dtype)


def by_grid_sample(module: Attend, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """The definition, in float64, image by image, head by head and level by level."""
    value, locations, weights = value.double(), locations.double(), weights.double()
    attended = torch.zeros(len(value), locations.shape[1], NUM_HEADS, DEPTH, dtype=torch.float64)
    for image, head in np.ndindex(len(value), NUM_HEADS):
        cell = point = 0
        for height, width, num in zip(module.levels_hw[::2], module.levels_hw[1::2], module.num_points, strict=True):
            cells = value[image, cell : cell + height * width, head].T.reshape(1, DEPTH, height, width)
            grid = 2 * locations[image, :, head, point : point + num] - 1  # [Q, P, 2]
            sampled = F.grid_sample(cells, grid[None], align_corners=False)[0]  # [D, Q, P]
            attended[image, :, head] += (sampled * weights[image, :, head, point : point + num]).sum(2).T
            cell, point = cell + height * width, point + num
    return attended.flatten(2)


@pytest.mark.parametrize(
    ("levels_hw", "num_points", "is_split"),
    [
        ((5, 7, 3, 4, 2, 2), (4, 4, 4), False),
        ((1, 1, 1, 6, 9, 1), (2, 3, 1), False),
        ((4, 6), (1,), True),
        ((1, 1, 5, 7, 9, 1), (2, 3, 1), True),
    ],
    ids=str,
)
def test_attention_in_onnx_samples_all_levels_as_grid_sample_does(
    levels_hw: tuple[int, ...], num_points: tuple[int, ...], is_split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_split:
        monkeypatch.setattr(sampling, "_MOST_GATHERED", 1)
    module = Attend(levels_hw, num_points)
    inputs = inputs_of(module)
    graph = graph_of(module, inputs)
    assert Counter(node.op_type for node in graph.graph.node)["Gather"] == (len(num_points) if is_split else 1)
    for num_images in (1, 3):
        inputs = inputs_of(module, num_images)
        expected = by_grid_sample(module, *inputs).float()
        torch.testing.assert_close(run(graph, inputs), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module(*inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levels_hw", [(5, 7), (1, 4), (3, 1), (1, 1)], ids=str)
def test_borders_corners_and_places_far_outside_weigh_what_they_weigh_in_pytorch(levels_hw: tuple[int, int]) -> None:
    module = Attend(levels_hw, [1])
    height, width = levels_hw
    of_x = [0.0, 1.0, 0.5 / width, 1 - 0.5 / width, -0.5 / width, 1 + 0.5 / width, 0.5, -1e-6, 1.000001, 1e30, -1e30]
    of_y = [0.0, 1.0, 0.5 / height, 1 - 0.5 / height, -0.5 / height, 1 + 0.5 / height, 0.5, 40.0, -40.0, 1e9, -1e9]
    places = torch.cartesian_prod(torch.tensor(of_x), torch.tensor(of_y))  # [Q, 2]
    value, _, _ = inputs_of(module)
    locations = places[None, :, None, None].expand(2, -1, NUM_HEADS, 1, 2).contiguous()
    inputs = value, locations, torch.ones(locations.shape[:-1])
    expected = by_grid_sample(module, *inputs).float()
    torch.testing.assert_close(run(graph_of(module, inputs), inputs), expected, rtol=1e-4, atol=1e-5)


def test_a_location_that_is_no_number_spoils_its_own_query_and_head_alone() -> None:
    module = Attend((5, 7, 3, 4), (2, 2))
    value, locations, weights = inputs_of(module)
    graph = graph_of(module, (value, locations, weights))
    shape = 2, NUM_QUERIES, NUM_HEADS, DEPTH
    expected = by_grid_sample(module, value, locations, weights).float().view(shape)
    locations[1, 4, 2, 3, 0] = NAN
    locations[0, 0, 0, 0] = NAN
    attended = run(graph, (value, locations, weights)).view(shape)
    spoilt = [(1, 4, 2), (0, 0, 0)]
    for index in spoilt:
        assert attended[index].isnan().all()
        attended[index] = expected[index]
    torch.testing.assert_close(attended, expected, rtol=1e-4, atol=1e-5)


def test_float16_loses_no_position_to_the_size_of_a_level() -> None:
    """PyTorch's own formula in float16 is wrong by the tenth of a cell that 2 * x - 1 loses; the nodes are not."""
    module = Attend((3, 500), (2,))
    inputs = inputs_of(module, dtype=torch.float16)
    expected = by_grid_sample(module, *inputs)
    graph = graph_of(module, inputs)
    assert (run(graph, inputs).double() - expected).abs().max() < 0.02
    sums = [node for node in graph.graph.node if node.op_type.startswith("Reduce")]
    assert not sums


def test_the_attention_of_transformers_is_replaced_within_and_restored_behind() -> None:
    modeling = pytest.importorskip("transformers.models.rt_detr.modeling_rt_detr")
    original = modeling.MultiScaleDeformableAttention.forward
    layer = modeling.MultiScaleDeformableAttention()
    value, locations, weights = inputs_of(Attend((5, 7, 3, 4), (2, 2)))
    sides = [(5, 7), (3, 4)]
    shape = *weights.shape[:3], 2, 2
    arguments = value, None, sides, None, locations.view(*shape, 2), weights.view(shape), 64
    expected = layer(*arguments)
    with attention_in_one_part(layer):
        assert modeling.MultiScaleDeformableAttention.forward is not original
        torch.testing.assert_close(layer(*arguments), expected, rtol=1e-4, atol=1e-5)
    assert modeling.MultiScaleDeformableAttention.forward is original


@pytest.mark.parametrize("family", ["rt_detr_v2", "d_fine", "deimv2"])
def test_the_second_version_is_replaced_but_for_its_other_method(family: str) -> None:
    modeling = pytest.importorskip(f"transformers.models.{family}.modeling_{family}")
    original = modeling.multi_scale_deformable_attention_v2
    holder = type("Holder", (nn.Module,), {"__module__": modeling.__name__})()
    holder.ms_deformable_attn_core = original
    value, locations, weights = inputs_of(Attend((5, 7, 3, 4), (3, 2)))
    with attention_in_one_part(holder):
        for method in ("default", "discrete"):
            arguments = value, [(5, 7), (3, 4)], locations, weights, [3, 2], method
            expected = original(*arguments)
            for attend in (modeling.multi_scale_deformable_attention_v2, holder.ms_deformable_attn_core):
                assert attend is not original
                torch.testing.assert_close(attend(*arguments), expected, rtol=1e-4, atol=1e-5)
    assert modeling.multi_scale_deformable_attention_v2 is original is holder.ms_deformable_attn_core
