"""Streaming object detection on video: the names of `pipeline`, under the name that is installed.

    import streamdet

    for result in streamdet.detect("street.mp4", model="yolox.onnx"):
        print(result)

Every public name is one of `pipeline`, whose table this package reads, and is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pipeline
from pipeline import __version__ as __version__

if TYPE_CHECKING:
    from pipeline import *  # noqa: F403
else:
    __all__ = dir(pipeline)

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(pipeline, name)

    def __dir__() -> list[str]:
        return __all__
