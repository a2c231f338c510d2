"""Opening: a word on the command line opens the source that a person means."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import SourceError
from pipeline.sources.images import ImagesSource
from pipeline.sources.opening import open_source
from pipeline.sources.options import NetworkOptions, SourceOptions
from pipeline.sources.reconnecting import ReconnectingSource
from pipeline.sources.video.playlist_clock import CATCH_UP_RATE
from pipeline.sources.video.seen_packets import SeenPackets
from pipeline.sources.video.source import VideoSource
from pipeline.testing import StepClock


def make_film(path: Path, *, codec: str = "mpeg4", num_frames: int = 3) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for _ in range(num_frames):
            container.mux(stream.encode(VideoFrame(32, 16, "yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_film(tmp_path / "film.mp4")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.JPG"
    path.write_bytes(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    return path


def test_a_file_is_a_video_unless_it_is_an_image(film: Path, photo: Path) -> None:
    for word in (str(film), f"file://{film}"):
        source = open_source(word)
        assert isinstance(source, VideoSource)
        assert len(list(source.pictures(threading.Event()))) == 3
        source.close()
    assert isinstance(open_source(str(photo)), ImagesSource)


def test_the_source_is_named_as_it_was_typed(film: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(film.parent)
    for word in ("film.mp4", "./photo.JPG", "."):
        source = open_source(word)
        assert source.source_id == word
        source.close()


def test_a_folder_and_a_glob_are_images(photo: Path) -> None:
    assert isinstance(open_source(str(photo.parent)), ImagesSource)
    assert isinstance(open_source(str(photo.parent / "*.JPG")), ImagesSource)


def test_the_home_folder_may_be_a_tilde(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(film.parent))
    open_source("~/film.mp4").close()


def test_a_dash_is_the_standard_input(film: Path) -> None:
    with film.open("rb") as stdin:
        source = open_source("-", stdin=stdin)
        assert (source.source_id, source.size_wh) == ("-", (32, 16))
        source.close()


def test_a_named_pipe_is_a_video(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mkv").read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(film,))
    writer.start()
    source = open_source(str(pipe))
    assert len(list(source.pictures(threading.Event()))) == 3
    source.close()
    writer.join()


def test_a_file_that_is_not_there_is_refused_with_the_nearest_name(film: Path) -> None:
    with pytest.raises(SourceError, match=r"flim\.mp4: there is no such file; did you mean .*film\.mp4\?$"):
        open_source(str(film.with_name("flim.mp4")))
    with pytest.raises(SourceError, match=r"there is no such file$"):
        open_source(str(film.with_name("quite another name.avi")))
    with pytest.raises(SourceError, match=r"there is no folder .*nowhere$"):
        open_source(str(film.parent / "nowhere" / "film.mp4"))


def test_numbers_and_devices_are_cameras() -> None:
    for word in ("97", "/dev/video97"):
        with pytest.raises(SourceError, match=r"/dev/video97: there is no such camera"):
            open_source(word)


def test_addresses_are_opened_on_the_network() -> None:
    options = SourceOptions(network=NetworkOptions(open_timeout_s=1.0))
    for word in ("http://127.0.0.1:1/a.mp4", "rtsp://127.0.0.1:1/a", "rtmp://127.0.0.1:1/a"):
        with pytest.raises(SourceError, match=rf"^{word}: cannot be opened: .*(refused|Cannot open connection)"):
            open_source(word, options=options)
    with pytest.raises(SourceError, match="Protocol not found"):
        open_source("carrier-pigeon://loft")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class PlayingTime(StepClock):
    """A clock that goes on when somebody waits, and a stop that never comes."""

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:
        self.advance(timeout or 0.0)
        return False


def playlist_of(folder: Path) -> Path:
    """A live playlist of four seconds, to which nothing is added any more."""
    playlist = make_film(folder / "live.m3u8", codec="libx264", num_frames=100)
    playlist.write_text(playlist.read_text().replace("#EXT-X-ENDLIST", ""))
    return playlist


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, by HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_live_playlist_is_opened_again_when_it_breaks_and_a_finished_one_is_not(tmp_path: Path) -> None:
    playlist = playlist_of(tmp_path)
    with served(tmp_path) as address:
        live = open_source(f"{address}/live.m3u8")
        assert isinstance(live, ReconnectingSource)
        live.close()
        playlist.write_text(playlist.read_text() + "#EXT-X-ENDLIST\n")
        finished = open_source(f"{address}/live.m3u8")
        assert not finished.is_live
        finished.close()


def test_a_live_playlist_is_played_at_its_pace_and_not_replayed_when_it_is_opened_again(tmp_path: Path) -> None:
    playlist_of(tmp_path)
    clock, seen = PlayingTime(1000.0), SeenPackets()
    open_live = partial(VideoSource, network=NetworkOptions(read_timeout_s=0.3), seen=seen, clock=clock)
    with served(tmp_path) as address:
        source = open_live(f"{address}/live.m3u8")
        timed = [(clock(), picture.pts_seconds) for picture in source.pictures(clock)]
        source.close()
        assert len(timed) > 20
        lags = [now - pts for now, pts in timed]  # to its newest segment it is played 5 % faster than its times
        assert 0 <= lags[0] - lags[-1] == pytest.approx(max(lags) - min(lags))
        assert max(lags) - min(lags) <= CATCH_UP_RATE * timed[-1][1] + 1e-6
        with pytest.raises(SourceError, match=r"/live\.m3u8: its playlist stands still$"):
            open_live(f"{address}/live.m3u8")


def test_a_live_playlist_that_stands_still_for_good_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    playlist_of(tmp_path)
    options = SourceOptions(network=NetworkOptions(read_timeout_s=0.3, reconnect_s=0.4))
    with served(tmp_path) as address:
        source = open_source(f"{address}/live.m3u8", options=options)
        with pytest.raises(SourceError, match=r"gave up after 0\.4 s$"):
            list(source.pictures(PlayingTime()))
        source.close()


@pytest.mark.parametrize("word", ["", "  ", None, 7])
def test_what_is_no_word_is_refused(word: Any) -> None:
    with pytest.raises(SourceError, match=r"a source must be one of camera \(0 or /dev/video0\), .*; got"):
        open_source(word)


def test_an_address_that_cannot_be_taken_apart_is_refused_without_its_secret() -> None:
    with pytest.raises(SourceError, match=r"cannot be read as an address: Invalid IPv6 URL") as raised:
        open_source("http://[::1/SECRET@x:SECRET@h")
    assert "SECRET" not in str(raised.value)
