from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_area, box_iou, masks_to_boxes

from export.examples import Example
from export.lineage import data_sets
from export.lineage.data_sets import DATA_SETS, data_set_named
from export.lineage.hog_svm import shapes_of
from export.lineage.scattered import CANVAS_WH, MOST_COVERED, SHAPES, held_out_scattered, training_scattered
from export.lineage.scenes import FIRST_HELD_OUT_SEED, STREET_CLASSES, STREET_WH, World
from pipeline.errors import ConfigError

SCENES = training_scattered(40)


def overlaps(example: Example) -> torch.Tensor:
    """The share [N, N] of the smaller of two boxes that the other one covers, by torchvision; 0 of itself."""
    boxes = torch.from_numpy(example.boxes_xyxy)
    areas, iou = box_area(boxes), box_iou(boxes, boxes)
    shared = iou * (areas[:, None] + areas) / (1 + iou)  # as IoU = shared / (sum - shared)
    shares: torch.Tensor = shared / torch.minimum(areas[:, None], areas)
    return shares.fill_diagonal_(0)


def test_objects_hardly_cover_each_other_and_some_pictures_have_none() -> None:
    counts = [len(example.boxes_xyxy) for example in SCENES.examples]
    assert 0 in counts
    assert max(counts) > 5
    shares = torch.cat([overlaps(example).flatten() for example in SCENES.examples])
    assert 0 < shares.max() <= MOST_COVERED + 1e-5


def test_a_box_is_the_bounds_of_the_pixels_of_its_object() -> None:
    num_free = 0
    for example in SCENES.examples:
        assert example.object_map is not None
        assert example.pixels.shape == (*CANVAS_WH[::-1], 3)
        share = overlaps(example)
        for row, box in enumerate(example.boxes_xyxy):
            own = torch.from_numpy(example.object_map == 1 + row)
            left, top, right, bottom = (masks_to_boxes(own[None])[0] + torch.tensor([0, 0, 1, 1])).tolist()
            assert box[0] <= left < right <= box[2]
            assert box[1] <= top < bottom <= box[3]
            if not share[row, row + 1 :].any():  # no later one lies on it
                assert [left, top, right, bottom] == box.tolist()
                num_free += 1
    assert num_free > 50


def test_rings_and_houses_have_holes_and_stars_and_hearts_have_none() -> None:
    seen = set()
    for example in SCENES.examples:
        assert example.object_map is not None
        share = overlaps(example)
        for row, class_id in enumerate(example.class_ids.tolist()):
            if share[row].any():
                continue
            own = (example.object_map == 1 + row).astype(np.uint8)
            _, hierarchy = cv2.findContours(np.pad(own, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            name = SCENES.world.class_names[class_id]
            has_hole = bool((hierarchy[0, :, 3] >= 0).any())
            assert has_hole == (name == "ring") or name == "house", name  # a door may open to the outside
            seen.add(name)
    assert seen == set(SHAPES)


def test_a_picture_is_the_same_again_and_never_one_that_is_held_out() -> None:
    again, held_out = training_scattered(2), held_out_scattered(1)
    for one, other in zip(SCENES.examples, again.examples, strict=False):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
    assert not np.array_equal(held_out.examples[0].pixels, again.examples[0].pixels)
    with pytest.raises(ValueError, match=r"num_pictures must lie within 1\.\.100000, got 0"):
        training_scattered(0)
    with pytest.raises(ValueError, match="got 100001"):
        training_scattered(FIRST_HELD_OUT_SEED + 1)


def test_a_run_gets_the_held_out_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = held_out_scattered(2)
    monkeypatch.setattr(data_sets, "held_out_scattered", lambda: few)
    assert data_set_named("scattered").source(tmp_path) == str(tmp_path)
    for path, example in zip(sorted(tmp_path.iterdir()), few.examples, strict=True):
        picture = cv2.imread(str(path))
        assert picture is not None
        np.testing.assert_array_equal(picture[:, :, ::-1], example.pixels)


def test_a_data_set_is_known_by_its_name_with_which_the_name_of_its_scenes_begins() -> None:
    assert [data_set.name for data_set in DATA_SETS] == ["streets", "scattered"]
    for data_set in DATA_SETS:
        assert data_set_named(data_set.name) is data_set
        assert data_set.training(1).name.startswith(data_set.name)
    with pytest.raises(ConfigError, match="--on must be streets or scattered, the pictures to learn from, got 'lake'"):
        data_set_named("lake")


def test_windows_are_of_the_shape_of_a_street_s_objects_and_square_for_others() -> None:
    street = shapes_of(World(STREET_CLASSES, STREET_WH))
    assert [(shape.class_id, shape.cells_wh) for shape in street][:3] == [(0, (2, 5)), (1, (4, 3)), (1, (5, 2))]
    scattered = shapes_of(SCENES.world)
    assert [(shape.class_id, shape.cells_wh) for shape in scattered] == [(i, (4, 4)) for i in range(len(SHAPES))]
