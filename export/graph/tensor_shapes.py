"""Tensor shapes: an ONNX file → the shape of every tensor, from one run.

The file runs once, unchanged, with a Shape node behind every tensor, so that no tensor outlives its use and no shape is
inferred wrongly. Inside If, Loop and Scan, which Shape nodes do not reach, ONNX's own inference continues from the
measured shapes outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference

from pipeline.detector.facts import ImageInput, ModelFacts, facts_of, image_input, open_plainly
from pipeline.detector.heads.hints import Hints
from pipeline.detector.installation import load_runtime
from pipeline.detector.proposals import whole_picture
from pipeline.detector.recognise import recognise
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError, first_line
from pipeline.picture.detector_spec import ROIS_INPUT
from pipeline.picture.frame import ArrayPicture

Shape = tuple[int, ...]
Feed = Mapping[str, npt.NDArray[np.generic]]

_SUFFIX = "/measured_shape"
_BYTES = {"tensor(float)": 4, "tensor(double)": 8, "tensor(bool)": 1, "tensor(string)": 0}
_DTYPES = {"float": "float32", "double": "float64"}


def feed_for(path: Path, network_wh: tuple[int, int] | None) -> Feed:
    """An input for one run of a file: noise for the image, and for other inputs their detector's values, or ones.

    A dynamic batch is 1; `network_wh` sets a dynamic size. Raises ModelError for a file that is not an ONNX model, for
    a size that stays dynamic and for one that contradicts the file.
    """
    facts = facts_of(open_plainly(path), path)
    try:
        spec = recognise(path, Hints(network_wh=network_wh))
    except ModelError as error:  # not a detector, or one that cannot be read: it may run all the same
        return _plain_feed(facts, network_wh, error)
    width, height = spec.network_wh
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image = np.repeat(TensorWriter(spec).tensor_of(ArrayPicture(pixels))[1], spec.batch or 1, axis=0)
    rois = {ROIS_INPUT: whole_picture(spec, len(image))} if spec.num_rois else {}
    return {spec.input_name: image if spec.takes_batch else image[0], **spec.extra_feed(len(image)), **rois}


def _plain_feed(facts: ModelFacts, network_wh: tuple[int, int] | None, reason: ModelError) -> Feed:
    try:
        image = image_input(facts)
    except ModelError:
        image = None
    sides: dict[tuple[str, int], int] = {}
    if network_wh is not None:
        sides = _sides_of(image, network_wh, facts)
    feed: dict[str, npt.NDArray[np.generic]] = {}
    for tensor in facts.inputs:
        shape = [sides.get((tensor.name, axis), side) for axis, side in enumerate(tensor.shape)]
        if shape and shape[0] is None:
            shape[0] = 1
        fixed = [side for side in shape if side is not None]
        if len(fixed) < len(shape):
            raise ModelError(
                f"{facts.path}: --size must say how large {tensor} is, and no other side may be dynamic: {reason}"
            )
        feed[tensor.name] = _noise_or_ones(np.dtype(_DTYPES.get(tensor.element_type, tensor.element_type)), fixed)
    return feed


def _sides_of(image: ImageInput | None, network_wh: tuple[int, int], facts: ModelFacts) -> dict[tuple[str, int], int]:
    """The sides that a size sets, by the name of the input and the axis. Raises ModelError if the file has others."""
    if image is None or any(own not in (None, side) for own, side in zip(image.size_wh, network_wh, strict=True)):
        raise ModelError(f"{facts.path}: --size must fit the file, got {network_wh[0]}x{network_wh[1]} ({facts})")
    axes = {"nchw": (3, 2), "chw": (2, 1), "nhwc": (2, 1), "hwc": (1, 0)}[image.layout]
    return {(image.name, axis): side for axis, side in zip(axes, network_wh, strict=True)}


def _noise_or_ones(dtype: np.dtype[np.generic], shape: list[int]) -> npt.NDArray[np.generic]:
    if dtype.kind == "f" or dtype == np.uint8:
        return np.random.default_rng(0).uniform(0, 256 if dtype == np.uint8 else 1, shape).astype(dtype)
    return np.ones(shape, dtype)


def measure(model: onnx.ModelProto, feed: Feed, path: Path) -> dict[str, tuple[Shape, int]]:
    """The shape of every tensor of the main graph, with the bytes of an element; sequences are left out.

    Raises ModelError, naming `path`, for a file that does not run on this feed.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    names = [*inputs, *(name for node in model.graph.node for name in node.output if name)]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    _set_outputs(probe, (onnx.ValueInfoProto(name=name) for name in names))
    try:
        types = {output.name: output.type for output in _session(probe).get_outputs()}
        tensors = [name for name in names if types[name].startswith("tensor(")]
        _return_shapes(probe, tensors)
        shapes = _session(probe).run(None, dict(feed))
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelError(f"{path} must run to be counted: {first_line(error)}") from error
    measured = {
        name: (tuple(shape.tolist()), _bytes_of(types[name])) for name, shape in zip(tensors, shapes, strict=True)
    }
    return measured | {tensor.name: (tuple(tensor.dims), 0) for tensor in model.graph.initializer}


def _set_outputs(model: onnx.ModelProto, outputs: Iterable[onnx.ValueInfoProto]) -> None:
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def _return_shapes(model: onnx.ModelProto, tensors: Sequence[str]) -> None:
    """Make the shapes of these tensors the only outputs of a graph, in place."""
    names = [name + _SUFFIX for name in tensors]
    model.graph.node.extend(
        onnx.helper.make_node("Shape", [tensor], [name]) for tensor, name in zip(tensors, names, strict=True)
    )
    int64 = onnx.TensorProto.INT64
    _set_outputs(model, (onnx.helper.make_tensor_value_info(name, int64, [None]) for name in names))


def with_shapes_inside(model: onnx.ModelProto, measured: Mapping[str, tuple[Shape, int]]) -> onnx.ModelProto:
    """A copy whose subgraphs hold the shapes of their tensors, as far as these follow from the shapes outside."""
    inferred = onnx.shape_inference.infer_shapes(model)  # for the types, which are not measured
    graph = inferred.graph
    declared = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    for name, value in declared.items():
        if name in measured and value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto())
            for side in measured[name][0]:
                value.type.tensor_type.shape.dim.add(dim_value=side)
    return onnx.shape_inference.infer_shapes(inferred, data_prop=True)


def shapes_inside(graph: onnx.GraphProto) -> dict[str, Shape]:
    """The shapes that a subgraph declares in full."""
    stated = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(side.HasField("dim_value") for side in tensor.shape.dim):
            stated[value.name] = tuple(side.dim_value for side in tensor.shape.dim)
    return stated


def _session(model: onnx.ModelProto) -> Any:
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _bytes_of(type_name: str) -> int:
    if type_name in _BYTES:
        return _BYTES[type_name]
    match = re.search(r"\d+", type_name)  # int64, float16, float8e4m3fn
    assert match is not None, type_name
    return max(1, int(match[0]) // 8)
