"""Published detectors: the table is sound, and a file of it is recognised with what its row knows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.recipes import IMAGENET_MEAN, IMAGENET_STD
from pipeline.detector.published import PUBLISHED, published_as
from pipeline.detector.recognise import assumptions_of, recognise
from pipeline.picture.coco import COCO_91
from tests.support import realistic_outputs as real
from tests.support.assets import MODELS, needs_assets
from tests.support.foreign_detector import write
from tests.support.published import publish, row_for


def test_every_row_can_be_fetched_and_checked() -> None:
    assert len({model.name for model in PUBLISHED}) == len(PUBLISHED)
    for model in PUBLISHED:
        assert re.fullmatch("[a-z]+-[a-z]+", model.name)
        assert model.address.startswith("https://")
        assert model.address.endswith(".onnx")
        assert model.sha256 is None or re.fullmatch("[0-9a-f]{64}", model.sha256)
        assert model.file_names[0] == f"{model.name}.onnx"
        assert model.num_bytes is None or model.num_bytes == pytest.approx(1e6 * model.megabytes, rel=0.01)
        assert model.licence == "Apache-2.0"


def test_a_file_of_which_the_address_names_no_revision_is_pinned_or_said_not_to_be() -> None:
    moving = [model for model in PUBLISHED if "huggingface.co" in model.address]
    assert all(re.search("/resolve/[0-9a-f]{40}/", model.address) and model.sha256 for model in moving)


@pytest.fixture
def rfdetr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file such as rfdetr-nano's: logits by COCO's category ids, and an input of any size."""
    outputs = real.detr("sigmoid")
    logits = np.full((len(outputs["logits"]), 91), -7, np.float32)
    of_coco_80 = [index for index, name in enumerate(COCO_91) if name != "N/A"]
    logits[:, [1 + index for index in of_coco_80]] = outputs["logits"]
    named = {"logits": logits, "pred_boxes": outputs["pred_boxes"]}
    path = write(tmp_path / "any name.onnx", named, input_shape=("n", 3, "h", "w"))
    publish(monkeypatch, row_for("rfdetr-nano", path))
    return path


def test_what_the_row_knows_of_its_file_travels_into_recognition_wherever_it_lies(rfdetr: Path, tmp_path: Path) -> None:
    shutil.copy(rfdetr, tmp_path / "copy of it.onnx")
    spec = recognise(tmp_path / "copy of it.onnx")
    assert (spec.network_wh, spec.mean, spec.std) == ((384, 384), IMAGENET_MEAN, IMAGENET_STD)
    assert (spec.resize, spec.colour, spec.first_class_id) == ("stretch", "rgb", 1)
    assert spec.class_names[2] == "car"
    assert spec.class_names[12] == "stop sign"  # its category id is 13: COCO leaves out 12
    assert "384 x 384: as rfdetr-nano is published" in spec.provenance
    assert not [reason for reason in spec.provenance if "--" in reason]
    assert assumptions_of(spec) == ()


def test_a_users_own_hints_win_over_the_rows(rfdetr: Path) -> None:
    spec = recognise(rfdetr, Hints(network_wh=(512, 256), mean=(1.0, 2.0, 3.0)))
    assert (spec.network_wh, spec.mean, spec.std) == ((512, 256), (1.0, 2.0, 3.0), IMAGENET_STD)
    assert "512 x 256: set by --size" in spec.provenance
    assert any(reason.startswith("mean (1.0, 2.0, 3.0): set by --mean") for reason in spec.provenance)


def test_another_file_is_not_taken_for_it(rfdetr: Path) -> None:
    content = bytearray(rfdetr.read_bytes())
    assert published_as(rfdetr) is not None
    content[-1] ^= 1
    rfdetr.write_bytes(content)
    assert published_as(rfdetr) is None
    assert published_as(rfdetr.with_name("no such file.onnx")) is None


@needs_assets
def test_a_real_yolox_is_recognised_without_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    path = MODELS / "yolox_nano_coco_416.onnx"
    publish(monkeypatch, row_for("yolox-nano", path))
    row = published_as(path)
    assert row is not None
    spec = recognise(path)
    assert (spec.head, spec.network_wh, spec.colour) == ("yolox", row.network_wh, "bgr")
