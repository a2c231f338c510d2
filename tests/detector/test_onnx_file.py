"""Is a file's metadata exchanged, and its graph hashed, as the package onnx reads it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.detector.facts import read_facts
from pipeline.detector.onnx_file import copy_with_metadata, graph_hash, weight_files, write_onnx
from pipeline.errors import ModelError
from tests.support.tiny_detector import write_detector

onnx: Any = pytest.importorskip("onnx", reason="reads the files")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    metadata = {"names": "{0: 'cat'}", "detector_spec": "old", "größe": "ä" * 300}
    return write_detector(tmp_path / "model.onnx", {"a": np.ones((5, 6), np.float32)}, metadata=metadata)


def metadata_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def without_metadata(path: Path) -> bytes:
    model = onnx.load(path)
    del model.metadata_props[:]
    return bytes(model.SerializeToString(deterministic=True))


def test_metadata_is_set_and_replaced_and_the_rest_of_it_kept(tmp_path: Path, model: Path) -> None:
    copy_with_metadata(model, tmp_path / "copy.onnx", {"detector_spec": "new", "author": "", "long": "x" * 100_000})
    assert metadata_of(tmp_path / "copy.onnx") == {
        "names": "{0: 'cat'}",
        "größe": "ä" * 300,
        "detector_spec": "new",
        "author": "",
        "long": "x" * 100_000,
    }
    assert metadata_of(model)["detector_spec"] == "old"


def test_nothing_but_the_metadata_changes(tmp_path: Path, model: Path) -> None:
    copy_with_metadata(model, tmp_path / "copy.onnx", {"detector_spec": "new"})
    assert without_metadata(tmp_path / "copy.onnx") == without_metadata(model)
    onnx.checker.check_model(onnx.load(tmp_path / "copy.onnx"))


def test_a_file_written_back_with_what_it_says_already_is_the_same(tmp_path: Path, model: Path) -> None:
    copy_with_metadata(model, tmp_path / "copy.onnx", {"größe": "ä" * 300})
    assert sorted((tmp_path / "copy.onnx").read_bytes()) == sorted(model.read_bytes())


def test_source_and_target_may_be_the_same(model: Path) -> None:
    before = without_metadata(model)
    copy_with_metadata(model, model, {"detector_spec": "new"})
    assert metadata_of(model)["detector_spec"] == "new"
    assert without_metadata(model) == before
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]


def test_the_hash_is_of_the_graph_and_not_of_what_the_file_says_of_itself(tmp_path: Path, model: Path) -> None:
    copy_with_metadata(model, tmp_path / "copy.onnx", {"detector_spec": "new", "more": "words"})
    assert graph_hash(tmp_path / "copy.onnx") == graph_hash(model)
    assert len(graph_hash(model)) == 64


def test_one_other_weight_is_another_hash(tmp_path: Path, model: Path) -> None:
    other = onnx.load(model)
    weight = next(tensor for tensor in other.graph.initializer if tensor.name == "a_value")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 3, 2] = np.nextafter(values[0, 3, 2], np.float32(2))
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "a_value"))
    onnx.save(other, tmp_path / "other.onnx")
    assert graph_hash(tmp_path / "other.onnx") != graph_hash(model)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused_in_one_line(tmp_path: Path, model: Path, share: float) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[: int(share * model.stat().st_size)])
    with pytest.raises(ModelError, match=r"cut.onnx must be an ONNX file, .* or was cut off$"):
        graph_hash(cut)
    with pytest.raises(ModelError, match=r"cut.onnx must be an ONNX file, .* or was cut off$"):
        copy_with_metadata(cut, tmp_path / "copy.onnx", {"a": "b"})
    assert not (tmp_path / "copy.onnx").exists()


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n" + bytes(100), b"a text about models\n" * 50, b"\xff" * 100, bytes(100), b"\x0b" * 8],
    ids=["image", "text", "ones", "zeros", "groups"],
)
def test_what_is_no_onnx_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(content)
    with pytest.raises(ModelError, match=r"foreign.onnx must be an ONNX file"):
        graph_hash(foreign)


def test_a_video_is_no_onnx_file(small_video: Path) -> None:
    with pytest.raises(ModelError, match="must be an ONNX file"):
        graph_hash(small_video)


def test_a_missing_file_and_a_folder_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.onnx cannot be read: No such file"):
        graph_hash(tmp_path / "nowhere.onnx")
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        copy_with_metadata(tmp_path, tmp_path / "copy.onnx", {})


@pytest.mark.parametrize("target", ["folder", "file/copy.onnx"])
def test_a_target_that_cannot_be_written_is_one_line_and_leaves_nothing(
    tmp_path: Path, model: Path, target: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match=f"{target} cannot be written: "):
        copy_with_metadata(model, tmp_path / target, {"a": "b"})
    assert sorted(tmp_path.rglob("*")) == before


def test_a_target_that_fails_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "precious.onnx"
    target.write_bytes(b"precious")

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ModelError, match=r"precious.onnx cannot be written: No space left on device"):
        write_onnx(target, b"new")
    assert target.read_bytes() == b"precious"


def with_weights_beside(folder: Path, value: float = 1.0, *, location: str = "any name.bin") -> Path:
    path = write_detector(folder / "m.onnx", {"a": np.full((50, 60), value, np.float32)})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def test_weights_beside_a_model_are_found_under_any_name(tmp_path: Path, model: Path) -> None:
    assert weight_files(with_weights_beside(tmp_path)) == (tmp_path / "any name.bin",)
    assert weight_files(model) == weight_files(tmp_path / "nowhere") == ()


def test_the_hash_counts_weights_of_any_name(tmp_path: Path) -> None:
    hashes = set()
    for name, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name).mkdir()
        hashes.add(graph_hash(with_weights_beside(tmp_path / name, value)))
    assert len(hashes) == 2


def test_a_copy_in_another_folder_takes_its_weights_along_and_overwrites_none(tmp_path: Path) -> None:
    source_folder, target_folder = tmp_path / "here", tmp_path / "there"
    source_folder.mkdir()
    target_folder.mkdir()
    model = with_weights_beside(source_folder)
    (target_folder / "any name.bin").write_bytes(b"of another model")
    with pytest.raises(ModelError, match=r"there/any name.bin must not be there, the copy needs its weights there"):
        copy_with_metadata(model, target_folder / "n.onnx", {"a": "b"})
    assert (target_folder / "any name.bin").read_bytes() == b"of another model"
    assert not (target_folder / "n.onnx").exists()
    (target_folder / "any name.bin").unlink()
    for _ in range(2):
        copy_with_metadata(model, target_folder / "n.onnx", {"a": "b"})
    assert graph_hash(target_folder / "n.onnx") == graph_hash(model)


def test_weights_outside_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    model = with_weights_beside(tmp_path / "in")
    (tmp_path / "in/any name.bin").rename(tmp_path / "any name.bin")
    (tmp_path / "in/any name.bin").symlink_to("../any name.bin")
    assert weight_files(model) == ()


def test_a_number_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x3a" + b"\x80" * 2_000_000)
    with pytest.raises(ModelError, match="not a protobuf message"):
        graph_hash(path)


def test_graphs_within_graphs_without_an_end_are_no_model(tmp_path: Path) -> None:
    content = b""
    for _ in range(500):  # a graph with a node with an attribute that is a graph
        for field in (6, 5, 1):
            length = len(content)
            varint = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])
            content = bytes([field << 3 | 2]) + varint + content
    length = len(content)
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x3a" + bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + content)
    assert weight_files(path) == ()


def test_metadata_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "m.onnx", {"boxes": np.zeros((1, 4), np.float32)}, metadata={"names": "cat"})
    path.write_bytes(path.read_bytes().replace(b"\x12\x03cat", b"\x12\x03\xff\xfe\xfd"))
    with pytest.raises(ModelError, match="must be an ONNX model"):
        read_facts(path)
