"""What is in a single frame, without threads and queues?"""

from __future__ import annotations

from pipeline.picture.detections import Result
from pipeline.picture.frame import Frame
from pipeline.stages.detect import Detect
from pipeline.stages.nms import Nms
from pipeline.stages.preprocess import Preprocess


def detect_in_frame(frame: Frame, preprocess: Preprocess, detect: Detect, nms: Nms) -> Result:
    """Take one frame through the stages, one after the other, in the caller's thread."""
    (prepared,) = preprocess.process(frame)
    (detected,) = detect.process(prepared)
    (result,) = nms.process(detected)
    return result
