"""Choices: the words that say how objects are followed and coloured."""

from __future__ import annotations

from typing import Literal

ColourBy = Literal["class", "track"]
TrackerKind = Literal["bytetrack", "ocsort", "botsort", "sort"]
