"""Abreast: sources side by side stay together in media time, and nobody waits for one that has ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

from pipeline.picture.frame import Frame
from pipeline.sources.abreast import Abreast
from pipeline.sources.opening import open_source
from pipeline.stages.capture import Capture
from tests.support.videos import write_video


def test_the_slowest_never_waits_and_others_may_be_a_little_ahead() -> None:
    abreast, stop = Abreast(("a", "b"), slack_seconds=0.5), threading.Event()
    assert abreast.wait("a", 0.5, stop)
    assert abreast.wait("b", 1.0, stop)
    assert abreast.wait("a", 1.5, stop)


def test_whoever_is_ahead_waits_until_the_others_have_come_or_left() -> None:
    abreast, stop = Abreast(("a", "b"), slack_seconds=0.5), threading.Event()
    with ThreadPoolExecutor() as pool:
        ahead = pool.submit(abreast.wait, "a", 2.0, stop)
        assert abreast.wait("b", 1.0, stop)
        assert not ahead.done()
        assert abreast.wait("b", 1.6, stop)
        assert ahead.result(20)
        far_ahead = pool.submit(abreast.wait, "a", 9.0, stop)
        assert not far_ahead.done()
        abreast.leave("b", 1.6)
        assert far_ahead.result(20)
    assert (abreast.end_seconds("b"), abreast.end_seconds("a")) == (1.6, None)


def test_the_wish_to_end_wakes_who_waits() -> None:
    abreast, stop = Abreast(("a", "b")), threading.Event()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(abreast.wait, "a", 9.0, stop)
        stop.set()
        assert waiting.result(20) is False


def test_captures_of_different_rates_come_out_together_and_say_when_they_end(tmp_path: Path) -> None:
    abreast, stop = Abreast(("fast", "slow"), slack_seconds=0.25), threading.Event()
    order: list[tuple[str, float]] = []

    def capture(name: str, rate: int, num_frames: int) -> Capture:
        path = write_video(tmp_path / f"{name}.mp4", num_frames=num_frames, rate=Fraction(rate))
        return Capture(open_source(str(path)), source_id=name, abreast=abreast)

    def read(frames: Iterator[Frame]) -> None:
        order.extend((frame.source_id, frame.pts_seconds) for frame in frames)

    captures = (capture("fast", 20, 40), capture("slow", 4, 4))
    with ThreadPoolExecutor() as pool:
        for reading in [pool.submit(read, iter(part.items(stop))) for part in captures]:
            reading.result(20)
    for part in captures:
        part.close()
    newest = {"fast": 0.0, "slow": 0.0}
    for name, seconds in order:
        newest[name] = seconds
        if seconds <= 0.75:
            assert abs(newest["fast"] - newest["slow"]) <= 0.5 + 1e-6
    assert len(order) == 44
    assert (abreast.end_seconds("fast"), abreast.end_seconds("slow")) == (39 / 20, 3 / 4)


def test_a_capture_that_is_left_early_has_ended(tmp_path: Path) -> None:
    abreast = Abreast(("a", "b"))
    path = write_video(tmp_path / "a.mp4", num_frames=9, rate=Fraction(10))
    capture = Capture(open_source(str(path)), source_id="a", max_frames=2, abreast=abreast)
    assert len(list(capture.items(threading.Event()))) == 2
    assert abreast.end_seconds("a") == 0.1
    assert capture.waited_seconds >= 0
    capture.close()
