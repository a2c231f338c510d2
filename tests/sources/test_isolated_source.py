"""Isolated sources: read by a process of their own, they give what they give here, and harm nobody when they crash."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.picture.frame import Picture
from pipeline.picture.nv12 import host_plane, nv12_of
from pipeline.picture.pixel_aspect import pixel_aspect_of
from pipeline.sources.isolated import source as isolated
from pipeline.sources.isolated.messages import Connection, Opened, Rubbish, Sent, decoded, encoded
from pipeline.sources.isolated.process import ChildProcess, how_it_ended
from pipeline.sources.isolated.ring import ReadRing, WrittenRing
from pipeline.sources.isolated.source import IsolatedSource, ProcessLostError, RestartedSource
from pipeline.sources.opening import open_source
from pipeline.sources.options import DecodeOptions, Isolation, NetworkOptions, SourceOptions, Span
from pipeline.sources.video.picture import VideoPicture
from pipeline.sources.video.planes import Form, Outgoing
from tests.support import child_source
from tests.support.pictures import scene
from tests.support.videos import read_all, write_video

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs memfd_create(2) of Linux")

ALL = SourceOptions(isolate="all")
ISOLATIONS: tuple[Isolation, ...] = ("none", "all")
NEVER = threading.Event()


def camera(deed: str, options: SourceOptions = ALL) -> IsolatedSource:
    """A process that reads a drawn camera, which does something after its third picture."""
    return IsolatedSource("cam", options, command=[sys.executable, child_source.__file__, deed])


def write_odd_video(path: Path, *, pixel_format: str, size_wh: tuple[int, int]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", 25)
        stream.width, stream.height, stream.pix_fmt = *size_wh, pixel_format
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for index in range(6):
            frame = VideoFrame.from_ndarray(scene(index, size_wh), format="bgr24").reformat(format=pixel_format)
            frame.pts = index * index  # a variable rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_one(kind: str, folder: Path) -> Path:
    """A video of a kind whose pictures need care."""
    if kind == "turned":
        return write_video(folder / "turned.mp4", turned_degrees=90, size_wh=(98, 50))
    pixel_format, _, size = kind.partition(" ")
    width, height = map(int, size.split("x"))
    return write_odd_video(folder / "odd.mkv", pixel_format=pixel_format, size_wh=(width, height))


KINDS = (
    "turned",
    "yuv420p 64x36",
    "yuv420p 64x38",
    "yuv420p 33x17",
    "yuv420p10le 130x2",
    "bgr0 50x20",
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pictures_and_times_are_those_of_a_source_that_is_read_here(kind: str, tmp_path: Path) -> None:
    path = write_one(kind, tmp_path)
    here, apart = open_source(str(path)), open_source(str(path), options=ALL)
    assert isinstance(apart, IsolatedSource)
    assert (apart.file, apart.is_live) == (path, False)
    for name in ("source_id", "size_wh", "frames_per_second", "num_frames", "codec_name", "damage"):
        assert getattr(apart, name) == getattr(here, name), name
    for ours, theirs in zip(read_all(here), read_all(apart), strict=True):
        assert theirs[1:] == ours[1:]
        assert pixel_aspect_of(theirs.picture) == pixel_aspect_of(ours.picture)
        for colour in ("rgb", "bgr"):
            small = [timed.picture.resized((20, 12), colour=colour) for timed in (ours, theirs)]
            np.testing.assert_array_equal(small[0], small[1])
        np.testing.assert_array_equal(theirs.picture.pixels, ours.picture.pixels)
        if ours.picture.size_wh == (33, 17):
            ours_nv12, theirs_nv12 = nv12_of(ours.picture), nv12_of(theirs.picture)
            np.testing.assert_array_equal(host_plane(theirs_nv12.y)[:, :, :33], host_plane(ours_nv12.y)[:, :, :33])
            np.testing.assert_array_equal(host_plane(theirs_nv12.uv)[:, :, :34], host_plane(ours_nv12.uv)[:, :, :34])
            np.testing.assert_array_equal(theirs_nv12.yuv_to_bgr, ours_nv12.yuv_to_bgr)


def test_a_picture_stays_in_its_slot_until_nobody_has_it_any_longer() -> None:
    frame = VideoFrame.from_ndarray(scene(1, (64, 36)), format="bgr24").reformat(format="yuv420p")
    outgoing = Outgoing(VideoPicture(frame))
    ring = WrittenRing(outgoing.num_bytes)
    offset, memory = ring.take()
    outgoing.write(memory)
    reader = ReadRing(os.dup(ring.descriptor), ring.num_bytes)
    lent: list[weakref.ref[object]] = []
    form = Form.of_json(json.loads(json.dumps(outgoing.form.as_json())))
    assert form == outgoing.form
    picture = form.picture(reader.slot(offset), lend=lambda array: lent.append(weakref.ref(array)))
    copy = form.picture(reader.slot(offset))
    assert isinstance(picture, VideoPicture)
    assert isinstance(copy, VideoPicture)
    np.testing.assert_array_equal(copy.pixels, VideoPicture(frame).pixels)
    memory[: 64 * 36] = 16  # black
    assert np.asarray(picture.luma(1)).max() == 16
    assert np.asarray(copy.luma(1)).max() > 16
    rows = picture.luma(1)  # a view of the frame
    del picture
    assert lent[0]() is not None
    del rows
    assert lent[0]() is None
    ring.close()


@pytest.mark.parametrize("num_kept", [0, 2, 100])
def test_whoever_keeps_pictures_keeps_them_as_they_are_and_stops_nothing(num_kept: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", num_frames=40, size_wh=(64, 36))
    apart = open_source(str(path), options=ALL)
    kept: list[Picture] = []
    for ours, theirs in zip(read_all(open_source(str(path))), apart.pictures(NEVER), strict=True):
        kept = [*kept, theirs.picture][-num_kept:] if num_kept else []
        np.testing.assert_array_equal(theirs.picture.copy_pixels(), ours.picture.copy_pixels())
    again = [timed.picture for timed in read_all(open_source(str(path)))]
    apart.close()
    for picture, own in zip(kept, again[-num_kept:] if num_kept else [], strict=True):
        np.testing.assert_array_equal(picture.copy_pixels(), own.copy_pixels())
    assert len(kept) == min(num_kept, 40)


def test_a_part_and_every_nth_picture_are_chosen_as_they_would_be_here(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", num_frames=40)
    span = Span(0.3, 1.1)
    numbers = []
    for isolate in ISOLATIONS:
        source = open_source(str(path), options=SourceOptions(span=span, isolate=isolate))
        numbers.append([(timed.number, timed.pts_seconds) for timed in source.pictures(NEVER, every=3)])
        source.close()
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 8


def test_what_cannot_be_opened_is_refused_in_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "no.mp4"
    path.write_bytes(b"no video" * 100)
    messages = []
    for isolate in ISOLATIONS:
        with pytest.raises(SourceError) as caught:
            open_source(str(path), options=SourceOptions(isolate=isolate))
        messages.append((type(caught.value), str(caught.value)))
    assert messages[0] == messages[1]


def test_states_damage_and_what_was_skipped_come_with_the_pictures() -> None:
    source = camera("end")
    pictures = source.pictures(NEVER, every=2)
    first = next(pictures)
    assert (first.number, source.damage, source.num_skipped, source.states.state.name) == (0, (), 0, "connecting")
    assert first.captured_at_seconds is not None  # a live source that does not tell when
    second = next(pictures)
    assert (second.number, source.damage, source.num_skipped) == (2, ("one break",), 7)
    assert (source.states.state.name, source.states.state.reason) == ("lost", "the cable is out")
    third = next(pictures)
    np.testing.assert_array_equal(third.picture.pixels, child_source.pixels_of(2))  # it needed a larger ring
    np.testing.assert_array_equal(first.picture.pixels, child_source.pixels_of(0))
    assert next(pictures, None) is None
    source.close()


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("segfault", r"^cam: the process that reads it was killed by signal 11 \(SIGSEGV\)$"),
        ("abort", r"^cam: the process that reads it was killed by signal 6 \(SIGABRT\)$"),
        ("hang", r"^cam: the process that reads it gave no sign of life for 0\.4 s$"),
        ("break", r"^cam: broke off: the cable is out$"),
        ("blunder", r"^cam: the process that reads it failed: KeyError: 'a mistake of ours'$"),
    ],
)
def test_a_process_that_breaks_is_told_and_ended(deed: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "MARGIN_SECONDS", 0.3)
    source = camera(deed, SourceOptions(network=NetworkOptions(read_timeout_s=0.1 if deed == "hang" else 10.0)))
    watch = Watch(source.pid)
    pictures = source.pictures(NEVER)
    assert len([next(pictures) for _ in range(3)]) == 3
    with pytest.raises(SourceError, match=message) as caught:
        next(pictures)
    assert isinstance(caught.value, ProcessLostError) == (deed in ("segfault", "abort", "hang"))
    source.close()
    assert watch.has_ended(within_seconds=5)


def test_a_stopped_process_is_killed_when_it_is_closed() -> None:
    source = camera("end")
    watch = Watch(source.pid)
    os.kill(source.pid, signal.SIGSTOP)
    source.close()
    source.close()
    assert watch.has_ended(within_seconds=5)


def test_a_live_source_gets_a_new_process_and_its_time_goes_on() -> None:
    num_left = iter(("segfault", "segfault", "end"))

    def open_camera() -> IsolatedSource:
        return camera(next(num_left))

    source = RestartedSource(open_camera(), open_camera, reconnect_seconds=20, randomness=lambda: 0.0)
    pictures = list(source.pictures(Hasty()))
    assert len(pictures) == 9
    times = [timed.pts_seconds for timed in pictures]
    assert times == sorted(set(times))
    assert source.damage[0] == "restarts of the process that reads it: 2"
    assert source.num_skipped == 3 * 7
    assert source.states.state.name == "lost"  # as the process says of its camera, and nobody saw a picture
    source.close()


class Hasty(threading.Event):
    """A stop that nobody makes, and for which nobody waits."""

    def wait(self, timeout: float | None = None) -> bool:
        return False


def test_what_breaks_in_the_process_for_good_is_not_tried_again() -> None:
    source = RestartedSource(camera("break"), lambda: pytest.fail("opened again"), reconnect_seconds=20)
    with pytest.raises(SourceError, match="the cable is out"):
        list(source.pictures(Hasty()))
    source.close()


RUBBISH = {
    "bytes": "s.send(b'\\xff\\xfe\\0')",
    "text": "s.send(b'nothing')",
    "a kind that does not exist": "s.send(b'[\"Nothing\", {}]')",
    "fields that do not exist": 's.send(b\'["Alive", {"x": 1}]\')',
    "a picture before the source is open": 's.send(b\'["Taken", {"ring": 0, "offset": 0}]\')',
    "a size of text": 's.send(b\'["Opened", {"source_id": "x", "is_live": true, "size_wh": ["1", 2]}]\')',
    "memory that is none": 'socket.send_fds(s, [b\'["RingMade", {"num_bytes": 9}]\'], [0])',
    "a picture before its form": "s.send(b'S' + bytes(40))",
    "half a picture's message": "s.send(b'S' + bytes(39))",
    "a time that is none": "s.send(b'S' + b'\\xff' * 40)",
    "deep nesting": "s.send(b'[' * 50000)",
}


@pytest.mark.parametrize("name", RUBBISH)
def test_a_process_that_talks_rubbish_is_lost(name: str) -> None:
    code = f"import socket, sys\ns = socket.socket(fileno=int(sys.argv[1]))\n{RUBBISH[name]}\ns.recv(9); s.recv(9)"
    with pytest.raises(ProcessLostError, match=r"^cam: the process that reads it (sent|gave) "):
        IsolatedSource("cam", ALL, command=[sys.executable, "-S", "-c", code])


def test_a_process_that_cannot_start_is_told() -> None:
    with pytest.raises(ProcessLostError, match=r"^cam: the process that reads it ended with exit code 3$"):
        IsolatedSource("cam", ALL, command=[sys.executable, "-S", "-c", "raise SystemExit(3)"])
    with pytest.raises(SourceError, match="no process can be started to read it: No such file or directory"):
        IsolatedSource("cam", ALL, command=["/no/python"])


PIXELS: dict[str, Any] = dict(Form(None, (2, 2)).as_json())
PLANES: dict[str, Any] = {"format": "yuv420p", "wh": (8, 8), "planes": [(8, 8), (4, 4), (4, 4)], "tags": [2, 1, 2, 2]}
PLANES |= {"flags": [False, False, False], "aspect": (1, 1)}

NO_PICTURES: list[tuple[int, dict[str, Any]]] = [
    (-1, PIXELS),
    (10**12, PIXELS),
    (0, PIXELS | {"wh": (10**6, 10**6)}),
    (0, PLANES | {"planes": [(8, 8)]}),
    (0, PLANES | {"planes": [(10**6, 8), (4, 4), (4, 4)]}),
    (0, PLANES | {"format": "no"}),
    (0, PLANES | {"tags": [10**12, 1, 2, 2]}),
]


@pytest.mark.parametrize(("offset", "form"), NO_PICTURES)
def test_a_picture_that_is_none_is_refused(offset: int, form: dict[str, Any], opened: IsolatedSource) -> None:
    opened._form = opened._form_of(form)
    with pytest.raises(ProcessLostError, match="sent a picture that is none"):
        opened._picture_of(Sent(offset, 0.0, 0, None, 0))


NO_FORMS: list[dict[str, Any]] = [
    {},
    PIXELS | {"wh": (0, 2)},
    PIXELS | {"wh": (2, 2, 2)},
    PIXELS | {"wh": (float("inf"), 2)},
    PLANES | {"tags": []},
    PLANES | {"flags": [True]},
    PLANES | {"aspect": (1, 0)},
    PLANES | {"planes": [(8, 8), (-4, 4), (4, 4)]},
    PLANES | {"planes": 5},
]


@pytest.mark.parametrize("form", NO_FORMS)
def test_a_form_that_is_none_is_refused(form: dict[str, Any], opened: IsolatedSource) -> None:
    with pytest.raises(ProcessLostError, match="sent a form of pictures that is none"):
        opened._form_of(form)


@pytest.fixture(scope="module")
def opened() -> Iterator[IsolatedSource]:
    """A source whose ring is made."""
    source = camera("end")
    next(source.pictures(NEVER))
    yield source
    source.close()


@given(
    st.builds(
        Sent,
        st.integers(0, 2**62),
        st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.integers(0, 2**62),
        st.none() | st.floats(0, 1e12),
        st.integers(0, 2**62),
    )
)
def test_a_message_of_a_picture_comes_as_it_was_sent(message: Sent) -> None:
    assert decoded(encoded(message)) == message


@given(st.binary(max_size=50) | st.builds(lambda tail: b"S" + tail, st.binary(min_size=40, max_size=40)))
def test_bytes_become_a_message_that_can_be_sent_again_or_are_rubbish(data: bytes) -> None:
    try:
        message = decoded(data)
    except Rubbish:
        return
    assert decoded(encoded(message)) == message


def test_messages_of_wrong_types_are_rubbish() -> None:
    good = Opened("cam", True, (4, 3), 25, None, None, False)
    assert (
        decoded(
            b'["Opened", {"source_id": "cam", "is_live": true, "size_wh": [4, 3], "frames_per_second": 25, '
            b'"num_frames": null, "codec_name": null, "is_special": false}]'
        )
        == good
    )
    with pytest.raises(Rubbish):
        decoded(b'["Opened", {"source_id": 5}]')


def test_memory_that_can_shrink_is_not_read() -> None:
    descriptor = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096)
    with pytest.raises(ValueError, match="must be sealed"):
        ReadRing(descriptor, 4096)
    ring = WrittenRing(10)
    with pytest.raises(ValueError, match="must be sealed and have"):
        ReadRing(os.dup(ring.descriptor), ring.num_bytes + 1)
    ring.close()


class Watch:
    """Whether a process that somebody else waits for has ended."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    def has_ended(self, *, within_seconds: float) -> bool:
        is_over = bool(select.select([self._descriptor], [], [], within_seconds)[0])
        os.close(self._descriptor)
        return is_over


