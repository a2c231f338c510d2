"""Proof images: of every kind that breaks exports, always the same, and spread evenly over a user's files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from export.proof.images import ProofImage, drawn_images, images_hash, images_of, in_batches
from pipeline.errors import ConfigError, SourceError
from pipeline.picture.frame import ArrayPicture


@pytest.fixture(scope="module")
def drawn() -> tuple[ProofImage, ...]:
    return drawn_images()


@pytest.mark.parametrize(
    ("name", "size_wh"),
    [
        ("square", (512, 512)),
        ("wide", (1280, 400)),
        ("tall", (360, 640)),
        ("32 x 2000", (32, 2000)),
        ("2000 x 32", (2000, 32)),
        ("tiny", (9, 7)),
        ("empty", (640, 480)),
        ("crowded", (960, 540)),
    ],
)
def test_each_kind_is_there(drawn: tuple[ProofImage, ...], name: str, size_wh: tuple[int, int]) -> None:
    (image,) = (candidate for candidate in drawn if candidate.name == name)
    assert image.picture.size_wh == size_wh
    pixels = image.picture.pixels
    assert pixels.dtype == np.uint8
    assert pixels.shape == (size_wh[1], size_wh[0], 3)
    assert pixels.flags.c_contiguous
    assert (np.ptp(pixels) == 0) == (name == "empty")


def test_they_are_the_same_each_time(drawn: tuple[ProofImage, ...]) -> None:
    assert len(drawn) == len({image.name for image in drawn}) == 8
    assert images_hash(drawn_images.__wrapped__()) == images_hash(drawn)  # drawn anew


def any_image(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> ProofImage:
    return ProofImage("any", ArrayPicture(pixels))


def test_the_hash_is_of_pixels_sizes_and_order() -> None:
    black, white = np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 255, np.uint8)
    hashes = {
        images_hash(images)
        for images in (
            [],
            [any_image(black)],
            [any_image(white)],
            [any_image(black), any_image(white)],
            [any_image(white), any_image(black)],
            [any_image(black.reshape(6, 4, 3))],
            [any_image(black.reshape(2, 12, 3))],
        )
    }
    assert len(hashes) == 7
    assert images_hash([ProofImage("one", ArrayPicture(black))]) == images_hash([any_image(black.copy())])


def stills(folder: Path, num: int) -> Path:
    """Pictures whose grey is their number."""
    folder.mkdir(exist_ok=True)
    for number in range(num):
        cv2.imwrite(str(folder / f"{number:03}.png"), np.full((8, 12, 3), number, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("num", "most", "numbers"),
    [
        (3, 16, [0, 1, 2]),
        (4, 4, [0, 1, 2, 3]),
        (10, 5, [0, 2, 4, 6, 8]),
        (100, 4, [0, 25, 50, 75]),
        (7, 4, [0, 1, 3, 5]),
        (31, 16, [31 * index // 16 for index in range(16)]),
        (5, 1, [0]),
    ],
)
def test_a_folder_is_gone_through_evenly(tmp_path: Path, num: int, most: int, numbers: list[int]) -> None:
    images = images_of(str(stills(tmp_path / "stills", num)), most=most)
    assert [image.name for image in images] == [f"{number:03}.png" for number in numbers]
    assert [int(image.picture.pixels.mean()) for image in images] == numbers
    assert images[0].picture.size_wh == (12, 8)


def test_a_glob_and_a_single_picture_are_taken(tmp_path: Path) -> None:
    folder = stills(tmp_path / "stills", 12)
    assert [image.name for image in images_of(f"{folder}/01*.png")] == ["010.png", "011.png"]
    assert [image.name for image in images_of(str(folder / "007.png"))] == ["007.png"]


def test_a_video_is_gone_through_evenly(small_video: Path) -> None:
    images = images_of(str(small_video), most=5)
    assert [image.name for image in images] == [f"{small_video} #{number}" for number in (0, 6, 12, 18, 24)]
    assert {image.picture.size_wh for image in images} == {(96, 64)}
    assert len(images_of(str(small_video))) == 16
    assert len(images_of(str(small_video), most=100)) == 30


def test_pictures_outlive_their_source(small_video: Path) -> None:
    for image in images_of(str(small_video), most=3):
        assert image.picture.pixels.mean() < 20  # black, and still readable


def test_a_live_source_is_refused_because_it_never_ends() -> None:
    with pytest.raises(ConfigError, match=r"images must come from files, got sim:traffic.*, which is live"):
        images_of("sim:traffic?realtime=1")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.png").write_text("no picture")
    for word in ("nowhere", "empty", "words.png"):
        with pytest.raises(SourceError, match=word):
            images_of(str(tmp_path / word))


@pytest.mark.parametrize(
    ("num", "sizes", "batches"),
    [
        (0, (1, 2), []),
        (1, (4,), [(0,)]),
        (11, (1, 2, 3, 4), [(0,), (1, 2), (3, 4, 5), (6, 7, 8, 9), (10,)]),
        (5, (2,), [(0, 1), (2, 3), (4,)]),
    ],
)
def test_batches_change_their_size_and_have_each_image_once(
    num: int, sizes: tuple[int, ...], batches: list[tuple[int, ...]]
) -> None:
    assert list(in_batches([any_image(np.zeros((1, 1, 3), np.uint8))] * num, sizes)) == batches
