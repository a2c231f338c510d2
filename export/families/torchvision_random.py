"""torchvision's random weights: a detector as initialised → one with many detections and many different scores."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD, SSDScoringHead

from export.proof.random_weights import LogitScale, calibrate, scale_logits


def randomise_weights(
    model: SSD | RetinaNet | FCOS | FasterRCNN, name: str, *, num_columns: int, pixels: Tensor, background: float | None
) -> None:
    """Scale the weights of a detector, in place, whose transform is set to the size of the pixels already.

    pixels: uint8 [N, h, w, 3], like those that it will see. num_columns: classes and background. background: added to
    the background's logit where there is one; for a detector with sigmoid scores, subtracted from all logits. The
    larger, the fewer detections.
    """
    images = list(pixels.permute(0, 3, 1, 2).float() / 255)

    def run() -> object:
        return model(images)

    calibrate(model, run)
    if name.startswith("ssd"):
        _scale_ssd(model, run, num_columns, 9.0 if background is None else background)
    elif name.startswith(("retinanet", "fcos")):
        _scale_sigmoid(model, run, num_columns, background or 0.0)
    else:
        _scale_two_stages(model, run, 3.0 if background is None else background)


def _scale_ssd(model: SSD, run: Callable[[], object], num_columns: int, background: float) -> None:
    def last(head: SSDScoringHead) -> list[nn.Module]:
        return [[layer for layer in level.modules() if isinstance(layer, nn.Conv2d)][-1] for level in head.module_list]

    classes = LogitScale(last(model.head.classification_head), std=2.0)
    scale_logits(run, classes, LogitScale(last(model.head.regression_head), std=1.0))
    for layer in classes.layers:
        assert isinstance(layer.bias, Tensor)
        layer.bias.data.view(-1, num_columns)[:, 0] += background


def _scale_sigmoid(model: RetinaNet | FCOS, run: Callable[[], object], num_columns: int, background: float) -> None:
    classes = model.head.classification_head.cls_logits
    boxes = model.head.regression_head
    scales = [LogitScale([classes], std=2.0, mean=None, share=0.003)]
    if hasattr(boxes, "bbox_ctrness"):
        scales += [LogitScale([boxes.bbox_ctrness], std=1.0), LogitScale([boxes.bbox_reg], std=2.0, mean=2.0)]
    else:
        scales += [LogitScale([boxes.bbox_reg], std=0.3)]
    scale_logits(run, *scales)
    classes.bias.data -= background
    classes.bias.data.view(-1, num_columns)[:, 0] = -30  # never trained


def _scale_two_stages(model: FasterRCNN, run: Callable[[], object], background: float) -> None:
    scale_logits(run, LogitScale([model.rpn.head.cls_logits], std=2.0), LogitScale([model.rpn.head.bbox_pred], std=0.2))
    heads = model.roi_heads
    predictor = heads.box_predictor
    scale_logits(run, LogitScale([predictor.cls_score], std=2.0), LogitScale([predictor.bbox_pred], std=1.0))
    if heads.has_mask():
        scale_logits(run, LogitScale([heads.mask_predictor.mask_fcn_logits], std=2.0))
    if heads.has_keypoint():
        scale_logits(run, LogitScale([heads.keypoint_predictor.kps_score_lowres], std=2.0))
    predictor.cls_score.bias.data[0] += background
