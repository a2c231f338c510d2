"""Forms of ssdlite320: the time of the boxes form beside that of torchvision's own export of the whole model.

    python -m benchmarks.ssdlite_forms

ssdlite320_mobilenet_v3_large, the same random weights on both sides, ONNX Runtime on the CPU, one picture, in turns.
The whole model (torch.onnx.export of the module, TorchScript's exporter, the only one that takes it) holds resizing to
its own size, anchors and NMS; ours is the boxes form plus the head and NMS of the runtime, so both end in boxes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision

from benchmarks.machine import describe_machine
from export.exporting import export_detector
from export.families.torchvision_detectors import exportable_of
from export.families.torchvision_random import randomise_weights
from export.proof.images import drawn_images
from export.proof.random_weights import SEED, proof_pixels
from pipeline.detector.detector import Detector
from pipeline.detector.engine import OrtEngine
from pipeline.picture.frame import ArrayPicture

NETWORK_WH = (320, 320)


def main() -> None:
    """Export both ways, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--background", type=float, default=11.0, help="logit of the background: a higher one leaves fewer detections"
    )
    options = parser.parse_args()
    torch.manual_seed(SEED)
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    names = tuple(f"class {index}" for index in range(90))
    exportable_of(model, "ssdlite320_mobilenet_v3_large", class_names=names, network_wh=NETWORK_WH)
    pixels = proof_pixels(NETWORK_WH)
    randomise_weights(model, "ssdlite320", num_columns=91, pixels=pixels, background=options.background)
    exportable = exportable_of(model, "ssdlite320_mobilenet_v3_large", class_names=names, network_wh=NETWORK_WH)
    with tempfile.TemporaryDirectory() as folder:
        module_path, boxes_path = Path(folder) / "whole.onnx", Path(folder) / "boxes.onnx"
        exported = export_detector(exportable, boxes_path, images=drawn_images())
        image = pixels[0].permute(2, 0, 1).float() / 255
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, ([image],), str(module_path), dynamo=False, opset_version=17)
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = options.threads
        session_options.log_severity_level = 4
        module_session = onnxruntime.InferenceSession(module_path, session_options, providers=["CPUExecutionProvider"])
        engine = OrtEngine(
            boxes_path, exported.spec, device="cpu", intra_op_threads=options.threads, spin_microseconds=None
        )
        nodes = {path.stem: len(onnx.load(path).graph.node) for path in (module_path, boxes_path)}
    ours = Detector(engine, score_threshold=0.05)
    picture = ArrayPicture(np.ascontiguousarray(pixels[0].numpy()[:, :, ::-1]))
    tensor = image.numpy()
    name = module_session.get_inputs()[0].name
    milliseconds: dict[str, list[float]] = {"whole": [], "boxes": [], "boxes, session.run alone": []}
    num_detections = 0
    for _ in range(options.runs):
        for label in milliseconds:
            began = time.perf_counter()
            if label == "whole":
                module_session.run(None, {name: tensor})
            elif label == "boxes":
                num_detections = len(ours([picture])[0])
            else:
                engine.infer(pixels[:1].numpy())
            milliseconds[label].append(1000 * (time.perf_counter() - began))
    print(describe_machine())
    medians = {label: statistics.median(values) for label, values in milliseconds.items()}
    for label, median in medians.items():
        note = f", {nodes[label]} nodes" if label in nodes else ""
        print(f"{label:26} {median:7.2f} ms{note}")
    ratio = medians["whole"] / medians["boxes"]
    print(f"{num_detections} detections; the boxes form with everything around it is {ratio:.2f}× faster")


if __name__ == "__main__":
    main()
