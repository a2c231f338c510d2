"""Which shape has every tensor of an ONNX file when it runs?

The file is run once, as it is, with a Shape node behind every tensor, so that no tensor outlives its use and nothing is
inferred that may be inferred wrongly. Inside If, Loop and Scan, where no Shape node reaches, ONNX's own inference goes
on from the shapes that were seen outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference

from pipeline.detector.facts import ModelFacts, facts_of, image_input, open_plainly
from pipeline.detector.heads.claims import Hints
from pipeline.detector.providers import first_line, load_runtime
from pipeline.detector.recognise import recognise
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError
from pipeline.picture.frame import ArrayPicture

Shape = tuple[int, ...]
Feed = Mapping[str, npt.NDArray[Any]]

_SUFFIX = "/measured_shape"
_BYTES = {"tensor(float)": 4, "tensor(double)": 8, "tensor(bool)": 1, "tensor(string)": 0}
_DTYPES = {"float": "float32", "double": "float64"}


def feed_for(path: Path, network_wh: tuple[int, int] | None) -> Feed:
    """What a file can be run on once: noise for the image, and for the rest what its detector expects, or ones.

    A batch that is left open is 1; `network_wh` is for a size that is left open. Raises ModelError for what is no ONNX
    model, for a size that stays open, and for one that contradicts the file.
    """
    facts = facts_of(open_plainly(path), path)
    try:
        spec = recognise(path, Hints(network_wh=network_wh))
    except ModelError as error:  # no detector, or one whose reading is open: its shapes may be known all the same
        return _plain_feed(facts, network_wh, error)
    width, height = spec.network_wh
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image = np.repeat(TensorWriter(spec).tensor_of(ArrayPicture(pixels))[1], spec.batch or 1, axis=0)
    feed = {each.name: np.tile(np.array(each.values, each.dtype), (len(image), 1)) for each in spec.extra_inputs}
    return {spec.input_name: image[0] if spec.layout in ("chw", "hwc") else image, **feed}


def _plain_feed(facts: ModelFacts, network_wh: tuple[int, int] | None, reason: ModelError) -> Feed:
    try:
        image = image_input(facts)
    except ModelError:
        image = None
    sides = {}
    if network_wh is not None:
        if image is None or any(own not in (None, asked) for own, asked in zip(image.size_wh, network_wh, strict=True)):
            raise ModelError(f"{facts.path}: --size must fit the file, got {network_wh[0]}x{network_wh[1]} ({facts})")
        at = {"nchw": (3, 2), "chw": (2, 1), "nhwc": (2, 1), "hwc": (1, 0)}[image.layout]
        sides = {(image.name, place): side for place, side in zip(at, network_wh, strict=True)}
    feed: dict[str, npt.NDArray[Any]] = {}
    for each in facts.inputs:
        shape = [
            sides.get((each.name, place), 1 if place == 0 else None) if side is None else side
            for place, side in enumerate(each.shape)
        ]
        known = [side for side in shape if side is not None]
        if len(known) < len(shape):
            raise ModelError(f"{facts.path}: --size must say how large {each} is, and not more may be open: {reason}")
        dtype = np.dtype(_DTYPES.get(each.element_type, each.element_type))
        if dtype.kind == "f" or dtype == np.uint8:
            noise = np.random.default_rng(0).uniform(0, 256 if dtype == np.uint8 else 1, known)
            feed[each.name] = noise.astype(dtype)
        else:
            feed[each.name] = np.ones(known, dtype)
    return feed


def measure(model: onnx.ModelProto, feed: Feed, path: Path) -> dict[str, tuple[Shape, int]]:
    """The shape of every tensor of the main graph, with the bytes of an element; sequences are left out.

    Raises ModelError, naming `path`, where the file does not run on this.
    """
    initialisers = {each.name for each in model.graph.initializer}
    inputs = [each.name for each in model.graph.input if each.name not in initialisers]
    names = [*inputs, *(name for node in model.graph.node for name in node.output if name)]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        types = {each.name: each.type for each in _session(probe).get_outputs()}
        tensors = [name for name in names if types[name].startswith("tensor(")]
        del probe.graph.output[:]
        for name in tensors:
            probe.graph.node.append(onnx.helper.make_node("Shape", [name], [name + _SUFFIX]))
            probe.graph.output.append(
                onnx.helper.make_tensor_value_info(name + _SUFFIX, onnx.TensorProto.INT64, [None])
            )
        shapes = _session(probe).run(None, dict(feed))
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelError(f"{path} must run to be counted: {first_line(error)}") from error
    found = {name: (tuple(shape.tolist()), _bytes_of(types[name])) for name, shape in zip(tensors, shapes, strict=True)}
    return found | {each.name: (tuple(each.dims), 0) for each in model.graph.initializer}


def with_shapes_inside(model: onnx.ModelProto, measured: Mapping[str, tuple[Shape, int]]) -> onnx.ModelProto:
    """A copy whose subgraphs say the shapes of their tensors, as far as they follow from those outside."""
    known = onnx.shape_inference.infer_shapes(model)  # for the types, which measuring does not tell
    declared = {each.name: each for each in (*known.graph.input, *known.graph.value_info, *known.graph.output)}
    for name, value in declared.items():
        if name in measured and value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto())
            for side in measured[name][0]:
                value.type.tensor_type.shape.dim.add(dim_value=side)
    return onnx.shape_inference.infer_shapes(known, data_prop=True)


def shapes_inside(graph: onnx.GraphProto) -> dict[str, Shape]:
    """The shapes that a subgraph states in full."""
    stated = {each.name: tuple(each.dims) for each in graph.initializer}
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
    bits = "".join(each if each.isdigit() else " " for each in type_name).split()[0]  # int64, float16, float8e4m3fn
    return max(1, int(bits) // 8)
