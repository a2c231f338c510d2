"""Detector spec: it survives the metadata of a file, and refuses what cannot be."""

from __future__ import annotations

import dataclasses
import json
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
        columns=("x1", "y1", "x2", "y2", "score", "class"),
        box_format="cycxhw",
        boxes_are_normalised=True,
        score_activation="softmax",
        first_class_id=1,
        anchors=pack_anchors(np.random.default_rng(0).uniform(0, 1, (1917, 4))),
        anchor_variances=(1.0, 1.0, 1.0, 1.0),
        keypoint_names=("nose", "left eye"),
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
        "input_name", "network_wh", "head", "class_names", "dtype", "colour", "mean", "std", "parity", "provenance"
    }  # fmt: skip
    back = DetectorSpec.from_json(spec.to_json())
    assert back == spec
    assert hash(back.extra_inputs) == hash(spec.extra_inputs)


def test_a_file_of_an_older_version_keeps_its_defaults() -> None:
    values = json.loads(SPEC.to_json())
    for name in ("extra_inputs", "outputs", "columns", "anchors", "anchor_variances", "keypoint_names"):
        del values[name]
    assert DetectorSpec.from_json(json.dumps(values)) == SPEC


@pytest.mark.parametrize("extra", [[{"name": "size"}], [{"name": "size", "dtype": "int64", "value": [1]}], ["size"]])
def test_an_extra_input_of_another_shape_is_refused(extra: Any) -> None:
    text = json.dumps({**json.loads(SPEC.to_json()), "extra_inputs": extra})
    with pytest.raises(ModelError, match=r"incomplete: .*export it again"):
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


def test_a_missing_field_is_named() -> None:
    values = json.loads(SPEC.to_json())
    del values["head"]
    with pytest.raises(ModelError, match=r"incomplete: .*head"):
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
