"""Network shape of a run: a configuration, its model and its sources' sizes → the network in the shape of the video."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.app.config.run import RunConfig
from pipeline.app.extras import load
from pipeline.app.gating import BETWEEN, PACKING
from pipeline.app.model_hints import hints_of, recognised
from pipeline.detector.facts import image_input, read_facts
from pipeline.detector.heads.hints import Hints
from pipeline.errors import ConfigError, MissingExtraError, ModelError
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.network_shape import shape_for

logger = logging.getLogger(__name__)


def leaves_size_open(path: Path, spec: DetectorSpec) -> bool:
    """Whether a file takes pictures of any size that are resized outside of it. Raises ModelError as `read_facts`."""
    if spec.pixels == "nv12" or spec.resize == "in-graph":
        return False
    return image_input(read_facts(path)).size_wh == (None, None)


@dataclass(frozen=True, slots=True)
class ShapedNetwork:
    """The file and spec that run. remark: how they differ from what the user named, in words; None: they do not."""

    path: Path
    spec: DetectorSpec
    remark: str | None = None


def shaped_network(
    config: RunConfig,
    path: Path,
    spec: DetectorSpec,
    sizes_wh: Sequence[tuple[int, int] | None],
    folder: Path,
    *,
    takes_sources: bool,
) -> ShapedNetwork:
    """The network in the shape of the sources, where it can have that and nobody says otherwise.

    sizes_wh: of the frames of the sources; None: not known. folder: where the file is made of a network of another
    size. One that leaves its size open takes any; one of a fixed size is made anew where engine.shape is "video", and
    where it is "auto" behind a gate that packs or interpolates, whose boxes differ anyway. A size that the user has set
    stays, and so does that of a model which looks at tiles, or whose sources may become more.

    Raises ConfigError where engine.shape is "video" and the network cannot have that shape.
    """
    must_change = config.engine.shape == "video"
    obstacle = _obstacle(config, spec, sizes_wh, takes_sources=takes_sources)
    if obstacle is not None:
        if must_change:
            raise ConfigError(f"--shape video needs a network that can have the shape of the video: {obstacle}")
        return ShapedNetwork(path, spec)
    (network_wh,) = _shapes(spec, sizes_wh)
    if network_wh == spec.network_wh:
        return ShapedNetwork(path, spec)
    remark = "{} x {} instead of {} x {}, as the video is".format(*network_wh, *spec.network_wh)
    if leaves_size_open(path, spec):
        hints = hints_of(config.hints).over(Hints(network_wh=network_wh), origin="the shape of the video")
        logger.info("%s: %s", path.name, remark)
        return ShapedNetwork(path, recognised(path, hints))
    if not must_change and config.gate.kind not in (*PACKING, *BETWEEN):
        return ShapedNetwork(path, spec)
    copy = folder / path.name
    try:
        resized: DetectorSpec = load("export.graph.network_size").resized_network(path, spec, copy, network_wh)
    except (ModelError, MissingExtraError) as error:
        if must_change:
            raise ConfigError(f"--shape video: {error}; or leave out --shape") from error
        logger.info("%s stays at %d x %d: %s", path.name, *spec.network_wh, error)
        return ShapedNetwork(path, spec)
    return ShapedNetwork(copy, resized, remark)


def _obstacle(
    config: RunConfig, spec: DetectorSpec, sizes_wh: Sequence[tuple[int, int] | None], *, takes_sources: bool
) -> str | None:
    """Why the network keeps its shape, and what to do about it; None: it need not."""
    if config.engine.shape == "model":
        return "it is to stay as its file says"
    if config.hints.size is not None:
        return "--size names another; leave one of them out"
    if config.tiles.grid is not None:
        return "--tiles lets it look at parts that have another shape; leave one of them out"
    if takes_sources:
        return "sources that come later may have another; leave out --shape"
    if not spec.resize.startswith("letterbox"):
        return f"its resizing is {spec.resize}, without padding to leave out; leave out --shape"
    if None in sizes_wh or len(_shapes(spec, sizes_wh)) != 1:
        return "the sources have several shapes, or one that is not known yet; leave out --shape"
    return None


def _shapes(spec: DetectorSpec, sizes_wh: Sequence[tuple[int, int] | None]) -> set[tuple[int, int]]:
    return {shape_for(size_wh, spec.network_wh, spec.resize) for size_wh in sizes_wh if size_wh is not None}
