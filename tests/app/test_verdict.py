"""Verdict: the sentence at the end names the bottleneck of made-up numbers, and the change to make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.run.verdict import ProcessorUse, Setup, judge
from pipeline.flow.ledger import Ledger
from pipeline.flow.meters import StageMeter, StageStatistics
from pipeline.flow.running import RunStatistics
from pipeline.sources.opening import open_source
from pipeline.sources.source import FrameSource
from pipeline.sources.street.clip import StreetClip
from pipeline.sources.words import DEMO_CLIP
from pipeline.testing import StepClock

NAMES = ("street.mp4", "preprocess", "detect", "nms", "render", "record out.mp4", "jsonl", "window")


def node(name: str, *, busy: float | None, workers: int = 1) -> StageStatistics:
    kind = "source" if name == "street.mp4" else "sink" if name in NAMES[5:] else "stage"
    role = "record" if name.startswith("record ") else {"street.mp4": "source"}.get(name, name)
    meter = StageMeter(name=name, kind=kind, role=role, workers=workers)
    for _ in range(100):
        meter.served(None if busy is None else busy * workers / 100, "street.mp4", 1.0)
    return meter.statistics(now_seconds=1.0, elapsed_seconds=1.0)


def run(nodes: tuple[StageStatistics, ...], *, delivered: int = 100, dropped: int = 0) -> RunStatistics:
    clock = StepClock()
    ledger = Ledger(["street.mp4"], clock=clock)
    for count in range(delivered + dropped):
        ticket = ledger.capture("street.mp4")
        ledger.finish(ticket, "delivered" if count < delivered else "dropped_full")
        clock.advance(0.01)
    everything, by_source = ledger.statistics()
    return RunStatistics(1.0, everything, by_source, nodes)


def test_a_network_that_looks_at_tiles_is_first_given_fewer_of_them() -> None:
    limits = {
        grid: judge(run((node("detect", busy=0.99),)), is_live=False, setup=tiled(grid)) for grid in ("2x2", None)
    }
    assert "cut fewer or no tiles (--tiles), each of which it looks at, or take a smaller" in limits["2x2"].advice
    assert "tiles" not in limits[None].advice


def tiled(grid: str | None) -> Setup:
    return Setup(load_config(options={"tiles.grid": grid}))


@pytest.mark.parametrize(
    ("slow", "advice"),
    [
        ("street.mp4", "give it smaller pictures"),
        ("preprocess", "nearer to the network's size"),
        ("detect", "smaller network"),
        ("nms", "--score-threshold"),
        ("render", "render.labels=false"),
        ("record out.mp4", "leave -o out"),
        ("jsonl", "faster disk"),
        ("window", "--no-show"),
    ],
)
def test_the_busiest_stage_limits_and_gets_its_advice(slow: str, advice: str) -> None:
    verdict = judge(run(tuple(node(name, busy=0.95 if name == slow else 0.2) for name in NAMES)), is_live=False)
    assert verdict.limited_by == slow
    assert advice in verdict.advice


def test_the_sentence_says_what_would_limit_next() -> None:
    nodes = (node("street.mp4", busy=0.25), node("detect", busy=1.0, workers=2), node("nms", busy=0.01))
    verdict = judge(run(nodes), is_live=False)
    assert "Limited by detect (100% busy, 20.0 ms per frame)" in verdict.advice
    assert "street.mp4 would limit next, at about 400 frames/s" in verdict.advice


def test_a_camera_that_is_kept_up_with_is_the_limit() -> None:
    verdict = judge(run((node("street.mp4", busy=None), node("detect", busy=0.5))), is_live=True)
    assert verdict.limited_by == "source"
    assert "100.0 frames/s" in verdict.advice
    assert "detect 50% busy" in verdict.advice


def test_a_camera_that_outruns_the_network_is_not_the_limit() -> None:
    verdict = judge(run((node("street.mp4", busy=None), node("detect", busy=0.99)), dropped=50), is_live=True)
    assert verdict.limited_by == "detect"


def test_where_no_stage_is_busy_the_machine_is_suspected() -> None:
    verdict = judge(run((node("street.mp4", busy=0.3), node("detect", busy=0.4))), is_live=False)
    assert verdict.limited_by == "waiting"
    assert "40%" in verdict.advice


def test_a_stage_of_ones_own_gets_general_advice() -> None:
    verdict = judge(run((node("blur-faces", busy=0.9),)), is_live=False)
    assert verdict.limited_by == "blur-faces"
    assert "more workers" in verdict.advice


def test_nothing_delivered_is_said_plainly() -> None:
    verdict = judge(run((node("detect", busy=0.0),), delivered=0), is_live=False)
    assert verdict.limited_by == "nothing"


def test_a_live_source_among_recorded_ones_sets_the_pace() -> None:
    verdict = judge(run((node("street.mp4", busy=None), node("detect", busy=0.4))), is_live=False)
    assert verdict.limited_by == "source"
    assert "pace of street.mp4" in verdict.advice


def test_where_no_core_is_left_the_processor_limits_and_the_dearest_role_is_to_be_changed() -> None:
    nodes = (node("street.mp4", busy=0.5), node("detect", busy=0.55, workers=2), node("record out.mp4", busy=0.3))
    use = ProcessorUse(cores=2, cores_used=1.95, seconds_by_role={"source": 0.2, "detect": 0.4, "record": 1.2})
    verdict = judge(run(nodes), is_live=False, processor=use)
    assert verdict.limited_by == "record out.mp4"
    assert "1.9 of 2 cores busy), of which record takes 67%" in verdict.advice
    assert "leave -o out" in verdict.advice


@pytest.mark.parametrize(("num", "words"), [(1, "One frame says"), (9, "9 frames say")])
def test_few_frames_have_no_bottleneck(num: int, words: str) -> None:
    verdict = judge(run((node("detect", busy=0.95),), delivered=num), is_live=False)
    assert verdict.limited_by == "nothing"
    assert verdict.advice.startswith(f"{words} nothing about speed")


def test_ten_frames_have_one() -> None:
    assert judge(run((node("detect", busy=0.95),), delivered=10), is_live=False).limited_by == "detect"


# --- advice that depends on what was run: the busy node is that of the source or of a sink --------------------------


def advice_of_source(word: str, source: FrameSource, **options: object) -> str:
    setup = Setup(load_config(options={"sources": (word,), **options}), {"street.mp4": source})
    advice = judge(run((node("street.mp4", busy=0.95),)), is_live=False, setup=setup).advice
    source.close()
    return advice.partition("): ")[2]


def advice_of_recording(**options: object) -> str:
    setup = Setup(load_config(options={"output.video": "out.mp4", **options}))
    return judge(run((node("record out.mp4", busy=0.95),)), is_live=False, setup=setup).advice


def test_names_are_without_folders() -> None:
    nodes = (node("record /home/me/a b.mp4", busy=0.95), node("videos/street.mp4", busy=0.2))
    verdict = judge(run(nodes), is_live=False)
    assert verdict.limited_by == "record /home/me/a b.mp4"
    assert verdict.advice.startswith("Limited by record a b.mp4 (95% busy")
    assert "; street.mp4 would limit next" in verdict.advice


def test_of_several_sources_none_is_said_to_limit_next() -> None:
    nodes = (node("detect", busy=0.95), node("street.mp4", busy=0.4))
    statistics = run(nodes)
    several = replace(statistics, frames_by_source={**statistics.frames_by_source, "b.mp4": statistics.frames})
    assert "street.mp4 would limit next" in judge(statistics, is_live=False).advice
    assert "next" not in judge(several, is_live=False).advice


def test_drops_of_a_live_run_without_a_busy_stage_are_not_passed_over() -> None:
    verdict = judge(run((node("street.mp4", busy=None), node("detect", busy=0.4)), dropped=5), is_live=True)
    assert verdict.limited_by == "waiting"
    assert "yet 5 of 105 frames were dropped" in verdict.advice


def test_a_drawn_street_has_no_codec_and_a_video_is_recommended() -> None:
    advice = advice_of_source("sim:traffic?seconds=1", open_source("sim:traffic?seconds=1&size=64x64"))
    assert advice == "drawing it takes the time, which a video such as demo:street does not need."


def test_images_are_read_and_not_streamed(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 9, 3), np.uint8))
    advice = advice_of_source(str(tmp_path), open_source(str(tmp_path)))
    assert advice == "reading the images takes the time; smaller ones, or JPEG instead of PNG, are read faster."


@pytest.mark.parametrize(
    ("codec", "size_wh", "every", "advice"),
    [
        ("h264", (1280, 720), 1, "1280×720 h264 takes the time; detect in fewer frames (--every 2), or run it on more"),
        ("h264", (1280, 720), 3, "1280×720 h264 takes the time; detect in fewer frames (--every 4), or run it on more"),
        ("h264", (1920, 1080), 1, "1920×1080 h264 takes the time; a smaller video is decoded faster"),
        ("hevc", (640, 360), 1, "640×360 hevc takes the time; a smaller video, or H.264, is decoded faster"),
    ],
)
def test_a_video_is_advised_by_its_codec_and_size(
    monkeypatch: pytest.MonkeyPatch, codec: str, size_wh: tuple[int, int], every: int, advice: str
) -> None:
    clip = StreetClip(source_id=DEMO_CLIP)
    monkeypatch.setattr(clip, "size_wh", size_wh)
    monkeypatch.setattr(clip, "_codec_name", codec)
    assert advice_of_source(DEMO_CLIP, clip, **{"flow.every": every}).startswith(f"decoding {advice}")


def test_a_video_that_has_gone_since_is_still_advised_as_a_video(small_video: Path) -> None:
    assert advice_of_source("gone.mp4", open_source(str(small_video))).startswith("decoding ")


def test_of_several_sources_the_busy_one_is_advised(small_video: Path) -> None:
    street, video = open_source("sim:traffic?size=64x64"), open_source(str(small_video))
    config = load_config(options={"sources": ("sim:traffic?size=64x64", str(small_video))})
    setup = Setup(config, {"drawn": street, "street.mp4": video})
    verdict = judge(run((node("street.mp4", busy=0.95), node("detect", busy=0.2))), is_live=False, setup=setup)
    assert "decoding " in verdict.advice
    street.close()
    video.close()


def test_a_gpu_is_advised_for_recording_only_where_it_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sinks.encoder.encoder_failure", lambda codec: None)
    assert "record on the GPU (--set output.codec=h264_nvenc)" in advice_of_recording()
    assert "nvenc" not in advice_of_recording(**{"output.codec": "h264_nvenc"})
    monkeypatch.setattr("pipeline.sinks.encoder.encoder_failure", lambda codec: "no CUDA device")
    assert "nvenc" not in advice_of_recording()
    assert "leave output.preset out, which takes the fastest" in advice_of_recording(**{"output.preset": "veryfast"})


def test_a_reader_of_json_lines_and_a_disk_are_told_apart() -> None:
    for target, advice in (("-", "what reads the JSON lines is slower"), ("out.jsonl", "a faster disk")):
        setup = Setup(load_config(options={"output.jsonl": target}))
        assert advice in judge(run((node("jsonl", busy=0.95),)), is_live=False, setup=setup).advice


def test_another_device_is_advised_only_where_one_was_asked_for() -> None:
    for device, is_advised in (("auto", False), ("cpu", True)):
        setup = Setup(load_config(options={"engine.device": device}))
        advice = judge(run((node("detect", busy=0.95),)), is_live=False, setup=setup).advice
        assert ("--device auto" in advice) == is_advised


def test_a_processor_with_cores_to_spare_limits_nothing() -> None:
    use = ProcessorUse(cores=8, cores_used=1.5, seconds_by_role={"detect": 1.0})
    assert judge(run((node("detect", busy=0.95),)), is_live=False, processor=use).limited_by == "detect"


def test_a_live_run_that_keeps_up_is_limited_by_its_source_even_on_a_full_processor() -> None:
    use = ProcessorUse(cores=2, cores_used=2.0, seconds_by_role={"detect": 1.0})
    assert judge(run((node("detect", busy=0.95),)), is_live=True, processor=use).limited_by == "source"
