"""Loading from transformers: a name on the hub, a folder or an architecture → the model and its image processor.

Hub names such as `PekingU/rtdetr_r50vd`, a folder that `save_pretrained` wrote, or a short name such as `rt_detr` for
the default architecture without weights. Code from the hub is never run, and weights are read from safetensors only.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from export import known
from export.exportable import ExportRequest
from export.proof.random_weights import SEED
from export.weights.loading import load_checkpoint
from pipeline.errors import MissingExtraError, ModelError, first_line
from pipeline.picture.coco import COCO_80, COCO_91

_COCO_WITH_GAPS = ("N/A", *COCO_91)  # DETR numbers by COCO's category ids, from 0


@dataclass(frozen=True, slots=True)
class Family:
    """The facts about an architecture that its config does not hold."""

    processor: str  # the image processor class, for a folder or a hub model that names none
    activation: Literal["softmax", "sigmoid"]  # softmax: the last column is "no object", and a query has one class
    max_detections: int | None  # of `post_process_object_detection`; None: as many as queries
    class_names: tuple[str, ...]  # of the published weights
    network_wh: tuple[int, int] | None = None  # images are stretched to this size; None: the processor's


class Config(Protocol):
    """The parts of a transformers config that are read here."""

    model_type: str  # a key of FAMILIES
    num_labels: int
    id2label: Mapping[int, str]
    image_size: Sequence[int]  # height, width; YOLOS only


class Processor(Protocol):
    """The parts of a transformers image processor that are read here."""

    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: Sequence[float]  # red, green, blue
    image_std: Sequence[float]
    size: Iterable[tuple[str, int]]  # height and width, or shortest_edge and longest_edge

    def post_process_object_detection(
        self, outputs: object, threshold: float, target_sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """`boxes` [M, 4] xyxy, `scores` [M] and `labels` [M] of each image, in pixels of its (height, width)."""


class Loaded(NamedTuple):
    """A detector of transformers."""

    model: nn.Module
    config: Config
    processor: Processor


FAMILIES = {
    "detr": Family("DetrImageProcessor", "softmax", None, _COCO_WITH_GAPS),
    "conditional_detr": Family("ConditionalDetrImageProcessor", "sigmoid", 100, _COCO_WITH_GAPS),
    "deformable_detr": Family("DeformableDetrImageProcessor", "sigmoid", 100, _COCO_WITH_GAPS),
    "rt_detr": Family("RTDetrImageProcessor", "sigmoid", None, COCO_80),
    "rt_detr_v2": Family("RTDetrImageProcessor", "sigmoid", None, COCO_80),
    "d_fine": Family("RTDetrImageProcessor", "sigmoid", None, COCO_80),
    "yolos": Family("YolosImageProcessor", "softmax", None, _COCO_WITH_GAPS),
    # Their processors keep the aspect by default, their authors stretch to a square that falls into 4 x 4 windows.
    "rf_detr": Family("RfDetrImageProcessor", "sigmoid", None, _COCO_WITH_GAPS, network_wh=(560, 560)),
    "lw_detr": Family("DeformableDetrImageProcessor", "sigmoid", 100, _COCO_WITH_GAPS, network_wh=(640, 640)),
}

NAMES = known.NAMES["transformers"]


def accepts(name: str) -> bool:
    """Whether a name is a short name, a folder with a config.json, or looks like `owner/name` on the hub."""
    if name in NAMES or (Path(name) / "config.json").is_file():
        return True
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None and not Path(name).exists()


def load(request: ExportRequest) -> Loaded:
    """The model of a request with its weights, its config and its image processor.

    Raises ModelError for a name that transformers does not have and for weights that are missing or do not fit,
    MissingExtraError without transformers.
    """
    transformers = _transformers()
    config = _config(request)
    is_short = request.name in FAMILIES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers and timm warn about themselves
        try:
            if is_short or request.weights == "none" or request.checkpoint is not None:
                torch.manual_seed(SEED)
                model = transformers.AutoModelForObjectDetection.from_config(config)
            else:
                model = transformers.AutoModelForObjectDetection.from_pretrained(
                    request.name, config=config, use_safetensors=True
                )
        except ImportError as error:
            raise MissingExtraError(f'{request.name}: {first_line(error)}; pip install "streamdet[hf]"') from error
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{request.name}: its weights cannot be loaded: {first_line(error)}") from error
        processor = _processor(request, config.model_type)
    if request.checkpoint is not None:
        load_checkpoint(model, request.checkpoint)
    return Loaded(model, config, processor)


def _config(request: ExportRequest) -> Any:
    """The model's config with the requested number of classes. Raises ModelError if the weights contradict it."""
    num_classes = request.num_requested_classes or None
    if request.name in FAMILIES:
        if request.uses_published_weights:
            example = next(name for name in NAMES if "/" in name)
            raise ModelError(
                f"{request.name} is an architecture without weights: pass --checkpoint or --weights none, "
                f"or export a model of the hub such as {example}"
            )
        return _default_config(request.name, num_classes or len(FAMILIES[request.name].class_names))
    config = _config_of(request.name)
    if num_classes is not None and num_classes != config.num_labels:
        if request.uses_published_weights:
            raise ModelError(
                f"{request.name}'s weights have {config.num_labels} classes, got {num_classes}; "
                "for another number pass --checkpoint or --weights none"
            )
        config = copy.deepcopy(config)
        config.num_labels = num_classes
    backbone = getattr(config, "backbone_config", None)
    # The checkpoint holds the weights of the backbone too.
    if backbone is not None and getattr(backbone, "use_pretrained_backbone", False):
        backbone.use_pretrained_backbone = False
    return config


def _config_of(name: str) -> Any:
    """The config of a folder or of a model on the hub. Raises ModelError if there is none of a detector."""
    try:
        config = _transformers().AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name}: its config cannot be loaded from the folder or the hub: {first_line(error)}"
        ) from error
    if config.model_type not in FAMILIES:
        raise ModelError(f"{name} must be a detector of {', '.join(FAMILIES)}; its config says {config.model_type}")
    return config


def _default_config(model_type: str, num_labels: int) -> Any:
    """The library's default architecture; that of LW-DETR has no feature level and cannot run without one."""
    settings = {"projector_scale_factors": [1.0]} if model_type == "lw_detr" else {}
    return _transformers().AutoConfig.for_model(model_type, num_labels=num_labels, **settings)


def _processor(request: ExportRequest, model_type: str) -> Processor:
    transformers = _transformers()
    processor: Processor
    if request.name not in FAMILIES:
        # Without a file of its own: the defaults of its class.
        with contextlib.suppress(OSError, ValueError):
            processor = transformers.AutoImageProcessor.from_pretrained(request.name)
            return processor
    processor = getattr(transformers, FAMILIES[model_type].processor)()
    return processor


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtraError('the DETR family needs transformers: pip install "streamdet[hf]"') from error
