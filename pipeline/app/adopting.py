"""How does a foreign file come to say what it is?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console

from pipeline.detector.heads.claims import Hints
from pipeline.detector.onnx_file import copy_with_metadata
from pipeline.detector.recognise import recognise
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import METADATA_KEY


def adopt_model(model: Path, output: Path, hints: Hints) -> None:
    """Write a copy with the spec in its metadata. Raises ModelError for a file that is not recognised."""
    spec = recognise(model, hints)
    if spec.form is not None:
        raise ModelError(f"{model} was exported by streamdet and says what it is already")
    if output.exists() and output.samefile(model):
        raise ModelError(f"--output must be another file than MODEL, got {output}; the original is not touched")
    # A certificate is about a graph and how it is read; said anew, it has to be shown anew.
    copy_with_metadata(model, output, {METADATA_KEY: dataclasses.replace(spec, parity=None).to_json()})
    Console().print(
        f"{output}: {spec.head}, {spec.network_wh[0]} × {spec.network_wh[1]}, {len(spec.class_names)} classes",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
