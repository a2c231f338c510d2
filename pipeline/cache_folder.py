"""Cache folder: measurements and builds of this machine, kept for the next run."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The user's folder for it, which need not exist yet; without a home folder, one that this process deletes."""
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        base = os.environ.get(name, "")
        if Path(base).is_absolute():  # another one is to be ignored, says the XDG specification
            return Path(base) / "streamdet"
    home = _home()
    return _temporary_folder() if home is None else home / ".cache" / "streamdet"


def _home() -> Path | None:
    """The user's home folder, None where there is none: a user number without a name, as containers have it."""
    if os.environ.get("HOME") == "":
        return None  # which would be read as /
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_absolute() else None


@functools.cache
def _temporary_folder() -> Path:
    """Private and of this process alone: what others could have put there must not be trusted."""
    folder = Path(tempfile.mkdtemp(prefix="streamdet-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    logger.warning("there is no home folder to keep measurements in, so each run measures anew; set XDG_CACHE_HOME")
    return folder


def keep_matplotlib_here() -> None:
    """Before matplotlib is imported: let it keep its list of fonts in our folder, unless the user has named another."""
    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))
