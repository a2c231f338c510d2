"""Preprocess: the network is given what a slow and obvious preprocessing gives it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.letterbox import Letterbox
from pipeline.stages.preprocess import NetworkInput, Preprocess
from tests.support.pictures import noise

REPEATABLE = settings(deadline=None, derandomize=True)
SPECS = st.builds(
    DetectorSpec,
    input_name=st.just("images"),
    network_wh=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    head=st.just("yolov8"),
    class_names=st.just(("thing",)),
    layout=st.sampled_from(["nchw", "nhwc"]),
    dtype=st.sampled_from(["float32", "float16", "uint8"]),
    resize=st.sampled_from(["letterbox-center", "letterbox-topleft", "stretch"]),
    pad_value=st.integers(0, 255),
    colour=st.sampled_from(["rgb", "bgr"]),
    mean=st.sampled_from([(0.0, 0.0, 0.0), (103.53, 116.28, 123.675)]),
    std=st.sampled_from([(1.0, 1.0, 1.0), (255.0, 255.0, 255.0), (57.375, 57.12, 58.395)]),
)


def spec(**changes: Any) -> DetectorSpec:
    return DetectorSpec(
        **{"input_name": "images", "network_wh": (64, 64), "head": "yolov8", "class_names": ("a",)} | changes
    )


def prepare(stage: Preprocess, pixels: PixelArray) -> NetworkInput:
    (prepared,) = stage.process(Frame.from_pixels(pixels))
    return prepared


def naive(pixels: PixelArray, spec: DetectorSpec) -> npt.NDArray[Any]:
    """Resize, pad, normalise and transpose, each in a step of its own and in float64."""
    letterbox = Letterbox.fit((pixels.shape[1], pixels.shape[0]), spec.network_wh, spec.resize)
    content = pixels
    if letterbox.content_wh != letterbox.source_wh:
        content = np.asarray(cv2.resize(pixels, letterbox.content_wh, interpolation=cv2.INTER_LINEAR), np.uint8)
    if spec.colour == "rgb":
        content = content[..., ::-1]
    canvas = np.full((spec.network_wh[1], spec.network_wh[0], 3), spec.pad_value, np.float64)
    height, width = content.shape[:2]
    canvas[letterbox.pad_top : letterbox.pad_top + height, letterbox.pad_left : letterbox.pad_left + width] = content
    if spec.dtype != "uint8":
        canvas = (canvas - spec.mean) / spec.std
    return (canvas.transpose(2, 0, 1) if spec.layout == "nchw" else canvas)[None].astype(spec.dtype)


@REPEATABLE
@given(SPECS, st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_the_tensor_is_that_of_the_naive_reference(spec: DetectorSpec, size_wh: tuple[int, int]) -> None:
    pixels = noise(*size_wh)
    prepared = prepare(Preprocess(spec), pixels)
    assert prepared.tensor.dtype == spec.dtype
    assert prepared.tensor.flags.c_contiguous
    assert np.array_equal(prepared.tensor, naive(pixels, spec))


@REPEATABLE
@given(SPECS, st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=2, max_size=5))
def test_a_buffer_that_was_used_for_another_size_shows_nothing_of_it(
    spec: DetectorSpec, sizes: list[tuple[int, int]]
) -> None:
    stage = Preprocess(spec)
    for index, size_wh in enumerate(sizes):
        pixels = noise(*size_wh, seed=index)
        prepared = prepare(stage, pixels)
        assert np.array_equal(prepared.tensor, naive(pixels, spec))
        prepared.give_back()


def test_a_buffer_that_was_given_back_is_used_again() -> None:
    stage = Preprocess(spec())
    first = prepare(stage, noise(64, 36))
    first.give_back()
    assert prepare(stage, noise(64, 36, seed=1)).tensor is first.tensor


def test_a_buffer_that_was_not_given_back_is_never_written_again() -> None:
    stage = Preprocess(spec())
    kept = prepare(stage, noise(64, 36))
    before = kept.tensor.copy()
    for seed in range(3):
        prepare(stage, noise(64, 36, seed=seed)).give_back()
    assert np.array_equal(kept.tensor, before)


def test_two_sources_of_different_size_each_find_their_own_buffer_again() -> None:
    stage = Preprocess(spec())
    wide, tall = prepare(stage, noise(64, 36)), prepare(stage, noise(36, 64))
    wide.give_back()
    tall.give_back()
    assert prepare(stage, noise(64, 36)).tensor is wide.tensor
    assert prepare(stage, noise(36, 64)).tensor is tall.tensor


def test_several_threads_do_not_write_into_each_others_buffers() -> None:
    details = spec(network_wh=(48, 48))
    stage = Preprocess(details)
    pictures = [noise(40 + index % 3, 30, seed=index) for index in range(60)]

    def is_right(pixels: PixelArray) -> bool:
        prepared = prepare(stage, pixels)
        same = np.array_equal(prepared.tensor, naive(pixels, details))
        prepared.give_back()
        return same

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(is_right, pictures))


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_the_frame_is_left_as_it_was(colour: Literal["rgb", "bgr"]) -> None:
    pixels = noise(64, 64)
    before = pixels.copy()
    prepare(Preprocess(spec(colour=colour)), pixels)
    assert np.array_equal(pixels, before)


def test_a_white_square_is_found_where_the_letterbox_says_that_it_is() -> None:
    pixels = np.zeros((270, 480, 3), np.uint8)
    pixels[60:150, 120:330] = 255
    prepared = prepare(Preprocess(spec(network_wh=(160, 160), pad_value=0)), pixels)
    lit = prepared.tensor[0].mean(axis=0) > 0.5
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    assert prepared.letterbox.boxes_to_source(box).tolist() == [[120, 60, 330, 150]]


def test_nothing_is_held_at_the_end() -> None:
    stage = Preprocess(spec())
    assert list(stage.drain()) == []
    stage.close()
