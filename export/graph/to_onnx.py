"""How does a PyTorch module become one self-contained ONNX graph?"""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from export.graph.ops import TRANSLATIONS
from pipeline.errors import ModelError

logger = logging.getLogger(__name__)

OPSET = 20
_LARGEST_FILE = 2**31 - 1  # a protobuf message cannot be larger
_MOST_IMAGES = 1024


def to_onnx(
    module: nn.Module,
    example: Tensor | Sequence[Tensor],
    *,
    input_name: str | Sequence[str],
    output_names: Sequence[str],
    opset: int = OPSET,
    any_size: bool = False,
) -> onnx.ModelProto:
    """The graph of a module with one input, batch first, for any batch; `any_size`: sides 1 and 2 are free as well.

    Of several inputs, those of fewer than three sides are the same for the whole batch, and fixed.

    The same module gives the same graph, byte for byte. Raises ModelError, with the exporter's own words, for what
    cannot be exported.
    """
    examples = (example,) if isinstance(example, Tensor) else tuple(example)
    names = [input_name] if isinstance(input_name, str) else list(input_name)
    batch = torch.export.Dim("batch", min=1, max=_MOST_IMAGES)
    sides: list[dict[int, Any]] = [{0: batch} if each.dim() > 2 else {} for each in examples]
    if any_size:
        for name, free in zip(names, sides, strict=True):
            prefix = f"{name}_" if len(names) > 1 else ""
            if free:
                free[1] = torch.export.Dim(f"{prefix}height", min=1, max=16384)
                free[2] = torch.export.Dim(f"{prefix}width", min=1, max=16384)
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
                dynamic_shapes=_shapes_of(module, sides),
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
    except Exception as error:  # the exporter's exceptions have no common base
        cause = error.__cause__ or error
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        raise ModelError(
            f"PyTorch's exporter refuses it: {type(cause).__name__}: {' '.join(lines[:2])[:400]}"
        ) from error
    assert program is not None
    model = program.model_proto
    # The exporter may settle on the example's batch without a word.
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ModelError("PyTorch's exporter refuses it: the module only works for a batch of one size")
    _forget_how_it_was_made(model)
    _store_exact_halves(model)
    return model


def _shapes_of(module: nn.Module, sides: list[dict[int, Any]]) -> tuple[Any, ...]:
    """The free sides of each input, as torch.export wants them for `forward(self, *inputs)` or for named inputs."""
    takes_any = any(
        each.kind is inspect.Parameter.VAR_POSITIONAL for each in inspect.signature(module.forward).parameters.values()
    )
    return (tuple(sides),) if takes_any else tuple(sides)


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph, checked; weights go into a file beside it only where one file cannot hold them (over 2 GB).

    Raises ModelError if it cannot be written or is no valid graph.
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
    """Silence the exporter about itself; what matters comes as an exception."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _forget_how_it_was_made(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes on every node, which weigh more than the graph and name our modules."""
    for node in model.graph.node:
        del node.metadata_props[:]
    del model.graph.value_info[:]  # shape inference writes them anew wherever they are wanted


def _store_exact_halves(model: onnx.ModelProto) -> None:
    """Store weights that float16 holds exactly as float16, and cast them back; loses nothing but size.

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
