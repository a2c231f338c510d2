"""Network size: an ONNX file of a fixed input size → the same network for another size, such as a video's own shape.

A convolution takes any size. What an exporter has baked in for one size is made anew: targets of Reshape and Expand,
sizes of Resize, and the grids and anchors that decoding adds to cells or multiplies them by. Such a constant is
recognised by its values: from cell to cell they grow evenly, along rows and along columns of each level. Whatever else
depends on the size, learnt positions or shares of a picture, is refused by the name of its node.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
from onnx import numpy_helper

from pipeline.detector.facts import open_plainly
from pipeline.detector.heads import head_of
from pipeline.detector.onnx_file import write_onnx
from pipeline.detector.proof import show
from pipeline.errors import ModelError, first_line
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec

Array = npt.NDArray[np.generic]
Shape = tuple[int, ...]

_BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where")
_ON_MAPS = ("Conv", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "Resize", "Upsample", "BatchNormalization")
_STRIDES = (4, 8, 16, 32, 64, 128)
_MOST_A_CELL = 12  # anchors
_TO_THE_END = np.iinfo(np.int32).max  # of an axis, in int32 and int64
_LEAST_CELLS = 3  # along each side of the finest level: of two cells, any values grow evenly
_MOST_PASSES = 500  # each fits at least one node
_EVEN = 1e-4  # of the largest value: how far steps from cell to cell may differ


def resized_network(path: Path, spec: DetectorSpec, output: Path, network_wh: tuple[int, int]) -> DetectorSpec:
    """Write the network of a file for another input size, and return its spec, which is in its metadata.

    That it detects the same is still to be shown: the copy has no certificate. Raises ModelError, and writes nothing,
    for a network that stretches pictures, takes any size already, or depends on its size in a way that is not known.
    """
    _refuse_spec(path, spec)
    if network_wh != spec.network_wh and math.prod(network_wh) == math.prod(spec.network_wh):
        old, new = ("{} x {}".format(*size) for size in (spec.network_wh, network_wh))
        raise ModelError(
            f"{path} cannot be made for {new}: that has as many cells as its own {old}, so that constants of both "
            "cannot be told apart; take another size"
        )
    model = onnx.load(path)  # which recognition has read before
    image = next(value for value in model.graph.input if value.name == spec.input_name)
    sides = image.type.tensor_type.shape.dim
    row_axis = {"nchw": 2, "nhwc": 1, "chw": 1, "hwc": 0}[spec.layout]
    if not all(sides[axis].HasField("dim_value") for axis in (row_axis, row_axis + 1)):
        raise ModelError(f"{path} takes pictures of any size; run it with --size {'x'.join(map(str, network_wh))}")
    batch = onnx.TensorShapeProto.Dimension()
    if spec.takes_batch:
        batch.CopyFrom(sides[0])
        sides[0].dim_value = sides[0].dim_value or 1
    resizing = _Resizing(path, model)
    sides[row_axis].dim_value, sides[row_axis + 1].dim_value = network_wh[1], network_wh[0]
    resizing.fit_all(old_wh=spec.network_wh, new_wh=network_wh)
    if spec.takes_batch:
        sides[0].CopyFrom(batch)
    old, new = (" x ".join(map(str, size)) for size in (spec.network_wh, network_wh))
    resized = dataclasses.replace(
        spec,
        network_wh=network_wh,
        parity=None,
        provenance=(*spec.provenance, f"{new}: made of {path.name}, which has {old}, by `optimise`"),
    )
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend([*kept, onnx.StringStringEntryProto(key=METADATA_KEY, value=resized.to_json())])
    write_onnx(output, model.SerializeToString())
    _refuse_broken(path, output, resized)
    return resized


def _refuse_spec(path: Path, spec: DetectorSpec) -> None:
    """Raise ModelError for a detector whose size cannot be another, whatever is in its graph."""
    reason = None
    if spec.form is not None:
        reason = "streamdet exported it; make one with: streamdet export NAME --for VIDEO"
    elif spec.resize == "in-graph" or spec.pixels == "nv12":
        reason = "it resizes frames in its graph, and takes any size"
    elif spec.resize == "stretch":
        reason = "it stretches pictures to its own shape, so that no padding can be left out"
    elif spec.anchors:
        reason = "its anchors are shares of a picture of its own size"
    elif spec.boxes_are_normalised or spec.extra_inputs:
        reason = "its boxes are shares of a size that is fixed in it"
    if reason is not None:
        raise ModelError(f"{path} cannot be made for another size: {reason}")


def _refuse_broken(path: Path, output: Path, spec: DetectorSpec) -> None:
    """Raise ModelError, and remove the output, where it does not run or its outputs have another number of cells."""
    blank = np.full((spec.network_wh[1], spec.network_wh[0], 3), 114, np.uint8)
    try:
        outputs = show(open_plainly(output), spec, blank)
        head_of(spec)(outputs, spec, score_threshold=0.0, batch_index=0)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        output.unlink()
        raise ModelError(
            f"{path} cannot be made for another size: it does not run then: {first_line(error)}"
        ) from error


class _Resizing:
    """A graph whose input has another size, while its constants are fitted to it from the input on."""

    def __init__(self, path: Path, model: onnx.ModelProto) -> None:
        self._path, self._model, self._graph = path, model, model.graph
        self._constants = _constants_of(model.graph)
        for output in model.graph.output:
            for side in output.type.tensor_type.shape.dim:
                side.Clear()
        self._old = self._shapes()
        self._new: Mapping[str, Shape] = {}
        self._maps: dict[tuple[int, int], tuple[int, int]] = {}  # height and width of feature maps: old → new
        self._num_made = 0

    def fit_all(self, *, old_wh: tuple[int, int], new_wh: tuple[int, int]) -> None:
        """Make every constant anew that fits the old size alone. Raises ModelError for one that is not understood."""
        self._levels = (old_wh, new_wh)
        for _ in range(_MOST_PASSES):
            self._new = self._shapes()
            if not self._fit_some():
                return
        raise self._refusal("its graph does not come to an end")

    def _fit_some(self) -> bool:
        """Fit the nodes whose inputs have their final shapes; whether there were any."""
        unsettled: set[str] = set()
        for node in self._graph.node:
            if unsettled.intersection(node.input) or self._fit(node):
                unsettled.update(node.output)
            elif node.op_type in _ON_MAPS:
                self._note_map(node.output[0])
        return bool(unsettled)

    def _note_map(self, name: str) -> None:
        old, new = self._old.get(name), self._new.get(name)
        if old is not None and new is not None and len(old) == len(new) == 4:
            self._maps[old[2], old[3]] = (new[2], new[3])

    def _fit(self, node: onnx.NodeProto) -> bool:
        """Give a node the constants that its new inputs need; whether it had others."""
        fits = {"Reshape": self._fit_reshape, "Expand": self._fit_expand, "Resize": self._fit_resize}
        if node.op_type in fits:
            return fits[node.op_type](node)
        if node.op_type in _BINARY:
            return self._fit_binary(node)
        if node.op_type == "Slice":
            return self._fit_slice(node)
        self._refuse_parts(node)
        return False

    def _fit_reshape(self, node: onnx.NodeProto) -> bool:
        target, old_out = self._constants.get(node.input[1]), self._old.get(node.output[0])
        old, new = self._both(node.input[0])
        if target is None or old is None or new is None or old_out is None or old == new:
            return False
        shape = self._regrouped(node, old, new, old_out)
        values = [
            typed if typed == -1 or before == after else after
            for typed, before, after in zip(target.tolist(), old_out, shape, strict=True)
        ]
        return self._replace(node, 1, np.array(values, np.int64))

    def _regrouped(self, node: onnx.NodeProto, old: Shape, new: Shape, old_out: Shape) -> list[int]:
        """The sides of an output, from groups of sides that hold equally many values before and after."""
        shape: list[int] = []
        for rows, columns in _groups(old, old_out):
            before, after, out = old[rows], new[rows], old_out[columns]
            pair = self._maps.get((out[-2], out[-1])) if len(out) > 1 else None
            total = int(np.prod(after, dtype=np.int64))
            scaled = _scaled(before, after, out)
            if before == after:
                shape += out
            elif scaled is not None:
                shape += scaled
            elif pair is not None and int(np.prod([*out[:-2], *pair], dtype=np.int64)) == total:
                shape += [*out[:-2], *pair]
            else:
                raise self._refusal(f"{_name(node)} makes {list(old_out)} of {list(old)}, in a way that is not known")
        return shape

    def _fit_expand(self, node: onnx.NodeProto) -> bool:
        target = self._constants.get(node.input[1])
        if target is None or len(target) < 2:
            return False
        sides = target.tolist()
        _, new = self._both(node.input[0])
        pair = self._maps.get((sides[-2], sides[-1]))
        if pair is not None:
            sides[-2:] = pair
        for index in range(-min(len(sides), len(new or ())), 0):
            if new is not None and new[index] != 1:
                sides[index] = new[index]
        return self._replace(node, 1, np.array(sides, np.int64))

    def _fit_resize(self, node: onnx.NodeProto) -> bool:
        sizes = self._constants.get(node.input[3]) if len(node.input) > 3 else None
        old, new = self._both(node.input[0])
        if sizes is None or old is None or new is None or len(sizes) != len(old):
            return False
        resized = [size * after / before for size, before, after in zip(sizes.tolist(), old, new, strict=True)]
        if any(size != int(size) for size in resized):
            raise self._refusal(f"{_name(node)} resizes {list(new)} to {resized}, which are no whole sides")
        return self._replace(node, 3, np.array(resized, np.int64))

    def _fit_slice(self, node: onnx.NodeProto) -> bool:
        old, new = self._both(node.input[0])
        starts, ends = (self._constants.get(name) for name in node.input[1:3])
        if old is None or new is None or old == new or starts is None or ends is None:
            return False
        axes = self._constants.get(node.input[3]) if len(node.input) > 3 and node.input[3] else None
        last = np.array(ends)
        for index, axis in enumerate(range(len(starts)) if axes is None else axes.tolist()):
            if old[axis] == new[axis]:
                continue
            if starts[index] not in (0, 1) or ends[index] < old[axis]:
                raise self._refusal(f"{_name(node)} cuts a part out of {list(old)}, which has another size then")
            last[index] = _TO_THE_END
        return self._replace(node, 2, last)

    def _fit_binary(self, node: onnx.NodeProto) -> bool:
        changed = False
        for index, name in enumerate(node.input):
            constant = self._constants.get(name)
            others = [other for other in node.input if other not in self._constants]
            if constant is None or not constant.ndim or not others:
                continue
            old, new = self._both(max(others, key=lambda other: len(self._old.get(other, ()))))
            if old is not None and new is not None:
                changed |= self._replace(node, index, self._made_anew(node, constant, old, new))
        return changed

    def _made_anew(self, node: onnx.NodeProto, constant: Array, old: Shape, new: Shape) -> Array:
        """A grid or anchors for the new shape of what they are added to or multiplied by."""
        for back in range(1, min(constant.ndim, len(old)) + 1):
            axis = constant.ndim - back
            length, before, after = constant.shape[axis], old[-back], new[-back]
            if length == 1 or length != before or before == after:
                continue
            made = None if constant.ndim > 3 else self._leveled(constant, axis, after)
            if made is None:
                made = _continued(constant, axis, after)
            if made is None:
                raise self._refusal(
                    f"{_name(node)} has a constant of {list(constant.shape)}, one value for each place, that is "
                    "neither a grid nor anchors in pixels or cells"
                )
            constant = made
        return constant

    def _leveled(self, constant: Array, axis: int, length: int) -> Array | None:
        """A constant whose axis goes through all cells, level by level and row by row; None if it does not."""
        old_wh, new_wh = self._levels
        for strides in _runs():
            old, new = ([(-(-w // s), -(-h // s)) for s in strides] for w, h in (old_wh, new_wh))
            num_a_cell, rest = divmod(constant.shape[axis], sum(w * h for w, h in old))
            if (
                min(max(old)) < _LEAST_CELLS
                or rest
                or not 1 <= num_a_cell <= _MOST_A_CELL
                or num_a_cell * sum(w * h for w, h in new) != length
            ):
                continue
            for anchors_first in (True, False):
                made = _by_level(np.moveaxis(constant, axis, 0), old, new, num_a_cell, anchors_first=anchors_first)
                if made is not None:
                    return np.ascontiguousarray(np.moveaxis(made, 0, axis))
        return None

    def _refuse_parts(self, node: onnx.NodeProto) -> None:
        """Raise ModelError for a node that takes a part of what has another size now, by numbers of the old size."""
        old, new = self._both(node.input[0]) if node.input else (None, None)
        if old is None or new is None or old == new:
            return
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        is_changed = axis < len(old) and old[axis] != new[axis]
        if node.op_type in ("Split", "Gather") and is_changed and (len(node.input) > 1 or len(node.attribute) > 1):
            raise self._refusal(f"{_name(node)} takes parts of {list(old)}, which has another size then")
        kernel = next((list(item.ints) for item in node.attribute if item.name == "kernel_shape"), None)
        if node.op_type == "AveragePool" and kernel == list(old[2:]):
            raise self._refusal(f"{_name(node)} takes the mean of a whole map of {kernel}, which has another size then")

    def _both(self, name: str) -> tuple[Shape | None, Shape | None]:
        return self._old.get(name), self._new.get(name)

    def _replace(self, node: onnx.NodeProto, index: int, values: Array) -> bool:
        """Give this node alone another constant; whether it is another."""
        if np.array_equal(values, self._constants[node.input[index]]):
            return False
        name, self._num_made = f"{node.input[index]}_resized_{self._num_made}", self._num_made + 1
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        self._constants[name] = values
        node.input[index] = name
        return True

    def _shapes(self) -> dict[str, Shape]:
        """The shapes of all tensors, as far as ONNX can infer them."""
        del self._graph.value_info[:]
        try:
            graph = onnx.shape_inference.infer_shapes(self._model, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, ValueError) as error:
            raise self._refusal(first_line(error)) from error
        shapes = {}
        for value in itertools.chain(graph.value_info, graph.input, graph.output):
            sides = value.type.tensor_type.shape.dim
            if value.type.tensor_type.HasField("shape") and all(side.HasField("dim_value") for side in sides):
                shapes[value.name] = tuple(side.dim_value for side in sides)
        return shapes

    def _refusal(self, reason: str) -> ModelError:
        return ModelError(f"{self._path} cannot be made for another size: {reason}")


def _constants_of(graph: onnx.GraphProto) -> dict[str, Array]:
    """The values of initializers and Constant nodes."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return constants


