"""Graph operations: PyTorch operations → ONNX nodes, where the exporter's own translation will not do.

Most serve two-stage detectors: a torch operation with a fixed output shape, opaque to `torch.export`, and a translation
that hides the data-dependent shapes. Pass `TRANSLATIONS` to `torch.onnx.export(custom_translation_table=...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from onnx import TensorProto, helper, parser
from onnxscript import ir
from torch import Tensor

from export.graph.opset import Value, op
from export.graph.sampling import SAMPLING

_NO_LIMIT = 2**63 - 1
_CUBIC = -0.75  # PyTorch's bicubic kernel


def take_rows(values: Tensor, indices: Tensor) -> Tensor:
    """The rows of values [N, P, D] at indices [N, K]: [N, K, D]."""
    return values.gather(1, indices[:, :, None].expand(-1, -1, values.shape[2]))


def best_pairs(scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best pairs of a row and a class in scores [N, R, C], `most` at most.

    Returns scores [N, K], best first, row indices [N, K] and class ids [N, K].
    """
    num_rows, num_classes = scores.shape[1:]
    best = scores.flatten(1).topk(min(most, num_rows * num_classes), dim=1)
    # Not torch.div with rounding_mode: its export divides in float32, which is inexact from 2 ** 24 pairs on.
    rows = best.indices // num_classes
    return best.values, rows, best.indices - rows * num_classes


@torch.library.custom_op("streamdet::keep_best", mutates_args=())
def keep_best(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    """Boxes [N, P, 4] and scores [N, P] → which boxes stay after suppression in their image, bool [N, P].

    Only boxes that score more than `score_threshold` take part; one that overlaps a better one by more than
    `iou_threshold` is dropped. As torchvision.ops.nms, image by image.
    """
    stays = torch.zeros_like(scores, dtype=torch.bool)
    for image in range(len(boxes)):
        chosen = torch.where(scores[image] > score_threshold)[0]  # [M]
        kept = torchvision.ops.nms(boxes[image, chosen], scores[image, chosen], iou_threshold)
        stays[image, chosen[kept]] = True
    return stays


@keep_best.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def _keep_best_in_onnx(boxes: Value, scores: Value, iou_threshold: float, score_threshold: float) -> Value:
    picked = op.NonMaxSuppression(boxes, op.Unsqueeze(scores, [1]), _NO_LIMIT, iou_threshold, score_threshold)  # [S, 3]
    slots = op.Gather(picked, op.Constant(value_ints=[0, 2]), axis=1)  # [S, 2]: image, box
    zeros = op.ConstantOfShape(op.Shape(scores), value=helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]))
    count = op.Shape(slots, start=0, end=1)
    ones = op.ConstantOfShape(count, value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]))
    return op.Cast(op.ScatterND(zeros, slots, ones), to=TensorProto.BOOL)


@torch.library.custom_op("streamdet::pool_regions", mutates_args=())
def pool_regions(
    features: Sequence[Tensor], regions: Tensor, levels: Tensor, scales: Sequence[float], side: int, sampling_ratio: int
) -> Tensor:
    """Regions [N, R, 4], xyxy in network pixels → [N * R, C, side, side], pooled from their own levels.

    features: one [N, C, h, w] a level; levels: int64 [N, R], index into features, -1 for padding, which becomes zeros;
    scales: feature cells per network pixel. As torchvision.ops.roi_align with aligned=False.
    """
    num_images, num_regions = levels.shape
    images = torch.arange(num_images).to(regions).repeat_interleave(num_regions)[:, None]  # [N * R, 1]
    rois = torch.cat([images, regions.reshape(-1, 4)], dim=1)  # [N * R, 5]
    pooled = regions.new_zeros(len(rois), features[0].shape[1], side, side)
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        members = torch.where(levels.reshape(-1) == level)[0]
        pooled[members] = torchvision.ops.roi_align(feature, rois[members], side, scale, sampling_ratio)
    return pooled


@pool_regions.register_fake
def _(
    features: Sequence[Tensor], regions: Tensor, levels: Tensor, scales: Sequence[float], side: int, sampling_ratio: int
) -> Tensor:
    return regions.new_empty(levels.shape[0] * levels.shape[1], features[0].shape[1], side, side)


