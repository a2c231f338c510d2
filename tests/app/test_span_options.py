"""`--start` and `--end`: times as people type them, and a line where they mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.app.config.loading import load_config
from pipeline.errors import ConfigError
from tests.support.command_line import Streamdet


@pytest.mark.parametrize(
    ("typed", "seconds"), [("62.5", 62.5), ("1:02.5", 62.5), ("0:01:02.5", 62.5), ("90:00", 5400), ("0", 0), (3, 3)]
)
def test_a_time_is_seconds_or_as_a_player_shows_it(typed: object, seconds: float) -> None:
    assert load_config(options={"flow.start": typed}).flow.start == seconds


@pytest.mark.parametrize("typed", ["1:75", "1:75:00", "-3", "5s", "120f", "", "1:2:3:4", "nan", ":30"])
def test_another_time_is_refused(typed: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"flow\.start must be seconds or HH:MM:SS, such as 62\.5 or 1:02\.5, got|--start must be seconds",
    ):
        load_config(options={"flow.start": typed})


def test_the_lines_of_a_part_have_the_numbers_and_times_of_the_whole(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    lines = tmp_path / "o.jsonl"
    typed = ("run", small_video, "-m", small_detector, "--device", "cpu", "--jsonl", lines)
    done = streamdet(*typed, "--start", "0:01", "--end", "2", "--every", 3)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(row["frame"], row["pts"]) for row in rows] == [(10, 1.0), (13, 1.3), (16, 1.6), (19, 1.9)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{video} --start 2 --end 1", "--end must be later than --start, got 2 s to 1 s"),
        ("{video} --start 1:00", "--start 60 s is past its end, at 3.0 s"),
        ("sim:traffic --start 1", "sim:traffic: --start and --end are for recorded videos"),
        ("0 --end 1", "0: --start and --end are for recorded videos; leave them out"),
        ("{photo} --start 1", "--start and --end are for recorded videos"),
        ("{photo.parent} --end 1", "--start and --end are for videos, and it has images"),
    ],
)
def test_a_part_of_what_has_no_parts_is_one_line(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet, words: str, message: str
) -> None:
    photo = tmp_path / "photos" / "a.png"
    photo.parent.mkdir()
    photo.write_bytes(b"")
    typed = [word.format(video=small_video, photo=photo) for word in words.split()]
    done = streamdet("run", *typed, "-m", small_detector, "--device", "cpu", "--jsonl", "-")
    assert done.returncode == 1
    assert sum("error: " in line for line in done.stderr.splitlines()) == 1
    assert message in done.stderr
