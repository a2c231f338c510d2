"""Tiles of a run: a configuration and a model's spec → how frames are cut, and how many tiles the network takes."""

from __future__ import annotations

from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.config.tiles import TilesConfig
from pipeline.errors import ConfigError
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.tiling import Tiling


def tiling_of(tiles: TilesConfig, spec: DetectorSpec) -> Tiling | None:
    """How frames are cut; None: they are not. Raises ConfigError for settings that contradict each other or the model.

    A network that takes the planes of a video resizes them itself, from the first pixel on, and cannot be shown a part.
    """
    _refuse_without_use(tiles)
    if tiles.grid is None:
        return None
    if spec.pixels == "nv12":
        raise ConfigError(
            "--tiles needs a model that takes pixels, this one takes the NV12 planes of whole frames; export it with "
            "--pixels packed, or leave --tiles out"
        )
    if spec.num_rois:
        raise ConfigError(
            "--tiles needs a model that takes pixels alone, this one takes proposals of whole frames as well; "
            "leave --tiles out"
        )
    rows, _, columns = tiles.grid.partition("x")
    try:
        return Tiling(
            None if tiles.grid == "auto" else (int(rows), int(columns)),
            overlap=tiles.overlap,
            has_whole=tiles.whole_frame,
            smallest_px=tiles.smallest_px,
            network_wh=spec.network_wh,
        )
    except ValueError as error:
        raise ConfigError(f"--tiles {tiles.grid}: {error}") from error


def batched_for_tiles(config: RunConfig, spec: DetectorSpec, frame_wh: tuple[int, int] | None) -> RunConfig:
    """The same, with a batch of all tiles of a frame, where the model takes any batch and nobody has set another.

    frame_wh: of the frames to come; None: not known, and then not the number of tiles of `--tiles auto` either.
    Raises ConfigError as `tiling_of` does, and for frames that would need too many tiles.
    """
    tiling = tiling_of(config.tiles, spec)
    if tiling is None or frame_wh is None:
        return config
    try:
        num_tiles = len(tiling.tiles(frame_wh))
    except ValueError as error:
        raise ConfigError(f"--tiles auto: {error}") from error
    if config.engine.batch is not None or spec.batch is not None:
        return config
    return with_keys(config, {"engine.batch": num_tiles})


def _refuse_without_use(tiles: TilesConfig) -> None:
    default = TilesConfig()
    if tiles.grid is None:
        for flag, is_set in (
            ("--smallest-object", tiles.smallest_px is not None),
            ("--overlap", tiles.overlap != default.overlap),
            ("--no-whole-frame", tiles.whole_frame != default.whole_frame),
        ):
            if is_set:
                raise ConfigError(f"{flag} is for --tiles, which is missing: add --tiles 2x3, or leave it out")
    elif tiles.grid == "auto" and tiles.smallest_px is None:
        raise ConfigError(
            "--tiles auto needs the size of the smallest object to detect: add --smallest-object 20 (pixels of the "
            "frame), or name a grid, such as --tiles 2x3"
        )
    elif tiles.grid != "auto" and tiles.smallest_px is not None:
        raise ConfigError(f"--smallest-object is for --tiles auto, got --tiles {tiles.grid}; leave one of them out")