def _keep_for_gradient(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.features, *ctx.others = inputs


def _gradient_of_pooled(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """That of the features; regions are taken for given, as by torchvision."""
    with torch.enable_grad():
        features = [feature.detach().requires_grad_() for feature in ctx.features]
        pooled = pool_regions._init_fn(features, *ctx.others)
    return list(torch.autograd.grad(pooled, features, gradient)), *(None for _ in ctx.others)


pool_regions.register_autograd(_gradient_of_pooled, setup_context=_keep_for_gradient)


def _pool_regions_in_onnx(
    features: Sequence[Value],
    regions: Value,
    levels: Value,
    scales: Sequence[float],
    side: int,
    sampling_ratio: int,
) -> Value:
    flat_levels = op.Reshape(levels, op.Constant(value_ints=[-1]))  # [N * R]
    rois = op.Reshape(regions, op.Constant(value_ints=[-1, 4]))  # [N * R, 4]
    num_regions = op.Shape(levels, start=1, end=2)  # [1]
    pooled, members_of_levels = [], []
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        is_member = op.Equal(flat_levels, op.Constant(value_ints=[level]))
        members = op.Reshape(op.NonZero(is_member), op.Constant(value_ints=[-1]))  # [M]
        pooled.append(
            op.RoiAlign(
                feature,
                op.Gather(rois, members, axis=0),
                op.Div(members, num_regions),
                coordinate_transformation_mode="output_half_pixel",
                spatial_scale=scale,
                output_height=side,
                output_width=side,
                sampling_ratio=sampling_ratio,
            )
        )
        members_of_levels.append(members)
    # Back into the order of the regions by one Gather; a region of no level takes the row of zeros at the end.
    slots = op.Unsqueeze(op.Concat(*members_of_levels, axis=0), [1])  # [S, 1]
    count = op.Shape(slots, start=0, end=1)  # [1]
    rows = op.Range(op.Constant(value_int=0), op.Squeeze(count), op.Constant(value_int=1))  # [S]
    row_of = op.ScatterND(op.Expand(count, op.Shape(flat_levels)), slots, rows)  # [N * R]
    channels = op.Shape(features[0], start=1, end=2)
    empty_shape = op.Concat(op.Constant(value_ints=[1]), channels, op.Constant(value_ints=[side, side]), axis=0)
    empty = op.ConstantOfShape(empty_shape, value=helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]))
    return op.Gather(op.Concat(*pooled, empty, axis=0), row_of, axis=0)


@torch.library.custom_op("streamdet::find_peaks", mutates_args=())
def find_peaks(maps: Tensor, sizes: Tensor) -> Tensor:
    """Heat maps [R, P, h, w] → their peaks after enlargement, [R, P, 3] column, row, value.

    sizes: int64 [R, 2], height and width in whole pixels, of each region's maps after bicubic
    enlargement. As torchvision's heatmaps_to_keypoints.
    """
    peaks = maps.new_zeros(*maps.shape[:2], 3)
    for region, (height, width) in enumerate(sizes.tolist()):
        enlarged = F.interpolate(maps[region][:, None], (height, width), mode="bicubic", align_corners=False)
        best = enlarged.flatten(1).max(dim=1)  # [P]
        row = torch.div(best.indices, width, rounding_mode="floor")
        peaks[region] = torch.stack([best.indices - row * width, row, best.values], dim=1)
    return peaks


@find_peaks.register_fake
def _(maps: Tensor, sizes: Tensor) -> Tensor:
    return maps.new_empty(maps.shape[0], maps.shape[1], 3)


def _find_peaks_in_onnx(maps: Value, sizes: Value) -> Value:
    # Two matrix products a region instead of Resize, whose cubic mode is slow on a CPU. Two more cells on each side
    # repeat the border, so that the kernel needs no special case there.
    around = op.Constant(value_ints=[0, 0, 2, 2, 0, 0, 2, 2])
    return op.Scan(op.Pad(maps, around, mode="edge"), sizes, body=_peaks_of_one_region(), num_scan_inputs=2)


def _peaks_of_one_region() -> ir.Graph:
    """Maps [P, 4 + h, 4 + w] and a size [2] → peaks [P, 3]."""

    text = f"""
        one_region (float[points, rows, columns] maps, int64[2] size) => (float[points, 3] peaks) {{
            {_cubic_constants()}
            four = Constant <value_ints = [4]> ()
            last = Constant <value_ints = [1]> ()
            flat = Constant <value_ints = [0, -1]> ()
            {_cubic_weights("row", 0)}
            {_cubic_weights("column", 1)}
            enlarged_rows = MatMul (row_weights, maps)
            across = Transpose <perm = [1, 0]> (column_weights)
            enlarged = MatMul (enlarged_rows, across)
            values = Reshape (enlarged, flat)
            best = ArgMax <axis = 1, keepdims = 1> (values)
            value = GatherElements <axis = 1> (values, best)
            row = Div (best, column_length)
            row_start = Mul (row, column_length)
            column = Sub (best, row_start)
            row_float_peak = Cast <to = 1> (row)
            column_float_peak = Cast <to = 1> (column)
            peaks = Concat <axis = 1> (column_float_peak, row_float_peak, value)
        }}
    """
    return ir.serde.deserialize_graph(parser.parse_graph(text))


