"""Detection from Python in one line: sources or pictures → results."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from pipeline.app.assemble import assemble
from pipeline.app.config.flags import FLAGS
from pipeline.app.config.loading import load_config
from pipeline.app.options import comma_separated
from pipeline.detector.heads.hints import Hints
from pipeline.detector.recognise import recognise as recognise_file
from pipeline.errors import ConfigError, StreamdetError
from pipeline.flow.running import Running
from pipeline.picture.choices import TrackerKind
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.sources.arrays import ArraysSource
from pipeline.sources.pil_images import is_pil_image

if TYPE_CHECKING:
    from PIL.Image import Image

ArrayOrImage: TypeAlias = "npt.NDArray[np.uint8] | Image"
"""A picture: an array uint8 [H, W, 3] in BGR or [H, W], or an image of PIL."""

Source: TypeAlias = "int | str | PathLike[str] | ArrayOrImage"
"""A camera's number, a file, an address or a folder, or a picture."""


class Keywords(TypedDict, total=False):
    """The settings that are wanted most often, as keywords; `KEYWORDS` has their dotted keys."""

    device: Literal["auto", "cpu", "openvino", "cuda", "tensorrt"]
    precision: Literal["auto", "fp32", "fp16", "bf16"]
    batch: int  # images that the network runs at once
    score_threshold: float
    iou_threshold: float
    max_detections: int
    classes: str | Sequence[str]  # names; in one string, commas between them


class RunKeywords(Keywords, total=False):
    """Those of a run of frames that follow each other, too."""

    track: bool | TrackerKind  # follow objects and number them; True: bytetrack


KEYWORDS = {
    **{name: f"engine.{name}" for name in ("device", "precision", "batch")},
    **{name: f"detection.{name}" for name in ("score_threshold", "iou_threshold", "max_detections", "classes")},
    "track": "track.kind",
}
"""The key of each keyword."""

# What the command line calls an option is a key of `settings` here, or a parameter.
_KEYS = {
    **{flag.removeprefix("--"): key for key, flag in FLAGS.items()},
    "pixel-boxes": "hints.normalised_boxes",
    "config": "config",
}
_HINTS = {
    "size": "network_wh",
    "scores": "score_activation",
    "normalised-boxes": "boxes_are_normalised",
    "pixel-boxes": "boxes_are_normalised",
}
_FLAG = re.compile(r"--(" + "|".join(sorted(_KEYS, key=len, reverse=True)) + r")(\|--pixel-boxes)?\b(?!-)")


def detect(
    *sources: Source | Sequence[Source],
    model: str | PathLike[str] | None = None,
    config: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **keywords: Unpack[RunKeywords],
) -> Iterator[Result]:
    """Yield a result for each frame of a source, or of several side by side, as they come.

        for result in detect("street.mp4", model="yolox.onnx", score_threshold=0.5):
            print(result)

    sources: a camera's number, a file, a URL, a folder of images, `sim:traffic`, as strings or paths; pictures as
        arrays uint8 [H, W, 3] in BGR or [H, W], or images of PIL; or lists of them. Pictures are the frames of one
        source.
    model: an ONNX file, or a name of `streamdet models`, which is downloaded once; `demo`, or nothing on a drawn
        street, is the detector that comes with streamdet.
    config: a YAML file or a preset.
    settings: dotted keys of the configuration, such as `{"flow.every": 3}`.
    keywords: device, precision, batch, score_threshold, iou_threshold, max_detections, classes; track: True or the
        name of a tracker, which gives `result.detections.track_ids`.

    Leaving the loop early ends the run. Raises a StreamdetError, at the call, for what cannot be opened,
    and in the loop, after the results before it, for what breaks on the way.
    """
    try:
        words, arrays = _sorted(sources)
        options = {"sources": words} | options_of(model, config, settings, keywords, caller="detect()")
        loaded = load_config(config, options=options, origin="detect()")
        assembly = assemble(loaded, source=ArraysSource(arrays) if arrays else None)
    except StreamdetError as error:
        raise in_python(error) from error
    return _results(Running(assembly.flow, results=True))


