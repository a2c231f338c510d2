"""Tile stages: frames → network inputs of their tiles → candidates in each tile → one result a frame.

They stand where `Preprocess`, `Detect` and `Nms` stand otherwise; a tile is not a frame, so nothing else knows of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import Engine
from pipeline.detector.postprocess import Postprocess
from pipeline.detector.tiled import picture_in
from pipeline.errors import SourceError
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tiling import Tile, Tiling, merge_tiles
from pipeline.stages.detect import RawDetections
from pipeline.stages.preprocess import NetworkInput, Preprocess


@dataclass(frozen=True, slots=True)
class TiledInput:
    """A frame, its tiles, and a network input of each."""

    frame: Frame
    tiles: tuple[Tile, ...]
    inputs: tuple[NetworkInput, ...]


@dataclass(frozen=True, slots=True)
class TiledDetections:
    """A frame, its tiles, and what the network proposes in each, before suppression."""

    frame: Frame
    tiles: tuple[Tile, ...]
    of_tiles: tuple[RawDetections, ...]


class PreprocessTiles:
    """Cuts frames into tiles, and resizes, pads and normalises each as the spec says."""

    def __init__(self, spec: DetectorSpec, tiling: Tiling) -> None:
        self._preprocess = Preprocess(spec)
        self._tiling = tiling

    def process(self, frame: Frame) -> Iterable[TiledInput]:
        """One TiledInput. May be called from several threads at once.

        Raises SourceError for a frame that would need too many tiles.
        """
        try:
            tiles = self._tiling.tiles(frame.size_wh)
        except ValueError as error:
            raise SourceError(f"{frame.source_id}: {error}") from error
        parts = [replace(frame, picture=picture_in(frame.picture, tile)) for tile in tiles]
        inputs = tuple(network_input for part in parts for network_input in self._preprocess.process(part))
        return (TiledInput(frame, tiles, inputs),)

    def drain(self) -> Iterable[TiledInput]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Forget the buffers."""
        self._preprocess.close()


class DetectTiles:
    """Runs the network on all tiles of a frame, at most `most_at_once` of them at a time; owns the engine.

    score_threshold: as of `Detect`. Raises ModelError for an unknown head.
    """

    def __init__(self, engine: Engine, *, score_threshold: float | None = None, most_at_once: int = 1) -> None:
        self._detector = EngineDetector(engine, score_threshold=score_threshold)
        self._most_at_once = most_at_once

    @property
    def score_threshold(self) -> float:
        """The least score of a candidate; may be set while it runs, from any thread."""
        return self._detector.score_threshold

    @score_threshold.setter
    def score_threshold(self, threshold: float) -> None:
        self._detector.score_threshold = threshold

    def process(self, tiled: TiledInput) -> Iterable[TiledDetections]:
        """One TiledDetections. May be called from several threads at once."""
        return self.process_batch((tiled,))

    def process_batch(self, frames: Sequence[TiledInput]) -> Sequence[TiledDetections]:
        """One TiledDetections for each frame, in order; tiles of several frames may be run at once."""
        inputs = [network_input for tiled in frames for network_input in tiled.inputs]
        raw: list[RawDetections] = []
        for start in range(0, len(inputs), self._most_at_once):
            batch = inputs[start : start + self._most_at_once]
            candidates = self._detector.candidates_in([network_input.tensor for network_input in batch])
            for network_input, proposed in zip(batch, candidates, strict=True):
                network_input.give_back()
                raw.append(RawDetections(network_input.frame, network_input.letterbox, proposed))
        rest = iter(raw)
        return [TiledDetections(tiled.frame, tiled.tiles, tuple(next(rest) for _ in tiled.tiles)) for tiled in frames]

    def drain(self) -> Iterable[TiledDetections]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Close the engine."""
        self._detector.close()


class MergeTiles:
    """Suppresses within each tile, as `Nms` does within a frame, and then across tiles; options: None: the spec's."""

    def __init__(self, spec: DetectorSpec, options: SuppressionOptions | None = None) -> None:
        self._class_names = spec.class_names
        self._options = options or spec.suppression
        self._postprocess = Postprocess(spec, options)

    def process(self, tiled: TiledDetections) -> Iterable[Result]:
        """One Result. May be called from several threads at once. Raises OutputError for NaN and impossible scores."""
        detections = [self._postprocess(raw.candidates, raw.letterbox) for raw in tiled.of_tiles]
        return (Result(tiled.frame, merge_tiles(tiled.tiles, detections, self._options), self._class_names),)

    def drain(self) -> Iterable[Result]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Nothing is held."""
