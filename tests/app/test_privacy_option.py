"""The options --blur and --pixelate: no output gets a clear picture, and what cannot be hidden is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamdet
from pipeline.app import outputs
from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.output import Output
from pipeline.errors import ConfigError
from pipeline.flow.running import Running
from pipeline.picture.detections import RenderedFrame
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.sources.arrays import ArraysSource
from pipeline.testing import CollectingSink
from tests.support.command_line import Streamdet, refused
from tests.support.tiny_detector import write_detector

STRIPES = np.zeros((64, 64, 3), np.uint8)
STRIPES[:, ::2] = 255
INSIDE = (slice(20, 28), slice(12, 20))  # of the cat's box, away from its outline


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds an unsure cat and a sure dog in every picture."""
    spec = DetectorSpec(input_name="images", network_wh=(64, 64), head="boxes", class_names=("cat", "dog"))
    rows: dict[str, Any] = {
        "boxes": np.array([[8, 16, 24, 32], [32, 24, 56, 44]], np.float32),
        "scores": np.array([0.2, 0.9], np.float32),
        "class_ids": np.array([0, 1], np.int64),
    }
    path = tmp_path_factory.mktemp("model") / "cats.onnx"
    return write_detector(path, rows, metadata={METADATA_KEY: spec.to_json()}, adds_mean=False)


def is_clear(pixels: np.ndarray) -> bool:
    """Whether stripes of 255 levels can be seen in the cat."""
    return bool(np.abs(np.diff(pixels[INSIDE].astype(int), axis=1)).max() > 100)


@pytest.mark.parametrize(
    "settings", [{}, {"privacy.blur": "cat"}, {"privacy.pixelate": "0", "detection.classes": "dog"}]
)
def test_no_output_of_the_table_gets_a_clear_picture(
    settings: dict[str, object], detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is requested, so that a new output cannot be forgotten; without the option they do get clear ones."""
    sinks: dict[str, CollectingSink[Any]] = {output.role: CollectingSink() for output in outputs.OUTPUTS}

    def spied(output: Output) -> Output:
        return replace(
            output,
            target=lambda _: output.role,
            open=lambda _: sinks[output.role],
            file_option=None,
            files=None,
            per_source=False,
            in_main_thread=False,
        )

    monkeypatch.setattr(outputs, "OUTPUTS", tuple(map(spied, outputs.OUTPUTS)))
    options = {"model": str(detector), "render.labels": False, "detection.score_threshold": 0.5, **settings}
    assembly = assemble(load_config(None, options=options), source=ArraysSource([STRIPES]))
    with Running(assembly.flow, results=True) as running:
        (result,) = running
    pictures = [result.frame.pixels]
    for sink in sinks.values():
        (item,) = sink.got
        if isinstance(item, RenderedFrame):
            pictures.append(item.pixels)
            item = item.result
        pictures += [item.frame.pixels, item.frame.picture.copy_pixels(), item.plot(labels=False)]
        pictures.append(item.frame.picture.resized((64, 64), colour="bgr"))
        assert item.counts() == {"dog": 1}  # the unsure cat is hidden, and not shown as a detection
    assert len(pictures) > 4 * len(outputs.OUTPUTS)
    assert {is_clear(pixels) for pixels in pictures} == {not settings}


def test_files_show_nothing_of_it(streamdet: Streamdet, detector: Path, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "photo.png"), STRIPES)
    out, kept = tmp_path / "out.png", tmp_path / "kept"
    words = ("-o", out, "--save-frames", "any", "--frames", kept, "--set", "render.labels=false", "--blur", "Cat")
    done = streamdet("run", tmp_path / "photo.png", "-m", detector, *words)
    assert done.returncode == 0, done
    files = [out, *kept.rglob("*.*")]
    assert len(files) == 2
    assert not any(is_clear(np.asarray(cv2.imread(str(path)))) for path in files)


def test_a_frame_whose_detections_fail_is_not_shown(tmp_path: Path, streamdet: Streamdet) -> None:
    spec = DetectorSpec(input_name="images", network_wh=(64, 64), head="boxes", class_names=("cat",))
    rows: dict[str, Any] = {
        "boxes": np.array([[8, 16, np.nan, 32]], np.float32),
        "scores": np.array([0.9], np.float32),
        "class_ids": np.array([0], np.int64),
    }
    path = write_detector(tmp_path / "m.onnx", rows, metadata={METADATA_KEY: spec.to_json()}, adds_mean=False)
    out = tmp_path / "out.mp4"
    words = ("--blur", "cat", "--no-strict", "-o", out, "--max-frames", "3")
    done = streamdet("run", "sim:traffic?size=64x64", "-m", path, *words)
    assert "3 failed" in " ".join(done.stdout.split()), done
    assert not out.exists()


def test_sources_with_settings_of_their_own_are_hidden_too(small_video: Path, detector: Path) -> None:
    sources = [{"url": str(small_video), "name": "door", "classes": ["dog"], "score_threshold": 0.95}]
    options = {"sources": sources, "model": str(detector), "output.show": False, "flow.max_frames": 1}
    assembly = assemble(load_config(None, options={**options, "privacy.blur": "cat"}))
    assert [node.name for node in assembly.flow.nodes][-1] == "conceal"
    with Running(assembly.flow, results=True) as running:
        (result,) = running
    assert len(result.detections) == 0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--blur", "face"), ("privacy.blur: the model has no class 'face'", "cat, dog")),
        (("--pixelate", "7"), ("privacy.pixelate", "at most 1, got 7")),
        (("--blur", "cat", "--pixelate", "0"), ("must be in one of blur and pixelate",)),
        (("--blur", "cat", "--set", "detection.suppression=class-agnostic"), ("class-agnostic", "class-aware")),
        (("--blur", ","), ("--blur must name at least one",)),
    ],
)
def test_what_cannot_be_hidden_is_refused(
    streamdet: Streamdet, small_video: Path, detector: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert refused(streamdet("run", small_video, "-m", detector, *words), *parts)


def test_a_detector_in_python_refuses_it(detector: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no use for privacy\.blur"):
        streamdet.Detector(detector, settings={"privacy.blur": "cat"})
