"""Packing of a run: a configuration and its model → the same network for smaller images, in which parts are packed."""

from __future__ import annotations

import logging
import math
import tempfile
from dataclasses import replace
from pathlib import Path

from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.engines import open_engine
from pipeline.app.extras import load
from pipeline.app.gating import BETWEEN
from pipeline.app.network_shape import leaves_size_open
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.errors import ConfigError, ModelError
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.gate.packing import Size
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.network_shape import STRIDE

logger = logging.getLogger(__name__)

_SHARES = ((1 / 3, 1.0), (1 / 2, 1 / 2), (1 / 2, 1.0), (1.0, 1 / 2), (1.0, 1.0))  # of the picture in the network
_ASSUMED_WH = (16, 9)  # of frames whose size is not known


def refuse_packing(config: RunConfig, spec: DetectorSpec) -> None:
    """Raise ConfigError for a run whose frames cannot be packed."""
    reason = None
    if config.tiles.grid is not None:
        reason = "--tiles cuts frames too; leave one of them out"
    elif spec.pixels == "nv12" or spec.resize == "in-graph":
        reason = f"the network resizes whole frames in its graph; {_way_out(config)}"
    elif not spec.resize.startswith("letterbox"):
        reason = f"the network stretches frames to its own shape (resize {spec.resize}); {_way_out(config)}"
    elif spec.num_rois:
        reason = f"the network judges boxes that were proposed for the whole frame; {_way_out(config)}"
    if reason is not None:
        raise ConfigError(f"--gate {config.gate.kind} needs a network that can be shown parts of a frame: {reason}")


def canvases_of(network_wh: Size, frame_wh: Size | None, spec: DetectorSpec) -> list[Size]:
    """The sizes of the images in which parts of a frame are packed, all smaller than the network's own.

    >>> from pipeline.picture.detector_spec import DetectorSpec
    >>> canvases_of((640, 640), (1920, 1080), DetectorSpec("images", (640, 640), head="boxes", class_names=("a",)))
    [(224, 384), (320, 192), (320, 384), (640, 192), (640, 384)]
    """
    letterbox = Letterbox.fit(frame_wh or _ASSUMED_WH, network_wh, spec.resize)
    width = _span(letterbox.pad_left, letterbox.content_wh[0], network_wh[0])
    height = _span(letterbox.pad_top, letterbox.content_wh[1], network_wh[1])
    sizes = [
        (_span(0, width * across, network_wh[0]), _span(0, height * down, network_wh[1])) for across, down in _SHARES
    ]
    return [size_wh for size_wh in dict.fromkeys(sizes) if math.prod(size_wh) < math.prod(network_wh)]


def small_detectors(
    config: RunConfig, path: Path, spec: DetectorSpec, engine: OrtEngine, *, threads: int, frame_wh: Size | None
) -> dict[Size, EngineDetector]:
    """The network for each size of image, warm, on the device of the engine of whole frames, and in its precision.

    path, spec: of the file that they are made of, which the engine's need not be.
    Raises ConfigError where the network cannot be made for any smaller size.
    """
    same = with_keys(config, {"engine.device": engine.device, "engine.precision": engine.precision})
    detectors: dict[Size, EngineDetector] = {}
    refusals: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for size_wh in canvases_of(engine.spec.network_wh, frame_wh, engine.spec):
            file = Path(folder) / "{}x{}.onnx".format(*size_wh)
            try:
                resized = _resized(path, spec, file, size_wh)
            except ModelError as error:
                refusals.append(str(error))
                continue
            small, _ = open_engine(same, *resized, threads=threads, frame_wh=size_wh)
            detectors[size_wh] = EngineDetector(small)
    if not detectors:
        raise ConfigError(
            f"--gate {config.gate.kind} needs a network that can be smaller: {refusals[0]}; {_way_out(config)}"
        )
    for refusal in refusals:
        logger.info("one size less to pack into: %s", refusal)
    return detectors


def _way_out(config: RunConfig) -> str:
    """The gate that looks at whole frames, and is the same otherwise."""
    return "take --gate between" if config.gate.kind in BETWEEN else "take --gate"


def _resized(path: Path, spec: DetectorSpec, file: Path, size_wh: Size) -> tuple[Path, DetectorSpec]:
    if leaves_size_open(path, spec):
        return path, replace(spec, network_wh=size_wh, parity=None)
    return file, load("export.graph.network_size").resized_network(path, spec, file, size_wh)


def _span(begin: int, length: float, most: int) -> int:
    """From the multiple of the stride before something to the one behind it."""
    return min(most, math.ceil((begin + length) / STRIDE - 1e-9) * STRIDE - begin // STRIDE * STRIDE)
