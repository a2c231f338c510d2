"""Hints: a user's words about a foreign file → the spec of a reading with them in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.errors import ModelError
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.detector_spec import DetectorSpec, ScoreActivation
from pipeline.picture.frame import ColourOrder
from pipeline.picture.letterbox import ResizeMode

_ASSUMED = {
    "class_names": "class names",
    "resize": "resizing",
    "first_class_id": "class ids",
}  # settled by a hint
_FOR_THE_READING = frozenset(("head", "columns", "anchors", "network_wh", "class_names", "origins"))
_YOLO_AND_GRIDS = frozenset(("yolov5", "yolov8", "yolox", "fastestdet", "nanodet", "nanodet_plus", "picodet"))
_OF_NO_USE_TO: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "box_format": frozenset(("boxes",)),  # whose boxes are xyxy in network pixels by definition
        "boxes_are_normalised": frozenset(("boxes", "ssd_raw")),
        "score_activation": _YOLO_AND_GRIDS | {"boxes", "lists", "table"},
        "first_class_id": _YOLO_AND_GRIDS | {"boxes"},
    }
)
"""A field of `Hints` → the heads that take no notice of it; every other head does."""


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
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)  # of values not the user's

    def over(self, lower: Hints, *, origin: str) -> Hints:
        """These hints, and others where they say nothing. origin: in words, why the others hold."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "origins"]
        taken: dict[str, Any] = {name: getattr(lower, name) for name in names if getattr(self, name) is None}
        taken = {name: value for name, value in taken.items() if value is not None}
        return dataclasses.replace(self, **taken, origins={**self.origins, **dict.fromkeys(taken, origin)})

    def reason_for(self, name: str) -> str:
        """In words, why a field that is not None has its value."""
        return self.origins.get(name) or f"set by {_flag(name, getattr(self, name))}"

    def applied_to(self, spec: DetectorSpec) -> DetectorSpec:
        """The spec of a reading with the hints in it, and the reason that the user set them.

        Head, columns, anchors, size and class names are in it already: `spec_for` makes a reading with them.
        Raises ModelError for values that cannot be.
        """
        return self._set(spec, [field.name for field in dataclasses.fields(self) if field.name not in _FOR_THE_READING])

    def applied_to_own(self, spec: DetectorSpec) -> DetectorSpec:
        """The spec from our own metadata with the hints in it, size and class names as well, and the reason."""
        return self.applied_to(self._set(spec, ("network_wh", "class_names")))

    def refuse_useless(self, head: str) -> None:
        """Raise ModelError, which names the flag, for a hint of which a head takes no notice."""
        for name, heads in _OF_NO_USE_TO.items():
            value = getattr(self, name)
            if value is not None and head in heads and name not in self.origins:
                raise ModelError(f"{_flag(name, value)} cannot be heeded: it says nothing to head {head}; leave it out")

    def _set(self, spec: DetectorSpec, names: Collection[str]) -> DetectorSpec:
        hinted = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        reasons = tuple(f"{_in_words(name, value)}: {self.reason_for(name)}" for name, value in hinted.items())
        settled = tuple(f"{_ASSUMED[name]} assumed" for name in hinted if name in _ASSUMED)
        kept = tuple(reason for reason in spec.provenance if not settled or not reason.startswith(settled))
        return dataclasses.replace(spec, **hinted, provenance=kept + reasons)


_OTHER_FLAGS = {
    "network_wh": "--size",
    "score_activation": "--scores",
    "boxes_are_normalised": "--normalised-boxes|--pixel-boxes",
}
FLAGS: Mapping[str, str] = MappingProxyType(
    {
        field.name: _OTHER_FLAGS.get(field.name, f"--{field.name.replace('_', '-')}")
        for field in dataclasses.fields(Hints)
        if field.name != "origins"
    }
)
"""A field of `Hints` → the flag that sets it; one for each value of a boolean."""


def size_in_words(network_wh: tuple[int, int]) -> str:
    """640 x 480."""
    return "{} x {}".format(*network_wh)


def _in_words(name: str, value: object) -> str:
    match name, value:
        case "network_wh", (int(width), int(height)):
            return size_in_words((width, height))
        case "class_names", tuple():
            return f"{len(value)} class names"
    return f"{name} {value}"


def _flag(name: str, value: object) -> str:
    flags = FLAGS[name].split("|")
    return flags[-1] if value is False else flags[0]
