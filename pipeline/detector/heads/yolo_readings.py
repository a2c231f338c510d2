"""YOLO's readings: the outputs that a file declares → claims of YOLOv5 to YOLO12, YOLOX and Ultralytics' RT-DETR."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from pipeline.detector.facts import ModelFacts, TensorFacts, image_input
from pipeline.detector.heads.claims import Certainty, Claim, NotThisError
from pipeline.detector.heads.extra_values import (
    NO_EXTRA,
    ExtraValues,
    extra_values,
    task_of,
    with_extra_values,
)
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.outputs import Outputs
from pipeline.detector.heads.recipes import YOLOX, Recipe
from pipeline.detector.heads.specs import network_wh, spec_for
from pipeline.detector.heads.yolo import YOLOX_STRIDES
from pipeline.detector.heads.yolo_objections import (
    angles_objection,
    classes_objection,
    decoding_objection,
    first_class_objection,
    number_objection,
    queries_objection,
)
from pipeline.picture.coco import COCO_80
from pipeline.picture.detector_spec import DetectorSpec

# The grids of the family: as usual, with a coarser one (P6), with a finer one (P2).
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
_ULTRALYTICS = Recipe("RGB 0..1, letterbox centred, pad 114")


@dataclass(frozen=True, slots=True)
class _Table:
    """A decoded output by its two sides, or several as if they were one; a dynamic side is None."""

    facts: ModelFacts
    hints: Hints
    rows: int | None
    columns: int | None
    extra: ExtraValues  # of a box, for its mask or keypoints
    in_words: str  # as it lies in the file
    outputs: tuple[str, ...]

    @property
    def num_extra(self) -> int:
        """How many values of a box are for its mask or keypoints."""
        return self.extra.num

    @property
    def cells(self) -> dict[int, tuple[int, ...]]:
        """The numbers of cells that the family's grids have, with their strides."""
        return _cells(self.facts, self.hints)

    @property
    def is_dynamic(self) -> bool:
        return self.rows is None or self.columns is None

    @property
    def is_named(self) -> bool:
        """Whether the user names the head, whose strides may be others."""
        return self.hints.head is not None

    @property
    def num_names(self) -> int:
        return _num_names(self.facts, self.hints)

    @property
    def has_columns_of_v8(self) -> bool:
        """Whether there is a column for each value of a box without objectness."""
        return self.columns == 4 + self.num_names + self.num_extra

    def has_rows(self, num_a_cell: int) -> bool:
        """Whether a row can be a box of YOLOv5 or YOLOX, with that many boxes a cell."""
        if self.is_named or self.is_dynamic:
            return self.columns is not None
        if num_a_cell == 1 and self.has_columns_of_v8:
            return False
        return _are_cells(self.rows, num_a_cell, self.cells)

    @property
    def is_v8(self) -> bool:
        """Whether a column can be a box of YOLOv8."""
        if self.is_named or self.is_dynamic:
            return self.rows is not None and not self.has_columns_of_v8
        return self.columns in self.cells

    @property
    def is_transposed_v8(self) -> bool:
        """Whether a row can be a box of YOLOv8, by its number of columns."""
        return self.has_columns_of_v8 and (self.is_named or self.rows in self.cells)

    def spec(self, head: str, num_classes: int, reason: str, recipe: Recipe) -> DetectorSpec:
        """The spec of a reading, for a reason that goes on after the head's name."""
        return spec_for(
            self.facts,
            self.hints,
            head=head,
            num_classes=num_classes,
            reason=f"{head}: {self.in_words} {reason} {self.extra.in_words}".rstrip(),
            usual_names=("person",) if self.extra.keypoint_names else None,
            outputs=(*self.outputs, *self.extra.outputs),
            keypoint_names=self.extra.keypoint_names,
            has_angles=self.extra.has_angles,
            box_format="cxcywh",
            recipe=recipe,
        )


