"""Proof pictures: words of sources → pictures to compare devices on: a drawn street, textures, the sources' own."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import StreamdetError
from pipeline.picture.frame import ArrayPicture, Picture
from pipeline.picture.nv12 import HasNv12
from pipeline.picture.nv12_picture import Nv12Picture
from pipeline.sources.opening import open_source
from pipeline.sources.street.traffic import TrafficSource
from pipeline.sources.words import is_drawn

_SIZE = "640x360"
_SEEDS = (11, 12, 13, 14, 15, 16)
_STREET_FRAME = 60  # painted without those before it
_NUM_OF_SOURCE = 8


def proof_pictures(words: Sequence[str], *, as_planes: bool) -> tuple[Picture, ...]:
    """About 16 pictures, of them up to 8 first frames of the recorded sources that `words` name.

    as_planes: for a network that takes NV12; a picture without such planes gets some.
    """
    pictures = [*_of_sources(words), *_textures(), *_street()]
    if as_planes:
        pictures = [picture if isinstance(picture, HasNv12) else Nv12Picture(picture) for picture in pictures]
    return tuple(pictures)


def _street() -> Iterator[Picture]:
    for seed in _SEEDS:
        source = TrafficSource.from_spec(f"sim:traffic?seed={seed}&seconds=4&density=2&size={_SIZE}")
        yield ArrayPicture(source.paint(_STREET_FRAME))
        source.close()


def _textures() -> Iterator[Picture]:
    random = np.random.default_rng(0)
    yield ArrayPicture(random.integers(0, 256, (360, 640, 3)).astype(np.uint8))
    blocks = random.integers(0, 256, (9, 16, 3)).astype(np.uint8)
    yield ArrayPicture(np.ascontiguousarray(blocks.repeat(40, axis=0).repeat(40, axis=1)))


def _of_sources(words: Sequence[str]) -> list[Picture]:
    """First frames of files, in turn; a camera or a stream cannot be opened twice."""
    pictures: list[Picture] = []
    files = [word for word in words if is_drawn(word) or Path(word).is_file() or Path(word).is_dir()]
    for word in files[:_NUM_OF_SOURCE]:
        try:
            source = open_source(word)
            timed_pictures = source.pictures(threading.Event())
            pictures += [
                timed.picture
                for timed in itertools.islice(timed_pictures, _NUM_OF_SOURCE // len(files[:_NUM_OF_SOURCE]))
            ]
            source.close()
        except StreamdetError:
            continue  # the run itself says what is wrong with it
    return pictures
