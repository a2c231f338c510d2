"""Masks: the pixels of each object → a crop each, at its place in the picture, and whole arrays where these are needed.

A hundred objects of a 1080p picture are 200 MB as arrays [N, H, W]; as crops they are as large as their boxes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.picture.run_lengths import MaskArray, coco_rle

Polygon = npt.NDArray[np.int32]
"""[P, 2], x and y of the pixels on an outline."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """A crop in few bytes, for those that are kept for long."""

    shape: tuple[int, int]
    content: bytes

    @classmethod
    def of(cls, crop: MaskArray) -> _Packed:
        height, width = crop.shape
        return cls((height, width), zlib.compress(np.packbits(crop).tobytes(), level=1))

    def unpacked(self) -> MaskArray:
        height, width = self.shape
        bits = np.frombuffer(zlib.decompress(self.content), np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(self.shape).view(np.bool_)


class Masks:
    """The masks of N objects of one picture. `np.asarray` makes bool [N, H, W] of them, an index bool [H, W] of one.

    crops: bool [h, w] each, not to be changed; left_tops: the position of each in the picture, within which it lies.
    Raises ValueError for a crop that does not, and for another number of positions.

    >>> masks = Masks((4, 3), [np.ones((2, 1), np.bool_)], [(3, 1)])
    >>> masks.shape, np.argwhere(masks[0]).tolist()
    ((1, 3, 4), [[1, 3], [2, 3]])
    """

    __slots__ = ("_crops", "left_tops", "size_wh")

    def __init__(
        self, size_wh: tuple[int, int], crops: Sequence[MaskArray | _Packed], left_tops: Sequence[tuple[int, int]]
    ) -> None:
        self.size_wh, self._crops, self.left_tops = size_wh, tuple(crops), tuple(left_tops)
        if len(self._crops) != len(self.left_tops):
            raise ValueError(f"{len(self._crops)} crops must have as many positions, got {len(self.left_tops)}")
        for crop, (left, top) in zip(self._crops, self.left_tops, strict=True):
            height, width = crop.shape
            if min(left, top) < 0 or left + width > size_wh[0] or top + height > size_wh[1]:
                raise ValueError(
                    f"a crop must lie within its picture of {size_wh[0]} x {size_wh[1]}, got {width} x {height} at "
                    f"{left}, {top}"
                )

    @classmethod
    def of(cls, masks: npt.ArrayLike) -> Masks:
        """The masks of an array [N, H, W], in which what is not 0 belongs to the object; ValueError for another."""
        array = np.asarray(masks)
        if array.ndim != 3:
            raise ValueError(f"masks must be [N, H, W], got {list(array.shape)}")
        array = array.astype(np.bool_)
        windows = [cv2.boundingRect(mask.view(np.uint8)) for mask in array]  # left, top, width, height
        crops = [
            mask[y : y + height, x : x + width].copy()
            for mask, (x, y, width, height) in zip(array, windows, strict=True)
        ]
        return cls((array.shape[2], array.shape[1]), crops, [(x, y) for x, y, _, _ in windows])

    @property
    def shape(self) -> tuple[int, int, int]:
        """[N, H, W] of the array that they would be."""
        return len(self), self.size_wh[1], self.size_wh[0]

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, index: int) -> MaskArray:
        crop, (left, top) = self.crop(index), self.left_tops[index]
        mask = np.zeros(self.shape[1:], np.bool_)
        mask[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        return mask

    def __iter__(self) -> Iterator[MaskArray]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.generic]:
        if copy is False:
            raise ValueError("masks are crops, of which only a copy is an array")
        array = np.zeros(self.shape, np.bool_)
        for index, mask in enumerate(self):
            array[index] = mask
        return array if dtype is None else array.astype(dtype)

    def select(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> Masks:
        """The masks that a mask [N] or an index array picks, in that order."""
        indices = np.arange(len(self))[chosen].tolist()
        return Masks(
            self.size_wh, [self._crops[index] for index in indices], [self.left_tops[index] for index in indices]
        )

    def placed(self, left_top: tuple[int, int], size_wh: tuple[int, int]) -> Masks:
        """The same objects in a larger picture, in which this one begins at `left_top`."""
        moved = [(left + left_top[0], top + left_top[1]) for left, top in self.left_tops]
        return Masks(size_wh, self._crops, moved)

    @classmethod
    def joined(cls, parts: Sequence[Masks]) -> Masks:
        """The masks of several lists in one picture, of which there is at least one."""
        crops = [crop for part in parts for crop in part._crops]
        return cls(parts[0].size_wh, crops, [left_top for part in parts for left_top in part.left_tops])

    def crop(self, index: int) -> MaskArray:
        """The mask of an object [h, w], which begins at its `left_tops`."""
        crop = self._crops[index]
        return crop.unpacked() if isinstance(crop, _Packed) else crop

    def num_pixels(self) -> list[int]:
        """How many pixels each object has."""
        return [int(np.count_nonzero(self.crop(index))) for index in range(len(self))]

    def rle(self, index: int) -> dict[str, object]:
        """COCO's compressed RLE of an object."""
        return coco_rle(self.crop(index), self.left_tops[index], self.size_wh)

    def outline(self, index: int) -> Polygon:
        """The outline of the largest part of an object, [P, 2] pixels of the picture; [0, 2] where it has none."""
        bordered = np.pad(self.crop(index).view(np.uint8), 1)  # OpenCV's contours keep off the edge
        contours, _ = cv2.findContours(bordered, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if not contours:
            return np.zeros((0, 2), np.int32)
        largest = max(contours, key=cv2.contourArea)
        return np.asarray(largest.reshape(-1, 2) - 1 + self.left_tops[index], np.int32)

    def intersection_over_union(self, index: int, other: Masks, other_index: int) -> float:
        """The IoU of an object with another's; 1 for two empty ones. Both are of pictures of one size."""
        ours, theirs = self.crop(index), other.crop(other_index)
        ours_at, theirs_at = self.left_tops[index], other.left_tops[other_index]
        left, top = (max(pair) for pair in zip(ours_at, theirs_at, strict=True))
        right = min(ours_at[0] + ours.shape[1], theirs_at[0] + theirs.shape[1])
        bottom = min(ours_at[1] + ours.shape[0], theirs_at[1] + theirs.shape[0])
        shared = 0
        if right > left and bottom > top:
            of_ours, of_theirs = (
                crop[top - at[1] : bottom - at[1], left - at[0] : right - at[0]]
                for crop, at in ((ours, ours_at), (theirs, theirs_at))
            )
            shared = int(np.count_nonzero(of_ours & of_theirs))
        either = np.count_nonzero(ours) + np.count_nonzero(theirs) - shared
        return shared / either if either else 1.0

    def packed(self) -> Masks:
        """The same masks in a few hundred bytes each, to be kept for long."""
        crops = [crop if isinstance(crop, _Packed) else _Packed.of(crop) for crop in self._crops]
        return Masks(self.size_wh, crops, self.left_tops)
