"""Does it run where there is no home folder, write where files are special, and read what other systems wrote?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cache_folder import cache_folder
from pipeline.errors import ConfigError, SinkError, SourceError
from pipeline.sinks.writable import refuse_unwritable
from pipeline.sources.opening import open_source
from pipeline.text_file import read_text
from pipeline.user_path import user_path
from pipeline.whole_file import write_whole

needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.fixture
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container that runs as a number without a name."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)

    def nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", nobody)


@pytest.mark.usefixtures("_no_home")
def test_without_a_home_the_cache_is_a_folder_of_this_process_alone(caplog: pytest.LogCaptureFixture) -> None:
    folder = cache_folder()
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0
    assert cache_folder() == folder
    assert "set XDG_CACHE_HOME" in caplog.text


def test_the_cache_is_where_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the specification
    assert cache_folder() == tmp_path / ".cache" / "streamdet"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "streamdet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")
    assert cache_folder() != Path("/.cache/streamdet")


@pytest.mark.usefixtures("_no_home")
def test_a_tilde_without_a_home_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^~/v.mp4: nobody knows which folder ~ is on this machine; write the whole"):
        user_path("~/v.mp4")
    with pytest.raises(SourceError, match=r"^~/v.mp4: nobody knows which folder ~ is"):
        open_source("~/v.mp4")


def test_a_tilde_of_nobody_is_one_line() -> None:
    with pytest.raises(SourceError, match=r"^~no-such-user/v.mp4: nobody knows which folder ~no-such-user is"):
        open_source("~no-such-user/v.mp4")


def test_file_addresses_are_paths() -> None:
    assert user_path("file:///a%20b/c.mp4") == user_path("FILE://localhost/a%20b/c.mp4") == Path("/a b/c.mp4")


@pytest.mark.parametrize("word", ["a" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path, word: str) -> None:
    with pytest.raises(SourceError, match=r"cannot be the path of a source|there is no such file"):
        open_source(word)
    with pytest.raises(
        SinkError, match=r"the report (cannot be written there: File name too long|must have a path wi)"
    ):
        refuse_unwritable(tmp_path / word, "the report")


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    refuse_unwritable(tmp_path / "link", "the report")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_link_to_nothing_yet_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    refuse_unwritable(tmp_path / "link", "the report")
    assert (tmp_path / "link").is_symlink()
    assert not (tmp_path / "target").exists()


@needs_fifo
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(tmp_path / "pipe", b"content")
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250 + ".json")
    write_whole(path, b"content")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_full_disk_leaves_the_old_file() -> None:
    program = (
        "import resource, sys; from pathlib import Path; from pipeline.whole_file import write_whole\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import tempfile; path = Path(tempfile.mkdtemp()) / 'r.json'; path.write_bytes(b'old')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: write_whole(path, bytes(1000))\n"
        "except OSError as error: print(error.strerror, path.read_bytes(), len(list(path.parent.iterdir())))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "File too large b'old' 1\n", done.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_text_is_read_with_the_marks_of_other_systems(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "a.txt").write_bytes(f"{mark}Straße\r\n".encode(encoding))
    assert read_text(tmp_path / "a.txt").lstrip("\ufeff") == "Straße\r\n"


@needs_fifo
def test_what_might_never_end_is_no_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not a regular file"):
        read_text(tmp_path / "pipe")
