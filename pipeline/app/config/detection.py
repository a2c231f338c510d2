"""Which detections are kept: thresholds, classes, NMS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator

from pipeline.app.config.values import Count, Section, Share, as_class_words, names_as_text
from pipeline.app.options import Flag, comma_separated
from pipeline.meaning import Meaning


class DetectionConfig(Section):
    """Which detections are kept; what is left out is the model's own."""

    score_threshold: Annotated[
        Share | None,
        Flag(
            "Keep detections with at least this score; the model's own threshold if left out.",
            ("--score-threshold", "--conf"),
        ),
    ] = None
    iou_threshold: Annotated[
        Share | None,
        Flag(
            "NMS: of two boxes that overlap by more than this IoU, keep the better; the model's own if left out.",
            ("--iou-threshold", "--iou"),
        ),
    ] = None
    suppression: Annotated[
        Literal["class-aware", "class-agnostic", "soft-linear", "soft-gaussian"],
        Meaning("How overlapping boxes are thinned out: within a class or among all, or by lowering their scores."),
    ] = "class-aware"
    max_detections: Annotated[
        Count | None, Meaning("The most detections that are kept in a frame; the model's own limit if left out.")
    ] = None
    classes: Annotated[
        tuple[str, ...],
        BeforeValidator(as_class_words, json_schema_input_type=list[str | int] | str),
        Flag(
            "Keep only these classes, by name or id: person,traffic light or 0,9.",
            metavar="NAME,NAME…",
            parse=comma_separated,
        ),
    ] = ()  # empty: all
    class_score_thresholds: Annotated[
        Mapping[str, Share],
        BeforeValidator(names_as_text, json_schema_input_type=dict[str, Share]),
        Meaning("Score thresholds of single classes, by name or id: {person: 0.5}; the others have score_threshold."),
    ] = {}
