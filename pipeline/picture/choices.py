"""Choices: the words that say how objects are followed, counted and coloured."""

from __future__ import annotations

from typing import Literal

Anchor = Literal["bottom", "centre"]
Direction = Literal["in", "out"]
EventKind = Literal["crossed", "appeared", "entered", "dwelt", "left", "count_changed"]
ColourBy = Literal["class", "track"]
TrackerKind = Literal["bytetrack", "ocsort", "botsort", "sort"]
