"""The command demo: it runs on the clip, finds most of what is there, and ends with the command to type next."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import av
import pytest

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.run.command import NEXT_COMMAND, run_demo
from pipeline.app.run.options import DemoOptions
from pipeline.errors import SinkError
from tools.reference import commands, options_of


def demo(folder: Path) -> int:
    settings = ("flow.max_frames=15", "engine.device=cpu")
    return run_demo(DemoOptions(folder=folder, config=ConfigRequest(settings=settings)))


def test_it_leaves_a_video_lines_and_a_report_and_says_what_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my demo"
    assert demo(folder) == 0
    with av.open(str(folder / "demo.mp4")) as container:
        assert len(list(container.decode(video=0))) == 15
    lines = [json.loads(line) for line in (folder / "demo.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == ["demo:street"] * 15
    assert json.loads((folder / "report.json").read_text())["frames"]["delivered"] == 15
    printed = capsys.readouterr().out
    assert f"look at  {folder / 'demo.mp4'}" in printed
    assert f"next     {NEXT_COMMAND}" in printed.splitlines()


def test_it_replaces_nothing_in_a_folder_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("precious")
    with pytest.raises(SinkError, match=r"report.json .*exists already; replace it with --overwrite"):
        demo(tmp_path)
    assert (tmp_path / "report.json").read_text() == "precious"


def test_it_finds_most_of_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo(tmp_path)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if re.match(r"truth +\d+ of", line))
    share = float(line.partition("(")[2].partition("%")[0])
    assert share > 75


def test_the_next_command_uses_options_that_exist() -> None:
    streamdet, name, *words = shlex.split(NEXT_COMMAND)
    assert streamdet == "streamdet"
    assert {word for word in words if word.startswith("-")} <= options_of(commands()[name])
