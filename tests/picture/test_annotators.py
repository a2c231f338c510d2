"""Annotators of supervision: each draws what supervision draws, remembers what it should, and refuses what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.picture.annotators import AnnotatorRequest, Annotators
from pipeline.picture.detections import Detections, Result
from pipeline.picture.frame import Frame, PixelArray

supervision = pytest.importorskip("supervision")

SIMPLE = (
    *("backgroundoverlay", "blur", "box", "boxcorner", "circle", "color", "crop", "dot", "ellipse", "heatmap", "label"),
    *("percentagebar", "pixelate", "roundbox", "triangle"),
)


def result_of(
    *boxes: tuple[float, float, float, float], ids: object = None, size_wh: tuple[int, int] = (80, 60)
) -> Result:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    pixels = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    track_ids = None if ids is None else np.array(ids, np.int64)
    detections = Detections(rows, np.full(len(rows), 0.5, np.float32), np.arange(len(rows)) % 2, track_ids=track_ids)
    return Result(Frame.from_pixels(pixels), detections, ("person", "car"))


def drawn(annotators: Annotators, result: Result) -> PixelArray:
    canvas = result.frame.picture.copy_pixels()
    annotators.draw(canvas, result)
    return canvas


def annotators_of(name: str, **parameters: object) -> Annotators:
    return Annotators([AnnotatorRequest(name, parameters)])


@pytest.mark.parametrize("name", SIMPLE)
def test_each_draws_and_survives_awkward_boxes(name: str) -> None:
    annotators = annotators_of(name)
    result = result_of((10, 10, 50, 40), (30, 20, 70, 55))
    assert (drawn(annotators, result) != result.frame.pixels).any()
    rng = np.random.default_rng(1)
    corners = rng.uniform(-60, 120, (20, 2, 2))
    random = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    for boxes in (
        [(-90, -90, -5, -5)],
        [(3, 3, 3, 3)],
        [(-1e6, -1e6, 1e6, 1e6)],
        [(79.2, 0, 80, 60)],
        random.tolist(),
        [],
    ):
        drawn(annotators, result_of(*boxes))


def test_parameters_are_those_of_supervision_with_words_for_colours_and_positions() -> None:
    result = result_of((10, 10, 50, 40))
    ours = drawn(
        annotators_of("Box-Corner", color="#00ff00", thickness=3, corner_length=9, color_lookup="index"), result
    )
    theirs = supervision.BoxCornerAnnotator(
        color=supervision.Color(0, 255, 0), thickness=3, corner_length=9, color_lookup=supervision.ColorLookup.INDEX
    ).annotate(result.frame.picture.copy_pixels(), result.to_supervision())
    np.testing.assert_array_equal(ours, theirs)
    dots = drawn(annotators_of("dot", position="bottom center", color=["#ff0000", "#0000ff"], radius=2), result)
    assert tuple(dots[40, 30]) == (0, 0, 255)


def test_a_trace_joins_the_places_of_a_track_and_not_of_objects_without_one() -> None:
    annotators = annotators_of("trace", thickness=1)
    assert not (drawn(annotators, result_of((0, 0, 10, 10))) != result_of().frame.pixels).any()  # nothing is tracked
    for left in (0, 10, 20):
        result = result_of((left, 10, left + 10, 20), (left, 40, left + 10, 50), ids=[3, -1])
        canvas = drawn(annotators, result)
    changed = (canvas != result.frame.pixels).any(axis=2)
    assert changed[15, 6:24].all()
    assert not changed[35:].any()


def test_a_heatmap_remembers_until_the_picture_has_another_size() -> None:
    annotators, nothing = annotators_of("heatmap"), result_of()
    drawn(annotators, result_of((10, 10, 30, 30)))
    assert (drawn(annotators, nothing) != nothing.frame.pixels).any()
    smaller = result_of(size_wh=(60, 60))
    assert not (drawn(annotators, smaller) != smaller.frame.pixels).any()


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("traec", {}, r"supervision has no annotator 'traec'; did you mean trace\? There are .*boxcorner, .*triangle"),
        ("icon", {}, "supervision has no annotator 'icon'"),
        ("trace", {"thicknes": 2}, r"trace has no parameter 'thicknes'; did you mean thickness\?"),
        ("box", {"thickness": "wide"}, "render.annotators: box: supervision cannot draw with it"),
        ("dot", {"position": "middle"}, "dot: position must be one of center, .*top_left.*, got 'middle'"),
        ("box", {"color": "#12"}, "render.annotators: box: "),
    ],
)
def test_what_supervision_does_not_take_is_refused_at_once(
    name: str, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        annotators_of(name, **parameters)
