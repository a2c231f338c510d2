"""Planes: a picture that is drawn on in planes equals one that is drawn on in BGR."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.i420 import I420, Matrix, yuv_of
from pipeline.picture.masks import Masks
from pipeline.sinks.recording import Recording
from pipeline.sources.video.picture import VideoPicture
from pipeline.sources.video.source import VideoSource
from pipeline.stages.render import Render
from tests.support.pictures import difference, grey, scene
from tests.support.videos import write_video

SIZE_WH = WIDTH, HEIGHT = 320, 180
TAGS: dict[Matrix, int] = {"bt601": 6, "bt709": 1}  # AVColorSpace


def planes_of(pixels: PixelArray, matrix: Matrix) -> I420:
    """By this file's own arithmetic: Y of each pixel, U and V of the mean of four."""
    height, width = pixels.shape[:2]
    planes = I420.empty((width, height), matrix)
    y, u, v = planes.yuv
    halves = pixels.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    y[:] = yuv_of(pixels, matrix)[..., 0]
    u[:], v[:] = np.moveaxis(yuv_of(np.rint(halves).astype(np.uint8), matrix)[..., 1:], -1, 0)
    return planes


def result_of(rows: list[tuple[float, float, float, float, float, int]], **more: object) -> Result:
    table = np.array(rows, np.float32).reshape(-1, 6)
    detections = Detections(table[:, :4], table[:, 4].copy(), table[:, 5].astype(np.int64), **more)  # type: ignore[arg-type]
    return Result(Frame.from_pixels(grey(90, SIZE_WH)), detections, ("person", "car", "dog"))


@pytest.mark.parametrize(
    ("matrix", "bgr", "yuv"),
    [  # 100 % colour bars of ITU-R BT.601 and BT.709
        ("bt601", (255, 255, 255), (235, 128, 128)),
        ("bt709", (0, 0, 0), (16, 128, 128)),
        ("bt601", (0, 0, 255), (81, 90, 240)),
        ("bt601", (0, 255, 0), (145, 54, 34)),
        ("bt601", (255, 0, 0), (41, 240, 110)),
        ("bt709", (0, 0, 255), (63, 102, 240)),
        ("bt709", (0, 255, 0), (173, 42, 26)),
        ("bt709", (255, 0, 0), (32, 240, 118)),
    ],
)
def test_colours_are_those_of_the_standards(
    matrix: Matrix, bgr: tuple[int, int, int], yuv: tuple[int, int, int]
) -> None:
    assert np.abs(yuv_of(np.array([[bgr]], np.uint8), matrix)[0, 0].astype(int) - yuv).max() <= 1
    assert np.abs(planes_of(np.full((4, 6, 3), bgr, np.uint8), matrix).to_bgr().astype(int) - bgr).max() <= 3


@pytest.mark.parametrize("wrong", [np.zeros((5, 4), np.uint8), np.zeros((6, 3), np.uint8), np.zeros((6, 4), np.uint16)])
def test_planes_of_odd_sides_or_wide_samples_are_refused(wrong: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"planes must be uint8 \[H \* 3 / 2, W\], contiguous, H and W even, got u"):
        I420(wrong, "bt601")


corners = st.tuples(st.floats(-30, WIDTH + 30), st.floats(-30, HEIGHT + 30))


@given(
    st.lists(st.tuples(corners, corners, st.floats(0, 1), st.integers(0, 5)), max_size=5),
    st.sampled_from(["bt601", "bt709"]),
)
def test_boxes_and_labels_on_planes_are_those_on_bgr(
    drawn: list[tuple[tuple[float, float], tuple[float, float], float, int]], matrix: Matrix
) -> None:
    rows = [
        (min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]), score, kind) for a, b, score, kind in drawn
    ]
    pixels, planes = grey(90, SIZE_WH), planes_of(grey(90, SIZE_WH), matrix)
    draw_result(pixels, result_of(rows))
    draw_result(planes, result_of(rows))
    expected = planes_of(pixels, matrix)
    assert np.abs(planes.yuv[0].astype(int) - expected.yuv[0]).max() <= 2
    # Where all four pixels are of one colour the half-size planes must agree too; at edges, all that is touched is ink.
    blocks = pixels.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3)
    is_even = (np.ptp(blocks, axis=(1, 3)) == 0).all(axis=-1)
    for ours, theirs in zip(planes.yuv[1:], expected.yuv[1:], strict=True):
        assert (np.abs(ours.astype(int) - theirs)[is_even] <= 2).all()


def test_the_overlay_on_planes_is_that_on_bgr() -> None:
    pixels, planes = grey(90, SIZE_WH), planes_of(grey(90, SIZE_WH), "bt709")
    for canvas in (pixels, planes):
        draw_result(canvas, result_of([]), overlay=["FPS 29.7 · latency 35 ms", "dropped 0"])
    assert np.abs(planes.to_bgr().astype(int) - pixels).max() <= 4


def test_masks_and_keypoints_on_planes_are_those_on_bgr() -> None:
    mask = np.zeros((1, HEIGHT, WIDTH), np.bool_)
    mask[0, 60:101, 80:141] = True
    points = np.array([[[100, 40, 0.9], [np.nan, 1, 0.9], [1e12, 1, 0.9], [50, 50, 0.1]]], np.float32)
    result = result_of(
        [(70, 30, 200, 150, 0.9, 0)], masks=Masks.of(mask), keypoints=points, track_ids=np.array([7], np.int64)
    )
    pixels, planes = grey(90, SIZE_WH), planes_of(grey(90, SIZE_WH), "bt709")
    draw_result(pixels, result)
    draw_result(planes, result)
    assert np.abs(planes.yuv[0].astype(int) - planes_of(pixels, "bt709").yuv[0]).max() <= 2
    inside = (slice(64, 96), slice(84, 136))
    assert np.abs(planes.to_bgr()[inside].astype(int) - pixels[inside]).max() <= 4


