"""One frame: a source's word and a number → the pixels of that frame."""

from __future__ import annotations

import itertools
import threading

import numpy as np

from pipeline.errors import ConfigError
from pipeline.masking import masked_address
from pipeline.picture.frame import PixelArray
from pipeline.sources.opening import open_source


def frame_of(word: str, index: int = 0) -> PixelArray:
    """Frame `index` of a source, from 0, uint8 [H, W, 3] BGR, which may be written to.

    Raises SourceError for what cannot be opened, ConfigError for a live source with another index than 0, which cannot
    be asked for again, and for a source that has fewer frames.
    """
    if word == "-":
        raise ConfigError("the frame must come from a file or an address, got - (stdin)")
    source = open_source(word)
    try:
        if source.is_live and index:
            raise ConfigError(f"--frame must be 0 for a live source, got {index} for {masked_address(word)}")
        timed = next(itertools.islice(source.pictures(threading.Event()), index, None), None)
        if timed is not None:
            return np.array(timed.picture.pixels)
    finally:
        source.close()
    reason = "; ".join(source.damage) or f"it has {source.num_frames or 'fewer'} frames"
    raise ConfigError(f"--frame must name a frame of {masked_address(word)}, got {index}: {reason}")
