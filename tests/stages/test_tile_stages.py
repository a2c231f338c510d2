"""Tile stages: small objects are seen, each once and where it is, whatever batches the network takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.detector.tiled import TiledDetector
from pipeline.errors import OutputError, SourceError
from pipeline.picture.detections import Detections, Result
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.frame import ArrayPicture, Frame, PixelArray
from pipeline.picture.tiling import Tiling
from pipeline.stages.nms import Nms
from pipeline.stages.tiles import DetectTiles, MergeTiles, PreprocessTiles
from tests.support.blob_detector import HEIGHT, WIDTH, Graph, write_blob_detector
from tests.support.counting_engine import CountingEngine
from tests.support.tiny_detector import write_boxes_detector

BGR = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 0]], np.uint8)  # of the classes red, green and blue


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real network of 160 × 128 that finds coloured squares of 16 pixels, and none that are much smaller."""

    def convention(graph: Graph, boxes: str, scores: str) -> dict[str, str]:
        best, top, class_ids = graph.best(graph.corners(boxes), scores)
        return {"boxes": best, "scores": top, "class_ids": class_ids}

    spec = DetectorSpec(
        input_name="images",
        network_wh=(WIDTH, HEIGHT),
        head="boxes",
        class_names=("red", "green", "blue"),
        colour="rgb",
        std=(255.0, 255.0, 255.0),
        score_threshold=0.3,
        iou_threshold=0.1,  # it places boxes to 8 pixels only, so those of two tiles overlap little
    )
    path = tmp_path_factory.mktemp("model") / "blobs.onnx"
    return write_blob_detector(path, convention, metadata={METADATA_KEY: spec.to_json()})


def picture_of_squares(seed: int) -> tuple[PixelArray, list[tuple[float, float, int]]]:
    """960 × 768 pixels with 40 squares of 24 pixels, and their centres and classes."""
    random = np.random.default_rng(seed)
    pixels = np.full((768, 960, 3), 90, np.uint8)
    cells = random.permutation(12 * 9)[:40]
    squares = []
    for cell, kind in zip(cells.tolist(), random.integers(0, 3, 40).tolist(), strict=True):
        left, top = (np.array(divmod(cell, 9)) * 80 + random.integers(10, 46, 2)).tolist()
        pixels[top : top + 24, left : left + 24] = BGR[kind]
        squares.append((left + 12.0, top + 12.0, kind))
    return pixels, squares


def detect_in(engine: OrtEngine, tiling: Tiling, frame: Frame, *, most_at_once: int = 1) -> Result:
    """Through the three stages."""
    (tiled,) = PreprocessTiles(engine.spec, tiling).process(frame)
    (raw,) = DetectTiles(engine, most_at_once=most_at_once).process(tiled)
    (result,) = MergeTiles(engine.spec).process(raw)
    return result


@pytest.mark.parametrize("overlap", [0.25, 0.4])
def test_every_small_object_is_seen_once_where_it_is(blobs: Path, overlap: float) -> None:
    engine = OrtEngine(blobs, recognise(blobs), device="cpu", intra_op_threads=1)
    for seed in range(3):
        pixels, squares = picture_of_squares(seed)
        frame = Frame.from_pixels(pixels, source_id="squares")
        result = detect_in(engine, Tiling((5, 5), overlap=overlap), frame)
        assert result.frame is frame
        seen = centres(result.detections)
        assert len(seen) == len(squares)
        for x, y, kind in squares:
            assert min(max(abs(x - a), abs(y - b)) for a, b, other in seen if other == kind) < 16
        assert len(detect_in(engine, Tiling((1, 1)), frame).detections) < 10  # too small for the network


def centres(detections: Detections) -> list[tuple[float, float, int]]:
    middles = (detections.boxes_xyxy[:, :2] + detections.boxes_xyxy[:, 2:]) / 2
    return [(x, y, kind) for (x, y), kind in zip(middles.tolist(), detections.class_ids.tolist(), strict=True)]


