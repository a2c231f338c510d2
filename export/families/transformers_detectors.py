"""DETR family: a detector of transformers → an `Exportable`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence, Sized
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from export.exportable import Exportable, ExportRequest, Reference, boxes_spec_of
from export.families.transformers_attention import attention_in_one_part
from export.families.transformers_loading import FAMILIES, NAMES, Config, Family, Loaded, Processor, accepts, load
from export.graph.forms import Normalise
from export.graph.ops import best_pairs, take_rows
from export.proof.random_weights import LogitScale, calibrate, proof_pixels, scale_logits
from pipeline.errors import ModelError, first_line
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec

__all__ = ["NAMES", "accepts", "build"]


def build(request: ExportRequest) -> Exportable:
    """The detector of a request, in eval mode.

    Raises ModelError for a name that transformers does not have, for weights that are missing or do not fit and for a
    size that the network does not take, MissingExtraError without transformers.
    """
    loaded = load(request)
    loaded.model.eval().requires_grad_(False)
    exportable = _exportable(request, loaded)
    if request.uses_random_weights:
        _randomise_weights(exportable)
    return exportable


def _randomise_weights(exportable: Exportable) -> None:
    """Scale random weights, in place, so that there are many detections with many different scores."""
    head, body = exportable.body_head, exportable.body
    assert head is not None
    by_softmax = head.score_activation == "softmax"
    pixels = Normalise(exportable.spec)(proof_pixels(head.network_wh))
    _scale_queries(body)
    calibrate(body, lambda: body(pixels))
    columns = len(head.class_names) + by_softmax
    layers = [layer for layer in body.modules() if isinstance(layer, nn.Linear) and layer.out_features == columns]
    # The decoder is as confident as the encoder, as if it were trained: the last proposals, which nearly tie with those
    # not chosen, then score below every threshold.
    for layer in layers[1:]:
        layer.weight.data.copy_(layers[0].weight.data)
    # One by one, and twice, because the decoder reads the proposals of the encoder.
    scales = [
        LogitScale([layer], 2.0) if by_softmax else LogitScale([layer], 2.0, mean=None, share=0.002) for layer in layers
    ]
    for _ in range(2):
        scale_logits(lambda: body(pixels), *scales)
    for layer in layers:
        if by_softmax:  # the last column is "no object", the class of most queries
            layer.bias.data[-1] += 3.0
        else:
            layer.bias.data += 1.0


def _scale_queries(body: nn.Module) -> None:
    """Make learned queries that take the encoder's proposals alike, and all others different, in place."""
    for name, module in body.named_modules():
        if name.endswith((".query_feat", ".reference_point_embed")):
            # The encoder's proposals go to queries in the order of their scores: where these nearly tie, the
            # assignment must not matter.
            assert isinstance(module.weight, Tensor)
            module.weight.data.copy_(module.weight.data[:1].expand_as(module.weight))
        elif isinstance(module, nn.Embedding):  # queries that are all alike detect the same object
            module.weight.data.div_(module.weight.data.std())


def _exportable(request: ExportRequest, loaded: Loaded) -> Exportable:
    """The two parts of a model, and its spec by its image processor."""
    model, config, processor = loaded
    family = FAMILIES[config.model_type]
    body_spec = _body_spec(request, config, family, processor)
    body = _Body(model)
    num_queries, num_columns = _logits_shape(body, body_spec)
    num_classes = num_columns - (family.activation == "softmax")
    if num_classes != len(body_spec.class_names):
        raise ModelError(
            f"{request.name}: {num_classes} classes need {num_classes} names, got {len(body_spec.class_names)}"
        )
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

    The network takes no pixel_mask: it sees the padding of the letterbox, in the mean colour, as image.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with _exporting(self.model) if torch.compiler.is_exporting() else contextlib.nullcontext():
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


