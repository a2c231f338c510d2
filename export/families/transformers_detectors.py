"""How do the DETR family's detectors come out of transformers, ready for export?

Hub names such as `PekingU/rtdetr_r50vd`, a folder that `save_pretrained` wrote, or a short name such as `rt_detr` for
the default architecture without weights. Code from the hub is never run, and weights are read from safetensors only.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from export import known
from export.exportable import Exportable, ExportRequest, Reference, boxes_spec_of
from export.graph.forms import Normalise
from export.graph.ops import best_pairs, take_rows
from export.proof.random_weights import SEED, LogitScale, calibrate, proof_pixels, spread
from export.weights.loading import load_checkpoint
from pipeline.errors import MissingExtraError, ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_80, COCO_91
from pipeline.picture.detector_spec import DetectorSpec

_COCO_WITH_GAPS = ("N/A", *COCO_91)  # DETR numbers by COCO's category ids, from 0


@dataclass(frozen=True, slots=True)
class _Family:
    """What transformers does not write into a config."""

    processor: str  # the image processor class where a folder or the hub names none
    activation: Literal["softmax", "sigmoid"]  # softmax: the last column is "no object", and a query has one class
    max_detections: int | None  # of `post_process_object_detection`; None: as many as queries
    class_names: tuple[str, ...]  # of the weights that its authors published
    network_wh: tuple[int, int] | None = None  # to which images are stretched; None: as the processor says


_FAMILIES = {
    "detr": _Family("DetrImageProcessor", "softmax", None, _COCO_WITH_GAPS),
    "conditional_detr": _Family("ConditionalDetrImageProcessor", "sigmoid", 100, _COCO_WITH_GAPS),
    "deformable_detr": _Family("DeformableDetrImageProcessor", "sigmoid", 100, _COCO_WITH_GAPS),
    "rt_detr": _Family("RTDetrImageProcessor", "sigmoid", None, COCO_80),
    "rt_detr_v2": _Family("RTDetrImageProcessor", "sigmoid", None, COCO_80),
    "d_fine": _Family("RTDetrImageProcessor", "sigmoid", None, COCO_80),
    "yolos": _Family("YolosImageProcessor", "softmax", None, _COCO_WITH_GAPS),
    # Their processors keep the aspect by default, their authors stretch to a square that falls into 4 x 4 windows.
    "rf_detr": _Family("RfDetrImageProcessor", "sigmoid", None, _COCO_WITH_GAPS, network_wh=(560, 560)),
    "lw_detr": _Family("DeformableDetrImageProcessor", "sigmoid", 100, _COCO_WITH_GAPS, network_wh=(640, 640)),
}

NAMES = known.NAMES["transformers"]


def accepts(name: str) -> bool:
    """Whether a name is a short name, a folder with a config.json, or looks like `owner/name` on the hub."""
    if name in NAMES or (Path(name) / "config.json").is_file():
        return True
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None and not Path(name).exists()


def build(wanted: ExportRequest) -> Exportable:
    """The detector that `wanted` names, in eval mode.

    Raises ModelError for a name that is none of ours, weights that cannot be had or do not fit, and a size that the
    network does not take, MissingExtraError without transformers.
    """
    model, processor = _model_and_processor(wanted)
    model.eval().requires_grad_(False)
    exportable = _exportable(wanted, model, processor)
    if wanted.weights == "none" and wanted.checkpoint is None:
        _liven(exportable)
    return exportable


def _liven(exportable: Exportable) -> None:
    """Scale random weights, in place, so that there are many things with many different scores."""
    head, body = exportable.body_head, exportable.body
    assert head is not None
    by_softmax = head.score_activation == "softmax"
    pixels = Normalise(exportable.spec)(proof_pixels(head.network_wh))
    for name, module in body.named_modules():
        if name.endswith((".query_feat", ".reference_point_embed")):
            # The encoder's choices are dealt out to queries in the order of their scores: where these nearly tie, it
            # must not matter who gets which.
            module.weight.data.copy_(module.weight.data[:1].expand_as(module.weight))
        elif isinstance(module, nn.Embedding):  # queries that are all alike find the same thing
            module.weight.data.div_(module.weight.data.std())
    calibrate(body, lambda: body(pixels))
    columns = len(head.class_names) + by_softmax
    layers = [each for each in body.modules() if isinstance(each, nn.Linear) and each.out_features == columns]
    # The decoder is sure of what the encoder chose, as if it were trained: what is chosen last, among many that are
    # nearly alike, is then not found at all.
    for layer in layers[1:]:
        layer.weight.data.copy_(layers[0].weight.data)
    # Each by itself, and twice, because what the encoder finds is what the decoder looks at.
    wanted = [
        LogitScale([each], 2.0) if by_softmax else LogitScale([each], 2.0, mean=None, share=0.002) for each in layers
    ]
    for _ in range(2):
        spread(lambda: body(pixels), *wanted)
    for layer in layers:
        if by_softmax:  # the last column is no object, which most queries find
            layer.bias.data[-1] += 3.0
        else:
            layer.bias.data += 1.0


def _exportable(wanted: ExportRequest, model: Any, processor: Any) -> Exportable:
    """The two parts of a model and its spec, as its image processor says."""
    family = _FAMILIES[model.config.model_type]
    body_spec = _body_spec(wanted, model.config, family, processor)
    body = _Body(model)
    num_queries, num_columns = _shape_of_the_logits(body, body_spec)
    num_classes = num_columns - (family.activation == "softmax")
    if num_classes != len(body_spec.class_names):
        raise ModelError(f"{wanted.name}: {num_classes} classes need as many names, got {len(body_spec.class_names)}")
    most = num_queries if family.activation == "softmax" else num_queries * num_classes
    num_best = min(family.max_detections or num_queries, most)
    body_spec = replace(body_spec, max_detections=num_best)
    decode_type = BestClassOfEachQuery if family.activation == "softmax" else BestOfQueriesAndClasses
    return Exportable(
        body=body,
        decode=decode_type(body_spec.network_wh, num_best),
        spec=boxes_spec_of(body_spec),
        reference=_reference(model, processor, body_spec.network_wh),
        body_outputs=("logits", "pred_boxes"),
        body_head=body_spec,
    )


class _Body(nn.Module):
    """Normalised pixels [N, 3, h, w] → logits [N, Q, C], boxes [N, Q, 4] cx, cy, w, h in 0..1.

    All pixels count as image: there is no pixel_mask, so what the letterbox leaves empty is seen, in the mean colour.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with _made_exportable(self.model) if torch.compiler.is_exporting() else contextlib.nullcontext():
            outputs = self.model(pixel_values=images)
        return outputs.logits, outputs.pred_boxes


