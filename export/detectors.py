"""Which PyTorch detectors can be exported by name?"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Protocol

from export.exportable import Exportable, ExportRequest
from export.families import effdet_detectors, torchvision_detectors, transformers_detectors, yolox_detectors
from export.families.adapter import build_own
from export.known import NAMES
from pipeline.errors import ModelError


class Family(Protocol):
    """A library's detectors: a module of this package."""

    def build(self, wanted: ExportRequest) -> Exportable:
        """The detector of that name."""


_FAMILIES: dict[str, Family] = {
    "torchvision": torchvision_detectors,
    "transformers": transformers_detectors,
    "effdet": effdet_detectors,
    "yolox": yolox_detectors,
}


def build(wanted: ExportRequest, *, adapter: str | None = None) -> Exportable:
    """The detector of a name, a hub id, a folder, or `package.module:function` with an adapter.

    Raises ModelError for what is not known or does not fit, and MissingExtraError for a library that is not installed.
    """
    if adapter is not None or (":" in wanted.name and "/" not in wanted.name):
        return build_own(wanted, adapter)
    for library, names in NAMES.items():
        if wanted.name in names:
            return _FAMILIES[library].build(wanted)
    if transformers_detectors.accepts(wanted.name):
        return transformers_detectors.build(wanted)
    raise ModelError(_refusal(wanted.name))


def _refusal(name: str) -> str:
    if Path(name).suffix == ".onnx":
        return f"{name} is an ONNX file already: streamdet inspect says what is in it, streamdet adopt what is missing"
    if "yolo" in name.lower() and Path(name).suffix in (".pt", ".pth", ""):
        return (
            f"{name}: checkpoints of Ultralytics are exported by their own (AGPL) package: yolo export model={name} "
            "format=onnx; the file is then recognised, verified and run here"
        )
    if Path(name).suffix in (".pt", ".pth", ".safetensors"):
        return f"MODEL must name the network, and {name} be its weights: streamdet export NAME --checkpoint {name}"
    every = [each for names in NAMES.values() for each in names]
    near = difflib.get_close_matches(name, every, n=1, cutoff=0.5)
    return (
        f"MODEL must be one of the names of `streamdet export --list`, a hub id of transformers such as "
        f"PekingU/rtdetr_r18vd, or package.module:function with --adapter, got {name!r}"
        + (f"; did you mean {near[0]}?" if near else "")
    )
