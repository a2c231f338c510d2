"""How does one detect from Python, in one line?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.app.assemble import assemble
from pipeline.app.config import load_config
from pipeline.flow.running import Running
from pipeline.picture.detections import Result


def detect(
    *sources: str,
    model: str | None = None,
    config: str | None = None,
    settings: dict[str, Any] | None = None,
) -> Iterator[Result]:
    """Yield a result for each frame of a source, or of several side by side, as they come.

        for result in detect("street.mp4", model="yolox.onnx"):
            print(result.frame.index, len(result.detections))

    sources: as on the command line: a camera, a file, a URL, a folder of images, `sim:traffic`.
    model: an ONNX file; the detector that comes with streamdet if left out.
    config: a YAML file or a preset.
    settings: dotted keys of the configuration, such as `{"detection.score_threshold": 0.5}`.

    Leaving the loop early ends the run. Raises a StreamdetError, at the call, for what cannot be opened,
    and in the loop, after the results before it, for what breaks on the way.
    """
    options = {"sources": sources, "model": model, "output.show": False, **(settings or {})}
    assembly = assemble(load_config(config, options=options))
    return _results(Running(assembly.flow, results=True))


def _results(running: Running[Result]) -> Iterator[Result]:
    with running:
        yield from running
