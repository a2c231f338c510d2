"""Opset: the operators and constants that our translations write, of the first operator set that has them all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxscript
from onnx import TensorProto, helper

Value = Any
"""A value of the graph that is being written; onnxscript has no type for all of its kinds."""

op: Any = onnxscript.opset20  # its own types lack values that are computed later


def floats(values: npt.ArrayLike) -> Value:
    """A float32 constant."""
    return _constant(np.asarray(values, np.float32), TensorProto.FLOAT)


def integers(values: npt.ArrayLike) -> Value:
    """An int32 constant."""
    return _constant(np.asarray(values, np.int32), TensorProto.INT32)


def shape_of(*sides: int) -> Value:
    """A shape for Reshape: 0 keeps a side, -1 takes what is left."""
    return op.Constant(value_ints=list(sides))


def _constant(array: npt.NDArray[np.float32] | npt.NDArray[np.int32], data_type: int) -> Value:
    return op.Constant(value=helper.make_tensor("", data_type, array.shape, array.ravel().tolist()))