def options_of(
    model: str | PathLike[str] | None,
    config: str | None,
    settings: Mapping[str, Any] | None,
    keywords: Mapping[str, Any],
    *,
    caller: str,
) -> dict[str, Any]:
    """The values by dotted key that a call from Python means; no output is among them.

    Raises ConfigError for what is of the wrong type, a keyword that does not exist, and one that settings have too.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f"settings must be a dict of dotted keys and values, got {type(settings).__name__}")
    for name, value, kinds in (("model", model, (str, PathLike)), ("config", config, (str,))):
        if value is not None and not isinstance(value, kinds):
            raise ConfigError(f"{name} must be a string or a path, got {type(value).__name__}")
    options = {"model": None if model is None else str(model), "output.show": False} | dict(settings or {})
    for name, value in keywords.items():
        if name not in KEYWORDS:
            raise ConfigError(_unknown_keyword(name, caller))
        key = KEYWORDS[name]
        if key in (settings or {}):
            raise ConfigError(f"{caller}: {name} must be set once, got the keyword and {key} in settings")
        options[key] = _VALUES[name](value) if name in _VALUES else value
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in options.items()}


def _unknown_keyword(name: str, caller: str) -> str:
    similar = difflib.get_close_matches(name, KEYWORDS, n=1)
    hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(KEYWORDS)}"
    return f"{caller} has no keyword {name}; {hint}; other keys go into settings, a dict"


def _listed(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Class names as they are, or from one string with commas between them; none for None."""
    if isinstance(names, str):
        return comma_separated(names, "classes")
    listed = tuple(names or ())
    if names is not None and not listed:
        raise ConfigError(f"classes must name at least one, got {names!r}; leave it out to keep all")
    return listed


def _tracker(value: object) -> object:
    """The tracker that is meant: True is bytetrack, False none."""
    return {True: "bytetrack", False: None}[value] if isinstance(value, bool) else value


_VALUES: Mapping[str, Callable[[Any], object]] = {"classes": _listed, "track": _tracker}


def recognise(path: str | PathLike[str], hints: Hints | None = None) -> DetectorSpec:
    """The spec of the detector in an ONNX file.

    Raises ModelError, with the reason and the fields of `hints` that settle it, for a file that is not recognised.
    """
    try:
        spec = recognise_file(Path(path) if isinstance(path, PathLike) else path, hints)
    except StreamdetError as error:
        raise _renamed(error, _field_of_hints) from error
    return replace(spec, provenance=tuple(_with_names(reason, _field_of_hints) for reason in spec.provenance))


def in_python(error: StreamdetError) -> StreamdetError:
    """The same error, which names keys of the settings where it named options of the command line."""
    return _renamed(error, _KEYS.__getitem__)


def _field_of_hints(flag: str) -> str:
    return f"hints.{_HINTS.get(flag, flag.replace('-', '_'))}"


def _renamed(error: StreamdetError, name_of: Callable[[str], str]) -> StreamdetError:
    return type(error)(_with_names(str(error), name_of))


def _with_names(text: str, name_of: Callable[[str], str]) -> str:
    return _FLAG.sub(lambda match: name_of(match[1]) + (" true|false" if match[2] else ""), text)


def _sorted(sources: Sequence[Source | Sequence[Source]]) -> tuple[tuple[str, ...], list[object]]:
    """The words among the sources, and the pictures."""
    words: list[str] = []
    arrays: list[object] = []
    for source in _flat(sources):
        if isinstance(source, np.ndarray) or is_pil_image(source):
            arrays.append(source)
        elif isinstance(source, np.integer):
            words.append(str(int(source)))
        elif isinstance(source, bool) or not isinstance(source, int | str | PathLike):
            raise ConfigError(
                "a source must be a number, a string, a path, an array, an image of PIL or a list of them, "
                f"got {type(source).__name__}"
            )
        else:
            words.append(str(source))
    if words and arrays:
        raise ConfigError("pictures and other sources must be given to calls of their own")
    return tuple(words), arrays


def _flat(sources: Iterable[object]) -> Iterator[object]:
    """The sources, without the lists around some of them."""
    for source in sources:
        if isinstance(source, list | tuple):
            yield from _flat(source)
        else:
            yield source


def _results(running: Running[Result]) -> Iterator[Result]:
    try:
        with running:
            yield from running
    except StreamdetError as error:
        raise in_python(error) from error
