"""Where is kept what was found out about this machine?"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's folder for it, which need not be there yet."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "streamdet"


def keep_matplotlib_here() -> None:
    """Before matplotlib is imported: let it keep its list of fonts in our folder, unless the user has named another."""
    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))
