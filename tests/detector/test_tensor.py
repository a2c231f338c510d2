"""Does every pixel of a picture come to the place and the value that the network wants?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.detector.tensor import TensorWriter
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture, PixelArray
from tests.support.pictures import noise

NETWORK_WH = (12, 8)
IMAGENET: dict[str, Any] = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


def spec(**changes: Any) -> DetectorSpec:
    return DetectorSpec(
        **{"input_name": "images", "network_wh": NETWORK_WH, "head": "boxes", "class_names": ("a",), **changes}
    )


def tensor_of(pixels: PixelArray, told: DetectorSpec) -> npt.NDArray[Any]:
    return TensorWriter(told).tensor_of(ArrayPicture(pixels))[1]


def slowly(pixels: PixelArray, told: DetectorSpec, *, left: int, top: int) -> npt.NDArray[np.float64]:
    """[H, W, 3] value by value; the pixels lie in the network's input as they are, at left and top."""
    width, height = told.network_wh
    image = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            is_padding = not (0 <= y - top < pixels.shape[0] and 0 <= x - left < pixels.shape[1])
            for channel in range(3):
                if is_padding:
                    value = told.pad_values[channel]
                else:
                    value = int(pixels[y - top, x - left, channel if told.colour == "bgr" else 2 - channel])
                is_raw = told.dtype == "uint8"
                image[y, x, channel] = value if is_raw else (value - told.mean[channel]) / told.std[channel]
    return image


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "chw", "hwc"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("uint8", 0)])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("resize", "size_wh", "left", "top"),
    [
        ("letterbox-center", (12, 5), 0, 1),
        ("letterbox-center", (5, 8), 3, 0),
        ("letterbox-topleft", (12, 5), 0, 0),
        ("letterbox-topleft", (5, 8), 0, 0),
        ("stretch", (12, 8), 0, 0),
    ],
)
def test_every_value_is_that_of_a_slow_reading(
    layout: str,
    dtype: str,
    tolerance: float,
    colour: str,
    resize: str,
    size_wh: tuple[int, int],
    left: int,
    top: int,
) -> None:
    told = spec(layout=layout, dtype=dtype, colour=colour, resize=resize, pad_value=(1, 100, 200), **IMAGENET)
    pixels = noise(*size_wh)
    tensor = tensor_of(pixels, told)
    expected = slowly(pixels, told, left=left, top=top)
    expected = expected.transpose(2, 0, 1) if layout in ("nchw", "chw") else expected
    assert tensor.dtype == dtype
    assert tensor == pytest.approx(expected[None], rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "chw", "hwc"])
@pytest.mark.parametrize("size_wh", [(7, 3), (1, 1), (40, 90)])
def test_in_graph_leaves_the_size_to_the_network(layout: str, size_wh: tuple[int, int]) -> None:
    pixels = noise(*size_wh)
    letterbox, tensor = TensorWriter(spec(layout=layout, dtype="uint8", colour="bgr", resize="in-graph")).tensor_of(
        ArrayPicture(pixels)
    )
    assert letterbox.network_wh == letterbox.source_wh == letterbox.content_wh == size_wh
    assert np.array_equal(tensor[0], pixels.transpose(2, 0, 1) if layout in ("nchw", "chw") else pixels)


def test_one_pad_value_is_that_of_all_channels() -> None:
    one, three = (tensor_of(noise(12, 2), spec(pad_value=value)) for value in (77, (77, 77, 77)))
    assert np.array_equal(one, three)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_pad_values_are_in_the_order_of_the_colour(colour: str) -> None:
    told = spec(colour=colour, resize="letterbox-topleft", pad_value=(10, 20, 30), std=(1.0, 1.0, 1.0))
    assert tensor_of(noise(12, 2), told)[0, :, -1, -1].tolist() == [10, 20, 30]


def test_float16_keeps_what_it_can_of_a_division_in_full_precision() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    told = spec(dtype="float16", network_wh=(256, 1), resize="stretch", **IMAGENET)
    expected = ((np.arange(256) - 123.675) / 58.395).astype(np.float16)
    assert np.array_equal(tensor_of(pixels, told)[0, 0, 0], expected)


def test_the_picture_is_left_alone_and_each_tensor_is_new() -> None:
    pixels = noise(12, 8)
    before = pixels.copy()
    told = spec(layout="nhwc", dtype="uint8", colour="bgr", resize="stretch")
    first, second = tensor_of(pixels, told), tensor_of(pixels, told)
    first[...] = 0
    assert np.array_equal(pixels, before)
    assert np.array_equal(second[0], before)


def test_several_threads_may_write_with_one_writer() -> None:
    writer = TensorWriter(spec(**IMAGENET))
    pictures = [ArrayPicture(noise(30, 20, seed=index)) for index in range(32)]
    alone = [writer.tensor_of(picture)[1] for picture in pictures]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda picture: writer.tensor_of(picture)[1], pictures))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
