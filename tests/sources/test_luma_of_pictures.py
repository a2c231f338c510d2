"""The brightness of decoded pictures, without their colours."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from pipeline.picture.frame import ArrayPicture
from pipeline.picture.gate.luma import luma_cells
from pipeline.sources.video.orientation import CLOCKWISE, COUNTER_CLOCKWISE, UPRIGHT, UPSIDE_DOWN, Orientation
from pipeline.sources.video.picture import VideoPicture

PLANAR = ["yuv420p", "yuvj420p", "nv12", "yuv422p", "yuv444p", "gray", "yuv420p10le", "p010le", "gray16le"]


def frame_in(kind: str) -> VideoFrame:
    """A picture with a bright and a dark side, whose rows are longer in memory than the picture is wide."""
    rows, columns = np.mgrid[:90, :122]
    grey = (columns + rows / 3).astype(np.uint8)
    return av.VideoFrame.from_ndarray(np.dstack([grey] * 3), format="bgr24").reformat(format=kind)


@pytest.mark.parametrize("kind", [*PLANAR, "bgr24", "rgba", "yuyv422"])
def test_cells_are_those_of_the_converted_picture_in_every_format(kind: str) -> None:
    picture = VideoPicture(frame_in(kind), orientation=UPRIGHT)
    assert (picture.luma(1) is None) == (kind not in PLANAR)
    own, of_pixels = luma_cells(picture), luma_cells(ArrayPicture(picture.copy_pixels()))
    slope, level = np.polyfit(own.ravel(), of_pixels.ravel(), 1)
    assert 0.95 < slope < 1.2  # of limited range, 255 / 219
    assert np.abs(own * slope + level - of_pixels).max() < 3


@pytest.mark.parametrize("kind", ["yuv420p", "p010le"])
@pytest.mark.parametrize("orientation", [CLOCKWISE, COUNTER_CLOCKWISE, UPSIDE_DOWN, Orientation(is_mirrored_x=True)])
def test_cells_are_upright(orientation: Orientation, kind: str) -> None:
    picture = VideoPicture(frame_in(kind), orientation=orientation)
    own, of_pixels = luma_cells(picture), luma_cells(ArrayPicture(picture.copy_pixels()))
    assert own.shape == of_pixels.shape
    assert np.corrcoef(own.ravel(), of_pixels.ravel())[0, 1] > 0.999
