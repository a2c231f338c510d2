"""Forms of ssdlite320: the time of the boxes form beside that of torchvision's own export of the whole model.

    python -m benchmarks.ssdlite_forms

ssdlite320_mobilenet_v3_large, the same random weights on both sides, ONNX Runtime on the CPU, one picture, in turns.
The whole model (torch.onnx.export of the module, TorchScript's exporter, the only one that takes it) holds resizing to
its own size, anchors and NMS; ours is the boxes form plus the head and NMS of the runtime, so both end in boxes.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision

from benchmarks.machine import describe_machine
from export.exportable import Exportable
from export.exporting import export_detector
from export.families.torchvision_detectors import exportable_of
from export.families.torchvision_random import randomise_weights
from export.proof.images import drawn_images
from export.proof.random_weights import SEED, proof_pixels
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.picture.frame import ArrayPicture

NETWORK_WH = (320, 320)


def main() -> None:
    """Export both ways, measure in turns, print."""
    options = _options()
    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as folder:
        forms = Forms(Path(folder), background=options.background, threads=options.threads)
    milliseconds: dict[str, list[float]] = {label: [] for label in forms.runs}
    num_detections = 0
    for _, (label, run) in itertools.product(range(options.runs), forms.runs.items()):
        began = time.perf_counter()
        result = run()
        milliseconds[label].append(1000 * (time.perf_counter() - began))
        num_detections = len(result[0]) if label == "boxes" else num_detections
    print(describe_machine())
    medians = {label: statistics.median(values) for label, values in milliseconds.items()}
    for label, median in medians.items():
        note = f", {forms.num_nodes[label]} nodes" if label in forms.num_nodes else ""
        print(f"{label:26} {median:7.2f} ms{note}")
    ratio = medians["whole"] / medians["boxes"]
    print(f"{num_detections} detections; the boxes form with everything around it is {ratio:.2f}× faster")


class Forms:
    """Both exports of one network with random weights, opened; the files in the folder are not read again."""

    def __init__(self, folder: Path, *, background: float, threads: int) -> None:
        module_path, boxes_path = folder / "whole.onnx", folder / "boxes.onnx"
        pixels = proof_pixels(NETWORK_WH)
        model, exportable = _network(pixels, background)
        exported = export_detector(exportable, boxes_path, images=drawn_images())
        image = pixels[0].permute(2, 0, 1).float() / 255
        _export_module(model, image, module_path)
        self.num_nodes = {path.stem: len(onnx.load(path).graph.node) for path in (module_path, boxes_path)}
        session = _open_session(module_path, threads)
        engine = OrtEngine(boxes_path, exported.spec, device="cpu", intra_op_threads=threads, spin_microseconds=None)
        detector = EngineDetector(engine, score_threshold=0.05)
        picture = ArrayPicture(np.ascontiguousarray(pixels[0].numpy()[:, :, ::-1]))
        feed = {session.get_inputs()[0].name: image.numpy()}
        self.runs: dict[str, Callable[[], Any]] = {
            "whole": lambda: session.run(None, feed),
            "boxes": lambda: detector([picture]),
            "boxes, session.run alone": lambda: engine.infer(pixels[:1].numpy()),
        }


def _network(pixels: torch.Tensor, background: float) -> tuple[torch.nn.Module, Exportable]:
    """ssdlite320 with random weights of many scores, and what is exported of it."""
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    names = tuple(f"class {index}" for index in range(90))
    exportable_of(model, "ssdlite320_mobilenet_v3_large", class_names=names, network_wh=NETWORK_WH)
    randomise_weights(model, "ssdlite320", num_columns=91, pixels=pixels, background=background)
    exportable = exportable_of(model, "ssdlite320_mobilenet_v3_large", class_names=names, network_wh=NETWORK_WH)
    return model, exportable


def _export_module(model: torch.nn.Module, image: torch.Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, ([image],), str(path), dynamo=False, opset_version=17)


def _open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--background", type=float, default=11.0, help="logit of the background: a higher one leaves fewer detections"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
