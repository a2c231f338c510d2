"""`streamdet compare --gated`: what a gate gains stands beside what it misses, or is not printed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from pipeline.app.compare.command import run_compare
from pipeline.app.compare.gated import GatedComparison, compare_gated, print_gated, verdict_of
from pipeline.app.compare.options import CompareOptions
from pipeline.app.config.loading import ConfigRequest, load_config
from pipeline.app.measure_apart import Case
from pipeline.app.progress import WorkProgress
from pipeline.errors import ConfigError
from pipeline.measure.entries import Entries
from pipeline.measure.measured import Measured
from tests.support.measured import a_run

pytest.importorskip("pycocotools", reason="AP needs pycocotools")

STREET = "sim:traffic?seed=4&seconds=1.5&fps=10&size=320x192"


@pytest.fixture(scope="module")
def street() -> GatedComparison:
    options = {"sources": (STREET,), "gate.kind": "frames", "output.show": False, "flow.mode": "every-frame"}
    return compare_gated(load_config(options=options), sure_score=0.5, say=WorkProgress())


def printed(comparison: GatedComparison) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_gated(comparison, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_gate_that_sees_all_motion_loses_nothing(street: GatedComparison) -> None:
    assert (street.agreement.ap, street.agreement.ap50) == (1.0, 1.0)
    assert street.agreement.all.share == 1.0
    assert street.entries.num_objects >= 2
    assert street.entries.percentile_seconds(95) == 0
    assert street.num_tracks[0] == street.num_tracks[1]
    assert street.num_other_counts == 0
    assert street.jitter is not None
    assert street.jitter.ap < 1  # what moves is elsewhere one frame before
    assert street.gate.num_inferred + street.gate.num_carried == street.num_frames == 15


def test_the_factors_are_in_the_sentence_that_says_what_they_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(case: Case) -> Measured:
        section = case.config["gate"]
        assert isinstance(section, dict)
        return a_run(10.0) if section["kind"] is None else a_run(30.0)

    report = tmp_path / "gated.json"
    options = CompareOptions(("demo",), STREET, gated=True, report=report, repeats=1, config=ConfigRequest())
    assert run_compare(options, measure=measure) == 0
    (sentence,) = re.findall(r"^gated: .*$", capsys.readouterr().out, flags=re.MULTILINE)
    assert "3.00 times the frames/s" in sentence
    assert re.search(r"AP50 \+0.0 and AP \+0.0 against every frame, recall 100.0% of \d+, entries 0 ms late", sentence)
    numbers = json.loads(report.read_text())
    assert numbers["verdict"] == sentence
    assert numbers["speed"]["gated"]["fps"]["median"] == 30.0
    assert numbers["inferred"] == sum(numbers["reasons"].values())


def test_the_commonest_class_is_judged_by_itself_because_rare_ones_count_alike(street: GatedComparison) -> None:
    commonest = street.commonest
    assert commonest is not None
    assert commonest.num_classes >= 2
    assert 0 < commonest.num_objects <= street.agreement.all.num_objects
    assert commonest.agreement.all.num_objects == commonest.num_objects
    assert (commonest.agreement.ap, commonest.agreement.ap50) == (1.0, 1.0)
    assert commonest.jitter.ap < 1
    lost = replace(commonest, name="tram", num_objects=7, agreement=commonest.jitter)
    line = next(line for line in printed(replace(street, commonest=lost)).splitlines() if "tram" in line)
    assert f"of tram alone, 7 objects: AP50 {100 * (lost.jitter.ap50 - 1):+.1f}".replace("-", "−") in line
    assert "counts alike" not in printed(replace(street, commonest=replace(commonest, num_classes=1)))


def test_what_was_never_shown_is_said(street: GatedComparison) -> None:
    worse = replace(street, entries=Entries((0.0, 0.3), 1))
    assert "entries – late at p95, 1 never shown" in verdict_of(worse)
    assert "so what is missed is not known" in verdict_of(replace(street, jitter=None))
    assert "the frame before instead" in printed(street)
    assert "times the frames/s" not in printed(street)  # nothing was measured


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda options: replace(options, models=("a.onnx", "b.onnx")),
            "--gated compares one model with itself, got 2",
        ),
        (lambda options: replace(options, teacher="t.onnx"), "and a --teacher; name one model"),
    ],
)
def test_several_models_are_refused(change: Callable[[CompareOptions], CompareOptions], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        run_compare(change(CompareOptions(("demo",), STREET, gated=True)))


def test_a_gate_without_gated_and_single_images_are_refused(tmp_path: Path) -> None:
    options = CompareOptions(("demo",), STREET, teacher="demo", config=ConfigRequest(flags={"gate.kind": "frames"}))
    with pytest.raises(ConfigError, match="compare without --gated lets the network look at every frame"):
        run_compare(options)
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ConfigError, match="needs a video of several frames"):
        run_compare(CompareOptions(("demo",), str(tmp_path), gated=True))
