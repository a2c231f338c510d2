"""Logs: `--verbose` and the loggers → lines on stderr."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(verbose: bool) -> None:
    """Warnings in one line each; with `verbose`, everything of ours, with its time and place."""
    logging.basicConfig(
        level=logging.WARNING,
        format="streamdet: %(levelname)s: %(message)s"
        if not verbose
        else "%(asctime)s %(name)s %(levelname)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    for name in ("pipeline", "export", "__main__"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.NOTSET)
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")


def is_verbose() -> bool:
    """Whether a command was given `--verbose`."""
    return logging.getLogger("pipeline").isEnabledFor(logging.DEBUG)
