"""Pixel aspect: the width of a picture's pixels over their height, as they are to be shown.

DVDs, DV and anamorphic cameras keep fewer columns than they show. Boxes are in pixels as they are stored; only whoever
shows or records a picture needs this.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol, runtime_checkable

from pipeline.picture.frame import Picture

SQUARE = Fraction(1)


@runtime_checkable
class HasPixelAspect(Protocol):
    """A picture that may have pixels that are not square."""

    @property
    def pixel_aspect(self) -> Fraction:
        """Width over height, of the upright picture."""


def pixel_aspect_of(picture: Picture) -> Fraction:
    """Width over height of a picture's pixels; square where it does not tell."""
    return picture.pixel_aspect if isinstance(picture, HasPixelAspect) else SQUARE
