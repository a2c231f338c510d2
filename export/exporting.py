"""Export: an `Exportable` → a self-describing ONNX file with the same detections, and the evidence of that."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from export.exportable import Exportable
from export.graph.forms import FitFrame, FitNv12, module_for
from export.graph.to_onnx import OPSET, to_onnx, write_model
from export.proof.images import ProofImage, as_decoded
from export.proof.verify import ASKED_SHARE, Evidence, OnImage, certificate, gather_evidence, no_report
from export.weights.loading import weights_hash
from pipeline.accuracy.truth import LabelledData
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads import HEADS
from pipeline.detector.onnx_file import copy_with_metadata, graph_hash
from pipeline.detector.postprocess import Postprocess
from pipeline.detector.proposals import propose
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import METADATA_KEY, ROIS_INPUT, DetectorSpec, Form, Pixels
from pipeline.picture.frame import Picture
from pipeline.picture.nv12 import BT601, NV12_INPUTS, Nv12, PlaneBatch, inputs_of, nv12_of, yuv_to_bgr
from pipeline.picture.parity import FP16_BAR, FP32_BAR, Bar

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported file, its spec and its evidence."""

    path: Path
    spec: DetectorSpec
    evidence: Evidence
    num_nodes: int
    export_seconds: float
    proof_seconds: float


def export_detector(
    exportable: Exportable,
    path: Path,
    *,
    images: Sequence[ProofImage],
    form: Form = "boxes",
    pixels: Pixels = "packed",
    half: bool = False,
    opset: int = OPSET,
    force: bool = False,
    labels: LabelledData | None = None,
    batch_sizes: Sequence[int] = (1, 2, 3, 4),
    on_image: OnImage = no_report,
) -> Exported:
    """Write a detector into one self-describing file and compare it with PyTorch on these images.

    Raises ModelError for a detector that cannot be exported, and for a file that does not meet its bar; `force` writes
    that file all the same, marked. on_image: see `gather_evidence`.
    """
    started = time.monotonic()
    module, spec, names = module_for(exportable, form, half=half, pixels=pixels)
    if pixels == "nv12":
        images = as_decoded(images)
    model = to_onnx(
        module,
        _example(spec),
        input_name=_input_names(spec),
        output_names=names,
        opset=opset,
        any_size=form == "frame" or pixels == "nv12",
    )
    with tempfile.TemporaryDirectory(prefix="streamdet-export-") as folder:
        plain = Path(folder) / path.name
        write_model(model, plain)
        seconds = time.monotonic() - started
        evidence = _evidence_of(
            plain,
            spec,
            exportable,
            images,
            bar=FP16_BAR if half else FP32_BAR,
            batch_sizes=batch_sizes,
            labels=labels,
            on_image=on_image,
        )
        if not evidence.passes and not force:
            raise ModelError(
                f"{path} was not written: ONNX Runtime must detect what PyTorch detects, but {evidence.shortfall()}; "
                "--force writes it anyway and marks it"
            )
        parity = certificate(
            evidence,
            against=f"PyTorch {spec.model_name}",
            graph_sha256=graph_hash(plain),
            weights_sha256=weights_hash(exportable.body),
            is_forced=not evidence.passes,
        )
        described = dataclasses.replace(spec, parity=parity)
        _write_described(plain, path, described)
    return Exported(path, described, evidence, len(model.graph.node), seconds, time.monotonic() - started - seconds)


def _evidence_of(
    plain: Path,
    spec: DetectorSpec,
    exportable: Exportable,
    images: Sequence[ProofImage],
    *,
    bar: Bar,
    batch_sizes: Sequence[int],
    labels: LabelledData | None,
    on_image: OnImage,
) -> Evidence:
    """The comparison of a file, which is read by this spec, with PyTorch."""
    assert spec.form is not None  # it is our own file
    least_score = bar.score_from * ASKED_SHARE
    engine = OrtEngine(plain, spec, device="cpu", spin_microseconds=0)
    detector = EngineDetector(engine, score_threshold=least_score)
    return gather_evidence(
        detector,
        TorchPath(exportable, score_threshold=least_score, form=spec.form, pixels=spec.pixels),
        images,
        bar=bar,
        batch_sizes=batch_sizes,
        labels=labels,
        class_names=spec.class_names,
        max_detections=exportable.spec.max_detections,
        proposals=detector.proposals if spec.needs_nms else None,
        iou_threshold=spec.iou_threshold if exportable.spec.needs_nms else exportable.inner_iou_threshold,
        on_image=on_image,
    )


