"""Detector: pictures that a program has → results at once, without sources, sinks and threads of our own."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, Unpack, get_args, overload

import numpy as np

from pipeline.app.config.loading import load_config
from pipeline.app.engines import open_engine
from pipeline.app.model_branch import default_threads, model_of, warn_of_doubts
from pipeline.app.run.python_api import ArrayOrImage, Keywords, in_python, options_of
from pipeline.app.thresholds import suppression_options, tracked_options, tracker_options
from pipeline.app.tiles import tiling_of
from pipeline.detector.detector import DetectFunction, EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.tiled import TiledDetector
from pipeline.errors import ConfigError, ModelError, SourceError, StreamdetError
from pipeline.masking import masked_address
from pipeline.picture.choices import TrackerKind
from pipeline.picture.detections import Result
from pipeline.picture.frame import ArrayPicture, Frame, TimedPicture
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tracking.kinds import new_tracker, refuse_tracker
from pipeline.sources.arrays import picture_of
from pipeline.sources.images import ImagesSource, StillSource, read_image
from pipeline.sources.kinds import kind_of
from pipeline.sources.opening import open_source
from pipeline.sources.options import SourceOptions
from pipeline.sources.pil_images import file_of, is_pil_image
from pipeline.stages.track import Track

PictureSource: TypeAlias = "str | PathLike[str] | ArrayOrImage"
"""An image file, its address, an array uint8 [H, W, 3] in BGR or [H, W], or an image of PIL."""

_RATES_FPS = 0.001, 10_000.0  # a time lapse of a picture in a quarter of an hour; a high-speed camera

P = TypeVar("P", bound=PictureSource)

_SECTIONS = (
    "hints",
    "detection",
    "tiles",
    "track",
    "engine",
    "network",
)  # the others are of sources, flows and outputs


class Detector:
    """A detector that is called with pictures, for a program with a loop, or requests, of its own.

        detector = Detector("yolox.onnx", score_threshold=0.5)
        result = detector("bus.jpg")
        print(result)

    What it finds is what `detect` finds, to the bit with the same engine.threads; by default a call has all cores,
    because it is waited for. The network is loaded, and compared with the processor where it runs elsewhere, once; it
    then stays warm. May be called from several threads at once; closed by `close`, or at the end of a `with`.

    model: an ONNX file; `demo` is the detector that comes with streamdet. config: a YAML file or a preset, of which
    hints, detection, tiles, track, engine and network count. settings: dotted keys of those. keywords: device,
    precision, batch, score_threshold, iou_threshold, max_detections, classes. Raises a StreamdetError for what cannot
    be loaded.
    """

    def __init__(
        self,
        model: str | PathLike[str],
        *,
        config: str | None = None,
        settings: dict[str, Any] | None = None,
        **keywords: Unpack[Keywords],
    ) -> None:
        try:
            if model is None:
                raise ConfigError("Detector() needs a model: an ONNX file, or demo, which knows drawn streets only")
            if "track" in keywords:
                raise ConfigError("Detector() has no keyword track; its method track() follows objects")
            options = options_of(model, config, settings, keywords, caller="Detector()")
            _refuse_keys_without_use(settings or {})
            loaded = load_config(config, options=options, origin="Detector()")
            path, spec = model_of(loaded)
            suppression = suppression_options(loaded.detection, spec)
            tiling = tiling_of(loaded.tiles, spec)
            engine, loaded = open_engine(loaded, path, spec, threads=default_threads(live_sources=1))
            warn_of_doubts(loaded, spec)
        except StreamdetError as error:
            raise in_python(error) from error
        self._engine: OrtEngine | None = engine
        self._batch = loaded.engine.batch or 1
        self._shown, self._config = suppression, loaded
        self._tiling, self._most_at_once = tiling, max(self._batch, spec.batch or 1)
        self._detect = self._detecting(engine, suppression)
        self._batch = 1 if tiling is not None else self._batch
        self._options = SourceOptions(network=loaded.network)
        self._description = engine.describe()
        self.class_names = spec.class_names
        """The names of the classes that it knows, by class id."""
        self.device = engine.device
        """What the network runs on."""

    @overload
    def __call__(self, picture: PictureSource, /) -> Result: ...
    @overload
    def __call__(self, picture: list[P] | tuple[P, ...], /) -> list[Result]: ...
    def __call__(self, picture: PictureSource | list[P] | tuple[P, ...], /) -> Result | list[Result]:
        """The result of a picture, or a list of them for a list or tuple of pictures, in their order.

        A picture is an image file or its http address, an array uint8 [H, W, 3] in BGR or [H, W], which is kept and
        not copied, or an image of PIL. Raises SourceError for what is not one picture, and ModelError once closed.
        """
        if isinstance(picture, list | tuple):
            return list(self._results(picture))
        (result,) = self._results([picture])
        return result

    def track(
        self, pictures: Iterable[PictureSource], *, frames_per_second: float, tracker: TrackerKind | None = None
    ) -> Iterator[Result]:
        """Follow objects from picture to picture, as they come: results in order, with `detections.track_ids`.

            for result in detector.track(frames, frames_per_second=25):
                print(result.detections.track_ids)

        pictures: the frames of one video or camera, in order, each as a call takes one; a generator is read one by
        one. Each call of `track` has numbers of its own. frames_per_second: of these pictures, for what is measured in
        seconds. tracker: bytetrack unless the settings have another in track.kind. Raises ConfigError, at the call,
        for a rate that is not from 0.001 to 10,000 and a tracker that there is not, and in the loop what a call raises.
        """
        try:
            _refuse_rate(frames_per_second)
            if self._engine is None:
                raise ModelError("this Detector is closed; make a new one")
            kind = tracker or self._config.track.kind or "bytetrack"
            if kind not in get_args(TrackerKind):
                raise ConfigError(f"tracker must be one of {', '.join(get_args(TrackerKind))}, got {kind!r}")
            refuse_tracker(kind)
        except StreamdetError as error:
            raise in_python(error) from error
        track, shown = self._config.track.model_copy(update={"kind": kind}), self._shown
        stage = Track(
            lambda: new_tracker(kind, tracker_options(track, shown)),
            lambda: shown,
            sure_share=track.sure_share,
            trail_seconds=self._config.render.trail_s,
        )
        return self._followed(
            pictures, stage, self._detecting(self._engine, tracked_options(track, shown)), frames_per_second
        )

    def _followed(
        self, pictures: Iterable[PictureSource], stage: Track, detect: DetectFunction, frames_per_second: float
    ) -> Iterator[Result]:
        source_id = None
        for number, picture in enumerate(pictures):
            if self._engine is None:
                raise ModelError("this Detector is closed; make a new one")
            try:
                frame = self._frame(picture, number)
                source_id = frame.source_id if source_id is None else source_id
                frame = replace(frame, source_id=source_id, pts_seconds=number / frames_per_second)
                (detections,) = detect([frame.picture])
            except StreamdetError as error:
                raise in_python(error) from error
            yield from stage.process(Result(frame, detections, self.class_names))

    def _detecting(self, engine: OrtEngine, suppression: SuppressionOptions) -> DetectFunction:
        detect = EngineDetector(engine, suppression=suppression)
        if self._tiling is None:
            return detect
        return TiledDetector(detect, self._tiling, suppression, most_at_once=self._most_at_once)

    def close(self) -> None:
        """Let go of the network. May be called more than once."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Detector: {self._description}{', closed' if self._engine is None else ''}>"

    def _results(self, pictures: Sequence[PictureSource]) -> Iterator[Result]:
        """As many pictures are read and run at once as the network takes."""
        if self._engine is None:
            raise ModelError("this Detector is closed; make a new one")
        try:
            for start in range(0, len(pictures), self._batch):
                batch = pictures[start : start + self._batch]
                frames = [self._frame(picture, start + offset) for offset, picture in enumerate(batch)]
                for frame, detections in zip(frames, self._detect([frame.picture for frame in frames]), strict=True):
                    yield Result(frame, detections, self.class_names)
        except StreamdetError as error:
            raise in_python(error) from error

    def _frame(self, picture: PictureSource, number: int) -> Frame:
        if isinstance(picture, np.ndarray) or is_pil_image(picture):
            pixels = picture_of(picture, number)
            return Frame(pixels, "arrays", number, float(number), time.monotonic(), file_of(picture))
        if not isinstance(picture, str | PathLike):
            kinds = "an image file, an array or an image of PIL, or a list of them"
            raise SourceError(f"a Detector takes {kinds}, got {type(picture).__name__}; detect() takes cameras as well")
        source_id, timed = _read(str(picture), self._options)
        return Frame(timed.picture, source_id, number, float(number), time.monotonic(), timed.image)


