"""Recording: it keeps size, times and colours, and plays after the run was killed."""

from __future__ import annotations

import errno
import gc
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path
from types import FunctionType, ModuleType

import av
import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.picture.detections import Detections, RenderedFrame, Result
from pipeline.picture.frame import Frame, PixelArray
from pipeline.sinks.encoder import encoder_failure
from pipeline.sinks.muxed_file import MuxedFile
from pipeline.sinks.recording import Recording
from tests.support.file_size import no_file_above
from tests.support.pictures import grey, noise


def rendered(pixels: PixelArray, *, pts: float = 0.0, captured_at: float = 0.0) -> RenderedFrame:
    frame = Frame.from_pixels(pixels, pts_seconds=pts, captured_at_seconds=captured_at)
    return RenderedFrame(Result(frame, Detections.empty(), ("dog",)), pixels)


def read(path: Path) -> tuple[list[float], list[PixelArray], float]:
    """Times, pictures (BGR) and the declared duration."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        duration = float(container.duration or 0) / av.time_base
    return (
        [float(frame.time or 0.0) for frame in frames],
        [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in frames],
        duration,
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".MP4"])
def test_2997_stays_2997(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"o{suffix}"
    sink = Recording(path, frames_per_second=30000 / 1001)
    for index in range(60):
        sink.write(rendered(grey(index), pts=8.333 + index * 1001 / 30000))
    sink.close()
    times, pictures, duration = read(path)
    assert len(pictures) == 60
    assert pictures[0].shape == (48, 64, 3)
    assert times == pytest.approx([index * 1001 / 30000 for index in range(60)], abs=0.0006)
    assert duration == pytest.approx(60 * 1001 / 30000, abs=0.002)


def test_a_finished_mp4_is_an_ordinary_one(tmp_path: Path) -> None:
    sink = Recording(tmp_path / "o.mp4", frames_per_second=10)
    for index in range(35):
        sink.write(rendered(grey(index), pts=index / 10))
    sink.close()
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.frames == 35  # the index at the end; a fragmented file declares none
        assert stream.average_rate == Fraction(10)
        keyframes = [float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.is_keyframe]  # type: ignore[operator]
    assert keyframes == pytest.approx([0, 1, 2, 3])


def test_a_variable_rate_is_kept_and_times_never_stand_still(tmp_path: Path) -> None:
    sink = Recording(tmp_path / "o.mp4")
    for index, pts in enumerate([0.0, 0.04, 0.5, 0.5, 0.3, 2.0]):
        sink.write(rendered(grey(index), pts=pts))
    sink.close()
    times, _, _ = read(tmp_path / "o.mp4")
    assert times == sorted(set(times))
    assert [times[index] for index in (1, 2, 5)] == pytest.approx([0.04, 0.5, 2.0])


def test_a_live_source_keeps_wall_clock_time(tmp_path: Path) -> None:
    sink = Recording(tmp_path / "o.mp4", frames_per_second=30, is_live=True)
    for index, captured_at in enumerate([100.0, 100.1, 103.0]):
        sink.write(rendered(grey(index), pts=index / 30, captured_at=captured_at))
    sink.close()
    assert read(tmp_path / "o.mp4")[0] == pytest.approx([0.0, 0.1, 3.0])


def test_a_live_mp4_keeps_no_index_that_grows_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "o.mp4"
    sink = Recording(path, frames_per_second=10, is_live=True)
    for index in range(35):
        sink.write(rendered(grey(index), captured_at=index / 10))
    sink.close()
    content, offset, boxes = path.read_bytes(), 0, []
    while offset < len(content):
        boxes.append(content[offset + 4 : offset + 8])
        offset += int.from_bytes(content[offset : offset + 4], "big")
    assert boxes.index(b"moov") < boxes.index(b"moof")  # a head, then fragments
    assert boxes.count(b"moov") == 1
    assert len(read(path)[0]) == 35


def test_colours_come_back_as_they_went_in(tmp_path: Path) -> None:
    pixels = grey(0, (128, 96))
    pixels[:, :64] = (40, 60, 200)  # red
    pixels[:, 64:] = (180, 160, 30)  # a blue green
    sink = Recording(tmp_path / "o.mp4")
    sink.write(rendered(pixels))
    sink.close()
    _, (picture,), _ = read(tmp_path / "o.mp4")
    assert np.abs(picture[:, 8:56].astype(int) - pixels[:, 8:56]).max() <= 8
    assert np.abs(picture[:, 72:120].astype(int) - pixels[:, 72:120]).max() <= 8


def test_odd_sides_are_made_even_by_repeating_the_edge(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = Recording(tmp_path / "o.mp4")
    sink.write(rendered(grey(120, (321, 241))))
    sink.close()
    _, (picture,), _ = read(tmp_path / "o.mp4")
    assert picture.shape == (242, 322, 3)
    assert np.abs(picture.astype(int) - 120).max() <= 4
    assert "encoded as 322 × 242" in caplog.text


def test_frames_of_another_size_are_fitted_into_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = Recording(tmp_path / "o.mp4")
    for size_wh in ((64, 48), (128, 48), (10, 300)):
        sink.write(rendered(grey(200, size_wh), pts=size_wh[0] / 1000))
    sink.close()
    _, pictures, _ = read(tmp_path / "o.mp4")
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    assert caplog.text.count("are fitted into 64 × 48") == 1


def test_without_frames_no_file_is_left_and_an_old_one_stays(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"precious")
    for name in ("old.mp4", "new.mp4"):
        sink = Recording(tmp_path / name)
        sink.close()
        sink.close()
    assert (tmp_path / "old.mp4").read_bytes() == b"precious"
    assert not (tmp_path / "new.mp4").exists()


def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"must end in \.mp4, \.m4v, \.mov, \.mkv, \.webm, got '\.avi'"):
        Recording(tmp_path / "o.avi")
    with pytest.raises(SinkError, match=r"o\.mp4: a recording cannot be written there: Not a directory"):
        Recording("/dev/null/o.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(SinkError, match="Is a directory"):
        Recording(tmp_path / "folder.mp4")


@pytest.mark.parametrize("suffix", [".gif", ".avi", ""])
def test_what_cannot_be_recorded_is_one_line_with_what_can(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(SinkError, match=r"a recording must end in \.mp4, .*\.webm, got"):
        Recording(tmp_path / f"o{suffix}")


def test_webm_is_vp9_and_no_other_codec(tmp_path: Path) -> None:
    sink = Recording(tmp_path / "o.webm", frames_per_second=10)
    for index in range(35):
        sink.write(rendered(grey(index), pts=index / 10))
    sink.close()
    with av.open(str(tmp_path / "o.webm")) as container:
        stream = container.streams.video[0]
        assert (container.format.name, stream.codec_context.codec.canonical_name) == ("matroska,webm", "vp9")
        keyframes = [float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.is_keyframe]  # type: ignore[operator]
    assert keyframes == pytest.approx([0, 1, 2, 3], abs=0.002)
    with pytest.raises(SinkError, match=r"a \.webm takes VP9, got output.codec h264_nvenc; leave that out"):
        Recording(tmp_path / "p.webm", codec="h264_nvenc")


def test_missing_folders_are_made_with_the_first_frame_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "c" / "o.mp4"
    Recording(path).close()
    assert list(tmp_path.iterdir()) == []
    sink = Recording(path)
    sink.write(rendered(grey(0)))
    sink.close()
    assert len(read(path)[1]) == 1


def test_a_missing_encoder_is_one_clear_error_before_anything_is_written(tmp_path: Path) -> None:
    if encoder_failure("h264_nvenc") is None:
        pytest.skip("this machine has NVENC")
    with pytest.raises(SinkError, match=r"cannot be encoded with h264_nvenc on this machine: .*; use libx264"):
        Recording(tmp_path / "o.mp4", codec="h264_nvenc")


def test_a_harder_preset_makes_a_smaller_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    scene = np.kron(noise, np.ones((8, 8, 1), np.uint8))
    sizes = []
    for preset in ("ultrafast", "veryfast"):
        sink = Recording(tmp_path / f"{preset}.mp4", preset=preset)
        for index in range(20):
            sink.write(rendered(np.roll(scene, index, axis=1), pts=index / 30))
        sink.close()
        sizes.append((tmp_path / f"{preset}.mp4").stat().st_size)
    assert sizes[1] < 0.8 * sizes[0]
    with pytest.raises(SinkError, match=r"output\.preset needs libx264, got veryfast with h264_nvenc; leave it"):
        Recording(tmp_path / "o.mp4", codec="h264_nvenc", preset="veryfast")


def test_a_killed_recording_plays_up_to_the_last_second_or_two(tmp_path: Path) -> None:
    path = tmp_path / "killed.mp4"
    program = textwrap.dedent(f"""
        import os, signal
        from tests.sinks.test_recording import grey, rendered
        from pipeline.sinks.recording import Recording
        sink = Recording({str(path)!r}, frames_per_second=30)
        for index in range(150):
            sink.write(rendered(grey(index), pts=index / 30))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], timeout=60, check=False)
    assert done.returncode == -9
    times, _, _ = read(path)
    assert times[-1] >= 5.0 - 2.0


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("is_live", [True, False])
def test_a_full_disk_at_the_very_end_is_an_error_and_leaves_no_descriptor(
    tmp_path: Path, suffix: str, *, is_live: bool
) -> None:
    """libav says nothing where the last fragment of an MP4 does not fit."""
    path = tmp_path / f"a{suffix}"
    num_open = len(list(Path("/proc/self/fd").iterdir()))
    sink = Recording(path, is_live=is_live)
    for index in range(3):
        sink.write(rendered(noise(160, 120, seed=index), pts=index / 30, captured_at=index / 30))
    with no_file_above(10_000), pytest.raises(SinkError, match=f"a{suffix}: its end cannot be written: File too large"):
        sink.close()
    assert path.stat().st_size <= 10_000
    assert len(list(Path("/proc/self/fd").iterdir())) == num_open
    sink.close()


