"""FLOPs: parameters and operations are those counted by hand and those published by others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.app.model_files import DEMO_MODEL
from pipeline.detector.recognise import recognise
from pipeline.errors import ModelError
from tests.support.assets import ASSETS, needs_assets
from tests.support.command_line import Streamdet

pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.models import detection

from export.families.demo_network import NETWORK_WH, DemoNetwork
from export.graph.flops import Flops
from export.graph.onnx_flops import count_onnx
from export.graph.to_onnx import to_onnx
from export.graph.torch_flops import count_torch

FLOAT = TensorProto.FLOAT
ZERO = onnx.numpy_helper.from_array(np.array(0, np.float32), "zero")


def constant(name: str, *shape: int, dtype: Any = np.float32) -> Any:
    return onnx.numpy_helper.from_array(np.ones(shape, dtype), name)


def value(name: str, *shape: int | str, dtype: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape or None)


def write(path: Path, nodes: list[Any], inputs: list[Any], constants: list[Any] = [], **more: Any) -> Path:  # noqa: B006
    """A file of these nodes, whose output is the last one's."""
    last = nodes[-1].output[0]
    graph = helper.make_graph(nodes, "graph", inputs, [onnx.ValueInfoProto(name=last)], constants)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10, **more), path)
    return path


def counted(path: Path, op: str, inputs: list[Any], constants: list[Any], **attributes: Any) -> Flops:
    """The count of one node, whose inputs are the inputs and then the constants."""
    names = [tensor.name for tensor in (*inputs, *constants)]
    return count_onnx(write(path / "one.onnx", [helper.make_node(op, names, ["y"], **attributes)], inputs, constants))


# --- convolutions


@pytest.mark.parametrize(
    ("weights", "bias", "attributes", "macs", "others", "parameters"),
    [
        # 3 × 3, pad 1, stride 2 on 8 × 6: 4 × 3 positions × 16 channels, 27 multiply-adds each.
        ((16, 3, 3, 3), True, {"pads": [1, 1, 1, 1], "strides": [2, 2]}, 4 * 3 * 16 * 27, 4 * 3 * 16, 16 * 27 + 16),
        # Without padding 6 × 4 positions, without bias nothing else.
        ((16, 3, 3, 3), False, {}, 6 * 4 * 16 * 27, 0, 16 * 27),
        # Depthwise: each of 3 channels alone, 9 multiply-adds each.
        ((3, 1, 3, 3), False, {"pads": [1, 1, 1, 1], "group": 3}, 8 * 6 * 3 * 9, 0, 27),
        # Dilation moves the taps apart and adds none: 4 × 2 positions.
        ((5, 3, 3, 3), True, {"dilations": [2, 2]}, 4 * 2 * 5 * 27, 4 * 2 * 5, 5 * 27 + 5),
    ],
)
def test_a_convolution_is_counted_as_by_hand(
    tmp_path: Path,
    weights: tuple[int, ...],
    bias: bool,
    attributes: dict[str, Any],
    macs: int,
    others: int,
    parameters: int,
) -> None:
    constants = [constant("w", *weights), *([constant("b", weights[0])] if bias else [])]
    total = counted(tmp_path, "Conv", [value("x", 1, 3, 8, 6)], constants, **attributes)
    assert (total.macs, total.flops, total.num_parameters) == (macs, 2 * macs + others, parameters)
    assert total.not_counted == {}


def test_groups_divide_the_work(tmp_path: Path) -> None:
    total = counted(tmp_path, "Conv", [value("x", 1, 8, 5, 5)], [constant("w", 12, 2, 1, 1)], group=4)
    assert (total.macs, total.num_parameters) == (25 * 12 * 2, 24)


def test_a_transposed_convolution_multiplies_each_input_with_all_weights_of_its_channel(tmp_path: Path) -> None:
    constants = [constant("w", 4, 6, 2, 2), constant("b", 6)]
    total = counted(tmp_path, "ConvTranspose", [value("x", 1, 4, 5, 3)], constants, strides=[2, 2])
    macs = 4 * 5 * 3 * 6 * 2 * 2
    assert (total.macs, total.flops, total.num_parameters) == (macs, 2 * macs + 6 * 10 * 6, 4 * 6 * 4 + 6)
    assert total.layers[0].output_shape == (1, 6, 10, 6)


# --- products


