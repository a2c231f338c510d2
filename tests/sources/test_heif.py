"""HEIF: a HEIC or AVIF photograph is read complete and upright, or refused with the reason."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import SourceError
from pipeline.picture.frame import PixelArray
from pipeline.sources.heif import heif_picture, is_heif, is_still
from pipeline.sources.images import ImagesSource, read_image
from pipeline.sources.opening import open_source
from pipeline.sources.pictures_in_file import num_pictures
from pipeline.sources.video.source import VideoSource
from tests.support.pictures import difference

TILE_WH = (64, 48)
codings = pytest.mark.parametrize("coding", ["av01", "hvc1"])


def photograph(width: int, height: int) -> PixelArray:
    """Smooth, another colour at each corner, uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [40 + 160 * x / width, 40 + 160 * y / height, 200 - 150 * x * y / (width * height)]
    return np.stack(planes, axis=2).astype(np.uint8)


# A HEIF file by hand, box by box (ISO/IEC 14496-12 and 23008-12)


def box(kind: bytes, *parts: bytes, version: int | None = None, flags: int = 0) -> bytes:
    head = b"" if version is None else bytes([version]) + flags.to_bytes(3, "big")
    body = head + b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def coded(pixels: PixelArray, coding: str, folder: Path) -> tuple[bytes, bytes]:
    """An image as a decoder wants it: the box that describes the coding, and the data."""
    if coding == "av01":
        content = cv2.imencode(".avif", pixels, [cv2.IMWRITE_AVIF_QUALITY, 95])[1].tobytes()
        at, data_at = content.index(b"av1C") - 4, content.index(b"mdat") - 4
        size, data_size = (int.from_bytes(content[position : position + 4], "big") for position in (at, data_at))
        return content[at : at + size], content[data_at + 8 : data_at + data_size]
    if "libx265" not in av.codecs_available:
        pytest.skip("this build of av has no libx265")
    path = folder / "tile.mkv"  # keeps both as HEIF does
    with av.open(str(path), "w") as container:
        # With B-frames a lone frame has no decoding time, and whether the container takes it is a matter of luck.
        options = {"crf": "4", "x265-params": "log-level=none:bframes=0"}
        stream = container.add_stream("libx265", 25, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = pixels.shape[1], pixels.shape[0], "yuv420p"
        frame = VideoFrame.from_ndarray(pixels, format="bgr24").reformat(format="yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with av.open(str(path)) as container:
        (data,) = (bytes(packet) for packet in container.demux(video=0) if packet.size)
        return box(b"hvcC", container.streams.video[0].codec_context.extradata or b""), data


@dataclass
class Photo:
    """What `heif` writes: tiles row by row, or one image, and other images beside it."""

    tiles: list[PixelArray]
    num_columns: int = 1
    size_wh: tuple[int, int] | None = None  # of a grid
    properties: list[bytes] = field(default_factory=list)  # irot, imir, clap
    others: list[PixelArray] = field(default_factory=list)
    thumbnail: PixelArray | None = None
    num_missing: int = 0


def heif(photo: Photo, coding: str, folder: Path) -> bytes:
    images = [*photo.tiles, *photo.others, *([] if photo.thumbnail is None else [photo.thumbnail])]
    parts = [coded(image, coding, folder) for image in images]
    num_tiles = len(photo.tiles)
    ids = list(range(2, 2 + len(images)))
    is_grid = photo.size_wh is not None
    primary = 1 if is_grid else ids[0]
    items = [(primary, b"grid", 0)] if is_grid else []
    items += [(item, coding.encode(), int(is_grid and position < num_tiles)) for position, item in enumerate(ids)]
    infos = [
        box(b"infe", struct.pack(">HH4sB", item, 0, kind, 0), version=2, flags=hidden) for item, kind, hidden in items
    ]
    references = []
    if is_grid:
        targets = ids[: num_tiles - photo.num_missing]
        references.append(box(b"dimg", struct.pack(f">HH{len(targets)}H", 1, len(targets), *targets)))
    if photo.thumbnail is not None:
        references.append(box(b"thmb", struct.pack(">HHH", ids[-1], 1, primary)))
    kinds = [part[0] for part in parts]
    sizes = [box(b"ispe", struct.pack(">II", image.shape[1], image.shape[0]), version=0) for image in images]
    grid_size = [box(b"ispe", struct.pack(">II", *photo.size_wh), version=0)] if photo.size_wh else []
    num = len(images)
    links = {item: [1 + position, 1 + num + position] for position, item in enumerate(ids)}
    links.setdefault(primary, []).extend([1 + 2 * num] * len(grid_size))
    links[primary] += range(1 + 2 * num + len(grid_size), 1 + 2 * num + len(grid_size) + len(photo.properties))
    associations = b"".join(
        struct.pack(f">HB{len(numbers)}B", item, len(numbers), *numbers) for item, numbers in sorted(links.items())
    )
    properties = box(
        b"iprp",
        box(b"ipco", *kinds, *sizes, *grid_size, *photo.properties),
        box(b"ipma", struct.pack(">I", len(links)), associations, version=0),
    )
    last_row = num_tiles // photo.num_columns - 1
    grid = struct.pack(">4BHH", 0, 0, last_row, photo.num_columns - 1, *photo.size_wh) if photo.size_wh else b""

    def meta(data_at: int) -> bytes:
        places = [struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))] if is_grid else []
        for item, (_, data) in zip(ids, parts, strict=True):
            places.append(struct.pack(">HHHHII", item, 0, 0, 1, data_at, len(data)))
            data_at += len(data)
        return box(
            b"meta",
            box(b"hdlr", struct.pack(">I4s12xx", 0, b"pict"), version=0),
            box(b"pitm", struct.pack(">H", primary), version=0),
            box(b"iinf", struct.pack(">H", len(infos)), *infos, version=0),
            *([box(b"iref", *references, version=0)] if references else []),
            properties,
            *([box(b"idat", grid)] if is_grid else []),
            box(b"iloc", struct.pack(">BBH", 0x44, 0, len(places)), *places, version=1),
            version=0,
        )

    head = box(b"ftyp", b"avif" if coding == "av01" else b"heic", bytes(4), b"mif1miaf")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", *(data for _, data in parts))


