"""Result log: lines that were kept stay, whatever happens next, and Parquet says the same."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pipeline.errors import SinkError
from pipeline.fleet import result_log
from pipeline.fleet.result_kinds import ResultKind
from pipeline.fleet.result_log import ResultLog
from pipeline.testing import StepClock


def line(frame: int, *, num: int = 1) -> bytes:
    box = {"box": [1.0, 2.0, 3.5, 4.0], "score": 0.5, "class_id": 2, "class_name": "car"}
    return json.dumps(
        {"id": f"door/1/{frame}", "source": "door", "generation": 1, "time": 5.0, "frame": frame, "pts": frame / 10}
        | {"detections": [box] * num}
    ).encode()


def lines_in(folder: Path) -> list[bytes]:
    return [one for path in sorted(folder.glob("*.jsonl")) for one in path.read_bytes().splitlines()]


def test_a_file_is_complete_after_a_minute_and_its_parquet_says_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    clock = StepClock()
    log = ResultLog(tmp_path, ("jsonl", "parquet"), clock=clock)
    log.write([line(0), line(1, num=0)])
    assert [path.name for path in tmp_path.iterdir()] == ["lines-000001.jsonl"]
    clock.advance(60)
    log.write([])
    log.write([line(2)])
    log.close()
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "frames-000001.parquet", "frames-000002.parquet", "lines-000001.jsonl", "lines-000002.jsonl",
    ]  # fmt: skip
    assert lines_in(tmp_path) == [line(0), line(1, num=0), line(2)]
    rows = parquet.read_table(tmp_path / "frames-000001.parquet").to_pylist()
    assert [(row["id"], row["frame"], row["pts"], len(row["detections"])) for row in rows] == [
        ("door/1/0", 0, 0.0, 1),
        ("door/1/1", 1, 0.1, 0),
    ]
    detection = rows[0]["detections"][0]
    assert [detection[name] for name in ("x1", "y2", "score", "class_name", "track_id")] == [1, 4, 0.5, "car", None]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_the_next_start_knows_what_was_kept_last(tmp_path: Path, kind: ResultKind) -> None:
    pytest.importorskip("pyarrow")
    clock = StepClock()
    log = ResultLog(tmp_path, [kind], clock=clock)
    assert log.last_ids() == set()
    for frame in range(6):  # two in each file
        log.write([line(frame)])
        clock.advance(60)
    assert ResultLog(tmp_path, [kind]).last_ids() == {f"door/1/{frame}" for frame in range(2, 6)}


def test_a_start_after_a_kill_cuts_the_torn_line_off_and_makes_the_missing_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "lines-000001.jsonl").write_bytes(line(0) + b"\n" + line(1) + b"\n" + line(2)[:30])
    (tmp_path / "notes.txt").touch()
    log = ResultLog(tmp_path, ["parquet"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames-000001.parquet", "notes.txt"]
    log.write([line(3)])
    assert lines_in(tmp_path) == [line(3)]
    log.close()
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == [
        "frames-000001.parquet",
        "frames-000002.parquet",
    ]


def test_lines_that_a_full_disk_took_half_of_are_not_there_and_may_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ResultLog(tmp_path, ["jsonl"])
    log.write([line(0)])

    def write_half(file: object, content: bytes) -> None:
        os.write(file.fileno(), content[: len(content) // 2])  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(result_log, "write_all", write_half)
        with pytest.raises(SinkError, match="results cannot be kept: No space left on device"):
            log.write([line(1), line(2)])
    assert lines_in(tmp_path) == [line(0)]
    log.write([line(1), line(2)])
    assert lines_in(tmp_path) == [line(0), line(1), line(2)]
    log.close()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="file/results: results cannot be kept: Not a directory"):
        ResultLog(tmp_path / "file" / "results", ["jsonl"])
