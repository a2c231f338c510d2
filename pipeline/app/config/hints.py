"""Hints on a foreign model file: head, size, colours, labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pipeline.app.config.values import Section, as_width_and_height
from pipeline.app.options import Flag, comma_separated, triple


class HintsConfig(Section):
    """Hints on a foreign model file; what is left out is recognised."""

    head: Annotated[str | None, Flag("How the outputs of a foreign model are read: yolox, detr, lists …")] = None
    size: Annotated[
        Annotated[str, BeforeValidator(as_width_and_height, json_schema_input_type=str | int)] | None,
        Flag(
            "The network's input size, for a model that leaves it open: 640x384, or 640 for both.",
            ("--size", "--imgsz"),
            metavar="WxH",
        ),
    ] = None
    resize: Annotated[
        Literal["letterbox-center", "letterbox-topleft", "stretch", "in-graph"] | None,
        Flag("How frames are resized for a foreign model."),
    ] = None
    colour: Annotated[Literal["rgb", "bgr"] | None, Flag("The channel order that a foreign model expects.")] = None
    mean: Annotated[
        tuple[float, float, float] | None,
        Flag(
            "Per-channel mean, in 0..255 and in the model's channel order, subtracted from the pixels.",
            metavar="R,G,B",
            parse=triple,
        ),
    ] = None
    std: Annotated[
        tuple[float, float, float] | None,
        Flag("Per-channel standard deviation, by which the pixels are divided.", metavar="R,G,B", parse=triple),
    ] = None
    pad_value: Annotated[
        Annotated[int, Field(ge=0, le=255)] | None, Flag("The grey of a foreign model's letterbox padding, 0..255.")
    ] = None
    box_format: Annotated[
        Literal["xyxy", "yxyx", "cxcywh", "cycxhw", "xywh"] | None, Flag("The box format of a foreign model.")
    ] = None
    normalised_boxes: Annotated[
        bool | None,
        Flag("Whether a foreign model's boxes are in 0..1 or in pixels.", ("--normalised-boxes/--pixel-boxes",)),
    ] = None
    scores: Annotated[
        Literal["none", "sigmoid", "softmax"] | None, Flag("The activation that a foreign model's scores still need.")
    ] = None
    first_class_id: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Flag("The id of a foreign model's first class; smaller ids are background."),
    ] = None
    columns: Annotated[
        tuple[str, ...] | None,
        Flag(
            "The columns of a foreign model's table: x1,y1,x2,y2,score,class …",
            metavar="NAME,NAME…",
            parse=comma_separated,
        ),
    ] = None
    anchors: Annotated[str | None, Flag("The anchors of a raw SSD.", metavar="FILE.npy")] = None
    class_names: Annotated[str | None, Flag("A file of class names, one per line.", metavar="FILE")] = None
