"""Does a spec survive the metadata of a file, and does it refuse what cannot be?"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.picture.detector_spec import DetectorSpec

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


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "null", "{'schema': 1}"])
def test_text_of_another_shape_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(ModelError, match=r"is no spec of ours.*export it again"):
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
    ],
)
def test_a_value_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        dataclasses.replace(SPEC, **change)
