"""How does a network with random weights become worth comparing?

As it is initialised its signal dies or explodes on the way, and its scores are all alike or below every threshold, so
that two implementations agree, or seem not to, about nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from export.exportable import Exportable
from export.torchvision_detectors import exportable_of


def calibrate(network: nn.Module, run: Callable[[], object]) -> None:
    """Let every batch norm take the statistics of what passes through it in one `run`, in place.

    The rest of the network is and stays in eval mode, so that `run` may be its ordinary forward.
    """
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        run()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@dataclass(frozen=True, slots=True)
class Spread:
    """How the outputs of last layers, all taken together, shall be distributed."""

    layers: Sequence[nn.Module]
    std: float
    mean: float | None = 0.0
    share: float = 0.0  # where there is no mean: how many of the values would pass a score of 0.05 after a sigmoid


def spread(run: Callable[[], object], *wanted: Spread) -> None:
    """Scale last layers, in place, by what comes out of them in one `run`; they must not depend on each other."""
    outputs: list[list[Tensor]] = [[] for _ in wanted]
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output, kept=kept: kept.append(output))
        for each, kept in zip(wanted, outputs, strict=True)
        for layer in each.layers
    ]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    for each, kept in zip(wanted, outputs, strict=True):
        _scale(each, torch.cat([output.flatten() for output in kept]).double())


def _scale(wanted: Spread, values: Tensor) -> None:
    factor = wanted.std / float(values.std())
    if wanted.mean is None:
        passing = values.kthvalue(max(1, round(len(values) * (1 - wanted.share)))).values
        shift = -2.94 - float(passing) * factor
    else:
        shift = wanted.mean - float(values.mean()) * factor
    for layer in wanted.layers:
        assert isinstance(layer.weight, Tensor)
        assert isinstance(layer.bias, Tensor)
        with torch.no_grad():
            layer.weight.mul_(factor)
            layer.bias.mul_(factor).add_(shift)


def some_images(num_images: int, network_wh: tuple[int, int], *, seed: int = 0) -> Tensor:
    """Coloured blocks of many sizes, with noise: uint8 [N, h, w, 3]."""
    generator = torch.Generator().manual_seed(seed)
    width, height = network_wh
    images = torch.rand(num_images, 3, height, width, generator=generator) * 40
    for cells in (3, 7, 17):
        blocks = torch.rand(num_images, 3, cells, cells, generator=generator)
        images += nn.functional.interpolate(blocks, (height, width)) * 70
    return images.to(torch.uint8).permute(0, 2, 3, 1)


def random_exportable(
    name: str,
    *,
    network_wh: tuple[int, int],
    num_classes: int = 7,
    background: float | None = None,
    seed: int = 0,
    is_narrow: bool = False,
) -> Exportable:
    """A torchvision detector with random weights that finds many things, with many different scores.

    background: by how much more the background's logit is than the others', where there is one; for a detector with
    sigmoid scores, how much less all logits are. The more, the fewer things are found.
    is_narrow: with few proposals, and thin heads for masks and keypoints, which is quick on a CPU.
    """
    torch.manual_seed(seed)
    make = getattr(torchvision.models.detection, name)
    model: Any = make(weights=None, weights_backbone=None, num_classes=num_classes + 1)
    if is_narrow:
        _make_narrow(model, num_classes + 1)
    exportable_of(model, name, class_names=("any",) * num_classes, network_wh=network_wh)  # fixes the size
    images = list(some_images(2, network_wh, seed=seed + 1).permute(0, 3, 1, 2).float() / 255)

    def run() -> object:
        return model(images)

    calibrate(model, run)
    if name.startswith("ssd"):
        _liven_ssd(model, run, num_classes + 1, 9.0 if background is None else background)
    elif name.startswith(("retinanet", "fcos")):
        _liven_sigmoid(model, run, num_classes + 1, background or 0.0)
    else:
        _liven_two_stages(model, run, 3.0 if background is None else background)
    names = tuple(f"class {index}" for index in range(num_classes))
    return exportable_of(model, name, class_names=names, network_wh=network_wh)


def _make_narrow(model: Any, num_columns: int) -> None:
    heads = model.roi_heads
    heads.detections_per_img, model.rpn._post_nms_top_n["testing"] = 12, 60
    if heads.has_mask():
        heads.mask_head, heads.mask_predictor = MaskRCNNHeads(256, (32,), 1), MaskRCNNPredictor(32, 32, num_columns)
    if heads.has_keypoint():
        heads.keypoint_head, heads.keypoint_predictor = KeypointRCNNHeads(256, (32,)), KeypointRCNNPredictor(32, 17)


def _liven_ssd(model: Any, run: Callable[[], object], num_columns: int, background: float) -> None:
    def last(part: Any) -> list[nn.Module]:
        return [[layer for layer in level.modules() if isinstance(layer, nn.Conv2d)][-1] for level in part.module_list]

    classes = Spread(last(model.head.classification_head), std=2.0)
    spread(run, classes, Spread(last(model.head.regression_head), std=1.0))
    for layer in classes.layers:
        assert isinstance(layer.bias, Tensor)
        layer.bias.data.view(-1, num_columns)[:, 0] += background


def _liven_sigmoid(model: Any, run: Callable[[], object], num_columns: int, background: float) -> None:
    classes = model.head.classification_head.cls_logits
    boxes = model.head.regression_head
    wanted = [Spread([classes], std=2.0, mean=None, share=0.003)]
    if hasattr(boxes, "bbox_ctrness"):
        wanted += [Spread([boxes.bbox_ctrness], std=1.0), Spread([boxes.bbox_reg], std=2.0, mean=2.0)]
    else:
        wanted += [Spread([boxes.bbox_reg], std=0.3)]
    spread(run, *wanted)
    classes.bias.data -= background
    classes.bias.data.view(-1, num_columns)[:, 0] = -30  # never trained


def _liven_two_stages(model: Any, run: Callable[[], object], background: float) -> None:
    spread(run, Spread([model.rpn.head.cls_logits], std=2.0), Spread([model.rpn.head.bbox_pred], std=0.2))
    heads = model.roi_heads
    predictor = heads.box_predictor
    spread(run, Spread([predictor.cls_score], std=2.0), Spread([predictor.bbox_pred], std=1.0))
    if heads.has_mask():
        spread(run, Spread([heads.mask_predictor.mask_fcn_logits], std=2.0))
    if heads.has_keypoint():
        spread(run, Spread([heads.keypoint_predictor.kps_score_lowres], std=2.0))
    predictor.cls_score.bias.data[0] += background
