"""Other kinds: the facts of a file → what it holds if it is not a detector."""

from __future__ import annotations

from pipeline.detector.facts import ModelFacts, image_input
from pipeline.detector.heads.extra_values import task_of

_TASKS = {
    "classify": "a classifier",
    "semantic": "a segmentation model",
}
_READ = ("", "detect", "detection", "segment", "pose", "obb")
_NAME_A_DETECTOR = "name a detector, such as -m yolox-nano; `streamdet models` lists more"
_DETECTION_COLUMNS = (4, 5, 6, 7)
_LEAST_MAP = 8  # pixels of the picture for one of a map of pixels; a cell of a detector's grid stands for more


def kind_in_metadata(facts: ModelFacts) -> str | None:
    """The kind by its exporter's metadata; None for a detector."""
    task = task_of(facts)
    if task in _READ:
        return None
    kind = _TASKS.get(task, "not a detector")
    return f"it is {kind}: its metadata says task {task}, only detectors are read; {_NAME_A_DETECTOR}"


def kind_by_shape(facts: ModelFacts) -> str | None:
    """The kind by its outputs; None if they may be a detector's. Raises ModelError for a file without an image."""
    if len(facts.outputs) == 1 and _is_of_classes(facts):
        return (
            f"it looks like a classifier: {facts.outputs[0]} has one row of values for a picture, and no boxes; "
            f"{_NAME_A_DETECTOR}"
        )
    if len(facts.outputs) == 1 and _is_map(facts):
        return f"it looks like a segmentation model: {facts.outputs[0]} has values for each pixel, and no boxes"
    if _are_raw_maps(facts):
        return "it looks like a detector that leaves its maps undecoded: export it with the decoding in the graph"
    return None


def _is_of_classes(facts: ModelFacts) -> bool:
    shape, batch = facts.outputs[0].shape, image_input(facts).batch
    if len(shape) == 4:
        return shape[2:] == (1, 1)
    # [?, 6] may hold as many detections as there happen to be; [1, 6] is one row for the one picture.
    is_one_row = len(shape) == 2 and shape[0] in (batch, 1)
    return is_one_row and (shape[0] is not None or shape[1] not in (*_DETECTION_COLUMNS, None))


def _is_map(facts: ModelFacts) -> bool:
    width, height = image_input(facts).size_wh
    shape = facts.outputs[0].shape
    if width is None or height is None or len(shape) not in (3, 4):
        return False
    for rows, columns in (shape[-2:], shape[-3:-1]):  # channels first, or last
        if rows is None or columns is None or rows * width != columns * height:
            continue
        if rows <= height < rows * _LEAST_MAP:
            return True
    return False


def _are_raw_maps(facts: ModelFacts) -> bool:
    width, height = image_input(facts).size_wh
    shapes = [tensor.shape for tensor in facts.outputs]
    if width is None or height is None or any(len(shape) not in (4, 5) for shape in shapes):
        return False
    grids = {shape[2:4] for shape in shapes} | {shape[1:3] for shape in shapes}
    return all((height // stride, width // stride) in grids for stride in (8, 16, 32))
