"""Tiles of a frame: their grid, overlap, and the smallest object they are for."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pipeline.app.config.values import Positive, Section
from pipeline.app.options import Flag


def _grid(value: object) -> object:
    """ROWSxCOLUMNS, and auto, as text."""
    word = str(value).strip().lower()
    if word == "auto" or not isinstance(value, str) or re.fullmatch(r"[1-9]\d?x[1-9]\d?", word, re.ASCII):
        return word if isinstance(value, str) else value
    raise PydanticCustomError("grid", "must be ROWSxCOLUMNS, such as 2x3, or auto")


class TilesConfig(Section):
    """Tiles of a frame that the network looks at one by one, for objects that are small in the frame."""

    grid: Annotated[
        Annotated[str, BeforeValidator(_grid)] | None,
        Flag(
            "Look at overlapping tiles of each frame, for small objects: 2x3 is 2 rows of 3; auto: as many as "
            "--smallest-object needs.",
            ("--tiles",),
            metavar="ROWSxCOLUMNS|auto",
        ),
    ] = None
    overlap: Annotated[
        Annotated[float, Field(ge=0, le=0.9)],
        Flag("The share of a tile's side that its neighbour has too; at least as wide as the small objects are."),
    ] = 0.2
    whole_frame: Annotated[
        bool,
        Flag(
            "With --tiles, look at the whole frame as well, for objects larger than a tile.",
            ("--whole-frame/--no-whole-frame",),
            typed=bool,
        ),
    ] = True
    smallest_px: Annotated[
        Positive | None,
        Flag(
            "For --tiles auto: the shorter side, in pixels of the frame, of the smallest object to detect.",
            ("--smallest-object",),
            metavar="PIXELS",
        ),
    ] = None