@pytest.mark.parametrize(
    ("left", "right", "macs"),
    [
        ((2, 3), (3, 5), 2 * 3 * 5),
        ((7, 2, 3), (7, 3, 5), 7 * 2 * 3 * 5),
        ((1, 4, 2, 3), (7, 1, 3, 5), 7 * 4 * 2 * 3 * 5),
        ((7, 2, 3), (3, 5), 7 * 2 * 3 * 5),
        ((3,), (3, 5), 3 * 5),
    ],
)
def test_a_matrix_product_is_counted_batched_and_broadcast(
    tmp_path: Path, left: tuple[int, ...], right: tuple[int, ...], macs: int
) -> None:
    total = counted(tmp_path, "MatMul", [value("x", *left)], [constant("w", *right)])
    assert (total.macs, total.flops, total.num_parameters) == (macs, 2 * macs, math.prod(right))


@pytest.mark.parametrize(("transposed", "shape"), [(0, (4, 3)), (1, (3, 4))])
def test_a_gemm_knows_which_side_is_summed_over(tmp_path: Path, transposed: int, shape: tuple[int, int]) -> None:
    constants = [constant("w", 3, 5), constant("b", 5)]
    total = counted(tmp_path, "Gemm", [value("x", *shape)], constants, transA=transposed)
    assert (total.macs, total.flops, total.num_parameters) == (4 * 3 * 5, 2 * 4 * 3 * 5 + 4 * 5, 20)


@pytest.mark.parametrize(
    ("equation", "left", "right", "macs"),
    [
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5), 2 * 3 * 4 * 5),
        ("...ij,...jk->...ik", (6, 2, 3, 4), (6, 2, 4, 5), 6 * 2 * 3 * 4 * 5),
        ("i,j->ij", (3,), (4,), 12),
    ],
)
def test_an_einsum_takes_the_product_of_all_its_sides(
    tmp_path: Path, equation: str, left: tuple[int, ...], right: tuple[int, ...], macs: int
) -> None:
    total = counted(tmp_path, "Einsum", [value("x", *left), value("z", *right)], [], equation=equation)
    assert (total.macs, total.flops) == (macs, 2 * macs)


def test_an_integer_convolution_counts_as_a_float_one(tmp_path: Path) -> None:
    inputs = [value("x", 1, 3, 8, 6, dtype=TensorProto.UINT8)]
    total = counted(tmp_path, "ConvInteger", inputs, [constant("w", 16, 3, 3, 3, dtype=np.uint8)])
    assert (total.macs, total.num_parameters) == (6 * 4 * 16 * 27, 16 * 27)


def test_weights_behind_dequantize_are_parameters_and_scales_are_none(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"], axis=0),
        helper.make_node("DequantizeLinear", ["b32", "scale"], ["b"], axis=0),
        helper.make_node("QuantizeLinear", ["x", "one", "none"], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", "one", "none"], ["xd"]),
        helper.make_node("Conv", ["xd", "w", "b"], ["y"]),
    ]
    constants = [
        constant("w8", 4, 3, 1, 1, dtype=np.int8),
        constant("b32", 4, dtype=np.int32),
        constant("scale", 4),
        constant("zero", 4, dtype=np.int8),
        constant("one"),
        constant("none", dtype=np.uint8),
    ]
    total = count_onnx(write(tmp_path / "qdq.onnx", nodes, [value("x", 1, 3, 5, 5)], constants))
    assert (total.num_parameters, total.num_other_constants) == (4 * 3 + 4, 0)
    assert total.macs == 25 * 4 * 3
    # Two operations an element to quantize and two back; weights are dequantized once, at loading.
    assert total.flops == 2 * total.macs + 25 * 4 + 4 * 75


# --- the rest


@pytest.mark.parametrize(
    ("mode", "scales", "per_element"),
    [
        ("nearest", [1, 1, 2, 2], 0),
        ("linear", [1, 1, 2, 2], 4 + 3),  # four products, three additions
        ("linear", [1, 1, 1, 2], 2 + 1),  # one axis stays as it is
        ("linear", [1, 1, 1, 1], 0),
        ("cubic", [1, 1, 2, 2], 16 + 15),
    ],
)
def test_a_resize_costs_the_points_that_a_pixel_is_made_of(
    tmp_path: Path, mode: str, scales: list[float], per_element: int
) -> None:
    sizes = onnx.numpy_helper.from_array(np.array(scales, np.float32), "scales")
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    total = count_onnx(write(tmp_path / "one.onnx", [node], [value("x", 1, 3, 4, 5)], [sizes]))
    assert (total.macs, total.flops) == (0, 3 * 4 * 5 * int(math.prod(scales)) * per_element)
    assert (total.num_parameters, total.num_other_constants) == (0, 0)


@pytest.mark.parametrize(
    ("op", "attributes", "flops"),
    [
        ("Relu", {}, 3 * 4 * 6),
        ("Softmax", {"axis": 1}, 5 * 3 * 4 * 6),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, 3 * 2 * 3 * 3),  # three comparisons of four values
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, 3 * 2 * 3 * 4),  # three additions, a quotient
        ("GlobalAveragePool", {}, 3 * 4 * 6),
        ("ReduceMax", {"keepdims": 0}, 3 * 4 * 6 - 1),
        ("Transpose", {"perm": [0, 2, 3, 1]}, 0),
    ],
)
def test_operations_that_are_no_products(tmp_path: Path, op: str, attributes: dict[str, Any], flops: int) -> None:
    total = counted(tmp_path, op, [value("x", 1, 3, 4, 6)], [], **attributes)
    assert (total.macs, total.flops, total.not_counted) == (0, flops, {})