def _reference(model: nn.Module, processor: Processor, network_wh: tuple[int, int]) -> Reference:
    """The original model with transformers' own postprocessing, normalised by the image processor's numbers."""
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0,) * 3, (1,) * 3)

    def reference(pixels: Tensor) -> Sequence[Candidates]:
        images = pixels.permute(0, 3, 1, 2).double() * scale  # [N, 3, h, w]
        images = (images - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).double().view(3, 1, 1)
        with torch.inference_mode():
            outputs = model(pixel_values=images.float())
        sizes = [network_wh[::-1]] * len(pixels)
        results = processor.post_process_object_detection(outputs, threshold=0.01, target_sizes=sizes)
        return [
            Candidates(result["boxes"].float().numpy(), result["scores"].float().numpy(), result["labels"].numpy())
            for result in results
        ]

    return reference


def _body_spec(request: ExportRequest, config: Config, family: Family, processor: Processor) -> DetectorSpec:
    resize: Literal["stretch", "letterbox-topleft"]
    resize, network_wh = _resize_and_size(request, config, family, processor)
    unit = 1 / processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    red, green, blue = (value * unit for value in mean)
    # transformers pads with 0 after normalisation: the mean colour.
    pad_value = round(red), round(green), round(blue)
    return DetectorSpec(
        input_name="images",
        network_wh=network_wh,
        head="detr",
        class_names=_class_names(request, config, family),
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
        model_name=request.name,
    )


def _resize_and_size(
    request: ExportRequest, config: Config, family: Family, processor: Processor
) -> tuple[Literal["stretch", "letterbox-topleft"], tuple[int, int]]:
    size = dict(processor.size)
    if size.get("height") and size.get("width"):
        return "stretch", request.network_wh or (int(size["width"]), int(size["height"]))
    if family.network_wh is not None:
        return "stretch", request.network_wh or family.network_wh
    if config.model_type == "yolos":  # YOLOS learned one position embedding for every patch of this size
        shortest, longest = sorted(config.image_size)
    else:
        shortest, longest = int(size["shortest_edge"]), int(size.get("longest_edge") or size["shortest_edge"])
    return "letterbox-topleft", request.network_wh or (-(-longest // 32) * 32, -(-shortest // 32) * 32)


def _class_names(request: ExportRequest, config: Config, family: Family) -> tuple[str, ...]:
    if request.class_names is not None:
        return request.class_names
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    if any(name != f"LABEL_{index}" for index, name in enumerate(names)):
        return names
    if request.num_classes is None and len(names) == len(family.class_names):
        return family.class_names
    return tuple(f"class {index}" for index in range(len(names)))


def _logits_shape(body: nn.Module, spec: DetectorSpec) -> tuple[int, int]:
    """The numbers of queries and of columns, from one run. Raises ModelError if the network does not take the size."""
    width, height = spec.network_wh
    try:
        with torch.inference_mode():
            logits, _ = body(torch.zeros(1, 3, height, width))
    except (RuntimeError, ValueError, IndexError) as error:
        raise ModelError(
            f"{spec.model_name} must take images of {width} x {height}, it fails with: {first_line(error)}; "
            "try another --size, a multiple of its stride and large enough for its queries"
        ) from error
    return logits.shape[1], logits.shape[2]


@contextlib.contextmanager
def _exporting(model: nn.Module) -> Iterator[None]:
    """While the graph is recorded: leave transformers' assertions out, keep the batch dynamic and sampling in one part.

    ONNX has no operator for the assertions (aten._is_all_true). `len(tensor)`, with which RT-DETR, RT-DETRv2 and
    D-FINE take the batch, is a plain number to Python; torch.onnx.export then silently writes a fixed batch.
    """
    with _plain_assertions_and_len(model), attention_in_one_part(model):
        yield


@contextlib.contextmanager
def _plain_assertions_and_len(model: nn.Module) -> Iterator[None]:
    module_globals = vars(sys.modules[type(model).__module__])
    module_globals["len"] = _dynamic_len
    variable = "TRANSFORMERS_DISABLE_TORCH_CHECK"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        del module_globals["len"]
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before


def _dynamic_len(value: Sized) -> int | torch.SymInt:
    return value.shape[0] if isinstance(value, Tensor) else len(value)
