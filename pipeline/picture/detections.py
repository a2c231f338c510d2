"""Detections: the objects in one frame, with the frame as a result, and drawn on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import MissingExtraError
from pipeline.picture.boxes import FloatArray as FloatArray
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.counting.counts import Counts
from pipeline.picture.counting.event import Event
from pipeline.picture.crops import crops_of
from pipeline.picture.detection_rows import COLUMN_TYPES, DetectionRow, round_time, storable
from pipeline.picture.display import show_until_key
from pipeline.picture.drawing import draw_result, drawable
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.i420 import I420
from pipeline.picture.image_file import write_image
from pipeline.picture.look import PLAIN, Look
from pipeline.picture.masks import Masks
from pipeline.picture.notebook import html_of, in_notebook, jpeg_of, show_in_cell
from pipeline.picture.quadrilaterals import quadrilateral_iou

if TYPE_CHECKING:
    import pandas
    import supervision

IntArray = npt.NDArray[np.int64]


class Attribute(NamedTuple):
    """What a second model says of an object, with its score in 0..1."""

    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects found in one frame, in source pixels; all arrays have the same length N, which may be 0.

    Raises ValueError for unequal lengths, other dtypes, scores outside [0, 1], or NaN.

    >>> boxes = np.array([[0, 0, 10, 10], [5, 5, 20, 30]], np.float32)
    >>> detections = Detections(boxes, np.array([0.9, 0.3], np.float32), np.array([2, 0]))
    >>> detections.select(detections.scores >= 0.5).class_ids.tolist()
    [2]
    """

    boxes_xyxy: FloatArray  # [N, 4], x right, y down
    scores: FloatArray  # [N], in [0, 1]
    class_ids: IntArray  # [N], index into DetectorSpec.class_names
    masks: Masks | None = None  # [N, H, W] as `np.asarray` makes it; `Masks.of` takes such an array
    keypoints: FloatArray | None = None  # [N, points, 3]: x, y, score
    track_ids: IntArray | None = None  # [N]; -1: of no confirmed track
    corners: FloatArray | None = None  # [N, 4, 2]: x, y, of oriented boxes, whose bounds in the picture the boxes are
    attributes: tuple[tuple[Attribute, ...], ...] | None = None  # [N], of a second model, the best of each first
    carried: npt.NDArray[np.bool_] | None = None  # [N], those of an earlier frame; None: all are of this one

    def __post_init__(self) -> None:
        num = len(self.scores)
        if self.boxes_xyxy.shape != (num, 4) or self.scores.shape != (num,) or self.class_ids.shape != (num,):
            raise ValueError(
                "boxes_xyxy, scores and class_ids must be [N, 4], [N] and [N], got "
                f"{list(self.boxes_xyxy.shape)}, {list(self.scores.shape)} and {list(self.class_ids.shape)}"
            )
        if self.boxes_xyxy.dtype != np.float32 or self.scores.dtype != np.float32 or self.class_ids.dtype != np.int64:
            raise ValueError(
                "boxes_xyxy, scores and class_ids must be float32, float32 and int64, got "
                f"{self.boxes_xyxy.dtype}, {self.scores.dtype} and {self.class_ids.dtype}"
            )
        if self.masks is not None and not isinstance(self.masks, Masks):
            raise ValueError(f"masks must be Masks, of an array with Masks.of, got {type(self.masks).__name__}")
        for name in ("masks", "keypoints", "track_ids", "corners", "attributes", "carried"):
            array = getattr(self, name)
            if array is not None and len(array) != num:
                raise ValueError(f"{name} must have one entry for each of the {num} boxes, got {len(array)}")
        if self.corners is not None and not (self.corners.shape == (num, 4, 2) and np.isfinite(self.corners).all()):
            raise ValueError(f"corners must be finite and [{num}, 4, 2], got {list(self.corners.shape)}")
        if num and not (np.isfinite(self.boxes_xyxy).all() and self.scores.min() >= 0 and self.scores.max() <= 1):
            raise ValueError("boxes must be finite and scores within [0, 1]")

    @classmethod
    def empty(cls) -> Detections:
        """No detections: N = 0."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, chosen: npt.NDArray[np.bool_] | IntArray) -> Detections:
        """The detections that a mask [N] or an index array picks, in that order."""
        return Detections(
            self.boxes_xyxy[chosen],
            self.scores[chosen],
            self.class_ids[chosen],
            None if self.masks is None else self.masks.select(chosen),
            None if self.keypoints is None else self.keypoints[chosen],
            None if self.track_ids is None else self.track_ids[chosen],
            None if self.corners is None else self.corners[chosen],
            None if self.attributes is None else self._attributes_of(chosen),
            None if self.carried is None else self.carried[chosen],
        )

    def overlaps(self, other: Detections) -> FloatArray:
        """IoU [N, M] with others [M], of the corners of oriented boxes where both sides have them."""
        if self.corners is None or other.corners is None:
            return intersection_over_union(self.boxes_xyxy, other.boxes_xyxy)
        return quadrilateral_iou(self.corners, other.corners)

    def _attributes_of(self, chosen: npt.NDArray[np.bool_] | IntArray) -> tuple[tuple[Attribute, ...], ...]:
        attributes = self.attributes or ()
        return tuple(attributes[index] for index in np.arange(len(self))[chosen].tolist())

    def to_supervision(self, class_names: tuple[str, ...] = ()) -> supervision.Detections:
        """The same detections as `supervision.Detections`, class names under `data["class_name"]`.

        The corners of oriented boxes are under `data["xyxyxyxy"]`, where supervision's annotators look for them.
        Raises MissingExtraError if supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingExtraError("to_supervision() needs supervision: pip install supervision") from error
        data: dict[str, npt.NDArray[np.generic] | list[object]] = {}
        if class_names:
            data["class_name"] = np.array(
                [_name_of(index, class_names) for index in self.class_ids.tolist()], dtype=str
            )
        if self.corners is not None:
            data["xyxyxyxy"] = self.corners
        return supervision.Detections(
            xyxy=self.boxes_xyxy,
            confidence=self.scores,
            class_id=self.class_ids,
            mask=None if self.masks is None else np.asarray(self.masks, np.bool_),
            tracker_id=self.track_ids,
            data=data,
        )


