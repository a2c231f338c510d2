"""PIL images: each mode is read as OpenCV reads its file, upright, and what has no range is refused."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.picture.frame import PixelArray
from pipeline.sources.arrays import ArraysSource, picture_of
from pipeline.sources.images import read_image
from pipeline.sources.pil_images import is_pil_image
from tests.support.pictures import difference, smooth

Image: Any = pytest.importorskip("PIL.Image", reason="Pillow is no dependency")


def photo(mode: str) -> Any:
    """The same smooth picture in a mode of Pillow."""
    rgb = Image.fromarray(smooth(37, 23)[:, :, ::-1])
    if mode == "RGBA":
        rgb.putalpha(Image.fromarray(smooth(37, 23)[:, :, 0]))
        return rgb
    return rgb.quantize(64) if mode == "P" else rgb.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_mode_is_read_as_opencv_reads_its_file(tmp_path: Path, mode: str) -> None:
    image = photo(mode)
    image.save(tmp_path / "a.png")
    assert np.array_equal(picture_of(image, 0).pixels, np.asarray(cv2.imread(str(tmp_path / "a.png"))))


def test_cmyk_is_converted() -> None:
    assert difference(picture_of(photo("CMYK"), 0).pixels, smooth(37, 23)) < 2


def test_of_16_bits_the_upper_8_are_taken_as_from_a_file(tmp_path: Path) -> None:
    levels = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    assert cv2.imwrite(str(tmp_path / "deep.png"), levels)
    with Image.open(tmp_path / "deep.png") as image:
        assert np.array_equal(picture_of(image, 0).pixels, read_image(tmp_path / "deep.png"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_exif_says(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo("RGB").save(tmp_path / "turned.jpg", exif=exif, quality=95, subsampling=0)
    with Image.open(tmp_path / "turned.jpg") as image:
        pixels = picture_of(image, 0).pixels
    reference = cv2.imread(str(tmp_path / "turned.jpg"), cv2.IMREAD_COLOR)
    assert reference is not None
    assert difference(pixels, np.asarray(reference, np.uint8)) < 1


def test_it_names_the_file_that_pillow_has_it_from(tmp_path: Path) -> None:
    path = tmp_path / "bus ü.png"
    photo("RGB").save(path)
    with Image.open(path) as image:
        source = ArraysSource([image, image.convert("L"), smooth(8, 8)])
    assert [timed.image for timed in source.pictures(threading.Event())] == [str(path), None, None]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_without_a_range_are_refused(mode: str) -> None:
    with pytest.raises(SourceError, match=rf"^picture 3 must have 8 or 16 bits .* in mode {mode}, whose"):
        picture_of(photo("L").convert(mode), 3)


def test_a_broken_file_and_an_empty_picture_are_one_line(tmp_path: Path) -> None:
    photo("RGB").resize((400, 300)).save(tmp_path / "a.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:2000])
    with (
        Image.open(tmp_path / "half.jpg") as image,
        pytest.raises(SourceError, match=r"^picture 1: Pillow cannot decode it: "),
    ):
        picture_of(image, 1)
    with pytest.raises(SourceError, match=r"at least one pixel, got an image of PIL of \(0, 5\)$"):
        picture_of(Image.new("RGB", (0, 5)), 0)


def test_an_array_is_not_of_pillow() -> None:
    pixels: PixelArray = smooth(4, 4)
    assert not is_pil_image(pixels)
    assert is_pil_image(photo("RGB"))
