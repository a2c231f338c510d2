"""Overlay: it is drawn into recordings of live sources, over a window of others, and where it is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.open_outputs import _overlays
from pipeline.app.output import Feed
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame


@pytest.mark.parametrize(
    ("overlay", "is_live", "burnt", "shown"),
    [(None, False, False, True), (None, True, True, False), (True, False, True, False), (False, True, False, False)],
)
def test_the_overlay_is_burnt_into_live_pictures_alone_unless_asked_for(
    overlay: bool | None, is_live: bool, burnt: bool, shown: bool
) -> None:
    config = load_config(options={"render.overlay": overlay})
    frame = Frame.from_pixels(np.zeros((4, 4, 3), np.uint8), source_id="a")
    result = Result(frame, Detections.empty(), ())
    feeds = [Feed("a", 30.0, is_live), Feed("b", 30.0, not is_live)]
    both = _overlays(config, feeds, lambda _: ["FPS"])
    assert [bool(lines and lines(result)) for lines in both] == [burnt, shown]
