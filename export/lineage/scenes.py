"""Scenes: drawn streets → what the systems learn from and are judged on.

Pictures are held in memory in the network's size. Equal arguments give equal bytes; the seeds of training and of
held-out pictures never meet.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from export.examples import Example, augmented, examples_of
from pipeline.accuracy.truth import Truth
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detections import Detections
from pipeline.sources.street.view import CLASS_NAMES

STREET_WH = (320, 192)  # of a street of 640 x 360, at half its size
STREET_CLASSES = ("person", "car", "bus", "truck")  # bicycles are too rare for minutes: they count neither way
LEAST_SIDE_PX = 16.0  # square root of a box's area; smaller objects count neither way
FIRST_HELD_OUT_SEED = 100_000
_SECONDS_APART = 4  # frames of one street, so that the traffic has moved on
_STREET_FRAMES = 8  # a street costs as much as a dozen of its frames
_STREET_CLASS_OF = np.array([STREET_CLASSES.index(name) if name in STREET_CLASSES else -1 for name in CLASS_NAMES])

OnPicture = Callable[[int, int], None]
"""Is called with the number of pictures that are drawn, and of all."""


@dataclass(frozen=True, slots=True)
class World:
    """The classes that a system can tell, and the size of its input."""

    class_names: tuple[str, ...]
    network_wh: tuple[int, int]  # multiples of 32, the coarsest stride


@dataclass(frozen=True, slots=True)
class Scenes:
    """Pictures with ground truth, all of one world."""

    world: World
    examples: tuple[Example, ...]
    name: str  # where they are from, in words

    def batch(self, size: int, chance: np.random.Generator) -> list[Example]:
        """Some of the pictures, chosen at random, mirrored, enlarged, lighter or darker."""
        return [augmented(self.examples[i], chance) for i in chance.integers(0, len(self.examples), size)]

    def truths(self) -> list[Truth]:
        """The ground truth of each picture, for `pipeline.accuracy`, in network pixels."""
        return [_truth_of(example, len(self.world.class_names)) for example in self.examples]


def training_streets(num_streets: int = 40, *, on_picture: OnPicture = lambda *_: None) -> Scenes:
    """Frames of as many streets."""
    return _streets(num_streets, 0, on_picture)


def held_out_streets(num_streets: int = 12, *, on_picture: OnPicture = lambda *_: None) -> Scenes:
    """Frames of other streets, for judging."""
    return _streets(num_streets, FIRST_HELD_OUT_SEED, on_picture)


def _streets(num_streets: int, first_seed: int, on_picture: OnPicture) -> Scenes:
    if not 0 < num_streets <= FIRST_HELD_OUT_SEED:
        raise ValueError(f"num_streets must lie within 1..{FIRST_HELD_OUT_SEED}, got {num_streets}")
    examples: list[Example] = []
    for drawn in _drawn(range(first_seed, first_seed + num_streets)):
        examples += drawn
        on_picture(len(examples), num_streets * _STREET_FRAMES)
    last = first_seed + num_streets - 1
    return Scenes(World(STREET_CLASSES, STREET_WH), tuple(examples), f"streets {first_seed} to {last}")


def _drawn(seeds: Sequence[int]) -> Iterator[list[Example]]:
    """The frames of each street, by all cores where there are many streets."""
    if len(seeds) < 8:
        yield from map(_frames_of_street, seeds)
        return
    with multiprocessing.get_context("spawn").Pool() as pool:
        yield from pool.imap(_frames_of_street, seeds)


def _frames_of_street(seed: int) -> list[Example]:
    cv2.setNumThreads(1)
    seconds, fps = _STREET_FRAMES * _SECONDS_APART, 1 / _SECONDS_APART
    spec = f"sim:traffic?seed={seed}&seconds={seconds}&fps={fps}&size=640x360"
    return [_of_lineage(example) for example in examples_of(spec, STREET_WH)]


def _of_lineage(example: Example) -> Example:
    """A street with the classes of `STREET_CLASSES`; what is too small or of another class is ignored."""
    class_ids = _STREET_CLASS_OF[example.class_ids]
    counts = (class_ids >= 0) & (sides_px(example.boxes_xyxy) >= LEAST_SIDE_PX)  # [N]
    ignored = np.concatenate([example.ignored_xyxy, example.boxes_xyxy[~counts]])
    rows = np.concatenate([[0], np.where(counts, counts.cumsum(), 0)]).astype(np.uint16)  # of the old ones
    return replace(
        example,
        boxes_xyxy=example.boxes_xyxy[counts],
        class_ids=class_ids[counts],
        ignored_xyxy=ignored,
        object_map=None if example.object_map is None else rows[example.object_map],
    )


def sides_px(boxes_xyxy: FloatArray) -> FloatArray:
    """The square roots of the areas of boxes [N, 4]: [N]."""
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clip(0).prod(axis=1)
    return np.asarray(np.sqrt(areas), np.float32)


def _truth_of(example: Example, num_classes: int) -> Truth:
    """An ignored object is one of every class, so that no detection of it counts."""
    num_ignored = len(example.ignored_xyxy)
    return Truth.of(
        _as_detections(example.boxes_xyxy, example.class_ids),
        _as_detections(np.tile(example.ignored_xyxy, (num_classes, 1)), np.repeat(np.arange(num_classes), num_ignored)),
    )


def _as_detections(boxes_xyxy: FloatArray, class_ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Detections:
    return Detections(boxes_xyxy.astype(np.float32), np.ones(len(boxes_xyxy), np.float32), class_ids)
