"""JSON lines: every line is complete, valid and of the documented form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, Result, Tracks
from pipeline.picture.frame import Frame
from pipeline.sinks.jsonl import JsonLines, as_json
from tests.support.file_size import no_file_above


def result(index: int = 0, *, track_ids: list[int] | None = None) -> Result:
    frame = Frame.from_pixels(np.zeros((9, 9, 3), np.uint8), source_id="café", index=index, pts_seconds=index / 30)
    detections = Detections(
        np.array([[1, 2.004, 3.14159, 4], [0, 0, 9, 9]], np.float32),
        np.array([0.87654321, 0.5], np.float32),
        np.array([0, 9]),
        track_ids=None if track_ids is None else np.array(track_ids),
    )
    return Result(frame, detections, ("person",))


def test_a_line_has_the_schema(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "o.jsonl")
    sink.write(result(1))
    sink.close()
    assert json.loads((tmp_path / "o.jsonl").read_text()) == {
        "source": "café",
        "frame": 1,
        "pts": 0.033333,
        "detections": [
            {"box": [1.0, 2.0, 3.14, 4.0], "score": 0.8765, "class_id": 0, "class_name": "person"},
            {"box": [0.0, 0.0, 9.0, 9.0], "score": 0.5, "class_id": 9, "class_name": "class 9"},
        ],
    }


def test_each_line_is_in_the_file_before_the_next_is_written(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "o.jsonl")
    for index in range(3):
        sink.write(result(index))
        text = (tmp_path / "o.jsonl").read_text()
        assert text.endswith("}\n")
        assert [json.loads(line)["frame"] for line in text.splitlines()] == list(range(index + 1))
    sink.close()


def test_a_line_names_the_image_that_the_frame_is(tmp_path: Path) -> None:
    frame = Frame.from_pixels(np.zeros((9, 9, 3), np.uint8), source_id="photos", image="photos/bus.jpg")
    sink = JsonLines(tmp_path / "o.jsonl")
    sink.write(Result(frame, Detections.empty(), ()))
    sink.close()
    line = json.loads((tmp_path / "o.jsonl").read_text())
    assert (line["source"], line["image"]) == ("photos", "photos/bus.jpg")


def test_track_ids_come_where_they_are(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "o.jsonl")
    tracked = result(track_ids=[5, -1])
    predicted = tracked.detections.select(np.array([0]))
    sink.write(tracked)
    sink.write(replace(tracked, tracks=Tracks(predicted)))
    sink.write(replace(tracked, tracks=Tracks(Detections.empty())))
    sink.close()
    first, second, third = map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())
    assert [detection.get("track_id", "none") for detection in first["detections"]] == [5, "none"]
    lost = first["detections"][0]
    assert second.pop("predicted") == [{key: lost[key] for key in ("box", "class_id", "class_name", "track_id")}]
    assert first == second == third


def test_corners_of_oriented_boxes_come_where_they_are() -> None:
    upright = result()
    corners = np.array([[[1.234, 2], [3, 4], [5, 6], [7, 8]]] * len(upright.detections), np.float32)
    turned = replace(upright, detections=replace(upright.detections, corners=corners))
    (first, *_) = json.loads(json.dumps(as_json(turned)))["detections"]
    assert first["corners"] == [[1.23, 2], [3, 4], [5, 6], [7, 8]]
    assert "corners" not in json.dumps(as_json(upright))


def test_a_source_whose_name_is_no_valid_utf8_is_written_all_the_same(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "o.jsonl")
    source_id = "caf\udce9.mp4"  # os.fsdecode(b"caf\xe9.mp4")
    frame = Frame.from_pixels(np.zeros((9, 9, 3), np.uint8), source_id=source_id)
    sink.write(Result(frame, Detections.empty(), ("person",)))
    sink.close()
    assert json.loads((tmp_path / "o.jsonl").read_bytes())["source"] == source_id


def test_a_frame_without_detections_is_a_line_too(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "o.jsonl")
    sink.write(Result(result().frame, Detections.empty(), ("person",)))
    sink.close()
    sink.close()
    assert json.loads((tmp_path / "o.jsonl").read_text())["detections"] == []


def test_a_missing_folder_is_made_with_the_first_line_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "größer 100%" / "o.jsonl"
    sink = JsonLines(path)
    assert list(tmp_path.iterdir()) == []
    sink.write(result())
    sink.close()
    assert len(path.read_text().splitlines()) == 1


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("file", "file/sub"):
        with pytest.raises(SinkError, match=r"o\.jsonl: JSON lines cannot be written there: Not a directory"):
            JsonLines(tmp_path / folder / "o.jsonl")


def test_a_full_disk_is_one_clear_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    sink = JsonLines("/dev/full")
    with pytest.raises(SinkError, match="/dev/full: JSON lines cannot be written: No space left"):
        sink.write(result())
    sink.close()


def test_a_line_that_fits_only_in_part_is_taken_back(tmp_path: Path) -> None:
    """A limit on the size of files cuts a write as a full disk does."""
    path = tmp_path / "o.jsonl"
    lines = JsonLines(path)
    lines.write(result(0))
    with (
        no_file_above(path.stat().st_size + 20),
        pytest.raises(SinkError, match="JSON lines cannot be written: File too large"),
    ):
        lines.write(result(1))
    lines.close()
    assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == [0]
