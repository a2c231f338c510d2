"""What is drawn: labels, scores, colours, trails."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.app.config.values import Section
from pipeline.app.options import Flag
from pipeline.meaning import Meaning
from pipeline.picture.choices import ColourBy


class RenderConfig(Section):
    """What is drawn."""

    labels: Annotated[bool, Meaning("Write the class above each box.")] = True
    scores: Annotated[bool, Meaning("Write the score behind the class.")] = True
    colour_by: Annotated[ColourBy, Meaning("What has a colour of its own: a class, or an object that is followed.")] = (
        "class"
    )
    trail_s: Annotated[
        Annotated[float, Field(ge=0, le=60)], Meaning("Seconds of the way behind an object that is followed; 0: none.")
    ] = 1.5
    predicted: Annotated[
        bool, Meaning("Draw dashed where an object that is followed is supposed to be while it is not seen.")
    ] = True
    overlay: Annotated[
        bool | None,
        Flag(
            "Write FPS and latency over the picture; by default in the window, and in recordings of live sources.",
            ("--overlay/--no-overlay",),
        ),
    ] = None
