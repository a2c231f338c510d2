"""The clip that comes with streamdet: it is read as a video, and its ground truth is that of the drawing."""

from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.output_paths import inputs_of
from pipeline.errors import SourceError
from pipeline.picture.detections import Detections
from pipeline.sources.looping import can_be_read_again
from pipeline.sources.opening import open_source
from pipeline.sources.source import HasGroundTruth
from pipeline.sources.street.clip import CLIP_FILE, TRUTH_FILE, StreetClip, write_truth
from pipeline.sources.street.traffic import TrafficSource
from pipeline.sources.words import DEMO_CLIP, is_drawn
from tools.make_demo_clip import MOST_BYTES, OPTIONS

FRAME_INDICES = (0, 299, 599)


@pytest.fixture(scope="module")
def drawn() -> TrafficSource:
    return TrafficSource(OPTIONS)


def test_the_word_opens_a_recorded_video_with_ground_truth() -> None:
    source = open_source(DEMO_CLIP)
    assert isinstance(source, HasGroundTruth)
    assert (source.source_id, source.is_live, source.damage) == (DEMO_CLIP, False, ())
    assert (source.size_wh, source.frames_per_second, source.num_frames) == ((1280, 720), 30.0, 600)
    assert is_drawn(DEMO_CLIP)
    assert can_be_read_again(DEMO_CLIP, source)
    source.close()


def test_a_near_miss_names_the_right_word() -> None:
    with pytest.raises(SourceError, match=r"^the video that comes with streamdet is demo:street, got 'demo:stret'$"):
        open_source("demo:stret")


def test_its_truth_is_that_of_the_drawing(drawn: TrafficSource) -> None:
    clip = StreetClip(source_id=DEMO_CLIP)
    assert clip.class_names == drawn.class_names
    for index in FRAME_INDICES:
        for stored, exact in ((clip.truth(index), drawn.truth(index)), (clip.ignored(index), drawn.ignored(index))):
            assert len(exact) > 5
            assert stored.track_ids is not None
            assert exact.track_ids is not None
            np.testing.assert_array_equal(stored.boxes_xyxy, exact.boxes_xyxy)
            np.testing.assert_array_equal(stored.class_ids, exact.class_ids)
            np.testing.assert_array_equal(stored.track_ids, exact.track_ids)
    clip.close()


def test_its_pictures_are_those_of_the_drawing_but_for_noise_and_encoding(drawn: TrafficSource) -> None:
    clip = StreetClip(source_id=DEMO_CLIP)
    for number, timed in enumerate(islice(clip.pictures(threading.Event(), every=30), 3)):
        index = 30 * number
        assert timed.number in (index, None)
        assert timed.pts_seconds == pytest.approx(index / 30)
        difference = cv2.blur(timed.picture.pixels.astype(np.float32) - drawn.paint(index), (9, 9))  # without noise
        assert np.percentile(np.abs(difference), 99) < 8  # 12 where the colours are read as BT.601
    clip.close()


@pytest.mark.parametrize("index", [-1, 600])
def test_there_is_no_truth_of_a_frame_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError, match=rf"^the clip has frames 0 to 599, got {index}$"):
        StreetClip(source_id=DEMO_CLIP).truth(index)


def test_the_files_are_small_and_begin_with_their_index() -> None:
    assert CLIP_FILE.stat().st_size + TRUTH_FILE.stat().st_size <= MOST_BYTES
    content = CLIP_FILE.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(CLIP_FILE)) as container:
        (video,) = container.streams
        assert (video.codec.name, video.profile) == ("h264", "High")


def test_the_clip_is_an_input_that_no_output_may_overwrite() -> None:
    assert inputs_of(load_config(options={"sources": (DEMO_CLIP,)}))["the source itself"] == [CLIP_FILE]


def test_frames_without_objects_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.array([[1, 2, 30, 40]], np.float32)
    one = Detections(boxes, np.ones(1, np.float32), np.array([2]), track_ids=np.array([-7]))
    none = Detections(boxes[:0], one.scores[:0], one.class_ids[:0], track_ids=np.array([], np.int64))
    path = tmp_path / "truth.npz"
    write_truth(path, ("a", "b", "c"), [(none, none), (none, one), (one, none)])
    monkeypatch.setattr("pipeline.sources.street.clip.TRUTH_FILE", path)
    clip = StreetClip(source_id=DEMO_CLIP)
    assert [(len(clip.truth(index)), len(clip.ignored(index))) for index in range(3)] == [(0, 0), (0, 1), (1, 0)]
    assert clip.class_names == ("a", "b", "c")
    assert clip.truth(2).track_ids == np.array([-7])
