"""Sequence: the files of a folder, a glob or a list are read one after another, each with numbers of its own."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.picture.frame import Frame
from pipeline.sources.images import ImagesSource
from pipeline.sources.kinds import files_of, source_words
from pipeline.sources.opening import open_source
from pipeline.sources.sequence import SequenceSource
from pipeline.sources.source import FrameSource
from pipeline.sources.video import source as video_source
from pipeline.sources.video.opening import OpenVideo
from pipeline.stages.capture import Capture
from tests.support.videos import read_all, write_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images and two videos of 3 and 5 frames, with a text file between them."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("p1.png", "p2.jpg"):
        cv2.imwrite(str(folder / name), np.zeros((8, 16, 3), np.uint8))
    write_video(folder / "v10.mp4", num_frames=5)
    write_video(folder / "v9 ü'%.mkv", num_frames=3)
    (folder / "notes.md").write_text("#")
    return folder


def frames_of(source: FrameSource, **options: int) -> list[Frame]:
    capture = Capture(source, **options)  # type: ignore[arg-type]
    frames = list(capture.items(threading.Event()))
    capture.close()
    return frames


def numbers_by_file(frames: list[Frame]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for frame in frames:
        numbers.setdefault(Path(frame.source_id).name, []).append(frame.index)
    return numbers


def test_each_video_of_a_folder_has_its_name_and_counts_from_0_after_the_images(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = open_source(str(folder))
    frames = frames_of(source)
    assert numbers_by_file(frames) == {"in": [0, 1], "v9 ü'%.mkv": [0, 1, 2], "v10.mp4": [0, 1, 2, 3, 4]}
    assert [frame.image is not None for frame in frames] == [True] * 2 + [False] * 8
    assert [frame.pts_seconds for frame in frames if frame.index == 0] == [0, 0, 0]
    assert (source.is_live, source.damage) == (False, ())
    assert caplog.messages == [f"{folder}: 1 of 5 left out, neither images nor videos: 1 .md"]


def test_every_and_the_most_frames_hold_for_each_file(folder: Path) -> None:
    assert numbers_by_file(frames_of(open_source(f"{folder}/*"), every=2)) == {
        "*": [0],
        "v9 ü'%.mkv": [0, 2],
        "v10.mp4": [0, 2, 4],
    }
    assert numbers_by_file(frames_of(open_source(f"{folder}/v*"), max_frames=1)) == {"v9 ü'%.mkv": [0], "v10.mp4": [0]}


def test_one_video_is_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = write_video(tmp_path / "v.mp4", num_frames=1)
    for number in range(20):
        shutil.copy(original, tmp_path / f"v{number}.mp4")
    num_open, most_open = 0, 0

    class Counted(OpenVideo):
        def __init__(self, *arguments: object, **options: object) -> None:
            nonlocal num_open, most_open
            super().__init__(*arguments, **options)  # type: ignore[arg-type]
            num_open += 1
            most_open = max(most_open, num_open)

        def close(self) -> None:
            nonlocal num_open
            num_open -= 1
            super().close()

    monkeypatch.setattr(video_source, "OpenVideo", Counted)
    assert len(frames_of(open_source(f"{tmp_path}/*.mp4"))) == 21
    assert (num_open, most_open) == (0, 1)


def test_read_as_one_source_the_times_go_on(folder: Path) -> None:
    timed = read_all(open_source(str(folder)))
    seconds = [picture.pts_seconds for picture in timed]
    assert len(seconds) == 10
    assert seconds == sorted(set(seconds))


def test_a_file_that_cannot_be_read_is_damage_and_the_others_are_read(folder: Path) -> None:
    (folder / "v9a.mp4").write_bytes(b"no video")
    (folder / "p3.png").write_bytes(b"no image")
    source = open_source(str(folder))
    assert isinstance(source, SequenceSource)
    assert len(frames_of(source)) == 10
    assert [Path(file).name for file in source.unreadable] == ["p3.png", "v9a.mp4"]
    assert [line.partition(": ")[0] for line in source.damage] == [str(folder / "p3.png"), str(folder / "v9a.mp4")]


def test_where_no_file_can_be_read_there_is_an_error(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.png"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"none of its files could be read; the first: .*c\.png"):
        frames_of(open_source(str(tmp_path)))
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match="no image and no video in this folder; image files are avif"):
        open_source(str(tmp_path / "none"))
    with pytest.raises(SourceError, match="no such file, and as a pattern it matches no image and no video"):
        open_source(str(tmp_path / "*.mov"))


def test_a_stop_ends_the_sequence_within_a_file(folder: Path) -> None:
    stop = threading.Event()
    capture = Capture(open_source(f"{folder}/v*"))
    frames = []
    for frame in capture.items(stop):
        frames.append(frame)
        stop.set()
    capture.close()
    assert len(frames) == 1


def test_a_list_names_files_folders_and_globs_from_its_own_folder_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    names = tmp_path / "list.txt"
    lines = ["# what to read", "", "in/v10.mp4", f"  {folder}/v9*  ", "in/p2.jpg", "in/v10.mp4", "in/*.png"]
    names.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    frames = frames_of(open_source(str(names)))
    assert list(numbers_by_file(frames)) == ["list.txt", "v10.mp4", "v9 ü'%.mkv"]
    assert [Path(frame.image).name for frame in frames if frame.image] == ["p2.jpg", "p1.png"]
    assert {path.name for path in files_of(str(names))} == {
        "list.txt", "v10.mp4", "v9 ü'%.mkv", "p1.png", "p2.jpg",
    }  # fmt: skip
    names.write_text("in/p1.png\n")
    assert isinstance(open_source(str(names)), ImagesSource)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n# a\n", "must name a file in each line, got an empty list"),
        ("in\n\nnowhere.mp4\n", "line 3: there is no image or video .*nowhere.mp4"),
        ("rtsp://u:SECRET@h/a\n", r"line 1: must be a file, a folder or a glob, got rtsp://\*\*\*@h/a; streams belong"),
        (b"\xff\x00\xfe\x01", "the list of sources cannot be read: it is not text in UTF-8"),
    ],
)
def test_a_list_with_a_mistake_is_refused_with_the_line(folder: Path, text: str | bytes, message: str) -> None:
    path = folder.parent / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SourceError, match=message):
        open_source(str(path))


def test_the_lines_of_a_streams_file_are_sources_side_by_side(folder: Path) -> None:
    path = folder.parent / "cameras.streams"
    path.write_text("rtsp://h/a\n# the yard\n0\nin/v10.mp4\nsim:traffic?seed=1\n")
    assert source_words(str(path)) == ("rtsp://h/a", "0", str(folder / "v10.mp4"), "sim:traffic?seed=1")
    assert source_words("a.mp4") == ("a.mp4",)
    assert files_of(str(path)) == (path, folder / "v10.mp4")
    path.write_text("")
    with pytest.raises(SourceError, match="must name a source in each line"):
        source_words(str(path))