def test_a_tiled_detector_finds_what_the_stages_find(blobs: Path) -> None:
    engine = OrtEngine(blobs, recognise(blobs), device="cpu", intra_op_threads=1)
    tiling = Tiling((3, 4))
    pixels, _ = picture_of_squares(9)
    detector = TiledDetector(EngineDetector(engine), tiling, engine.spec.suppression, most_at_once=5)
    ours, nothing = detector([ArrayPicture(pixels), ArrayPicture(np.full((50, 31, 3), 90, np.uint8))])
    theirs = detect_in(engine, tiling, Frame.from_pixels(pixels)).detections
    assert len(nothing) == 0 < len(ours)
    for name in ("boxes_xyxy", "scores", "class_ids"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize(
    ("batch", "most_at_once", "batches"),
    [(None, 7, (7, 7)), (None, 3, (3, 3, 3, 3, 2)), (4, 4, (4, 4, 4, 4)), (1, 1, (1,) * 14)],
)
def test_tiles_are_run_in_the_batches_that_the_network_takes(
    batch: int | None, most_at_once: int, batches: tuple[int, ...], tmp_path: Path
) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", [(8.0, 16.0, 24.0, 32.0, 0.9, 0)], batch=batch)
    engine = CountingEngine(path, recognise(path), device="cpu", intra_op_threads=1)
    frames = [Frame.from_pixels(np.zeros((100, 150, 3), np.uint8), index=index) for index in range(2)]
    prepared = [tiled for frame in frames for tiled in PreprocessTiles(engine.spec, Tiling((2, 3))).process(frame)]
    tiled = DetectTiles(engine, most_at_once=most_at_once).process_batch(prepared)
    assert [detections.frame.index for detections in tiled] == [0, 1]
    assert [len(detections.of_tiles) for detections in tiled] == [7, 7]
    assert engine.batches == batches


def test_a_picture_of_one_tile_gives_what_it_gives_without_tiles(tmp_path: Path) -> None:
    rows = [(8.0, 16.0, 24.0, 32.0, 0.9, 0), (9.0, 16.0, 24.0, 32.0, 0.8, 0), (1.0, 2.0, 60.0, 40.0, 0.4, 1)]
    path = write_boxes_detector(tmp_path / "pets.onnx", rows)
    engine = OrtEngine(path, recognise(path), device="cpu", intra_op_threads=1)
    frame = Frame.from_pixels(np.zeros((48, 64, 3), np.uint8))
    (tiled,) = PreprocessTiles(engine.spec, Tiling((1, 1))).process(frame)
    (raw,) = DetectTiles(engine).process(tiled)
    (ours,), (theirs,) = MergeTiles(engine.spec).process(raw), Nms(engine.spec).process(raw.of_tiles[0])
    assert ours.detections.boxes_xyxy.tolist() == theirs.detections.boxes_xyxy.tolist()
    assert ours.detections.scores.tolist() == theirs.detections.scores.tolist()


def test_a_tile_with_nonsense_fails_its_frame(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", [(8.0, 16.0, float("nan"), 32.0, 0.9, 0)])
    engine = OrtEngine(path, recognise(path), device="cpu", intra_op_threads=1)
    with pytest.raises(OutputError, match="makes no detections"):
        detect_in(engine, Tiling((2, 2)), Frame.from_pixels(np.zeros((48, 64, 3), np.uint8)))


def test_a_frame_that_needs_too_many_tiles_is_named(blobs: Path) -> None:
    tiling = Tiling(None, smallest_px=1, network_wh=(WIDTH, HEIGHT))
    frame = replace(Frame.from_pixels(np.zeros((768, 960, 3), np.uint8)), source_id="door")
    with pytest.raises(SourceError, match="door: objects of 1 pixels in pictures of 960×768 need"):
        tuple(PreprocessTiles(recognise(blobs), tiling).process(frame))
