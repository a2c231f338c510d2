"""Picture names: they tell pictures apart, and are the same for every output."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.picture.frame import Frame
from pipeline.sinks.picture_names import PictureNames, fitted, source_stems


def frame(source_id: str, index: int = 12, *, image: str | None = None) -> Frame:
    return Frame.from_pixels(np.zeros((9, 9, 3), np.uint8), source_id=source_id, index=index, image=image)


@pytest.mark.parametrize(
    ("source_id", "name"),
    [
        ("films/street scene.mp4", "street_scene-000012.jpg"),
        ("café.mp4", "café-000012.jpg"),
        ("0", "0-000012.jpg"),
        ("-", "stdin-000012.jpg"),
        ("rtsp://***@cam:554/main?x=1", "main_x_1-000012.jpg"),
        ("sim:traffic?seed=1", "sim_traffic_seed_1-000012.jpg"),
        ("100%d.mp4", "100_d-000012.jpg"),
    ],
)
def test_a_frame_of_a_video_is_named_after_its_source_and_number(source_id: str, name: str) -> None:
    assert PictureNames().name_of(frame(source_id)) == name
    assert PictureNames([source_id]).name_of(frame(source_id)) == name


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("photos/bus 1.jpg", "bus 1.jpg"),
        ('/photos/it\'s "ü" %s.png', 'it\'s "ü" %s.png'),
        ("https://***@host/a/b%20c.jpg?key=***", "b_20c.jpg"),
        ("https://host/", "picture.jpg"),
        ("-", "stdin.jpg"),
    ],
)
def test_an_image_keeps_its_own_name(image: str, name: str) -> None:
    assert PictureNames().name_of(frame("photos", image=image)) == name
    assert PictureNames(images=[image]).name_of(frame("photos", image=image)) == name


def test_images_of_one_name_keep_the_folders_below_the_one_that_they_share() -> None:
    images = ["/x/a/1/bus.jpg", "/x/b/1/bus.png", "/x/a/1/car.jpg", "/x/bus.jpg"]
    names = PictureNames(images=[*images, images[0]])
    assert [names.name_of(frame("x", image=image)) for image in images] == [
        "a/1/bus.jpg",
        "b/1/bus.png",
        "car.jpg",
        "bus.jpg",
    ]


@pytest.mark.parametrize(
    ("source_id", "image"),
    [
        (f"{'x' * 251}.mp4", None),
        (f"rtsp://cam/{'x' * 400}", None),
        ("p", f"https://host/{'x' * 400}.jpg"),
        ("p", f"{'x' * 252}.sr"),
    ],
)
def test_a_name_is_as_short_as_a_file_system_needs(source_id: str, image: str | None) -> None:
    other = (source_id.replace("x", "xy", 1), image and image.replace("x", "xy", 1))
    for suffix in (None, ".jpeg"):
        names = [
            PictureNames().name_of(frame(word, image=file), suffix=suffix) for word, file in ((source_id, image), other)
        ]
        assert len(set(names)) == 2
        assert len(names[0].encode()) <= 255
        assert names[0].endswith(suffix or (".jpg", ".sr"))


def test_a_name_that_fits_stays_as_it_is_and_a_cut_one_keeps_its_ending() -> None:
    assert fitted("x" * 251, ".jpg") == "x" * 251 + ".jpg"
    cut = fitted("x" * 252, "-12.jpg")
    assert (len(cut), cut[-7:], cut[:239]) == (255, "-12.jpg", "x" * 239)
    assert len(fitted("ü" * 200, ".jpg").encode()) in (254, 255)
    assert fitted("\udcff" * 300, ".jpg").endswith(".jpg")


def test_no_name_leads_out_of_its_folder() -> None:
    images = ["../../a/bus.jpg", "../../../b/bus.jpg", "bus.jpg", "/bus.jpg", "https://h/../../bus.jpg"]
    names = [PictureNames(images=images).name_of(frame("x", image=image)) for image in images]
    assert len(set(names)) == len(images)
    assert not [name for name in names if name.startswith("/") or ".." in name.split("/")]


def test_sources_of_one_name_are_told_apart() -> None:
    sources = ["x/cam.mp4", "y/cam.mp4", "cam-1.mp4", "y/cam.mp4#2"]
    stems = source_stems(sources)
    assert len(set(stems.values())) == 4
    assert (stems["x/cam.mp4"], stems["y/cam.mp4"]) == ("cam", "cam-1")
    assert PictureNames(sources).name_of(frame("y/cam.mp4", 3)) == "cam-1-000003.jpg"


def test_another_suffix_may_be_asked_for() -> None:
    names = PictureNames(images=["a/bus.v2.jpeg", "b/bus.v2.jpeg"])
    assert names.name_of(frame("a", image="a/bus.v2.jpeg"), suffix=".png") == "a/bus.v2.png"
    assert names.name_of(frame("v.mp4"), suffix=".png") == "v-000012.png"


def test_images_that_differ_in_their_suffix_alone_are_found() -> None:
    assert PictureNames(images=["p/b.jpg", "p/a.jpg", "p/a.png"]).alike_but_for_suffix() == ("a.jpg", "a.png")
    assert PictureNames(images=["p/a.jpg", "q/a.jpg", "p/b.png"]).alike_but_for_suffix() is None
    assert PictureNames(images=["p/a.jpg", "q/a.png"]).alike_but_for_suffix() is None
