"""Colours: text reads on every ground that a theme has, and colours of a palette keep apart for every eye."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.picture.canvas import Colour
from pipeline.picture.coco import COCO_80
from pipeline.picture.colours import contrast, readable, text_colour
from pipeline.picture.look import THEMES, Look

colours = st.tuples(*[st.integers(0, 255)] * 3)

# Viénot, Brettel and Mollon 1999: what is left of linear RGB without the long, or the middle, cones.
PROTANOPIA = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
DEUTERANOPIA = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])


def linear(colour: Colour) -> np.ndarray:
    """Linear RGB [3] of BGR, as IEC 61966-2-1 has it."""
    share = np.array(colour[::-1]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def wcag_contrast(a: Colour, b: Colour) -> float:
    darker, lighter = sorted(float(linear(colour) @ (0.2126, 0.7152, 0.0722)) for colour in (a, b))
    return (lighter + 0.05) / (darker + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB [3] of linear RGB [3], white point D65."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(matrix) @ np.clip(rgb, 0, 1) / (0.9505, 1, 1.089)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@given(colours, colours)
def test_contrast_is_that_of_wcag_and_text_reads_on_any_ground(ground: Colour, colour: Colour) -> None:
    assert contrast(ground, colour) == pytest.approx(wcag_contrast(ground, colour), rel=1e-3)
    assert wcag_contrast(ground, text_colour(ground)) >= 4.5
    assert wcag_contrast(ground, readable(colour, ground)) >= 4.5
    if wcag_contrast(colour, ground) >= 4.6:
        assert readable(colour, ground) == colour


@pytest.mark.parametrize("theme", THEMES)
def test_a_label_of_every_class_and_track_reads_in_every_theme(theme: str) -> None:
    look, by_track = Look(theme=theme), Look(theme=theme, colour_by="track")  # type: ignore[arg-type]
    names = [*COCO_80, "forklift", "", "人"]
    for colour in (*look.colours(names, None), *by_track.colours(["x"] * 200, range(200))):
        ground, ink = look.label(colour)
        assert wcag_contrast(ground, ink) >= (7 if theme in ("high-contrast", "dark", "print") else 4.5)


@pytest.mark.parametrize("sight", [np.eye(3), PROTANOPIA, DEUTERANOPIA])
def test_the_colour_blind_palette_keeps_apart_without_one_kind_of_cones(sight: np.ndarray) -> None:
    seen = [lab(sight @ linear(colour)) for colour in THEMES["colour-blind"].palette]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 8


def test_lines_for_paper_read_on_white_and_lines_of_high_contrast_on_black() -> None:
    assert min(wcag_contrast(colour, (255, 255, 255)) for colour in THEMES["print"].palette) >= 4.5
    assert min(wcag_contrast(colour, (0, 0, 0)) for colour in THEMES["high-contrast"].palette) >= 7
