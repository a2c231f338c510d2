"""Command `build`: an ONNX file → a TensorRT engine that is ready before the first frame comes."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from pipeline.app.model_files import model_file
from pipeline.app.models.options import BuildOptions
from pipeline.app.terminal import SafeConsole, tell
from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.detector.tensorrt import has_engine, input_shapes, tensorrt_folder
from pipeline.errors import ConfigError, ModelError
from pipeline.picture.detector_spec import DetectorSpec


def run_build(options: BuildOptions) -> int:
    """Build the engine that a run with the same model, precision and batch will take, and say where it is kept; 0.

    Raises a StreamdetError for what cannot be built, or not ahead.
    """
    options = replace(options, model=model_file(options.model))
    precision = None if options.precision == "auto" else options.precision
    spec = recognise(options.model)
    frame_wh = _frame_size(options, spec)
    console = SafeConsole(stderr=True)
    began = time.monotonic()
    with console.status(f"{options.model}: TensorRT takes minutes to build an engine", spinner="dots"):
        engine = OrtEngine(options.model, spec, device=options.device, precision=precision, max_batch=options.batch)
        folder = tensorrt_folder(options.model, precision, input_shapes(spec, max_batch=options.batch))
        if frame_wh is None:
            for batch in {1, options.batch} if spec.batch is None else {spec.batch}:
                engine.infer(np.repeat(engine.blank_input()[:1], batch, axis=0))
        else:
            engine.infer(np.zeros((options.batch, frame_wh[1], frame_wh[0], 3), spec.dtype))
    engine.close()
    if folder is None or not has_engine(folder):
        raise ModelError(f"{options.model}: TensorRT can run no part of it, so nothing was kept; run it on cuda")
    tell(console, f"{engine.describe()}: ready after {time.monotonic() - began:.0f} s, kept in {folder}")
    return 0


def _frame_size(options: BuildOptions, spec: DetectorSpec) -> tuple[int, int] | None:
    """The size of the frames of a model that resizes them itself, which its engine is for; None for other models."""
    if spec.pixels == "nv12":
        raise ConfigError(
            f"{options.model} takes a decoder's planes, whose pitch only a run knows: its engine is built at the first "
            "frame; export --form boxes to build ahead, or run it on cuda"
        )
    if spec.resize != "in-graph":
        if options.frame_wh is not None:
            raise ConfigError(f"--frame-size is for models that take frames of any size, {options.model} does not")
        return None
    if options.frame_wh is None:
        raise ConfigError(f"{options.model} takes frames of any size, give the one to come: --frame-size 1920x1080")
    return options.frame_wh
