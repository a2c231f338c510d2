"""Annotators: names of supervision's annotators, with their parameters → what they draw on pictures, frame by frame."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from pipeline.errors import ConfigError, MissingExtraError
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.masks import Masks

_KEY = "render.annotators"
_SUPPLIED = {"scene", "detections", "labels", "custom_color_lookup", "custom_values"}  # or optional
_NO_TRACK = -1


class AnnotatorRequest(NamedTuple):
    """An annotator as it is requested: `trace`, for supervision's TraceAnnotator, and its parameters by name."""

    name: str
    parameters: Mapping[str, object]


class Annotators:
    """Draws with supervision's annotators on the pictures of one source; trace and heatmap remember earlier frames.

    Raises ConfigError for a name, parameter or value that supervision does not take, MissingExtraError without it.
    """

    def __init__(self, requests: Sequence[AnnotatorRequest]) -> None:
        self._requests = tuple(requests)
        self._annotators = [_Annotator(request) for request in self._requests]
        self._size_wh: tuple[int, int] | None = None
        for annotator in self._annotators:
            _try(annotator)
        self._renew()

    def draw(self, canvas: PixelArray, result: Result) -> None:
        """Draw on uint8 [H, W, 3] BGR, in place. Raises ConfigError where an annotator fails."""
        if result.frame.size_wh != self._size_wh:
            self._renew()
            self._size_wh = result.frame.size_wh
        for annotator in self._annotators:
            annotator.draw(canvas, result)

    def _renew(self) -> None:
        """Forget earlier frames, which had another size."""
        self._annotators = [_Annotator(request) for request in self._requests]


def needs_tracks(request: AnnotatorRequest) -> bool:
    """Whether it draws nothing without track ids."""
    return _plain(request.name) == "trace" or "track" in str(request.parameters.get("color_lookup", "")).lower()


class _Annotator:
    def __init__(self, request: AnnotatorRequest) -> None:
        self.request = request
        kind = _kind_of(request.name)
        self._takes_labels = "labels" in inspect.signature(kind.annotate).parameters
        self._tracked_only = needs_tracks(request)
        try:
            self._annotate = kind(**_arguments(request, kind)).annotate
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ConfigError(f"{_KEY}: {request.name}: {error}") from error

    def draw(self, canvas: PixelArray, result: Result) -> None:
        detections = _drawable(result.detections, result.frame.size_wh, tracked_only=self._tracked_only)
        chosen = Result(result.frame, detections, result.class_names)
        labels = (
            {"labels": [f"{row.class_name} {row.score:.0%}" for row in chosen.rows()]} if self._takes_labels else {}
        )
        try:
            drawn = self._annotate(scene=canvas, detections=chosen.to_supervision(), **labels)
            if drawn is not canvas:
                canvas[:] = drawn
        except (TypeError, ValueError, AttributeError, IndexError, KeyError, cv2.error) as error:
            words = " ".join(str(error).split())
            raise ConfigError(f"{_KEY}: {self.request.name}: supervision cannot draw with it: {words}") from error


def _supervision() -> Any:
    try:
        import supervision
    except ImportError as error:
        raise MissingExtraError(f'{_KEY} needs supervision: pip install "streamdet[supervision]"') from error
    return supervision


def _kinds() -> dict[str, Any]:
    """The annotators that need nothing but a picture and detections, by plain name."""
    module = _supervision()
    base = module.BoxAnnotator.__mro__[1]
    kinds = {
        name.removesuffix("Annotator"): getattr(module, name) for name in dir(module) if name.endswith("Annotator")
    }
    return {
        _plain(name): kind
        for name, kind in kinds.items()
        if issubclass(kind, base) and set(list(inspect.signature(kind.annotate).parameters)[1:]) <= _SUPPLIED
    }


def _kind_of(name: str) -> Any:
    kinds = _kinds()
    if _plain(name) not in kinds:
        similar = difflib.get_close_matches(_plain(name), kinds, n=1)
        hint = f"did you mean {similar[0]}? There" if similar else "there"
        raise ConfigError(f"{_KEY}: supervision has no annotator {name!r}; {hint} are {', '.join(sorted(kinds))}")
    return kinds[_plain(name)]


def _plain(name: str) -> str:
    """`box-corner`, `BoxCornerAnnotator` and `box_corner` are boxcorner."""
    return re.sub(r"[-_ ]", "", name).lower().removesuffix("annotator")


def _arguments(request: AnnotatorRequest, kind: Any) -> dict[str, object]:
    """The parameters as supervision takes them: colours of #rrggbb, positions and lookups of words."""
    names = list(inspect.signature(kind).parameters)
    for name in request.parameters:
        if name not in names:
            similar = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"it has {', '.join(names)}"
            raise ConfigError(f"{_KEY}: {request.name} has no parameter {name!r}; {hint}")
    return {name: _argument(name, value) for name, value in request.parameters.items()}


def _argument(name: str, value: object) -> object:
    module = _supervision()
    for ending, choices in (("position", module.Position), ("color_lookup", module.ColorLookup)):
        if name.endswith(ending) and isinstance(value, str):
            word = re.sub(r"[- ]", "_", value).upper()
            if word not in choices.__members__:
                raise ValueError(f"{name} must be one of {', '.join(choices.__members__).lower()}, got {value!r}")
            return choices[word]
    if "color" in name and isinstance(value, str):
        return module.Color.from_hex(value)
    if "color" in name and isinstance(value, list | tuple):
        return module.ColorPalette.from_hex([str(colour) for colour in value])
    return value


def _drawable(detections: Detections, size_wh: tuple[int, int], *, tracked_only: bool) -> Detections:
    """Those with pixels of the picture, because supervision cuts their boxes out; clipped to it."""
    boxes = np.clip(detections.boxes_xyxy, 0, np.array([*size_wh, *size_wh], np.float32))  # [N, 4]
    corners = boxes.astype(np.int64)
    is_drawn = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    track_ids = np.full(len(boxes), _NO_TRACK) if detections.track_ids is None else detections.track_ids
    if tracked_only:
        is_drawn &= track_ids != _NO_TRACK
    chosen = replace(detections, boxes_xyxy=boxes).select(is_drawn)
    return replace(chosen, track_ids=track_ids[is_drawn]) if tracked_only else chosen


def _try(annotator: _Annotator) -> None:
    """Draw nothing, then an object with all that one can have, so that a wrong value is found before the run."""
    canvas = np.zeros((64, 64, 3), np.uint8)
    mask = np.zeros((1, 64, 64), np.bool_)
    mask[0, 16:48, 16:48] = True
    detections = Detections(
        np.array([[16, 16, 48, 48]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        masks=Masks.of(mask),
        track_ids=np.zeros(1, np.int64),
    )
    for objects in (Detections.empty(), detections):
        annotator.draw(canvas, Result(Frame.from_pixels(canvas), objects, ("object",)))
