"""Look: a theme's name, sizes and a box style → how everything is drawn on a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import get_args

import numpy as np

from pipeline.picture.canvas import Colour
from pipeline.picture.choices import BoxStyle, ColourBy, ThemeName
from pipeline.picture.colours import BLACK, WHITE, class_colour, readable, text_colour, track_colour

_DARK: Colour = (40, 36, 32)
_LABEL_CONTRAST = 7.0  # enhanced, by WCAG, for coloured text


@dataclass(frozen=True, slots=True)
class Theme:
    """What a look has that nobody sets apart; sizes are shares of those of `plain`."""

    palette: tuple[Colour, ...] = ()  # empty: each class has a colour of its own
    line: float = 1.0
    text: float = 1.0
    box_style: BoxStyle = "box"
    edge: Colour | None = None  # on both sides of the line of a box
    fill: float = 0.0  # opacity of the colour inside of a box
    label_ground: Colour | None = None  # None: the colour of the object
    label_ink: Colour | None = None  # None: on that colour black or white, else the colour, made readable


def _bgr(rgb: str) -> tuple[Colour, ...]:
    """Colours of words such as `e69f00 56b4e9`, red first."""
    return tuple((int(word[4:], 16), int(word[2:4], 16), int(word[:2], 16)) for word in rgb.split())


THEMES: Mapping[ThemeName, Theme] = MappingProxyType(
    {
        "plain": Theme(),
        # Okabe and Ito 2008, https://jfly.uni-koeln.de/color/, without black.
        "colour-blind": Theme(palette=_bgr("e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7")),
        "soft": Theme(box_style="rounded", fill=0.2),
        "dark": Theme(box_style="corners", line=1.6, label_ground=(28, 22, 18)),
        "high-contrast": Theme(
            palette=_bgr("ffff00 00ffff ff80ff 80ff40 ffffff ffa040"),
            line=1.5,
            text=1.3,
            edge=BLACK,
            label_ground=BLACK,
            label_ink=WHITE,
        ),
        "print": Theme(
            palette=_bgr("b00020 0b3d91 1b5e20 6a1b9a 8a4b00 00565b 7a0045 37474f"),
            line=0.8,
            edge=WHITE,
            label_ground=WHITE,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Look:
    """How boxes, labels and trails are drawn; what is left out is as the theme has it, and grows with the picture.

    theme: plain, colour-blind, soft, dark, high-contrast or print. box_style: box, corners or rounded.
    line_width, text_size: in pixels. colour_by: class, or track, which objects without one take as class.
    Raises ValueError for a name that there is not, and a size below 1.
    """

    theme: ThemeName = "plain"
    box_style: BoxStyle | None = None
    line_width: int | None = None
    text_size: int | None = None
    colour_by: ColourBy = "class"

    def __post_init__(self) -> None:
        for name, choices in (("theme", ThemeName), ("box_style", BoxStyle), ("colour_by", ColourBy)):
            value = getattr(self, name)
            if value not in get_args(choices) and not (name == "box_style" and value is None):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")
        for name, size in (("line_width", self.line_width), ("text_size", self.text_size)):
            if size is not None and size < 1:
                raise ValueError(f"{name} must be at least 1 pixel, got {size}")

    @property
    def style(self) -> Theme:
        """The theme that its name means."""
        return THEMES[self.theme]

    @property
    def shape(self) -> BoxStyle:
        """The style of boxes, its own or that of its theme."""
        return self.box_style or self.style.box_style

    def thickness(self, size_wh: tuple[int, int]) -> int:
        """Pixels of a line on a picture; 3 on 1080p."""
        return self.line_width or max(1, round(max(2.0, sum(size_wh) * 0.001) * self.style.line))

    def text_px(self, size_wh: tuple[int, int]) -> int:
        """Pixels of text on a picture; 20 on 1080p."""
        return self.text_size or int(np.clip(round(sum(size_wh) * 0.0068 * self.style.text), 11, 60))

    def colours(self, class_names: Sequence[str], track_ids: Sequence[int] | None) -> list[Colour]:
        """The colour of each object [N], by its class or track; a track id of -1 is none."""
        palette = self.style.palette
        colours = [class_colour(name, palette) for name in class_names]
        if self.colour_by == "class" or track_ids is None:
            return colours
        return [
            colour if track_id == -1 else track_colour(track_id, palette)
            for track_id, colour in zip(track_ids, colours, strict=True)
        ]

    def label(self, colour: Colour) -> tuple[Colour, Colour]:
        """The ground and the ink of the label of an object of a colour."""
        style = self.style
        if style.label_ground is None:
            return colour, text_colour(colour)
        return style.label_ground, style.label_ink or readable(colour, style.label_ground, least=_LABEL_CONTRAST)

    def attribute_label(self) -> tuple[Colour, Colour]:
        """The ground and the ink of what a second model says, unlike those of the labels beside it."""
        is_dark = self.style.label_ground not in (None, WHITE)
        return (WHITE, _DARK) if is_dark else (_DARK, WHITE)


PLAIN = Look()