def tiled(width: int, height: int) -> tuple[PixelArray, Photo]:
    """A photograph, and its tiles, of which the last stick out."""
    num_columns, num_rows = -(-width // TILE_WH[0]), -(-height // TILE_WH[1])
    pixels = photograph(width, height)
    room = np.pad(pixels, ((0, num_rows * TILE_WH[1] - height), (0, num_columns * TILE_WH[0] - width), (0, 0)), "edge")
    tiles = [
        np.ascontiguousarray(room[y : y + TILE_WH[1], x : x + TILE_WH[0]])
        for y in range(0, room.shape[0], TILE_WH[1])
        for x in range(0, room.shape[1], TILE_WH[0])
    ]
    return pixels, Photo(tiles, num_columns, (width, height))


@codings
@pytest.mark.parametrize("size_wh", [(128, 96), (180, 130)])
def test_a_photograph_in_tiles_is_read_whole(coding: str, size_wh: tuple[int, int], tmp_path: Path) -> None:
    pixels, photo = tiled(*size_wh)
    path = tmp_path / "photo.heic"
    path.write_bytes(heif(photo, coding, tmp_path))
    assert difference(read_image(path), pixels) < 3
    source = open_source(str(path))
    assert [timed.picture.size_wh for timed in source.pictures(threading.Event())] == [size_wh]
    assert source.damage == ()


@codings
@pytest.mark.parametrize("is_grid", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_it_is_turned_and_mirrored_as_the_file_says(
    axis: int | None, turns: int, is_grid: bool, coding: str, tmp_path: Path
) -> None:
    pixels, photo = tiled(128, 96)
    if not is_grid:
        photo = Photo([pixels])
    photo.properties = [box(b"irot", bytes([turns]))]
    expected = np.rot90(pixels, turns)
    if axis is not None:
        photo.properties.append(box(b"imir", bytes([axis])))
        expected = np.flip(expected, axis)  # 0: top and bottom change places
    path = tmp_path / "photo.heif"
    path.write_bytes(heif(photo, coding, tmp_path))
    assert difference(read_image(path), expected) < 3


def test_it_is_cropped_as_the_file_says(tmp_path: Path) -> None:
    pixels = photograph(128, 96)
    crop = box(b"clap", struct.pack(">IIIIiIiI", 64, 1, 48, 1, -16, 1, 8, 1))  # in the middle but for 16 left, 8 down
    path = tmp_path / "photo.avif"
    path.write_bytes(heif(Photo([pixels], properties=[crop]), "av01", tmp_path))
    assert difference(read_image(path), pixels[32:80, 16:80]) < 3


def test_a_photograph_without_a_tile_is_refused(tmp_path: Path) -> None:
    _, photo = tiled(128, 96)
    photo.num_missing = 1
    path = tmp_path / "photo.heic"
    path.write_bytes(heif(photo, "av01", tmp_path))
    with pytest.raises(SourceError, match=r"photo\.heic: its grid of 2 × 2 has 3 tiles; convert it to JPEG or PNG$"):
        read_image(path)


@codings
def test_broken_boxes_are_refused_and_never_a_traceback(coding: str, tmp_path: Path) -> None:
    _, photo = tiled(128, 96)
    content = heif(photo, coding, tmp_path)
    path = tmp_path / "photo.heic"
    dice = np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(content[: int(dice.integers(20, len(content)))])
        for at in dice.integers(16, len(broken), 5):
            broken[at] = dice.integers(256)
        path.write_bytes(broken)
        try:
            read_image(path)
        except SourceError as error:
            assert "\n" not in str(error)  # noqa: PT017 - some of them can be read


def test_a_photograph_under_another_name_is_a_photograph(tmp_path: Path) -> None:
    pixels, photo = tiled(128, 96)
    path = tmp_path / "IMG_0001"
    path.write_bytes(heif(photo, "av01", tmp_path))
    source = open_source(str(path))
    assert isinstance(source, ImagesSource)
    (timed,) = source.pictures(threading.Event())
    assert difference(timed.picture.pixels, pixels) < 3
    with pytest.raises(SourceError, match=r"its picture is made of tiles; save it as a file that ends in \.heic"):
        VideoSource(path)


def test_of_several_pictures_the_primary_is_read_and_the_rest_is_said(tmp_path: Path) -> None:
    first, *others = (np.roll(photograph(128, 96), 40 * index, axis=1) for index in range(3))
    path = tmp_path / "burst.avif"
    path.write_bytes(heif(Photo([first], others=others), "av01", tmp_path))
    source = ImagesSource(path)
    (timed,) = source.pictures(threading.Event())
    assert difference(timed.picture.pixels, first) < 3
    assert source.damage == (f"{path}: one of its 3 pictures is read, the others are left out",)


def test_tiles_and_thumbnails_are_no_pictures_of_their_own(tmp_path: Path) -> None:
    pixels, photo = tiled(128, 96)
    photo.thumbnail = np.ascontiguousarray(pixels[::2, ::2])
    assert num_pictures(heif(photo, "av01", tmp_path)) == 1


def test_what_is_no_heif_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux([*stream.encode(VideoFrame(64, 48, "yuv420p")), *stream.encode(None)])
    film = path.read_bytes()
    assert not is_heif(film)
    assert not is_still(b"")
    with pytest.raises(ValueError, match="it has no primary picture"):
        heif_picture(film)


def test_places_of_items_that_are_not_there_are_not_counted_one_by_one() -> None:
    """A count of four billion in a box of a few bytes."""
    places = struct.pack(">IBBH", 0x02000000, 0, 0, 0) + b"\xff\xff\xff\xff"
    meta = b"\0\0\0\0" + struct.pack(">I4s", 8 + len(places), b"iloc") + places
    content = struct.pack(">I4s8s", 16, b"ftyp", b"heicheic") + struct.pack(">I4s", 8 + len(meta), b"meta") + meta
    with pytest.raises(ValueError, match="its boxes are broken"):
        heif_picture(content)
