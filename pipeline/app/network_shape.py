"""Network shape of a run: a configuration, its model and its sources' sizes → the spec in the shape of the video."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pipeline.app.config.run import RunConfig
from pipeline.app.model_hints import hints_of, recognised
from pipeline.detector.facts import image_input, read_facts
from pipeline.detector.heads.hints import Hints
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.network_shape import shape_for

logger = logging.getLogger(__name__)


def leaves_size_open(path: Path, spec: DetectorSpec) -> bool:
    """Whether a file takes pictures of any size that are resized outside of it. Raises ModelError as `read_facts`."""
    if spec.pixels == "nv12" or spec.resize == "in-graph":
        return False
    return image_input(read_facts(path)).size_wh == (None, None)


def shaped_for(
    config: RunConfig, path: Path, spec: DetectorSpec, sizes_wh: Sequence[tuple[int, int] | None]
) -> DetectorSpec:
    """The spec in the shape of the sources, where the file leaves its size open and all of them have that shape.

    sizes_wh: of the frames of the sources; None: not known. A size that the user has set stays, and so does that of a
    model which looks at tiles.
    """
    known_wh = [size_wh for size_wh in sizes_wh if size_wh is not None]
    if config.engine.shape == "model" or config.hints.size is not None or config.tiles.grid is not None:
        return spec
    shapes = {shape_for(size_wh, spec.network_wh, spec.resize) for size_wh in known_wh}
    if len(known_wh) < len(sizes_wh) or len(shapes) != 1 or shapes == {spec.network_wh}:
        return spec
    if not leaves_size_open(path, spec):
        return spec
    (network_wh,) = shapes
    hints = hints_of(config.hints).over(Hints(network_wh=network_wh), origin="the shape of the video")
    logger.info("%s: %d x %d instead of %d x %d, as the video is", path.name, *network_wh, *spec.network_wh)
    return recognised(path, hints)
