"""`-o`: images for images, a video for each video, and never over an input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.sources.images import read_image
from tests.support.command_line import Streamdet


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b c.png"):
        cv2.imwrite(str(folder / name), np.zeros((64, 96, 3), np.uint8))
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_images_go_into_a_folder_with_boxes_on_them(
    tmp_path: Path, photos: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    out = tmp_path / "annotated"
    done = streamdet("run", photos, "-m", small_detector, "-o", f"{out}/", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert names_in(out) == ["a.jpg", "b c.png"]
    assert read_image(out / "b c.png").any()  # the photograph was black
    assert read_image(out / "b c.png").shape == (64, 96, 3)
    assert f"written  {out}/" in done.stdout


def test_one_image_goes_into_one_image(
    tmp_path: Path, photos: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    out = tmp_path / "out.png"
    done = streamdet("run", photos / "a.jpg", "-m", small_detector, "-o", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert read_image(out).any()


def test_a_folder_of_images_is_a_slide_show_where_a_video_is_named(
    tmp_path: Path, photos: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    done = streamdet("run", photos, "-m", small_detector, "-o", tmp_path / "o.mp4", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert len(list(container.decode(video=0))) == 2


def test_a_video_and_images_share_a_folder(
    tmp_path: Path, photos: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    out = tmp_path / "out"
    out.mkdir()  # an existing folder needs no slash
    done = streamdet("run", small_video, photos, "-m", small_detector, "-o", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert names_in(out) == ["a.jpg", "b c.png", "black.mp4"]
    with av.open(str(out / "black.mp4")) as container:
        assert len(list(container.decode(video=0))) == 30


def test_each_video_of_a_folder_is_recorded_for_itself_and_named_in_the_lines(
    tmp_path: Path, photos: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    for name in ("x.mp4", "y.mkv"):
        shutil.copy(small_video, photos / name)
    out, lines = tmp_path / "out", tmp_path / "o.jsonl"
    typed = ("run", photos, "-m", small_detector, "--device", "cpu", "--max-frames", 3)
    done = streamdet(*typed, "-o", f"{out}/", "--jsonl", lines)
    assert done.returncode == 0, done.stderr
    assert names_in(out) == ["a.jpg", "b c.png", "x.mp4", "y.mp4"]
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(Path(row["source"]).name, row["frame"], "image" in row) for row in rows] == [
        ("photos", 0, True), ("photos", 1, True),
        *(("x.mp4", index, False) for index in range(3)),
        *(("y.mkv", index, False) for index in range(3)),
    ]  # fmt: skip
    done = streamdet(*typed, "-o", tmp_path / "o.mp4")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("o*.mp4")) == ["o-photos.mp4", "o-x.mp4", "o-y.mp4"]
    assert f"written  {tmp_path}/o-photos.mp4 … (3 files)" in done.stdout
    for path in (out / "y.mp4", tmp_path / "o-x.mp4"):
        with av.open(str(path)) as container:
            assert container.streams.video[0].average_rate == 10
            assert len(list(container.decode(video=0))) == 3


def test_what_cannot_be_read_is_listed_in_the_report(
    tmp_path: Path, photos: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    shutil.copy(small_video, photos / "x.mp4")
    for name in ("broken.jpg", "broken.mp4"):
        (photos / name).write_bytes(b"nothing")
    report = tmp_path / "r.json"
    done = streamdet("run", photos, "-m", small_detector, "--device", "cpu", "--report", report)
    assert done.returncode == 0, done.stderr
    of_source = json.loads(report.read_text())["sources"][str(photos)]
    assert of_source["unreadable"] == [str(photos / "broken.jpg"), str(photos / "broken.mp4")]
    assert of_source["frames"]["delivered"] == 32


def test_a_file_of_two_sources_is_refused(
    photos: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    shutil.copy(small_video, photos / "x.mp4")
    done = streamdet("run", photos, photos / "x.mp4", "-m", small_detector, "--device", "cpu", "--jsonl", "-")
    assert done.returncode == 1
    assert f"x.mp4 must be read once, and both {photos} and {photos}/x.mp4 have it" in done.stderr


REFUSED = [
    ("{video} -o out.jpg", "must be a video (.mp4, .mkv, .mov, .webm) or a folder (out/) for {video}"),
    ("{photos} -o out.jpg", "must be a folder (out/) or a video (.mp4) for 2 images, got out.jpg"),
    ("{photos}/a.jpg -o out.heic", "a .heic cannot be written, got out.heic; take .jpg or .png"),
    ("{photos} -o {photos}/", "--output must not be the source itself, got {photos}/a.jpg; it would be overwritten"),
    ("{photos} -o {photos}/../photos", "--output must not be the source itself"),
    ("{photos}/*.png -o {photos}", "must not be the source itself, got {photos}/b c.png"),
    ("{photos}/a.jpg -o {photos}/a.jpg", "--output must not be the source itself"),
    ("{photos} {photos}/a.jpg -o out/", "--output would write out/a.jpg twice; name every source once"),
    ("{video_folder} -o {video_folder}/", "must not be the source itself, got {video_folder}/black.mp4"),
    ("{photos} -o out", "an image, or a folder, which ends in a slash (out/), got out"),
    ("{photos} -o {photos}/a.jpg/out/", "must be written into a folder, and {photos}/a.jpg is a file"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[words for words, _ in REFUSED])
def test_an_output_that_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path,
    photos: Path,
    small_video: Path,
    small_detector: Path,
    monkeypatch: pytest.MonkeyPatch,
    streamdet: Streamdet,
    words: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in photos.iterdir()}
    typed = [word.format(photos=photos, video=small_video, video_folder=small_video.parent) for word in words.split()]
    done = streamdet("run", *typed, "-m", small_detector, "--device", "cpu")
    lines = [line for line in done.stderr.splitlines() if "error" in line]
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    assert message.format(photos=photos, video=small_video, video_folder=small_video.parent) in lines[0]
    assert {path: path.read_bytes() for path in photos.iterdir()} == before
    assert names_in(tmp_path) == ["photos/a.jpg", "photos/b c.png"]
