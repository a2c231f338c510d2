"""Arrays source: arrays that a program holds → the pictures of a recorded source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, PixelArray, TimedPicture


class ArraysSource:
    """Pictures uint8 [H, W, 3] in BGR, or [H, W] in grey, one a second of media time.

    Raises SourceError, with the number of the array, for one that is not a picture.
    """

    is_live = False
    frames_per_second: float | None = None
    damage: tuple[str, ...] = ()

    def __init__(self, arrays: Sequence[npt.ArrayLike], *, source_id: str = "arrays") -> None:
        self.source_id = source_id
        self._pictures = [ArrayPicture(_picture(array, number)) for number, array in enumerate(arrays)]
        if not self._pictures:
            raise SourceError("at least one picture is needed, got an empty list")
        sizes = {picture.size_wh for picture in self._pictures}
        self.size_wh: tuple[int, int] | None = sizes.pop() if len(sizes) == 1 else None
        self.num_frames: int | None = len(self._pictures)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for number in range(0, len(self._pictures), every):
            if stop.is_set():
                return
            yield TimedPicture(self._pictures[number], float(number), number)

    def close(self) -> None:
        """Do nothing: the arrays are the caller's."""


def _picture(picture: npt.ArrayLike, number: int) -> PixelArray:
    array = np.asarray(picture)
    is_grey = array.ndim == 2
    if array.dtype != np.uint8 or not (is_grey or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        shape = list(array.shape)
        raise SourceError(
            f"picture {number} must be a uint8 array [H, W, 3] in BGR or [H, W], got {array.dtype} {shape}"
        )
    return np.ascontiguousarray(np.repeat(array[:, :, None], 3, axis=2) if is_grey else array)
