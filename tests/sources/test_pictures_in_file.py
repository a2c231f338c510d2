"""Pictures in a file: their number, and the line of damage about those that are left out."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.sources.images import ImagesSource
from pipeline.sources.pictures_in_file import num_pictures

FRAMES = [np.full((20, 30, 3), 60 * index, np.uint8) for index in range(3)]


def write(path: Path, num: int) -> Path:
    """A file with that number of pictures, by OpenCV."""
    if path.suffix == ".tiff":
        assert cv2.imwritemulti(str(path), FRAMES[:num])
    elif num == 1:
        assert cv2.imwrite(str(path), FRAMES[0])
    else:
        animation = cv2.Animation()
        animation.frames, animation.durations = FRAMES[:num], [100] * num
        assert cv2.imwriteanimation(str(path), animation)
    return path


@pytest.mark.parametrize("num", [1, 2, 3])
@pytest.mark.parametrize("suffix", [".tiff", ".png", ".webp", ".avif"])
def test_pages_and_frames_are_counted(suffix: str, num: int, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{suffix}", num)
    assert num_pictures(path.read_bytes()) == num == cv2.imcount(str(path))


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".ppm"])
def test_other_files_hold_one(suffix: str) -> None:
    assert num_pictures(cv2.imencode(suffix, FRAMES[0])[1].tobytes()) == 1


@pytest.mark.parametrize("suffix", [".tiff", ".png", ".webp", ".avif"])
def test_a_broken_file_is_survived(suffix: str, tmp_path: Path) -> None:
    content = write(tmp_path / f"a{suffix}", 3).read_bytes()
    dice = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(content[: int(dice.integers(1, len(content) + 1))])
        for at in dice.integers(0, len(broken), 3):
            broken[at] = dice.integers(256)
        assert num_pictures(bytes(broken)) >= 1


def test_a_chain_of_pages_that_goes_in_a_circle_ends() -> None:
    circle = b"II*\0" + (8).to_bytes(4, "little") + (0).to_bytes(2, "little") + (8).to_bytes(4, "little")
    assert num_pictures(circle) == 1


def test_a_thumbnail_in_a_tiff_is_no_second_picture(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.tiff", 2).read_bytes())
    first = int.from_bytes(content[4:8], "little")
    num_entries = int.from_bytes(content[first : first + 2], "little")
    second = int.from_bytes(content[first + 2 + 12 * num_entries :][:4], "little")
    entry = second + 2  # the first tag of the second page becomes NewSubfileType: a reduced image
    content[entry : entry + 12] = b"\xfe\0\4\0\1\0\0\0\1\0\0\0"
    assert num_pictures(bytes(content)) == 1


def test_what_is_left_out_of_files_with_several_pictures_is_one_line(tmp_path: Path) -> None:
    for name, num in (("a.tiff", 1), ("b.tiff", 3), ("c.png", 2)):
        write(tmp_path / name, num)
    source = ImagesSource(tmp_path)
    assert len(list(source.pictures(threading.Event()))) == 3
    line = f"{tmp_path / 'b.tiff'}: one of its 3 pictures is read, the others are left out; likewise in 1 more"
    assert source.damage == (line,)


def test_pages_that_overlap_are_not_read_again_and_again() -> None:
    """Each page of the chain says that it has as many entries as the file holds, two bytes after the last page."""
    num_entries, num_pages = 20_000, 20_000
    content = bytearray(b"II*\0" + struct.pack("<I", 8) + b"\0" * (12 * num_entries + 2 * num_pages + 64))
    for page in range(num_pages):
        at = 8 + 2 * page
        struct.pack_into("<H", content, at, num_entries)
        end = at + 2 + 12 * num_entries
        struct.pack_into("<I", content, end, 0 if page == num_pages - 1 else at + 2)
    assert num_pictures(bytes(content)) == 1
