"""JSON values: what is written to a JSON file, and what is read from one, as types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value that `json` writes; finite numbers only."""

JsonObject = Mapping[str, Any]
"""An object that was read from JSON, by its keys."""
