"""Is any text printed wherever it goes, and does what is lost end nothing but the exit code's innocence?"""

from __future__ import annotations

import errno
import io
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.app.standard_streams import Outlet, Outlets, encodable
from tests.support.command_line import STREAMDET

has_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


class Broken(io.StringIO):
    """A stream that cannot be written."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        super().__init__()
        self._error = OSError(number, os.strerror(number))

    def write(self, text: str) -> int:
        raise self._error


def both(output: Outlet, error: io.StringIO) -> Outlets:
    return Outlets(output, Outlet(error), had_error=True)


@given(st.text(), st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8", "shift_jis"]))
def test_any_text_can_be_encoded_in_anything(text: str, encoding: str) -> None:
    shown = encodable(text, encoding)
    assert encodable(shown, encoding) == shown
    shown.encode(encoding)


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("a → b – c ✓ … é 640×480", "ascii", "a -> b - c yes ... e 640x480"),
        ("a → b – c ✓ … é 640×480", "cp1252", "a -> b – c yes … é 640×480"),
        ("猫", "latin-1", "?"),
        ("caf\udce9.mp4", "utf-8", "caf\\xe9.mp4"),
        ("\ud800", "utf-8", "?"),
    ],
)
def test_what_an_encoding_lacks_is_said_otherwise(text: str, encoding: str, shown: str) -> None:
    assert encodable(text, encoding) == shown


def test_secrets_are_masked_in_what_is_printed() -> None:
    screen = io.StringIO()
    outlet = Outlet(screen, words=["rtsp://joe:a b@h/s"])
    outlet.write("no rtsp://joe:pw@h/s, and no rtsp://joe:a b@h/s\n")
    assert screen.getvalue() == "no rtsp://***@h/s, and no rtsp://***@h/s\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_text_that_is_lost_is_told_once_and_ends_with_1(number: int) -> None:
    output, error = Outlet(Broken(number)), io.StringIO()
    output.write("first")
    output.write("second")
    assert both(output, error).status(0) == 1
    assert error.getvalue() == f"streamdet: error: standard output cannot be written: {os.strerror(number)}\n"


def test_a_stream_that_is_closed_is_told_only_if_it_was_needed() -> None:
    needed, error = Outlet(None), io.StringIO()
    assert both(Outlet(None), error).status(0) == 0
    needed.write("x")
    assert both(needed, error).status(0) == 1
    assert error.getvalue() == "streamdet: error: standard output cannot be written: it is closed\n"


def test_a_reader_who_leaves_has_seen_enough() -> None:
    output, error = Outlet(Broken(errno.EPIPE)), io.StringIO()
    output.write("x")
    assert both(output, error).status(0) == 0
    assert error.getvalue() == ""


def test_the_status_of_a_failure_stays() -> None:
    output = Outlet(Broken(errno.EIO))
    output.write("x")
    assert both(output, io.StringIO()).status(129) == 129


def shell(line: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = line.replace("streamdet", " ".join(STREAMDET), 1)
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        cwd=folder,
        timeout=60,
        env={**os.environ, "PYTHONPATH": root, **env},
    )


@has_full
@pytest.mark.parametrize(
    ("line", "status", "last"),
    [
        ("{run} --report r.json >/dev/full", 1, "standard output cannot be written: No space left on device"),
        ("{run} --report r.json >&-", 1, "standard output cannot be written: it is closed"),
        (
            "{run} --report r.json --jsonl - >/dev/full",
            1,
            "standard output: JSON lines cannot be written: No space left",
        ),
        ("{run} --report r.json --jsonl - 2>/dev/full", 1, ""),
        ("{run} --report r.json 2>&-", 0, ""),
        ("{run} --report r.json | head -n 1", 0, ""),
        ("{run} --report r.json --jsonl - | head -n 1", 0, ""),
        ("streamdet --help >/dev/full", 1, "standard output cannot be written: No space left on device"),
        ("{run} --jsonl - >&-", 1, "standard output: JSON lines cannot be written, because it is closed"),
    ],
)
def test_a_run_outlives_its_terminal(
    tmp_path: Path, small_video: Path, small_detector: Path, line: str, status: int, last: str
) -> None:
    run = f"streamdet run {small_video} -m {small_detector} --device cpu"
    done = shell(line.format(run=run), tmp_path)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert last in (done.stderr.splitlines() or [""])[-1]
    if "--report" in line:
        assert (tmp_path / "r.json").exists()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_report_is_written_whatever_the_terminal_can_show(
    tmp_path: Path, small_video: Path, small_detector: Path, encoding: str
) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / name).write_bytes(small_video.read_bytes())
    done = shell(
        f"streamdet run $'caf\\xe9.mp4' -m {small_detector} --device cpu -o o.mp4 --report r.json",
        tmp_path,
        PYTHONIOENCODING=encoding,
    )
    assert done.returncode == 0, done.stderr
    assert '"caf\\udce9.mp4"' in (tmp_path / "r.json").read_text()
    assert "written  r.json, o.mp4" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_lines_for_a_pipe_that_nobody_reads_are_given_up_after_a_while() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "w") as pipe:
        outlet = Outlet(pipe)
        assert outlet.is_pipe()
        outlet.patience_seconds = 0.01
        while outlet.failure is None:  # until the pipe is full
            outlet.write("a line\n" * 500)
        outlet.write("no more")
        assert isinstance(outlet.failure, TimeoutError)
        assert "has not read for 0.01 s" in str(outlet.failure)
