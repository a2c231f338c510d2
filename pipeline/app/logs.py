"""Logs: `--verbose`, `--log-format` and the loggers → lines on stderr, of text or of JSON."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Sequence
from typing import Literal

from pipeline.errors import without_controls
from pipeline.events import EVENT, FIELDS, event
from pipeline.masking import masked_text
from pipeline.segment_limits import utc_text

LogFormat = Literal["text", "json"]


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
    for handler in logging.getLogger().handlers:
        assert handler.formatter is not None
        handler.setFormatter(_TextFormatter(handler.formatter._fmt))
    for name in ("pipeline", "export", "__main__"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.NOTSET)
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")


def is_verbose() -> bool:
    """Whether a command was given `--verbose`."""
    return logging.getLogger("pipeline").isEnabledFor(logging.DEBUG)


def log_as_json(words: Sequence[str] = ()) -> None:
    """From now on write a line of JSON for each event and each warning. words: that may hold secrets, as typed."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter(words))
        handler.addFilter(_is_event)
    ours = logging.getLogger("pipeline")
    if ours.getEffectiveLevel() > logging.INFO:
        ours.setLevel(logging.INFO)


def tell_error(text: str) -> None:
    """Say on stderr, in the format of the logs, why a command failed."""
    if any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        logging.getLogger(__name__).error("%s", text, extra=event("error"))
    else:
        print(f"streamdet: error: {without_controls(text, ' ')}", file=sys.stderr)


class _TextFormatter(logging.Formatter):
    """A log record → its line, whose message cannot steer a terminal, whatever names are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        return without_controls(super().formatMessage(record), " ")


class JsonFormatter(logging.Formatter):
    """A log record → one line of JSON: time (UTC), level, event, message, and the event's own fields.

    The event of an ordinary warning is `log`. Addresses are masked.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        super().__init__()
        self._words = words

    def format(self, record: logging.LogRecord) -> str:
        """The line, in ASCII, without its end."""
        line: dict[str, object] = {
            "time": utc_text(record.created),
            "level": record.levelname.lower(),
            "event": getattr(record, EVENT, "log"),
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in getattr(record, FIELDS, {}).items() if name not in line}
        if record.exc_info is not None and record.levelno <= logging.DEBUG:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(self._masked(line), allow_nan=False)

    def _masked(self, value: object) -> object:
        """The value in JSON types: addresses masked, numbers that are not finite as null."""
        if isinstance(value, dict):
            return {self._masked(str(key)): self._masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(item) for item in value]
        if isinstance(value, bool | int | None):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        return masked_text(str(value), words=self._words)


def _is_event(record: logging.LogRecord) -> bool:
    """Whether a record becomes a line: an event, a warning, or with --verbose anything."""
    return hasattr(record, EVENT) or record.levelno != logging.INFO
