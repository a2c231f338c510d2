"""Map work: a configuration → what a worker does: it cuts files into segments, and detects in those."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from pipeline.app.config.run import RunConfig
from pipeline.app.engines import open_engine
from pipeline.app.model_branch import model_of
from pipeline.app.process import prepare_process
from pipeline.app.thresholds import suppression_options, tracked_options, tracker_options
from pipeline.app.tiles import tiling_of
from pipeline.detector.detector import DetectFunction, EngineDetector
from pipeline.detector.tiled import TiledDetector
from pipeline.errors import StreamdetError, first_line
from pipeline.fleet.segments import InputFile, Segment, index_file, run_segment
from pipeline.fleet.table import parquet_of
from pipeline.fleet.workers import Answer, Detected, Failed, Indexed, Task, Work
from pipeline.picture.detections import Result
from pipeline.picture.frame import Frame
from pipeline.picture.tracking.kinds import new_tracker
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.parts import SeamError
from pipeline.stages.track import Track

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenMapWork:
    """Opens the work of a map, in the worker; it is pickled, the network is not.

    config: with the threads of a worker set. segment_seconds: None leaves every file whole.
    """

    config: RunConfig
    segment_seconds: float | None

    def __call__(self) -> Work:
        """Raises a StreamdetError where the model cannot be run."""
        prepare_process()
        return MapWork(self.config, self.segment_seconds).answer


class MapWork:
    """Holds the network, and answers pieces of work one at a time."""

    def __init__(self, config: RunConfig, segment_seconds: float | None) -> None:
        path, spec = model_of(config)
        self._shown = suppression_options(config.detection, spec)
        kept = tracked_options(config.track, self._shown)
        tiling = tiling_of(config.tiles, spec)
        engine, config = open_engine(config, path, spec, pictures=None)
        self._detect: DetectFunction = EngineDetector(engine, suppression=kept)
        self._batch = config.engine.batch or 1
        if tiling is not None:
            self._detect = TiledDetector(self._detect, tiling, kept, most_at_once=max(self._batch, spec.batch or 1))
            self._batch = 1
        self._class_names = spec.class_names
        self._config = config
        self._segment_seconds = segment_seconds

    def answer(self, task: Task) -> Answer:
        """What came of a piece of work. Raises nothing: what is wrong with one file must not end the others."""
        try:
            if isinstance(task, InputFile):
                return Indexed(tuple(index_file(task, segment_seconds=self._segment_seconds)))
            return self._detected(task)
        except SeamError as error:
            return Failed(str(error), must_be_whole=True)
        except StreamdetError as error:
            return Failed(str(error))
        except Exception as error:  # of any library
            logger.debug("the traceback", exc_info=error)
            return Failed(f"{type(error).__name__}: {first_line(error)}")

    def results(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """The results of the frames of one file."""
        track = self._track()
        iterator = iter(frames)
        while batch := list(islice(iterator, self._batch)):
            for frame, detections in zip(batch, self._detect([frame.picture for frame in batch]), strict=True):
                result = Result(frame, detections, self._class_names)
                yield from (result,) if track is None else track.process(result)

    def _detected(self, segment: Segment) -> Detected:
        began_at_seconds = time.monotonic()
        decode = DecodeOptions(self._config.decode.device, self._config.decode.threads or 1)
        table = run_segment(segment, self.results, every=self._config.flow.every, decode=decode)
        (num_frames,), (damage,) = table["num_frames"].to_pylist(), table["damage"].to_pylist()
        return Detected(parquet_of(table), num_frames, tuple(damage), time.monotonic() - began_at_seconds)

    def _track(self) -> Track | None:
        kind = self._config.track.kind
        if kind is None:
            return None
        options = tracker_options(self._config.track, self._shown)
        sure_share = self._config.track.sure_share
        return Track(lambda: new_tracker(kind, options), lambda: self._shown, sure_share=sure_share)
