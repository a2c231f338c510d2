"""How does a PyTorch detector become one self-describing ONNX file?"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn

from pipeline.errors import ModelError
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec

log = logging.getLogger(__name__)

BOXES_OUTPUTS = ("boxes", "scores", "class_ids")
_LEAST_SCORE = 0.05  # below, nobody looks


def export_boxes_form(
    module: nn.Module,
    spec: DetectorSpec,
    path: Path,
    *,
    images: Sequence[npt.NDArray[np.uint8]],
    opset: int = 20,
    largest_difference: float = 1e-3,
) -> DetectorSpec:
    """Write a module in the `boxes` form, uint8 [N, H, W, 3] → boxes, scores, class_ids, and prove the file.

    images: arrays uint8 [H, W, 3] of the network's size, on which PyTorch and ONNX Runtime must agree, in batches
        of one and all together, to within `largest_difference` in score and in pixels × 0.1.
    Returns the spec with the comparison in `parity`, as it stands in the file. Raises ModelError, and leaves no
    file, if they differ.
    """
    module = module.eval()
    batch = torch.from_numpy(np.stack([images[0], images[-1]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            module,
            (batch,),
            dynamo=True,
            opset_version=opset,
            external_data=False,
            input_names=[spec.input_name],
            output_names=list(BOXES_OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_how_it_was_made(model)
    _store_exact_halves(model)
    onnx.checker.check_model(model, full_check=True)
    parity = _compare(module, model.SerializeToString(), spec, images)
    if parity["max_score_difference"] > largest_difference or parity["max_box_difference_px"] > 10 * largest_difference:
        raise ModelError(f"{path}: ONNX Runtime and PyTorch must agree, they differ by {parity}; no file was written")
    described = dataclasses.replace(spec, parity=parity)
    onnx.helper.set_model_props(model, {METADATA_KEY: described.to_json()})
    path.write_bytes(model.SerializeToString())
    log.info("%s: %.2f MB, %s", path, path.stat().st_size / 1e6, parity)
    return described


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


def _compare(
    module: nn.Module, model: bytes, spec: DetectorSpec, images: Sequence[npt.NDArray[np.uint8]]
) -> dict[str, Any]:
    """How far ONNX Runtime's detections are from PyTorch's, in both directions."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    box_difference = score_difference = 0.0
    num_compared = 0
    for batch in [np.stack(images), *(image[None] for image in images)]:
        theirs = session.run(list(BOXES_OUTPUTS), {spec.input_name: batch})
        with torch.inference_mode():
            ours = [output.numpy() for output in module(torch.from_numpy(batch))]
        for index in range(len(batch)):
            one, other = [output[index] for output in ours], [output[index] for output in theirs]
            for these, those in ((one, other), (other, one)):
                box, score = _farthest(these, those)
                box_difference, score_difference = max(box_difference, box), max(score_difference, score)
            num_compared += int((one[1] >= _LEAST_SCORE).sum())
    return {
        "compared_images": len(images),
        "compared_detections": num_compared,
        "max_score_difference": round(score_difference, 7),
        "max_box_difference_px": round(box_difference, 5),
        "torch": torch.__version__.split("+")[0],
        "onnxruntime": onnxruntime.__version__,
    }


def _farthest(these: Sequence[npt.NDArray[Any]], those: Sequence[npt.NDArray[Any]]) -> tuple[float, float]:
    """The largest distance, in pixels and in score, of a detection that counts to its like among those of the other.

    As sets, because where scores tie to the last bit the two may order differently.
    """
    counts = these[1] >= _LEAST_SCORE  # [K]
    boxes, scores, class_ids = (each[counts] for each in these)  # [n, 4], [n], [n]
    if not len(boxes):
        return 0.0, 0.0
    box_distance = np.abs(boxes[:, None] - those[0][None]).max(axis=2)  # [n, K]
    score_distance = np.abs(scores[:, None] - those[1][None])  # [n, K]
    distance = np.where(class_ids[:, None] == those[2][None], box_distance + 100 * score_distance, np.inf)
    nearest = distance.argmin(axis=1)  # [n]
    rows = np.arange(len(boxes))
    if not np.isfinite(distance[rows, nearest]).all():
        return float("inf"), float("inf")
    return float(box_distance[rows, nearest].max()), float(score_distance[rows, nearest].max())
