"""Soak: what it measures is measured right, its cameras and faults are what they say, and the simulated days hold."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from benchmarks.soaking import simulated
from benchmarks.soaking.camera import CameraPicture
from benchmarks.soaking.clip import OTHER_WH, clip
from benchmarks.soaking.failing_detector import write_failing_detector
from benchmarks.soaking.faults import FAULTS, schedule
from benchmarks.soaking.rtsp import RtpPacker, nal_units
from benchmarks.soaking.samples import (
    BUCKETS,
    Sample,
    SourceSample,
    Usual,
    growth,
    hangs,
    memory_trend,
    recovery,
    unbalanced,
)
from benchmarks.soaking.summary import FaultRecord, memory_in_words, rows_of
from benchmarks.soaking.watch import SegmentCheck, sources_of

ROOT = Path(__file__).parents[2]
BOUNDS = (0.5, 1.0, 5.0, float("inf"))
STEP = 0.5  # seconds between samples, in which a camera gives five pictures


def samples_of(windows: Mapping[str, list[tuple[int, float]]], *, lost: int = 0) -> list[Sample]:
    """Samples of sources, of which each window delivers that many frames at such an age. lost: from the books."""
    num = len(next(iter(windows.values())))
    sources: dict[str, list[SourceSample]] = {}
    for name, of_source in windows.items():
        ended, ages = dict.fromkeys(BUCKETS, 0), dict.fromkeys(BOUNDS, 0)
        rows = [SourceSample(0, 0, ended, ages, num_given=0, is_giving=True)]
        for index, (delivered, age) in enumerate(of_source):
            ended = ended | {"delivered": ended["delivered"] + delivered}
            ages = {bound: count + delivered * (age <= bound) for bound, count in ages.items()}
            rows.append(SourceSample(ended["delivered"], 0, ended, ages, num_given=5 * (index + 1), is_giving=True))
        rows[-1] = replace(rows[-1], captured=rows[-1].captured + lost)
        sources[name] = rows
    return [
        Sample(index * STEP, {name: rows[index] for name, rows in sources.items()}, 10**8, 10**8, 20, 9, index * 0.1)
        for index in range(num + 1)
    ]


def test_a_fault_is_over_when_frames_of_the_usual_age_come_and_go_on_coming() -> None:
    door = [(5, 0.1)] * 8 + [(0, 0.0)] * 6 + [(9, 3.0), (5, 0.1), (5, 2.0)] + [(5, 0.1)] * 8
    samples = samples_of({"door": door, "yard": [(5, 0.1)] * len(door)})
    usual = Usual.of(samples[:8])
    assert usual.age_seconds == {"door": 0.5, "yard": 0.5}
    back = recovery(samples, usual, began=4.0, ended=6.5, until=99.0, sources=["door"])
    assert back.frames_after_seconds == 1.0  # at 7.5, which were old
    assert back.normal_after_seconds == 2.5  # one usual window before that was not the end
    assert back.others_disturbed_windows == 0
    assert back.lost == {"not received": 26, "dropped_stale": 0, "dropped_full": 0, "filtered": 0, "failed": 0}
    back = recovery(samples, usual, began=4.0, ended=6.5, until=99.0, sources=["yard"])
    assert (back.normal_after_seconds, back.others_disturbed_windows) == (0.5, 6)
    assert (
        recovery(samples[:15], usual, began=4.0, ended=6.5, until=99.0, sources=["door"]).normal_after_seconds is None
    )


def test_a_camera_that_gives_while_nothing_is_taken_hangs_unless_that_is_excused() -> None:
    samples = samples_of({"door": [(5, 0.1)] * 4 + [(0, 0.0)] * 30 + [(5, 0.1)] * 4})
    (line,) = hangs(samples)
    assert line.startswith("door: no frame from 2.0 s on")
    assert hangs(samples, [(2.0, 14.0, "door")]) == []
    assert hangs(samples, [(2.0, 14.0, "yard")]) == [line]
    mute = [
        replace(sample, sources={"door": replace(sample.sources["door"], is_giving=not 2 < sample.at_seconds < 17)})
        for sample in samples
    ]
    assert hangs(mute) == []


def test_books_that_do_not_add_up_are_seen_and_so_is_growth() -> None:
    assert unbalanced(samples_of({"door": [(5, 0.1)] * 4})) == 0
    assert unbalanced(samples_of({"door": [(5, 0.1)] * 4}, lost=1)) == 1
    assert growth([99.0, 50.0, 50.0, 51.0, 51.0], allowed=2).is_flat  # the first fifth is left out
    assert not growth([float(index) for index in range(100)], allowed=2).is_flat


@pytest.mark.parametrize(
    ("bytes_an_hour", "verdict"), [(0, "it does not grow more than that"), (420e6, "it grows"), (-420e6, "it does not")]
)
def test_memory_that_climbs_is_told_from_memory_that_moves_up_and_down(bytes_an_hour: float, verdict: str) -> None:
    minutes, randomness = 30, np.random.default_rng(3)
    quiet = samples_of({"door": [(5, 0.1)] * (120 * minutes)})
    noise = np.repeat(randomness.normal(0, 2e6, len(quiet) // 20 + 1), 20)  # that lasts for 10 s
    samples = [
        replace(sample, anonymous_bytes=int(2e8 + bytes_an_hour * sample.at_seconds / 3600 + more))
        for sample, more in zip(quiet, noise, strict=False)
    ]
    assert verdict in memory_in_words(memory_trend(samples))
    assert "too short to say" in memory_in_words(memory_trend(samples[: 3 * 120]))


def test_metrics_are_read_as_the_run_writes_them(tmp_path: Path) -> None:
    text = "\n".join(
        [
            *('streamdet_frames_captured_total{source="door"} 7.0', 'streamdet_frames_in_flight{source="door"} 1.0'),
            'streamdet_frames_total{bucket="delivered",source="door"} 4.0',
            'streamdet_frames_total{bucket="failed",source="door"} 2.0',
            'streamdet_frame_age_seconds_bucket{le="0.5",source="door"} 3.0',
            'streamdet_frame_age_seconds_bucket{le="+Inf",source="door"} 4.0\n',
        ]
    )
    pytest.importorskip("prometheus_client", reason="the extra metrics is not installed")
    door = sources_of(text, {"door": (8, True)})["door"]
    assert (door.captured, door.ended["failed"], door.ages[0.5], door.num_given, door.is_balanced) == (7, 2, 3, 8, True)


def test_each_kind_of_fault_comes_once_before_any_comes_again_and_spares_whom_it_must() -> None:
    names = ["rtsp", "mjpeg", "hls", "tcp"]
    first, again = (list(itertools.islice(schedule(random.Random(5), names, has_disk=False), 60)) for _ in range(2))
    assert first == again
    kinds = [fault.kind.name for fault in first]
    num = len(FAULTS) - 1
    assert "full disk" not in kinds
    for start in (0, num, 2 * num):
        assert len(set(kinds[start : start + num])) == num
    for fault in first:
        assert not set(fault.cameras) & set(fault.kind.spares)
        assert len(fault.cameras) == (1 if fault.kind.of_camera else 4)
    assert {name for fault in first if fault.kind.name == "garbage" for name in fault.cameras} == set(names)


def test_a_schedule_of_chosen_faults_has_no_other() -> None:
    chosen = [kind for kind in FAULTS if kind.name in ("garbage", "full disk")]
    some = itertools.islice(schedule(random.Random(5), ["rtsp", "hls"], has_disk=False, only=chosen), 10)
    assert {fault.kind.name for fault in some} == {"garbage"}
    with pytest.raises(ValueError, match="no disk to fill"):
        next(schedule(random.Random(5), ["rtsp"], has_disk=False, only=[kind for kind in chosen if kind.needs_disk]))


def test_the_failing_detector_fails_in_white_pictures_alone(tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(str(write_failing_detector(tmp_path / "d.onnx")))
    pictures = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (0, 128, 255, 200)])
    scores = session.run(["scores"], {"images": pictures})[0]
    assert np.isnan(scores).all(axis=1).tolist() == [False, False, True, False]
    np.testing.assert_array_equal(scores[[0, 1, 3]], np.float32(0.9))


def test_rtp_carries_the_pictures_as_they_were_encoded() -> None:
    """RFC 6184 is undone here by hand."""
    units: list[bytes] = []
    for packet in packets_of(RtpPacker().pack(CameraPicture(12.5, clip().h264[0], b"", is_key=True))):
        payload = packet[12:]
        if payload[0] & 0x1F != 28:
            units.append(payload)
        elif payload[1] & 0x80:  # the first fragment
            units.append(bytes([payload[0] & 0xE0 | payload[1] & 0x1F]) + payload[2:])
        else:
            units[-1] += payload[2:]
    assert units == nal_units(clip().h264[0])
    assert len(max(units, key=len)) > 5000  # so that some were in fragments


def packets_of(data: bytes) -> list[bytes]:
    """The RTP packets in interleaved data, without RTCP."""
    packets = []
    while data:
        num_bytes = int.from_bytes(data[2:4], "big")
        assert data[:1] == b"$"
        if data[1] == 0:
            packets.append(data[4 : 4 + num_bytes])
        data = data[4 + num_bytes :]
    assert [packet[1] >> 7 for packet in packets] == [0] * (len(packets) - 1) + [1]  # the mark of the last
    return packets


def test_a_segment_that_lacks_frames_is_told_once(tmp_path: Path) -> None:
    index = tmp_path / "cam.segments.jsonl"
    (tmp_path / "torn.mp4").write_bytes(b"no video")
    index.write_text('{"file": "torn.mp4", "frames": 9}\n{"file": "gone.mp4", "frames": 9}\n{"file": "now.mp4", "fra')
    check = SegmentCheck(index)
    check.look()
    check.look()
    assert check.unplayable == ["torn.mp4: 0 frames play, the index says 9"]
    assert (check.num_played, check.num_gone) == (1, 1)


def test_a_torn_line_of_an_index_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    index = tmp_path / "cam.segments.jsonl"
    (tmp_path / "b.mp4").write_bytes(b"no video")
    index.write_text('{"file": "a.mp4", "fr{"file": "a.mp4", "frames": 9}\n{"file": "b.mp4", "frames": 9}\n')
    check = SegmentCheck(index)
    check.look()
    check.look()
    assert check.unplayable == [
        "b.mp4: 0 frames play, the index says 9",
        """cam.segments.jsonl: no JSON: b'{"file": "a.mp4", "fr{"file": "a.mp4", "frames": 9}'""",
    ]


def test_a_row_has_the_sum_of_what_was_lost_and_the_worst_return() -> None:
    back = recovery([], Usual({}), began=0, ended=1, until=2, sources=[])
    records = [
        FaultRecord("cut", "closed", ["door"], 0, 1, replace(back, normal_after_seconds=seconds, lost={"failed": 2}))
        for seconds in (0.5, 1.5, 1.0)
    ]
    assert rows_of(records) == ["| cut | closed | 3 | 6 failed | 0.0 / 0.0 | 1.0 / 1.5 |"]
    records.append(replace(records[0], recovery=replace(back, normal_after_seconds=None)))
    assert rows_of(records) == ["| cut | closed | 4 | 6 failed | 0.0 / 0.0 | 1.0 / never |"]


def test_clips_begin_with_key_frames_in_either_size() -> None:
    for one in (clip(), clip(OTHER_WH)):
        assert [{unit[0] & 0x1F for unit in nal_units(data)} >= {5, 7, 8} for data in one.h264] == (
            [True, *[False] * 9] * 4
        )


def test_half_a_simulated_day_of_breaks_keeps_every_promise(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("CRITICAL"):
        days = simulated.simulate(days=0.5, seed=3, folder=tmp_path)
    assert days.num_faults.total() > 100
    assert days.frames.captured > 2000
    assert days.num_deleted > 0
    assert days.broken_promises == {}


def test_a_simulated_promise_can_be_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(simulated.BARS_SECONDS, simulated.SOON, 0.2)
    monkeypatch.setattr(simulated, "MOST_DEAD_LINES", -100)
    with caplog.at_level("CRITICAL"):
        days = simulated.simulate(days=0.1, seed=3, folder=tmp_path)
    assert days.broken_promises.keys() == {f"back in time after {simulated.SOON}", "the index is short"}


def test_what_shows_a_promise_is_there() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"tests/[\w/]+\.py", page))
    paths |= {f"{module.replace('.', '/')}.py" for module in re.findall(r"python -m (benchmarks\.\w+)", page)}
    assert len(paths) > 8
    assert [path for path in sorted(paths) if not (ROOT / path).is_file()] == []
    assert page.count("| `tests/") + page.count("| `python -m") >= 11  # each promise has one