def _name(node: onnx.NodeProto) -> str:
    """A node in words: its operator, and its name or that of its output."""
    return f"{node.op_type} {node.name or node.output[0]}"


def _groups(old: Shape, out: Shape) -> Iterator[tuple[slice, slice]]:
    """The fewest neighbouring sides of two shapes that hold equally many values."""
    row = column = 0
    while row < len(old) or column < len(out):
        last_row, last_column = min(row + 1, len(old)), min(column + 1, len(out))
        while np.prod(old[row:last_row]) != np.prod(out[column:last_column]):
            if np.prod(old[row:last_row]) < np.prod(out[column:last_column]) and last_row < len(old):
                last_row += 1
            elif last_column < len(out):
                last_column += 1
            else:
                last_row, last_column = len(old), len(out)
                break
        yield slice(row, last_row), slice(column, last_column)
        row, column = last_row, last_column


def _scaled(before: Shape, after: Shape, out: Shape) -> list[int] | None:
    """The sides `out` that are made of `before` when that becomes `after` and one of them grows with it; else None.

    What stands before and behind that one must come from sides that do not change, as their order is kept.
    """
    changed = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    if not changed:
        return list(out)
    leading, trailing = math.prod(before[: changed[0]]), math.prod(before[changed[-1] + 1 :])
    axes = [
        axis
        for axis, side in enumerate(out)
        if side != 1 and leading % math.prod(out[:axis]) == 0 and trailing % math.prod(out[axis + 1 :]) == 0
    ]
    if len(axes) != 1:
        return None
    side, rest = divmod(out[axes[0]] * math.prod(after), math.prod(before))
    return None if rest else [*out[: axes[0]], side, *out[axes[0] + 1 :]]


