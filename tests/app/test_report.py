"""Does what is said about a run agree with its numbers, to a person and to a program?"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.app.overlay import OverlayText
from pipeline.app.report_file import write_report
from pipeline.app.run.object_tally import ObjectTally
from pipeline.app.run.report import RunReport, print_report, report_of
from pipeline.app.run.verdict import judge
from pipeline.errors import SinkError
from pipeline.flow.graph import Flow
from pipeline.flow.running import Running, RunStatistics
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.testing import CollectingSink, FunctionStage, ItemSource, StepClock


def statistics_of_a_run(num_frames: int = 20) -> RunStatistics:
    """Frames at 10 a second, 50 ms each in detect, of which every fifth is filtered, the first one included."""
    clock = StepClock()

    def detect(item: int) -> list[int]:
        clock.advance(0.05)
        return [item] if item % 5 else []

    flow = Flow.from_sources(ItemSource(range(num_frames), source_id="videos/street.mp4")).then(
        FunctionStage(detect), name="detect"
    )
    sink: CollectingSink[int] = CollectingSink()
    with Running(flow.to(sink, name="record out/o.mp4", role="record"), clock=clock) as running:
        running.wait()
    return running.statistics()


def report(num_frames: int = 20) -> RunReport:
    statistics = statistics_of_a_run(num_frames)
    verdict = judge(statistics, is_live=False)
    damage = {"videos/street.mp4": ("50 frames declared, 20 read",)}
    objects = ObjectTally()
    for result in results():
        objects(result)
    return report_of(statistics, verdict=verdict, objects=objects, model="tiny", device="cpu fp32", damage=damage)


def results() -> list[Result]:
    """A frame with two dogs, and one with nothing."""
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3]], np.float32)
    dogs = Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 0]))
    frame = Frame.from_pixels(np.zeros((4, 4, 3), np.uint8), source_id="videos/street.mp4")
    return [Result(frame, dogs, ("dog",)), Result(frame, Detections.empty(), ("dog",))]


def test_the_report_has_the_schema_and_the_books_balance() -> None:
    numbers = json.loads(json.dumps(report(), allow_nan=False))
    frames = numbers["frames"]
    assert set(frames) == {"captured", "delivered", "dropped_stale", "dropped_full", "filtered", "failed"}
    assert frames["captured"] == 20 == sum(count for name, count in frames.items() if name != "captured")
    assert set(numbers["fps"]) == {"captured", "inferred", "delivered"}
    assert numbers["fps"]["inferred"] == pytest.approx(20, rel=0.01)
    assert set(numbers["latency_ms"]) == {"p50", "p95", "p99"}
    detect = numbers["stages"]["detect"]
    assert detect["service_ms"]["p50"] == pytest.approx(50, rel=0.01)
    assert detect["busy"] == pytest.approx(1.0)
    assert numbers["limited_by"] == "detect"
    dogs = {"dog": {"frames": 1, "most_at_once": 2, "boxes": 2, "tracks": None}}
    source = numbers["sources"]["videos/street.mp4"]
    for part in (numbers, source):
        assert (part["frames_with_objects"], part["objects"]) == (1, dogs)
    assert source["frames"] == frames
    assert source["damage"] == ["50 frames declared, 20 read"]
    assert {"python", "numpy"} <= set(numbers["versions"])


def test_a_person_gets_a_table_and_the_sentence() -> None:
    text = io.StringIO()
    print_report(report(), Console(file=text, width=120))
    said = text.getvalue()
    assert [line.split()[0] for line in said.splitlines()][:4] == ["frames", "FPS", "latency", "stage"]
    assert "videos/" not in said
    assert "record o.mp4" in said
    assert "20 captured = 16 delivered + 4 filtered + 0 dropped + 0 failed" in said
    assert "Limited by detect (100% busy, 50.0 ms per frame)" in said


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (1, ["No frame was delivered"]),
        (2, ["latency  ", " ms, capture to sink"]),
        (4, ["latency  p50 "]),
    ],
)
def test_few_frames_have_no_rates_and_no_percentiles_of_so_little(num_frames: int, expected: list[str]) -> None:
    text = io.StringIO()
    print_report(report(num_frames), Console(file=text, width=120))
    printed = text.getvalue()
    assert [words for words in expected if words not in printed] == []
    assert ("latency" in printed) == (num_frames > 1)
    assert [
        words for words in ("FPS", "p95", "busy", "Limited", *(["p50"] if num_frames < 4 else [])) if words in printed
    ] == []


@pytest.mark.parametrize(("num_frames", "names"), [(20, ["p50"]), (30, ["p50", "p95"]), (130, ["p50", "p95", "p99"])])
def test_a_percentile_is_shown_where_there_are_enough_frames_for_it(num_frames: int, names: list[str]) -> None:
    text = io.StringIO()
    print_report(report(num_frames), Console(file=text, width=120))
    (line,) = (line for line in text.getvalue().splitlines() if line.startswith("latency"))
    assert [name for name in ("p50", "p95", "p99") if name in line] == names


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_table_of_stages_fits_the_terminal_whatever_the_names(width: int) -> None:
    numbers = report()
    numbers["stages"][f"record out/{'long' * 20}.mp4"] = numbers["stages"]["record out/o.mp4"]
    text = io.StringIO()
    print_report(numbers, Console(file=text, width=width))
    rows = [line for line in text.getvalue().splitlines() if " / " in line]
    assert len(rows) == 1 + len(numbers["stages"])
    assert max(len(row) for row in rows) <= width
    assert not any("…" in row.partition("/")[2] for row in rows)


def test_a_report_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    write_report({"seconds": 1}, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == {"seconds": 1}
    with pytest.raises(SinkError, match=r"null/r\.json: Not a directory"):
        write_report({}, Path("/dev/null/r.json"))


def test_the_overlay_is_renewed_twice_a_second() -> None:
    clock, statistics = StepClock(), statistics_of_a_run()
    asked = []
    overlay = OverlayText(clock)
    frame = Frame.from_pixels(np.zeros((4, 4, 3), np.uint8), source_id="videos/street.mp4")
    result = Result(frame, Detections.empty(), ("dog",))
    assert overlay(result) == ("FPS –",)

    def ask() -> RunStatistics:
        asked.append(clock())
        return statistics

    overlay.statistics = ask
    for _ in range(10):
        (line,) = overlay(result)
        clock.advance(0.1)
    assert line.startswith("FPS ")
    assert "dropped 0" in line
    assert asked == pytest.approx([0.0, 0.5])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_a_report_for_a_pipe_that_nobody_reads_is_an_error_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "report"
    os.mkfifo(pipe)
    with pytest.raises(SinkError, match="nobody reads this pipe"):
        write_report({}, pipe)
    assert pipe.is_fifo()
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_report({"seconds": 1}, pipe)
    assert os.read(reading, 100) == b'{\n  "seconds": 1\n}\n'
    os.close(reading)
