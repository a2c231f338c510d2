"""Remembered findings: measurements of this machine → small JSON files in the cache folder, for a while."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipeline.cache_folder import cache_folder

Made = TypeVar("Made")

_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str | None": (str, type(None)),
    "float | None": (float, int, type(None)),
    "tuple[int, ...]": (list, tuple),
}
"""What JSON makes of a field, by its annotation."""

_KEPT_SECONDS = 30 * 24 * 3600.0


def recall(
    kind: str, *key: object, fields: Mapping[str, type] = {}, now: Callable[[], float] = time.time
) -> dict[str, Any] | None:
    """The finding under a key; None if there is none, if it cannot be read, or if it is older than a month.

    fields: that it must have, and their types; without them it is none either.
    """
    try:
        values = json.loads(_path_of(kind, key).read_text(encoding="utf-8"))
        at, finding = float(values["at"]), values["finding"]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    if not isinstance(finding, dict) or not 0 <= now() - at < _KEPT_SECONDS:
        return None
    return finding if all(type(finding.get(name)) is kind_of for name, kind_of in fields.items()) else None


def remember(kind: str, finding: dict[str, Any], *key: object, now: Callable[[], float] = time.time) -> None:
    """Keep a finding, where it can be kept; else it is found out again."""
    path = _path_of(kind, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"at": now(), "finding": finding}), encoding="utf-8")
    except OSError:
        return


def from_finding(kind: type[Made], finding: object) -> Made:
    """A dataclass of plain fields from what JSON made of it. Raises TypeError for anything else."""
    if not isinstance(finding, dict):
        raise TypeError(f"{kind.__name__} has fields, got {type(finding).__name__}")
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # a type variable has no bound that says so
        value = finding.get(field.name, field.default)
        if type(value) not in _TYPES[str(field.type)]:
            raise TypeError(f"{kind.__name__}.{field.name} must be {field.type}, got {value!r:.60}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in finding.items()})


def _path_of(kind: str, key: tuple[object, ...]) -> Path:
    digest = hashlib.sha256(json.dumps([str(part) for part in key]).encode()).hexdigest()[:24]
    return cache_folder() / kind / f"{digest}.json"
