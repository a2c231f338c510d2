"""Maps of detectors whose truth is known: their score is the mean brightness of one rectangle, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.detector.detector import DetectFunction, EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.picture.detections import Detections
from pipeline.picture.frame import ArrayPicture, Picture, PixelArray
from pipeline.picture.suppression import SuppressionOptions
from pipeline.saliency.drise import drise_map, random_masks
from pipeline.saliency.heat_picture import heat_picture
from pipeline.saliency.masking import share_inside_box
from pipeline.saliency.occlusion import GREY, Occlusion, occlusion_map
from pipeline.saliency.target import Target
from pipeline.sources.street.traffic import TrafficSource

ROWS, COLUMNS = slice(20, 40), slice(50, 90)
TARGET = Target(np.array([50, 20, 90, 40], np.float32), class_id=3)
WHITE = np.full((60, 100, 3), 255, np.uint8)


def by_brightness(pictures: Sequence[Picture]) -> list[Detections]:
    """One detection in each picture: the target, as sure as its rectangle is bright."""
    scores = [np.float32(picture.pixels[ROWS, COLUMNS].mean() / 255) for picture in pictures]
    return [Detections(TARGET.box_xyxy[None], np.array([score]), np.array([3])) for score in scores]


def blind(pictures: Sequence[Picture]) -> list[Detections]:
    return [Detections.empty() for _ in pictures]


def test_a_square_costs_as_much_as_it_hides_of_what_counts() -> None:
    heat = occlusion_map(by_brightness, WHITE, TARGET, side=10, batch=7)
    in_area = np.zeros(WHITE.shape[:2])
    in_area[ROWS, COLUMNS] = (255 - GREY) / 255 / (20 * 40)
    losses, counts = np.zeros(in_area.shape), np.zeros(in_area.shape)
    for top in range(0, 51, 5):
        for left in range(0, 91, 5):
            window = slice(top, top + 10), slice(left, left + 10)
            losses[window] += in_area[window].sum()
            counts[window] += 1
    np.testing.assert_allclose(heat, losses / counts, atol=1e-6)
    assert heat[:10].max() == 0  # no square that lies there touches the rectangle


@pytest.mark.parametrize("size_wh", [(100, 60), (7, 9), (640, 1), (33, 500)])
@pytest.mark.parametrize("side", [None, 1, 3, 64])
def test_squares_lie_on_every_pixel(size_wh: tuple[int, int], side: int | None) -> None:
    width, height = size_wh
    target = Target(np.array([0, 0, width, height], np.float32), 0)
    occlusion = Occlusion(np.zeros((height, width, 3), np.uint8), target, side=side)
    covered = np.zeros((height, width), np.int64)
    for window in occlusion.windows:
        covered[window] += 1
    assert covered.min() >= 1
    assert sum(1 for _ in occlusion.pictures()) == len(occlusion) == sum(1 for _ in occlusion.windows)


def test_random_masks_let_half_of_the_light_through_and_repeat_with_their_seed() -> None:
    masks = np.stack(list(random_masks((90, 50), 400, seed=3)))
    assert masks.shape == (400, 50, 90)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert np.abs(masks.mean(axis=0) - 0.5).max() < 0.12  # 5 standard deviations of 400 coins
    np.testing.assert_array_equal(masks[0], next(random_masks((90, 50), 1, seed=3)))
    assert not np.array_equal(masks[0], masks[1])


def test_drise_is_warm_where_it_counts_and_nowhere_else() -> None:
    heat = drise_map(by_brightness, WHITE, TARGET, num_masks=3000, batch=50)
    inside = np.zeros(heat.shape, np.bool_)
    inside[ROWS, COLUMNS] = True
    far = np.ones(heat.shape, np.bool_)
    far[10:50, 37:100] = False  # a pixel shares its cells with those less than two cells away
    assert heat[inside].min() > 0
    assert heat[inside].mean() > 4 * np.abs(heat[far]).max()
    assert inside.flat[np.argmax(heat)]


def test_drise_is_the_mean_of_the_masks_that_show_a_pixel() -> None:
    masks = list(random_masks((100, 60), 40, seed=1))
    weights = [np.rint(255 * mask)[ROWS, COLUMNS].mean() / 255 for mask in masks]
    expected = sum(weight * mask for weight, mask in zip(weights, masks, strict=True)) / sum(masks) - np.mean(weights)
    heat = drise_map(by_brightness, WHITE, TARGET, num_masks=40, seed=1, batch=9)
    np.testing.assert_allclose(heat, expected, atol=1e-5)


@pytest.mark.parametrize("explain", [drise_map, occlusion_map])
def test_a_blind_detector_has_a_map_of_zeros(explain: type) -> None:
    heat = explain(blind, WHITE, TARGET)
    assert heat.shape == (60, 100)
    assert not heat.any()
    assert share_inside_box(heat, TARGET) == 0
    assert heat_picture(WHITE, heat, TARGET).shape == (300, 1008, 3)


def test_the_target_is_its_best_match_of_the_same_class() -> None:
    boxes = np.array([[50, 20, 90, 40], [50, 20, 90, 30], [50, 20, 90, 40], [5, 5, 5, 5]], np.float32)
    scores, class_ids = np.array([0.4, 1.0, 1.0, 1.0], np.float32), np.array([3, 3, 2, 3])
    assert TARGET.similarity(Detections(boxes, scores, class_ids)) == pytest.approx(0.5)  # IoU .5 × 1, not 1 × .4
    point = Target(np.array([5, 5, 5, 5], np.float32), 3)
    assert point.similarity(Detections(boxes, scores, class_ids)) == 0


def test_the_share_inside_the_box_counts_positive_heat_alone() -> None:
    heat = np.zeros((60, 100), np.float32)
    heat[ROWS, COLUMNS] = 1
    heat[50:60, 0:80] = 1
    heat[0:10] = -7
    assert share_inside_box(heat, TARGET) == pytest.approx(0.5)
    outside = Target(np.array([-30, -9, -2, -1], np.float32), 0)
    assert share_inside_box(heat, outside) == 0


def test_heat_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"heat must have the picture's size \[60, 100\], got \[2, 2\]"):
        heat_picture(WHITE, np.zeros((2, 2), np.float32), TARGET)


@pytest.fixture
def street() -> PixelArray:
    """A car at its size, cut out of a drawn street."""
    source = TrafficSource.from_spec("sim:traffic?seed=3&size=640x360")
    return np.ascontiguousarray(source.paint(100)[120:300, 320:640])


def shuffled(model: Path, path: Path) -> Path:
    """The same graph, its convolutions' weights in random order."""
    onnx = pytest.importorskip("onnx", reason="rewrites an ONNX file")
    graph = onnx.load(str(model))
    random = np.random.default_rng(0)
    for tensor in graph.graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor)
        if weights.ndim == 4:
            mixed = random.permutation(weights.ravel()).reshape(weights.shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(mixed, tensor.name))
    onnx.save(graph, str(path))
    return path


def down_to_nothing(model: Path) -> DetectFunction:
    spec = recognise(model)
    return EngineDetector(OrtEngine(model, spec), suppression=SuppressionOptions(score_threshold=0.0))


def test_a_network_with_shuffled_weights_has_another_map(tmp_path: Path, street: PixelArray) -> None:
    """The sanity check of Adebayo et al. 2018, https://arxiv.org/abs/1810.03292: a map that stays shows the picture."""
    from pipeline.app.model_files import DEMO_MODEL

    detect = down_to_nothing(DEMO_MODEL)
    (seen,) = detect([ArrayPicture(street)])
    target = Target(seen.boxes_xyxy[0], int(seen.class_ids[0]))
    trained = drise_map(detect, street, target, num_masks=48)
    mixed = drise_map(down_to_nothing(shuffled(DEMO_MODEL, tmp_path / "mixed.onnx")), street, target, num_masks=48)
    assert share_inside_box(trained, target) > 2 * share_inside_box(np.ones_like(trained), target)
    assert share_inside_box(mixed, target) < 0.8 * share_inside_box(trained, target)
    assert np.abs(mixed - trained).max() > 0.5 * trained.max()
