"""Report files: a report in JSON types → its file, and the role that limits the run it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import SinkError
from pipeline.whole_file import write_whole


def write_report(report: Mapping[str, object], path: Path) -> None:
    """Write a report in JSON types, all or nothing. Raises SinkError if it cannot be written."""
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        # A name need not be valid UTF-8; what backslashreplace writes for it is JSON's own escape.
        write_whole(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise SinkError(f"the report cannot be written to {path}: {error.strerror or error}") from error
