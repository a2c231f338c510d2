"""Node work: an ONNX node and the shapes of its tensors → its MACs and other operations.

A multiply-add of a convolution or a matrix product is a MAC. These count as one other operation: an element of an
element-wise function or comparison, whatever the function; an addition of a bias; a comparison or an addition of a
pooling or reduction; the tables have the operators of several steps. Resize and GridSample cost nothing for nearest,
otherwise one multiplication for every source point of an element and the additions between them: 4 + 3 for a bilinear
pixel, 16 + 15 for a bicubic one (their weights are not counted). Moving, selecting and converting data is free.
Integers count as floats, because they are the work of a quantized layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import onnx

from export.graph.tensor_shapes import Shape

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """The operations of a node on one run."""

    macs: int = 0
    others: int = 0  # operations that are not part of a MAC


def work_of(node: onnx.NodeProto, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> Work | None:
    """The work of a node by the shapes of its inputs and outputs, () for an omitted one.

    None: there is no rule for this operator, or a shape that the rule needs is unknown.
    """
    if node.domain not in _DOMAINS:
        return None
    if node.op_type in MOVES:
        return Work()
    input_shapes = [shape for shape in inputs if shape is not None]
    output_shapes = [shape for shape in outputs if shape is not None]
    if len(input_shapes) < len(inputs) or len(output_shapes) < len(outputs):
        return None
    input_elements = math.prod(input_shapes[0]) if input_shapes else 0
    output_elements = math.prod(output_shapes[0])
    if node.op_type in ELEMENTWISE:
        return Work(others=output_elements)
    if node.op_type in _BETWEEN:
        return Work(others=(len(node.input) - 1) * output_elements)
    if node.op_type in _DOWN_TO_ONE:
        return Work(others=max(0, input_elements - output_elements))
    if node.op_type in _PER_INPUT:
        return Work(others=_PER_INPUT[node.op_type] * input_elements)
    rule = _RULES.get(node.op_type)
    return None if rule is None else rule(node, input_shapes, output_shapes)


def attribute(node: onnx.NodeProto, name: str, default: T) -> T:
    """An attribute's value, of the type of its default by ONNX's operators; text as str."""
    for candidate in node.attribute:
        if candidate.name == name:
            value = onnx.helper.get_attribute_value(candidate)
            if isinstance(value, bytes):
                value = value.decode()
            typed: T = value
            return typed
    return default


_DOMAINS = ("", "ai.onnx", "com.microsoft")

_FREE = """
Cast CastLike CenterCropPad Compress Concat ConcatFromSequence Constant ConstantOfShape DepthToSpace Dropout Expand
EyeLike Flatten Gather GatherElements GatherND Identity OneHot Optional OptionalGetElement OptionalHasElement Pad
QLinearConcat Range Reshape ReverseSequence Scatter ScatterElements ScatterND SequenceAt SequenceConstruct
SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Size Slice SpaceToDepth Split SplitToSequence
Squeeze TensorScatter Tile Transpose Trilu Unsqueeze Where
"""
MOVES = frozenset(_FREE.split())

_ONE_EACH = """
Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Celu Clip Cos
Cosh Div Elu Equal Erf Exp FastGelu Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu
Less LessOrEqual Log Mish Mod Mul Neg Not Or Pow PRelu QLinearAdd QLinearLeakyRelu QLinearMul QLinearSigmoid
QuickGelu Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Swish Tan Tanh
ThresholdedRelu Xor
"""
ELEMENTWISE = frozenset(_ONE_EACH.split())  # one operation an element of the output

_BETWEEN = frozenset(("Max", "Min", "Sum"))  # of any number of inputs

_DOWN_TO_ONE = frozenset(  # n elements take n - 1 operations
    ("ArgMax", "ArgMin", "GlobalMaxPool", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum")
)

_PER_INPUT = {  # operations an element of the first input
    "BatchNormalization": 2,  # by a scale and a shift that are computed at loading
    "CumSum": 1,
    "DequantizeLinear": 2,
    "DynamicQuantizeLinear": 4,  # least, largest, scaled, rounded
    "GlobalAveragePool": 1,
    "GroupNormalization": 7,  # mean; difference, square and its mean; difference is kept, divided; scale, shift
    "Hardmax": 1,
    "InstanceNormalization": 7,
    "LayerNormalization": 7,
    "LogSoftmax": 5,
    "LpNormalization": 3,
    "MeanVarianceNormalization": 5,
    "NonZero": 1,
    "QLinearGlobalAveragePool": 1,
    "QuantizeLinear": 2,
    "ReduceL1": 2,
    "ReduceL2": 2,
    "ReduceLogSum": 1,
    "ReduceLogSumExp": 4,
    "ReduceMean": 1,
    "ReduceSumSquare": 2,
    "RMSNormalization": 4,
    "Softmax": 5,  # largest, difference, exponential, sum, quotient
}


def _convolution(weights: int, bias: int) -> Callable[[onnx.NodeProto, list[Shape], list[Shape]], Work]:
    """The rule for a convolution whose weights [M, C / groups, ...] and bias are these inputs."""

    def rule(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> Work:
        elements = math.prod(outputs[0])
        return Work(elements * math.prod(inputs[weights][1:]), elements if _has(node, bias) else 0)

    return rule


def _transposed_convolution(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> Work:
    """Every element of the input is multiplied with all weights [C, M / groups, ...] of its channel, cropped or not."""
    macs = math.prod(inputs[0]) * math.prod(inputs[1][1:])
    return Work(macs, math.prod(outputs[0]) if _has(node, 2) else 0)


def _deformable_convolution(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> Work:
    """A convolution whose inputs are read between the pixels: X, W, offsets, bias, mask."""
    batch, _, *out_sides = outputs[0]
    samples = batch * inputs[0][1] * math.prod(inputs[1][2:]) * math.prod(out_sides)
    convolution = _convolution(1, 3)(node, inputs, outputs)
    return Work(convolution.macs, convolution.others + samples * (7 + _has(node, 4)))


def _product(first: int, bias: int | None) -> Callable[[onnx.NodeProto, list[Shape], list[Shape]], Work]:
    """The rule for a matrix product, perhaps batched and broadcast, whose left side is this input."""

    def rule(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> Work:
        elements = math.prod(outputs[0])
        inner = inputs[first][-2 if attribute(node, "transA", 0) else -1]
        return Work(elements * inner, elements if bias is not None and _has(node, bias) else 0)

    return rule


def _einsum(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> Work | None:
    """One or two operands; with more, the work depends on an order that the file does not hold."""
    terms = attribute(node, "equation", "").replace(" ", "").partition("->")[0].split(",")
    sides: dict[str, int] = {}
    for term, shape in zip(terms, inputs, strict=True):
        before, dots, behind = term.partition("...")
        num_open = len(shape) - len(before) - len(behind) if dots else 0
        # The sides of an ellipsis are numbered from the right, as broadcasting counts them.
        labels = [*before, *(str(axis) for axis in range(num_open, 0, -1)), *behind]
        for label, side in zip(labels, shape, strict=True):
            sides[label] = max(side, sides.get(label, 1)) if side else 0
    points = math.prod(sides.values())
    if len(terms) == 2:
        return Work(macs=points)
    return Work(others=max(0, points - math.prod(outputs[0]))) if len(terms) == 1 else None


def _pool(node: onnx.NodeProto, _: list[Shape], outputs: list[Shape]) -> Work:
    """One operation for every point of the window: additions and a quotient; one fewer for comparisons."""
    window = math.prod(attribute(node, "kernel_shape", (1,)))
    return Work(others=math.prod(outputs[0]) * (window - (node.op_type == "MaxPool")))


def _points(mode: str) -> int:
    """The number of source points along one axis of an interpolated one."""
    return {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}[mode]


def _resize(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> Work:
    """Axes that keep their length are not interpolated; `antialias` multiplies the points by the reduction."""
    points = _points(attribute(node, "mode", "nearest"))
    if points == 1:
        return Work()
    smooth = attribute(node, "antialias", 0)
    taps = math.prod(
        math.ceil(points * max(1, before / after)) if smooth else points
        for before, after in zip(inputs[0], outputs[0], strict=True)
        if before != after and after
    )
    return Work(others=math.prod(outputs[0]) * (2 * taps - 1) if taps > 1 else 0)


def _grid_sample(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> Work:
    taps = _points(attribute(node, "mode", "linear")) ** (len(inputs[0]) - 2)
    return Work(others=math.prod(outputs[0]) * (2 * taps - 1) if taps > 1 else 0)


def _roi_align(node: onnx.NodeProto, _: list[Shape], outputs: list[Shape]) -> Work | None:
    """Bilinear samples, and their mean or maximum. The number of adaptive samples depends on the box: no rule."""
    samples = attribute(node, "sampling_ratio", 0) ** 2
    return Work(others=math.prod(outputs[0]) * samples * 8) if samples else None


def _max_roi_pool(_: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> Work:
    """At most as many comparisons as if each region covered the whole map."""
    return Work(others=outputs[0][0] * math.prod(inputs[0][1:]))


def _recurrent(node: onnx.NodeProto, inputs: list[Shape], _: list[Shape]) -> Work:
    """The products with W and R in every step; the gates are not counted."""
    steps, batch, _size = inputs[0]
    return Work(macs=steps * batch * (math.prod(inputs[1]) + math.prod(inputs[2])))


def _attention(node: onnx.NodeProto, inputs: list[Shape], outputs: list[Shape]) -> Work | None:
    """Queries times keys, softmax, times values: [batch, heads, length, size] or [batch, length, heads × size]."""
    if node.domain == "com.microsoft":
        return None  # another operator of that name, with projections
    queries, keys = inputs[:2]
    num_keys = keys[-2] + (inputs[4][-2] if _has(node, 4) else 0)
    heads = queries[1] if len(queries) == 4 else attribute(node, "q_num_heads", 0)
    scores = queries[0] * heads * queries[-2] * num_keys
    return Work((math.prod(queries) + math.prod(outputs[0])) * num_keys, 5 * scores)


def _mean(node: onnx.NodeProto, _: list[Shape], outputs: list[Shape]) -> Work:
    return Work(others=len(node.input) * math.prod(outputs[0]))


def _has(node: onnx.NodeProto, index: int) -> bool:
    return len(node.input) > index and node.input[index] != ""


_RULES: Mapping[str, Callable[[onnx.NodeProto, list[Shape], list[Shape]], Work | None]] = {
    "Attention": _attention,
    "AveragePool": _pool,
    "Conv": _convolution(1, 2),
    "ConvInteger": _convolution(1, 99),
    "ConvTranspose": _transposed_convolution,
    "DeformConv": _deformable_convolution,
    "Einsum": _einsum,
    "FusedConv": _convolution(1, 2),
    "FusedGemm": _product(0, 2),
    "FusedMatMul": _product(0, None),
    "Gemm": _product(0, 2),
    "GridSample": _grid_sample,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "MatMul": _product(0, None),
    "MatMulInteger": _product(0, None),
    "MaxPool": _pool,
    "Mean": _mean,
    "QLinearConv": _convolution(3, 8),
    "QLinearMatMul": _product(0, None),
    "MaxRoiPool": _max_roi_pool,
    "Resize": _resize,
    "RNN": _recurrent,
    "RoiAlign": _roi_align,
    "Upsample": _resize,
}
