"""Crops: every detection comes out as the pixels that its box touches, in a folder of its class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SinkError
from pipeline.picture.crops import crops_of
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.sinks.crops import Crops, folder_of_class
from pipeline.sinks.picture_names import PictureNames
from pipeline.sources.images import read_image
from tests.support.pictures import difference, smooth

SIDES = st.floats(-300, 300, width=32)


def result(boxes: list[list[float]], class_ids: list[int], *, image: str | None = None) -> Result:
    frame = Frame.from_pixels(smooth(96, 64), source_id="in/street ü.mp4", index=12, image=image)
    scores = np.full(len(boxes), 0.5, np.float32)
    detections = Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, np.array(class_ids, np.int64))
    return Result(frame, detections, ("person", "traffic light"))


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_each_detection_is_a_file_in_the_folder_of_its_class(tmp_path: Path) -> None:
    sink = Crops(tmp_path / "crops")
    sink.write(result([[8, 16, 40, 48], [0, 0, 20, 20], [50, 5, 60, 9]], [0, 1, 0]))
    sink.write(result([[8, 16, 40, 48]], [7], image="photos/bus.png"))
    sink.close()
    assert files_in(tmp_path / "crops") == [
        "class 7/bus-0.jpg",
        "person/street_ü-000012-0.jpg",
        "person/street_ü-000012-2.jpg",
        "traffic light/street_ü-000012-1.jpg",
    ]
    assert difference(read_image(tmp_path / "crops/person/street_ü-000012-0.jpg"), smooth(96, 64)[16:48, 8:40]) < 4


def test_images_of_one_name_in_two_formats_have_crops_of_their_own(tmp_path: Path) -> None:
    sink = Crops(tmp_path, names=PictureNames([], ["in/bus.jpg", "in/bus.png"]))
    for image in ("in/bus.jpg", "in/bus.png"):
        sink.write(result([[8, 16, 40, 48]], [0], image=image))
    assert files_in(tmp_path) == ["person/bus.jpg-0.jpg", "person/bus.png-0.jpg"]


def test_pictures_with_the_longest_names_have_crops_with_their_number_and_suffix(tmp_path: Path) -> None:
    sink = Crops(tmp_path)
    for last in ("1", "2"):
        sink.write(result([[8, 16, 40, 48], [0, 0, 20, 20]], [0, 0], image=f"in/{'ü' * 125}{last}.jpg"))
    names = files_in(tmp_path / "person")
    assert len(names) == 4
    assert all(name.startswith("ü" * 100) and len(name.encode()) <= 255 for name in names)
    assert sorted(name[-6:] for name in names) == ["-0.jpg", "-0.jpg", "-1.jpg", "-1.jpg"]


def test_a_frame_without_detections_writes_nothing(tmp_path: Path) -> None:
    sink = Crops(tmp_path / "crops")
    sink.write(result([], []))
    sink.close()
    assert not list(tmp_path.iterdir())


@given(st.tuples(SIDES, SIDES, SIDES, SIDES))
def test_a_crop_is_within_the_picture_and_holds_every_pixel_that_the_box_touches(
    box: tuple[float, float, float, float],
) -> None:
    y, x = np.mgrid[0:64, 0:96]
    pixels = np.stack([x, y, x], axis=2).astype(np.uint8)  # each pixel tells where it is
    (cut,) = crops_of(pixels, np.array([box], np.float32))
    assert cut.size
    touched = (x + 1 > box[0]) & (x < box[2]) & (y + 1 > box[1]) & (y < box[3])
    if touched.any():
        assert cut.shape[:2] == (np.ptp(y[touched]) + 1, np.ptp(x[touched]) + 1)
        assert tuple(cut[0, 0, :2]) == (x[touched].min(), y[touched].min())


@pytest.mark.parametrize("name", ["../../etc", "/", "a\0b", "..", "", "con:", "x" * 300, "車" * 300, " "])
def test_a_class_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = folder_of_class(name)
    (tmp_path / folder).mkdir()
    assert (tmp_path / folder).resolve().parent == tmp_path.resolve()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "crops").write_bytes(b"")
    with pytest.raises(SinkError, match="crops must be written into a folder"):
        Crops(tmp_path / "crops")
