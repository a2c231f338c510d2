"""Line file: whatever a kill left of a file, what is added to it follows whole lines, and no whole line is lost."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.sinks.csv_table import CsvTable
from pipeline.sinks.jsonl import JsonLines
from pipeline.sinks.line_file import LineFile


def result(index: int, *, source_id: str = "two\nlines") -> Result:
    frame = Frame.from_pixels(np.zeros((9, 9, 3), np.uint8), source_id=source_id, index=index)
    detections = Detections(np.array([[1, 2, 3, 4]], np.float32), np.array([0.5], np.float32), np.array([0]))
    return Result(frame, detections, ("person",))


def written(sink: JsonLines | CsvTable, *indices: int) -> None:
    try:
        for index in indices:
            sink.write(result(index))
    finally:
        sink.close()


def frames_of(path: Path) -> list[int]:
    """The frames in a file, which must be nothing but whole lines, by readers that are not ours."""
    if path.suffix == ".jsonl":
        return [json.loads(line)["frame"] for line in path.read_text().splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert all(row["source"] == "two\nlines" and row["track_id"] == "" for row in rows)
    return [int(row["frame"]) for row in rows]


@pytest.mark.parametrize("kind", [JsonLines, CsvTable])
def test_a_file_that_was_torn_at_any_byte_goes_on_with_whole_lines(
    tmp_path: Path, kind: type[JsonLines | CsvTable], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ("o.jsonl" if kind is JsonLines else "o.csv")
    written(kind(path), 0, 1)
    content = path.read_bytes()
    end = b"\n" if kind is JsonLines else b"\r\n"
    for num_bytes in range(len(content) + 1):
        path.write_bytes(content[:num_bytes])
        caplog.clear()
        written(kind(path, append=True), 7)
        num_whole = content[:num_bytes].count(end) - (kind is CsvTable and num_bytes >= content.index(end) + 2)
        lacks_only_its_end = kind is JsonLines and content[num_bytes : num_bytes + 1] == b"\n"
        assert frames_of(path) == [*range(num_whole + lacks_only_its_end), 7], num_bytes
        is_torn = num_bytes > 0 and not content[:num_bytes].endswith(end)
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * is_torn
        if is_torn:
            assert ("lacked its end" if lacks_only_its_end else "was torn") in caplog.text


def test_the_last_line_may_be_longer_than_a_block_and_its_end_lie_across_two(tmp_path: Path) -> None:
    path, block = tmp_path / "o.csv", 65_536
    for num_bytes in (block - 2, block - 1, block, 2 * block - 1, 3 * block):
        path.write_bytes(b"head\r\n" + b"x" * num_bytes)
        LineFile(b"head\r\n", end=b"\r\n").mend(path)
        assert path.read_bytes() == b"head\r\n", num_bytes
    path.write_bytes(b"head\r\n" + b"x" * block + b"\r\n")
    LineFile(b"head\r\n", end=b"\r\n").mend(path)
    assert path.stat().st_size == block + 8


def test_what_a_power_cut_left_as_zeros_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    written(JsonLines(path), 0)
    path.write_bytes(path.read_bytes() + bytes(5000))
    written(JsonLines(path, append=True), 1)
    assert frames_of(path) == [0, 1]


@pytest.mark.parametrize("kind", [JsonLines, CsvTable])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, kind: type[JsonLines | CsvTable]) -> None:
    path = tmp_path / "notes.txt"
    for content in (b"my notes, without an end", b"\x00\xff", b'{"event": "run_started"}\n', b"frame,box\r\n1,2\r\n"):
        path.write_bytes(content)
        with pytest.raises(SinkError, match=r"notes\.txt: must begin with .* got .*; name another file"):
            kind(path, append=True)
        assert path.read_bytes() == content


@pytest.mark.parametrize("kind", [JsonLines, CsvTable])
def test_a_run_without_frames_changes_nothing_and_a_missing_file_is_begun(
    tmp_path: Path, kind: type[JsonLines | CsvTable]
) -> None:
    path = tmp_path / ("o.jsonl" if kind is JsonLines else "o.csv")
    kind(path, append=True).close()
    assert not path.exists()
    written(kind(path, append=True), 0)
    torn = path.read_bytes()[:-1]
    path.write_bytes(torn)
    kind(path, append=True).close()
    assert path.read_bytes() == torn
