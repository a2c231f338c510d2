"""Colours: class names and track ids → colours of their own, and text that reads on them."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence
from functools import lru_cache

from pipeline.picture.canvas import Colour
from pipeline.picture.coco import COCO_80

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
READABLE = 4.5
"""The least contrast of text of the usual size, https://www.w3.org/TR/WCAG21/#contrast-minimum."""

_GOLDEN = 0.618034  # multiples of the golden ratio, modulo 1, keep off each other


@lru_cache(maxsize=4096)
def class_colour(name: str, palette: Sequence[Colour] = ()) -> Colour:
    """The colour of a class name, whatever model or run it comes from: of a palette, or a strong one of its own."""
    # COCO's names follow each other, so that no two of them look alike; others go by a checksum.
    number = COCO_80.index(name) if name in COCO_80 else zlib.crc32(name.encode(errors="replace"))
    return palette[number % len(palette)] if palette else _strong(number, number * _GOLDEN + 0.95)


@lru_cache(maxsize=4096)
def track_colour(track_id: int, palette: Sequence[Colour] = ()) -> Colour:
    """The colour of a track id; those of tracks that follow each other differ most."""
    return palette[track_id % len(palette)] if palette else _strong(track_id, track_id * _GOLDEN)


def _strong(number: int, hue: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, (0.45, 0.55, 0.65)[number % 3], 0.85)
    return round(255 * blue), round(255 * green), round(255 * red)


def contrast(a: Colour, b: Colour) -> float:
    """Contrast of two colours, 1 to 21, as https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio has it."""
    darker, lighter = sorted((_luminance(a), _luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


def text_colour(ground: Colour) -> Colour:
    """Black or white, whichever reads better on a ground; the contrast is at least 4.58."""
    return max((BLACK, WHITE), key=lambda ink: contrast(ink, ground))


@lru_cache(maxsize=4096)
def readable(colour: Colour, ground: Colour, *, least: float = READABLE) -> Colour:
    """A colour, as much lighter or darker as it must be for a contrast with a ground; black or white if none will."""
    towards = text_colour(ground)
    mixtures = (
        (
            round(colour[0] + (towards[0] - colour[0]) * share / 16),
            round(colour[1] + (towards[1] - colour[1]) * share / 16),
            round(colour[2] + (towards[2] - colour[2]) * share / 16),
        )
        for share in range(17)
    )
    return next((mixture for mixture in mixtures if contrast(mixture, ground) >= least), towards)


def _luminance(colour: Colour) -> float:
    """Relative luminance in 0..1, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    blue, green, red = (_linear(channel / 255) for channel in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