@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
def test_a_process_ends_when_the_run_is_killed_and_leaves_nothing(is_stopped: bool) -> None:
    code = (
        "import sys\nfrom pipeline.sources.isolated.source import IsolatedSource\n"
        "from pipeline.sources.options import SourceOptions\nimport threading\n"
        f"source = IsolatedSource('cam', SourceOptions(), command={[sys.executable, child_source.__file__, 'hang']})\n"
        "pictures = source.pictures(threading.Event())\n"
        "print(source.pid, flush=True)\nlist(pictures)"
    )
    before = set(Path("/dev/shm").iterdir())
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        watch = Watch(pid)
        if is_stopped:
            os.kill(pid, signal.SIGSTOP)
        run.kill()
    assert watch.has_ended(within_seconds=5)
    assert set(Path("/dev/shm").iterdir()) <= before


@pytest.fixture
def descriptors() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_closed_sources_leave_no_descriptor(descriptors: None) -> None:
    for deed in ("end", "segfault"):
        source = camera(deed)
        next(source.pictures(NEVER))
        source.close()


def test_a_stop_ends_the_wait_for_a_picture() -> None:
    source = camera("hang")
    stop = threading.Event()
    for _ in source.pictures(stop):
        stop.set()
    source.close()


def test_who_closes_a_source_ends_its_reader_as_well() -> None:
    source = camera("hang")
    pictures = source.pictures(NEVER)
    for _ in range(3):
        next(pictures)
    closer = threading.Thread(target=source.close)
    closer.start()
    assert next(pictures, None) is None
    closer.join()


def test_ends_of_processes_are_put_into_words() -> None:
    assert how_it_ended(-40) == "was killed by signal 40"
    assert how_it_ended(0) == "ended with exit code 0"
    process = ChildProcess([sys.executable, "-S", "-c", "pass"])
    assert isinstance(process.connection, Connection)
    assert process.end().startswith(("ended", "was killed"))


def test_only_what_native_code_reads_is_read_apart(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene(0, (32, 24)))
    source = open_source(str(tmp_path / "a.png"), options=ALL)
    assert not isinstance(source, IsolatedSource)
    source.close()
    with pytest.raises(SourceError, match=r"decode\.device must be cpu for a source in a process of its own, got cuda"):
        open_source(__file__, options=SourceOptions(isolate="all", decode=DecodeOptions(device="cuda")))


def test_a_camera_that_is_not_there_is_refused_without_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started a process"))
    with pytest.raises(SourceError, match="/dev/video97: there is no such camera"):
        open_source("97")
