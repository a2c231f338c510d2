"""Tiled detector: pictures → their tiles, and what a detector finds in those → the detections in each picture."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.detector.detector import DetectFunction
from pipeline.errors import SourceError
from pipeline.picture.detections import Detections
from pipeline.picture.frame import ArrayPicture, Picture
from pipeline.picture.suppression import SuppressionOptions
from pipeline.picture.tiling import Tile, Tiling, merge_tiles


class TiledDetector:
    """A detector that looks at pictures tile by tile. May be called from several threads, where `detect` may.

    detect: of the tiles, at most `most_at_once` in a call. suppression: what it applies, here too, across tiles.
    """

    def __init__(
        self, detect: DetectFunction, tiling: Tiling, suppression: SuppressionOptions, *, most_at_once: int = 1
    ) -> None:
        self._detect = detect
        self._tiling = tiling
        self._suppression = suppression
        self._most_at_once = most_at_once

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """The detections in each picture, in its pixels. Raises SourceError for one that would need too many tiles."""
        return [self._in_one(picture) for picture in pictures]

    def _in_one(self, picture: Picture) -> Detections:
        try:
            tiles = self._tiling.tiles(picture.size_wh)
        except ValueError as error:
            raise SourceError(str(error)) from error
        parts = [picture_in(picture, tile) for tile in tiles]
        detections: list[Detections] = []
        for start in range(0, len(parts), self._most_at_once):
            detections += self._detect(parts[start : start + self._most_at_once])
        return merge_tiles(tiles, detections, self._suppression)


def picture_in(picture: Picture, tile: Tile) -> Picture:
    """The part of a picture that a tile shows: a view of its pixels, or the picture itself."""
    return picture if tile.is_whole else ArrayPicture(picture.pixels[tile.window])
