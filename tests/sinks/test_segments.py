"""Segments: no frame is lost between two, the oldest go in time, and a kill costs the end of the last one at most."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import pytest

from pipeline.errors import SinkError
from pipeline.events import EVENT
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.segment_limits import (
    DEFAULT_PATTERN,
    SegmentLimit,
    check_pattern,
    parse_limit,
    parse_segment,
    parse_size,
)
from pipeline.sinks.recording import Recording
from pipeline.sinks.recording_probe import cut_torn_end, decoded_frames, probe_recording
from pipeline.sinks.segment_archive import SegmentArchive, shared_archive
from pipeline.sinks.segment_index import Segment, SegmentIndex
from pipeline.sinks.segmented import SegmentedRecording
from pipeline.testing import StepClock
from tests.support.file_size import no_file_above
from tests.support.pictures import grey, noise

NOON = 1_795_737_600.0  # 2026-11-27T00:00:00Z


def rendered(index: int, seconds: float, source_id: str = "door", *, pixels: PixelArray | None = None) -> RenderedFrame:
    pixels = grey(index) if pixels is None else pixels
    frame = Frame.from_pixels(
        pixels, pts_seconds=seconds, captured_at_seconds=seconds, index=index, source_id=source_id
    )
    return RenderedFrame(Result(frame, Detections.empty(), ("dog",)), pixels)


class Camera:
    """A source of 10 frames a second, recorded on simulated clocks; the disk has as much room as the test says."""

    def __init__(
        self,
        folder: Path,
        *,
        limit: str = "2s",
        keep: SegmentLimit = SegmentLimit(),
        min_free: int = 0,
        path: str = "door.mp4",
        pattern: str = DEFAULT_PATTERN,
        kind: type[Recording] = Recording,
        archive: SegmentArchive | None = None,
    ) -> None:
        self.clock = StepClock()
        self.free = 10**12
        self.name = Path(path).stem
        self.num_frames = 0
        self.archive = archive or SegmentArchive(
            folder / "cam.segments.jsonl",
            keep=keep,
            min_free_bytes=min_free,
            wall_clock=lambda: NOON + self.clock.now_seconds,
            free_bytes=lambda _: self.free,
        )
        self.archive.enter()
        self.sink = SegmentedRecording(
            folder / path,
            open_recording=lambda part: kind(part, frames_per_second=10, is_live=True),
            archive=self.archive,
            limit=parse_limit(limit),
            pattern=pattern,
            is_live=True,
            clock=self.clock,
            wall_clock=lambda: NOON + self.clock.now_seconds,
        )

    def record(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.sink.write(rendered(self.num_frames % 250, self.num_frames / 10, self.name))
            self.num_frames += 1
            self.clock.now_seconds = self.num_frames / 10


def lines_of(index: Path) -> dict[str, dict[str, object]]:
    """The last line of each file that is not deleted, as anybody would read the index."""
    last = {line["file"]: line for line in map(json.loads, index.read_text().splitlines())}
    return {file: line for file, line in last.items() if not line.get("deleted")}


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert frames[0].key_frame
    return len(frames)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_segments_bear_their_time_and_lose_no_frame_between_them(tmp_path: Path, suffix: str) -> None:
    camera = Camera(tmp_path, path=f"door{suffix}")
    camera.record(5)
    camera.sink.close()
    names = [f"door-20261127T0000{second:02}Z{suffix}" for second in (0, 2, 4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cam.segments.jsonl", *names]
    assert [frames_in(tmp_path / name) for name in names] == [20, 20, 10]
    lines = lines_of(tmp_path / "cam.segments.jsonl")
    assert list(lines) == names
    assert lines[names[1]] == {
        "file": names[1],
        "source": "door",
        "start": "2026-11-27T00:00:02.000Z",
        "start_pts": 2.0,
        "duration": 2.0,
        "frames": 20,
        "bytes": (tmp_path / names[1]).stat().st_size,
        "complete": True,
    }


def test_a_segment_has_no_name_before_it_is_whole_and_is_in_the_index_all_the_same(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    camera.record(1)
    assert (tmp_path / "door-20261127T000000Z.part.mp4").exists()
    line = lines_of(tmp_path / "cam.segments.jsonl")["door-20261127T000000Z.mp4"]
    assert (line["frames"], line["complete"]) == (None, False)
    camera.sink.close()


def test_a_size_limits_a_segment_as_well(tmp_path: Path) -> None:
    camera = Camera(tmp_path, limit="2kB")
    camera.record(10)
    camera.sink.close()
    sizes = [path.stat().st_size for path in tmp_path.glob("*.mp4")]
    assert len(sizes) > 2
    assert max(sizes) < 8000
    assert sum(map(frames_in, tmp_path.glob("*.mp4"))) == 100


def test_a_day_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    camera = Camera(tmp_path, pattern=check_pattern("%Y-%m-%d/{name}-%H%M%S"))
    camera.record(1)
    camera.sink.close()
    assert list(lines_of(tmp_path / "cam.segments.jsonl")) == ["2026-11-27/door-000000.mp4"]
    assert frames_in(tmp_path / "2026-11-27" / "door-000000.mp4") == 10


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "door-20261127T000000Z.mp4").write_text("of somebody else")
    camera = Camera(tmp_path)
    camera.record(1)
    camera.sink.close()
    assert (tmp_path / "door-20261127T000000Z.mp4").read_text() == "of somebody else"
    assert frames_in(tmp_path / "door-20261127T000000Z-2.mp4") == 10


def test_segments_go_when_they_are_older_than_is_kept(tmp_path: Path) -> None:
    camera = Camera(tmp_path, keep=SegmentLimit.of(["10s"]))
    camera.record(30)
    camera.sink.close()
    assert [segment.start[17:19] for segment in camera.archive.segments()] == ["18", "20", "22", "24", "26", "28"]
    assert {path.name for path in tmp_path.glob("*.mp4")} == set(lines_of(tmp_path / "cam.segments.jsonl"))


def test_a_segment_that_ended_long_ago_goes_though_one_that_began_earlier_is_kept(tmp_path: Path) -> None:
    slow = Camera(tmp_path, limit="8s", keep=SegmentLimit.of(["10s"]), path="slow.mp4")
    quick = Camera(tmp_path, archive=slow.archive, path="quick.mp4")
    for _ in range(14):
        slow.record(1)
        quick.record(1)
    ends = {segment.file: segment.end_wall_seconds - NOON for segment in slow.archive.segments() if segment.is_finished}
    assert sorted(ends.values()) == pytest.approx([4, 6, 8, 8, 10, 12], abs=0.01)  # the first of 2 s has ended at 2
    slow.sink.close()
    quick.sink.close()


def test_what_is_too_old_goes_also_while_recording_is_stopped_for_want_of_room(tmp_path: Path) -> None:
    camera = Camera(tmp_path, keep=SegmentLimit.of(["10s"]), min_free=10**9)
    camera.record(3)
    camera.free = 10**8
    camera.record(5)
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["door-20261127T000002Z.mp4"]
    camera.record(10)
    assert list(tmp_path.glob("*.mp4")) == []
    camera.sink.close()


def test_the_oldest_go_while_all_cameras_together_have_more_than_is_kept(tmp_path: Path) -> None:
    door = Camera(tmp_path, keep=SegmentLimit(num_bytes=12_000))
    yard = Camera(tmp_path, archive=door.archive, path="yard.mp4")
    for _ in range(20):
        door.record(1)
        yard.record(1)
    door.sink.close()
    yard.sink.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.mp4")}
    assert sum(sizes.values()) < 12_000 + 2 * max(sizes.values())
    assert {name[:4] for name in sizes} == {"door", "yard"}
    assert min(segment.start for segment in door.archive.segments()) > "2026-11-27T00:00:10"
    assert sizes.keys() == lines_of(tmp_path / "cam.segments.jsonl").keys()


def test_a_long_life_leaves_a_short_index(tmp_path: Path) -> None:
    index = SegmentIndex(tmp_path / "cam.segments.jsonl")
    for number in range(2000):
        segment = Segment(f"door-{number}.mp4", "door", "2026-11-27T00:00:02.000Z", 0.0)
        index.put(segment)
        index.put(replace(segment, duration=2.0, frames=20, bytes=999, complete=True))
        index.remove(f"door-{number - 5}.mp4")
    index.close()
    assert len((tmp_path / "cam.segments.jsonl").read_text().splitlines()) < 130
    assert list(lines_of(tmp_path / "cam.segments.jsonl")) == [f"door-{number}.mp4" for number in range(1995, 2000)]


def test_below_the_low_water_mark_the_oldest_go_then_recording_stops_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    camera = Camera(tmp_path, min_free=10**9)
    camera.record(6)
    camera.free = 10**8  # somebody else fills the disk
    camera.record(3)
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{tmp_path}/door.mp4: recording stopped, the disk is full and no older segment is left to delete; it goes on "
        "when there is room"
    ]
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["door-20261127T000004Z.mp4"]  # it was being written
    camera.free = 10**9  # not yet a tenth more than the mark
    camera.record(2)
    assert [segment.frames for segment in camera.archive.segments()] == [20]
    camera.free = 2 * 10**9
    camera.record(4)
    camera.sink.close()
    assert "recording goes on, 50 frames were not recorded" in caplog.text
    assert [segment.frames for segment in camera.archive.segments()] == [20, 20, 20]
    assert [getattr(record, EVENT) for record in caplog.records if "recording" in record.message] == [
        "recording_stopped",
        "recording_resumed",
    ]


class FullDisk(Recording):
    """A recording on a disk that takes no more after some frames."""

    room = 0

    def write(self, item: RenderedFrame) -> None:
        if FullDisk.room <= 0:
            raise SinkError("the disk is full") from OSError(errno.ENOSPC, "No space left on device")
        FullDisk.room -= 1
        super().write(item)


def test_where_the_disk_refuses_a_frame_the_oldest_segment_makes_room_for_it(tmp_path: Path) -> None:
    camera = Camera(tmp_path, kind=FullDisk)
    FullDisk.room = 30
    delete = camera.archive.delete_oldest

    def delete_and_have_room(reason: str) -> bool:
        FullDisk.room = 40
        return delete(reason)

    camera.archive.delete_oldest = delete_and_have_room  # type: ignore[method-assign]
    camera.record(5)
    camera.sink.close()
    assert [(segment.frames, segment.complete) for segment in camera.archive.segments()] == [(10, False), (20, True)]


def test_another_failure_than_a_full_disk_is_an_error_and_what_was_written_is_kept(tmp_path: Path) -> None:
    class Broken(Recording):
        def write(self, item: RenderedFrame) -> None:
            if item.result.frame.index == 15:
                raise SinkError("o.mp4: cannot be written any further: Input/output error") from OSError(errno.EIO, "")
            super().write(item)

    camera = Camera(tmp_path, kind=Broken)
    with pytest.raises(SinkError, match="Input/output error"):
        camera.record(3)
    camera.sink.close()
    (segment,) = camera.archive.segments()
    assert (segment.frames, segment.complete) == (15, False)
    assert frames_in(tmp_path / segment.file) == 15


@pytest.mark.parametrize("room_bytes", [500, 9_000, 20_000, 35_000])
def test_the_index_names_as_many_frames_as_play_where_the_end_of_a_segment_does_not_fit(
    tmp_path: Path, room_bytes: int
) -> None:
    camera = Camera(tmp_path)
    for index in range(7):
        camera.sink.write(rendered(index, index / 10, pixels=noise(160, 120, seed=index)))
    with no_file_above(room_bytes), pytest.raises(SinkError, match="its end cannot be written: File too large"):
        camera.sink.close()
    lines = lines_of(tmp_path / "cam.segments.jsonl")
    assert [(line["frames"], line["complete"]) for line in lines.values()] == [
        (decoded_frames(tmp_path / file), False) for file in lines
    ]
    assert all(line["frames"] for line in lines.values())
    assert {path.name for path in tmp_path.glob("*.mp4")} == set(lines)


def test_a_segment_that_somebody_deletes_while_it_is_written_costs_nothing_else(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    camera.record(1)
    next(tmp_path.glob("*.part.mp4")).unlink()
    camera.record(3)
    camera.sink.close()
    assert [segment.frames for segment in camera.archive.segments()] == [20]


def test_two_runs_do_not_record_under_one_name(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    with pytest.raises(SinkError, match=r"cam.segments.jsonl: another run records there; let it end, or give --output"):
        Camera(tmp_path)
    camera.sink.close()
    Camera(tmp_path).sink.close()


def test_the_cameras_of_a_run_share_one_archive_while_any_of_them_records(tmp_path: Path) -> None:
    index = tmp_path / "cam.segments.jsonl"
    first, second = (shared_archive(index, keep=SegmentLimit(), min_free_bytes=0) for _ in range(2))
    assert first is second
    first.leave()
    first.leave()
    third = shared_archive(index, keep=SegmentLimit(), min_free_bytes=0)
    assert third is not first
    third.leave()
    assert not index.exists()  # nothing was recorded


def test_an_index_torn_by_a_kill_is_read_and_written_whole_again(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    camera.record(3)
    camera.sink.close()
    index = tmp_path / "cam.segments.jsonl"
    whole = lines_of(index)
    with index.open("ab") as file:
        file.write(b'{"file": "door-2026')
    again = Camera(tmp_path)
    assert [segment.file for segment in again.archive.segments()] == list(whole)
    again.sink.close()
    assert lines_of(index) == whole


def test_an_index_on_a_disk_that_takes_a_part_of_a_line_has_whole_lines_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "cam.segments.jsonl"
    index = SegmentIndex(path)
    segments = [
        Segment(f"{name}.mp4", "door", "2026-11-27T10:15:00.000Z", 0.0) for name in ("first", "second", "third")
    ]
    index.put(segments[0])
    with no_file_above(path.stat().st_size + 20):
        index.put(segments[1])
        assert list(lines_of(path)) == ["first.mp4"]
        index.put(segments[2])  # all of it is written anew, which fails as well
        assert list(lines_of(path)) == ["first.mp4"]
    index.remove("second.mp4")
    index.close()
    assert list(lines_of(path)) == ["first.mp4", "third.mp4"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_a_full_disk_tore_holds_as_many_frames_as_can_be_decoded(tmp_path: Path, suffix: str) -> None:
    path, torn = tmp_path / f"o{suffix}", tmp_path / f"torn{suffix}"
    sink = Recording(path, frames_per_second=10, is_live=True)
    for index in range(12):
        sink.write(rendered(index, index / 10))
    sink.close()
    content = path.read_bytes()
    counts = []
    for num_bytes in range(0, len(content), len(content) // 60):
        torn.write_bytes(content[:num_bytes])
        cut_torn_end(torn)
        num_frames, _ = probe_recording(torn)
        assert num_frames <= decoded_frames(torn) <= num_frames + 1
        counts.append(num_frames)
    assert counts[0] == 0
    assert counts == sorted(counts)  # also where it is torn within the head of a fragment
    assert counts[-1] > 9


RECORD = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.sinks.test_segments import Camera
camera = Camera(Path(sys.argv[1]), limit="2s", path="door" + sys.argv[2])
num_frames = int(sys.argv[3])
while True:
    camera.record(0.1)
    if camera.num_frames == num_frames:
        print(camera.num_frames, flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize(("suffix", "num_frames"), [(".mp4", 1), (".mp4", 19), (".mp4", 37), (".mkv", 21)])
def test_a_kill_costs_a_second_of_the_last_segment_at_most_and_leaves_no_empty_shell(
    tmp_path: Path, suffix: str, num_frames: int
) -> None:
    command = [sys.executable, "-c", RECORD, str(tmp_path), suffix, str(num_frames)]
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    assert child.stdout is not None
    assert int(child.stdout.readline()) == num_frames
    child.kill()
    child.communicate()
    again = Camera(tmp_path, path=f"door{suffix}")
    again.record(0.1)  # takes up what was left behind
    again.sink.close()
    *earlier, _ = again.archive.segments()
    counts = [segment.frames or 0 for segment in earlier]
    assert counts == [frames_in(tmp_path / segment.file) for segment in earlier]
    assert num_frames - sum(counts) <= 10
    assert not list(tmp_path.glob("*.part.*"))
    assert {path.name for path in tmp_path.glob(f"*{suffix}")} == {segment.file for segment in again.archive.segments()}
    assert [segment.complete for segment in earlier if segment.frames == 20] == [True] * counts.count(20)


@pytest.mark.parametrize(
    ("word", "limit"),
    [
        ("10m", SegmentLimit(seconds=600)),
        ("90s", SegmentLimit(seconds=90)),
        ("1.5h", SegmentLimit(seconds=5400)),
        ("7d", SegmentLimit(seconds=604800)),
        ("500MB", SegmentLimit(num_bytes=500_000_000)),
        ("50 GiB", SegmentLimit(num_bytes=50 * 2**30)),
        ("1gb", SegmentLimit(num_bytes=10**9)),
    ],
)
def test_a_limit_is_a_duration_or_a_size(word: str, limit: SegmentLimit) -> None:
    assert parse_limit(word) == limit


@pytest.mark.parametrize("word", ["", "10", "m", "0s", "-1s", "10 parsecs", "1e3s", "nan s", "10m 5s"])
def test_anything_else_is_none(word: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 10m, 2h or 7d, or a size such as 500MB or 50GiB"):
        parse_limit(word)


def test_limits_have_bounds() -> None:
    assert SegmentLimit.of(["7d", "50GB"]) == SegmentLimit(604800, 50 * 10**9)
    with pytest.raises(ValueError, match="one of both, got 8d as well"):
        SegmentLimit.of(["7d", "8d"])
    with pytest.raises(ValueError, match="at least 1s or 1MB"):
        parse_segment("10kB")
    with pytest.raises(ValueError, match="must be a size"):
        parse_size("7d")
    assert (parse_size("0"), parse_size("1MiB")) == (0, 2**20)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("%Y%m%d", "must have {name}"),
        ("{name}-%H%M%S", "time to the second"),
        ("{name}-%Y%m%d", "time to the second"),
        ("/{name}-%Y%m%dT%H%M%S", "below the folder"),
        ("../{name}-%Y%m%dT%H%M%S", "below the folder"),
    ],
)
def test_a_pattern_names_every_source_and_second_below_the_folder(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_pattern(pattern)


def test_an_index_names_no_file_above_its_folder_and_survives_any_line(tmp_path: Path) -> None:
    outside = tmp_path / "keep.txt"
    outside.write_text("mine")
    folder = tmp_path / "recordings"
    folder.mkdir()
    line = {"source": "a", "start": "2026-11-27T10:15:00.000Z", "start_pts": 0.0}
    lines = [
        *(json.dumps(line | {"file": file}) for file in ("../keep.txt", str(outside), "", "good.mp4")),
        json.dumps(line | {"file": "late.mp4", "start": "0001-01-01T00:00:00+14:00"}),
        "[" * 50_000,
    ]
    (folder / "a.segments.jsonl").write_text("\n".join(lines))
    index = SegmentIndex(folder / "a.segments.jsonl")
    assert list(index.segments) == ["good.mp4"]
    index.close()
