"""Arrays source: arrays, or images of PIL, that a program holds → the pictures of a recorded source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.errors import SourceError
from pipeline.flow.stage import Stop
from pipeline.picture.frame import ArrayPicture, TimedPicture
from pipeline.sources.pil_images import file_of, is_pil_image, pixels_of


class ArraysSource:
    """Pictures uint8 [H, W, 3] in BGR, or [H, W] in grey, or of PIL, one a second of media time.

    An array is kept, not copied; an image of PIL is converted, and names the file that PIL has it from.

    Raises SourceError, with the number of the array, for one that is not a picture.
    """

    is_live = False
    frames_per_second: float | None = None
    damage: tuple[str, ...] = ()

    def __init__(self, arrays: Sequence[object], *, source_id: str = "arrays") -> None:
        self.source_id = source_id
        self._pictures = [picture_of(array, number) for number, array in enumerate(arrays)]
        if not self._pictures:
            raise SourceError("at least one picture is needed, got an empty list")
        sizes = {picture.size_wh for picture in self._pictures}
        self.size_wh: tuple[int, int] | None = sizes.pop() if len(sizes) == 1 else None
        self._files = [file_of(array) for array in arrays]
        self.num_frames: int | None = len(self._pictures)

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for number in range(0, len(self._pictures), every):
            if stop.is_set():
                return
            yield TimedPicture(self._pictures[number], float(number), number, self._files[number])

    def close(self) -> None:
        """Do nothing: the arrays are the caller's."""


def picture_of(picture: object, number: int) -> ArrayPicture:
    """The picture in an array, or of PIL. number: what an error calls it. Raises SourceError for what is none."""
    if is_pil_image(picture):
        return ArrayPicture(pixels_of(picture, number))
    array = np.asarray(picture)
    is_grey = array.ndim == 2
    if array.dtype != np.uint8 or not (is_grey or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        shape = list(array.shape)
        raise SourceError(
            f"picture {number} must be a uint8 array [H, W, 3] in BGR or [H, W], got {array.dtype} {shape}"
        )
    return ArrayPicture(np.ascontiguousarray(np.repeat(array[:, :, None], 3, axis=2) if is_grey else array))
