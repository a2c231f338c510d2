"""Own sink: a flow built by hand ends in an alarm that writes a line when somebody appears.

python examples/own_sink.py street.mp4 yolox_nano.onnx person
"""

import sys

from streamdet import Capture, Detect, Flow, Nms, OrtEngine, Preprocess, Result, Running, open_source, recognise

source, model, class_name = sys.argv[1:]


class Alarm:
    """A sink is whatever has `write` and `close`; it runs in a thread of its own."""

    seen = False

    def write(self, result: Result) -> None:
        """Print the moment at which the first one comes, and the last one leaves."""
        is_there = class_name in result.counts()
        if is_there != self.seen:
            print(f"{result.frame.pts_seconds:7.2f} s  {class_name} {'comes' if is_there else 'leaves'}")
        self.seen = is_there

    def close(self) -> None:
        """Hold nothing."""


spec = recognise(model)
frames = Flow.from_sources(Capture(open_source(source)))
flow = frames.then(Preprocess(spec)).then(Detect(OrtEngine(model, spec)), workers=2).then(Nms(spec)).to(Alarm())
with Running(flow) as running:
    running.wait()
print(running.statistics().frames.delivered, "frames")