def _runs() -> Iterator[Sequence[int]]:
    """Strides of the levels of a network, the most levels first, from fine to coarse and back."""
    for length in range(len(_STRIDES), 0, -1):
        for start in range(len(_STRIDES) - length + 1):
            yield _STRIDES[start : start + length]
            if length > 1:
                yield _STRIDES[start : start + length][::-1]


def _by_level(
    cells: Array,
    old: Sequence[tuple[int, int]],
    new: Sequence[tuple[int, int]],
    num_a_cell: int,
    *,
    anchors_first: bool,
) -> Array | None:
    """Values [cells, …] of levels of these widths and heights, in others; None where they do not grow evenly."""
    parts, start = [], 0
    for (width, height), (new_width, new_height) in zip(old, new, strict=True):
        sides = (num_a_cell, height, width) if anchors_first else (height, width, num_a_cell)
        stop = start + num_a_cell * height * width
        level = cells[start:stop].reshape(*sides, *cells.shape[1:])
        axis = 1 if anchors_first else 0
        rows = _continued(level, axis, new_height)
        made = None if rows is None else _continued(rows, axis + 1, new_width)
        if made is None or not (_is_even(level, axis) and _is_even(level, axis + 1)):
            return None
        parts.append(made.reshape(-1, *cells.shape[1:]))
        start = stop
    return np.concatenate(parts)


