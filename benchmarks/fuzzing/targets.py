"""Fuzz targets: a reader of what strangers write, and the documents that it is given; one row of `TARGETS` each."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from hypothesis import strategies as st

from benchmarks.fuzzing.mutations import Draw, broken_bytes, broken_value, words
from pipeline.accuracy.opening import open_labelled, with_images
from pipeline.accuracy.result_file import read_result_file
from pipeline.app.config.loading import load_config
from pipeline.app.ctl.command import reply_of
from pipeline.app.model_hints import read_class_names
from pipeline.app.options import comma_separated, duration, size, triple
from pipeline.app.run.control import answer
from pipeline.detector.heads.ssd_readings import read_anchors
from pipeline.detector.metadata_names import class_names_of
from pipeline.detector.onnx_file import copy_with_metadata, graph_hash, weight_files
from pipeline.detector.recognise import examine
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.remembered import recall, remember
from pipeline.segment_limits import SegmentLimit, check_pattern, parse_limit, parse_segment, parse_size, segment_stem
from pipeline.sinks.frame_condition import frame_condition
from pipeline.sinks.segment_index import Segment, SegmentIndex
from pipeline.sources.file_sets import FileSet
from pipeline.sources.images import read_image
from pipeline.sources.kinds import source_words
from pipeline.sources.pictures_in_file import num_pictures
from pipeline.sources.street.traffic import TrafficSource

Act = Callable[[bytes, Path], object]
"""A document and an empty folder → anything; raises a StreamdetError for anything but such a document."""


@dataclass(frozen=True)
class Target:
    """A reader under test. refusals: what it raises beside StreamdetError, by its docstring, for what it refuses."""

    documents: st.SearchStrategy[bytes]
    act: Act
    refusals: tuple[type[Exception], ...] = ()


def as_json(value: Any) -> bytes:
    """The text of a value, NaN and Infinity as Python writes them."""
    return json.dumps(value).encode()


def as_yaml(value: Any) -> bytes:
    """The YAML of a value."""
    return str(yaml.safe_dump(value, allow_unicode=True)).encode("utf-8", "replace")


def written(content: bytes, path: Path) -> Path:
    """The path, with this content."""
    path.write_bytes(content)
    return path


CONFIG: dict[str, Any] = {
    "sources": ["clip.mp4", {"url": "rtsp://cam/1", "name": "door", "weight": 2.0, "classes": ["person"]}],
    "model": "m.onnx",
    "hints": {"size": "640x384", "mean": [1, 2, 3], "columns": ["x1", "y1"], "class_names": "names.txt"},
    "detection": {"score_threshold": 0.5, "classes": ["person", 2], "class_score_thresholds": {"person": 0.4}},
    "engine": {"device": "cpu", "threads": 2, "batch": 4, "spin_us": 10},
    "flow": {"mode": "live", "rate_fps": 25, "start": "1:02:03.5", "end": 99, "max_age_ms": 500},
    "network": {"open_timeout_s": 4, "reconnect_s": 0, "rtsp_transport": "udp"},
    "camera": {"width": 640, "height": 480},
    "output": {
        "video": "o.mp4",
        "segment": "10m",
        "keep": ["7d", "5GB"],
        "min_free": "1GB",
        "labels": {"coco": "l.json"},
    },
}
SETTINGS = tuple(
    f"{section}.{key}={value}"
    for section, values in CONFIG.items()
    if isinstance(values, dict)
    for key, value in values.items()
)
SPEC = json.loads(
    DetectorSpec(
        "images",
        (64, 64),
        "yolov8",
        ("cat", "dog"),
        parity={"a": 1},
        columns=("x1", "y1", "x2", "y2", "score", "class"),
    ).to_json()
)
NAMES = (
    b"{0: 'cat', 1: 'dog'}", b'["cat", "dog"]', b'{"0": "cat", "1": "dog"}', b"cat,dog,cow", b"0: cat\n1: dog\n",
    b"OrderedDict([(0, 'cat'), (1, 'dog')])", b"array(['cat', 'dog'], dtype='<U3')", b"['cat' 'dog']",
    b"item {\n  id: 1\n  name: 'cat'\n}\nitem {\n id: 2\n name: 'dog'\n}", b"[{id: 0, name: cat}, {id: 1, name: dog}]",
    b'{"names": {"0": "cat"}}', b"- cat\n- dog\n",
)  # fmt: skip
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6}, {"id": "2", "file_name": "b.png"}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 7, "segmentation": [[1, 1, 5, 1, 5, 4]]},
        {"id": 3, "image_id": 1, "category_id": 1, "segmentation": {"size": [6, 8], "counts": [4, 5, 39]}},
        {"id": 4, "image_id": 1, "category_id": 1, "segmentation": {"size": [6, 8], "counts": "45W1"}, "iscrowd": 1},
    ],
}
RESULTS = [
    {"image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "score": 0.5},
    {"image_id": "2", "category_id": 7, "bbox": [0.0, 0.0, 1e3, 2.5], "score": 1},
]
VOC = (
    b"<annotation><folder>f</folder><filename>a.png</filename><size><width>8</width><height>6</height><depth>3</depth>"
    b"</size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax>"
    b"<ymax>4</ymax></bndbox></object><object><name>dog</name><bndbox><xmin>2.5</xmin><ymin>1</ymin><xmax>8</xmax>"
    b"<ymax>6</ymax></bndbox></object></annotation>",
    b'<?xml version="1.0" encoding="utf-16"?><annotation><object/></annotation>',
    b'<!DOCTYPE a [<!ENTITY b "cccccccccc"><!ENTITY d "&b;&b;&b;&b;&b;&b;&b;">]><annotation><filename>&d;&d;</filename>'
    b"</annotation>",
)
VOC_NUMBERS = ("nan", "inf", "1e999", "-5", "", "9" * 400, "1_0", "0x10", "\u0663", "<a/>", "&#0;", "&b;", "cat" * 3000)
YOLO: dict[str, Any] = {
    "yaml": {"path": ".", "val": "images", "nc": 2, "names": ["cat", "dog"], "kpt_shape": [2, 3], "test": "list.txt"},
    "labels": "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.4 0.1 0.4 0.3\n",
    "list": "images/a.png\n./images/a.png\n",
}
YOLO_SEEDS = (YOLO, YOLO | {"yaml": {"val": "list.txt", "names": {0: "cat", 1: "dog"}}})
NUMBERS = words(
    "0 ", "1 ", "0.5 ", "0.5 0.5 0.2 0.2", "nan ", "inf ", "-1 ", "1e999 ", "\n", alphabet="0123456789.e- \n"
)
SOURCE_LINES = words(
    "a.mp4\n",
    "# x\n",
    "rtsp://u:p@h/s\n",
    "0\n",
    "**/*\n",
    "[\n",
    "~nouser/x\n",
    "file:///%00\n",
    "..\n",
    "/\n",
    "\ufeff",
    "http://[::1\n",
    "x" * 300 + "\n",
    alphabet="a/.:\\*[]~#@%\n ",
)
CONDITIONS = words(
    "person",
    "car",
    "any",
    ">=",
    "2",
    " and ",
    " or ",
    "not ",
    "(",
    ")",
    '"',
    "traffic light",
    alphabet="<>=!()ans 019²٣'",
)
LIMITS = words(
    "10",
    "m",
    "7d",
    "500MB",
    "1.5",
    "GiB",
    "{name}",
    "%Y%m%dT%H%M%S",
    "%",
    "%s",
    "%999d",
    "640x480",
    "ms",
    ",",
    "80ms",
    "/",
    "..",
    alphabet="0123456789.smhdkMGTiB%{}x-",
)
TRAFFIC = words(
    "seed=1",
    "&",
    "seconds=2",
    "fps=",
    "size=64x64",
    "density=",
    "light=",
    "jitter=1",
    "realtime=1",
    "stall=",
    "1/5",
    "nan",
    "inf",
    "1e308",
    "-1",
    alphabet="a=&/0123456789.e",
)


def _config(content: bytes, folder: Path) -> object:
    return load_config(str(written(content, folder / "c.yaml")))


def _settings(content: bytes, _: Path) -> object:
    return load_config(settings=[content.decode("utf-8", "replace")], options={"sources": ("a.mp4",)})


def _spec(content: bytes, _: Path) -> object:
    spec = DetectorSpec.from_json(content.decode("utf-8", "replace"))
    assert DetectorSpec.from_json(spec.to_json()) == spec
    return spec.suppression, spec.pad_values


def _names(content: bytes, _: Path) -> object:
    names = class_names_of({"names": content.decode("utf-8", "replace")})
    assert names is None or all(name.isprintable() or name.encode() for name in names)
    return names


def _onnx(content: bytes, folder: Path) -> object:
    path = written(content, folder / "m.onnx")
    with suppress(ModelError):
        graph_hash(path)
    with suppress(ModelError):
        copy_with_metadata(path, folder / "copy.onnx", {"a": "b"})
    return weight_files(path), examine(path).spec()


def _coco(content: bytes, folder: Path) -> object:
    data = open_labelled(str(written(content, folder / "instances.json")))
    return with_images(data, folder)


def _results(content: bytes, folder: Path) -> object:
    data = open_labelled(str(written(as_json(COCO), folder / "instances.json")))
    return read_result_file(written(content, folder / "results.json"), data)


def _voc(content: bytes, folder: Path) -> object:
    (folder / "Annotations").mkdir()
    written(content, folder / "Annotations" / "a.xml")
    return with_images(open_labelled(str(folder)), folder)


def _yolo(content: bytes, folder: Path) -> object:
    parts = json.loads(content)
    for name in ("images", "labels"):
        (folder / name).mkdir()
    written(_picture(".png"), folder / "images" / "a.png")
    written(str(parts.get("labels")).encode("utf-8", "replace"), folder / "labels" / "a.txt")
    written(str(parts.get("list")).encode("utf-8", "replace"), folder / "list.txt")
    return open_labelled(str(written(as_yaml(parts.get("yaml")), folder / "data.yaml")))


def _image(content: bytes, folder: Path) -> object:
    num_pictures(content)
    return read_image(written(content, folder / "a.jpg"))


def _lists(content: bytes, folder: Path) -> object:
    source_words(str(written(content, folder / "a.streams")))
    return FileSet.of_list(written(content, folder / "a.txt"))


def _class_names(content: bytes, folder: Path) -> object:
    return read_class_names(written(content, folder / "names.txt"))


def _condition(content: bytes, _: Path) -> object:
    text = content.decode("utf-8", "replace")
    return frame_condition(text, ["person", "car", "traffic light"], flag="--save-frames")({"person": 2, "car": 1})


def _limits(content: bytes, _: Path) -> object:
    """Every small parser in turn, so that a refusal by one does not spare the next."""
    text = content.decode("utf-8", "replace")
    for parse in (parse_limit, parse_segment, parse_size, lambda word: SegmentLimit.of(word.split())):
        with suppress(ValueError):
            parse(text)
    for option in (duration, size, triple, comma_separated):
        with suppress(ValueError):
            option(text, "--flag")
    return segment_stem(check_pattern(text), "n", 0.0)


def _traffic(content: bytes, _: Path) -> object:
    return TrafficSource.from_spec(f"sim:traffic?{content.decode('utf-8', 'replace')}")


def _cache(content: bytes, folder: Path) -> object:
    os.environ["XDG_CACHE_HOME"] = str(folder)
    remember("fuzz", {"device": "cpu"}, "key")
    (path,) = folder.rglob("*.json")
    return recall("fuzz", "key", fields={"device": str}) if written(content, path) else None


def _segments(content: bytes, folder: Path) -> object:
    index = SegmentIndex(written(content, folder / "a.segments.jsonl"))
    try:
        return [segment.end_wall_seconds for segment in index.segments.values()]
    finally:
        index.close()


def _control(content: bytes, _: Path) -> object:
    reply = answer(content, _NoRun())  # type: ignore[arg-type]  # of a supervisor, what `answer` calls
    assert ("ok" in reply) != ("error" in reply)
    assert "\n" not in str(reply.get("error", ""))
    json.dumps(reply)
    return reply_of(content, Path("control"))


class _NoRun:
    """Takes every order."""

    def sources(self) -> list[object]:
        return []

    def add(self, entry: Any) -> str:
        return str(entry.url)

    def remove(self, name: str) -> None: ...

    def pause(self, name: str, *, is_paused: bool) -> None: ...


def _anchors(content: bytes, folder: Path) -> object:
    return read_anchors(written(content, folder / "a.npy"))


def _npy(**options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.full((3, 4), 0.5, **options))
    return file.getvalue()


@cache
def _picture(suffix: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    return bytes(cv2.imencode(suffix, pixels)[1])


@cache
def _pictures() -> tuple[bytes, ...]:
    """A small picture in each format that OpenCV writes here; a HEIC's boxes around an AVIF's are alike."""
    suffixes = (".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm", ".jp2", ".avif", ".gif", ".hdr", ".exr")
    written_here = []
    for suffix in suffixes:
        with suppress(cv2.error):
            written_here.append(_picture(suffix))
    heic = _picture(".avif").replace(b"avif", b"heic").replace(b"av01", b"hvc1")
    bomb = _picture(".png")[:16] + b"\0\0\x7d\0\0\0\x7d\0" + _picture(".png")[24:]
    return (*written_here, heic, bomb)


@cache
def _onnx_models() -> tuple[bytes, ...]:
    """Small detectors of other people's conventions, and one of ours, which answer with fixed numbers."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    boxes = rng.uniform(4, 60, (1, 6, 84)).astype(np.float32) / np.float32(64)
    own = DetectorSpec(
        "images", (64, 64), "yolov8", ("cat", "dog"), outputs=("output0",), box_format="cxcywh"
    ).to_json()
    tables: tuple[tuple[Any, Mapping[str, str]], ...] = (
        (boxes, {"names": str({0: "cat"})}),
        (boxes.transpose(0, 2, 1)[:, :6], {METADATA_KEY: own}),
        (boxes[:, :, :6], {"names": "['cat', 'dog']", "imgsz": "[64, 64]", "stride": "32", "task": "detect"}),
    )
    models = []
    for table, metadata in tables:
        graph = helper.make_graph(
            [
                helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
                helper.make_node("Mul", ["mean", "zero"], ["none"]),
                helper.make_node("Add", ["table", "none"], ["output0"]),
            ],
            "detector",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 64, 64))],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, table.shape)],
            [
                numpy_helper.from_array(table.astype(np.float32), "table"),
                numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        helper.set_model_props(model, dict(metadata))
        models.append(model.SerializeToString())
    return tuple(models)


@st.composite
def _changed_models(draw: Draw) -> bytes:
    """Models whose declared sides, operators, attributes, numbers or metadata are others."""
    import onnx

    model = onnx.load_from_string(draw(st.sampled_from(_onnx_models())))
    graph = model.graph
    for _ in range(draw(st.integers(1, 4))):
        declared = draw(st.sampled_from((*graph.input, *graph.output))).type.tensor_type
        match draw(st.sampled_from(("side", "kind", "operator", "numbers", "spec", "names", "external", "twice"))):
            case "side" if declared.shape.dim:
                side = draw(st.sampled_from(declared.shape.dim))
                side.dim_value = draw(st.sampled_from((0, 1, 3, -1, 2**31, 2**40, 640)))
            case "kind":
                declared.elem_type = draw(st.integers(0, 20))
            case "operator":
                node = draw(st.sampled_from(graph.node))
                node.op_type = draw(
                    st.sampled_from(("Identity", "Relu", "NonZero", "Shape", "Loop", "", "Nothing", "Tile"))
                )
            case "numbers" if not graph.initializer[0].external_data:
                odd = draw(st.sampled_from((np.nan, np.inf, -1e30, 1e38)))
                table = onnx.numpy_helper.to_array(graph.initializer[0]).copy()
                table.reshape(-1)[:: draw(st.integers(1, 9))] = odd
                graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(table, "table"))
            case "spec":
                spec = json.dumps(draw(broken_value([SPEC]))).encode("utf-8", "replace").decode()
                onnx.helper.set_model_props(model, {METADATA_KEY: spec})
            case "names":
                text = draw(broken_bytes(NAMES)).decode("utf-8", "replace").replace("\0", "")
                onnx.helper.set_model_props(model, {"names": text})
            case "external":
                tensor = graph.initializer[0]
                tensor.data_location = onnx.TensorProto.EXTERNAL
                location = draw(st.sampled_from(("../a", "/etc/passwd", "m.onnx", "x" * 300, "", ".")))
                tensor.external_data.add(key="location", value=location)
            case "twice":
                graph.output.add().CopyFrom(graph.output[0])
    return bytes(model.SerializeToString())


