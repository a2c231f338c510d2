"""Following objects from Python: `detect(track=…)` and `Detector.track` give the same numbers as a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import streamdet
from pipeline.errors import ConfigError, ModelError
from pipeline.picture.frame import PixelArray
from pipeline.sources.opening import open_source

STREET = "sim:traffic?seed=3&size=320x180"
NUM_FRAMES = 20
SETTINGS: dict[str, Any] = {"engine.threads": 1, "track.low_score": 0.2}


def test_a_detector_follows_pictures_as_a_run_follows_a_source() -> None:
    run = list(streamdet.detect(STREET, track=True, settings={**SETTINGS, "flow.max_frames": NUM_FRAMES}))
    frames = [result.frame.pixels for result in run]
    rate = open_source(STREET).frames_per_second
    assert rate is not None
    with streamdet.Detector("demo", settings=SETTINGS) as detector:
        ours = list(detector.track(iter(frames), frames_per_second=rate))
        again = next(detector.track(frames, frames_per_second=rate))
    assert len(ours) == NUM_FRAMES
    assert sum(len(result.detections) for result in ours) > NUM_FRAMES
    for one, other in zip(ours, run, strict=True):
        assert one.frame.pts_seconds == pytest.approx(other.frame.pts_seconds)
        np.testing.assert_array_equal(one.detections.boxes_xyxy, other.detections.boxes_xyxy)
        assert one.detections.track_ids is not None
        assert other.detections.track_ids is not None
        np.testing.assert_array_equal(one.detections.track_ids, other.detections.track_ids)
    assert np.max(ours[-1].detections.track_ids) > 0  # type: ignore[arg-type]
    assert (again.detections.track_ids == -1).all()  # type: ignore[union-attr]


def test_pictures_are_taken_one_by_one_as_the_results_are_read(small_detector: object) -> None:
    taken: list[int] = []

    def camera() -> Iterator[PixelArray]:
        for number in range(100):
            taken.append(number)
            yield np.zeros((48, 64, 3), np.uint8)

    with streamdet.Detector(small_detector, device="cpu") as detector:  # type: ignore[arg-type]
        results = detector.track(camera(), frames_per_second=10)
        first, second = next(results), next(results)
    assert taken == [0, 1]
    assert second.frame.pts_seconds == 0.1
    assert first.detections.track_ids.tolist() == [-1, -1]  # type: ignore[union-attr]
    assert second.detections.track_ids.tolist() == [1, 2]  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="this Detector is closed"):
        next(results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames_per_second": 0}, "frames_per_second must be a number from 0.001 to 10000, got 0$"),
        ({"frames_per_second": float("nan")}, "from 0.001 to 10000, got nan"),
        ({"frames_per_second": 1e-300}, "from 0.001 to 10000, got 1e-300"),
        ({"frames_per_second": 10**400}, "from 0.001 to 10000, got 1000"),
        ({"frames_per_second": True}, "from 0.001 to 10000, got True"),
        ({"frames_per_second": "25"}, "from 0.001 to 10000, got '25'"),
        ({"frames_per_second": 25, "tracker": "byte"}, "tracker must be one of bytetrack, ocsort, .*, got 'byte'"),
    ],
)
def test_what_cannot_be_followed_is_refused_at_the_call(
    options: dict[str, Any], message: str, small_detector: object
) -> None:
    with streamdet.Detector(small_detector, device="cpu") as detector:  # type: ignore[arg-type] # noqa: SIM117
        with pytest.raises(ConfigError, match=message):
            detector.track([], **options)


def test_the_keyword_is_that_of_streams() -> None:
    with pytest.raises(ConfigError, match=r"Detector\(\) has no keyword track; its method track\(\) follows objects"):
        streamdet.Detector("demo", track=True)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"track.kind must be one of|track.kind must be"):
        streamdet.detect(STREET, track="byte")  # type: ignore[arg-type]
    (result,) = streamdet.detect(STREET, track=False, settings={"flow.max_frames": 1})
    assert result.detections.track_ids is None
