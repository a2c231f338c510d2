"""Choices: the words that say how objects are followed, counted, coloured and drawn, and what a network looks at."""

from __future__ import annotations

from typing import Literal

Anchor = Literal["bottom", "centre"]
Direction = Literal["in", "out"]
EventKind = Literal["crossed", "appeared", "entered", "dwelt", "left", "count_changed"]
BoxStyle = Literal["box", "corners", "rounded"]
ColourBy = Literal["class", "track"]
GateKind = Literal["frames", "pack", "between", "between-pack"]
IdleDecoding = Literal["every", "key-frames"]
TrackerKind = Literal["bytetrack", "ocsort", "botsort", "sort"]
ThemeName = Literal["plain", "colour-blind", "soft", "dark", "high-contrast", "print"]
