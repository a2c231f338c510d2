"""Counting in a run: flags, YAML, outputs, report, metrics, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import pipeline
from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.counting import ShapeSettings, checked_shapes, counted_shapes, with_tracking
from pipeline.app.run.count_tally import CountTally
from pipeline.app.run.counts_in_words import count_line, print_line_and_zone_counts
from pipeline.errors import ConfigError
from pipeline.picture.counting.counts import Counts, LineCounts, ZoneCounts
from pipeline.picture.counting.shapes import far_point
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from tests.support.command_line import Streamdet, refused

STREET = "sim:traffic?seed=4&seconds=2&fps=15&size=320x192"
GATE, YARD = "gate=0,0.6,1,0.6", "yard=0,0.5,1,0.5,1,1,0,1"


def test_a_run_writes_events_and_counts_that_agree_with_each_other(tmp_path: Path, streamdet: Streamdet) -> None:
    lines, report = tmp_path / "o.jsonl", tmp_path / "report.json"
    done = streamdet("run", STREET, "--line", GATE, "--zone", YARD, "--jsonl", lines, "--report", report)
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line) for line in lines.read_text().splitlines()]
    events = [event for frame in frames for event in frame.get("events", ())]
    assert len({event["id"] for event in events}) == len(events)
    (source,) = json.loads(report.read_text())["sources"].values()
    assert source["counts"] == frames[-1]["counts"]
    gate, yard = source["counts"]["lines"]["gate"], source["counts"]["zones"]["yard"]
    for direction in ("in", "out"):
        crossed = [event for event in events if event["kind"] == "crossed" and event["direction"] == direction]
        assert len(crossed) == sum(gate[direction].values())
    came = sum(yard["appeared"].values()) + sum(yard["entered"].values())
    assert came == sum(yard["left"].values()) + sum(yard["inside"].values()) > 0
    assert sum(gate["in"].values()) + sum(gate["out"].values()) > 0
    text = re.sub(r"\s+", " ", done.stdout)
    assert "tracking with bytetrack, which counting needs (--track)" in text
    assert f"counted gate: in {sum(gate['in'].values())}" in text
    assert "counted yard: " in text


def test_python_gives_events_and_counts_with_each_result() -> None:
    short = "sim:traffic?seed=4&seconds=1&fps=15&size=320x192"
    results = list(pipeline.detect(short, settings={"lines": {"gate": "0,0.6,1,0.6"}}))
    events = [event for result in results for event in result.events]
    assert {event.kind for event in events} == {"crossed"}
    counting = results[-1].counting
    assert counting is not None
    assert sum(counting.lines[0].num_in.values()) + sum(counting.lines[0].num_out.values()) == len(events)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--line", "gate"), ("--line", "NAME=…", "'gate'")),
        (("--line", "gate=0,0.5,1"), ("--line gate", "pairs of x and y", "3 numbers")),
        (("--line", "gate=0.5,0.5,0.5,0.5"), ("--line gate", "must have a length")),
        (("--line", "gate=0,0.5,640,0.5"), ("--line gate", "all shares of the picture, 0 to 1, or all pixels")),
        (("--line", "gate=9000,0,9000,99"), ("--line gate", "within the picture, 320×192", "9000,0,9000,99")),
        (("--line", "gate=0,1e300,1,1"), ("--line gate must be pixels of a picture, at most 1,000,000, got 1e300",)),
        (("--line", "gate=nan,0,1,1"), ("--line gate must be numbers with commas, got 'nan'\n",)),
        (("--line", "gate=0,100,9999,100"), ("--line gate must have points in or near the picture, 320×192", "9999,1")),
        (("--set", "lines.gate=[900,0,900,9]", "--set", "track.memory_s=1"), ("--line gate must lie within",)),
        (("--zone", "yard=0,0,1,1,1,0,0,1"), ("--zone yard", "cross or touch itself", "reorder")),
        (("--zone", "yard=0,0,1,1"), ("--zone yard", "3 to 100 points")),
        (("--line", GATE, "--line", "gate=0,0,1,1"), ("--line gate=…", "once")),
        (("--line", GATE, "--zone", "gate=0,0,1,1,1,0"), ("zones.gate", "no line has")),
        (("--set", "lines={gate: {points: '0,0,1,1', classes: [cat]}}"), ("lines.gate.classes", "'cat'")),
        (("--set", "lines={gate: {points: '0,0,1,1', class: cat}}"), ("lines.gate.class", "no key")),
        (("--set", "homography=[[0, 0, 0, 0]]"), ("homography", "four rows")),
    ],
)
def test_what_cannot_be_counted_is_one_line(
    streamdet: Streamdet, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert refused(streamdet("run", STREET, *words), *parts)


def test_sources_have_lines_of_their_own_beside_or_in_place_of_those_of_the_run(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(
        "lines: {gate: [0, 0.5, 1, 0.5], door: '10%,0,10%,1'}\n"
        "zones:\n  yard: {points: [[0, 0], [1, 0], [1, 1]], anchor: centre, dwell_s: 3, classes: person}\n"
        "sources:\n"
        f"- {{url: '{STREET}', name: a, lines: {{gate: [0, 100, 320, 100]}}}}\n"
        f"- {{url: '{STREET}', name: b, homography: [[0, 0, 0, 0], [1, 0, 9, 0], [1, 1, 9, 9], [0, 1, 0, 9]]}}\n",
        encoding="utf-8",
    )
    config = with_tracking(load_config(str(file)))
    assert config.track.kind == "bytetrack"
    assembly = assemble(config.without_outputs())
    assembly.close()
    a, b = assembly.counted["a"], assembly.counted["b"]
    assert [line.coordinates for line in a.lines] == [(0, 100, 320, 100), (0.1, 0, 0.1, 1)]
    assert [line.coordinates for line in b.lines] == [(0, 0.5, 1, 0.5), (0.1, 0, 0.1, 1)]
    (yard,) = a.zones
    assert (yard.anchor, yard.dwell_seconds, yard.class_ids) == ("centre", 3, frozenset({0}))
    assert (a.homography is None, b.homography is None) == (True, False)


def test_a_point_may_lie_outside_by_one_picture_and_not_by_more() -> None:
    size_wh, line = (320, 192), np.array([[0.0, 0.0], [640.0, 384.0]])
    assert far_point(line, size_wh) is None
    assert far_point(np.add(line, (0, 1)), size_wh) == (640, 385)
    assert far_point(np.subtract(line, (321, 0)), size_wh) == (-321, 0)
    spec = pipeline.recognise(Path(pipeline.__file__).parent / "detector" / "demo.onnx")
    drawn = load_config(options={"lines": {"gate": "0,100,9999,100"}})
    with pytest.raises(ConfigError, match=r"^lines\.gate must have points in or near .* got 9999,100, which"):
        checked_shapes(ShapeSettings(drawn.lines), drawn, spec, "a", size_wh)


def test_a_line_outside_of_a_picture_of_unknown_size_is_let_through_to_be_warned_of_later() -> None:
    config = load_config(options={"lines": {"gate": "900,0,900,99"}, "sources": (STREET,)})
    spec = pipeline.recognise(Path(pipeline.__file__).parent / "detector" / "demo.onnx")
    assert counted_shapes(config, None, spec, "a", None).lines
    with pytest.raises(ConfigError, match="within the picture"):
        counted_shapes(config, None, spec, "a", (640, 360))


def test_a_run_without_lines_follows_and_counts_nothing() -> None:
    assert with_tracking(RunConfig()).track.kind is None
    (result, *_) = pipeline.detect("sim:traffic?seconds=0.1&size=64x64")
    assert (result.events, result.counting) == ((), None)


COUNTS = Counts(
    (LineCounts("gate", np.zeros((2, 2)), {"car": 2, "person": 1}, {}),),
    (ZoneCounts("yard", np.zeros((3, 2)), {}, {"car": 1}, {"person": 2}, {"car": 1, "person": 2}, 1.25, 2.0),),
)


def test_words_have_every_class_and_fit_their_line() -> None:
    assert count_line({"a": COUNTS}, width=80) == "gate in 3 out 0, yard 0"
    both = count_line({"a.mp4": COUNTS, "b.mp4": COUNTS}, width=80)
    assert both == "a.mp4: gate in 3 out 0, yard 0; b.mp4: gate in 3 out 0, yard 0"
    assert len(count_line({"a.mp4": COUNTS, "b.mp4": COUNTS}, width=30)) <= 30
    console = Console(width=140, record=True, file=None, quiet=False)
    with console.capture() as capture:
        print_line_and_zone_counts({"a": COUNTS}, console)
    first, second = capture.get().splitlines()
    assert first == "counted  gate: in 3 (car 2, person 1), out 0"
    assert second == (
        "counted  yard: 0 inside at the end, entered 2 (person 2), there when first seen 1 (car 1), "
        "left 3 (person 2, car 1), for 1.2 s on average, 2.0 s at most"
    )


def test_files_of_one_source_are_one_tally() -> None:
    tally = CountTally({"folder/a.mp4": "folder", "folder/b.mp4": "folder"})
    for name, counts in (("folder/a.mp4", Counts((), ())), ("folder/b.mp4", COUNTS), ("c.mp4", COUNTS)):
        frame = Frame.from_pixels(np.zeros((2, 2, 3), np.uint8), source_id=name)
        tally(Result(frame, Detections.empty(), (), counting=counts))
    assert tally.counts_by_source() == {"folder": COUNTS, "c.mp4": COUNTS}


def test_metrics_have_crossings_and_what_is_in_a_zone_with_zeros_for_classes_that_left() -> None:
    pytest.importorskip("prometheus_client")
    from prometheus_client.exposition import generate_latest
    from prometheus_client.registry import CollectorRegistry

    from pipeline.app.run.metrics import count_metrics

    class Counted:
        def collect(self) -> object:
            return count_metrics({"cam": COUNTS})

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Counted())  # type: ignore[arg-type]
    text = generate_latest(registry).decode()
    assert 'streamdet_crossings_total{class="car",direction="in",line="gate",source="cam"} 2.0' in text
    assert 'streamdet_zone_objects{class="person",source="cam",zone="yard"} 0.0' in text
    assert list(count_metrics({})) == []