def _continued(values: Array, axis: int, length: int) -> Array | None:
    """Values that grow evenly along an axis, for another length of it; None for any others, and for shares of it."""
    if not _is_even(values, axis):
        return None
    moved = np.moveaxis(values, axis, 0)
    if len(moved) < 2:
        return np.repeat(values, length, axis=axis) if length == 1 else None
    exact = moved.astype(np.float64)
    step = (exact[-1] - exact[0]) / (len(exact) - 1)
    if (np.isclose(np.abs(step) * len(exact), 1, rtol=1e-3) & (np.abs(step) < 1)).any():
        return None  # a position as a share of the picture, whose step depends on the size
    if length <= len(moved):
        made = moved[:length]
    else:
        beyond = exact[0] + step * np.arange(len(moved), length).reshape(-1, *[1] * step.ndim)
        made = np.concatenate([moved, beyond.astype(values.dtype)])
    return np.ascontiguousarray(np.moveaxis(made, 0, axis))


def _is_even(values: Array, axis: int) -> bool:
    """Whether values grow by the same from each index of an axis to the next."""
    if values.dtype.kind not in "fiu":
        return False
    steps = np.diff(values.astype(np.float64), axis=axis)
    tolerance = _EVEN * max(1.0, float(np.abs(values).max(initial=0)))
    return bool(np.isfinite(steps).all() and (np.ptp(steps, axis=axis) <= tolerance).all() if steps.size else True)
