"""What does an ONNX file expect, and what do its outputs mean?

Everything that the runtime must know about a detector stands in its `DetectorSpec`, which export writes
into the file's metadata under `METADATA_KEY` as JSON, so that no such number is asked twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from pipeline.errors import ModelError
from pipeline.picture.frame import ColourOrder
from pipeline.picture.letterbox import ResizeMode

METADATA_KEY = "streamdet.detector_spec"
SCHEMA_VERSION = 1

Layout = Literal["nchw", "nhwc"]
InputType = Literal["float32", "float16", "uint8"]


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """All that an ONNX detector expects and returns.

    A uint8 input takes pixels as they are; a float input takes (pixel - mean) / std, with pixels in 0..255.
    Raises ModelError for values that cannot be.
    """

    input_name: str
    network_wh: tuple[int, int]
    head: str  # the output convention, a name in pipeline.detector.heads
    class_names: tuple[str, ...]
    layout: Layout = "nchw"
    dtype: InputType = "float32"
    batch: int | None = 1  # None: any
    resize: ResizeMode = "letterbox-center"
    pad_value: int = 114
    colour: ColourOrder = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in the order of `colour`
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    box_format: Literal["xyxy", "cxcywh"] = "xyxy"
    boxes_are_normalised: bool = False  # boxes in 0..1 of the network's input instead of pixels
    needs_nms: bool = True
    score_threshold: float = 0.25
    iou_threshold: float = 0.5
    parity: dict[str, Any] | None = None  # the certificate that export wrote
    model_name: str = ""
    provenance: tuple[str, ...] = field(default=())  # why this spec is believed: one reason an entry

    def __post_init__(self) -> None:
        if min(self.network_wh) < 1:
            raise ModelError(f"network_wh must be at least 1 x 1, got {self.network_wh}")
        if not self.class_names:
            raise ModelError("class_names must name at least one class")
        if 0.0 in self.std:
            raise ModelError(f"std must not be 0, got {self.std}")
        for name in ("score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ModelError(f"{name} must lie within [0, 1], got {getattr(self, name)}")
        if not 0 <= self.pad_value <= 255:
            raise ModelError(f"pad_value must lie within 0..255, got {self.pad_value}")

    def to_json(self) -> str:
        """The text that goes into the metadata; `from_json` reads it back."""
        return json.dumps({"schema": SCHEMA_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DetectorSpec:
        """Read what `to_json` wrote. Raises ModelError for text of another shape or a newer schema."""
        try:
            values = json.loads(text)
            schema = values.pop("schema")
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ModelError(f"the {METADATA_KEY} metadata is no spec of ours: {error!r}; export it again") from error
        known = {each.name for each in fields(cls)}
        if schema != SCHEMA_VERSION or not values.keys() <= known:
            raise ModelError(
                f"the {METADATA_KEY} metadata has schema {schema} with {sorted(values.keys() - known)}, "
                f"this version reads schema {SCHEMA_VERSION}; update streamdet or export it again"
            )
        for name in ("network_wh", "class_names", "mean", "std", "provenance"):
            if name in values:
                values[name] = tuple(values[name])
        try:
            return cls(**values)
        except TypeError as error:
            raise ModelError(f"the {METADATA_KEY} metadata is incomplete: {error}; export it again") from error
