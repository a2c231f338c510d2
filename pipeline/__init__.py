"""Streaming object detection on video.

    capture → preprocess → detect → nms → render → sinks
            q           q        q     q         q        every arrow is a bounded queue

    for result in pipeline.detect("street.mp4", model="yolox.onnx"):
        print(result)

Picture side (`pipeline.picture`): arrays, no threads. Flow side (`pipeline.flow`): threads, no arrays.
They meet in `pipeline.stages`. Names are imported when they are first used, so that `import pipeline` is cheap.
All it does at once is to switch off the telemetry of the libraries that it will load, and to limit the pixels of the
images that OpenCV decodes: import it before them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pipeline.pixel_limit import limit_pixels
from pipeline.telemetry import opt_out
from pipeline.version import __version__ as __version__

if TYPE_CHECKING:
    from pipeline.app.run.python_api import detect as detect
    from pipeline.app.run.python_api import recognise as recognise
    from pipeline.app.run.python_detector import Detector as Detector
    from pipeline.app.run.python_run import Run as Run
    from pipeline.detector.engine import OrtEngine as OrtEngine
    from pipeline.errors import StreamdetError as StreamdetError
    from pipeline.flow.graph import Flow as Flow
    from pipeline.flow.running import Running as Running
    from pipeline.picture.detections import Detections as Detections
    from pipeline.picture.detections import RenderedFrame as RenderedFrame
    from pipeline.picture.detections import Result as Result
    from pipeline.picture.detector_spec import DetectorSpec as DetectorSpec
    from pipeline.picture.frame import Frame as Frame
    from pipeline.picture.letterbox import Letterbox as Letterbox
    from pipeline.picture.look import Look as Look
    from pipeline.picture.suppression import SuppressionOptions as SuppressionOptions
    from pipeline.picture.suppression import suppress as suppress
    from pipeline.sinks.jsonl import JsonLines as JsonLines
    from pipeline.sinks.recording import Recording as Recording
    from pipeline.sources.opening import open_source as open_source
    from pipeline.stages.capture import Capture as Capture
    from pipeline.stages.detect import Detect as Detect
    from pipeline.stages.nms import Nms as Nms
    from pipeline.stages.preprocess import Preprocess as Preprocess
    from pipeline.stages.propose import Propose as Propose
    from pipeline.stages.render import Render as Render

opt_out()
limit_pixels()

_HOMES = {
    "detect": "pipeline.app.run.python_api",
    "Detector": "pipeline.app.run.python_detector",
    "Run": "pipeline.app.run.python_run",
    "OrtEngine": "pipeline.detector.engine",
    "recognise": "pipeline.app.run.python_api",
    "StreamdetError": "pipeline.errors",
    "Flow": "pipeline.flow.graph",
    "Running": "pipeline.flow.running",
    "Detections": "pipeline.picture.detections",
    "RenderedFrame": "pipeline.picture.detections",
    "Result": "pipeline.picture.detections",
    "DetectorSpec": "pipeline.picture.detector_spec",
    "Frame": "pipeline.picture.frame",
    "Letterbox": "pipeline.picture.letterbox",
    "Look": "pipeline.picture.look",
    "SuppressionOptions": "pipeline.picture.suppression",
    "suppress": "pipeline.picture.suppression",
    "JsonLines": "pipeline.sinks.jsonl",
    "Recording": "pipeline.sinks.recording",
    "open_source": "pipeline.sources.opening",
    "Capture": "pipeline.stages.capture",
    "Detect": "pipeline.stages.detect",
    "Nms": "pipeline.stages.nms",
    "Preprocess": "pipeline.stages.preprocess",
    "Propose": "pipeline.stages.propose",
    "Render": "pipeline.stages.render",
}

if not TYPE_CHECKING:  # a type checker reads the imports above, and refuses every other name
    __all__ = ["__version__", *_HOMES]

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted(__all__)
