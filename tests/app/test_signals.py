"""Signals: a command ends by them in any phase, with their exit code, and without a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.app.signals import Interrupted, Signals, exit_code_of
from pipeline.sources.video.source import VideoSource
from tests.support.command_line import Streamdet
from tests.support.tiny_detector import write_boxes_detector
from tests.support.videos import read_all

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

STREAMDET = [sys.executable, "-m", "streamdet"]
ALL = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
every_signal = pytest.mark.parametrize(("number", "status"), ALL)

# The child of `system` tells when this thread is in native code, and ends with its standard input.
IN_NATIVE_CODE = """
import ctypes
from pipeline.app.signals import Signals
with Signals(grace_seconds={grace}):
    ctypes.CDLL(None).system(b"echo native; read line")
"""
IN_AN_IMPORT = """
import os, sys
from pipeline.app.start import main
class Signalling:
    def find_spec(self, name, path=None, target=None):
        if name == "pipeline.app.commands":
            os.kill(os.getpid(), {number:d})
sys.meta_path.insert(0, Signalling())
main()
"""


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([*map(str, words)], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if words in line)


@every_signal
def test_the_first_signal_is_raised_in_the_main_thread(number: signal.Signals, status: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as interrupted, Signals():
        signal.raise_signal(number)
    assert exit_code_of(interrupted.value) == status
    assert signal.getsignal(number) == before


def test_a_signal_whose_exception_native_code_swallowed_is_raised_again() -> None:
    class Swallows:
        def __del__(self) -> None:  # what is raised in it is ignored
            os.kill(os.getpid(), signal.SIGINT)

    reports: list[int] = []
    with Signals(end=reports.append) as signals:
        Swallows()
        with pytest.raises(Interrupted):
            threading.Event().wait(20)  # which the signal ends
    assert (signals.numbers, reports) == ([signal.SIGINT], [])


def test_a_run_is_asked_to_stop_from_another_thread() -> None:
    """A handler that took a lock could come while this very thread holds it."""
    answers: list[threading.Thread] = []
    is_answered = threading.Event()

    def answer() -> None:
        answers.append(threading.current_thread())
        is_answered.set()

    with Signals() as signals, signals.answered_by(answer):
        signal.raise_signal(signal.SIGTERM)
        assert is_answered.wait(30)
    assert signals.numbers == [signal.SIGTERM]
    assert answers != [threading.main_thread()]


def test_without_memory_for_a_further_thread_the_watch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot_start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with Signals() as signals:
        monkeypatch.setattr(threading.Thread, "start", cannot_start)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    assert (signals.numbers, failures) == ([signal.SIGTERM], [])


def test_work_is_done_in_a_thread_and_its_error_is_raised() -> None:
    with Signals() as signals:
        assert signals.wait_for(threading.current_thread) is not threading.main_thread()
        with pytest.raises(ValueError, match="no such camera"):
            signals.wait_for(lambda: int("no such camera"))


def test_a_signal_ends_the_wait_for_work_that_does_not_return() -> None:
    gate = threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)  # unlike SIGHUP, nohup lets it through
        gate.wait()

    with pytest.raises(Interrupted), Signals(grace_seconds=0.01) as signals:
        signals.wait_for(work)
    gate.set()


@every_signal
def test_a_signal_in_an_import_is_one_line(number: signal.Signals, status: int) -> None:
    with started(sys.executable, "-c", IN_AN_IMPORT.format(number=number)) as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, "streamdet: interrupted\n")


@pytest.mark.parametrize(("number", "status"), ALL[1:])  # `system` itself ignores Ctrl-C
def test_native_code_that_does_not_return_is_given_the_grace(number: signal.Signals, status: int) -> None:
    with started(sys.executable, "-c", IN_NATIVE_CODE.format(grace=0.05)) as process:
        line_with(process, "native")
        process.send_signal(number)
        assert process.wait(60) == status
        process.communicate()


def test_a_second_signal_ends_native_code_at_once() -> None:
    with started(sys.executable, "-c", IN_NATIVE_CODE.format(grace=1e6)) as process:
        line_with(process, "native")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (129, 143)
        assert "stopped at once" in process.communicate()[1]


@every_signal
def test_a_silent_pipe_is_left_without_a_traceback(
    tmp_path: Path, small_detector: Path, number: signal.Signals, status: int
) -> None:
    fifo = tmp_path / "camera"
    os.mkfifo(fifo)
    with started(*STREAMDET, "run", fifo, "-m", small_detector, "--jsonl", "-") as process, fifo.open("wb"):
        process.send_signal(number)  # its reading end is open, because opening ours waited for that
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, "streamdet: interrupted\n")


def test_a_pipe_that_nobody_writes_to_is_told_by_its_silence(tmp_path: Path, small_detector: Path) -> None:
    fifo = tmp_path / "camera"
    os.mkfifo(fifo)
    words = ["run", fifo, "-m", small_detector, "--jsonl", "-", "--set", "network.open_timeout_s=0.1"]
    with started(*STREAMDET, *words) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no video came through the pipe for 0.1 s" in errors
    assert len(errors.splitlines()) == 1


def test_a_sink_that_blocks_is_left_behind_and_the_others_are_finished(tmp_path: Path, small_detector: Path) -> None:
    lines, video, report = tmp_path / "o.jsonl", tmp_path / "o.mp4", tmp_path / "r.json"
    os.mkfifo(lines)  # which nobody reads
    words = ["run", "sim:traffic?seed=1&size=96x64&fps=10&realtime=1", "-m", small_detector, "--grace", "0.2"]
    with started(*STREAMDET, *words, "--jsonl", lines, "-o", video, "--report", report) as process:
        line_with(process, "FPS captured")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "sink jsonl did not return within 0.2 s and was left behind" in errors
    assert "Traceback" not in errors
    assert read_all(VideoSource(video))
    assert json.loads(report.read_text())["frames"]["captured"] > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(("chosen", "goes_on"), [("continue", True), ("stop", False)])
def test_when_an_output_fails_the_others_go_on_or_stop(
    tmp_path: Path, small_video: Path, small_detector: Path, streamdet: Streamdet, chosen: str, goes_on: bool
) -> None:
    lines = tmp_path / "o.jsonl"
    source = (
        small_video if goes_on else "sim:traffic?seconds=60&size=64x48"
    )  # of 1,800 frames, which no run takes at once
    words = ["run", source, "-m", small_detector, "--every-frame", "--csv", "/dev/full", "--jsonl", lines]
    done = streamdet(*words, "--on-sink-error", chosen)
    assert done.returncode == 1
    assert "/dev/full: CSV cannot be written: No space left on device" in done.stderr
    num_lines = len(lines.read_text().splitlines()) if lines.exists() else 0
    assert num_lines == 30 if goes_on else num_lines < 1800


@pytest.mark.parametrize(("word", "status", "num_failed"), [("--strict", 1, None), ("--no-strict", 0, 30)])
def test_frames_without_a_value_are_an_error_or_counted(
    tmp_path: Path, small_video: Path, streamdet: Streamdet, word: str, status: int, num_failed: int | None
) -> None:
    model = write_boxes_detector(tmp_path / "nan.onnx", [(8.0, 16.0, 24.0, 32.0, float("nan"), 0)])
    report = tmp_path / "r.json"
    done = streamdet("run", small_video, "-m", model, "--jsonl", tmp_path / "o.jsonl", "--report", report, word)
    assert done.returncode == status, done.stderr
    assert "NaN for scores" in done.stderr
    if num_failed is not None:
        assert json.loads(report.read_text())["frames"]["failed"] == num_failed
