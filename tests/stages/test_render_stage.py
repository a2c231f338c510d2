"""Render: it draws on a copy, with the overlay that it is given."""

from __future__ import annotations

import numpy as np

from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame
from pipeline.stages.render import Render


def test_the_frame_stays_as_it_was_and_the_copy_shows_boxes_and_overlay() -> None:
    frame = Frame.from_pixels(np.full((120, 200, 3), 90, np.uint8), index=4)
    found = Detections(np.array([[50, 40, 150, 100]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
    (rendered,) = Render(overlay=lambda result: [f"frame {result.frame.index}"]).process(Result(frame, found, ("dog",)))
    assert (frame.pixels == 90).all()
    assert (rendered.pixels[95:101, 50:150] != 90).any()
    assert (rendered.pixels[:25, :60] != 90).any()
    assert rendered.result.frame is frame


def test_without_detections_and_overlay_the_copy_is_equal() -> None:
    frame = Frame.from_pixels(np.full((12, 20, 3), 90, np.uint8))
    (rendered,) = Render().process(Result(frame, Detections.empty(), ("dog",)))
    assert (rendered.pixels == 90).all()
    rendered.pixels[:] = 0
    assert (frame.pixels == 90).all()
