"""Video orientation: a video filmed on its side, upside down or mirrored is shown upright in every format."""

from __future__ import annotations

import math
import struct
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.video.frame import VideoFrame

from pipeline.errors import SourceError
from pipeline.picture.frame import PixelArray
from pipeline.picture.nv12 import Nv12
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.on_gpu import what_is_missing
from pipeline.sources.video.orientation import UPRIGHT, Orientation
from pipeline.sources.video.picture import VideoPicture
from pipeline.sources.video.source import VideoSource
from tests.support.pictures import difference, smooth

WIDTH, HEIGHT = 64, 48
ONE = 1 << 16
MATRICES = {  # a, b, c, d of x' = a x + c y, y' = b x + d y
    "upright": (1, 0, 0, 1),
    "mirrored left to right": (-1, 0, 0, 1),
    "mirrored top to bottom": (1, 0, 0, -1),
    "turned by 180°": (-1, 0, 0, -1),
    "turned by 90° clockwise": (0, 1, -1, 0),
    "turned by 90° counter-clockwise": (0, -1, 1, 0),
    "turned by 90° clockwise and mirrored left to right": (0, 1, 1, 0),
    "turned by 90° clockwise and mirrored top to bottom": (0, -1, -1, 0),
}
every_orientation = pytest.mark.parametrize("name", MATRICES)


def matrix_of(name: str) -> list[int]:
    a, b, c, d = MATRICES[name]
    return [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]


def shown(pixels: PixelArray, name: str) -> PixelArray:
    """[H, W, ...] → what the matrix says, pixel by pixel."""
    a, b, c, d = MATRICES[name]
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    new_x, new_y = a * x + c * y, b * x + d * y
    new_x, new_y = new_x - new_x.min(), new_y - new_y.min()
    upright = np.zeros((new_y.max() + 1, new_x.max() + 1, *pixels.shape[2:]), np.uint8)
    upright[new_y, new_x] = pixels
    return upright


