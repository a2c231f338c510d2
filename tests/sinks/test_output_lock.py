"""Output lock: two runs never write one output."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.sinks.jsonl import JsonLines
from pipeline.sinks.output_lock import OutputLock
from pipeline.sinks.recording import Recording

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def test_the_second_is_refused_by_any_name_until_the_first_lets_go(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "o.jsonl")
    lock = OutputLock(tmp_path / "o.jsonl")
    with pytest.raises(SinkError, match=f"link: another run, process {os.getpid()}, is writing it"):
        OutputLock(link)
    OutputLock(tmp_path / "other.jsonl").release()
    lock.release()
    lock.release()
    OutputLock(link).release()
    assert not list((tmp_path / "temporary").rglob("*.lock"))
    assert not (tmp_path / "o.jsonl").exists()


def test_two_runs_with_one_output_are_refused_and_one_after_the_other_is_not(
    tmp_path: Path, small_video: Path, small_detector: Path
) -> None:
    config = load_config(
        options={
            "sources": (str(small_video),),
            "model": str(small_detector),
            "output.jsonl": str(tmp_path / "o.jsonl"),
            "engine.device": "cpu",
        }
    )
    first = assemble(config)
    with pytest.raises(SinkError, match="another run"):
        assemble(config)
    first.close()
    assemble(config).close()


def test_a_folder_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "temporary" / f"streamdet-{os.getuid()}").symlink_to(tmp_path)
    OutputLock(tmp_path / "o.jsonl").release()
    assert not list(tmp_path.glob("*.lock"))


def test_an_output_that_was_deleted_meanwhile_is_not_told_as_written(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    lines = JsonLines(path)
    lines.write(Result(Frame.from_pixels(np.zeros((9, 9, 3), np.uint8)), Detections.empty(), ()))
    path.unlink()
    with pytest.raises(SinkError, match="JSON lines cannot be kept: somebody deleted the file"):
        lines.close()
    lines.close()
    Recording(tmp_path / "never_begun.mp4").close()


@pytest.mark.parametrize(("name", "words"), [("a\0b", "without a zero byte"), ("a" * 300, "File name too long")])
def test_what_cannot_be_a_path_is_told_by_who_opens_it(
    tmp_path: Path, small_video: Path, small_detector: Path, name: str, words: str
) -> None:
    options = {"sources": (str(small_video),), "model": str(small_detector), "engine.device": "cpu"}
    with pytest.raises(SinkError, match=words):
        assemble(load_config(options={**options, "output.jsonl": str(tmp_path / name)}))