class BestClassOfEachQuery(nn.Module):
    """Logits [N, Q, C + 1], whose last column is "no object" → the best class of each query, best first."""

    def __init__(self, network_wh: tuple[int, int], num_best: int) -> None:
        super().__init__()
        self.network_wh, self.num_best = network_wh, num_best

    def forward(self, logits: Tensor, pred_boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, class_ids = logits.softmax(dim=2)[..., :-1].max(dim=2)  # [N, Q]
        scores, queries = scores.topk(self.num_best, dim=1)  # [N, K]
        return _boxes_of(queries, pred_boxes, self.network_wh), scores, class_ids.gather(1, queries)


class BestOfQueriesAndClasses(nn.Module):
    """Logits [N, Q, C] → the best pairs of query and class, best first; a query may come with several classes."""

    def __init__(self, network_wh: tuple[int, int], num_best: int) -> None:
        super().__init__()
        self.network_wh, self.num_best = network_wh, num_best

    def forward(self, logits: Tensor, pred_boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, queries, class_ids = best_pairs(logits.sigmoid(), self.num_best)  # [N, K]
        return _boxes_of(queries, pred_boxes, self.network_wh), scores, class_ids


def _boxes_of(queries: Tensor, pred_boxes: Tensor, network_wh: tuple[int, int]) -> Tensor:
    """Boxes [N, K, 4] xyxy in network pixels, of the chosen queries [N, K]."""
    boxes = take_rows(pred_boxes, queries)  # [N, K, 4] cx, cy, w, h in 0..1
    centres, halves = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centres - halves, centres + halves], dim=2) * boxes.new_tensor(network_wh * 2)


