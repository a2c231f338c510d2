from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.app.config.tiles import TilesConfig
from pipeline.app.tiles import tiling_of
from pipeline.detector.onnx_file import copy_with_metadata
from pipeline.detector.proposals import padded_rois, propose, whole_picture
from pipeline.detector.recognise import recognise
from pipeline.detector.selective_search import Grouping, selective_search
from pipeline.errors import ConfigError, ModelError
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.letterbox import Letterbox
from tests.support.rois_detector import write_rois_detector

pytest.importorskip("skimage", reason='the first regions: pip install "streamdet[lineage]"')

SPEC = DetectorSpec(
    input_name="pixels",
    network_wh=(96, 96),
    head="boxes",
    class_names=("thing",),
    layout="nhwc",
    dtype="uint8",
    num_rois=50,
)


def things_on_grass(size_wh: tuple[int, int] = (96, 64)) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels = np.full((size_wh[1], size_wh[0], 3), (40, 120, 40), np.uint8)
    pixels[10:40, 8:38] = (200, 30, 30)
    pixels[20:50, 60:90] = (30, 30, 200)
    return pixels


def test_each_thing_on_an_even_ground_is_proposed() -> None:
    boxes = selective_search(things_on_grass())
    overlaps = intersection_over_union(np.array([[8, 10, 38, 40], [60, 20, 90, 50]], np.float32), boxes)
    assert (overlaps.max(axis=1) > 0.9).all()
    assert [0, 0, 96, 64] in boxes.tolist()  # the last region is the whole picture


def test_the_same_picture_gives_the_same_boxes_none_twice_and_none_outside() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    boxes = selective_search(noise)
    np.testing.assert_array_equal(boxes, selective_search(noise))
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [56, 40]).all()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (12, 12)])
def test_a_picture_of_one_colour_has_at_most_one_proposal(size_hw: tuple[int, int]) -> None:
    assert len(selective_search(np.full((*size_hw, 3), 90, np.uint8))) <= 1


def test_regions_merge_by_the_sum_of_four_similarities_until_one_is_left() -> None:
    # Three stripes: red, a slightly other red, blue. Both reds are merged first.
    labels = np.repeat(np.array([[0, 1, 2]]), 12, axis=0).repeat(4, axis=1)
    pixels = np.zeros((12, 12, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:8], pixels[:, 8:] = (200, 0, 0), (201, 0, 0), (0, 0, 200)
    boxes = Grouping(pixels, labels).boxes()
    assert boxes == [(0, 0, 4, 12), (4, 0, 8, 12), (8, 0, 12, 12), (0, 0, 8, 12), (0, 0, 12, 12)]


def test_proposals_lie_outside_of_the_letterbox_and_are_padded_with_zeros() -> None:
    pixels = things_on_grass()
    letterbox = Letterbox.fit((96, 64), SPEC.network_wh, SPEC.resize)
    tensor = np.full((1, 96, 96, 3), SPEC.pad_value, np.uint8)
    tensor[0, letterbox.content_window[0], letterbox.content_window[1]] = pixels
    (rois,) = propose(tensor, letterbox, SPEC)
    boxes = selective_search(pixels) + np.array([0, 16, 0, 16], np.float32)
    np.testing.assert_array_equal(rois[: len(boxes)], boxes[:50])
    assert not rois[len(boxes) :].any()
    assert rois.shape == (50, 4)


def test_more_proposals_than_there_is_room_for_lose_the_last_ones() -> None:
    boxes = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(padded_rois(boxes, 2), boxes[:2])
    assert whole_picture(SPEC, 3)[:, 0].tolist() == [[0, 0, 96, 96]] * 3


def test_a_spec_with_rois_takes_pixels_in_which_they_can_be_proposed() -> None:
    with pytest.raises(ModelError, match="must take pixels as packed uint8 nhwc"):
        DetectorSpec(input_name="pixels", network_wh=(96, 96), head="boxes", class_names=("thing",), num_rois=50)
    assert DetectorSpec.from_json(SPEC.to_json()).num_rois == 50


def test_a_file_that_says_other_rois_than_its_graph_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rois.onnx"
    write_rois_detector(path, SPEC)
    assert recognise(path).num_rois == 50
    copy_with_metadata(path, path, {METADATA_KEY: replace(SPEC, num_rois=49).to_json()})
    with pytest.raises(ModelError, match="describes 49 rois that the graph has not; export it again"):
        recognise(path)


def test_tiles_are_refused_for_proposals_of_whole_frames() -> None:
    with pytest.raises(ConfigError, match="--tiles needs a model that takes pixels alone"):
        tiling_of(TilesConfig(grid="2x2"), SPEC)