def claims(facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
    """An output of three sides; its number of boxes is what the strides of its family give in that size."""
    queries = _queries(facts, hints)
    if queries is not None:
        yield queries
        return
    joined = _three_parts(facts, hints)
    if joined is not None:
        yield from _claims_of(joined, _WITH_OBJECTNESS)
        return
    tensor = _decoded_output(facts, hints)
    for extra in extra_values(facts, tensor, network_wh(facts, hints), num_others=(5, 6)):
        yield from _claims_of_output(facts, hints, tensor, extra)


def _claims_of_output(facts: ModelFacts, hints: Hints, tensor: TensorFacts, extra: ExtraValues) -> Iterator[Claim]:
    _, rows, columns = tensor.shape
    table = _Table(facts, hints, rows, columns, extra, str(tensor), (tensor.name,))
    if extra.has_angles:
        yield from _claims_of(table, (_yolov8_oriented,))
        return
    may_be_turned = _may_be_turned(table)
    if hints.head != "yolov8" and may_be_turned:
        turned = dataclasses.replace(table, rows=columns, columns=rows, in_words=f"{tensor}, turned,")
        yield from _claims_of(turned, _READINGS)
    if hints.head in (None, "yolov8") or not may_be_turned:
        yield from _claims_of(table, _READINGS)


def _may_be_turned(table: _Table) -> bool:
    """Whether a column can be a box of YOLOv5 or YOLOX: by their number, or by the number of values of each."""
    if table.rows is None or table.columns is None:
        return False
    has_objectness = _has_objectness(table, table.rows - 4 - table.num_extra)
    return _are_cells(table.columns, 3, table.cells) or (table.columns in table.cells and has_objectness)


def _are_cells(num: int | None, num_a_cell: int, cells: Iterable[int]) -> bool:
    return num is not None and num % num_a_cell == 0 and num // num_a_cell in cells


def _has_objectness(table: _Table, num_classes: int) -> bool:
    """Whether 85 channels are 80 classes and an objectness, as they are more often than 81 classes."""
    usual = {len(COCO_80), len(table.facts.names_of_exporter() or COCO_80)}
    return num_classes not in usual and (num_classes - 1 in usual or table.hints.head in ("yolov5", "yolox"))


_Reading = Callable[[_Table], Claim | None]


def _claims_of(table: _Table, readings: Iterable[_Reading]) -> Iterator[Claim]:
    """The claims of the readings that fit a table. Raises NotThisError where none can."""
    if table.is_dynamic and not table.is_named and "stride" not in table.facts.metadata:
        # Only Ultralytics writes `stride`; the channels side tells its two families.
        raise NotThisError(
            "the number of boxes is dynamic, so its family is open; name it with --head, or export it with "
            "a fixed size",
            is_near=True,
        )
    fits = table.is_v8 or table.is_transposed_v8 or table.has_rows(3) or table.has_rows(1)
    if not (fits or table.is_named or table.is_dynamic):
        (width, height), num = network_wh(table.facts, table.hints), min(table.cells)
        raise NotThisError(
            f"yolo: at {width} x {height} YOLOv5 has 3 x {num} boxes, YOLOX, YOLOv8 and YOLO11 have "
            f"{num}, not {table.rows} or {table.columns}",
            is_near=True,
        )
    for reading in readings:
        claim = reading(table)
        if claim is not None:
            yield dataclasses.replace(claim, objection=with_extra_values(claim.objection, table.extra))


def _yolov5(table: _Table) -> Claim | None:
    if not table.has_rows(3) or table.hints.head not in (None, "yolov5"):
        return None
    num_classes = _num_classes(table.columns, 5 + table.num_extra)
    reason = f"has 3 anchors for each of {'its' if table.rows is None else table.rows // 3} cells"
    spec = table.spec("yolov5", num_classes, reason, _ULTRALYTICS)
    return Claim(spec, partial(number_objection, cells=table.cells, num_a_cell=3))


def _yolov8(table: _Table) -> Claim | None:
    return None if table.hints.boxes_are_normalised is True else _without_objectness(table)


def _yolov8_normalised(table: _Table) -> Claim | None:
    claim = None if table.hints.boxes_are_normalised is False else _without_objectness(table)
    if claim is None:
        return None
    reason, *others = claim.spec.provenance
    provenance = (f"{reason}, boxes in 0..1", *others)
    spec = dataclasses.replace(claim.spec, boxes_are_normalised=True, provenance=provenance)
    return dataclasses.replace(claim, spec=spec)


def _yolov8_oriented(table: _Table) -> Claim | None:
    """YOLOv8-obb and its successors, in pixels. Without metadata only the values tell the angle from a class."""
    if table.hints.boxes_are_normalised is True:
        return None
    if task_of(table.facts) == "obb":
        return _without_objectness(table)
    values, names = table.columns if table.is_transposed_v8 else table.rows, table.hints.class_names
    if values is not None and (values < 6 or (names is not None and values != 5 + len(names))):
        return None
    claim = _without_objectness(table)
    if claim is None:
        return None
    objections = (claim.objection, partial(angles_objection, is_turned=table.is_transposed_v8))

    def objection(outputs: Outputs, spec: DetectorSpec) -> str | None:
        return next((reason for reason in (raised(outputs, spec) for raised in objections) if reason), None)

    return dataclasses.replace(claim, objection=objection)


def _without_objectness(table: _Table) -> Claim | None:
    is_transposed = table.is_transposed_v8
    if not (table.is_v8 or is_transposed) or table.hints.head not in (None, "yolov8"):
        return None
    side, num = ("row", table.rows) if is_transposed else ("column", table.columns)
    reason = f"has a {side} for each of {'its' if num is None else num} cells and no objectness"
    num_classes = _num_classes(table.columns if is_transposed else table.rows, 4 + table.num_extra)
    spec = table.spec("yolov8", num_classes, reason, _ULTRALYTICS)
    is_unlikely = not table.is_named and _has_objectness(table, num_classes)
    certainty = Certainty.UNLIKELY if is_unlikely else Certainty.SETTLED
    return Claim(spec, partial(classes_objection, is_turned=is_transposed), certainty)


def _yolov8_transposed(table: _Table) -> Claim | None:
    """Rows of YOLOv8 with an unusual number of columns: only the names tell 4 + 3 columns from 5 + 2."""
    if table.is_named or table.is_dynamic or not table.has_rows(1) or table.columns in (4, 5, 5 + table.num_names):
        return None
    num_classes = _num_classes(table.columns, 4 + table.num_extra)
    reason = f"has a row for each of {table.rows} cells, and no objectness if it has {table.columns} - 4 classes"
    return Claim(table.spec("yolov8", num_classes, reason, _ULTRALYTICS), first_class_objection)


def _yolox(table: _Table) -> Claim | None:
    if not table.has_rows(1) or table.hints.head not in (None, "yolox", "yolov5"):
        return None
    num_classes = _num_classes(table.columns, 5 + table.num_extra)
    if table.hints.head == "yolov5" or table.cells.get(table.rows or 0, YOLOX_STRIDES) != YOLOX_STRIDES:
        return None
    spec = table.spec("yolox", num_classes, f"has a row for each of {table.rows} cells", YOLOX)
    return Claim(spec, partial(number_objection, cells=table.cells, num_a_cell=1))


def _yolox_decoded(table: _Table) -> Claim | None:
    return _decoded(table, "YOLOX", YOLOX)


def _yolov6(table: _Table) -> Claim | None:
    return _decoded(table, "YOLOv6", _ULTRALYTICS)


def _decoded(table: _Table, name: str, recipe: Recipe) -> Claim | None:
    """One box a cell, decoded in the graph."""
    if not table.has_rows(1) or table.hints.head not in (None, "yolov5"):
        return None
    num_classes = _num_classes(table.columns, 5 + table.num_extra)
    reason = f"has a row for each of {table.rows} cells, decoded in the graph: {name}"
    spec = table.spec("yolov5", num_classes, reason, recipe)
    return Claim(spec, partial(decoding_objection, cells=table.cells, is_v6=name == "YOLOv6"))


_READINGS = (_yolov5, _yolov8, _yolov8_normalised, _yolov8_transposed, _yolox, _yolox_decoded, _yolov6)
_WITH_OBJECTNESS = (_yolov5, _yolox, _yolox_decoded, _yolov6)


def _num_classes(num_values: int | None, num_others: int) -> int:
    if num_values is None or num_values <= num_others:
        raise NotThisError(
            f"yolo: a box has {num_others} values before its classes, got {num_values} in all", is_near=True
        )
    return num_values - num_others


def _num_names(facts: ModelFacts, hints: Hints) -> int:
    return len(hints.class_names or facts.names_of_exporter() or COCO_80)


def _cells(facts: ModelFacts, hints: Hints) -> dict[int, tuple[int, ...]]:
    """The number of cells of each of the family's grids in the network's size → its strides."""
    width, height = network_wh(facts, hints)
    return {sum(width // s * (height // s) for s in strides): strides for strides in _STRIDES}


def _decoded_output(facts: ModelFacts, hints: Hints) -> TensorFacts:
    """The decoded output. Others beside it are raw maps, or the prototypes of masks."""
    if not facts.outputs or len(image_input(facts).layout) != 4 or len(facts.inputs) != 1:
        raise NotThisError("yolo: one input, a batch of images, and one output")
    tensors = [tensor for tensor in facts.outputs if len(tensor.shape) == 3]
    if len(tensors) > 1:
        sides = {num * factor for num in _cells(facts, hints) for factor in (1, 3)}
        tensors = [
            tensor for tensor in tensors if sides.intersection(tensor.shape[1:]) and not _is_a_pair(tensor, facts)
        ]
    if len(tensors) > 1:  # features beside it
        num_names = _num_names(facts, hints)
        tensors = [tensor for tensor in tensors if {4 + num_names, 5 + num_names}.intersection(tensor.shape[1:])]
    if len(tensors) != 1:
        raise NotThisError(
            "yolo: YOLOv5 and YOLOX have one output [1, boxes, 5 + classes], YOLOv8 and YOLO11 [1, 4 + classes, boxes]",
            is_near=len(facts.outputs) == 1,
        )
    return tensors[0]


def _three_parts(facts: ModelFacts, hints: Hints) -> _Table | None:
    """Boxes [B, N, 4], objectness [B, N, 1] and classes [B, N, C] in an output each, as many as a grid has cells."""
    if len(facts.outputs) != 3 or len(facts.inputs) != 1 or len({tensor.shape[:2] for tensor in facts.outputs}) != 1:
        return None
    if any(len(tensor.shape) != 3 or not tensor.element_type.startswith("float") for tensor in facts.outputs):
        return None
    by_side = {tensor.shape[2]: tensor for tensor in facts.outputs}
    cells, num = _cells(facts, hints), facts.outputs[0].shape[1]
    class_sides = [side for side in by_side if side not in (1, 4, None)]
    if len(class_sides) != 1 or not {1, 4} <= by_side.keys() or not (num in cells or _are_cells(num, 3, cells)):
        return None
    boxes, objectness, classes = parts = (by_side[4], by_side[1], by_side[class_sides[0]])
    names = tuple(tensor.name for tensor in parts)
    num_columns = 5 + (classes.shape[2] or 0)
    return _Table(facts, hints, boxes.shape[1], num_columns, NO_EXTRA, f"{boxes}, {objectness} and {classes}", names)


def _is_a_pair(tensor: TensorFacts, facts: ModelFacts) -> bool:
    """Whether its rows are the rows of another output as well, as boxes and class values in two outputs are."""
    return any(other is not tensor and other.shape[:2] == tensor.shape[:2] for other in facts.outputs)


def _queries(facts: ModelFacts, hints: Hints) -> Claim | None:
    """RT-DETR by Ultralytics: `[B, queries, 4 + C]`, boxes in 0..1, by its few rows."""
    tensors = [tensor for tensor in facts.outputs if len(tensor.shape) == 3]
    if len(tensors) != 1 or len(facts.inputs) != 1 or hints.head not in (None, "yolov8") or task_of(facts) == "obb":
        return None
    (tensor,) = tensors
    _, rows, columns = tensor.shape
    if rows is None or columns is None or not _may_be_queries(rows, columns, facts, hints):
        return None
    spec = spec_for(
        facts,
        hints,
        head="yolov8",
        num_classes=columns - 4,
        reason=f"yolov8: {tensor} has a row for each of {rows} queries, boxes in 0..1 and class scores: RT-DETR",
        outputs=(tensor.name,),
        recipe=Recipe("RT-DETR's, RGB 0..1, stretched", resize="stretch"),
        box_format="cxcywh",
        boxes_are_normalised=True,
        needs_nms=False,
    )
    return Claim(spec, queries_objection)


def _may_be_queries(rows: int, columns: int, facts: ModelFacts, hints: Hints) -> bool:
    names = facts.names_of_exporter() if hints.class_names is None else hints.class_names
    cells = _cells(facts, hints)
    if not 100 <= rows <= 900 or any(_are_cells(side, num, cells) for side in (rows, columns) for num in (1, 3)):
        return False
    return columns >= 5 and ((names is not None and columns == 4 + len(names)) or 8 <= columns < rows)