def _reference(model: Any, processor: Any, network_wh: tuple[int, int]) -> Reference:
    """The original model with transformers' own post-processing, normalised as the image processor's numbers say."""
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0,) * 3, (1,) * 3)

    def reference(pixels: Tensor) -> Sequence[Candidates]:
        images = pixels.permute(0, 3, 1, 2).double() * scale  # [N, 3, h, w]
        images = (images - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).double().view(3, 1, 1)
        with torch.inference_mode():
            outputs = model(pixel_values=images.float())
        sizes = [network_wh[::-1]] * len(pixels)
        found = processor.post_process_object_detection(outputs, threshold=0.01, target_sizes=sizes)
        return [
            Candidates(each["boxes"].float().numpy(), each["scores"].float().numpy(), each["labels"].numpy())
            for each in found
        ]

    return reference


def _body_spec(wanted: ExportRequest, config: Any, family: _Family, processor: Any) -> DetectorSpec:
    resize: Literal["stretch", "letterbox-topleft"]
    resize, network_wh = _resize_and_size(wanted, config, family, processor)
    unit = 1 / processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    red, green, blue = (each * unit for each in mean)
    # What a letterbox leaves empty is 0 after normalisation there: the mean colour.
    pad_value = round(red), round(green), round(blue)
    return DetectorSpec(
        input_name="images",
        network_wh=network_wh,
        head="detr",
        class_names=_class_names(wanted, config, family),
        batch=None,
        resize=resize,
        pad_value=pad_value,
        colour="rgb",
        mean=(red, green, blue),
        std=(std[0] * unit, std[1] * unit, std[2] * unit),
        box_format="cxcywh",
        boxes_are_normalised=True,
        score_activation=family.activation,
        needs_nms=False,
        score_threshold=0.5,
        form="body",
        model_name=wanted.name,
    )


