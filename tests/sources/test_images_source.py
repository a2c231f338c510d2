"""Images source: a folder of images becomes pictures, in the order that a person expects."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.picture.frame import PixelArray
from pipeline.sources.images import ImagesSource, read_image
from pipeline.stages.capture import Capture
from tests.support.assets import ASSETS, needs_assets
from tests.support.videos import read_all

BLUE, GREEN = (255, 0, 0), (0, 255, 0)


def paint(colour: tuple[int, int, int], size_wh: tuple[int, int] = (16, 8)) -> PixelArray:
    return np.full((size_wh[1], size_wh[0], 3), colour, np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


def names(source: ImagesSource) -> list[str]:
    return [path.name for path in source.paths]


def test_images_come_in_natural_order_each_in_its_own_size(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        save(tmp_path / f"img{number}.png", paint(BLUE, (number, 3)))
    (tmp_path / "notes.txt").write_text("no image")
    source = ImagesSource(tmp_path)
    assert names(source) == ["img1.png", "img2.png", "img10.png"]
    timed_pictures = read_all(source)
    assert [timed.picture.size_wh for timed in timed_pictures] == [(1, 3), (2, 3), (10, 3)]
    assert [timed.pts_seconds for timed in timed_pictures] == [0, 1, 2]
    assert (source.num_frames, source.size_wh, source.frames_per_second, source.is_live) == (3, None, None, False)
    assert source.source_id == str(tmp_path)


def test_a_glob_takes_what_matches_and_a_file_is_itself(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a1.png", "a2.PNG", "b1.png", "deep/a3.png"):
        save(tmp_path / name, paint(BLUE))
    assert names(ImagesSource(tmp_path / "a*")) == ["a1.png", "a2.PNG"]
    assert names(ImagesSource(tmp_path / "**" / "a*.png")) == ["a1.png", "a3.png"]
    save(tmp_path / "x[1].png", paint(GREEN))
    assert names(ImagesSource(tmp_path / "x[1].png")) == ["x[1].png"]


def test_images_of_every_kind_become_8_bit_bgr(tmp_path: Path) -> None:
    save(tmp_path / "0_grey.png", np.full((8, 16), 80, np.uint8))
    save(tmp_path / "1_deep.png", np.full((8, 16, 3), (0x8000, 0, 0xFFFF), np.uint16))
    save(tmp_path / "2_alpha.png", np.full((8, 16, 4), (10, 20, 30, 128), np.uint8))
    save(tmp_path / "3_plain.bmp", paint(GREEN))
    corners = [tuple(int(level) for level in timed.picture.pixels[0, 0]) for timed in read_all(ImagesSource(tmp_path))]
    assert corners == [(80, 80, 80), (128, 0, 255), (10, 20, 30), GREEN]


def test_a_photograph_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255  # lit on the left
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    turn_clockwise = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(turn_clockwise) + 2).to_bytes(2, "big") + turn_clockwise
    path = tmp_path / "phone.jpg"
    path.write_bytes(jpeg[:2] + segment + jpeg[2:])
    picture = read_all(ImagesSource(path))[0].picture
    assert picture.size_wh == (16, 32)
    assert picture.pixels[4].min() > 200  # now lit at the top
    assert picture.pixels[-4].max() < 50


def test_a_corrupt_image_is_skipped_and_named_and_the_position_still_tells_the_path(tmp_path: Path) -> None:
    save(tmp_path / "a.png", paint(BLUE))
    (tmp_path / "b.png").write_bytes(b"\x89PNG but not really")
    (tmp_path / "c.png").touch()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    broken = bytearray(cv2.imencode(".jpg", noise)[1].tobytes())
    broken[1500:1600] = bytes(100)
    (tmp_path / "d.jpg").write_bytes(broken)
    save(tmp_path / "e.png", paint(GREEN))
    source = ImagesSource(tmp_path)
    timed_pictures = read_all(source)
    assert [source.paths[int(timed.pts_seconds)].name for timed in timed_pictures] == ["a.png", "e.png"]
    assert source.damage == (
        f"{tmp_path / 'b.png'}: is not an image that can be decoded",
        f"{tmp_path / 'c.png'}: is empty (0 bytes)",
        f"{tmp_path / 'd.jpg'}: is a broken JPEG",
    )


def test_what_is_left_out_of_a_folder_or_a_glob_is_said_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "a.png", paint(BLUE))
    for name in ("b.gif", "c.gif", "notes.txt", "README", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "more").mkdir()
    assert names(ImagesSource(tmp_path)) == ["a.png"]
    left_out = "2 .gif, 1 .txt, 1 folder, 1 without a suffix"
    assert caplog.messages == [f"{tmp_path}: 5 of 6 left out, not images: {left_out}"]
    caplog.clear()
    assert names(ImagesSource(tmp_path / "[ab]*")) == ["a.png"]
    assert caplog.messages == [f"{tmp_path / '[ab]*'}: 1 of 2 left out, not images: 1 .gif"]
    caplog.clear()
    assert names(ImagesSource(tmp_path / "*.png")) == ["a.png"]
    assert not caplog.messages


def test_where_there_is_no_image_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(SourceError, match="no image in this folder; image files are avif bmp"):
        ImagesSource(tmp_path)
    with pytest.raises(SourceError, match=r"\*\.png: no image matches"):
        ImagesSource(tmp_path / "*.png")
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"none of its images could be read; .*broken\.jpg: is not an image"):
        read_all(ImagesSource(tmp_path / "broken.jpg"))


def test_images_between_are_not_read(tmp_path: Path) -> None:
    for number in (0, 3, 6):
        save(tmp_path / f"{number}.png", paint(BLUE))
    for number in (1, 2, 4, 5):
        (tmp_path / f"{number}.png").write_bytes(b"nothing")
    source = ImagesSource(tmp_path)
    assert [timed.pts_seconds for timed in source.pictures(threading.Event(), every=3)] == [0.0, 3.0, 6.0]
    assert source.damage == ()
    with pytest.raises(SourceError, match=r"none of its images could be read; the first: .*4\.png: is not an image"):
        list(
            ImagesSource("", paths=[tmp_path / f"{number}.png" for number in (4, 0)]).pictures(
                threading.Event(), every=2
            )
        )


def test_a_stop_ends_the_reading(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png", paint(BLUE))
    source, stop = ImagesSource(tmp_path), threading.Event()
    pictures = source.pictures(stop)
    next(pictures)
    stop.set()
    assert list(pictures) == []
    source.close()


@needs_assets
def test_real_photographs_come_out_and_the_corrupt_one_is_named() -> None:
    source = ImagesSource(ASSETS / "images" / "stills")
    assert len(read_all(source)) == 17
    assert [line.split("/")[-1] for line in source.damage] == ["tc_corrupt.jpg: is a broken JPEG"]
    source = ImagesSource(ASSETS / "images" / "voc100" / "images")
    assert (len(read_all(source)), source.damage) == (100, ())


@needs_assets
def test_a_cmyk_photograph_has_its_colours() -> None:
    (timed,) = read_all(ImagesSource(ASSETS / "images" / "stills" / "tc_cmyk.jpg"))
    corners = timed.picture.pixels[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    assert np.abs(corners - [(0, 0, 0), (128, 0, 255), (128, 255, 0), (255, 255, 255)]).max() < 12


def test_a_frame_names_its_image_also_behind_a_broken_one(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        save(tmp_path / name, paint(BLUE))
    (tmp_path / "b.png").write_bytes(b"nothing")
    frames = list(Capture(ImagesSource(tmp_path)).items(threading.Event()))
    assert [(frame.index, frame.image) for frame in frames] == [
        (0, str(tmp_path / "a.png")),
        (1, str(tmp_path / "c.png")),
    ]


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """1.2 GB of pixels in a file of some hundred bytes; its header alone says so."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(b""), b"IEND"]
    framed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    with pytest.raises(SourceError, match="must have at most 178,956,970 pixels"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_a_named_pipe_among_images_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match=r"a\.jpg: is not a regular file"):
        read_image(tmp_path / "a.jpg")
