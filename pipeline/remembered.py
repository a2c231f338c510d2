"""Remembered findings: measurements of this machine → small JSON files in the cache folder, for a while."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.cache_folder import cache_folder

_KEPT_SECONDS = 30 * 24 * 3600.0


def recall(kind: str, *key: object, now: Callable[[], float] = time.time) -> dict[str, Any] | None:
    """The finding under a key; None if there is none, if it cannot be read, or if it is older than a month."""
    try:
        values = json.loads(_path_of(kind, key).read_text(encoding="utf-8"))
        at, finding = float(values["at"]), values["finding"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return finding if isinstance(finding, dict) and 0 <= now() - at < _KEPT_SECONDS else None


def remember(kind: str, finding: dict[str, Any], *key: object, now: Callable[[], float] = time.time) -> None:
    """Keep a finding, where it can be kept; else it is found out again."""
    path = _path_of(kind, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"at": now(), "finding": finding}), encoding="utf-8")
    except OSError:
        return


def _path_of(kind: str, key: tuple[object, ...]) -> Path:
    digest = hashlib.sha256(json.dumps([str(part) for part in key]).encode()).hexdigest()[:24]
    return cache_folder() / kind / f"{digest}.json"
