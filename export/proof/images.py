"""Proof images: drawn ones, and a user's folder or video → the images on which a file is compared with its model."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import ConfigError
from pipeline.picture.frame import ArrayPicture, Picture, PixelArray, TimedPicture
from pipeline.picture.nv12_picture import Nv12Picture
from pipeline.sources.images import ImagesSource
from pipeline.sources.opening import open_source
from pipeline.sources.source import FrameSource
from pipeline.sources.street.traffic import TrafficSource

MOST_IMAGES = 16  # of a user's folder or video, by default


@dataclass(frozen=True, slots=True)
class ProofImage:
    """An image and its name, that of its file where it has one."""

    name: str
    picture: Picture


@cache
def drawn_images() -> tuple[ProofImage, ...]:
    """One image of each kind that breaks exports: square, wide, tall, extreme both ways, tiny, empty, crowded.

    Drawn once; their pixels are read-only.
    """
    crowd = _street(seed=5, size="960x540", density=3)
    strip = np.ascontiguousarray(_street(seed=6, size="2000x360", density=2)[200:232])  # [32, 2000, 3]
    images: dict[str, PixelArray] = {
        "square": _street(seed=3, size="512x512"),
        "wide": _street(seed=4, size="1280x400", density=2),
        "tall": np.ascontiguousarray(np.rot90(_street(seed=7, size="640x360", density=2))),
        "32 x 2000": np.ascontiguousarray(np.rot90(strip)),
        "2000 x 32": strip,
        "tiny": np.asarray(cv2.resize(crowd, (9, 7), interpolation=cv2.INTER_AREA), np.uint8),
        "empty": np.full((480, 640, 3), 127, np.uint8),
        "crowded": np.ascontiguousarray(np.tile(np.asarray(cv2.resize(crowd, (480, 270)), np.uint8), (2, 2, 1))),
    }
    return tuple(ProofImage(name, ArrayPicture(pixels)) for name, pixels in images.items())


def images_of(word: str, *, most: int = MOST_IMAGES) -> tuple[ProofImage, ...]:
    """At most `most` images of a folder, a file, a glob or a video, spread evenly over it.

    Raises SourceError if nothing can be read, and ConfigError for a source that never ends.
    """
    source = open_source(word)
    try:
        if source.is_live:
            raise ConfigError(f"images must come from files, got {source.source_id}, which is live")
        total = len(source.paths) if isinstance(source, ImagesSource) else source.num_frames
        indices = [index * total // most for index in range(most)] if total and total > most else range(most)
        images: list[ProofImage] = []
        for number, timed in enumerate(source.pictures(threading.Event())):
            if number == indices[len(images)]:
                images.append(ProofImage(_name_of(source, timed, number), ArrayPicture(np.array(timed.picture.pixels))))
            if len(images) == most:
                break
        return tuple(images)
    finally:
        source.close()


def _name_of(source: FrameSource, timed: TimedPicture, number: int) -> str:
    if isinstance(source, ImagesSource):
        return Path(source.paths[int(timed.pts_seconds)]).name
    return f"{source.source_id} #{number}"


def images_hash(images: Iterable[ProofImage]) -> str:
    """SHA-256 over the sizes and pixels of images, in their order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(str(image.picture.size_wh).encode())
        digest.update(image.picture.pixels.tobytes())
    return digest.hexdigest()


def in_batches(images: Sequence[ProofImage], sizes: Sequence[int] = (1, 2, 3, 4)) -> Iterator[tuple[int, ...]]:
    """The indices of images in batches of changing size, every image once: 0; 1, 2; 3, 4, 5; 6, 7, 8, 9; 10; …"""
    start = number = 0
    while start < len(images):
        stop = min(len(images), start + sizes[number % len(sizes)])
        yield tuple(range(start, stop))
        start, number = stop, number + 1


def _street(*, seed: int, size: str, density: float = 1) -> PixelArray:
    source = TrafficSource.from_spec(f"sim:traffic?seed={seed}&seconds=1&fps=1&size={size}&density={density}")
    try:
        return np.array(next(iter(source.pictures(threading.Event()))).picture.pixels)
    finally:
        source.close()


def as_decoded(images: Sequence[ProofImage]) -> tuple[ProofImage, ...]:
    """The same images, which are available as NV12 as well."""
    return tuple(replace(image, picture=Nv12Picture(image.picture)) for image in images)
