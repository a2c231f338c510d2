"""The options of the look: every picture that leaves a run has it, and a look that there is not is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import streamdet as package
from pipeline.app.config.loading import load_config
from pipeline.app.open_outputs import warn_of_unused_look
from pipeline.sources.images import read_image
from tests.support.command_line import Streamdet, refused


def test_images_snapshots_and_saved_frames_have_the_look_that_is_chosen(
    tmp_path: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), np.zeros((64, 96, 3), np.uint8))
    look = package.Look(theme="print", box_style="rounded", line_width=4, text_size=9)
    flags = ("--theme", "print", "--box-style", "rounded", "--line-width", 4, "--text-size", 9)
    outputs = ("-o", f"{tmp_path}/out/", "--save-frames", "any", "--draw-frames", "--frames", f"{tmp_path}/saved")
    done = streamdet("run", photo, "-m", small_detector, "--device", "cpu", *outputs, *flags)
    assert done.returncode == 0, done.stderr
    with package.Detector(small_detector, device="cpu") as detector:
        expected, plain = detector(photo).plot(look=look), detector(photo).plot()
    assert (expected != plain).any()
    for folder in ("out", "saved"):
        np.testing.assert_array_equal(read_image(tmp_path / folder / "a.png"), expected)


def test_annotators_of_supervision_draw_below_and_remember_each_source_apart(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    pytest.importorskip("supervision")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 96, 3), np.uint8))
    (tmp_path / "looks.yaml").write_text(
        "render: {boxes: false, labels: false, annotators: [heatmap, {box: {thickness: 4}}]}"
    )
    words = ("-m", small_detector, "--config", tmp_path / "looks.yaml", "--device", "cpu", "-o", f"{tmp_path}/out/")
    done = streamdet("run", small_video, tmp_path / "a.png", *words)
    assert done.returncode == 0, done.stderr
    assert read_image(tmp_path / "out" / "a.png")[14:18, 6:26].any(axis=2).all()
    assert (tmp_path / "out" / "black.mp4").stat().st_size > 0
    alone = streamdet("run", tmp_path / "a.png", *words[:-1], f"{tmp_path}/alone/")
    assert alone.returncode == 0, alone.stderr
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a.png"), read_image(tmp_path / "alone" / "a.png"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--line-width", "0"), ("--line-width", "greater than or equal to 1, got 0")),
        (("--set", "render.theme=darc"), ("render.theme", "did you mean", "dark")),
        (("--set", "render.text_size=400"), ("render.text_size", "300")),
        (("--text-size", "nan"), ("--text-size must be a valid integer, got 'nan'",)),
        (("--colour-by", "track"), ("--colour-by track colours objects that are followed: add --track",)),
        (("--annotators", "xqz"), ("has no annotator 'xqz'; there are background",)),
        (("--annotators", "traec"), ("supervision has no annotator 'traec'", "did you mean trace?")),
        (("--annotators", "box,trace"), ("trace draws objects that are followed: add --track",)),
        (("--set", "render.annotators=[{box: {thick: 3}}]"), ("box has no parameter 'thick'", "thickness")),
        (("--set", "render.annotators=[3]"), ("render.annotators must have names, or a name with its parameters",)),
        (("--set", "render.annotators=3"), ("render.annotators must be a list of names",)),
    ],
)
def test_a_look_that_there_is_not_is_refused(
    words: tuple[str, ...], parts: tuple[str, ...], small_video: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    if "annotators" in " ".join(words):
        pytest.importorskip("supervision")
    assert refused(streamdet("run", small_video, "-m", small_detector, "--no-show", *words), *parts)


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({"render.theme": "dark", "render.text_size": 20}, "--theme and --text-size: nothing is drawn; add -o out.mp4"),
        ({"render.box_style": "corners", "output.save_frames": "any"}, "--box-style: nothing is drawn;"),
        ({"render.line_width": 3, "serve": "0"}, "--line-width: nothing is drawn; the page draws in its own way;"),
        ({"render.theme": "dark", "output.save_frames": "any", "output.draw_frames": True}, None),
        ({"render.theme": "dark", "events.snapshots": "seen"}, None),
        ({"render.theme": "dark", "output.video": "out.mp4"}, None),
        ({"render.theme": "dark", "output.show": True}, None),
        ({}, None),
    ],
)
def test_a_look_without_a_picture_is_warned_of(
    options: dict[str, object], warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_unused_look(load_config(options={"output.show": False, **options}))
    assert (warning or "") in caplog.text
    assert len(caplog.records) == (warning is not None)
