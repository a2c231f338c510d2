"""JSON values: what is written to a JSON file, and what is read from one, as types."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value that `json` writes; finite numbers only."""

JsonObject = Mapping[str, Any]
"""An object that was read from JSON, by its keys."""


class JsonKeyError(ValueError):
    """An object in JSON has a key twice."""


def parse_json(text: str | bytes) -> Json:
    """The value that a text is; unlike `json.loads`, no object in it may lose a value to another of the same key.

    Raises ValueError for what is not JSON or nested too deep, and JsonKeyError, which names it, for a key twice.
    """
    try:
        value: Json = json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return value


def _object(pairs: Sequence[tuple[str, Json]]) -> JsonObject:
    values: dict[str, Json] = {}
    for key, value in pairs:
        if key in values:
            raise JsonKeyError(f"the key {key[:99]!r} must be there once")
        values[key] = value
    return values
