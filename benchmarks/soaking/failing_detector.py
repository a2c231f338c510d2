"""Failing detector: a real ONNX file that finds three boxes in every picture, and in a white one NaN scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.fixed_detector import write_fixed_detector

_NUM_BOXES, _SIDE = 3, 64
_LEAST_WHITE = 245.0  # mean of the pixels


def write_failing_detector(path: Path) -> Path:
    """Write it. Its scores are NaN as those of a network whose activations overflow are."""
    import onnx
    from onnx import helper, numpy_helper

    write_fixed_detector(path, _NUM_BOXES, side=_SIDE)
    model = onnx.load(str(path))
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["sound_scores" if name == "scores" else name for name in node.output]
    constants: dict[str, npt.NDArray[np.generic]] = {
        "least_white": np.array(_LEAST_WHITE, np.float32),
        "not_a_number": np.array(np.nan, np.float32),
        "zero": np.array(0, np.float32),
        "a_row_each": np.array([-1, 1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    graph.node.extend(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=onnx.TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2, 3], keepdims=0),  # [B]
            helper.make_node("Greater", ["means", "least_white"], ["is_white"]),
            helper.make_node("Where", ["is_white", "not_a_number", "zero"], ["failures"]),
            helper.make_node("Reshape", ["failures", "a_row_each"], ["failures_each"]),  # [B, 1]
            helper.make_node("Add", ["sound_scores", "failures_each"], ["scores"]),  # [B, N]
        ]
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
