"""Explained detector: the word for a model → what it detects, and which of its features a detection rests on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.app.config.run import RunConfig
from pipeline.app.explain.options import ExplainOptions
from pipeline.app.extras import load
from pipeline.app.model_files import is_file_or_published
from pipeline.app.opened_detector import LEAST_SCORE, OpenedDetector, open_detector
from pipeline.app.progress import WorkProgress
from pipeline.app.thresholds import suppression_options
from pipeline.detector.detector import DetectFunction
from pipeline.errors import ConfigError
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import PixelArray
from pipeline.picture.letterbox import Letterbox
from pipeline.saliency.target import Target

OnStep = Callable[[int, int], None]


class _Activate(Protocol):
    """`onnx_activation` or `torch_activation`, with its model."""

    def __call__(self, pixels: PixelArray, target: Target, on_step: OnStep) -> Any: ...


@dataclass(frozen=True, slots=True)
class Explained:
    """A detector that is explained. detect: from the run's threshold on; detect_all: from LEAST_SCORE on."""

    spec: DetectorSpec
    detect: DetectFunction
    detect_all: DetectFunction
    activate: _Activate  # by --method

    def heat(self, pixels: PixelArray, target: Target, on_step: OnStep) -> tuple[FloatArray, str]:
        """The heat [H, W] of a layer on a picture, and what it is of. Raises ModelError where there is none."""
        activation = self.activate(pixels, target, on_step)
        size_wh = pixels.shape[1], pixels.shape[0]
        heat: FloatArray = activation.heat(Letterbox.fit(size_wh, self.spec.network_wh, self.spec.resize))
        num_channels, rows, columns = activation.maps.shape
        return heat, f"{num_channels} maps of {columns} × {rows} cells ({activation.layer})"


def open_explained(options: ExplainOptions, config: RunConfig, stack: ExitStack) -> Explained:
    """Open an ONNX file, or build a PyTorch detector that `export` knows by its name.

    Raises a StreamdetError for what cannot be opened or built, and for options that do not fit it.
    """
    if is_pytorch(options):
        return _of_pytorch(options, config)
    for name, value in (("--checkpoint", options.checkpoint), ("--num-classes", options.num_classes)):
        if value is None:
            continue
        raise ConfigError(
            f"{name} is of a PyTorch detector, which --model names as streamdet export does; got {options.model}"
        )
    return _of_file(options, open_detector(config, stack))


def is_pytorch(options: ExplainOptions) -> bool:
    """Whether the model is a name that `export` alone knows: not a file, nor one that is published."""
    if options.model is None or Path(options.model).exists() or is_file_or_published(options.model):
        return False
    return any(options.model in names for names in load("export.known").NAMES.values())


def _of_file(options: ExplainOptions, detector: OpenedDetector) -> Explained:
    def activate(pixels: PixelArray, target: Target, on_step: OnStep) -> Any:
        explain = load("export.activation.onnx_activation").onnx_activation
        box, class_id = target.box_xyxy, target.class_id
        return explain(detector.path, detector.spec, pixels, box, class_id, method=options.method, on_step=on_step)

    return Explained(detector.spec, detector.detect, detector.detect_all, activate)


def _of_pytorch(options: ExplainOptions, config: RunConfig) -> Explained:
    defaults = RunConfig()
    if config.hints != defaults.hints or config.engine.device not in ("auto", "cpu"):
        raise ConfigError(
            f"{options.model} is a PyTorch detector, which runs on the CPU and needs no hints; leave out --device and "
            "what says how to read a file"
        )
    request = load("export.exportable").ExportRequest(
        name=options.model, checkpoint=options.checkpoint, num_classes=options.num_classes
    )
    with WorkProgress().phase(f"building {options.model}"):
        exportable = load("export.detectors").build(request)
    path_of, spec = load("export.exporting").TorchPath, exportable.spec
    threshold = suppression_options(config.detection, spec).lowest_score_threshold
    detect, detect_all = (path_of(exportable, score_threshold=score) for score in (threshold, LEAST_SCORE))

    def activate(pixels: PixelArray, target: Target, on_step: OnStep) -> Any:
        explain = load("export.activation.torch_activation").torch_activation
        activation = explain(exportable, pixels, target.box_xyxy, target.class_id, method=options.method)
        on_step(1, 1)
        return activation

    return Explained(spec, detect, detect_all, activate)
