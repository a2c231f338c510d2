"""Names: models and classes → the short names and lists of them in a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ConfigError


def names_of(models: Sequence[str]) -> list[str]:
    """The files' stems, or where two are alike, all of the paths. Raises ConfigError for the same one twice."""
    if len(set(models)) < len(models):
        raise ConfigError(f"every model must be listed only once, got {', '.join(models)}")
    stems = [Path(model).stem for model in models]
    return stems if len(set(stems)) == len(stems) else list(models)


def some_of(names: Sequence[str], *, most: int = 8) -> str:
    """At most `most` names, and … where there are more."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
