"""Detector spec: what an ONNX file expects and what its outputs mean, as a value and as JSON in its metadata.

Everything that the runtime must know about a detector stands in its `DetectorSpec`, which export writes
into the file's metadata under `METADATA_KEY` as JSON, so that no such number is asked twice.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelError
from pipeline.picture.boxes import BoxFormat
from pipeline.picture.frame import ColourOrder
from pipeline.picture.letterbox import ResizeMode
from pipeline.picture.suppression import SuppressionOptions

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

METADATA_KEY = "streamdet.detector_spec"
SCHEMA_VERSION = 1
_LARGEST_SIDE = 16384  # of a network's input, in pixels
_LARGEST_MEAN, _SMALLEST_STD, _LARGEST_STD = 65_535, 0.001, 65_535  # of pixels in 0..255 or, rarely, 0..65,535
_LARGEST_CLASS_ID, _LARGEST_BATCH = 1_000_000, 65_536
_MOST_ROIS = 100_000
_NEEDED_COLUMNS = ("x1", "y1", "x2", "y2", "score", "class")
_ORIENTED_COLUMNS = ("cx", "cy", "w", "h", "score", "class")  # and the angle behind them
_MOST_PROBLEMS, _MOST_SHOWN = 3, 60  # in an error, and characters of a value

ROIS_INPUT = "rois"  # the input of a network that judges proposals

Layout = Literal["nchw", "nhwc", "chw", "hwc"]  # the last two take one image without a batch side
InputType = Literal["float32", "float16", "uint8"]
ScoreActivation = Literal["none", "sigmoid", "softmax"]
Form = Literal["body", "boxes", "frame"]
"""body: normalised NCHW → raw outputs; boxes: uint8 NHWC of the network's size → the best K; frame: of any size."""
Pixels = Literal["packed", "nv12"]
"""packed: the colours of a pixel beside each other; nv12: two planes, as `pipeline.picture.nv12` says."""