@pytest.mark.parametrize("size_wh", [(2, 2), (16, 16), (18, 4), (640, 360)])
def test_awkward_boxes_on_small_planes_are_survived(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    rows: list[tuple[float, float, float, float, float, int]] = [
        (0.0, 0.0, float(width), float(height), 1.0, 0),
        (width - 1.0, height - 1.0, width + 90.0, height + 90.0, 0.5, 1),
        (3.0, 3.0, 3.0, 3.0, 0.5, 10**6),
        (-1e9, -1e9, 1e9, 1e9, 0.5, 0),
    ]
    planes = planes_of(np.zeros((height, width, 3), np.uint8), "bt601")
    draw_result(planes, result_of(rows), overlay=["FPS 29.7 · latency 35 ms", "dropped 0"])
    assert planes.yuv[0].max() > 16


@pytest.mark.parametrize("kind", ["yuv420p", "nv12"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_a_decoded_frame_gives_a_copy_of_its_planes(kind: str, matrix: Matrix) -> None:
    frame = VideoFrame.from_ndarray(scene(3, (66, 48)), format="bgr24").reformat(
        format=kind, dst_colorspace=TAGS[matrix] if matrix == "bt709" else 5
    )
    frame.colorspace = TAGS[matrix]
    picture = VideoPicture(frame)
    planes = picture.copy_i420()
    assert planes is not None
    assert (planes.size_wh, planes.matrix) == ((66, 48), matrix)
    assert difference(planes.to_bgr(), scene(3, (66, 48))) < 3
    planes.planes[:] = 7
    assert difference(picture.pixels, scene(3, (66, 48))) < 3


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_frame_gives_upright_planes(degrees: int, tmp_path: Path) -> None:
    source = VideoSource(write_video(tmp_path / "turned.mp4", turned_degrees=degrees))
    picture = next(iter(source.pictures(threading.Event()))).picture
    assert isinstance(picture, VideoPicture)
    planes = picture.copy_i420()
    source.close()
    assert planes is not None
    assert planes.size_wh == picture.size_wh
    assert difference(planes.to_bgr(), picture.pixels) < 3


def _frame(
    kind: str = "yuv420p", size_wh: tuple[int, int] = (64, 48), tag: int = 6, color_range: int = 1
) -> VideoFrame:
    frame = VideoFrame(*size_wh, kind)
    for plane in frame.planes:
        plane.update(bytes([100]) * plane.buffer_size)
    frame.colorspace, frame.color_range = tag, color_range
    return frame


@pytest.mark.parametrize(
    "frame",
    [
        _frame("yuv420p10le"),
        _frame("yuv422p"),
        _frame("yuvj420p"),
        _frame(color_range=2),
        _frame(tag=9),  # BT.2020
        _frame(size_wh=(63, 48)),
        _frame(size_wh=(64, 47)),
    ],
    ids=["10 bits", "4:2:2", "yuvj", "full range", "BT.2020", "odd width", "odd height"],
)
def test_what_a_recording_does_not_have_is_no_planes(frame: VideoFrame) -> None:
    assert VideoPicture(frame).copy_i420() is None


def rendered(canvas: I420 | PixelArray, seconds: float) -> RenderedFrame:
    return RenderedFrame(
        Result(Frame.from_pixels(grey(90, SIZE_WH), pts_seconds=seconds), Detections.empty(), ()), canvas
    )


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_planes_are_recorded_with_their_own_colours_and_so_is_what_follows(matrix: Matrix, tmp_path: Path) -> None:
    pixels = grey(90, SIZE_WH)
    pixels[:, :160], pixels[:, 160:] = (40, 60, 200), (180, 160, 30)
    other: Matrix = "bt601" if matrix == "bt709" else "bt709"
    sink = Recording(tmp_path / "o.mp4")
    canvases: tuple[I420 | PixelArray, ...] = (
        planes_of(pixels, matrix),
        planes_of(pixels, other),
        pixels,
        planes_of(pixels, matrix),
    )
    for index, canvas in enumerate(canvases):
        sink.write(rendered(canvas, index / 10))
    sink.write(rendered(planes_of(np.ascontiguousarray(pixels[:90]), matrix), 0.9))  # fitted: black above and below
    sink.close()
    with av.open(str(tmp_path / "o.mp4")) as container:
        frames = list(container.decode(video=0))
    assert {frame.colorspace for frame in frames} == {TAGS[matrix]}
    assert {frame.color_range for frame in frames} == {1}
    read = [VideoPicture(frame).pixels.astype(int) for frame in frames]
    for picture in read[:4]:
        assert np.abs(picture - pixels)[:, 8:152].max() <= 8
        assert np.abs(picture - pixels)[:, 168:312].max() <= 8
    assert np.abs(read[4] - pixels)[60:120, 8:152].max() <= 8
    assert read[4][:30].max() <= 8


def test_render_draws_on_planes_where_it_may_and_there_are_some() -> None:
    frame = Frame(VideoPicture(_frame()), "", 0, 0.0, 0.0)
    result = Result(frame, Detections.empty(), ())
    (on_planes,) = Render(in_planes=True).process(result)
    (on_pixels,) = Render().process(result)
    assert isinstance(on_planes.canvas, I420)
    assert not isinstance(on_pixels.canvas, I420)
    assert on_planes.size_wh == on_pixels.size_wh == (64, 48)
    assert difference(on_planes.pixels, on_pixels.pixels) < 2
    (of_a_camera,) = Render(in_planes=True).process(result_of([]))
    assert not isinstance(of_a_camera.canvas, I420)
