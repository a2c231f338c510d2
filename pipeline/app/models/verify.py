"""Command `verify`: an ONNX file and a reference → the evidence that they detect the same, and a verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.table import Table

from pipeline.accuracy.coco_json import find_coco_json
from pipeline.app.certificates import certificate_mismatch, rows_of
from pipeline.app.extras import load
from pipeline.app.model_files import is_exported, model_file
from pipeline.app.models.options import VerifyOptions
from pipeline.app.terminal import SafeConsole, tell
from pipeline.detector.detector import DetectFunction, EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.onnx_file import graph_hash
from pipeline.detector.published import published_model
from pipeline.detector.recognise import recognise
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.parity import FP16_BAR, FP32_BAR

_BARS = {"fp32": FP32_BAR, "fp16": FP16_BAR}
_CHECKPOINTS = (".pt", ".pth", ".bin", ".safetensors", ".ckpt")


def run_verify(options: VerifyOptions) -> int:
    """Compare and print the evidence; 0 if the bar is met, else 1. Raises a StreamdetError where that is impossible."""
    bar = _BARS[options.bar]
    proof, proof_images = load("export.proof.verify"), load("export.proof.images")
    options = replace(options, model=model_file(options.model))
    spec = recognise(options.model)
    least_score = bar.score_from * proof.ASKED_SHARE
    engine = OrtEngine(options.model, spec, device=options.device)
    reference, against = _reference(options, spec, least_score)
    if options.images is None:
        images, labels = proof_images.drawn_images(), None
    else:
        images = proof_images.images_of(options.images, most=options.max_images)
        labels = find_coco_json(Path(options.images))
    if spec.pixels == "nv12":
        images = proof_images.as_decoded(images)
    detector = EngineDetector(engine, score_threshold=least_score)
    evidence = proof.gather_evidence(
        detector,
        reference,
        images,
        bar=bar,
        batch_sizes=(1, 2, 3, 4) if spec.batch is None else (spec.batch,),
        labels=labels,
        class_names=spec.class_names,
        max_detections=spec.max_detections,
        proposals=detector.proposals if spec.needs_nms else None,
        iou_threshold=spec.iou_threshold if spec.needs_nms else None,
    )
    console = SafeConsole()
    doubt = certificate_mismatch(options.model, spec)
    tell(console, f"in the file: {doubt or 'a certificate of this graph'}")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in rows_of(proof.certificate(evidence, against=against, graph_sha256=graph_hash(options.model))):
        table.add_row(name, value)
    console.print(table, markup=False, highlight=False)
    if evidence.passes:
        tell(console, "It says the same.", "green")
    else:
        verdict = "It is ruined" if evidence.is_ruined else "It does NOT say the same"
        tell(console, f"{verdict}: {evidence.shortfall()}", "red")
    return int(not evidence.passes)


def _reference(options: VerifyOptions, spec: DetectorSpec, least_score: float) -> tuple[DetectFunction, str]:
    """The reference that the file is compared with, and its name."""
    against = options.against
    is_name = against is not None and published_model(against) is not None and not is_exported(against)
    if against is None or is_name or Path(against).suffix == ".onnx":
        path = options.model if against is None else model_file(against)
        their_spec = recognise(path)
        # Alone: image by image, also where it could take several.
        detector: DetectFunction = EngineDetector(
            OrtEngine(path, their_spec, device="cpu"), score_threshold=least_score
        )
        renamed = load("export.proof.verify").with_class_names(detector, their_spec.class_names, spec.class_names)
        return renamed, f"{path} on the CPU"
    request = load("export.exportable").ExportRequest(
        name=against,
        num_classes=len(spec.class_names),
        class_names=spec.class_names,
        network_wh=spec.network_wh,
    )
    if Path(against).suffix in _CHECKPOINTS:
        if not spec.model_name or spec.form is None:
            raise ModelError(
                f"{options.model} does not say which network it was exported from, so {against} cannot be loaded; "
                "give --against the name of the network, or another ONNX file"
            )
        request = replace(request, name=spec.model_name, checkpoint=Path(against))
    elif options.adapter is None:
        request = replace(request, num_classes=None, class_names=None)
    exportable = load("export.detectors").build(request, adapter=options.adapter)
    form = spec.form or "boxes"
    torch_path = load("export.exporting").TorchPath
    return torch_path(exportable, score_threshold=least_score, form=form, pixels=spec.pixels), f"PyTorch {against}"
