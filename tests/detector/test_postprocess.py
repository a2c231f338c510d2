"""Do boxes, masks and keypoints come back to the source where they belong, and only those of objects?"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.detector.postprocess import Postprocess
from pipeline.errors import ModelError
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.suppression import SuppressionOptions

SPEC = DetectorSpec("images", (100, 100), "boxes", ("cat", "dog", "cow"))
WIDE = Letterbox.fit((200, 100), (100, 100), "letterbox-center")  # half as large, 25 rows above
SAME = Letterbox.fit((100, 100), (100, 100), "stretch")
Array = npt.NDArray[Any]


def candidates(
    *rows: tuple[float, float, float, float, float, int], masks: Array | None = None, keypoints: Array | None = None
) -> Candidates:
    """Candidates x1, y1, x2, y2 in network pixels, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Candidates(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), masks, keypoints)


def value_at(mask: Array, x: float, y: float) -> float:
    """A mask, whose own pixels have their centres at i + 0.5 and beyond which is nothing, between its pixels."""
    total = 0.0
    x, y = x - 0.5, y - 0.5
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * float(mask[row, column])
    return total


def pasted_slowly(mask: Array, box: tuple[float, float, float, float], size_wh: tuple[int, int]) -> Array:
    """[H, W]: how much of the object each pixel is."""
    left, top, right, bottom = box
    values = np.zeros((size_wh[1], size_wh[0]))
    for row in range(size_wh[1]):
        for column in range(size_wh[0]):
            x = (column + 0.5 - left) / (right - left) * mask.shape[1]
            y = (row + 0.5 - top) / (bottom - top) * mask.shape[0]
            values[row, column] = value_at(mask, x, y)
    return values