def _text(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return strategy.map(lambda text: text.encode("utf-8", "replace"))


def _documents(*seeds: Any, form: Callable[[Any], bytes]) -> st.SearchStrategy[bytes]:
    """Broken values in a form, and broken bytes of the sound ones."""
    return broken_value(seeds).map(form) | broken_bytes([form(seed) for seed in seeds])


def _voc_documents() -> st.SearchStrategy[bytes]:
    texts = (b"<xmin>1<", b"<ymax>4<", b"<width>8<", b"<name>cat<", b"<difficult>0<", b"a.png")
    swapped = st.tuples(st.sampled_from(texts), st.sampled_from(VOC_NUMBERS)).map(
        lambda pair: VOC[0].replace(pair[0], pair[0][: pair[0].find(b">") + 1] + pair[1].encode() + b"<")
    )
    return swapped | broken_bytes(VOC)


SEGMENT = asdict(Segment("a.mp4", "a", "2026-11-27T10:15:00.000Z", 0.0, 1.0, 25, 1000, complete=True))
REQUESTS = (
    {"command": "list"},
    {"command": "add", "source": CONFIG["sources"][1]},
    {"command": "pause", "name": "door"},
    {"ok": "door"},
    {"error": "no"},
    {"ok": [{"name": "door", "paused": False}]},
)
FINDING = {"at": 1e9, "finding": {"device": "cpu"}}

TARGETS: Mapping[str, Target] = {
    "config": Target(_documents(CONFIG, form=as_yaml), _config),
    "settings": Target(_text(words(*SETTINGS, *SETTINGS, "=", ".", "a=!!int x", alphabet="a=.[]{}&*!9: ")), _settings),
    "spec": Target(_documents(SPEC, form=as_json), _spec),
    "names": Target(broken_bytes(NAMES), _names),
    "onnx": Target(st.deferred(lambda: _changed_models() | broken_bytes(_onnx_models())), _onnx),
    "coco": Target(_documents(COCO, form=as_json), _coco),
    "results": Target(_documents(RESULTS, form=as_json), _results),
    "voc": Target(_voc_documents(), _voc),
    "yolo": Target(
        st.deferred(
            lambda: (
                broken_value(YOLO_SEEDS).filter(lambda value: isinstance(value, dict)).map(as_json)
                | NUMBERS.map(lambda text: as_json(YOLO_SEEDS[1] | {"labels": text}))
            )
        ),
        _yolo,
    ),
    "image": Target(st.deferred(lambda: broken_bytes(_pictures())), _image),
    "list": Target(_text(SOURCE_LINES), _lists),
    "class-names": Target(broken_bytes((b"cat\ndog\n", b"\xff\xfec\0a\0t\0", b"\xef\xbb\xbfcat")), _class_names),
    "condition": Target(_text(CONDITIONS), _condition),
    "limits": Target(_text(LIMITS), _limits, (ValueError,)),
    "traffic": Target(_text(TRAFFIC), _traffic),
    "cache": Target(_documents(FINDING, form=as_json), _cache),
    "segments": Target(_documents(SEGMENT, form=as_json), _segments),
    "control": Target(_documents(*REQUESTS, form=as_json), _control),
    "anchors": Target(broken_bytes((_npy(), _npy(dtype=np.float32), _npy(dtype=object), b"PK\3\4")), _anchors),
}
"""By name: a reader of something that strangers write."""
