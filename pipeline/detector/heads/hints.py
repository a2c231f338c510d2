"""Hints: a user's words about a foreign file → the spec of a reading with them in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.picture.boxes import BoxFormat
from pipeline.picture.detector_spec import DetectorSpec, ScoreActivation
from pipeline.picture.frame import ColourOrder
from pipeline.picture.letterbox import ResizeMode

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "head": "--head",
        "colour": "--colour",
        "resize": "--resize",
        "mean": "--mean",
        "std": "--std",
        "pad_value": "--pad-value",
        "score_activation": "--scores",
        "box_format": "--box-format",
        "columns": "--columns",
        "first_class_id": "--first-class-id",
        "boxes_are_normalised": "--normalised-boxes|--pixel-boxes",
        "network_wh": "--size",
        "iou_threshold": "--iou-threshold",
        "class_names": "--class-names",
        "anchors": "--anchors",
    }
)
"""A field of `Hints` → the flag that sets it; one for each value of a boolean."""
_ASSUMED = {
    "class_names": "class names",
    "resize": "resizing",
    "first_class_id": "class ids",
}  # settled by a hint
_FOR_THE_READING = frozenset(("head", "columns", "anchors", "network_wh", "class_names"))


@dataclass(frozen=True, slots=True)
class Hints:
    """A user's words about a foreign file; None leaves a field to recognition, over which every other value wins."""

    head: str | None = None
    network_wh: tuple[int, int] | None = None
    resize: ResizeMode | None = None
    colour: ColourOrder | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    pad_value: int | None = None
    box_format: BoxFormat | None = None
    boxes_are_normalised: bool | None = None
    score_activation: ScoreActivation | None = None
    first_class_id: int | None = None
    iou_threshold: float | None = None
    class_names: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None  # of a table
    anchors: Path | None = None

    def applied_to(self, spec: DetectorSpec) -> DetectorSpec:
        """The spec of a reading with the hints in it, and the reason that the user set them.

        Head, columns, anchors, size and class names are in it already: `spec_for` makes a reading with them.
        """
        return self._set(spec, [field.name for field in dataclasses.fields(self) if field.name not in _FOR_THE_READING])

    def applied_to_own(self, spec: DetectorSpec) -> DetectorSpec:
        """The spec from our own metadata with the hints in it, size and class names as well, and the reason."""
        return self.applied_to(self._set(spec, ("network_wh", "class_names")))

    def _set(self, spec: DetectorSpec, names: Collection[str]) -> DetectorSpec:
        values: dict[str, Any] = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        reasons = tuple(f"{_in_words(name, value)}: set by {_flag(name, value)}" for name, value in values.items())
        settled = tuple(f"{_ASSUMED[name]} assumed" for name in values if name in _ASSUMED)
        kept = tuple(reason for reason in spec.provenance if not settled or not reason.startswith(settled))
        return dataclasses.replace(spec, **values, provenance=kept + reasons)


def size_in_words(network_wh: tuple[int, int]) -> str:
    """640 x 480."""
    return "{} x {}".format(*network_wh)


def _in_words(name: str, value: Any) -> str:
    if name == "network_wh":
        return size_in_words(value)
    return f"{len(value)} class names" if name == "class_names" else f"{name} {value}"


def _flag(name: str, value: Any) -> str:
    flags = FLAGS[name].split("|")
    return flags[-1] if value is False else flags[0]
