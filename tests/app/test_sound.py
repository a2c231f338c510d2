"""Sound: a recording of a file keeps it, in time with the pictures, cut to what is recorded."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.support.assets import ASSETS, needs_assets
from tests.support.command_line import Streamdet
from tests.support.sounding_videos import flashes_and_clicks, write_sounding_video


def codec_of_sound(path: Path) -> str | None:
    with av.open(str(path)) as container:
        return next((stream.codec_context.codec.canonical_name for stream in container.streams.audio), None)


@pytest.mark.parametrize(
    ("name", "codec", "recording", "recorded_codec"),
    [
        ("in.mp4", "aac", "out.mp4", "aac"),
        ("in.mkv", "libmp3lame", "out.mov", "mp3"),
        ("50% ü 'b.mkv", "pcm_s16le", "out.mp4", "aac"),
        ("in.mkv", "libopus", "out.mp4", "aac"),
        ("in.mkv", "libopus", "out.mkv", "opus"),
        ("in.ts", "aac", "out.mp4", "aac"),
        ("in.ts", "ac3", "out.mkv", "ac3"),
        ("in.mp4", "aac", "out.webm", "opus"),
        ("in.mkv", "libopus", "out.webm", "opus"),
    ],
)
def test_clicks_stay_with_their_flashes(
    tmp_path: Path,
    small_detector: Path,
    streamdet: Streamdet,
    name: str,
    codec: str,
    recording: str,
    recorded_codec: str,
) -> None:
    video = write_sounding_video(tmp_path / name, codec=codec)
    done = streamdet("run", video, "-m", small_detector, "-o", tmp_path / recording)
    assert done.returncode == 0, done.stderr
    assert codec_of_sound(tmp_path / recording) == recorded_codec
    flashes, clicks, ends = flashes_and_clicks(tmp_path / recording)
    assert flashes == pytest.approx([1.0, 2.0, 3.0], abs=0.003)
    of_source = flashes_and_clicks(video)
    offsets = [click - flash for flash, click in zip(*of_source[:2], strict=True)]
    assert clicks == pytest.approx([flash + offset for flash, offset in zip(flashes, offsets, strict=True)], abs=0.005)
    assert ends == pytest.approx(4.0, abs=0.05)


def test_a_file_that_does_not_begin_at_0_keeps_its_sound_in_time(
    tmp_path: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    video = write_sounding_video(tmp_path / "late.mkv", begins_at_seconds=8)
    assert streamdet("run", video, "-m", small_detector, "-o", tmp_path / "o.mp4").returncode == 0
    flashes, clicks, _ = flashes_and_clicks(tmp_path / "o.mp4")
    assert flashes == pytest.approx([1.0, 2.0, 3.0], abs=0.003)
    assert clicks == pytest.approx(flashes, abs=0.025)


@pytest.mark.parametrize(
    ("words", "flashes", "ends"),
    [
        (["--every", 5], [1.0, 2.0, 3.0], 4.0),
        (["--max-frames", 30], [1.0], 1.2),
        (["--every", 5, "--max-frames", 6], [1.0], 1.2),
    ],
)
def test_the_sound_is_cut_to_the_frames_that_are_recorded(
    tmp_path: Path, small_detector: Path, streamdet: Streamdet, words: list[object], flashes: list[float], ends: float
) -> None:
    video = write_sounding_video(tmp_path / "in.mp4")
    assert streamdet("run", video, "-m", small_detector, "-o", tmp_path / "o.mp4", *words).returncode == 0
    recorded = flashes_and_clicks(tmp_path / "o.mp4")
    assert recorded[0] == pytest.approx(flashes, abs=0.003)
    assert recorded[1] == pytest.approx(flashes, abs=0.025)
    assert recorded[2] == pytest.approx(ends, abs=0.05)


def test_sound_that_ends_early_leaves_the_pictures_alone(
    tmp_path: Path, small_detector: Path, streamdet: Streamdet
) -> None:
    video = write_sounding_video(tmp_path / "in.mp4", sound_seconds=1.5)
    assert streamdet("run", video, "-m", small_detector, "-o", tmp_path / "o.mp4").returncode == 0
    flashes, clicks, ends = flashes_and_clicks(tmp_path / "o.mp4")
    assert (len(flashes), len(clicks)) == (3, 1)
    assert ends == pytest.approx(1.5, abs=0.05)


def test_no_sound_live_and_silent_files_have_none(
    tmp_path: Path, small_detector: Path, small_video: Path, streamdet: Streamdet
) -> None:
    video = write_sounding_video(tmp_path / "in.mp4", seconds=1)
    cases: list[list[object]] = [[video, "--no-sound"], [video, "--live"], [small_video]]
    for number, words in enumerate(cases):
        path = tmp_path / f"{number}.mp4"
        assert streamdet("run", *words, "-m", small_detector, "-o", path).returncode == 0
        assert codec_of_sound(path) is None


@needs_assets
@pytest.mark.parametrize("path", sorted((ASSETS / "awkward").glob("*.m*")), ids=lambda path: path.name)
def test_no_awkward_file_is_refused_for_its_sound(
    tmp_path: Path, small_detector: Path, streamdet: Streamdet, path: Path
) -> None:
    words = ["run", path, "-m", small_detector, "--max-frames", 40]
    without = streamdet(*words, "-o", tmp_path / "silent.mp4", "--no-sound")
    done = streamdet(*words, "-o", tmp_path / "o.mp4")
    assert done.returncode == without.returncode, done.stderr
    if (tmp_path / "silent.mp4").exists():
        assert (tmp_path / "o.mp4").exists()
