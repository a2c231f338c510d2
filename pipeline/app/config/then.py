"""A second model on the objects of the first: its file, and how it is read."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from pipeline.app.config.values import Count, Section, Share, as_class_words, as_width_and_height
from pipeline.app.options import Flag, comma_separated
from pipeline.meaning import Meaning


def _of_255(values: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    """A standard deviation of pixels in 0..255; the ones that people know by heart are of pixels in 0..1."""
    if values is not None and not min(values) > 0:
        raise PydanticCustomError("std", "must be above 0")
    if values is not None and max(values) < 1:
        raise PydanticCustomError("std", "must be of pixels in 0..255, as then.mean; multiply both by 255")
    return values


class ThenConfig(Section):
    """A second model, a classifier, that looks at the objects of the first; what is left out is as its file says."""

    model: Annotated[
        str | None,
        Flag(
            "Let a second model, a classifier, name what the objects are beside their class.",
            ("--then",),
            metavar="CLASSIFIER.onnx",
        ),
    ] = None
    classes: Annotated[
        tuple[str, ...],
        BeforeValidator(partial(as_class_words, key="then.classes"), json_schema_input_type=list[str | int] | str),
        Flag(
            "With --then, only objects of these classes: person,0; all if left out.",
            ("--then-on",),
            metavar="NAME,NAME…",
            parse=comma_separated,
        ),
    ] = ()
    top: Annotated[Count, Meaning("The most labels of the second model that an object has, the best first.")] = 1
    min_score: Annotated[Share, Meaning("A label of the second model has at least this score.")] = 0.25
    every: Annotated[
        Count,
        Meaning("An object that is followed keeps its labels for so long, in frames, until it is looked at again."),
    ] = 10
    class_names: Annotated[str | None, Meaning("A file of the second model's class names, one per line.")] = None
    size: Annotated[
        Annotated[str, BeforeValidator(as_width_and_height, json_schema_input_type=str | int)] | None,
        Meaning("The second model's input size, where its file leaves it open; 224x224 if nothing says another."),
    ] = None
    resize: Annotated[
        Literal["stretch", "letterbox-center"],
        Meaning("How an object is brought to that size: stretched, or with its proportions between grey margins."),
    ] = "stretch"
    colour: Annotated[Literal["rgb", "bgr"], Meaning("The channel order that the second model expects.")] = "rgb"
    mean: Annotated[
        tuple[float, float, float] | None,
        Meaning("Per-channel mean, in 0..255 and in that order; with then.std, else as the file says, or ImageNet's."),
    ] = None
    std: Annotated[
        tuple[float, float, float] | None,
        AfterValidator(_of_255),
        Meaning("Per-channel standard deviation, by which the pixels are divided; with then.mean."),
    ] = None
    scores: Annotated[
        Literal["none", "sigmoid", "softmax"] | None,
        Meaning("The activation that the second model's scores still need; by default as a trial run shows."),
    ] = None
