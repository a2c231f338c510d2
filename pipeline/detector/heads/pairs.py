"""Pairs: the outputs of a file → those that are class values and boxes of the same rows."""

from __future__ import annotations

from pipeline.detector.facts import ModelFacts, TensorFacts

_FLOATS = ("float", "float16")


def classes_then_boxes(facts: ModelFacts) -> list[tuple[TensorFacts, TensorFacts]]:
    """The pairs of outputs [B, N, C] and [B, N, 4] of a file, whatever else it returns.

    Names count only where shapes leave a choice: of four classes and boxes, of features and class values.
    """
    threes = [tensor for tensor in facts.outputs if len(tensor.shape) == 3 and tensor.element_type in _FLOATS]
    pairs = [
        (classes, boxes)
        for boxes in threes
        if boxes.shape[-1] == 4
        for classes in threes
        if classes is not boxes and _may_be_equal(classes.shape[1], boxes.shape[1])
    ]
    for index, words in ((1, ("box", "det")), (0, ("logit", "score", "class", "cls", "label", "conf", "prob"))):
        named = [pair for pair in pairs if any(word in pair[index].name.lower() for word in words)]
        if index == 0 and len({boxes.name for _, boxes in pairs}) > 1:
            continue
        pairs = named or pairs
    return pairs


def _may_be_equal(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other
