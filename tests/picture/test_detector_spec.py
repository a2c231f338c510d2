"""Detector spec: it survives the metadata of a file, and refuses what cannot be."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.picture.detector_spec import DetectorSpec, ExtraInput, pack_anchors, unpack_anchors

SPEC = DetectorSpec(
    input_name="images",
    network_wh=(640, 352),
    head="boxes",
    class_names=("car", "Füßgänger"),
    layout="nhwc",
    dtype="uint8",
    batch=None,
    mean=(1.0, 2.0, 3.0),
    parity={"max_box_error_pixels": 0.01},
    provenance=("exported by a test",),
)


def test_a_spec_survives_the_metadata() -> None:
    assert DetectorSpec.from_json(SPEC.to_json()) == SPEC


def test_every_field_survives_the_metadata_whatever_its_type() -> None:
    spec = dataclasses.replace(
        SPEC,
        layout="chw",
        batch=1,
        resize="in-graph",
        pad_value=(104, 116, 124),
        extra_inputs=(
            ExtraInput("orig_target_sizes", "int64", (640.0, 352.0)),
            ExtraInput("scale_factor", "float32", (1.0, 1.0)),
        ),
        outputs=("dets", "labels"),
        columns=("cx", "cy", "w", "h", "score", "class", "angle"),
        box_format="cycxhw",
        boxes_are_normalised=True,
        score_activation="softmax",
        first_class_id=1,
        anchors=pack_anchors(np.random.default_rng(0).uniform(0, 1, (1917, 4))),
        anchor_variances=(1.0, 1.0, 1.0, 1.0),
        keypoint_names=("nose", "left eye"),
        has_angles=True,
        needs_nms=False,
        score_threshold=0.1,
        iou_threshold=0.6,
        max_detections=100,
        form="frame",
        pixels="nv12",
        model_name="street",
    )
    changed = {each.name for each in dataclasses.fields(spec) if getattr(spec, each.name) != getattr(SPEC, each.name)}
    assert changed >= {each.name for each in dataclasses.fields(spec)} - {
        "input_name", "network_wh", "head", "class_names", "dtype", "colour", "mean", "std", "parity", "provenance",
        "num_rois",  # only of packed pixels, see below
    }  # fmt: skip
    back = DetectorSpec.from_json(spec.to_json())
    assert back == spec
    assert hash(back.extra_inputs) == hash(spec.extra_inputs)


def test_the_boxes_that_a_network_judges_survive_the_metadata_and_need_packed_pixels() -> None:
    spec = dataclasses.replace(SPEC, layout="nhwc", dtype="uint8", pixels="packed", num_rois=600)
    assert DetectorSpec.from_json(spec.to_json()) == spec
    with pytest.raises(ModelError, match="packed uint8 nhwc"):
        dataclasses.replace(spec, pixels="nv12")
    with pytest.raises(ModelError, match="num_rois"):
        dataclasses.replace(spec, num_rois=-1)


def test_a_file_of_an_older_version_keeps_its_defaults() -> None:
    values = json.loads(SPEC.to_json())
    for name in ("extra_inputs", "outputs", "columns", "anchors", "anchor_variances", "keypoint_names"):
        del values[name]
    assert DetectorSpec.from_json(json.dumps(values)) == SPEC


@pytest.mark.parametrize("extra", [[{"name": "size"}], [{"name": "size", "dtype": "int64", "value": [1]}], ["size"]])
def test_an_extra_input_of_another_shape_is_refused(extra: Any) -> None:
    text = json.dumps({**json.loads(SPEC.to_json()), "extra_inputs": extra})
    with pytest.raises(ModelError, match=r"wrong: extra_inputs.0.*export it again"):
        DetectorSpec.from_json(text)


@pytest.mark.parametrize("num", [0, 1, 1917])
def test_anchors_survive_their_packing(num: int) -> None:
    anchors = np.random.default_rng(num).uniform(-1, 2, (num, 4)).astype(np.float32)
    text = pack_anchors(anchors)
    assert text.isascii()
    assert np.array_equal(unpack_anchors(text), anchors)


def test_one_pad_value_is_three() -> None:
    assert SPEC.pad_values == (114, 114, 114)
    assert dataclasses.replace(SPEC, pad_value=(1, 2, 3)).pad_values == (1, 2, 3)


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "null", "{'schema': 1}"])
def test_text_of_another_shape_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(ModelError, match=r"must be a spec of ours.*export it again"):
        DetectorSpec.from_json(text)


def test_a_newer_schema_is_refused() -> None:
    text = json.dumps({**json.loads(SPEC.to_json()), "schema": 99})
    with pytest.raises(ModelError, match=r"schema 99 .* update streamdet or export it again"):
        DetectorSpec.from_json(text)


def test_an_unknown_field_is_named() -> None:
    text = json.dumps({**json.loads(SPEC.to_json()), "colour_space": "srgb"})
    with pytest.raises(ModelError, match="colour_space"):
        DetectorSpec.from_json(text)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("batch", "x", "batch must be a valid integer, got 'x'"),
        ("network_wh", [64], "network_wh.1 is missing"),
        ("network_wh", [64.5, 64], "network_wh.0 must be a valid integer, got '64.5'"),
        ("mean", [1, 2], "mean.2 is missing"),
        ("std", [1e400, 1, 1], "std must be finite"),
        ("batch", -1, "batch must be at least 1"),
        ("network_wh", [100000, 64], "network_wh must be at most 16384"),
        (
            "resize",
            "fill",
            "resize must be 'letterbox-center', 'letterbox-topleft', 'stretch' or 'in-graph'",
        ),
        ("box_format", "ltrb", "box_format must be 'xyxy'"),
        ("score_activation", "relu", "score_activation must be 'none', 'sigmoid' or 'softmax', got 'relu'"),
        ("form", "best", "form must be 'body', 'boxes' or 'frame'"),
        ("colour", "zzz", "colour must be 'rgb' or 'bgr'"),
        ("pixels", "zzz", "pixels must be 'packed' or 'nv12'"),
        ("class_names", [1, 2], "class_names.0 must be a valid string"),
        ("parity", "x", "parity must be an object"),
        ("provenance", 5, "provenance must be a valid"),
        ("model_name", 5, "model_name must be a valid string"),
        ("score_threshold", 2, "score_threshold must lie within [0, 1], got 2.0"),
    ],
)
def test_a_value_of_another_type_or_choice_is_named(field: str, value: object, words: str) -> None:
    text = json.dumps({**json.loads(SPEC.to_json()), field: value}).replace("Infinity", "1e999")
    with pytest.raises(ModelError, match=re.escape(words)):
        DetectorSpec.from_json(text)


def test_json_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(ModelError, match="must be a spec of ours"):
        DetectorSpec.from_json("[" * 100_000)
    with pytest.raises(ModelError, match="export it again"):
        DetectorSpec.from_json(SPEC.to_json()[:-1] + ', "parity": ' + '{"a": ' * 900 + "1" + "}" * 900 + "}")


def test_a_missing_field_is_named() -> None:
    values = json.loads(SPEC.to_json())
    del values["head"]
    with pytest.raises(ModelError, match=r"wrong: head is missing"):
        DetectorSpec.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network_wh": (0, 640)}, "network_wh must be at least 1 x 1"),
        ({"class_names": ()}, "class_names must name at least one class"),
        ({"std": (1.0, 0.0, 1.0)}, "std must not be 0"),
        ({"score_threshold": 1.5}, r"score_threshold must lie within \[0, 1\], got 1.5"),
        ({"iou_threshold": -0.1}, r"iou_threshold must lie within \[0, 1\]"),
        ({"pad_value": 256}, "pad_value must lie within 0..255"),
        ({"pad_value": (0, -1, 0)}, "pad_value must lie within 0..255"),
        ({"max_detections": 0}, "max_detections must be at least 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        dataclasses.replace(SPEC, **change)
