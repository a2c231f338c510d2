"""Selective search: a picture → boxes in which something may be, by merging alike neighbours into one.

Uijlings et al., "Selective Search for Object Recognition", IJCV 2013, https://doi.org/10.1007/s11263-013-0620-5. The
regions of Felzenszwalb and Huttenlocher (IJCV 2004) are merged, the most similar neighbours first; every region that
exists on the way gives its box. Similarity is that of colour, texture, size and fill (section 3.2), the first two by
histograms that merge by size.

Otherwise than in the paper: two groupings, in HSV and in Lab, instead of eight or eighty (section 5.2), with one
segmentation scale, so that a frame takes tenths of a second.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.errors import MissingExtraError
from pipeline.picture.boxes import FloatArray
from pipeline.picture.frame import PixelArray

_COLOUR_SPACES: Mapping[str, int] = {"HSV": cv2.COLOR_RGB2HSV_FULL, "Lab": cv2.COLOR_RGB2LAB}
_SCALE, _SIGMA, _LEAST_AREA_PX = 60, 0.8, 20  # of the first regions
_COLOUR_BINS, _TEXTURE_BINS, _NUM_DIRECTIONS = 25, 10, 8
_STEEPEST = 128.0  # a derivative, in levels a pixel, that counts as the strongest
_LEAST_SIDE_PX = 11  # square root of the area of a proposal

LabelArray = npt.NDArray[np.int64]


def selective_search(pixels: PixelArray) -> FloatArray:
    """Boxes xyxy [P, 4] in pixels of a picture uint8 [h, w, 3] RGB, those of large regions rather first, none twice.

    The same picture gives the same boxes. Raises MissingExtraError without scikit-image.
    """
    rows: dict[tuple[int, ...], float] = {}
    chance = np.random.default_rng(0)
    for space in _COLOUR_SPACES.values():
        converted = np.asarray(cv2.cvtColor(pixels, space), np.uint8)
        boxes = Grouping(converted, first_regions(converted)).boxes()
        # The later a region was made, the sooner it comes, but by chance, since large regions are not always right
        # (section 4.4 of the paper).
        ranks = np.arange(len(boxes), 0, -1) * chance.random(len(boxes))
        for box, rank in zip(boxes, ranks.tolist(), strict=True):
            rows[box] = min(rank, rows.get(box, rank))
    best = sorted(rows, key=lambda box: rows[box])
    return np.array([box for box in best if _area(box) >= _LEAST_SIDE_PX**2], np.float32).reshape(-1, 4)


def first_regions(pixels: PixelArray) -> LabelArray:
    """The regions of Felzenszwalb and Huttenlocher, int64 [h, w], numbered from 0 on."""
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise MissingExtraError('selective search needs scikit-image: pip install "streamdet[lineage]"') from error
    return np.asarray(felzenszwalb(pixels, scale=_SCALE, sigma=_SIGMA, min_size=_LEAST_AREA_PX), np.int64)


@dataclass(slots=True)
class _Region:
    """A set of pixels: its box, how many they are, and the histograms of colour and texture, each of sum 1."""

    box: tuple[int, int, int, int]
    area: int
    histograms: npt.NDArray[np.float32]  # [2, D]: colour; texture, padded with zeros
    neighbours: set[int]

    def merged_with(self, other: _Region) -> _Region:
        """Both together; without neighbours."""
        area = self.area + other.area
        histograms = (self.area * self.histograms + other.area * other.histograms) / area
        return _Region(_hull(self.box, other.box), area, histograms.astype(np.float32), set())


class Grouping:
    """The regions of a picture, uint8 [h, w, 3], that are merged two by two; labels [h, w] of the first ones."""

    def __init__(self, pixels: PixelArray, labels: LabelArray) -> None:
        self._picture_area = labels.size
        self._regions = dict(enumerate(_described(pixels, labels)))
        self._heap: list[tuple[float, int, int]] = []
        self._made = list(self._regions.values())

    def boxes(self) -> list[tuple[int, int, int, int]]:
        """The boxes of all regions, in the order in which they were made; to be called once."""
        for a in list(self._regions):
            self._weigh(a, {b for b in self._regions[a].neighbours if b > a})
        while self._heap:
            _, a, b = heapq.heappop(self._heap)
            if a in self._regions and b in self._regions:
                self._merge(a, b)
        return [region.box for region in self._made]

    def _merge(self, a: int, b: int) -> None:
        number = len(self._made)
        first, second = self._regions.pop(a), self._regions.pop(b)
        region = first.merged_with(second)
        region.neighbours = (first.neighbours | second.neighbours) - {a, b}
        self._regions[number] = region
        self._made.append(region)
        for neighbour in region.neighbours:
            others = self._regions[neighbour].neighbours
            others -= {a, b}
            others.add(number)
        self._weigh(number, region.neighbours)

    def _weigh(self, a: int, neighbours: set[int]) -> None:
        """Put the similarities of a region to its neighbours in line: the sum of four numbers in 0..1."""
        if not neighbours:
            return
        region, numbers = self._regions[a], sorted(neighbours)
        others = [self._regions[number] for number in numbers]
        shared = np.minimum(np.stack([other.histograms for other in others]), region.histograms)  # [M, 2, D]
        alike = shared.sum(axis=(1, 2), dtype=np.float64)  # [M]: colour and texture
        for number, other, similarity in zip(numbers, others, alike.tolist(), strict=True):
            both = region.area + other.area
            size = 1 - both / self._picture_area
            fill = 1 - (_area(_hull(region.box, other.box)) - both) / self._picture_area
            heapq.heappush(self._heap, (-(similarity + size + fill), a, number))


def _described(pixels: PixelArray, labels: LabelArray) -> Iterator[_Region]:
    """The first regions."""
    num = int(labels.max()) + 1
    areas = np.bincount(labels.ravel(), minlength=num)
    histograms = np.zeros((num, 2, 3 * _NUM_DIRECTIONS * _TEXTURE_BINS), np.float32)
    colours = pixels.reshape(-1, 3).T.astype(np.int64) * _COLOUR_BINS // 256  # [3, h * w]
    histograms[:, 0, : 3 * _COLOUR_BINS] = _histograms(colours, labels, _COLOUR_BINS)
    histograms[:, 1] = _histograms(textures(pixels), labels, _TEXTURE_BINS)
    boxes, neighbours = _boxes_of(labels, num), _neighbours_of(labels, num)
    for index in range(num):
        yield _Region(boxes[index], int(areas[index]), histograms[index], neighbours[index])


def textures(pixels: PixelArray) -> LabelArray:
    """The strength, 0 to 9, of a Gaussian derivative in eight directions of three colours, int64 [24, h * w]."""
    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.0).astype(np.float32)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, dx, dy, ksize=1) / 2 for dx, dy in ((1, 0), (0, 1)))  # [h, w, 3]
    angles = np.arange(_NUM_DIRECTIONS) * 2 * np.pi / _NUM_DIRECTIONS
    strengths = [np.cos(angle) * across + np.sin(angle) * down for angle in angles]
    bins = np.stack(strengths).clip(0) * (_TEXTURE_BINS / _STEEPEST)  # [8, h, w, 3]
    return np.minimum(bins, _TEXTURE_BINS - 1).astype(np.int64).transpose(0, 3, 1, 2).reshape(-1, across[..., 0].size)


def _histograms(bins: LabelArray, labels: LabelArray, num_bins: int) -> npt.NDArray[np.float64]:
    """The histograms of bins [C, h * w] by region, [R, C * bins], each of sum 1."""
    num_regions, num_channels = int(labels.max()) + 1, len(bins)
    slots = (labels.ravel() * num_channels + np.arange(num_channels)[:, None]) * num_bins + bins  # [C, h * w]
    counts = np.bincount(slots.ravel(), minlength=num_regions * num_channels * num_bins)
    counts = counts.reshape(num_regions, -1)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True), np.float64)


def _boxes_of(labels: LabelArray, num: int) -> list[tuple[int, int, int, int]]:
    """The box xyxy of each region, its last pixels inside."""
    rows, columns = np.indices(labels.shape)
    limits = []
    for values in (columns, rows):
        least, most = np.full(num, labels.size), np.zeros(num, np.int64)
        np.minimum.at(least, labels.ravel(), values.ravel())
        np.maximum.at(most, labels.ravel(), values.ravel())
        limits.append((least, most + 1))
    (left, right), (top, bottom) = limits
    return list(zip(left.tolist(), top.tolist(), right.tolist(), bottom.tolist(), strict=True))


def _neighbours_of(labels: LabelArray, num: int) -> list[set[int]]:
    """The regions that each region touches, above, below, left or right."""
    neighbours: list[set[int]] = [set() for _ in range(num)]
    beside = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()])
    below = np.stack([labels[:-1].ravel(), labels[1:].ravel()])
    pairs = np.unique(np.concatenate([beside, below], axis=1), axis=1)  # [2, pairs]
    for a, b in pairs.T.tolist():
        if a != b:
            neighbours[a].add(b)
            neighbours[b].add(a)
    return neighbours


def _hull(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _area(box: tuple[int, ...]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
