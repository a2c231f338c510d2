"""DETR family: body and decode find what transformers' own model and postprocessing find."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export.exportable import Exportable, ExportRequest
from export.families.transformers_detectors import NAMES, accepts, build
from export.graph.forms import BOXES_OUTPUTS, BodyForm, BoxesForm, Normalise
from export.graph.to_onnx import to_onnx
from pipeline.errors import ModelError
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.candidates import Candidates

transformers = pytest.importorskip("transformers")

_SIZES = {  # (w, h), for each family in the smallest that its strides and windows take
    "detr": (96, 64),
    "conditional_detr": (96, 64),
    "deformable_detr": (96, 64),
    "rt_detr": (96, 64),
    "rt_detr_v2": (96, 64),
    "d_fine": (96, 64),
    "yolos": (96, 64),
    "rf_detr": (84, 56),
    "lw_detr": (96, 64),
}
_NUM_TOKENS = 12 * 8 + 6 * 4 + 3 * 2  # of 96 x 64 at strides 8, 16, 32: as many queries leave no choice that could tie


@pytest.mark.parametrize("family", _SIZES)
def test_body_and_decode_say_what_the_library_says(family: str, tmp_path: Path) -> None:
    exportable = _built(family, tmp_path)
    pixels = _pixels(exportable, 2)
    assert exportable.reference is not None
    theirs = exportable.reference(pixels)
    ours = _candidates(*(output.numpy() for output in _run(BoxesForm(exportable), pixels)))
    for one, other in zip(ours, theirs, strict=True):
        assert len(other.scores) >= 5
        _assert_same_set(one, other)


@pytest.mark.parametrize("family", ["detr", "deformable_detr", "rt_detr_v2"])
def test_an_exported_file_says_the_same_for_any_batch(family: str, tmp_path: Path) -> None:
    exportable = _built(family, tmp_path)
    form = BoxesForm(exportable).eval()
    model = to_onnx(form, _pixels(exportable, 2), input_name="pixels", output_names=BOXES_OUTPUTS)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for num_images in (1, 3):
        pixels = _pixels(exportable, num_images)
        ours = _candidates(*session.run(None, {"pixels": pixels.numpy()}))
        assert exportable.reference is not None
        for one, other in zip(ours, exportable.reference(pixels), strict=True):
            _assert_same_set(one, other)


def test_detr_is_fed_as_its_image_processor_says(tmp_path: Path) -> None:
    spec = _built("detr", tmp_path).spec
    assert spec.resize == "letterbox-topleft"
    assert spec.pad_value == (124, 116, 104)  # the mean colour: 0 after normalisation
    np.testing.assert_allclose(spec.mean, (123.675, 116.28, 103.53))
    np.testing.assert_allclose(spec.std, (58.395, 57.12, 57.375))
    assert (spec.colour, spec.needs_nms, spec.form, spec.max_detections) == ("rgb", False, "boxes", 12)


def test_rt_detr_is_fed_pixels_in_0_to_1_without_a_letterbox(tmp_path: Path) -> None:
    spec = _built("rt_detr", tmp_path).spec
    assert (spec.resize, spec.mean) == ("stretch", (0, 0, 0))
    np.testing.assert_allclose(spec.std, (255, 255, 255))


def test_the_body_form_says_which_column_is_no_object(tmp_path: Path) -> None:
    exportable = _built("detr", tmp_path)
    assert exportable.body_head is not None
    assert exportable.body_head.head == "detr"
    assert exportable.body_head.score_activation == "softmax"
    logits, boxes = _run(BodyForm(exportable), torch.zeros(1, 3, 64, 96))
    assert logits.shape == (1, 12, 6)
    assert boxes.shape == (1, 12, 4)


def test_class_names_come_from_the_config_when_it_has_real_ones(tmp_path: Path) -> None:
    assert _built("rt_detr", tmp_path / "a").spec.class_names == tuple(f"class {index}" for index in range(5))
    named = _built("rt_detr", tmp_path / "b", id2label=dict(enumerate(["ant", "bee", "cat", "dog", "elk"])))
    assert named.spec.class_names == ("ant", "bee", "cat", "dog", "elk")


def test_the_size_of_the_picture_is_the_processors_own(tmp_path: Path) -> None:
    _save("rt_detr", tmp_path)
    assert build(ExportRequest(str(tmp_path))).spec.network_wh == (640, 640)


def test_a_size_that_the_network_cannot_take_is_refused(tmp_path: Path) -> None:
    _save("rt_detr", tmp_path)
    with pytest.raises(ModelError, match="must take images of 40 x 40, it fails with"):
        build(ExportRequest(str(tmp_path), network_wh=(40, 40)))


def test_another_number_of_classes_needs_other_weights(tmp_path: Path) -> None:
    _save("detr", tmp_path)
    with pytest.raises(ModelError, match="weights have 5 classes, got 3"):
        build(ExportRequest(str(tmp_path), num_classes=3))
    others = build(ExportRequest(str(tmp_path), weights="none", class_names=("a", "b", "c"), network_wh=(96, 64)))
    assert others.spec.class_names == ("a", "b", "c")


def test_a_checkpoint_gives_the_weights(tmp_path: Path) -> None:
    model = _save("detr", tmp_path)
    torch.save({"model": model.state_dict()}, tmp_path / "trained.pt")
    request = ExportRequest(str(tmp_path), weights="none", checkpoint=tmp_path / "trained.pt", network_wh=(96, 64))
    with torch.inference_mode():
        logits, _ = build(request).body(torch.ones(1, 3, 64, 96))
        expected = model.eval()(pixel_values=torch.ones(1, 3, 64, 96)).logits
    torch.testing.assert_close(logits, expected)


def test_a_short_name_has_no_weights() -> None:
    with pytest.raises(ModelError, match="rt_detr is an architecture without weights: pass --checkpoint or --weights"):
        build(ExportRequest("rt_detr"))


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="its config says bert"):
        build(ExportRequest(str(tmp_path)))


def test_hub_names_and_folders_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert all(accepts(name) for name in (*NAMES, "somebody/my-detr.v2", str(tmp_path)))
    assert not any(accepts(name) for name in ("ssdlite320_mobilenet_v3_large", "a/b/c.onnx", "/nowhere/model", "../x"))


def _built(family: str, folder: Path, **more: Any) -> Exportable:
    """A tiny network of the family, saved and read again, whose scores spread out instead of tying."""
    torch.manual_seed(0)
    _save(family, folder, **more)
    exportable = build(ExportRequest(str(folder), network_wh=_SIZES[family]))
    body = exportable.body
    with torch.no_grad():
        images = Normalise(exportable.spec)(_pixels(exportable, 2))
        spread = body(images)[0].std(dim=2).mean()
        for layer in _class_layers(body):
            layer.weight.mul_(2 / spread)
            layer.bias.normal_(-1, 0.5)
    return exportable


def _class_layers(body: nn.Module) -> list[nn.Linear]:
    last: Any = getattr(body.model, "class_labels_classifier", None)
    if hasattr(last, "layers"):  # of YOLOS: an MLP
        layers = [last.layers[-1]]
    else:
        hints = ("class_labels_classifier", "class_embed", "enc_score_head")
        layers = [layer for name, layer in body.named_modules() if any(hint in name for hint in hints)]
    unique = {id(layer.weight): layer for layer in layers if isinstance(layer, nn.Linear)}  # some are shared
    return list(unique.values())


def _save(family: str, folder: Path, **more: Any) -> Any:
    config = transformers.AutoConfig.for_model(family, **{"num_labels": 5, **_tiny(family), **more})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForObjectDetection.from_config(config)
    model.save_pretrained(folder)
    return model


def _tiny(family: str) -> dict[str, Any]:
    """Settings of the smallest network of a family that has all its mechanisms."""
    resnet = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    width = {"d_model": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "decoder_layers": 2, **heads}
    if family in ("detr", "conditional_detr", "deformable_detr"):
        stages = ["stage2", "stage3", "stage4"] if family == "deformable_detr" else ["stage4"]
        backbone = {"model_type": "resnet", **resnet, "out_features": stages}
        width |= {"use_timm_backbone": False, "encoder_layers": 1, "num_queries": 12}
        return {"backbone_config": backbone, **width}
    if family == "yolos":
        sizes = {"image_size": [64, 96], "num_detection_tokens": 12, "intermediate_size": 32}
        return {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, **sizes}
    if family in ("rf_detr", "lw_detr"):
        backbone = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
        backbone["out_features"] = ["stage1", "stage3"]
        if family == "rf_detr":
            backbone |= {"model_type": "rf_detr_dinov2", "image_size": 56, "num_windows": 2}
            more: dict[str, Any] = {"num_queries": 6 * 4}
        else:
            backbone |= {"model_type": "lw_detr_vit", "image_size": 64, "pretrain_image_size": 64}
            backbone |= {"num_windows": 4, "window_block_indices": [0]}
            more = {"num_queries": 6 * 4, "projector_scale_factors": [1.0]}
        heads = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2}
        more |= {"group_detr": 2, "c2f_num_blocks": 1, "decoder_layers": 2, "decoder_ffn_dim": 32, "d_model": 32}
        return {"backbone_config": backbone, **more, **heads}
    backbone = {"model_type": "rt_detr_resnet", **resnet, "out_indices": [2, 3, 4]}
    if family == "d_fine":
        of_stages = {"stage_in_channels": [8, 8, 16, 24], "stage_mid_channels": [8] * 4, "stem_channels": [3, 8, 8]}
        of_stages |= {"stage_out_channels": [8, 16, 24, 32], "stage_num_blocks": [1] * 4}
        of_stages |= {"stage_numb_of_layers": [2] * 4}
        backbone |= {"model_type": "hgnet_v2", **of_stages}
        del backbone["layer_type"]
    encoder = {"encoder_hidden_dim": 32, "encoder_in_channels": [16, 24, 32], "decoder_in_channels": [32] * 3}
    return {"backbone_config": backbone, "num_queries": _NUM_TOKENS, "hidden_expansion": 0.5, **encoder, **width}


def _pixels(exportable: Exportable, num_images: int) -> Tensor:
    """Coloured noise uint8 [N, h, w, 3], the same for the same size."""
    width, height = exportable.spec.network_wh
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (num_images, height // 4, width // 4, 3), dtype=np.uint8)
    return torch.from_numpy(small.repeat(4, axis=1).repeat(4, axis=2))


def _run(module: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        outputs: tuple[Tensor, ...] = module.eval()(images)
    return outputs


def _candidates(boxes: Any, scores: Any, class_ids: Any, num_detections: Any) -> list[Candidates]:
    return [
        Candidates(boxes[index, :num], scores[index, :num], class_ids[index, :num])
        for index, num in enumerate(num_detections.tolist())
    ]


def _assert_same_set(one: Candidates, other: Candidates) -> None:
    """Both ways, whatever the order: the same class, IoU 0.99, score to within a thousandth."""
    for ours, theirs in ((one, other), (other, one)):
        ours = ours.select(ours.scores >= 0.02)  # the reference starts at 0.01
        alike = intersection_over_union(ours.boxes_xyxy, theirs.boxes_xyxy) >= 0.99  # [M, M']
        alike &= ours.class_ids[:, None] == theirs.class_ids[None]
        alike &= np.abs(ours.scores[:, None] - theirs.scores[None]) <= 1e-3
        assert alike.any(axis=1).all()
