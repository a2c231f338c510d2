"""Python process: a module of ours → the command and the environment that run it in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def command_of(module: str) -> Sequence[str]:
    """The command that runs a module; -P: no module of the working folder is taken for one of a library."""
    return [sys.executable, "-P", "-m", module]


def environment_of_child() -> dict[str, str]:
    """This process's environment, and where we are: -P leaves out the folder of a clone that is not installed."""
    root = Path(__file__).parents[1]
    if root.name in ("site-packages", "dist-packages"):
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))}
