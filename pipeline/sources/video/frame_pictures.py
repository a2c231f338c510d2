"""Frame pictures: decoded frames of a video → its pictures, upright, with the shape of their pixels."""

from __future__ import annotations

from fractions import Fraction

from av.video.frame import VideoFrame

from pipeline.errors import SourceError
from pipeline.picture.pixel_aspect import SQUARE
from pipeline.sources.video.damage import Damage
from pipeline.sources.video.on_gpu import GpuPicture
from pipeline.sources.video.opening import USE_CPU, OpenVideo
from pipeline.sources.video.orientation import Orientation
from pipeline.sources.video.picture import VideoPicture


class FramePictures:
    """Makes pictures of the frames of an open video, in order. is_on_gpu: whether they are to lie on the GPU."""

    def __init__(self, video: OpenVideo, *, source_id: str, is_on_gpu: bool, damage: Damage) -> None:
        self._video, self._source_id, self._is_on_gpu, self._damage = video, source_id, is_on_gpu, damage
        self._aspect: Fraction | None = None  # of the pixels of the last frame
        self._coded_aspect: Fraction | None = None

    def of(self, frame: VideoFrame) -> VideoPicture | GpuPicture:
        """The picture of a frame. Raises SourceError for what the GPU cannot show upright, where it is to."""
        orientation = Orientation.of(frame)
        self._damage.odd_degrees = self._damage.odd_degrees or orientation.odd_degrees
        if not self._is_on_gpu:
            return VideoPicture(frame, orientation=orientation, stored_pixel_aspect=self._pixel_aspect())
        if frame.format.name != "cuda":
            raise SourceError(f"{self._source_id}: was not decoded on the GPU, but to {frame.format.name}; {USE_CPU}")
        if not orientation.is_upright:
            raise SourceError(f"{self._source_id}: is {orientation}, which the GPU leaves so; {USE_CPU}")
        return GpuPicture(frame, stored_pixel_aspect=self._pixel_aspect())

    def _pixel_aspect(self) -> Fraction:
        """That of the frame decoded last: the container's, until that of the bitstream changes."""
        stream = self._video.stream
        coded = stream.codec_context.sample_aspect_ratio
        if self._aspect is None or coded != self._coded_aspect:
            ratio = (stream.sample_aspect_ratio if self._aspect is None else None) or coded or SQUARE
            self._aspect, self._coded_aspect = Fraction(ratio.numerator, ratio.denominator), coded
        return self._aspect