def test_an_operator_without_a_rule_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("TopK", ["positive", "k"], ["best", "places"]),
    ]
    number = onnx.numpy_helper.from_array(np.array([2], np.int64), "k")
    total = count_onnx(write(tmp_path / "topk.onnx", nodes, [value("x", 1, 6)], [number]))
    assert (total.not_counted, total.flops) == ({"TopK": 1}, 6)


def test_a_weight_that_is_used_twice_counts_once_and_works_twice(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    total = count_onnx(write(tmp_path / "twice.onnx", nodes, [value("x", 2, 4)], [constant("w", 4, 4)]))
    assert (total.num_parameters, total.macs) == (16, 2 * 2 * 4 * 4)
    assert [layer.num_parameters for layer in total.layers] == [16, 0]


def test_what_is_computed_from_constants_and_shapes_costs_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sides"]),
        helper.make_node("Mul", ["sides", "sides"], ["squares"]),
        helper.make_node("Mul", ["w", "w"], ["w2"]),
        helper.make_node("MatMul", ["x", "w2"], ["h"]),
        helper.make_node("Reshape", ["h", "sides"], ["y"]),
    ]
    total = count_onnx(write(tmp_path / "folded.onnx", nodes, [value("x", 2, 4)], [constant("w", 4, 4)]))
    assert (total.flops, total.num_parameters) == (2 * 2 * 4 * 4, 16)


def test_grids_are_no_parameters_and_biases_are(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Div", ["x", "std"], ["normal"]),
        helper.make_node("MatMul", ["normal", "w"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["biased"]),
        helper.make_node("Add", ["biased", "grid"], ["y"]),
    ]
    constants = [constant("std", 4), constant("w", 4, 3), constant("b", 3), constant("grid", 9, 3)]
    total = count_onnx(write(tmp_path / "grid.onnx", nodes, [value("x", 9, 4)], constants))
    assert (total.num_parameters, total.num_other_constants) == (12 + 3, 4 + 27)


# --- shapes that only a run tells, subgraphs, functions


def test_an_open_size_is_asked_for_and_taken(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    path = write(tmp_path / "open.onnx", [node], [value("x", "n", 3, "h", "w")], [constant("w", 2, 3, 3, 3)])
    with pytest.raises(ModelError, match="--size must say how large x float"):
        count_onnx(path)
    total = count_onnx(path, (10, 6))
    assert (total.input_shapes["x"], total.macs) == ((1, 3, 6, 10), 60 * 2 * 27)


def test_another_size_than_the_file_has_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    path = write(tmp_path / "fixed.onnx", [node], [value("x", 1, 3, 6, 8)], [constant("w", 2, 3, 3, 3)])
    assert count_onnx(path, (8, 6)).macs == 4 * 6 * 2 * 27
    with pytest.raises(ModelError, match="--size must fit the file, got 6x8"):
        count_onnx(path, (6, 8))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    for name in ("text.onnx", "missing.onnx"):
        with pytest.raises(ModelError, match=name):
            count_onnx(tmp_path / name)


def test_a_shape_that_depends_on_values_is_that_of_the_run(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),  # noise in 0..1 is zero nowhere: [1, 7]
        helper.make_node("Cast", ["places"], ["floats"], to=FLOAT),
        helper.make_node("Sqrt", ["floats"], ["y"]),
    ]
    total = count_onnx(write(tmp_path / "dynamic.onnx", nodes, [value("x", 7)]))
    assert total.layers[-1].output_shape == (1, 7)


def test_what_found_nothing_costs_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Less", ["x", "zero"], ["negative"]),
        helper.make_node("NonZero", ["negative"], ["places"]),  # [1, 0]
        helper.make_node("Cast", ["places"], ["floats"], to=FLOAT),
        helper.make_node("Transpose", ["floats"], ["rows"]),  # [0, 1]
        helper.make_node("MatMul", ["rows", "w"], ["y"]),  # [0, 5]
    ]
    total = count_onnx(write(tmp_path / "none.onnx", nodes, [value("x", 7)], [constant("w", 1, 5), ZERO]))
    assert (total.macs, total.flops, total.layers[-1].output_shape) == (0, 7 + 7, (0, 5))


