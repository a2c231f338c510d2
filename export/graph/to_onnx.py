"""To ONNX: a PyTorch module → one self-contained ONNX graph, and its file."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from export.graph.convolutions import merge_convolutions
from export.graph.ops import TRANSLATIONS
from export.graph.sampling import MOST_IMAGES
from pipeline.errors import ModelError

logger = logging.getLogger(__name__)

OPSET = 20
_LARGEST_FILE = 2**31 - 1  # a protobuf message cannot be larger
_LARGEST_SIDE = 16384

Axes = dict[int, torch.export.Dim]
"""The dynamic axes of an input, by number."""


def refuse_opset(opset: int) -> None:
    """Raise ModelError for an operator set that the package onnx, and so nothing that reads the file, knows."""
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ModelError(
            f"--opset must be at most {newest}, the newest that onnx {onnx.__version__} knows, got {opset}"
        )


def to_onnx(
    module: nn.Module,
    example: Tensor | Sequence[Tensor],
    *,
    input_name: str | Sequence[str],
    output_names: Sequence[str],
    opset: int = OPSET,
    any_size: bool = False,
) -> onnx.ModelProto:
    """The graph of a module, batch first, for any batch; `any_size`: axes 1 and 2 are dynamic as well.

    Inputs of fewer than three axes are shared by the whole batch and have a fixed shape. The same module gives the same
    graph, byte for byte. Raises ModelError, with the exporter's own message, for a module that cannot be exported.
    """
    examples = (example,) if isinstance(example, Tensor) else tuple(example)
    names = [input_name] if isinstance(input_name, str) else list(input_name)
    axes = _dynamic_axes(names, examples, any_size=any_size)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=opset,
                external_data=False,
                input_names=names,
                output_names=list(output_names),
                dynamic_shapes=_dynamic_shapes(module, axes),
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
    except Exception as error:  # the exporter's exceptions have no common base
        raise ModelError(f"PyTorch's exporter rejects the module: {_cause_of(error)}") from error
    assert program is not None
    model = program.model_proto
    # The exporter may fix the example's batch without a warning.
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ModelError(
            "PyTorch's exporter rejects the module: its batch must be dynamic, but it works for one size only"
        )
    merge_convolutions(model)
    _drop_notes(model)
    _store_exact_halves(model)
    return model


def _dynamic_axes(names: Sequence[str], examples: Sequence[Tensor], *, any_size: bool) -> list[Axes]:
    """The dynamic axes of every input; none for one of fewer than three axes."""
    batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
    axes: list[Axes] = [{0: batch} if tensor.dim() > 2 else {} for tensor in examples]
    for name, dynamic in zip(names, axes, strict=True):
        if any_size and dynamic:
            prefix = f"{name}_" if len(names) > 1 else ""
            dynamic[1] = torch.export.Dim(f"{prefix}height", min=1, max=_LARGEST_SIDE)
            dynamic[2] = torch.export.Dim(f"{prefix}width", min=1, max=_LARGEST_SIDE)
    return axes


def _dynamic_shapes(module: nn.Module, axes: list[Axes]) -> tuple[Axes, ...] | tuple[tuple[Axes, ...]]:
    """The dynamic axes of the inputs in torch.export's form for `forward(self, *inputs)` or for named inputs."""
    parameters = inspect.signature(module.forward).parameters.values()
    takes_any = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    return (tuple(axes),) if takes_any else tuple(axes)


def _cause_of(error: Exception) -> str:
    """The first lines of the exporter's own message."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {' '.join(lines[:2])[:400]}"


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph, checked; weights go into a file beside it only if one file cannot hold them (over 2 GB).

    Raises ModelError for a path that cannot be written and for an invalid graph.
    """
    try:
        if model.ByteSize() > _LARGEST_FILE:
            onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
            onnx.checker.check_model(str(path), full_check=True)
        else:
            onnx.checker.check_model(model, full_check=True)
            onnx.save(model, path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror or error}") from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{path}: the exported graph is not valid: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks on itself; its failures are exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [exporter.level for exporter in loggers]
    for exporter in loggers:
        exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for exporter, level in zip(loggers, levels, strict=True):
            exporter.setLevel(level)


def _drop_notes(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes on every node, which are larger than the graph and name our modules."""
    for node in model.graph.node:
        del node.metadata_props[:]
    del model.graph.value_info[:]  # shape inference restores them


def _store_exact_halves(model: onnx.ModelProto) -> None:
    """Store weights that float16 holds exactly as float16 with a Cast back to float32: smaller, and nothing is lost.

    ONNX Runtime casts them once, when it loads the file.
    """
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if values.dtype != np.float32 or values.size < 256 or not np.array_equal(halves.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(halves, f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
