"""Is what a file says of its inputs understood, and the image found among them?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.detector.facts import ImageInput, ModelFacts, TensorFacts, image_input, read_facts
from pipeline.errors import ModelError
from tests.support.tiny_detector import write_detector


def facts(*inputs: TensorFacts) -> ModelFacts:
    return ModelFacts(Path("street.onnx"), inputs, (), {})


@pytest.mark.parametrize(
    ("shape", "element_type", "expected"),
    [
        ((1, 3, 64, 96), "float", ("nchw", "float32", 1, (96, 64))),
        ((None, 3, None, None), "float", ("nchw", "float32", None, (None, None))),
        ((4, 3, 64, 96), "float16", ("nchw", "float16", 4, (96, 64))),
        ((1, 3, 64, 96), "uint8", ("nchw", "uint8", 1, (96, 64))),
        ((1, 64, 96, 3), "uint8", ("nhwc", "uint8", 1, (96, 64))),
        ((None, None, None, 3), "uint8", ("nhwc", "uint8", None, (None, None))),
        ((None, None, None, 3), "float", ("nhwc", "float32", None, (None, None))),
        ((None, None, 64, 96), "float", ("nchw", "float32", None, (96, 64))),
        ((3, 64, 96), "float", ("chw", "float32", 1, (96, 64))),
        ((3, None, None), "float", ("chw", "float32", 1, (None, None))),
        ((64, 96, 3), "uint8", ("hwc", "uint8", 1, (96, 64))),
        ((None, None, 3), "uint8", ("hwc", "uint8", 1, (None, None))),
        ((1, 3, 64, 3), "float", ("nchw", "float32", 1, (3, 64))),
    ],
)
def test_an_image_is_told_by_its_shape_and_type(
    shape: tuple[int | None, ...],
    element_type: str,
    expected: tuple[str, str, int | None, tuple[int | None, int | None]],
) -> None:
    image = image_input(facts(TensorFacts("x", shape, element_type)))
    assert image == ImageInput("x", *expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "element_type"),
    [
        ((1, 1, 64, 96), "float"),
        ((1, 4, 64, 96), "uint8"),
        ((1, 3, 64, 96), "int64"),
        ((3, 64), "float"),
        ((), "float"),
    ],
)
def test_what_is_no_image_is_none(shape: tuple[int | None, ...], element_type: str) -> None:
    with pytest.raises(ModelError, match=r"one image among its inputs.*this file has 0"):
        image_input(facts(TensorFacts("x", shape, element_type)))


def test_the_image_is_found_among_other_inputs() -> None:
    size, image = TensorFacts("size", (1, 2), "int64"), TensorFacts("image", (1, 3, 64, 96), "float")
    assert image_input(facts(size, image)).name == "image"


def test_two_images_are_one_too_many() -> None:
    with pytest.raises(ModelError, match="this file has 2"):
        image_input(facts(*(TensorFacts(name, (1, 3, 64, 96), "float") for name in ("left", "right"))))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'car', 2: 'van', 1: 'bus'}", ("car", "bus", "van")),
        ("['car', 'bus']", ("car", "bus")),
        ("{}", None),
        ("[]", None),
        ("", None),
        ("{'a': 1}", None),
        ("(", None),
        ("open('x')", None),
    ],
)
def test_the_exporters_names_are_read_where_they_are_a_literal(text: str, names: tuple[str, ...] | None) -> None:
    assert ModelFacts(Path("x.onnx"), (), (), {"names": text}).names_of_exporter() == names


def test_a_file_is_read_with_its_open_sides_and_metadata(tmp_path: Path) -> None:
    path = write_detector(
        tmp_path / "street.onnx",
        {"boxes": np.zeros((5, 4), np.float32), "labels": np.zeros(5, np.int64)},
        input_shape=("n", 3, "h", "w"),
        declared_shapes={"boxes": ("n", "boxes", 4)},
        extra_inputs={"size": ("int64", ("n", 2))},
        metadata={"stride": "32"},
    )
    model = read_facts(path)
    assert str(model) == (
        "inputs: images float [?, 3, ?, ?]; size int64 [?, 2]; outputs: boxes float [?, ?, 4]; labels int64 [?, 5]"
    )
    assert model.metadata == {"stride": "32"}
    assert model.path == path