@dataclass(frozen=True, slots=True)
class ExtraInput:
    """An input beside the image that is the same for every image, such as the size to which boxes shall be scaled."""

    name: str
    dtype: Literal["int32", "int64", "float32"]
    values: tuple[float, ...]  # of one image; the network gets [batch, len(values)]


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
    pad_value: int | tuple[int, int, int] = 114  # one for each channel, in the order of `colour`
    colour: ColourOrder = "rgb"
    pixels: Pixels = "packed"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in the order of `colour`
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    extra_inputs: tuple[ExtraInput, ...] = ()
    num_rois: int = (
        0  # boxes an image that its input `rois` takes, as `pipeline.detector.proposals` says; 0: no such input
    )
    outputs: tuple[str, ...] = ()  # the outputs that the head reads, in its order; (): by the head's own names
    columns: tuple[str, ...] = ()  # of a table of detections: x1, y1, x2, y2 or cx, cy, w, h, score, class, image
    box_format: BoxFormat = "xyxy"
    has_angles: bool = False  # oriented boxes, whose last value is the angle in radians, clockwise on the screen
    boxes_are_normalised: bool = False  # boxes in 0..1 of the network's input instead of pixels
    score_activation: ScoreActivation = "none"  # what the head still has to do to the network's class scores
    first_class_id: int = 0  # what the network calls class_names[0]; smaller ids are background
    anchors: str = field(default="", repr=False)  # see `pack_anchors`
    anchor_variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)  # of cx, cy, w, h
    keypoint_names: tuple[str, ...] = ()
    needs_nms: bool = True
    score_threshold: float = 0.25
    iou_threshold: float = 0.5
    max_detections: int = 300  # in one image, after NMS
    form: Form | None = None  # which face of our own export it is; None: somebody else's
    parity: dict[str, Any] | None = None  # the certificate that export wrote
    model_name: str = ""
    provenance: tuple[str, ...] = field(default=())  # why this spec is believed: one reason an entry

    def __post_init__(self) -> None:
        if min(self.network_wh) < 1:
            raise ModelError(f"network_wh must be at least 1 x 1, got {self.network_wh}")
        if max(self.network_wh) > _LARGEST_SIDE:
            raise ModelError(f"network_wh must be at most {_LARGEST_SIDE} x {_LARGEST_SIDE}, got {self.network_wh}")
        if self.batch is not None and self.batch < 1:
            raise ModelError(f"batch must be at least 1, got {self.batch}")
        if not self.class_names:
            raise ModelError("class_names must name at least one class")
        if 0.0 in self.std:
            raise ModelError(f"std must not be 0, got {self.std}")
        for name in ("mean", "std", "anchor_variances"):
            if not all(map(math.isfinite, getattr(self, name))):
                raise ModelError(f"{name} must be finite, got {getattr(self, name)}")
        if max(map(abs, self.mean)) > _LARGEST_MEAN:
            raise ModelError(f"mean must lie within ±{_LARGEST_MEAN}, as pixels are 0..255, got {self.mean}")
        if not all(_SMALLEST_STD <= abs(value) <= _LARGEST_STD for value in self.std):
            raise ModelError(
                f"std must lie within {_SMALLEST_STD}..{_LARGEST_STD}, in pixels of 0..255, got {self.std}"
            )
        if not 0 <= self.first_class_id <= _LARGEST_CLASS_ID:
            raise ModelError(f"first_class_id must lie within 0..{_LARGEST_CLASS_ID}, got {self.first_class_id}")
        if self.batch is not None and self.batch > _LARGEST_BATCH:
            raise ModelError(f"batch must be at most {_LARGEST_BATCH}, got {self.batch}")
        needed = _ORIENTED_COLUMNS if self.has_angles else _NEEDED_COLUMNS
        if self.columns and not set(needed) <= set(self.columns):
            raise ModelError(f"columns must have {', '.join(needed)}, got {', '.join(self.columns)}")
        for name in ("score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ModelError(f"{name} must lie within [0, 1], got {getattr(self, name)}")
        if not all(0 <= value <= 255 for value in self.pad_values):
            raise ModelError(f"pad_value must lie within 0..255, got {self.pad_value}")
        if not 0 <= self.num_rois <= _MOST_ROIS:
            raise ModelError(f"num_rois must lie within 0..{_MOST_ROIS}, got {self.num_rois}")
        if self.num_rois and (self.layout, self.dtype, self.pixels) != ("nhwc", "uint8", "packed"):
            raise ModelError(
                "a network with rois must take pixels as packed uint8 nhwc, in which they are proposed, "
                f"got {self.pixels} {self.dtype} {self.layout}"
            )
        if self.max_detections < 1:
            raise ModelError(f"max_detections must be at least 1, got {self.max_detections}")

    @property
    def pad_values(self) -> tuple[int, int, int]:
        """The pixel that fills what a letterbox leaves empty, in the order of `colour`."""
        return (self.pad_value,) * 3 if isinstance(self.pad_value, int) else self.pad_value

    @property
    def channels_first(self) -> bool:
        """Whether an image is [3, H, W] to the network, else [H, W, 3]."""
        return self.layout in ("nchw", "chw")

    @property
    def takes_batch(self) -> bool:
        """Whether the network's input has a batch side, else it takes one image without."""
        return self.layout in ("nchw", "nhwc")

    @property
    def suppression(self) -> SuppressionOptions:
        """How its candidates become detections where nobody asks for anything else."""
        return SuppressionOptions(
            iou_threshold=self.iou_threshold,
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
        )

    def extra_feed(self, batch: int) -> dict[str, npt.NDArray[np.generic]]:
        """The values of the extra inputs by name, each [batch, values of one image]."""
        return {extra.name: np.tile(np.array(extra.values, extra.dtype), (batch, 1)) for extra in self.extra_inputs}

    def to_json(self) -> str:
        """The text that goes into the metadata; `from_json` reads it back."""
        return json.dumps({"schema": SCHEMA_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DetectorSpec:
        """Read what `to_json` wrote. Raises ModelError for text of another shape or a newer schema."""
        try:
            values = json.loads(text)
            schema = values.pop("schema")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(
                f"the {METADATA_KEY} metadata must be a spec of ours, got {error!r}; export it again"
            ) from error
        names = {field.name for field in fields(cls)}
        if schema != SCHEMA_VERSION or not values.keys() <= names:
            raise ModelError(
                f"the {METADATA_KEY} metadata has schema {schema} with {sorted(values.keys() - names)}, "
                f"this version reads schema {SCHEMA_VERSION}; update streamdet or export it again"
            )
        from pydantic import ValidationError

        try:
            return _adapter().validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            problems = "; ".join(map(_in_words, error.errors()[:_MOST_PROBLEMS]))
            raise ModelError(f"the {METADATA_KEY} metadata is wrong: {problems}; export it again") from error


@cache
def _adapter() -> TypeAdapter[DetectorSpec]:
    """What checks every field's type and choices; built when it is first needed."""
    from pydantic import TypeAdapter

    return TypeAdapter(DetectorSpec)


def _in_words(problem: ErrorDetails) -> str:
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] in ("missing", "missing_argument"):
        return f"{key} is missing"
    if problem["type"] == "value_error":  # of the spec as a whole
        return str(problem["ctx"]["error"])
    return f"{key} {problem['msg'].replace('Input should be', 'must be')}, got {str(problem['input'])[:_MOST_SHOWN]!r}"


def pack_anchors(anchors_cxcywh: npt.ArrayLike) -> str:
    """Anchors [A, 4], as fractions of the network's width and height, as the text that `DetectorSpec.anchors` holds."""
    return base64.b64encode(np.ascontiguousarray(anchors_cxcywh, "<f4").tobytes()).decode("ascii")


def unpack_anchors(text: str) -> npt.NDArray[np.float32]:
    """The anchors [A, 4] that `pack_anchors` packed."""
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, 4)