def _cubic_weights(axis: str, index: int) -> str:
    """The weights [enlarged, 4 + cells] of the cells along an axis, as text of ONNX; needs `_cubic_constants`."""
    return f"""
        {axis}_length = Gather <axis = 0> (size, {axis}_place)
        {axis}_float = Cast <to = 1> ({axis}_length)
        {axis}_padded = Shape <start = {index + 1}, end = {index + 2}> (maps)
        {axis}_cells = Sub ({axis}_padded, four)
        {axis}_cells_float = Cast <to = 1> ({axis}_cells)
        {axis}_scale = Div ({axis}_cells_float, {axis}_float)
        {axis}_range = Range (zero, {axis}_length, one)
        {axis}_range_float = Cast <to = 1> ({axis}_range)
        {axis}_centres = Add ({axis}_range_float, half)
        {axis}_scaled = Mul ({axis}_centres, {axis}_scale)
        {axis}_source = Add ({axis}_scaled, one_and_half)
        {axis}_column = Unsqueeze ({axis}_source, last)
        {axis}_padded_scalar = Squeeze ({axis}_padded)
        {axis}_all = Range (zero, {axis}_padded_scalar, one)
        {axis}_all_float = Cast <to = 1> ({axis}_all)
        {axis}_difference = Sub ({axis}_column, {axis}_all_float)
        d_{axis} = Abs ({axis}_difference)
        near1_{axis} = Mul (d_{axis}, near_a)
        near2_{axis} = Add (near1_{axis}, near_b)
        near3_{axis} = Mul (near2_{axis}, d_{axis})
        near4_{axis} = Mul (near3_{axis}, d_{axis})
        near_{axis} = Add (near4_{axis}, near_c)
        far1_{axis} = Mul (d_{axis}, far_a)
        far2_{axis} = Add (far1_{axis}, far_b)
        far3_{axis} = Mul (far2_{axis}, d_{axis})
        far4_{axis} = Add (far3_{axis}, far_c)
        far5_{axis} = Mul (far4_{axis}, d_{axis})
        far_{axis} = Add (far5_{axis}, far_d)
        is_near_{axis} = LessOrEqual (d_{axis}, near_c)
        is_far_{axis} = Less (d_{axis}, two)
        far_or_none_{axis} = Where (is_far_{axis}, far_{axis}, nothing)
        {axis}_weights = Where (is_near_{axis}, near_{axis}, far_or_none_{axis})
    """


def _cubic_constants() -> str:
    """The numbers of PyTorch's bicubic kernel and of its polynomials, as text of ONNX."""
    a = _CUBIC
    numbers = {"half": 0.5, "one_and_half": 1.5, "two": 2.0, "nothing": 0.0, "near_c": 1.0}
    numbers |= {"near_a": a + 2, "near_b": -(a + 3), "far_a": a, "far_b": -5 * a, "far_c": 8 * a, "far_d": -4 * a}
    lines = [f"{name} = Constant <value_float = {value}> ()" for name, value in numbers.items()]
    integers = {"zero": 0, "one": 1, "row_place": 0, "column_place": 1}
    lines += [f"{name} = Constant <value_int = {value}> ()" for name, value in integers.items()]
    return "\n".join(lines)


@torch.library.custom_op("streamdet::max_pool_regions", mutates_args=())
def max_pool_regions(features: Tensor, regions: Tensor, scale: float, side: int) -> Tensor:
    """Regions [N, R, 4], xyxy in network pixels → [N * R, C, side, side], the largest feature of each part.

    features [N, C, h, w]; scale: feature cells per network pixel. As torchvision.ops.roi_pool, corners rounded to whole
    cells.
    """
    pooled: Tensor = torchvision.ops.roi_pool(features, numbered_regions(regions), side, scale)
    return pooled


@max_pool_regions.register_fake
def _(features: Tensor, regions: Tensor, scale: float, side: int) -> Tensor:
    return features.new_empty(regions.shape[0] * regions.shape[1], features.shape[1], side, side)


def numbered_regions(regions: Tensor) -> Tensor:
    """Regions [N, R, 4] → [N * R, 5], the number of the image before each, as torchvision and ONNX take them."""
    images = torch.arange(regions.shape[0]).to(regions).repeat_interleave(regions.shape[1])[:, None]
    return torch.cat([images, regions.reshape(-1, 4)], dim=1)


def _max_pool_regions_in_onnx(features: Value, regions: Value, scale: float, side: int) -> Value:
    num_images, num_regions = (op.Shape(regions, start=axis, end=axis + 1) for axis in (0, 1))
    numbers = op.Range(op.Constant(value_int=0), op.Squeeze(num_images), op.Constant(value_int=1))  # [N]
    column = op.Unsqueeze(op.Cast(numbers, to=TensorProto.FLOAT), op.Constant(value_ints=[1, 2]))  # [N, 1, 1]
    shape = op.Concat(num_images, num_regions, op.Constant(value_ints=[1]), axis=0)
    rois = op.Concat(op.Expand(column, shape), regions, axis=2)  # [N, R, 5]
    flat = op.Reshape(rois, op.Constant(value_ints=[-1, 5]))
    return op.MaxRoiPool(features, flat, pooled_shape=[side, side], spatial_scale=scale)


TRANSLATIONS: dict[Callable[..., object], Callable[..., object]] = {
    torch.ops.streamdet.keep_best.default: _keep_best_in_onnx,
    torch.ops.streamdet.pool_regions.default: _pool_regions_in_onnx,
    torch.ops.streamdet.max_pool_regions.default: _max_pool_regions_in_onnx,
    torch.ops.streamdet.find_peaks.default: _find_peaks_in_onnx,
    **SAMPLING,
}
"""For `torch.onnx.export(custom_translation_table=...)`; needs opset 20 or later."""
