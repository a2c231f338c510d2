"""The gate on made pictures: what is work for a network, and what is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.picture.frame import ArrayPicture, PixelArray
from pipeline.picture.gate.gate import Gate, GateOptions, Look
from pipeline.picture.gate.luma import LumaArray, grid_wh, luma_cells

FPS = 25
WIDTH, HEIGHT = 320, 180
NO_CHECKS = GateOptions(full_scan_seconds=1000, check_share=0)


def street(*, seed: int = 0) -> LumaArray:
    """A still scene [h, w] with structure in it, without noise."""
    rough = np.random.default_rng(seed).integers(40, 200, (12, 20)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)


Paint = Callable[[LumaArray, int], LumaArray]


def filmed(num: int, paint: Paint = lambda scene, _: scene, *, sigma: float = 2.0, seed: int = 1) -> list[LumaArray]:
    """The cells of a number of frames of that street, with something painted on each, and the noise of a sensor."""
    random, scene = np.random.default_rng(seed), street()
    frames = []
    for index in range(num):
        painted = paint(scene.copy(), index).astype(np.float32)
        noisy = np.clip(painted + random.normal(0, sigma, painted.shape), 0, 255).astype(np.uint8)
        frames.append(luma_cells(ArrayPicture(np.dstack([noisy] * 3))))
    return frames


def looks(frames: list[LumaArray], options: GateOptions = NO_CHECKS, *, gate: Gate | None = None) -> list[Look]:
    gate = gate or Gate(options)
    return [gate.decide(luma, index / FPS) for index, luma in enumerate(frames)]


def reasons(frames: list[LumaArray], options: GateOptions = NO_CHECKS) -> list[str]:
    return [look.reason for look in looks(frames, options)]


def block(scene: LumaArray, left: float, top: float, side: int, level: int) -> LumaArray:
    """A square of one level whose left side may lie between two pixels."""
    area = np.zeros(scene.shape, np.float32)
    area[round(top) : round(top) + side, max(0, int(left)) : max(0, int(left) + side)] = 1
    shift = np.array([[1, 0, left - int(left)], [0, 1, 0]], np.float32)
    moved = np.asarray(cv2.warpAffine(area, shift, scene.shape[::-1]), np.float32)
    return np.asarray(scene * (1 - moved) + level * moved, np.uint8)


@pytest.mark.parametrize("sigma", [0.0, 2.0, 8.0])
def test_noise_alone_is_no_work(sigma: float) -> None:
    after_learning = reasons(filmed(200, sigma=sigma))[20:]
    assert after_learning.count("nothing") >= len(after_learning) - 1  # of 180 frames of 14,400 cells, at most one


def test_an_object_that_comes_in_is_seen_in_its_first_frame() -> None:
    frames = filmed(80, lambda scene, index: block(scene, 4 * (index - 50), 60, 24, 250) if index > 50 else scene)
    got = reasons(frames)
    assert set(got[20:51]) == {"nothing"}
    assert set(got[51:60]) == {"change"}


def test_a_creeping_object_is_seen_although_no_frame_differs_from_the_one_before() -> None:
    def creep(scene: LumaArray, index: int) -> LumaArray:
        return block(scene, 100 + 0.02 * index, 60, 30, 230)  # half a pixel a second

    frames = filmed(400, creep, sigma=1.0)
    steps = [int(cv2.absdiff(one, other).max()) for one, other in itertools.pairwise(frames)]
    assert np.median(steps) < 9  # nothing that differs by more than its noise
    got = reasons(frames)
    assert got[20:].count("change") >= 4  # 7.6 pixels, 3.8 cells, of which each side is an edge
    assert got[20:].count("change") < 60


def test_an_object_that_has_stopped_is_no_work_until_it_leaves() -> None:
    def visit(scene: LumaArray, index: int) -> LumaArray:
        return block(scene, min(4 * (index - 30), 80), 60, 24, 250) if 30 < index < 120 else scene

    got = reasons(filmed(140, visit))
    assert "nothing" not in got[32:48]
    assert set(got[55:120]) == {"nothing"}
    assert got[120] == "change"


def test_a_switch_of_the_light_is_looked_at_once_as_a_whole_and_a_dimming_only_now_and_then() -> None:
    got = reasons(filmed(120, lambda scene, index: scene // 2 if index >= 60 else scene))
    assert got[60] == "light"
    assert set(got[20:60]) == set(got[62:]) == {"nothing"}
    dimmed = reasons(filmed(200, lambda scene, index: (scene * (1 - index / 600)).astype(np.uint8)))
    assert 0 < 180 - dimmed[20:].count("nothing") < 60


def test_a_clock_is_learnt_away_and_an_object_beside_it_is_still_seen() -> None:
    digits = np.random.default_rng(5).integers(0, 2, (60, 10, 24)).astype(np.uint8) * 200 + 20

    def clock(scene: LumaArray, index: int) -> LumaArray:
        scene[4:14, 200:224] = digits[index // FPS % 60]
        return block(scene, 40, 80, 24, 250) if index >= 1100 else scene

    got = reasons(filmed(1101, clock, sigma=1.0))
    assert got[20:200].count("change") >= 5  # one a second
    assert set(got[700:1100]) == {"nothing"}
    assert got[1100] == "change"


def test_where_objects_are_nothing_is_learnt_away() -> None:
    frames = filmed(1000, lambda scene, index: block(scene, 100 + 20 * (index // 10 % 2), 60, 24, 250), sigma=1.0)
    gate = Gate(NO_CHECKS)
    last_second: list[str] = []
    for index, luma in enumerate(frames):
        gate.keep_awake(np.array([[100, 60, 144, 84]], np.float32), (WIDTH, HEIGHT), index / FPS)
        last_second = [*last_second[-FPS:], gate.decide(luma, index / FPS).reason]
    assert last_second.count("change") >= 2  # every 10th frame to the end


def test_where_all_is_restless_nothing_is_learnt_away() -> None:
    def rain(scene: LumaArray, index: int) -> LumaArray:
        random = np.random.default_rng(index)
        for top, left in random.integers(0, (HEIGHT - 8, WIDTH - 4), (120, 2)).tolist():
            scene[top : top + 8, left : left + 4] = 255
        return scene

    got = reasons(filmed(800, rain))
    assert set(got[700:]) <= {"change", "camera", "light"}


def test_a_moving_camera_closes_the_gate_and_a_still_one_opens_it() -> None:
    wide = np.tile(street(), (1, 4))

    def pan(_: LumaArray, index: int) -> LumaArray:
        left = 6 * min(max(index - 40, 0), 100)
        return wide[:, left : left + WIDTH]

    got = reasons(filmed(220, pan))
    assert set(got[20:40]) == {"nothing"}
    assert set(got[60:140]) <= {"camera", "light"}
    assert "camera" in got[60:140]
    assert "nothing" not in got[41:140]
    assert set(got[190:]) == {"nothing"}


def test_a_hard_cut_is_looked_at_once_as_a_whole() -> None:
    other = street(seed=9)
    got = reasons(filmed(80, lambda scene, index: other if index >= 40 else scene))
    assert got[40] == "light"
    assert got[44:] == ["nothing"] * 36


def test_at_the_border_one_cell_is_enough() -> None:
    def last_with_speck(left: int) -> str:
        return reasons(filmed(41, lambda scene, index: block(scene, left, 100, 2, 255) if index == 40 else scene))[40]

    assert last_with_speck(100) == "nothing"
    assert last_with_speck(0) == "change"


def test_a_full_scan_comes_every_so_many_seconds_and_counts_as_a_check_of_a_still_picture() -> None:
    got = looks(filmed(130), GateOptions(full_scan_seconds=2, check_share=0))
    scans = [index for index, look in enumerate(got) if look.reason == "scan"]
    assert scans == [63, 113]  # 2 s after the last frame of the learning, and again
    assert all(got[index].is_check for index in scans)


def test_the_checks_are_as_many_as_requested_and_the_same_in_each_run() -> None:
    frames = [np.full((9, 16), 100, np.uint8)] * 4015
    options = GateOptions(full_scan_seconds=1000, check_share=0.05)
    got = reasons(frames, options)
    assert got == reasons(frames, options)
    assert 150 <= got.count("check") <= 250  # 200, ± 3.6 standard deviations
    assert set(got[15:]) == {"check", "nothing"}


def test_a_lost_frame_makes_the_next_one_work() -> None:
    gate, frames = Gate(NO_CHECKS), filmed(42)
    looks(frames[:40], gate=gate)
    gate.lose()
    assert [gate.decide(luma, index / FPS).reason for index, luma in enumerate(frames[40:], 40)] == ["lost", "nothing"]


def test_misses_open_the_gate_and_enough_checks_without_one_close_it() -> None:
    gate, still = Gate(NO_CHECKS), np.full((9, 16), 100, np.uint8)
    looks([still] * 20, gate=gate)
    for _ in range(50):
        gate.check(has_missed=False)
    assert gate.decide(still, 1.0).reason == "nothing"
    gate.check(has_missed=True)
    assert gate.decide(still, 1.1) == Look("misses", is_check=True)
    for _ in range(72):
        gate.check(has_missed=False)
    assert gate.is_open
    gate.check(has_missed=False)  # of 73 without a miss the upper end is 5 %
    assert not gate.is_open
    assert (gate.misses.num_checked, gate.misses.num_missed) == (124, 1)


def test_only_changed_cells_are_named_where_parts_may_be_looked_at() -> None:
    frames = filmed(41, lambda scene, index: block(scene, 100, 60, 24, 250) if index == 40 else scene)
    look = looks(frames, GateOptions(full_scan_seconds=1000, check_share=0, has_parts=True))[-1]
    assert look.cells is not None
    rows, columns = np.nonzero(look.cells)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 41, 50, 61)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 400), (400, 1), (3, 2), (321, 241), (161, 91), (90, 2000)])
def test_pictures_of_any_size_are_compared(width: int, height: int) -> None:
    random = np.random.default_rng(0)
    dark, bright = (
        ArrayPicture(np.clip(random.normal(level, 1, (height, width, 3)), 0, 255).astype(np.uint8))
        for level in (60, 180)
    )
    cells = [luma_cells(picture) for picture in (dark, bright)]
    across, down = grid_wh((width, height))
    assert cells[0].shape == (down, across)
    assert max(across, down) <= 200
    assert abs(int(cells[1].mean()) - 180) <= 2
    gate = Gate(NO_CHECKS)
    got = [gate.decide(cells[0], index / FPS).reason for index in range(30)]
    assert got[-1] == "nothing"
    assert gate.decide(cells[1], 2.0).reason == "light"


def test_cells_are_the_means_that_opencv_finds_of_the_whole_plane() -> None:
    pixels: PixelArray = np.random.default_rng(2).integers(0, 256, (540, 960, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(pixels, (0, 0), 6)
    grey = cv2.cvtColor(smooth, cv2.COLOR_BGR2GRAY)
    expected = cv2.resize(grey, (160, 90), interpolation=cv2.INTER_AREA)
    assert np.abs(luma_cells(ArrayPicture(np.asarray(smooth, np.uint8))).astype(int) - expected).max() <= 3


def test_frames_of_another_size_are_refused() -> None:
    gate = Gate(NO_CHECKS)
    gate.decide(np.zeros((9, 16), np.uint8), 0.0)
    with pytest.raises(ValueError, match=r"must be of one size, got \(9, 16\) and \(16, 9\)"):
        gate.decide(np.zeros((16, 9), np.uint8), 0.1)


@pytest.mark.parametrize("options", [{"full_scan_seconds": 0}, {"check_share": 1.1}, {"max_miss": float("nan")}])
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        GateOptions(**options)


def moving(scene: LumaArray, index: int) -> LumaArray:
    return block(scene, 4 * (index % 60), 60, 24, 250) if index > 30 else scene


def test_every_fourth_frame_of_what_moves_is_looked_at_from_its_first_one_on() -> None:
    options = GateOptions(full_scan_seconds=1000, check_share=0, every=4)
    got = reasons(filmed(80, moving), options)
    assert [index for index, reason in enumerate(got) if reason == "change"] == list(range(31, 80, 4))
    assert set(got[16:31]) == {"nothing"}
    assert {got[index] for index in range(31, 80) if (index - 31) % 4} == {"between"}


def test_a_moving_camera_is_looked_at_in_every_fourth_frame_too() -> None:
    options = GateOptions(full_scan_seconds=1000, check_share=0, every=4)
    got = reasons(filmed(100, lambda scene, index: np.roll(scene, 5 * index, axis=1)), options)
    assert got[50:].count("between") == pytest.approx(37, abs=1)


def test_a_check_of_a_frame_whose_turn_has_not_come_says_so() -> None:
    options = GateOptions(full_scan_seconds=1000, check_share=0.5, every=4)
    got = looks(filmed(160, moving), options)
    early = [look for look in got[31:] if look.is_early]
    assert len(early) > 20
    assert all(look.is_check and look.reason == "check" for look in early)
    assert [index for index, look in enumerate(got) if look.reason == "change"] == list(range(31, 160, 4))
    assert not any(look.is_early for look in got[16:31])


def test_no_reason_is_good_enough_for_more_than_the_budget() -> None:
    options = GateOptions(full_scan_seconds=0.04, check_share=1, budget=0.1)
    got = looks(filmed(200, moving), options)
    assert got[0].is_needed
    assert 20 <= sum(look.is_needed for look in got) <= 0.1 * 200 + 2.5


def test_with_a_budget_misses_are_counted_and_open_nothing() -> None:
    gate = Gate(GateOptions(budget=0.5))
    for _ in range(50):
        gate.check(has_missed=True)
    assert (gate.misses.num_missed, gate.is_open) == (50, False)


@pytest.mark.parametrize("options", [{"every": 0}, {"budget": 0.0}, {"budget": 1.5}])
def test_options_that_leave_nothing_or_too_much_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Gate(GateOptions(**options))
