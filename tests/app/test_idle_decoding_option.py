"""The setting gate.decode_idle: what a run leaves undecoded is counted, and refused where it would be seen."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from pipeline.app.assemble import assemble
from pipeline.app.compare.gated import Watched, compare_gated
from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.progress import WorkProgress
from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections
from pipeline.picture.suppression import SuppressionOptions
from pipeline.stages.gate import GateStatistics
from tests.support.command_line import Streamdet
from tests.support.gated_films import drawn

FPS, GOP_FRAMES, NUM_FRAMES = 25, 10, 200
COMES_AT, GOES_AT = 104, 150


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s of a grey picture through which a block moves from frame 104 on, with a key frame every .4 s."""
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    options = {"x264-params": f"keyint={GOP_FRAMES}:min-keyint={GOP_FRAMES}:scenecut=0:bframes=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for index in range(NUM_FRAMES):
            pixels = drawn(index - COMES_AT if COMES_AT <= index < GOES_AT else None)
            frame = VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_what_is_not_decoded_is_counted_and_the_rest_has_its_numbers_in_every_run(
    tmp_path: Path, street: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    numbers = []
    for name in ("one", "two"):
        lines, report = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.json"
        done = streamdet(
            "run", street, "-m", small_detector, "--gate", "--set", "gate.decode_idle=key-frames", "--no-show",
            "--jsonl", lines, "--report", report,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        numbers.append([json.loads(line)["frame"] for line in lines.read_text().splitlines()])
        told = json.loads(report.read_text())
    frames, gate = told["frames"], told["gate"]
    assert numbers[0] == numbers[1]
    assert frames["captured"] == NUM_FRAMES == frames["delivered"] + frames["filtered"]
    assert frames["filtered"] == gate["undecoded"] > NUM_FRAMES // 3
    assert gate["inferred"] + gate["carried"] + gate["undecoded"] == NUM_FRAMES
    assert gate["duty"] == round(gate["inferred"] / NUM_FRAMES, 6)
    assert f"{gate['undecoded']} not decoded" in done.stdout + done.stderr
    seen_at = next(number for number in numbers[0] if number >= COMES_AT)
    assert seen_at % GOP_FRAMES == 0
    assert seen_at - COMES_AT <= FPS + GOP_FRAMES  # a key frame a second
    assert set(range(seen_at, GOES_AT)) <= set(numbers[0])


def test_a_comparison_takes_what_was_shown_last_for_what_was_not_decoded(street: Path, small_detector: Path) -> None:
    pytest.importorskip("pycocotools", reason="AP needs pycocotools")
    box = Detections(np.array([[1, 2, 3, 4]], np.float32), np.array([0.9], np.float32), np.array([0]))
    shown, sizes_wh = SuppressionOptions(score_threshold=0.3), ((64, 48),) * 5
    times = (0.0, 0.1, 0.2, 0.3, 0.4)
    teacher = Watched((box,) * 5, times, sizes_wh, GateStatistics(), shown, ("block",), (0, 1, 2, 3, 4))
    gated = Watched(
        (Detections.empty(), box), (0.1, 0.3), sizes_wh[:2], GateStatistics(num_undecoded=3), shown, ("block",), (1, 3)
    )
    filled = gated.in_every_frame_of(teacher)
    assert [len(of_frame) for of_frame in filled.detections] == [0, 0, 0, 1, 1]
    assert (filled.times_seconds, filled.numbers, filled.gate) == (times, teacher.numbers, gated.gate)
    config = _config(street, {"model": str(small_detector), "flow.mode": "every-frame"})
    comparison = compare_gated(config, sure_score=0.5, say=WorkProgress())
    assert comparison.num_frames == NUM_FRAMES
    assert comparison.gate.num_undecoded > NUM_FRAMES // 3


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"output.video": "o.mp4"}, "an output that shows them, record"),
        ({"output.show": True}, "an output that shows them, window; add --no-show"),
        ({"serve": "127.0.0.1:0"}, "an output that shows them, serve"),
        ({"flow.every": 2}, "must not be used with --every"),
        ({"flow.start": 1.0}, "must not be used with --start"),
        ({"flow.isolate": "all"}, "in a process of its own"),
        ({"sources": ("sim:traffic",)}, "is for video files and streams"),
        ({"gate.kind": None}, "gate.decode_idle is for --gate"),
    ],
)
def test_it_is_refused_where_every_picture_is_needed(street: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        assemble(_config(street, {"model": "demo"} | keys))


def test_it_is_refused_for_a_source_that_is_named_twice_in_whatever_words(street: Path) -> None:
    with pytest.raises(ConfigError, match="is for sources that are named once, got one that is named 2 times"):
        assemble(_config(street, {"model": "demo", "sources": (str(street), street.as_uri())}))


def _config(street: Path, keys: dict[str, Any]) -> RunConfig:
    options = {"sources": (str(street),), "gate.kind": "frames", "gate.decode_idle": "key-frames", "output.show": False}
    return load_config(options=options | keys)
