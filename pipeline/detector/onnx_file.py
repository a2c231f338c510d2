"""ONNX file: its bytes → its hash, weight files and metadata, without loading the graph.

An ONNX file is one protobuf message, ModelProto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), whose fields
lie one after the other: metadata can be exchanged, and everything else be hashed, without the package onnx.
"""

from __future__ import annotations

import filecmp
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import ModelError
from pipeline.user_path import is_file
from pipeline.whole_file import write_whole

_GRAPH_FIELD = 7
_FUNCTIONS_FIELD = 25
_METADATA_FIELD = 14  # ModelProto.metadata_props, a StringStringEntryProto: 1 key, 2 value
_MOST_VARINT_BITS = 70
_DEEPEST = 100  # messages in one another, as protobuf itself has it
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


class _Field(NamedTuple):
    number: int
    start: int  # of the tag
    content: int  # of what follows tag and length
    end: int


def graph_hash(path: str | Path) -> str:
    """SHA-256 of everything in a file but its metadata: the same for a copy that says other things about itself.

    Raises ModelError for a missing file and for a file that is not a protobuf message.
    """
    data = memoryview(_read(Path(path)))
    digest = hashlib.sha256()
    for field in _model_fields(data, path):
        if field.number != _METADATA_FIELD:
            digest.update(data[field.start : field.end])
    for weights in weight_files(Path(path)):
        with weights.open("rb") as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files beside a model that hold its weights, under any names, in order; () for a file that is not a model.

    What its tensors name outside of its folder is left out: ONNX Runtime refuses to read it.
    """
    try:
        data = memoryview(_read(path))
        names = sorted(set(_external_names(data, path)))
    except ModelError:
        return ()
    folder = path.parent
    paths = dict.fromkeys(folder / name for name in names)
    return tuple(path for path in paths if is_file(path) and path.resolve().is_relative_to(folder.resolve()))


def copy_with_metadata(source: str | Path, target: str | Path, values: Mapping[str, str]) -> None:
    """Copy a file and set metadata in the copy; every other byte stays. Source and target may be the same.

    Raises ModelError for a source that cannot be read, a target that cannot be written, and weights whose place beside
    the target is taken by a file of another content.
    """
    data = memoryview(_read(Path(source)))
    kept = bytearray()
    for field in _model_fields(data, source):
        if field.number != _METADATA_FIELD or _key(data[field.content : field.end], source) not in values:
            kept += data[field.start : field.end]
    for key, value in values.items():
        entry = _field_bytes(1, key.encode()) + _field_bytes(2, value.encode())
        kept += _field_bytes(_METADATA_FIELD, entry)
    source_folder, target_folder = Path(source).parent, Path(target).parent
    for weights in weight_files(Path(source)) if source_folder.resolve() != target_folder.resolve() else ():
        _copy_weights(
            weights, target_folder / weights.relative_to(source_folder)
        )  # under the name that the graph knows
    write_onnx(Path(target), bytes(kept))


def write_onnx(path: Path, content: bytes) -> None:
    """Write a model, all of it or nothing. Raises ModelError if it cannot be written."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror or error}") from error


def _copy_weights(source: Path, target: Path) -> None:
    if target.exists() and not filecmp.cmp(source, target, shallow=False):
        raise ModelError(f"{target} must not be there, the copy needs its weights there; choose another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy2(source, target)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror or error}") from error


# Where tensors stand in the messages of onnx.proto: by field, the kind of message in it.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {_GRAPH_FIELD: "graph", _FUNCTIONS_FIELD: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_FIELD = 13  # TensorProto.external_data, a StringStringEntryProto


def _external_names(data: memoryview, path: Path, kind: str = "model", depth: int = 0) -> Iterator[str]:
    """The names of the files in which tensors of a message keep their content."""
    if depth > _DEEPEST:
        raise ModelError(f"{path} must be an ONNX file, its graphs are nested deeper than {_DEEPEST}")
    for field in _fields(data, path):
        content = data[field.content : field.end]
        if kind == "tensor":
            if field.number == _EXTERNAL_FIELD and _key(content, path) == "location":
                yield _value(content, path)
        elif field.number in _MESSAGES[kind]:
            yield from _external_names(content, path, _MESSAGES[kind][field.number], depth + 1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error


def _model_fields(data: memoryview, path: str | Path) -> list[_Field]:
    fields = list(_fields(data, path))
    if not any(field.number == _GRAPH_FIELD for field in fields):  # empty, or cut off before it
        raise ModelError(f"{path} must be an ONNX file, it has no graph or was cut off")
    return fields


def _fields(data: memoryview, path: str | Path) -> Iterator[_Field]:
    position = 0
    try:
        while position < len(data):
            start = position
            tag, position = _varint(data, position)
            number, kind = tag >> 3, tag & 7
            content = position
            if kind == _LENGTH:
                length, content = _varint(data, position)
                position = content + length
            elif kind == _VARINT:
                _, position = _varint(data, position)
            elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                position += 8 if kind == _EIGHT_BYTES else 4
            else:
                raise IndexError
            if position > len(data) or number == 0:
                raise IndexError
            yield _Field(number, start, content, position)
    except IndexError:
        raise ModelError(f"{path} must be an ONNX file, it is not a protobuf message or was cut off") from None


def _key(entry: memoryview, path: str | Path) -> str:
    return _text(entry, path, 1)


def _value(entry: memoryview, path: str | Path) -> str:
    return _text(entry, path, 2)


def _text(entry: memoryview, path: str | Path, number: int) -> str:
    texts = [bytes(entry[field.content : field.end]) for field in _fields(entry, path) if field.number == number]
    return texts[-1].decode(errors="replace") if texts else ""


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
        if shift >= _MOST_VARINT_BITS:
            raise IndexError


def _field_bytes(number: int, content: bytes) -> bytes:
    return _varint_bytes(number << 3 | _LENGTH) + _varint_bytes(len(content)) + content


def _varint_bytes(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
