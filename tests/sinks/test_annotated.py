"""Annotated pictures: images come out as images under their own names and in their own formats."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.picture.image_file import WRITTEN_SUFFIXES
from pipeline.sinks.annotated import AnnotatedFolder, Recordings
from pipeline.sinks.picture_file import writable_names, write_picture
from pipeline.sinks.picture_names import PictureNames
from pipeline.testing import CollectingSink
from tests.support.pictures import difference, smooth


def rendered(pixels: PixelArray, *, source_id: str = "a.mp4", image: str | None = None) -> RenderedFrame:
    frame = Frame.from_pixels(pixels, source_id=source_id, image=image)
    return RenderedFrame(Result(frame, Detections.empty(), ()), pixels)


def no_recording(source_id: str) -> CollectingSink[RenderedFrame]:
    raise AssertionError(source_id)


def folder_for(folder: Path, *images: str) -> AnnotatedFolder:
    return AnnotatedFolder(folder, names=PictureNames(["photos"], images), record=no_recording)


@pytest.mark.parametrize("suffix", sorted(WRITTEN_SUFFIXES))
@pytest.mark.parametrize("size_wh", [(1, 1), (33, 21)])
def test_every_format_that_can_be_written_shows_the_picture(
    tmp_path: Path, suffix: str, size_wh: tuple[int, int]
) -> None:
    pixels = smooth(*size_wh)
    write_picture(tmp_path / f"a{suffix}", pixels, what="a picture")
    back = cv2.imdecode(np.fromfile(tmp_path / f"a{suffix}", np.uint8), cv2.IMREAD_COLOR)
    assert back is not None
    assert difference(np.asarray(back, np.uint8), pixels) < 5


def test_an_image_keeps_its_name_its_folder_where_needed_and_its_format(tmp_path: Path) -> None:
    images = ("in/x/bus.jpg", "in/y/bus.jpg", "in/x/ü 100% 'of' it.PNG")
    sink = folder_for(tmp_path / "out", *images)
    for image in images:
        sink.write(rendered(smooth(16, 8), image=image))
    sink.close()
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"x/bus.jpg", "y/bus.jpg", "ü 100% 'of' it.PNG"}
    assert (tmp_path / "out" / "ü 100% 'of' it.PNG").read_bytes().startswith(b"\x89PNG")


def test_a_format_that_is_only_read_becomes_jpeg_which_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = ("a.heic", "b.heic", "c.hdr")
    sink = folder_for(tmp_path / "out", *images)
    for image in images:
        sink.write(rendered(smooth(16, 8), image=image))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]
    folder = tmp_path / "out"
    assert caplog.messages == [f"{folder}: {kind} files are written as .jpg" for kind in (".heic", ".hdr")]


def test_no_two_images_share_a_file_though_both_become_jpeg() -> None:
    assert writable_names(["a.heic", "a.jpg", "b.heic", "b.hdr", "c.jfif"]) == {
        "a.heic": "a.heic.jpg",
        "a.jpg": "a.jpg",
        "b.heic": "b.heic.jpg",
        "b.hdr": "b.hdr.jpg",
        "c.jfif": "c.jpg",
    }


def test_a_picture_that_is_too_large_for_its_format_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"a\.jpg: a picture: \.jpg holds .* 65500 pixels a side") as refused:
        write_picture(tmp_path / "a.jpg", np.zeros((1, 70_000, 3), np.uint8), what="a picture")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"a\.jpg: an annotated picture cannot be written: No space left on device"):
        folder_for(tmp_path, "a.jpg").write(rendered(smooth(16, 8), image="a.jpg"))


def test_a_folder_below_a_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SinkError, match="must be written into a folder"):
        folder_for(tmp_path / "file" / "out")


def test_each_source_is_recorded_and_finished_before_the_next_begins() -> None:
    opened: dict[str, CollectingSink[RenderedFrame]] = {}

    def record(source_id: str) -> CollectingSink[RenderedFrame]:
        assert all(sink.num_closed for sink in opened.values())
        opened[source_id] = CollectingSink()
        return opened[source_id]

    recordings = Recordings(record)
    for source_id in ("a.mp4", "a.mp4", "b.mp4"):
        recordings.write(rendered(smooth(16, 8), source_id=source_id))
    recordings.close()
    recordings.close()
    assert {name: (len(sink.got), sink.num_closed) for name, sink in opened.items()} == {
        "a.mp4": (2, 1),
        "b.mp4": (1, 1),
    }