def test_what_a_muxer_writes_is_whole_or_a_beginning_of_it(tmp_path: Path) -> None:
    file = MuxedFile(tmp_path / "a")
    assert file.write(b"0123") == 4
    file.seek(1)
    with no_file_above(6):
        assert [file.write(b"abcdefgh"), file.write(b"i")] == [-errno.EFBIG, -errno.EFBIG]
    assert file.write(b"j") == -errno.EFBIG  # not behind a gap, although there is room now
    assert file.failure is not None
    assert file.failure.errno == errno.EFBIG
    file.close()
    assert (tmp_path / "a").read_bytes() == b"0abcde"


def test_a_closed_recording_that_somebody_keeps_holds_no_encoder(tmp_path: Path) -> None:
    sink = Recording(tmp_path / "o.mp4", is_live=True)
    sink.write(rendered(grey(0)))
    assert "av.video.stream" in modules_within(sink)
    sink.close()
    assert not {name for name in modules_within(sink) if name.startswith(("av.video", "av.container", "av.codec"))}


def modules_within(root: object) -> set[str]:
    """The modules of the types of all objects that one holds, by whatever way; but for types, functions and modules."""
    seen, waiting, modules = {id(root)}, [root], set()
    while waiting:
        held = waiting.pop()
        modules.add(type(held).__module__)
        for other in gc.get_referents(held):
            if id(other) not in seen and not isinstance(other, type | FunctionType | ModuleType):
                seen.add(id(other))
                waiting.append(other)
    return modules