class TrackedCentres(NamedTuple):
    """Where the objects with a track were in one frame."""

    pts_seconds: float
    track_ids: IntArray  # [K]
    centres_xy: FloatArray  # [K, 2], in source pixels


@dataclass(frozen=True, slots=True)
class Tracks:
    """What a tracker knows beside the detections of a frame, whose `track_ids` are its ids."""

    predicted: Detections  # where objects are supposed to be that were lost a moment ago; the scores are their last
    trail: tuple[TrackedCentres, ...] = ()  # of the last seconds, this frame at the end


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """A frame and the detections in it. Printed, it says in one line what was found; a notebook shows the picture."""

    frame: Frame
    detections: Detections
    class_names: tuple[str, ...]
    tracks: Tracks | None = None  # None: nothing is tracked
    events: tuple[Event, ...] = ()  # at lines and in zones, that this frame shows, the earliest first
    counting: Counts | None = None  # of lines and zones, up to this frame; None: there are none
    is_carried: bool = False  # no network looked at the frame, which carries on those of others

    def class_name(self, class_id: int) -> str:
        """The name of a class, or `class 7` where the model has none for it."""
        return _name_of(class_id, self.class_names)

    def rows(self) -> Iterator[DetectionRow]:
        """One flat row a detection, in their order, as CSV, Parquet and `to_pandas` have them."""
        frame, detections = self.frame, self.detections
        track_ids = [None] * len(detections) if detections.track_ids is None else _named(detections.track_ids)
        pts = round_time(frame.pts_seconds)
        attributes = detections.attributes or ((),) * len(detections)
        best = [chosen[0] if chosen else (None, None) for chosen in attributes]
        carried = [False] * len(detections) if detections.carried is None else detections.carried.tolist()
        columns = (
            *(detections.boxes_xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist()),
            *(track_ids, best, carried),
        )
        for box, score, class_id, track_id, (attribute, attribute_score), is_carried in zip(*columns, strict=True):
            of_frame = (frame.source_id, frame.image, frame.index, pts)
            x1, y1, x2, y2 = (round(side, 2) for side in box)
            of_class = (class_id, self.class_name(class_id), round(score, 4))
            yield DetectionRow(
                *of_frame, *of_class, x1, y1, x2, y2, track_id, attribute, attribute_score, is_carried or None
            )

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a DataFrame with the columns and types of the Parquet table; no detections, no rows.

        Raises MissingExtraError if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError('to_pandas() needs pandas: pip install "streamdet[tables]"') from error
        table = pandas.DataFrame(list(map(storable, self.rows())), columns=list(COLUMN_TYPES))
        return table.astype({name: kind.pandas for name, kind in COLUMN_TYPES.items()})

    def to_supervision(self) -> supervision.Detections:
        """The detections as `supervision.Detections`, class names under `data["class_name"]`.

        Raises MissingExtraError if supervision is not installed.
        """
        return self.detections.to_supervision(self.class_names)

    def counts(self) -> dict[str, int]:
        """How many detections there are of each class, by its name; the most frequent class first."""
        class_ids, nums = np.unique(self.detections.class_ids, return_counts=True)
        counts: dict[str, int] = {}
        for class_id, num in zip(class_ids.tolist(), nums.tolist(), strict=True):  # some files have a name twice
            counts[self.class_name(class_id)] = counts.get(self.class_name(class_id), 0) + num
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def plot(self, *, labels: bool = True, scores: bool = True, look: Look = PLAIN) -> PixelArray:
        """The picture with its detections drawn on it: a new array uint8 [H, W, 3] BGR."""
        canvas = self.frame.picture.copy_pixels()
        draw_result(canvas, self, labels=labels, scores=scores, look=look)
        return canvas

    def crops(self) -> list[PixelArray]:
        """The part of the picture in each box: new arrays uint8 [h, w, 3] BGR, as many as there are detections.

        Every pixel that a box touches, clipped to the picture; a box without any there is the pixel nearest to it.
        """
        return crops_of(self.frame.pixels, self.detections.boxes_xyxy)

    def save(self, path: str | PathLike[str], *, labels: bool = True, scores: bool = True, look: Look = PLAIN) -> Path:
        """Write the picture with its detections drawn on it, in the format of the suffix, and the folders above it.

        Returns the path. Raises SinkError for a suffix that is none of an image, for what cannot be written there,
        and for the file that the picture was read from.
        """
        return write_image(path, self.plot(labels=labels, scores=scores, look=look), source=self.frame.image)

    def show(self, *, labels: bool = True, scores: bool = True, look: Look = PLAIN) -> None:
        """Show the picture with its detections drawn on it: in a notebook below the cell, else in a window.

        Returns when a key is pressed or the window is closed. In the main thread only. Raises SinkError without
        a display.
        """
        pixels = self.plot(labels=labels, scores=scores, look=look)
        if in_notebook():
            show_in_cell(pixels, str(self))
        else:
            show_until_key(pixels, str(self), advice="write it to a file with .save(path)")

    def __str__(self) -> str:
        """`3 person, 1 bus in photos/bus.jpg (640×480)`."""
        counts = ", ".join(f"{num} {name}" for name, num in self.counts().items())
        frame, (width, height) = self.frame, self.frame.size_wh
        origin = frame.image or f"{frame.source_id}, frame {frame.index}".removeprefix(", ")
        return drawable(" ".join(f"{counts or 'nothing'} in {origin} ({width}×{height})".split()))

    def __repr__(self) -> str:
        return f"<Result: {self}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture, and a table of the surest detections."""
        return html_of(self, self.plot(), str(self))

    def _repr_jpeg_(self) -> bytes:
        """What a notebook shows that has no HTML."""
        return jpeg_of(self.plot())


def _named(track_ids: IntArray) -> list[int | None]:
    """Track ids [N] as they are written: None for a detection of no track."""
    return [None if track_id == -1 else track_id for track_id in track_ids.tolist()]


def _name_of(class_id: int, class_names: tuple[str, ...]) -> str:
    return class_names[class_id] if 0 <= class_id < len(class_names) else f"class {class_id}"


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """A result and its picture with everything drawn on it: uint8 [H, W, 3] BGR, or planes where no one wants BGR."""

    result: Result
    canvas: PixelArray | I420

    @property
    def pixels(self) -> PixelArray:
        """uint8 [H, W, 3] BGR, whatever it was drawn on."""
        return self.canvas.to_bgr() if isinstance(self.canvas, I420) else self.canvas

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        if isinstance(self.canvas, I420):
            return self.canvas.size_wh
        return self.canvas.shape[1], self.canvas.shape[0]
