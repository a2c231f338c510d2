"""How is the YOLO family told, and how are its outputs read?

YOLOv5 and v7: https://github.com/ultralytics/yolov5, https://arxiv.org/abs/2207.02696; v6: https://arxiv.org/abs/2209.02976;
v8, 9, 11 and 12: https://docs.ultralytics.com; YOLOX: https://arxiv.org/abs/2107.08430.

Every function thresholds in the order in which the numbers lie in memory: of 25,200 × 85 values most are never touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.detector.facts import ModelFacts, TensorFacts, image_input, literal
from pipeline.detector.heads.claims import Certainty, Claim, Hints, NotThisError, network_wh, spec_for
from pipeline.detector.heads.grid import check_cells, grid
from pipeline.detector.heads.outputs import Outputs, boxes_to_network, output, refuse_nan
from pipeline.picture.candidates import Candidates
from pipeline.picture.coco import COCO_80
from pipeline.picture.detections import FloatArray
from pipeline.picture.detector_spec import DetectorSpec

YOLOX_STRIDES = (8, 16, 32)
_ORIENTED = "it looks like a model of oriented boxes, which are not read"
_POSE = "it looks like a pose model, which is not read"
# The grids of the family: as usual, with a coarser one (P6), with a finer one (P2).
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
_ULTRALYTICS: dict[str, Any] = {"recipe": "RGB 0..1, letterbox centred, pad 114", "box_format": "cxcywh"}
_YOLOX: dict[str, Any] = {
    "recipe": "YOLOX's, BGR 0..255, letterbox top left, pad 114",
    "box_format": "cxcywh",
    "resize": "letterbox-topleft",
    "colour": "bgr",
    "std": (1.0, 1.0, 1.0),
}


def yolov5(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, N, 5 + C]`, or its transpose: box, objectness, class scores; the score is objectness × best class.

    More columns are masks'.
    """
    rows = _rows(outputs, spec)[batch_index]  # [N, 5 + C]
    refuse_nan(rows[:, 4], spec)
    rows = rows[rows[:, 4] >= np.float32(score_threshold)].astype(np.float32)  # [few, 5 + C]
    classes = rows[:, 5 : 5 + len(spec.class_names)]  # [few, C]
    return _best_class(rows[:, :4], classes * rows[:, 4:5], spec, score_threshold)


