"""Detectors: a name or an own module → the `Exportable` of its family."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Protocol

from export.adapter import build_own
from export.exportable import Exportable, ExportRequest
from export.families import effdet_detectors, torchvision_detectors, transformers_detectors, yolox_detectors
from export.known import NAMES
from pipeline.errors import ModelError


class Family(Protocol):
    """A library's detectors: a module of `export.families`."""

    def build(self, request: ExportRequest) -> Exportable:
        """The detector of a request, in eval mode."""


_FAMILIES: dict[str, Family] = {
    "torchvision": torchvision_detectors,
    "transformers": transformers_detectors,
    "effdet": effdet_detectors,
    "yolox": yolox_detectors,
}


def build(request: ExportRequest, *, adapter: str | None = None) -> Exportable:
    """The detector of a name, a hub id, a folder, or `package.module:function` with an adapter.

    Raises ModelError for a name that no family has and for options that do not fit, MissingExtraError for a library
    that is not installed.
    """
    if adapter is not None or (":" in request.name and "/" not in request.name):
        return build_own(request, adapter)
    for library, names in NAMES.items():
        if request.name in names:
            return _FAMILIES[library].build(request)
    if transformers_detectors.accepts(request.name):
        return transformers_detectors.build(request)
    raise ModelError(_refusal(request.name))


def _refusal(name: str) -> str:
    if Path(name).suffix == ".onnx":
        return (
            f"{name} is an ONNX file already: streamdet inspect says what it expects and returns, streamdet adopt "
            "writes that into it"
        )
    if "yolo" in name.lower() and Path(name).suffix in (".pt", ".pth", ""):
        return (
            f"{name}: checkpoints of Ultralytics are exported by their own (AGPL) package: yolo export model={name} "
            "format=onnx; streamdet recognises, verifies and runs the resulting file"
        )
    if Path(name).suffix in (".pt", ".pth", ".safetensors"):
        return f"MODEL must name the network, {name} holds only weights: streamdet export NAME --checkpoint {name}"
    all_names = [name for names in NAMES.values() for name in names]
    matches = difflib.get_close_matches(name, all_names, n=1, cutoff=0.5)
    return (
        f"MODEL must be one of the names of `streamdet export --list`, a hub id of transformers such as "
        f"PekingU/rtdetr_r18vd, or package.module:function with --adapter, got {name!r}"
        + (f"; did you mean {matches[0]}?" if matches else "")
    )
