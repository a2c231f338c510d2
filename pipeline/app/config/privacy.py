"""What is made unrecognisable: classes, margin, how long."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, Field

from pipeline.app.config.values import Section, Share, as_class_words
from pipeline.app.options import Flag, comma_separated
from pipeline.meaning import Meaning


def _private_classes(manner: str) -> Flag:
    return Flag(
        f"{manner} these classes beyond recognition, before anything is shown, written or sent: person,0.",
        metavar="NAME,NAME…",
        parse=comma_separated,
    )


class PrivacyConfig(Section):
    """What is made unrecognisable in every picture that leaves the run."""

    blur: Annotated[
        tuple[str, ...],
        BeforeValidator(partial(as_class_words, key="privacy.blur"), json_schema_input_type=list[str | int] | str),
        _private_classes("Blur"),
    ] = ()
    pixelate: Annotated[
        tuple[str, ...],
        BeforeValidator(partial(as_class_words, key="privacy.pixelate"), json_schema_input_type=list[str | int] | str),
        _private_classes("Pixelate"),
    ] = ()
    margin: Annotated[
        Annotated[float, Field(ge=0, le=2)],
        Meaning("The share of a box's width and height by which the concealed area is larger on every side."),
    ] = 0.1
    hold_s: Annotated[
        Annotated[float, Field(ge=0)],
        Meaning("Seconds of media time for which the last area of an object stays concealed that is not detected."),
    ] = 0.5
    min_score: Annotated[
        Share, Meaning("Private classes are concealed from this score on, or from the run's own where that is lower.")
    ] = 0.1

    @property
    def is_requested(self) -> bool:
        """Whether anything is private."""
        return bool(self.blur or self.pixelate)