def yolox(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, N, 5 + C]` like YOLOv5, but boxes are offsets and log sizes in cells of strides 8, 16, 32, row by row."""
    rows = _rows(outputs, spec)[batch_index]  # [N, 5 + C]
    refuse_nan(rows[:, 4], spec)
    corners, strides = grid(spec.network_wh, YOLOX_STRIDES)  # [N, 2], [N, 1]
    check_cells(len(rows), corners, spec)
    chosen = np.flatnonzero(rows[:, 4] >= np.float32(score_threshold))  # [few]
    rows = rows[chosen].astype(np.float32)  # [few, 5 + C]
    corners, strides = corners[chosen], strides[chosen]  # [few, 2], [few, 1]
    sizes = np.exp(rows[:, 2:4]) * strides  # [few, 2]
    boxes = np.concatenate([(rows[:, :2] + corners) * strides, sizes], axis=1)  # [few, 4]
    return _best_class(boxes, rows[:, 5:] * rows[:, 4:5], spec, score_threshold)


def _rows(outputs: Outputs, spec: DetectorSpec) -> npt.NDArray[Any]:
    """Rows [B, N, 5 + C] of box, objectness and classes, which may lie turned, or in an output each."""
    if len(spec.outputs) == 3:
        return np.concatenate([output(outputs, spec, place) for place in range(3)], axis=2)
    rows, num = output(outputs, spec), 5 + len(spec.class_names)
    is_turned = rows.shape[2] != num and (rows.shape[1] == num or rows.shape[1] < rows.shape[2])
    return rows.transpose(0, 2, 1) if is_turned else rows


def yolov8(outputs: Outputs, spec: DetectorSpec, *, score_threshold: float, batch_index: int) -> Candidates:
    """`[B, 4 + C, N]`, or its transpose: box and class scores, no objectness. More columns than that are masks'."""
    columns, num = output(outputs, spec)[batch_index], 4 + len(spec.class_names)  # [4 + C, N]
    if len(columns) != num and (columns.shape[1] == num or len(columns) > columns.shape[1]):
        columns = columns.T
    columns = columns[:num]
    best = columns[4:].max(axis=0)  # [N]
    refuse_nan(best, spec)
    chosen = np.flatnonzero(best >= np.float32(score_threshold))  # [few]
    columns = columns[:, chosen].astype(np.float32)  # [4 + C, few]
    return _best_class(columns[:4].T, columns[4:].T, spec, score_threshold)


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """An output of three sides; its number of boxes is what the strides of its family give in that size."""
    queries = _queries(facts, hints)
    if queries is not None:
        yield queries
        return
    parts = _three_parts(facts, hints)
    if parts is not None:
        boxes, objectness, classes = parts
        joined = dataclasses.replace(boxes, shape=(*boxes.shape[:2], 5 + (classes.shape[2] or 0)))
        words = f"{boxes}, {objectness} and {classes}"
        outputs = tuple(each.name for each in parts)
        found = _claims_of(facts, hints, joined, 0, words=words, outputs=outputs)
        yield from (claim for claim in found if claim.spec.head != "yolov8")  # which has no objectness
        return
    whole, num_masks = _whole_output(facts, hints)
    batch, rows, columns = whole.shape
    outputs, cells = (whole.name,), _cells(facts, hints)
    are_cells_last = columns in cells and rows is not None
    are_anchors_last = columns is not None and columns % 3 == 0 and columns // 3 in cells and rows is not None
    may_be_turned = are_anchors_last or (are_cells_last and _has_objectness(facts, hints, (rows or 0) - 4 - num_masks))
    if hints.head != "yolov8" and may_be_turned:
        turned = dataclasses.replace(whole, shape=(batch, columns, rows))
        yield from _claims_of(facts, hints, turned, num_masks, words=f"{whole}, turned,", outputs=outputs)
    if hints.head in (None, "yolov8") or not may_be_turned:
        yield from _claims_of(facts, hints, whole, num_masks, words=str(whole), outputs=outputs)


def _has_objectness(facts: ModelFacts, hints: Hints, num_classes: int) -> bool:
    """Whether 85 channels are 80 classes and an objectness, as they are more often than 81 classes."""
    known = {len(COCO_80), len(facts.names_of_exporter() or COCO_80)}
    return num_classes not in known and (num_classes - 1 in known or hints.head in ("yolov5", "yolox"))


def _claims_of(
    facts: ModelFacts, hints: Hints, whole: TensorFacts, num_masks: int, *, words: str, outputs: tuple[str, ...]
) -> Iterator[Claim]:
    """The readings of a decoded output, or of several as if they were one; words: what it is in the file."""
    *_, rows, columns = whole.shape
    network, cells = network_wh(facts, hints), _cells(facts, hints)
    names = hints.class_names or facts.names_of_exporter() or COCO_80
    is_v5 = rows is not None and rows % 3 == 0 and rows // 3 in cells
    is_v8 = columns is not None and columns in cells and rows is not None
    is_v8_turned = rows is not None and rows in cells and columns == 4 + len(names) + num_masks
    is_one_a_cell = rows is not None and rows in cells and not is_v8_turned
    # Nothing but the names tells 4 + 3 columns from 5 + 2.
    may_be_turned = is_one_a_cell and columns not in (None, 4, 5, 5 + len(names)) and hints.head is None
    if rows is None or columns is None:
        # An export with dynamic sizes. Only Ultralytics writes `stride`; the channels side tells its two families.
        if hints.head is None and "stride" not in facts.metadata:
            raise NotThisError(
                "the number of boxes is dynamic, so its family cannot be told; name it with --head, or export it with "
                "a fixed size",
                is_near=True,
            )
        is_v5, is_v8, is_one_a_cell = columns is not None, rows is not None, columns is not None
    if hints.head in ("yolov5", "yolov8", "yolox"):  # whoever says so may have other strides
        is_v5 = is_one_a_cell = columns is not None
        is_v8, is_v8_turned = (
            rows is not None and columns != 4 + len(names) + num_masks,
            columns == 4 + len(names) + num_masks,
        )
    elif not (is_v5 or is_v8 or is_v8_turned or is_one_a_cell):
        raise NotThisError(
            f"yolo: at {network[0]} x {network[1]} YOLOv5 has 3 x {min(cells)} boxes, YOLOX, YOLOv8 and YOLO11 have "
            f"{min(cells)}, not {rows} or {columns}",
            is_near=True,
        )
    common: dict[str, Any] = {"facts": facts, "hints": hints, "outputs": outputs}
    if is_v5 and hints.head in (None, "yolov5"):
        reason = f"yolov5: {words} has 3 anchors for each of {'its' if rows is None else rows // 3} cells"
        spec = spec_for(
            head="yolov5", num_classes=_classes(columns, 5 + num_masks), reason=reason, **_ULTRALYTICS, **common
        )
        yield Claim(spec, partial(_objection_to_number, cells=cells, num_a_cell=3))
    if (is_v8 or is_v8_turned) and hints.head in (None, "yolov8"):
        side, num = ("row", rows) if is_v8_turned else ("column", columns)
        reason = f"yolov8: {words} has a {side} for each of {'its' if num is None else num} cells and no objectness"
        num_classes = _classes(columns if is_v8_turned else rows, 4 + num_masks)
        spec = spec_for(head="yolov8", num_classes=num_classes, reason=reason, **_ULTRALYTICS, **common)
        objection = partial(_objection_to_classes, is_turned=is_v8_turned)
        certainty = Certainty.SETTLED
        if hints.head is None and _has_objectness(facts, hints, num_classes):
            certainty = Certainty.UNLIKELY
        if hints.boxes_are_normalised is not True:
            yield Claim(spec, objection, certainty)
        if hints.boxes_are_normalised is not False:
            yield Claim(_normalised(spec), objection, certainty)
    if may_be_turned:
        reason = (
            f"yolov8: {words} has a row for each of {rows} cells, and no objectness if it has {columns} - 4 classes"
        )
        spec = spec_for(
            head="yolov8", num_classes=_classes(columns, 4 + num_masks), reason=reason, **_ULTRALYTICS, **common
        )
        yield Claim(spec, _objection_to_turned)
    if is_one_a_cell and hints.head in (None, "yolox", "yolov5"):
        num_classes, reason = _classes(columns, 5 + num_masks), f"{words} has a row for each of {rows} cells"
        if hints.head != "yolov5" and cells.get(rows or 0, YOLOX_STRIDES) == YOLOX_STRIDES:
            spec = spec_for(head="yolox", num_classes=num_classes, reason=f"yolox: {reason}", **_YOLOX, **common)
            yield Claim(spec, partial(_objection_to_number, cells=cells, num_a_cell=1))
        if hints.head != "yolox":
            for recipe, name in ((_YOLOX, "YOLOX"), (_ULTRALYTICS, "YOLOv6")):
                words = f"yolov5: {reason}, decoded in the graph: {name}"
                spec = spec_for(head="yolov5", num_classes=num_classes, reason=words, **recipe, **common)
                yield Claim(spec, partial(_objection, cells=cells, is_v6=name == "YOLOv6"))


def _cells(facts: ModelFacts, hints: Hints) -> dict[int, tuple[int, ...]]:
    """The number of cells of each of the family's grids in the network's size → its strides."""
    width, height = network_wh(facts, hints)
    return {sum(width // s * (height // s) for s in strides): strides for strides in _STRIDES}


def _whole_output(facts: ModelFacts, hints: Hints) -> tuple[TensorFacts, int]:
    """The decoded output, and how many of its columns are for masks or keypoints.

    Others beside it are raw maps, or the prototypes [B, K, h, w] of masks, of which each box says how it mixes K.
    """
    if not facts.outputs or len(image_input(facts).layout) != 4 or len(facts.inputs) != 1:
        raise NotThisError("yolo: one input, a batch of images, and one output")
    found = [each for each in facts.outputs if len(each.shape) == 3]
    if len(found) > 1:
        cells = _cells(facts, hints)
        sides = {num * factor for num in cells for factor in (1, 3)}
        found = [each for each in found if sides.intersection(each.shape[1:]) and not _is_a_pair(each, facts)]
    if len(found) > 1:  # features beside it
        names = hints.class_names or facts.names_of_exporter() or COCO_80
        found = [each for each in found if {4 + len(names), 5 + len(names)}.intersection(each.shape[1:])]
    if len(found) != 1:
        raise NotThisError(
            "yolo: YOLOv5 and YOLOX have one output [1, boxes, 5 + classes], YOLOv8 and YOLO11 [1, 4 + classes, boxes]",
            is_near=len(facts.outputs) == 1,
        )
    width, height = network_wh(facts, hints)
    prototypes = [
        each for each in facts.outputs if len(each.shape) == 4 and each.shape[2:] == (height // 4, width // 4)
    ]
    if len(prototypes) == 1:
        return found[0], prototypes[0].shape[1] or 0
    keypoints = literal(facts.metadata.get("kpt_shape", ""))
    match keypoints:
        case [int(num), int(values)] if facts.metadata.get("task") == "pose":
            return found[0], num * values
    return found[0], 0


def _three_parts(facts: ModelFacts, hints: Hints) -> tuple[TensorFacts, TensorFacts, TensorFacts] | None:
    """Boxes [B, N, 4], objectness [B, N, 1] and classes [B, N, C] in an output each, of as many as a grid has cells."""
    if len(facts.outputs) != 3 or len(facts.inputs) != 1 or len({each.shape[:2] for each in facts.outputs}) != 1:
        return None
    if any(len(each.shape) != 3 or not each.element_type.startswith("float") for each in facts.outputs):
        return None
    sides = {each.shape[2]: each for each in facts.outputs}
    cells, num = _cells(facts, hints), facts.outputs[0].shape[1] or 0
    classes = [each for side, each in sides.items() if side not in (1, 4, None)]
    if len(classes) != 1 or not {1, 4} <= sides.keys() or not (num in cells or num / 3 in cells):
        return None
    return sides[4], sides[1], classes[0]


def _is_a_pair(tensor: TensorFacts, facts: ModelFacts) -> bool:
    """Whether its rows are the rows of another output as well, as boxes and class values in two outputs are."""
    return any(other is not tensor and other.shape[:2] == tensor.shape[:2] for other in facts.outputs)


def _queries(facts: ModelFacts, hints: Hints) -> Claim | None:
    """RT-DETR by Ultralytics: `[B, queries, 4 + C]`, boxes in 0..1; told by its few rows."""
    found = [each for each in facts.outputs if len(each.shape) == 3]
    if len(found) != 1 or len(facts.inputs) != 1 or hints.head not in (None, "yolov8"):
        return None
    _, rows, columns = found[0].shape
    names = facts.names_of_exporter() if hints.class_names is None else hints.class_names
    is_named = names is not None and columns == 4 + len(names)
    num_cells = {num * factor for num in _cells(facts, hints) for factor in (1, 3)}
    if rows is None or columns is None or not 100 <= rows <= 900 or num_cells.intersection((rows, columns)):
        return None
    if columns < 5 or (not is_named and not 8 <= columns < rows):
        return None
    spec = spec_for(
        facts,
        hints,
        head="yolov8",
        num_classes=columns - 4,
        reason=f"yolov8: {found[0]} has a row for each of {rows} queries, boxes in 0..1 and class scores: RT-DETR",
        outputs=(found[0].name,),
        recipe="RT-DETR's, RGB 0..1, stretched",
        resize="stretch",
        box_format="cxcywh",
        boxes_are_normalised=True,
        needs_nms=False,
    )
    return Claim(spec, _objection_to_queries)


def _objection_to_queries(outputs: Outputs, spec: DetectorSpec) -> str | None:
    rows = output(outputs, spec)  # [B, Q, 4 + C]
    if rows[..., :4].min(initial=0) < -0.5 or rows[..., :4].max(initial=0) > 1.5:
        return f"its boxes reach {np.abs(rows[..., :4]).max():g}, which is not 0..1"
    if np.median(rows[..., 4:].max(axis=-1)) > 0.5:
        return "more than half of its rows are sure of a class, which queries are not"
    return None if rows[..., :4].any() else "its boxes are all 0, as padding is"


def _objection_to_classes(outputs: Outputs, spec: DetectorSpec, *, is_turned: bool) -> str | None:
    """What speaks for keypoints or an angle in the columns that would be scores of classes."""
    values = output(outputs, spec)
    columns = np.moveaxis(values, 1, -1) if not is_turned else values  # [B, N, 4 + C]
    scores = columns[..., 4 : 4 + len(spec.class_names)].reshape(-1, len(spec.class_names))  # [B × N, C]
    if not len(scores) or spec.class_names == ():
        return None
    beyond = (scores.max(axis=0) > 1.001) | (scores.min(axis=0) < -0.001)  # [C]
    last = scores[:, -1]
    if beyond[-1] and not beyond[:-1].any() and len(beyond) > 1 and np.abs(last).max() <= np.pi + 0.01:
        return f"{_ORIENTED}: its last column reaches from {last.min():.2g} to {last.max():.2g}, as angles do"
    if len(beyond) > 1 and not beyond.any() and np.median(np.abs(last)) > 0.1 > np.median(scores[:, :-1].max(axis=1)):
        return f"{_ORIENTED}: its last column is high where no class is, as an angle may be"
    if len(beyond) >= 3 and beyond[1:].any() and not beyond[0] and np.abs(scores).max() > 2:
        return (
            f"{_POSE}: its columns from the {int(np.argmax(beyond)) + 5}th on reach {scores.max():.3g}, as keypoints do"
        )
    return None


def _classes(side: int | None, num_others: int) -> int:
    if side is None or side <= num_others:
        raise NotThisError(f"yolo: a box has {num_others} values before its classes, got {side} in all", is_near=True)
    return side - num_others


def _normalised(spec: DetectorSpec) -> DetectorSpec:
    reasons = (f"{spec.provenance[0]}, boxes in 0..1", *spec.provenance[1:])
    return dataclasses.replace(spec, boxes_are_normalised=True, provenance=reasons)


def _objection_to_number(
    outputs: Outputs, spec: DetectorSpec, *, cells: Collection[int], num_a_cell: Literal[1, 3]
) -> str | None:
    """A graph that leaves the number of boxes open shows it when it is run."""
    num, other = _rows(outputs, spec).shape[1], 4 - num_a_cell
    if num % other == 0 and num // other in cells and (num % num_a_cell or num // num_a_cell not in cells):
        return f"it has {num} boxes, {other} for each cell"
    return None


def _objection(outputs: Outputs, spec: DetectorSpec, *, cells: Collection[int], is_v6: bool) -> str | None:
    """What speaks against boxes that are decoded in the graph, with YOLOX's objectness or YOLOv6's."""
    number = _objection_to_number(outputs, spec, cells=cells, num_a_cell=1)
    if number is not None:
        return number
    rows = _rows(outputs, spec)  # [B, N, 5 + C]
    if rows[..., 2:4].min(initial=0) < 0 or np.ptp(rows[..., 0]) < spec.network_wh[0] / 2:
        return "its boxes are offsets from their cells"
    are_corners = np.mean((rows[..., 2:4] >= rows[..., :2]).all(axis=-1)) > 0.95
    if are_corners and spec.box_format not in ("xyxy", "yxyx"):
        return "its boxes are corners; see --box-format"
    if np.all(rows[..., 4] == 1) != is_v6:
        return f"its objectness is {'not ' if is_v6 else ''}1 throughout, as YOLOv6 has it"
    return None


def _objection_to_turned(outputs: Outputs, spec: DetectorSpec) -> str | None:
    rows = output(outputs, spec)  # [B, N, 4 + C]
    if rows[..., 2:4].min(initial=0) < 0 or np.ptp(rows[..., 0]) < spec.network_wh[0] / 2:
        return "its boxes are offsets from their cells"
    return "its first class would be sure of every box" if np.all(rows[..., 4] == 1) else None


def _best_class(boxes: FloatArray, class_scores: FloatArray, spec: DetectorSpec, score_threshold: float) -> Candidates:
    """Candidates of boxes [few, 4] and scores [few, C]; each box keeps its best class only."""
    class_ids = class_scores.argmax(axis=1)  # [few]
    scores = np.take_along_axis(class_scores, class_ids[:, None], axis=1)[:, 0]  # [few]
    enough = scores >= np.float32(score_threshold)  # [few]
    return Candidates(boxes_to_network(boxes[enough], spec), scores[enough], class_ids[enough].astype(np.int64))