def test_of_an_if_the_dearer_branch_counts(tmp_path: Path) -> None:
    dear = helper.make_graph(
        [helper.make_node("Conv", ["h", "w"], ["t1"]), helper.make_node("Relu", ["t1"], ["t"])], "a", [], [value("t")]
    )
    cheap = helper.make_graph([helper.make_node("Relu", ["h"], ["e"])], "b", [], [value("e")])
    nodes = [
        helper.make_node("Abs", ["x"], ["h"]),
        helper.make_node("If", ["condition"], ["y"], then_branch=dear, else_branch=cheap),
    ]
    inputs = [value("x", 1, 3, 8, 8), helper.make_tensor_value_info("condition", TensorProto.BOOL, [])]
    total = count_onnx(write(tmp_path / "if.onnx", nodes, inputs, [constant("w", 2, 3, 3, 3)]))
    assert (total.macs, total.num_parameters) == (36 * 2 * 27, 54)
    assert total.flops == 2 * total.macs + 36 * 2 + 3 * 64
    assert total.remarks == ("of an If, the branch with more operations is counted",)


def test_of_a_loop_one_round_counts(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["each"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), value("each", 5, 4)],
    )
    rounds = onnx.numpy_helper.from_array(np.array(3, np.int64), "rounds")
    nodes = [helper.make_node("Loop", ["rounds", ""], ["y"], body=body)]
    total = count_onnx(write(tmp_path / "loop.onnx", nodes, [value("x", 5, 4)], [constant("w", 4, 4), rounds]))
    assert (total.macs, total.num_parameters) == (5 * 4 * 4, 16)
    assert total.remarks == ("of a Loop, one round is counted",)


def test_local_functions_are_opened(tmp_path: Path) -> None:
    function = helper.make_function(
        "own",
        "Twice",
        ["a", "b"],
        ["c"],
        [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("MatMul", ["m", "b"], ["c"])],
        [helper.make_opsetid("", 20)],
    )
    node = helper.make_node("Twice", ["x", "w"], ["y"], domain="own")
    total = count_onnx(
        write(tmp_path / "own.onnx", [node], [value("x", 2, 4)], [constant("w", 4, 4)], functions=[function])
    )
    assert (total.macs, total.num_parameters, total.not_counted) == (64, 16, {})


# --- PyTorch and ONNX say the same, and what others publish


class Mixed(nn.Module):
    """A bit of everything that PyTorch counts; the last convolution is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.classify = nn.Linear(8, 5)
        self.shared = nn.Conv2d(8, 8, 1)

    def forward(self, pixels: Any) -> Any:
        x = self.shared(self.shared(self.up(self.depthwise(self.stem(pixels)))))
        tokens = x.flatten(2).transpose(1, 2)
        return self.classify(self.norm(self.attention(tokens, tokens, tokens, need_weights=False)[0]))


def test_the_exported_file_has_the_macs_and_parameters_of_the_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, example = Mixed().eval(), torch.rand(2, 3, 16, 12)
    for weight in module.parameters():
        nn.init.normal_(weight)  # a bias of zeros is dropped by the exporter
    onnx.save(to_onnx(module, example, input_name="images", output_names=["logits"]), tmp_path / "mixed.onnx")
    ours, theirs = count_onnx(tmp_path / "mixed.onnx", (12, 16)), count_torch(module, example[:1])
    assert ours.macs == theirs.macs > 0
    assert theirs.num_parameters == sum(weight.numel() for weight in module.parameters())
    assert ours.num_parameters == theirs.num_parameters - 8  # the norm is folded into a bias of the first convolution
    assert ours.flops > theirs.flops == 2 * theirs.macs
    by_name = {layer.name: layer for layer in theirs.layers}
    assert by_name["depthwise"].macs == 8 * 6 * 8 * 9
    assert by_name["shared"].macs == 2 * 16 * 12 * 8 * 8  # twice, and its parameters once
    assert by_name["shared"].num_parameters == 72
    # 192 tokens of 8: three projections and one back, and twice 192 × 192 products over all heads.
    assert by_name["attention"].macs == 4 * 192 * 8 * 8 + 2 * 192 * 192 * 8
    assert theirs.not_counted["aten.silu"] == 1


def test_attention_counts_the_same_whichever_way_pytorch_takes_on_this_processor() -> None:
    module, example = Mixed(), torch.rand(1, 3, 16, 12)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fused = count_torch(module, example)
    with sdpa_kernel(SDPBackend.MATH):
        assert count_torch(module, example).macs == fused.macs


def test_a_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout()).train()
    count_torch(module, torch.rand(1, 3, 4, 4))
    assert module.training
    assert all(weight.grad is None for weight in module.parameters())


def test_the_demo_detector_has_the_macs_of_the_network_that_it_was_exported_from() -> None:
    total = count_onnx(DEMO_MODEL)
    width, height = NETWORK_WH
    num_classes = len(recognise(DEMO_MODEL).class_names)
    network = count_torch(DemoNetwork(num_classes), torch.zeros(1, 3, height, width))
    norms = sum(layer.num_parameters for layer in network.layers if layer.op == "BatchNorm2d")
    assert total.macs == network.macs
    assert total.num_parameters == network.num_parameters - norms // 2
    assert total.not_counted == {"TopK": 1}


def test_torchvision_publishes_the_same_numbers() -> None:
    """Its tables count MACs: 3 440 060 parameters and 0.583 G for SSDlite at 320 × 320."""
    published = detection.SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta
    model = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    total = count_torch(nn.Sequential(model.backbone), torch.zeros(1, 3, 320, 320))
    features = list(model.eval().backbone(torch.zeros(1, 3, 320, 320)).values())
    head = count_torch(Listed(model.head), *features)
    assert total.num_parameters + head.num_parameters == published["num_params"]
    assert round((total.macs + head.macs) / 1e9, 3) == published["_ops"]


class Listed(nn.Module):
    """Gives its inputs as a list."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> Any:
        return self.module(list(inputs))


