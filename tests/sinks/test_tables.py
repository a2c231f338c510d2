"""CSV and Parquet: one row a detection, that other programs read as it was written."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import MissingExtraError, SinkError
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.sinks.csv_table import CsvTable
from pipeline.sinks.parquet import ParquetTable

HEADER = "source,image,frame,pts,class_id,class_name,score,x1,y1,x2,y2,track_id,attribute,attribute_score,carried"


def result(
    index: int = 0,
    *,
    source_id: str = "a.mp4",
    image: str | None = None,
    names: tuple[str, ...] = ("person",),
    track_ids: list[int] | None = None,
) -> Result:
    pixels = np.zeros((9, 9, 3), np.uint8)
    frame = Frame.from_pixels(pixels, source_id=source_id, index=index, pts_seconds=index / 30, image=image)
    detections = Detections(
        np.array([[1, 2.004, 3.14159, 4], [0, 0, 9, 9]], np.float32),
        np.array([0.87654321, 0.5], np.float32),
        np.array([0, 9]),
        track_ids=None if track_ids is None else np.array(track_ids),
    )
    return Result(frame, detections, names)


def nothing(index: int = 0) -> Result:
    return Result(result(index).frame, Detections.empty(), ())


def write(sink: CsvTable | ParquetTable, *results: Result) -> None:
    try:
        for item in results:
            sink.write(item)
    finally:
        sink.close()
        sink.close()


def test_csv_has_one_header_and_a_row_a_detection(tmp_path: Path) -> None:
    write(CsvTable(tmp_path / "o.csv"), nothing(), result(1), result(2, image="p/bus.jpg", track_ids=[5, -1]))
    assert (tmp_path / "o.csv").read_bytes().decode().split("\r\n") == [
        HEADER,
        "a.mp4,,1,0.033333,0,person,0.8765,1.0,2.0,3.14,4.0,,,,",
        "a.mp4,,1,0.033333,9,class 9,0.5,0.0,0.0,9.0,9.0,,,,",
        "a.mp4,p/bus.jpg,2,0.066667,0,person,0.8765,1.0,2.0,3.14,4.0,5,,,",
        "a.mp4,p/bus.jpg,2,0.066667,9,class 9,0.5,0.0,0.0,9.0,9.0,,,,",
        "",
    ]


def test_a_run_that_finds_nothing_leaves_the_header(tmp_path: Path) -> None:
    write(CsvTable(tmp_path / "o.csv"), nothing(0), nothing(1))
    assert (tmp_path / "o.csv").read_bytes().decode() == f"{HEADER}\r\n"


@pytest.mark.parametrize("name", ['a,"b".mp4', "two\nlines.mp4", "café %s 'x'.mp4", "=1+1"])
def test_names_with_quotes_commas_and_lines_come_back_from_csv(tmp_path: Path, name: str) -> None:
    write(CsvTable(tmp_path / "o.csv"), result(source_id=name, names=(name,)))
    with (tmp_path / "o.csv").open(newline="", encoding="utf-8") as file:
        row, _ = csv.DictReader(file)
    assert (row["source"], row["class_name"]) == (name, name)


def test_each_frame_is_in_the_csv_before_the_next(tmp_path: Path) -> None:
    sink = CsvTable(tmp_path / "o.csv")
    for index in range(3):
        sink.write(result(index))
        assert len((tmp_path / "o.csv").read_text().splitlines()) == 1 + 2 * (index + 1)
    sink.close()


def test_a_table_that_never_got_a_frame_leaves_an_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("old")
    (tmp_path / "o.parquet").write_text("old")
    CsvTable(tmp_path / "o.csv").close()
    pytest.importorskip("pyarrow", reason="the extra tables is not installed")
    ParquetTable(tmp_path / "o.parquet").close()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old", "old"]


def test_parquet_has_the_columns_of_the_csv_with_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra tables is not installed")
    write(ParquetTable(tmp_path / "o.parquet"), result(1), result(2, image="café.jpg", track_ids=[5, -1]))
    table = parquet.read_table(tmp_path / "o.parquet")
    assert ",".join(table.column_names) == HEADER
    assert dict(zip(table.column_names, map(str, table.schema.types), strict=True)) == {
        **dict.fromkeys(("source", "image", "class_name", "attribute"), "string"),
        **dict.fromkeys(("frame", "class_id", "track_id"), "int64"),
        **dict.fromkeys(("pts", "score", "x1", "y1", "x2", "y2", "attribute_score"), "double"),
        "carried": "bool",
    }
    assert table["image"].to_pylist() == [None, None, "café.jpg", "café.jpg"]
    assert table["track_id"].to_pylist() == [None, None, 5, None]
    assert table["x2"].to_pylist() == [3.14, 9.0, 3.14, 9.0]


def test_parquet_without_a_detection_is_a_table_without_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra tables is not installed")
    write(ParquetTable(tmp_path / "o.parquet"), nothing())
    assert parquet.read_table(tmp_path / "o.parquet").num_rows == 0


def test_parquet_keeps_no_more_than_a_row_group_in_memory(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra tables is not installed")
    write(ParquetTable(tmp_path / "o.parquet", rows_in_group=4), *map(result, range(5)))
    metadata = parquet.read_metadata(tmp_path / "o.parquet")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [4, 4, 2]


def test_parquet_takes_the_place_of_an_old_file_when_it_is_finished(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra tables is not installed")
    path = tmp_path / "o.parquet"
    path.write_text("old")
    sink = ParquetTable(path, rows_in_group=1)
    sink.write(result())
    assert path.read_text() == "old"
    sink.close()
    assert parquet.read_table(path).num_rows == 2
    assert [child.name for child in tmp_path.iterdir()] == ["o.parquet"]


def test_a_full_disk_is_one_clear_error() -> None:
    pytest.importorskip("pyarrow", reason="the extra tables is not installed")
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(SinkError, match="/dev/full: CSV cannot be written: No space left"):
        write(CsvTable("/dev/full"), result())
    with pytest.raises(SinkError, match="/dev/full: Parquet cannot be written: No space left"):
        write(ParquetTable("/dev/full"), result())


@pytest.mark.parametrize("kind", [CsvTable, ParquetTable])
@pytest.mark.parametrize("path", ["-", "https://h/o.csv", "/dev/null/o.csv"])
def test_a_path_that_is_no_file_is_refused(
    kind: type[CsvTable | ParquetTable], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow", reason="the extra tables is not installed")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SinkError, match=r"must have a path|cannot be written there: Not a directory"):
        kind(path)


def test_a_name_that_is_no_valid_utf8_is_written_with_its_escapes(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra tables is not installed")
    item = result(source_id="caf\udce9.mp4")  # os.fsdecode(b"caf\xe9.mp4")
    write(CsvTable(tmp_path / "o.csv"), item)
    write(ParquetTable(tmp_path / "o.parquet"), item)
    assert r"caf\udce9.mp4" in (tmp_path / "o.csv").read_text()
    assert parquet.read_table(tmp_path / "o.parquet")["source"].to_pylist() == [r"caf\udce9.mp4"] * 2


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r'Parquet needs pyarrow: pip install "streamdet\[tables\]"'):
        ParquetTable(tmp_path / "o.parquet")
    with pytest.raises(MissingExtraError, match=r'to_pandas\(\) needs pandas: pip install "streamdet\[tables\]"'):
        result().to_pandas()


def test_pandas_gets_the_rows_with_their_types() -> None:
    pandas = pytest.importorskip("pandas", reason="the extra tables is not installed")
    table = result(1, image="p/bus.jpg", track_ids=[5, 6]).to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert ",".join(table.columns) == HEADER
    assert table["class_name"].tolist() == ["person", "class 9"]
    empty = nothing().to_pandas()
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == table.dtypes.to_dict()
    both = pandas.concat([result().to_pandas(), empty])
    assert both["track_id"].isna().all()


def test_a_result_goes_to_supervision_with_names_for_every_class() -> None:
    pytest.importorskip("supervision", reason="supervision is an extra")
    theirs = result().to_supervision()
    assert list(theirs.data["class_name"]) == ["person", "class 9"]
    np.testing.assert_array_equal(theirs.xyxy, result().detections.boxes_xyxy)
    assert len(nothing().to_supervision()) == 0
