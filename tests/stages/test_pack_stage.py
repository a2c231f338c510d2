"""Pack stages: a packed image has the very pixels of the letterboxed frame, and a run the boxes of every frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.app.assemble import Assembly, assemble
from pipeline.app.config.loading import load_config
from pipeline.errors import ConfigError
from pipeline.flow.running import Running
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture, Frame, PixelArray
from pipeline.picture.gate.gate import GateOptions
from pipeline.picture.gate.packing import Packer, Packing, Size
from pipeline.picture.letterbox import Letterbox
from pipeline.picture.suppression import SuppressionOptions
from pipeline.sources.arrays import ArraysSource
from pipeline.stages.gate import GatedFrame, Gating
from pipeline.stages.pack import PackedInput, PreprocessParts
from pipeline.stages.preprocess import Preprocess

pytest.importorskip("onnx", reason="writes an ONNX file")

from tests.support.grid_detector import write_grid_detector


@pytest.mark.parametrize("size_wh", [(320, 180), (181, 320), (97, 101)])
@pytest.mark.parametrize(
    "changes",
    [{}, {"resize": "letterbox-topleft", "colour": "bgr"}, {"layout": "nhwc", "dtype": "uint8"}],
    ids=["centred", "top left", "bytes"],
)
def test_parts_have_the_pixels_of_the_letterboxed_frame(size_wh: Size, changes: dict[str, Any]) -> None:
    spec = replace(DetectorSpec("images", (160, 160), head="boxes", class_names=("a",)), **changes)
    pixels = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3)).astype(np.uint8)
    letterbox = Letterbox.fit(size_wh, spec.network_wh, spec.resize)
    cells = np.zeros((18, 32), np.bool_)
    cells[2:4, 3:5] = cells[15:18, 28:32] = True
    packing = Packer(spec.network_wh, ((96, 160), (160, 160))).pack(cells, letterbox, np.zeros((0, 4), np.float32))
    assert packing is not None
    frame = GatedFrame(ArrayPicture(pixels), "cam", 0, 0.0, 0.0, packing=packing)
    (packed,) = PreprocessParts(spec).process(frame)
    (plain,) = Preprocess(spec).process(replace(frame, packing=None))
    assert isinstance(packed, PackedInput)
    image, expected = (t[0] if spec.channels_first else t[0].transpose(2, 0, 1) for t in (packed.tensor, plain.tensor))
    assert image.shape[1:] == packing.canvas_wh[::-1]
    for part in packing.parts:
        (rows, columns), (width, height) = part.window.window, part.window.size_wh
        of_part = image[:, part.top : part.top + height, part.left : part.left + width]
        np.testing.assert_array_equal(of_part, expected[:, rows, columns])


def red_squares(index: int) -> PixelArray:
    """A street of 256 × 160 with two red squares on whole cells: one stands, the other walks; a third comes at 20."""
    pixels = np.full((160, 256, 3), 40, np.uint8)
    for left, top in [(32, 32), (8 * (index // 2) % 256, 96), *([(224, 0)] if index >= 20 else [])]:
        pixels[top : top + 16, left : left + 16, 2] = 250
    return pixels


def run(model: Path, kind: str | None, arrays: list[PixelArray], **keys: Any) -> tuple[list[Result], Assembly]:
    options: dict[str, Any] = {"model": str(model), "gate.kind": kind, "output.show": False, "engine.device": "cpu"}
    options |= keys | ({"gate.full_scan_s": 1000, "gate.check_share": 0} if kind else {})
    assembly = assemble(load_config(options=options), source=ArraysSource(arrays))
    with Running(assembly.flow, results=True) as running:
        return list(running), assembly


@pytest.mark.parametrize(
    "keys", [{}, {"engine.inflight": 3}, {"track.kind": "bytetrack"}], ids=["", "workers", "tracks"]
)
def test_a_packed_run_has_the_boxes_of_every_frame(tmp_path: Path, keys: dict[str, Any]) -> None:
    model = write_grid_detector(tmp_path / "m.onnx", (256, 256))
    arrays = [red_squares(index) for index in range(60)]
    every, _ = run(model, None, arrays, **keys)
    packed, assembly = run(model, "pack", arrays, **keys)
    gate = assembly.gates()["arrays"]
    assert gate.num_packed >= 20
    assert gate.num_carried >= 20
    assert any(result.detections.carried is not None and not result.is_carried for result in packed)
    for expected, result in zip(every, packed, strict=True):
        order, own = (np.lexsort(r.detections.boxes_xyxy.T) for r in (expected, result))
        np.testing.assert_allclose(
            result.detections.boxes_xyxy[own], expected.detections.boxes_xyxy[order], atol=1e-3, err_msg=str(result)
        )
        np.testing.assert_allclose(result.detections.scores[own], expected.detections.scores[order], atol=1e-5)


@pytest.mark.parametrize(
    "keys", [{"gate.every": 4}, {"gate.every": 3, "engine.inflight": 3}], ids=["every fourth", "several at once"]
)
def test_parts_of_every_nth_frame_give_the_boxes_that_whole_ones_give(tmp_path: Path, keys: dict[str, Any]) -> None:
    model = write_grid_detector(tmp_path / "m.onnx", (256, 256))
    arrays = [red_squares(index) for index in range(120)]
    every, _ = run(model, None, arrays)
    whole, _ = run(model, "between", arrays, **keys)
    parts, assembly = run(model, "between-pack", arrays, **keys)
    gate = assembly.gates()["arrays"]
    assert gate.num_packed >= 0.6 * gate.num_inferred
    assert gate.num_carried >= 60
    for expected, between, result in zip(every, whole, parts, strict=True):
        assert result.frame.index == between.frame.index
        assert result.is_carried == between.is_carried
        reference = between if result.is_carried else expected
        boxes, truth = (_in_order(r.detections.boxes_xyxy) for r in (result, reference))
        np.testing.assert_allclose(boxes, truth, atol=1e-3, err_msg=str(result.frame.index))


def _in_order(boxes_xyxy: FloatArray) -> FloatArray:
    return boxes_xyxy[np.lexsort(boxes_xyxy.T)]


def test_a_network_in_the_shape_of_the_video_has_the_boxes_of_the_square_one(tmp_path: Path) -> None:
    model = write_grid_detector(tmp_path / "m.onnx", (256, 256))
    arrays = [red_squares(index) for index in range(30)]
    every, square = run(model, None, arrays)
    shaped, rectangle = run(model, None, arrays, **{"engine.shape": "video"})
    assert (square.engine.spec.network_wh, rectangle.engine.spec.network_wh) == ((256, 256), (256, 160))
    for expected, result in zip(every, shaped, strict=True):
        boxes, truth = (_in_order(r.detections.boxes_xyxy) for r in (result, expected))
        np.testing.assert_allclose(boxes, truth, atol=1e-3)


@pytest.mark.parametrize("kind", ["pack", "between-pack"])
def test_a_picture_without_objects_has_none_in_its_parts(tmp_path: Path, kind: str) -> None:
    model = write_grid_detector(tmp_path / "m.onnx", (256, 256))
    arrays = [np.full((160, 256, 3), 40, np.uint8) for _ in range(40)]
    for index, pixels in enumerate(arrays):
        pixels[64:96, 3 * index : 3 * index + 20, 1] = 200  # green, which is nothing to the network
    results, assembly = run(model, kind, arrays)
    assert assembly.gates()["arrays"].num_packed >= 5
    assert [len(result.detections) for result in results] == [0] * 40


def test_where_all_of_the_picture_moves_packing_is_tried_at_one_in_eight_frames_and_again_once_it_pays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[bool] = []
    pack = Packer.pack

    def counted(self: Packer, *words: Any) -> Packing | None:
        packing = pack(self, *words)
        tried.append(packing is not None)
        return packing

    monkeypatch.setattr(Packer, "pack", counted)
    gating = Gating(
        GateOptions(full_scan_seconds=1000, check_share=0),
        lambda _: SuppressionOptions(score_threshold=0.3),
        packer=Packer((256, 256), ((96, 96),)),
    )
    gate = gating.gate_of("cam")
    is_packed = []
    for index in range(160):
        pixels = np.full((160, 256, 3), 40, np.uint8)
        left = 8 * (index % 4)
        corners = [(left, 0), (220 - left, 130)] if 20 <= index < 100 else [(left, 0)] if index >= 20 else []
        for x, y in corners:  # two far apart, and then one
            pixels[y : y + 24, x : x + 24] = 250
        (item,) = gate.process(Frame.from_pixels(pixels, source_id="cam", index=index, pts_seconds=index / 25))
        is_packed.append(isinstance(item, GatedFrame) and item.packing is not None)
    assert tried[:8] == [False] * 8
    assert 15 <= tried.index(True) <= 20  # 8, and then one in 8 of 72
    assert not any(is_packed[:100])
    assert all(is_packed[108:118])


def test_networks_that_cannot_be_smaller_or_see_whole_frames_alone_are_refused(tmp_path: Path) -> None:
    arrays = [red_squares(0)]
    with pytest.raises(ConfigError, match=r"a network that can be smaller: .* export .*; take --gate"):
        run(Path("demo"), "pack", arrays)
    model = write_grid_detector(tmp_path / "m.onnx", (256, 256))
    with pytest.raises(ConfigError, match=r"--gate between-pack needs a network .*; take --gate between"):
        run(Path("demo"), "between-pack", arrays)
    with pytest.raises(ConfigError, match="--tiles cuts frames too; leave one of them out"):
        run(model, "pack", arrays, **{"tiles.grid": "1x2"})