# Published by their authors for fused models: Ultralytics' summaries and NanoDet's README, which give 2 × MACs.
PUBLISHED = {
    "yolov5n_coco_640": (1_867_405, 4.5),
    "yolov8n_coco_640_dynint8": (3_151_904, 8.7),
    "nanodet_m_coco_416": (950_000, 1.2),
}


@needs_assets
@pytest.mark.parametrize("name", PUBLISHED)
def test_known_detectors_have_their_published_numbers(name: str) -> None:
    parameters, gflops = PUBLISHED[name]
    total = count_onnx(ASSETS / "models" / f"{name}.onnx")
    if parameters % 1000:
        assert total.num_parameters == parameters
    else:
        assert total.num_parameters == pytest.approx(parameters, rel=0.01)
    assert 2 * total.macs / 1e9 == pytest.approx(gflops, abs=0.05)


@needs_assets
def test_yolox_nano_has_its_published_numbers() -> None:
    """0.91 M and 1.08 G at 416 × 416: twice the MACs of the unfused model, where a norm takes two for each value."""
    total = count_onnx(ASSETS / "models" / "yolox_nano_coco_416.onnx")
    convolutions = [layer for layer in total.layers if layer.op == "Conv"]
    normed = [layer for layer in convolutions if layer.output_shape and layer.output_shape[1] not in (1, 4, 80)]
    assert (len(convolutions), len(normed)) == (113, 104)
    values = sum(math.prod(layer.output_shape or ()) for layer in normed)
    channels = sum((layer.output_shape or ())[1] for layer in normed)
    assert round(2 * (total.macs + 2 * values) / 1e9, 2) == 1.08
    assert round((total.num_parameters + channels) / 1e6, 2) == 0.91
    assert (len(total.layers), total.not_counted) == (total.by_op["Conv"].num_layers + 226, {})


# --- the command


def test_the_command_says_both_conventions_and_writes_json(streamdet: Streamdet, tmp_path: Path) -> None:
    done = streamdet("flops", DEMO_MODEL, "--layers", "--json", tmp_path / "flops.json")
    assert done.returncode == 0, done.stderr
    for part in ("MACs", "2 × MACs", "TopK ×1", "1×16×144×256"):
        assert part in done.stdout
    written = json.loads((tmp_path / "flops.json").read_text())
    total = count_onnx(DEMO_MODEL)
    assert (written["macs"], written["flops"]) == (total.macs, total.flops)
    assert len(written["layers"]) == len(total.layers)
    assert written["by_op"]["Conv"]["macs"] == total.macs


def test_a_name_that_is_not_known_is_one_line(streamdet: Streamdet) -> None:
    done = streamdet("flops", "retinanet_resnet50")
    assert done.returncode == 1
    assert "did you mean retinanet_resnet50_fpn?" in done.stderr