@pytest.mark.parametrize(
    "box",
    [
        (10, 40, 60, 70),  # inside
        (10.3, 40.7, 31.9, 55.2),  # between pixels
        (-30, 30, 40, 60),  # left of the picture
        (70, 40, 140, 90),  # right of it and below
        (-50, -50, 150, 150),  # all around it
        (20, 40, 21.5, 41.5),  # three pixels of the source wide, smaller than the mask
        (10.2, 40.2, 10.4, 40.4),  # less than a pixel
    ],
)
@pytest.mark.parametrize("size", [(28, 28), (7, 5), (1, 1)])
def test_a_mask_is_pasted_as_a_slow_loop_over_pixels_pastes_it(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    mask = np.random.default_rng(0).uniform(0, 1, (1, *size)).astype(np.float32)
    mask[0, : size[0] // 2 + 1] = 1
    found = Postprocess(SPEC)(candidates((*box, 0.9, 0), masks=mask), WIDE)
    in_source = (box[0] * 2, (box[1] - 25) * 2, box[2] * 2, (box[3] - 25) * 2)
    values = pasted_slowly(mask[0], in_source, WIDE.source_wh)
    assert found.masks is not None
    assert found.masks.shape == (1, 100, 200)
    certain = np.abs(values - 0.5) > 0.04  # OpenCV interpolates with 5 bits
    assert np.array_equal(found.masks[0][certain], values[certain] >= 0.5)


def test_masks_are_pasted_as_torchvision_pastes_them_but_for_the_rounding_of_their_boxes() -> None:
    torch = pytest.importorskip("torch", reason="pastes masks with torchvision")
    pytest.importorskip("torchvision", reason="pastes masks with torchvision")
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    y, x = np.mgrid[:28, :28]
    disc = ((x - 13.5) ** 2 + (y - 13.5) ** 2 < 13**2).astype(np.float32)  # as networks have them: one smooth thing
    boxes = [(10, 10, 70, 90), (-20, 5, 50, 60), (60, 50, 120, 130)]
    masks = np.stack([disc] * 3)
    found = Postprocess(SPEC)(candidates(*[(*box, 0.9, index) for index, box in enumerate(boxes)], masks=masks), SAME)
    theirs = paste_masks_in_image(torch.from_numpy(masks)[:, None], torch.tensor(boxes).float(), (100, 100))
    assert found.masks is not None
    for ours, other in zip(found.masks, theirs[:, 0].numpy() >= 0.5, strict=True):
        overlap = (ours & other).sum() / (ours | other).sum()
        assert overlap > 0.95


def test_masks_and_keypoints_stay_with_their_boxes() -> None:
    masks = np.stack([np.full((4, 4), value, np.float32) for value in (1, 0, 1)])
    keypoints = np.arange(3 * 2 * 3, dtype=np.float32).reshape(3, 2, 3)
    rows = [(0, 30, 10, 40, 0.5, 0), (0, 30, 10, 40, 0.6, 1), (50, 30, 60, 40, 0.9, 2)]
    found = Postprocess(SPEC)(candidates(*rows, masks=masks, keypoints=keypoints), WIDE)
    assert found.class_ids.tolist() == [2, 1, 0]
    assert found.masks is not None
    assert np.asarray(found.masks).any(axis=(1, 2)).tolist() == [True, False, True]
    assert found.keypoints is not None
    assert found.keypoints[..., 2].tolist() == keypoints[::-1, :, 2].tolist()


def test_masks_of_boxes_that_are_suppressed_or_in_the_padding_are_gone() -> None:
    rows = [(0, 30, 10, 40, 0.9, 0), (0, 30, 10, 40, 0.8, 0), (10, 0, 20, 20, 0.7, 1)]
    found = Postprocess(SPEC)(candidates(*rows, masks=np.ones((3, 4, 4), np.float32)), WIDE)
    assert found.masks is not None
    assert (len(found), found.masks.shape) == (1, (1, 100, 200))


def test_no_candidates_have_no_masks_and_no_keypoints() -> None:
    nothing = candidates(masks=np.zeros((0, 28, 28), np.float32), keypoints=np.zeros((0, 17, 3), np.float32))
    found = Postprocess(SPEC)(nothing, WIDE)
    assert found.masks is not None
    assert found.keypoints is not None
    assert (found.masks.shape, found.keypoints.shape) == ((0, 100, 200), (0, 17, 3))


def test_keypoints_come_back_in_source_pixels_with_their_scores() -> None:
    keypoints = np.array([[[10, 35, 0.9], [0, 25, 0.1], [100, 75, 1.0], [-5, 20, 0.0]]], np.float32)
    found = Postprocess(SPEC)(candidates((10, 35, 20, 45, 0.9, 0), keypoints=keypoints), WIDE)
    assert found.keypoints is not None
    assert found.keypoints[0] == pytest.approx(
        np.array([(20, 20, 0.9), (0, 0, 0.1), (200, 100, 1), (-10, -10, 0)], np.float32)
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, 30, math.nan, 40, 0.9, 0), "read as boxes: .*finite"),
        ((0, 30, math.inf, 40, 0.9, 0), "read as boxes: .*finite"),
        ((0, 30, 10, 40, 1.5, 0), r"read as boxes: .*within \[0, 1\]"),
    ],
)
def test_what_cannot_be_is_refused(row: tuple[float, float, float, float, float, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Postprocess(SPEC)(candidates(row), WIDE)


def test_a_network_with_nms_inside_is_only_thresholded_and_cut() -> None:
    rows = [(0, 30, 10, 40, score, 0) for score in (0.3, 0.9, 0.1, 0.5)]
    postprocess = Postprocess(dataclasses.replace(SPEC, needs_nms=False, max_detections=2))
    assert postprocess(candidates(*rows), WIDE).scores == pytest.approx([0.9, 0.5])


def test_classes_may_be_left_out_before_they_suppress_anything() -> None:
    rows = [(0, 30, 10, 40, 0.9, 0), (0, 30, 10, 40, 0.8, 1)]
    postprocess = Postprocess(SPEC, SuppressionOptions("class-agnostic", keep_class_ids=frozenset({1, 2})))
    assert postprocess(candidates(*rows), WIDE).class_ids.tolist() == [1]
    assert len(Postprocess(SPEC, SuppressionOptions(keep_class_ids=frozenset()))(candidates(*rows), WIDE)) == 0
