"""Extras: the name of a module of `export` → the module, or the pip command that installs what it needs."""

from __future__ import annotations

import importlib
from types import ModuleType

from pipeline.errors import MissingExtraError


def load(module: str, *, extra: str = "export") -> ModuleType:
    """A module of `export`. Raises MissingExtraError if a package that it needs, all in `extra`, is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, MissingExtraError):
            raise
        raise MissingExtraError(f'this needs {error.name}: pip install "streamdet[{extra}]"') from error
