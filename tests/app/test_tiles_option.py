"""The option --tiles: in runs, in eval and in Python, and clear words where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import streamdet
from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.tiles import tiling_of
from pipeline.detector.recognise import recognise
from pipeline.errors import ConfigError
from pipeline.flow.running import Running
from tests.support.command_line import Streamdet, refused
from tests.support.tiny_detector import write_boxes_detector

TILES = {"tiles.grid": "1x2", "tiles.overlap": 0.5, "tiles.whole_frame": False}


def test_boxes_of_tiles_come_back_in_pixels_of_the_frame(small_video: Path, small_detector: Path) -> None:
    """The detector finds the same two boxes in each tile of 64 × 64."""
    options = {"sources": (str(small_video),), "model": str(small_detector), "output.show": False, **TILES}
    with Running(assemble(load_config(None, options=options)).flow, results=True) as running:
        results = list(running)
    frames = running.statistics().frames
    assert frames.captured == frames.delivered == len(results) == 30
    assert results[0].detections.boxes_xyxy.tolist() == [
        *([8, 16, 24, 32], [40, 16, 56, 32]),
        *([32, 24, 56, 44], [64, 24, 88, 44]),
    ]


def test_a_detector_in_python_finds_what_a_run_finds(small_detector: Path) -> None:
    pictures = [np.zeros((64, 96, 3), np.uint8), np.zeros((40, 50, 3), np.uint8)]
    with streamdet.Detector(small_detector, settings=TILES) as detector:
        for ours, theirs in zip(
            detector(pictures), streamdet.detect(pictures, model=small_detector, settings=TILES), strict=True
        ):
            assert ours.detections.boxes_xyxy.tolist() == theirs.detections.boxes_xyxy.tolist()
            assert len(ours.detections) == 4


def test_sources_with_thresholds_of_their_own_have_them_in_tiles_too(small_video: Path, small_detector: Path) -> None:
    sources = [{"url": str(small_video), "name": "door", "classes": ["dog"]}]
    options = {"sources": sources, "model": str(small_detector), "output.show": False, "flow.max_frames": 1, **TILES}
    with Running(assemble(load_config(None, options=options)).flow, results=True) as running:
        (result,) = running
    assert result.counts() == {"dog": 2}


def test_the_network_gets_all_tiles_of_a_frame_at_once(small_video: Path, small_detector: Path) -> None:
    options = {"sources": (str(small_video),), "model": str(small_detector), "output.show": False}
    for more, batch in (({"tiles.grid": "2x3"}, 7), ({"tiles.grid": "2x3", "engine.batch": 2}, 2), ({}, None)):
        assembly = assemble(load_config(None, options={**options, **more}))
        assembly.close()
        assert assembly.config.engine.batch == batch


def test_it_is_a_flag_of_run_and_eval(
    streamdet: Streamdet, small_video: Path, small_detector: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "out.jsonl"
    words = (small_video, "-m", small_detector, "--tiles", "1x2", "--overlap", ".5", "--no-whole-frame")
    done = streamdet("run", *words, "--max-frames", "1", "--jsonl", lines)
    assert done.returncode == 0, done
    assert len(json.loads(lines.read_text(encoding="utf-8"))["detections"]) == 4
    done = streamdet("eval", "--data", "sim:traffic?seconds=0.2&size=320x180", "--tiles", "auto")
    assert refused(done, "--tiles auto needs the size of the smallest object")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--tiles", "2"), ("must be ROWSxCOLUMNS, such as 2x3, or auto", "--tiles")),
        (("--tiles", "0x2"), ("must be ROWSxCOLUMNS",)),
        (("--tiles", "99x99"), ("--tiles 99x99: a grid must have 1 to 256 tiles",)),
        (("--tiles", "2x2", "--overlap", "1"), ("--overlap", "0.9")),
        (("--overlap", ".3"), ("--overlap is for --tiles, which is missing",)),
        (("--no-whole-frame",), ("--no-whole-frame is for --tiles",)),
        (("--smallest-object", "20"), ("--smallest-object is for --tiles",)),
        (("--tiles", "2x2", "--smallest-object", "20"), ("--smallest-object is for --tiles auto, got --tiles 2x2",)),
        (("--tiles", "auto"), ("add --smallest-object 20",)),
        (("--tiles", "auto", "--smallest-object", ".01"), ("--tiles auto: objects of 0.01 pixels", "name larger")),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    streamdet: Streamdet, small_video: Path, small_detector: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert refused(streamdet("run", small_video, "-m", small_detector, *words), *parts)


def test_a_model_of_planes_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    path = write_boxes_detector(tmp_path / "pets.onnx", [(8.0, 16.0, 24.0, 32.0, 0.9, 0)])
    spec = replace(recognise(path), pixels="nv12")
    with pytest.raises(ConfigError, match="export it with --pixels packed"):
        tiling_of(load_config(None, options={"tiles.grid": "2x2"}).tiles, spec)