def _write_described(plain: Path, path: Path, spec: DetectorSpec) -> None:
    """Write a file once more with its spec inside; weights beside it move along."""
    side_file = plain.with_name(f"{plain.name}.data")
    if side_file.exists():
        shutil.move(side_file, path.with_name(side_file.name))  # across disks if need be
    copy_with_metadata(plain, path, {METADATA_KEY: spec.to_json()})


class TorchPath:
    """The PyTorch detector from pictures to detections in source pixels: the reference of a file."""

    def __init__(
        self, exportable: Exportable, *, score_threshold: float, form: Form = "boxes", pixels: Pixels = "packed"
    ) -> None:
        self._exportable = exportable
        # In these forms resizing, and reading the planes, is a part of the detector.
        self._fit = FitFrame(exportable.spec) if form == "frame" and pixels == "packed" else None
        self._fit_planes = FitNv12(exportable.spec) if pixels == "nv12" else None
        self._score_threshold = score_threshold
        self._writer = TensorWriter(exportable.spec)
        # Suppressing the reference's detections a second time changes nothing.
        self._postprocess = Postprocess(
            exportable.spec, dataclasses.replace(exportable.spec.suppression, score_threshold=score_threshold)
        )

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """The detections in each picture, run one by one."""
        return [self._detect(picture) for picture in pictures]

    def _detect(self, picture: Picture) -> Detections:
        letterbox, tensor = self._writer.tensor_of(picture)
        fitted = None
        if self._fit_planes is not None:
            fitted = self._fit_planes(*_tensors(nv12_of(picture)))[0].to(torch.uint8)
        elif self._fit is not None:
            fitted = self._fit(torch.from_numpy(np.array(picture.pixels))[None])[0].to(torch.uint8)
        if fitted is not None:
            tensor = (fitted.flip(3) if self._exportable.spec.colour == "rgb" else fitted).numpy()
        with torch.inference_mode():
            if self._exportable.reference is not None:
                (candidates,) = self._exportable.reference(torch.from_numpy(tensor))
                candidates = candidates.select(candidates.scores >= np.float32(self._score_threshold))
            else:
                module, spec, names = module_for(self._exportable, "boxes", half=False)
                inputs = [tensor, propose(tensor, letterbox, spec)] if spec.num_rois else [tensor]
                outputs = dict(
                    zip(names, (output.numpy() for output in module(*map(torch.from_numpy, inputs))), strict=True)
                )
                candidates = HEADS["boxes"](outputs, spec, score_threshold=self._score_threshold, batch_index=0)
        return self._postprocess(candidates, letterbox)


def _input_names(spec: DetectorSpec) -> tuple[str, ...]:
    if spec.pixels == "nv12":
        return NV12_INPUTS
    return (spec.input_name, ROIS_INPUT) if spec.num_rois else (spec.input_name,)


def _tensors(planes: Nv12) -> tuple[torch.Tensor, ...]:
    inputs = inputs_of([planes]).values()
    return tuple(torch.from_numpy(np.array(v.gathered() if isinstance(v, PlaneBatch) else v)) for v in inputs)


def _example(spec: DetectorSpec) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """An input of two images, because the exporter takes a batch of one for a constant."""
    width, height = spec.network_wh
    if spec.pixels == "nv12":
        y, uv = (torch.zeros(2, rows, width + 96, dtype=torch.uint8) for rows in (height + 32, height // 2 + 16))
        colours = torch.tensor(yuv_to_bgr(BT601, full_range=False))
        return y, uv, torch.tensor([width + 64.0, height + 32.0]), colours
    if spec.form == "body":
        return torch.zeros(2, 3, height, width)
    if spec.num_rois:
        return torch.zeros(2, height, width, 3, dtype=torch.uint8), torch.zeros(2, spec.num_rois, 4)
    if spec.form == "frame":
        return torch.zeros(2, height + 32, width + 64, 3, dtype=torch.uint8)
    return torch.zeros(2, height, width, 3, dtype=torch.uint8)
