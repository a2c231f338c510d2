"""Clips: the pictures around an event are those of the source, bit by bit, whatever its GOPs and codec are."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.clips.clips import INDEX, ClipOptions, Clips
from pipeline.errors import SinkError
from pipeline.picture.counting.event import Event
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.sources.video.source import VideoSource
from tests.support.coded_videos import FPS, coded_video, frames_of
from tests.support.events import crossing, result_at


def stem_of(_: str) -> str:
    return "street"


def cut(path: Path, folder: Path, events: Sequence[Event], options: ClipOptions) -> list[dict[str, object]]:
    """Run a video through the sink as a run does, and read the index."""
    source = VideoSource(path, source_id="street.mp4")
    clips = Clips(folder, options, stem_of=stem_of, packets=source)
    waiting = sorted(events, key=lambda event: event.pts_seconds)
    for number, timed in enumerate(source.pictures(threading.Event())):
        due = [event for event in waiting if event.pts_seconds <= timed.pts_seconds]
        waiting = waiting[len(due) :]
        frame = Frame(timed.picture, "street.mp4", number, timed.pts_seconds, 0.0)
        clips.write(Result(frame, Detections.empty(), ("person",), events=tuple(due)))
    clips.close()
    clips.close()
    source.close()
    index = folder / INDEX
    return [json.loads(line) for line in index.read_text().splitlines()] if index.exists() else []


def pixels(frames: Sequence[av.VideoFrame]) -> list[np.ndarray]:
    return [frame.to_ndarray() for frame in frames]


@pytest.mark.parametrize(
    ("container", "codec", "num_b_frames", "suffix"),
    [("mp4", "libx264", 0, ".mp4"), ("matroska", "libx264", 3, ".mp4"), ("mpegts", "libx264", 2, ".mp4"),
     ("webm", "libvpx-vp9", 0, ".mkv"), ("avi", "mpeg4", 0, ".mp4")],
)  # fmt: skip
def test_a_clip_has_the_pictures_of_the_source_from_the_key_frame_before_its_seconds_to_their_end(
    container: str, codec: str, num_b_frames: int, suffix: str, tmp_path: Path
) -> None:
    content = coded_video(container, codec=codec, num_b_frames=num_b_frames, num_frames=75, gop=10)
    (tmp_path / "street").write_bytes(content)
    original = frames_of(content)
    start = float(original[0].time or 0)
    event = crossing(start + 1.6)
    (line,) = cut(tmp_path / "street", tmp_path / "clips", [event], ClipOptions(0.5, 0.5))
    assert line["file"] == f"street-crossed-gate-{event.id}{suffix}"
    clip = frames_of((tmp_path / "clips" / str(line["file"])).read_bytes())
    times = [float(frame.time or 0) - start for frame in original]
    first = round((float(str(line["from_s"])) - start) * FPS)
    assert line["frames"] == len(clip)
    assert times[first] <= 1.1 + 1e-6
    assert original[first].key_frame
    assert first > 0 or codec != "libx264"  # no more GOPs than needed
    num_needed = sum(1 for time in times[first:] if time < 2.1 - 1e-6)
    for shown, expected in zip(pixels(clip)[:num_needed], pixels(original)[first:], strict=False):
        assert np.array_equal(shown, expected)
    assert num_needed <= len(clip) <= num_needed + num_b_frames + 1
    shown_at = [float(frame.time or 0) for frame in clip]
    offsets = [shown - time for shown, time in zip(shown_at[:num_needed], times[first:], strict=False)]
    assert max(offsets) - min(offsets) < 0.002


def test_events_that_are_near_share_a_clip_and_others_have_their_own(tmp_path: Path) -> None:
    (tmp_path / "street.mp4").write_bytes(coded_video("mp4", num_frames=125))
    events = [crossing(seconds, track_id=number) for number, seconds in enumerate((0.2, 1.0, 4.0))]
    first, second = cut(tmp_path / "street.mp4", tmp_path / "clips", events, ClipOptions(0.4, 0.6))
    assert [event["id"] for event in first["events"]] == [event.id for event in events[:2]]  # type: ignore[attr-defined]
    assert (first["from_s"], first["to_s"]) == (0.0, 1.56)
    assert (second["from_s"], second["to_s"]) == (3.6, 4.56)
    names = {path.name for path in (tmp_path / "clips").iterdir()}
    assert names == {INDEX, str(first["file"]), str(second["file"])}  # nothing half is left
    cut(tmp_path / "street.mp4", tmp_path / "clips", events[2:], ClipOptions(0.4, 0.6))
    assert (tmp_path / "clips" / f"street-crossed-gate-{events[2].id}-2.mp4").exists()  # none replaces another


def test_an_event_at_the_end_gets_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "street.mp4").write_bytes(coded_video("mp4", num_b_frames=2))
    (line,) = cut(tmp_path / "street.mp4", tmp_path / "clips", [crossing(1.16)], ClipOptions(0.1, 9.0))
    assert line["to_s"] == 1.16
    clip = frames_of((tmp_path / "clips" / str(line["file"])).read_bytes())
    assert np.array_equal(pixels(clip)[-1], pixels(frames_of(coded_video("mp4", num_b_frames=2)))[-1])


def test_memory_is_bounded_and_a_clip_that_needs_more_begins_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = coded_video("mp4", num_frames=125)
    (tmp_path / "street.mp4").write_bytes(content)
    most_bytes = len(content) // 3
    (line,) = cut(tmp_path / "street.mp4", tmp_path / "clips", [crossing(4.8)], ClipOptions(4.0, 0.1, most_bytes))
    assert 0.8 < float(str(line["from_s"])) <= 4.8
    assert (tmp_path / "clips" / str(line["file"])).stat().st_size < most_bytes + 10_000
    assert "begins late" in caplog.text
    assert cut(tmp_path / "street.mp4", tmp_path / "tiny", [crossing(4.8)], ClipOptions(4.0, 0.1, 10)) == []


def picture(number: int) -> np.ndarray:
    """Grey that tells its number."""
    return np.full((48, 66, 3), 40 + 2 * number, np.uint8)


def test_frames_are_encoded_where_there_are_no_packets_and_a_new_file_or_size_ends_the_clip(tmp_path: Path) -> None:
    clips = Clips(tmp_path / "clips", ClipOptions(0.2, 0.2), stem_of=stem_of)
    for number in range(50):
        event = [crossing(1.0)] if number == 25 else []
        clips.write(result_at(number / FPS, *event, pixels=picture(number)))
    clips.write(result_at(0.0, crossing(0.0, track_id=9), pixels=picture(0)[:32]))
    clips.close()
    first, second = (json.loads(line) for line in (tmp_path / "clips" / INDEX).read_text().splitlines())
    frames = frames_of((tmp_path / "clips" / first["file"]).read_bytes())
    start = round(first["from_s"] * FPS)
    assert first["from_s"] <= 0.8
    assert first["to_s"] == 1.16
    levels = [frame.to_ndarray(format="rgb24").mean() for frame in frames]
    assert levels == pytest.approx([40 + 2 * (start + index) for index in range(len(frames))], abs=2)
    (other,) = frames_of((tmp_path / "clips" / second["file"]).read_bytes())
    assert (other.width, other.height) == (66, 32)


def test_a_folder_that_cannot_be_written_is_refused_and_an_event_without_a_picture_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="clips must be written into a folder"):
        Clips(tmp_path / "file", stem_of=stem_of)
    source = VideoSource(_written(tmp_path), source_id="street.mp4")
    clips = Clips(tmp_path / "clips", stem_of=stem_of, packets=source)
    clips.write(result_at(1.0, crossing()))  # the source gave nothing yet
    clips.close()
    source.close()
    assert "there is no picture of its time" in caplog.text


def _written(folder: Path) -> Path:
    path = folder / "street.mp4"
    path.write_bytes(coded_video("mp4"))
    return path