def bgr_of(planes: Nv12) -> PixelArray:
    width, height = planes.size_wh
    assert isinstance(planes.y, np.ndarray)
    assert isinstance(planes.uv, np.ndarray)
    y, uv = planes.y[0, :height, :width], planes.uv[0, : height // 2, :width].reshape(height // 2, width // 2, 2)
    pairs = (np.ascontiguousarray(y), np.ascontiguousarray(uv))
    return np.asarray(cv2.cvtColorTwoPlane(*pairs, cv2.COLOR_YUV2BGR_NV12), np.uint8)


def write_plain(path: Path) -> Path:
    """Three frames of `smooth`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(25), options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(VideoFrame.from_ndarray(smooth(WIDTH, HEIGHT), format="bgr24")))
        container.mux(stream.encode(None))
    return path


def with_sei(path: Path, words: str) -> Path:
    """The same H.264 with a display orientation in its bitstream."""
    turned = path.with_suffix(".mkv")
    with av.open(str(path)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        insert = BitStreamFilterContext(f"h264_metadata=display_orientation=insert:{words}", source.streams.video[0])
        for packet in source.demux(video=0):
            for changed in insert.filter(packet if packet.size else None):
                changed.stream = stream
                target.mux(changed)
    return turned


def with_matrix(path: Path, numbers: list[int]) -> Path:
    """The same MP4 with another matrix in its track header."""
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 4
    at += 4 + (32 if content[at] else 20) + 16
    content[at : at + 36] = struct.pack(">9i", *numbers)
    path.write_bytes(content)
    return path


def first_picture(path: Path) -> VideoPicture:
    source = VideoSource(path)
    picture = next(iter(source.pictures(threading.Event()))).picture
    assert isinstance(picture, VideoPicture)
    assert source.size_wh == picture.size_wh
    source.close()
    return picture


@every_orientation
def test_a_matrix_is_one_of_eight_orientations(name: str) -> None:
    orientation = Orientation.from_matrix(matrix_of(name))
    assert str(orientation) == name
    assert orientation.is_upright == (name == "upright")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(orientation.apply(pixels), shown(pixels, name))
    assert np.array_equal(orientation.apply(pixels[..., 0]), shown(pixels[..., 0], name))
    assert orientation.apply_wh((7, 5)) == shown(pixels, name).shape[1::-1]


@every_orientation
def test_an_mp4_is_shown_as_its_track_header_says(name: str, tmp_path: Path) -> None:
    path = with_matrix(write_plain(tmp_path / "a.mp4"), matrix_of(name))
    assert difference(first_picture(path).pixels, shown(smooth(WIDTH, HEIGHT), name)) < 3


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("flip=horizontal", "mirrored left to right"),
        ("flip=vertical", "mirrored top to bottom"),
        ("rotate=90", "turned by 90° counter-clockwise"),
        ("rotate=90:flip=horizontal", "turned by 90° clockwise and mirrored left to right"),  # mirrored first
    ],
)
def test_h264_is_shown_as_its_bitstream_says(words: str, name: str, tmp_path: Path) -> None:
    path = with_sei(write_plain(tmp_path / "a.mp4"), words)
    assert difference(first_picture(path).pixels, shown(smooth(WIDTH, HEIGHT), name)) < 3


@pytest.mark.parametrize("kind", ["yuv420p", "nv12", "yuv444p", "bgr24", "yuyv422"])
@every_orientation
def test_whatever_is_asked_for_is_turned_alike(kind: str, name: str) -> None:
    frame = VideoFrame.from_ndarray(smooth(WIDTH, HEIGHT), format="bgr24").reformat(format=kind)
    picture = VideoPicture(frame, orientation=Orientation.from_matrix(matrix_of(name)))
    expected = shown(VideoPicture(frame, orientation=UPRIGHT).pixels, name)
    assert np.array_equal(picture.copy_pixels(), expected)  # before and after `pixels` keeps them
    assert np.array_equal(picture.pixels, expected)
    assert np.array_equal(picture.copy_pixels(), expected)
    half_wh = (picture.size_wh[0] // 2, picture.size_wh[1] // 2)
    halved = np.asarray(cv2.resize(expected, half_wh), np.uint8)
    assert difference(picture.resized(half_wh, colour="bgr"), halved) < 4
    if kind in ("yuv420p", "nv12"):
        planes = picture.copy_i420()
        assert planes is not None
        assert difference(planes.to_bgr(), expected) < 2
        assert difference(bgr_of(picture.nv12()), expected) < 2


@pytest.mark.parametrize("degrees", [30, -100, 80])
def test_what_is_no_quarter_turn_is_turned_by_the_nearest_one_and_said(degrees: int, tmp_path: Path) -> None:
    cosine, sine = round(ONE * math.cos(math.radians(degrees))), round(ONE * math.sin(math.radians(degrees)))
    path = with_matrix(write_plain(tmp_path / "a.mp4"), [cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30])
    source = VideoSource(path)
    (first, *_) = source.pictures(threading.Event())
    nearest = {30: "upright", -100: "turned by 90° counter-clockwise", 80: "turned by 90° clockwise"}[degrees]
    assert difference(first.picture.pixels, shown(smooth(WIDTH, HEIGHT), nearest)) < 3
    off = {30: "+30", -100: "-10", 80: "-10"}[degrees]
    assert source.damage == (f"its display matrix turns by {off}° beyond a quarter turn, which is left out",)
    source.close()


@pytest.mark.parametrize("matrix", [[0] * 9, [ONE, 0, 0, 0, 0, 0, 0, 0, 1 << 30], [ONE, ONE, 0, ONE, ONE, 0, 0, 0, 1]])
def test_a_matrix_that_shows_no_picture_is_ignored(matrix: list[int]) -> None:
    assert Orientation.from_matrix(matrix) == UPRIGHT


def test_a_frame_without_a_matrix_is_upright() -> None:
    assert Orientation.of(VideoFrame(16, 16, "yuv420p")) == UPRIGHT


@pytest.mark.gpu
@pytest.mark.skipif(what_is_missing() is not None, reason=f"needs NVDEC: {what_is_missing()}")
def test_what_the_gpu_would_leave_mirrored_is_refused(tmp_path: Path) -> None:
    path = with_matrix(write_plain(tmp_path / "a.mp4"), matrix_of("mirrored left to right"))
    with pytest.raises(SourceError, match=r"is mirrored left to right, which the GPU leaves so; set dec\.device=cpu"):
        VideoSource(path, decode=DecodeOptions(device="cuda"))
