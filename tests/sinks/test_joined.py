"""Joined: pictures of several sources come together by their time, whichever is first, and ended ones say so."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame
from pipeline.sinks.joined import Joined, short_captions
from pipeline.sinks.recording import Recording
from pipeline.testing import CollectingSink
from tests.support.pictures import grey

SIZE = (320, 180)


def rendered(source_id: str, level: int, seconds: float, size_wh: tuple[int, int] = SIZE) -> RenderedFrame:
    pixels = grey(level, size_wh)
    frame = Frame.from_pixels(pixels, source_id=source_id, pts_seconds=seconds, captured_at_seconds=seconds)
    return RenderedFrame(Result(frame, Detections.empty(), ("dog",)), pixels)


class Ends:
    """Sources that have ended, and when."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str) -> float | None:
        return self.seconds.get(name)


def joined(
    sink: CollectingSink[RenderedFrame], *names: str, ends: Ends | None = None, fps: float = 10, is_live: bool = False
) -> Joined:
    return Joined(
        sink,
        sizes_wh=dict.fromkeys(names, SIZE),
        most_wh=(1920, 1080),
        frames_per_second=fps,
        is_live=is_live,
        end_seconds=Ends() if ends is None else ends,
    )


def levels(picture: RenderedFrame) -> list[int]:
    """The grey in the middle of each of two tiles, one above the other."""
    height, width = picture.pixels.shape[:2]
    return [int(picture.pixels[round(height * share), width // 2, 0]) for share in (0.25, 0.75)]


def times(sink: CollectingSink[RenderedFrame]) -> list[float]:
    return [item.result.frame.pts_seconds for item in sink.got]


def test_recorded_sources_are_joined_by_media_time_whichever_comes_first() -> None:
    sink: CollectingSink[RenderedFrame] = CollectingSink()
    both = joined(sink, "a", "b")
    for index in range(5):  # 10 frames a second, and all of them first
        both.write(rendered("a", 10 + index, 8.0 + index / 10))
    assert times(sink) == []
    for index in range(3):  # 5 frames a second, from another time on
        both.write(rendered("b", 200 + index, 100.0 + index / 5))
    assert times(sink) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert [levels(item) for item in sink.got] == [[10, 200], [11, 200], [12, 201], [13, 201], [14, 202]]
    both.close()
    assert len(sink.got) == 5
    assert sink.num_closed == 1


def test_a_source_that_has_ended_is_dimmed_and_waited_for_no_longer() -> None:
    sink: CollectingSink[RenderedFrame] = CollectingSink()
    ends = Ends()
    both = joined(sink, "a", "b", ends=ends)
    both.write(rendered("a", 90, 0.0))
    both.write(rendered("b", 10, 0.0))
    ends.seconds["a"] = 0.1  # its last frame is on its way
    both.write(rendered("b", 11, 0.1))
    assert len(sink.got) == 1
    both.write(rendered("a", 99, 0.1))
    for index in range(2, 5):
        both.write(rendered("b", 10 + index, index / 10))
    assert [levels(item) for item in sink.got] == [[90, 10], [99, 11], [33, 12], [33, 13], [33, 14]]
    both.close()
    both.close()
    assert sink.num_closed == 1


def test_a_source_that_lost_its_last_frames_is_not_waited_for_for_ever() -> None:
    sink: CollectingSink[RenderedFrame] = CollectingSink()
    both = joined(sink, "a", "b", fps=1)
    both.write(rendered("a", 90, 0.0))
    for second in range(20):
        both.write(rendered("b", second, float(second)))
    assert len(sink.got) == 14  # five seconds behind
    both.close()
    assert len(sink.got) == 20
    assert levels(sink.got[-1]) == [90, 19]


def test_a_source_that_never_gives_a_frame_stays_black() -> None:
    sink: CollectingSink[RenderedFrame] = CollectingSink()
    ends = Ends()
    ends.seconds["a"] = -1.0
    both = joined(sink, "a", "b", ends=ends)
    both.write(rendered("b", 50, 0.0))
    both.close()
    assert [levels(item) for item in sink.got] == [[0, 50]]


def test_live_sources_show_their_newest_picture_at_the_set_rate() -> None:
    sink: CollectingSink[RenderedFrame] = CollectingSink()
    both = joined(sink, "a", "b", fps=5, is_live=True)
    for index in range(31):  # 30 and 10 frames a second
        both.write(rendered("a", index, 100 + index / 30))
        if index % 3 == 0:
            both.write(rendered("b", 100 + index, 100 + index / 30))
    at = [item.result.frame.captured_at_seconds - 100 for item in sink.got]
    assert at == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0], abs=0.034)
    assert levels(sink.got[-1])[0] == 30


def test_a_live_source_that_falls_silent_is_dimmed_until_it_comes_back() -> None:
    sink: CollectingSink[RenderedFrame] = CollectingSink()
    both = joined(sink, "a", "b", fps=1, is_live=True)
    both.write(rendered("a", 90, 0.0))
    for second in range(1, 6):
        both.write(rendered("b", 50, float(second)))
    both.write(rendered("a", 80, 6.0))
    assert [levels(item)[0] for item in sink.got] == [90, 90, 90, 90, 30, 30, 80]


def test_frames_of_any_size_and_no_frames_at_all_are_fine() -> None:
    sink: CollectingSink[RenderedFrame] = CollectingSink()
    both = joined(sink, "a", "b")
    both.write(rendered("a", 60, 0.0, (33, 2001)))
    both.write(rendered("b", 70, 0.0, (1, 1)))
    both.close()
    (picture,) = sink.got
    assert picture.pixels.shape[0] % 2 == picture.pixels.shape[1] % 2 == 0
    empty: CollectingSink[RenderedFrame] = CollectingSink()
    joined(empty, "a", "b").close()
    assert (empty.got, empty.num_closed) == ([], 1)


def test_a_recording_of_several_sources_is_one_video_at_the_set_rate(tmp_path: Path) -> None:
    path = tmp_path / "wall.mp4"
    recording = Recording(path, frames_per_second=10)
    wall = Joined(
        recording, sizes_wh={"a": SIZE, "b": None}, most_wh=(300, 300), frames_per_second=10, is_live=False
    )  # fmt: skip
    for index in range(20):
        wall.write(rendered("a", 40, index / 10))
        wall.write(rendered("b", 200, index / 10))
    wall.close()
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) == 20
    assert max(pictures[0].width, pictures[0].height) <= 300
    whole = np.asarray(pictures[-1].to_ndarray(format="gray"))
    assert abs(int(whole[whole.shape[0] // 4, whole.shape[1] // 2]) - 40) < 6
    assert abs(int(whole[3 * whole.shape[0] // 4, whole.shape[1] // 2]) - 200) < 6


class FullDisk(CollectingSink[RenderedFrame]):
    """A sink that takes one picture."""

    def write(self, item: RenderedFrame) -> None:
        if self.got:
            raise SinkError("the disk is full")
        super().write(item)


def test_a_sink_that_fails_is_closed_and_not_written_to_again() -> None:
    sink = FullDisk()
    both = joined(sink, "a", "b")
    for index in range(9):
        both.write(rendered("a", 1, index / 10))
    both.write(rendered("b", 2, 0.0))
    with pytest.raises(SinkError, match="the disk is full"):
        both.write(rendered("b", 2, 0.3))
    both.close()
    assert (len(sink.got), sink.num_closed) == (1, 1)


def test_captions_tell_sources_of_one_name_apart() -> None:
    assert short_captions(["x/a.mp4", "y/a.mp4"]) == {"x/a.mp4": "x/a.mp4", "y/a.mp4": "y/a.mp4"}
    assert short_captions(["rtsp://h/a", "0", "photos/"]) == {"rtsp://h/a": "rtsp://h/a", "0": "0", "photos/": "photos"}