def _read(word: str, options: SourceOptions) -> tuple[str, TimedPicture]:
    """The name and the picture of the one image that a word means. Raises SourceError for any other source."""
    is_address = re.match("https?://", word, re.IGNORECASE) is not None
    files = kind_of(word).files(word) if word and not is_address else ()
    if (len(files) == 1 and Path(files[0]).is_file()) or is_address:
        source = open_source(word, options=options)
        if isinstance(source, ImagesSource):
            (path,) = source.paths
            return source.source_id, TimedPicture(ArrayPicture(read_image(path)), 0.0, image=str(path))
        if isinstance(source, StillSource):
            return source.source_id, next(source.pictures(threading.Event()))
        source.close()
    what = f"{len(files)} images" if len(files) > 1 else "no single image"
    raise SourceError(
        f"a Detector takes one image a picture, got {masked_address(word)!r}, {what}; detect() takes every source"
    )


def _refuse_rate(frames_per_second: object) -> None:
    """Raise ConfigError for anything but a possible number of frames per second, True and False included."""
    low, high = _RATES_FPS
    is_number = isinstance(frames_per_second, int | float) and not isinstance(frames_per_second, bool)
    if not (is_number and low <= frames_per_second <= high):  # type: ignore[operator]
        raise ConfigError(f"frames_per_second must be a number from {low:g} to {high:g}, got {frames_per_second!r}")


def _refuse_keys_without_use(settings: dict[str, Any]) -> None:
    for key in settings:
        if isinstance(key, str) and (key.partition(".")[0] not in _SECTIONS or key == "engine.inflight"):
            raise ConfigError(
                f"Detector() has no use for {key}; it takes keys of {', '.join(_SECTIONS)}, and runs as many pictures "
                "at once as threads call it; detect() takes every key"
            )
