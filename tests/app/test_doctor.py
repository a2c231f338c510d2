"""Does the doctor find what keeps a run from working, and name the cure?"""

from __future__ import annotations

from typing import Any

import av
import onnxruntime
import pytest

from pipeline.app.doctor import Finding, diagnose
from pipeline.app.requirements import unmet_requirements
from tests.support.command_line import Streamdet

TRIAL = "trial (what `run` does)"


def trial() -> list[Finding]:
    return [finding for finding in diagnose() if finding.part == TRIAL]


def test_where_all_is_well_a_video_is_read_one_is_recorded_and_the_demo_network_runs() -> None:
    reads, records, runs = trial()
    assert (reads.mark, reads.text) == ("ok", "reads a video: 3 frames of H.264")
    assert (records.mark, records.text) == ("ok", "records a video: 3 frames with libx264")
    assert runs.mark == "ok"
    assert runs.text.startswith("runs the demo network: ")


def test_a_pyav_that_opens_videos_in_another_way_is_found_and_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, streamdet: Streamdet
) -> None:
    def open_of_another_major(file: str) -> Any: ...

    monkeypatch.setattr(av, "open", open_of_another_major)
    done = streamdet("doctor")
    assert done.returncode == 1
    assert "✗ reading a video fails: TypeError: " in done.stdout
    assert "✗ recording a video fails: TypeError: " in done.stdout
    assert '; pip install --force-reinstall "av' in done.stdout
    assert "✓ runs the demo network" in done.stdout


def test_a_network_that_does_not_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no memory\nat all")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    assert trial()[-1].mark == "wrong"
    assert trial()[-1].text.startswith("running the demo network fails: ")
    assert "no memory" in trial()[-1].text
    assert "at all" not in trial()[-1].text


def test_a_version_outside_our_bounds_is_named_with_the_cure() -> None:
    (unmet,) = unmet_requirements(["numpy<1", "av>=1", "no-such-package>=1; extra == 'cpu'"])
    assert (
        unmet.cure == f'streamdet needs numpy<1, which is installed in version {unmet.version}: pip install "numpy<1"'
    )
    assert unmet.is_needed


def test_what_run_does_without_is_not_needed_and_what_it_needs_must_be_there() -> None:
    tool, missing = unmet_requirements(
        [
            "pytest<1; extra == 'dev'",
            "no-such-package>=1",
            "nor-this; python_version < '3'",
            "numpy<1; extra == 'x' and python_version < '3'",
        ]
    )
    assert not tool.is_needed
    assert missing.is_needed
    assert missing.cure == (
        'streamdet needs no-such-package>=1, which is not installed: pip install "no-such-package>=1"'
    )
