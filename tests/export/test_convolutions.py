"""Convolutions: merged ones compute what the two did, and those that are not one stay two."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.graph.convolutions import merge_convolutions

CHANNELS, OUTPUTS, HEIGHT, WIDTH = 6, 4, 12, 24
DTYPES: dict[type, int] = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}
CENTRED: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
POINT: dict[str, Any] = {"kernel_shape": [1, 1]}
POOL: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}


def graph_of(*nodes: onnx.NodeProto, dtype: type = np.float32, outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    """Nodes of the value x, with random weights for every convolution: its name and _w, _b."""
    random = np.random.default_rng(0)
    weights = []
    for node in nodes:
        shapes = helper.get_node_attr_value(node, "kernel_shape") if node.op_type == "Conv" else []
        groups = [attribute.i for attribute in node.attribute if attribute.name == "group"] or [1]
        for name in node.input[1:] if shapes else []:
            sides = (OUTPUTS,) if name.endswith("_b") else (OUTPUTS, CHANNELS // groups[0], *shapes)
            weights.append(numpy_helper.from_array(random.normal(size=sides).astype(dtype), name))
    kind = DTYPES[dtype]
    values = [helper.make_tensor_value_info("x", kind, ["N", CHANNELS, HEIGHT, WIDTH])]
    results = [helper.make_tensor_value_info(name, kind, ["N", "C", "H", "W"]) for name in outputs]
    graph = helper.make_graph(list(nodes), "g", values, results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def conv(source: str, name: str, *, has_bias: bool = True, **attributes: Any) -> onnx.NodeProto:
    constants = [f"{name}_w", f"{name}_b"] if has_bias else [f"{name}_w"]
    return helper.make_node("Conv", [source, *constants], [name], name, **attributes)


def run(model: onnx.ModelProto, dtype: type) -> list[Any]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x: Any = np.random.default_rng(1).normal(size=(2, CHANNELS, HEIGHT, WIDTH)).astype(dtype)
    return list(session.run(None, {"x": x}))


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def assert_merges(model: onnx.ModelProto, dtype: type = np.float32, *, into: list[str]) -> None:
    """The graph has these operators after merging, no weight too many, and the outputs that it had."""
    before = run(model, dtype)
    merge_convolutions(model)
    assert operators(model) == into
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used
    bar = 1e-5 if dtype is np.float32 else 0.02
    for ours, theirs in zip(run(model, dtype), before, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=bar, atol=bar)


@pytest.mark.parametrize("kernel", [[2, 2], [3, 4], [5, 5]], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_pool_and_the_convolution_behind_it_are_one_in_float16(kernel: list[int], groups: int) -> None:
    pool = helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=kernel, strides=kernel, count_include_pad=1)
    model = graph_of(pool, conv("p", "y", has_bias=groups == 1, group=groups, **POINT), dtype=np.float16)
    assert_merges(model, np.float16, into=["Conv"])


def test_a_pool_stays_in_float32_which_runs_on_a_cpu() -> None:
    pool = helper.make_node("AveragePool", ["x"], ["p"], **POOL)
    assert_merges(graph_of(pool, conv("p", "y", **POINT)), into=["AveragePool", "Conv"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("large", [CENTRED, {"kernel_shape": [5, 3], "pads": [2, 1, 2, 1]}, POINT], ids=str)
@pytest.mark.parametrize(("stride", "groups", "order"), [(1, 1, "ab"), (2, 2, "ba")])
def test_the_sum_of_two_convolutions_is_one(
    dtype: type, large: dict[str, Any], stride: int, groups: int, order: str
) -> None:
    both: dict[str, Any] = {"strides": [stride, stride], "group": groups}
    first, second = conv("x", "a", **large, **both), conv("x", "b", has_bias=groups == 1, **POINT, **both)
    model = graph_of(first, second, helper.make_node("Add", list(order), ["y"]), dtype=dtype)
    assert_merges(model, dtype, into=["Conv"])


def test_merged_convolutions_may_follow_one_another() -> None:
    pool = helper.make_node("AveragePool", ["x"], ["p"], **POOL)
    nodes = [pool, conv("p", "a", **POINT), helper.make_node("Relu", ["a"], ["y"])]
    assert_merges(graph_of(*nodes, dtype=np.float16), np.float16, into=["Conv", "Relu"])


@pytest.mark.parametrize(
    "pool",
    [
        {"kernel_shape": [2, 2], "strides": [1, 1]},
        {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [5, 5], "strides": [5, 5], "ceil_mode": 1},
        {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [2, 2]},
    ],
    ids=str,
)
def test_a_pool_whose_windows_overlap_or_are_cut_stays(pool: dict[str, Any]) -> None:
    node = helper.make_node("AveragePool", ["x"], ["p"], **pool)
    assert_merges(graph_of(node, conv("p", "y", **POINT), dtype=np.float16), np.float16, into=["AveragePool", "Conv"])


def test_a_pool_that_rounds_up_is_merged_where_nothing_is_cut() -> None:
    node = helper.make_node("AveragePool", ["x"], ["p"], ceil_mode=1, **POOL)
    assert_merges(graph_of(node, conv("p", "y", **POINT), dtype=np.float16), np.float16, into=["Conv"])


def test_a_pool_stays_before_other_convolutions_and_where_another_node_reads_it() -> None:
    pool = helper.make_node("AveragePool", ["x"], ["p"], **POOL)
    assert_merges(graph_of(pool, conv("p", "y", **CENTRED), dtype=np.float16), np.float16, into=["AveragePool", "Conv"])
    strided = conv("p", "y", strides=[2, 2], **POINT)
    assert_merges(graph_of(pool, strided, dtype=np.float16), np.float16, into=["AveragePool", "Conv"])
    assert_merges(
        graph_of(pool, conv("p", "y", **POINT), outputs=("y", "p"), dtype=np.float16),
        np.float16,
        into=["AveragePool", "Conv"],
    )


@pytest.mark.parametrize(
    ("first", "second", "more"),
    [
        ({"kernel_shape": [3, 3], "pads": [0, 0, 2, 2]}, POINT, ()),
        ({"kernel_shape": [3, 3], "pads": [2, 2, 2, 2], "dilations": [2, 2]}, POINT, ()),
        ({"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}, POINT, ()),
        (CENTRED, CENTRED, ()),
        ({**CENTRED, "group": 2}, POINT, ()),
        (CENTRED, POINT, ("a",)),
        (CENTRED, POINT, ("b",)),
    ],
    ids=str,
)
def test_convolutions_that_do_not_add_up_to_one_stay_two(
    first: dict[str, Any], second: dict[str, Any], more: tuple[str, ...]
) -> None:
    nodes = conv("x", "a", **first), conv("x", "b", **second), helper.make_node("Add", ["a", "b"], ["y"])
    assert_merges(graph_of(*nodes, outputs=("y", *more)), into=["Conv", "Conv", "Add"])


def test_convolutions_of_different_inputs_and_one_added_to_itself_stay() -> None:
    relu = helper.make_node("Relu", ["x"], ["r"])
    nodes = relu, conv("x", "a", **CENTRED), conv("r", "b", **POINT), helper.make_node("Add", ["a", "b"], ["y"])
    assert_merges(graph_of(*nodes), into=["Relu", "Conv", "Conv", "Add"])
    assert_merges(graph_of(conv("x", "a", **CENTRED), helper.make_node("Add", ["a", "a"], ["y"])), into=["Conv", "Add"])


def test_weights_that_float16_cannot_hold_are_not_merged() -> None:
    nodes = conv("x", "a", **CENTRED), conv("x", "b", **POINT), helper.make_node("Add", ["a", "b"], ["y"])
    model = graph_of(*nodes, dtype=np.float16)
    for tensor in model.graph.initializer:
        values = np.full(tuple(tensor.dims), 60000, np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    merge_convolutions(model)
    assert operators(model) == ["Conv", "Conv", "Add"]