def _resize_and_size(
    wanted: ExportRequest, config: Any, family: _Family, processor: Any
) -> tuple[Literal["stretch", "letterbox-topleft"], tuple[int, int]]:
    size = dict(processor.size)
    if size.get("height") and size.get("width"):
        return "stretch", wanted.network_wh or (int(size["width"]), int(size["height"]))
    if family.network_wh is not None:
        return "stretch", wanted.network_wh or family.network_wh
    if config.model_type == "yolos":  # it has learned a position for each patch of this size
        shortest, longest = sorted(config.image_size)
    else:
        shortest, longest = int(size["shortest_edge"]), int(size.get("longest_edge") or size["shortest_edge"])
    return "letterbox-topleft", wanted.network_wh or (-(-longest // 32) * 32, -(-shortest // 32) * 32)


def _class_names(wanted: ExportRequest, config: Any, family: _Family) -> tuple[str, ...]:
    if wanted.class_names is not None:
        return wanted.class_names
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    if any(name != f"LABEL_{index}" for index, name in enumerate(names)):
        return names
    if wanted.num_classes is None and len(names) == len(family.class_names):
        return family.class_names
    return tuple(f"class {index}" for index in range(len(names)))


def _shape_of_the_logits(body: nn.Module, spec: DetectorSpec) -> tuple[int, int]:
    """Number of queries and of columns, from one run, which tells as well whether the network takes the size."""
    width, height = spec.network_wh
    try:
        with torch.inference_mode():
            logits, _ = body(torch.zeros(1, 3, height, width))
    except (RuntimeError, ValueError, IndexError) as error:
        raise ModelError(
            f"{spec.model_name} must take images of {width} x {height}, it fails with: {_first_line(error)}; "
            "its sides must be multiples of its stride, and large enough for its queries: try another --size"
        ) from error
    return logits.shape[1], logits.shape[2]


def _model_and_processor(wanted: ExportRequest) -> tuple[Any, Any]:
    transformers = _transformers()
    config = _config(wanted)
    is_short = wanted.name in _FAMILIES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers and timm, about themselves
        try:
            if is_short or wanted.weights == "none" or wanted.checkpoint is not None:
                torch.manual_seed(SEED)
                model = transformers.AutoModelForObjectDetection.from_config(config)
            else:
                model = transformers.AutoModelForObjectDetection.from_pretrained(
                    wanted.name, config=config, use_safetensors=True
                )
        except ImportError as error:
            raise MissingExtraError(f'{wanted.name}: {_first_line(error)}; pip install "streamdet[hf]"') from error
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{wanted.name}: its weights could not be had: {_first_line(error)}") from error
        processor = _processor(wanted, config.model_type)
    if wanted.checkpoint is not None:
        load_checkpoint(model, wanted.checkpoint)
    return model, processor


def _config(wanted: ExportRequest) -> Any:
    """The model's config, with the number of classes that is wanted. Raises ModelError where that cannot be."""
    transformers = _transformers()
    num_classes = wanted.num_classes or (None if wanted.class_names is None else len(wanted.class_names))
    if wanted.name in _FAMILIES:
        if wanted.weights != "none" and wanted.checkpoint is None:
            example = next(name for name in NAMES if "/" in name)
            raise ModelError(
                f"{wanted.name} is an architecture without weights: give --checkpoint or --weights none, "
                f"or name a model of the hub such as {example}"
            )
        num_labels = num_classes or len(_FAMILIES[wanted.name].class_names)
        return _default_config(wanted.name, num_labels)
    try:
        config = transformers.AutoConfig.from_pretrained(wanted.name)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{wanted.name}: its config could not be had from the folder or the hub: {_first_line(error)}"
        ) from error
    if config.model_type not in _FAMILIES:
        raise ModelError(
            f"{wanted.name} must be a detector of {', '.join(_FAMILIES)}; its config says {config.model_type}"
        )
    if num_classes is not None and num_classes != config.num_labels:
        if wanted.weights != "none" and wanted.checkpoint is None:
            raise ModelError(
                f"{wanted.name} has {config.num_labels} classes, {num_classes} were asked for; "
                "another number needs --checkpoint or --weights none"
            )
        config = copy.deepcopy(config)
        config.num_labels = num_classes
    backbone: Any = getattr(config, "backbone_config", None)
    if getattr(backbone, "use_pretrained_backbone", False):  # all weights come together
        backbone.use_pretrained_backbone = False
    return config


def _default_config(model_type: str, num_labels: int) -> Any:
    """The library's default architecture; LW-DETR's own default has no feature level, and cannot run."""
    settings: dict[str, Any] = {"projector_scale_factors": [1.0]} if model_type == "lw_detr" else {}
    return _transformers().AutoConfig.for_model(model_type, num_labels=num_labels, **settings)


def _processor(wanted: ExportRequest, model_type: str) -> Any:
    transformers = _transformers()
    if wanted.name not in _FAMILIES:
        # Without its file, the numbers are the class's own.
        with contextlib.suppress(OSError, ValueError):
            return transformers.AutoImageProcessor.from_pretrained(wanted.name)
    return getattr(transformers, _FAMILIES[model_type].processor)()


@contextlib.contextmanager
def _made_exportable(model: nn.Module) -> Iterator[None]:
    """While the graph is recorded: leave transformers' assertions out, and let the batch stay open.

    ONNX has no operator for the assertions (aten._is_all_true). `len(tensor)`, with which RT-DETR, RT-DETRv2 and
    D-FINE take the batch, is a plain number to Python; torch.onnx.export then silently writes a fixed batch.
    """
    names_of_module = vars(sys.modules[type(model).__module__])
    names_of_module["len"] = _open_len
    variable = "TRANSFORMERS_DISABLE_TORCH_CHECK"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        del names_of_module["len"]
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before


def _open_len(value: Any) -> Any:
    return value.shape[0] if isinstance(value, Tensor) else len(value)


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtraError('the DETR family needs transformers: pip install "streamdet[hf]"') from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
