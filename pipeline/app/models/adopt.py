"""Command `adopt`: a foreign ONNX file and hints → a copy whose metadata says what it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline.app.model_files import model_file
from pipeline.app.model_hints import hints_of, recognised
from pipeline.app.models.options import AdoptOptions
from pipeline.app.output_paths import files_of_model, refuse_overwriting
from pipeline.app.terminal import SafeConsole, tell
from pipeline.detector.onnx_file import copy_with_metadata
from pipeline.detector.recognise import assumptions_of
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import METADATA_KEY
from pipeline.sinks.writable import refuse_unwritable


def run_adopt(options: AdoptOptions) -> int:
    """Write a copy with the spec in its metadata; 0. Raises ModelError for a file that is not recognised."""
    model, output, section = model_file(options.model), options.output, options.config.load().hints
    hints = hints_of(section)
    spec = recognised(model, hints)
    if spec.form is not None:
        raise ModelError(f"{model} was exported by streamdet and says what it is already")
    if output.exists() and output.samefile(model):
        raise ModelError(f"--output must be another file than MODEL, got {output}; the original is not touched")
    inputs = {
        "the model": files_of_model(model),
        "the file of anchors": [] if hints.anchors is None else [hints.anchors],
        "the file of class names": [] if section.class_names is None else [Path(section.class_names)],
    }
    refuse_overwriting([("--output", output)], inputs, overwrite=options.overwrite)
    refuse_unwritable(output, "the copy")
    # A certificate is about a graph and how it is read; read in another way, it needs another proof.
    copy_with_metadata(model, output, {METADATA_KEY: dataclasses.replace(spec, parity=None).to_json()})
    console, (width, height) = SafeConsole(), spec.network_wh
    tell(console, f"{output}: {spec.head}, {width} × {height}, {len(spec.class_names)} classes")
    for assumption in assumptions_of(spec):
        tell(console, f"    {assumption}")
    return 0
