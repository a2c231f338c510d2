"""Input: an address or a file → PyAV's container, open for reading; the one file where PyAV 18 and 19 differ.

PyAV 19 needs Python 3.12, so that Python 3.11 stays with 18. One more difference concerns all files: 19 gives
rationals (`time_base`, `average_rate`, `sample_aspect_ratio` …) as `AVRational`, and an unknown one as a falsy 0/1
where 18 gives None. Write `if not rate`, never `is None`.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from pipeline.sources.pipe import PipeReader

_MAJOR = int(av.__version__.partition(".")[0])

# 19 reads every tag, whatever its bytes; 18 refuses a video for a title in Latin-1 without this option.
_ANY_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if _MAJOR < 19 else {}


def open_input(
    target: str | BinaryIO | PipeReader,
    *,
    as_format: str | None = None,
    options: dict[str, str],
    timeouts: tuple[float, float] | None,
    decoder: HWAccel | None,
) -> InputContainer:
    """Open a container. Raises the errors of `av.open`.

    as_format: libav's name of the format; None lets libav probe. timeouts: seconds to open and to read.
    """
    container: InputContainer = av.open(
        target, "r", as_format, options=options, timeout=timeouts, hwaccel=decoder, **_ANY_TAGS
    )
    return container
