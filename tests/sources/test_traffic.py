"""Drawn street: the same every time, true to its ground truth, on time, and broken only on request."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections
from pipeline.picture.frame import PixelArray
from pipeline.picture.tracking.tracker import track_ids_of
from pipeline.sources.source import FrameSource
from pipeline.sources.street.camera import NEAR_M, Camera, cut_at_near
from pipeline.sources.street.scene import KIND_LENGTH_M, RoadUser, Street
from pipeline.sources.street.traffic import TrafficOptions, TrafficSource, parse_options
from pipeline.sources.street.view import CLASS_NAMES, LEAST_LONG_SIDE, LEAST_SHORT_SIDE, StreetView

SMALL = (320, 180)


class FakeTime:
    """A clock, and a stop that nobody pulls until `stops_at_seconds`; waiting on it lets the clock run."""

    def __init__(self, stops_at_seconds: float = float("inf")) -> None:
        self.now_seconds = 100.0
        self.stops_at_seconds = 100.0 + stops_at_seconds

    def __call__(self) -> float:
        return self.now_seconds

    def is_set(self) -> bool:
        return self.now_seconds >= self.stops_at_seconds

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.now_seconds = min(self.now_seconds + timeout, self.stops_at_seconds)
        return self.is_set()


def arrivals(spec: str, time: FakeTime) -> list[float]:
    """When each picture arrives, from the start."""
    source = TrafficSource.from_spec(spec, clock=time)
    return [time.now_seconds - 100.0 for _ in source.pictures(time)]


def test_the_spec_says_what_is_drawn() -> None:
    options = parse_options(
        "sim:traffic?seed=7&seconds=3&fps=25&size=1280x720&density=0.5&light=dusk"
        "&realtime=1&stall=0.8/4&jitter=0.01&corrupt=0.1"
    )
    assert options == TrafficOptions(7, 3.0, 25.0, (1280, 720), 0.5, "dusk", True, 0.8, 4.0, 0.01, 0.1)
    assert parse_options("sim:traffic") == TrafficOptions()
    assert parse_options("sim:traffic?seconds=inf").num_frames is None


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("sim:trafic", "sim:trafic: the one drawn scene is sim:traffic, got sim:trafic; did you mean sim:traffic?"),
        ("sim:traffic?sead=1", "sim:traffic?sead=1: there is no option 'sead'; did you mean seed?"),
        ("sim:traffic?qqq=1", "there is no option 'qqq'; there are seed, seconds, fps, size, density, light, realtime"),
        ("sim:traffic?size=640", "size must be WIDTHxHEIGHT in pixels, such as 640x360, got '640'"),
        ("sim:traffic?light=dsk", "light must be day, overcast or dusk, got 'dsk'; did you mean dusk?"),
        ("sim:traffic?seed=1.5", "seed must be a whole number, got '1.5'"),
        ("sim:traffic?fps=0", "sim:traffic: fps must lie within 0 and 1000, got 0"),
        ("sim:traffic?seconds=nan", "seconds must be a number of seconds, or inf, got 'nan'"),
        ("sim:traffic?size=8x8", "sim:traffic: size must lie within 32 and 7680 each way, got 8x8"),
        ("sim:traffic?realtime=maybe", "realtime must be 0 or 1, got 'maybe'"),
        ("sim:traffic?stall=1", "sim:traffic: stall must come with realtime=1, got 1/5"),
        ("sim:traffic?realtime=1&stall=3/2", "sim:traffic: stall must be less than its period, got 3/2"),
        ("sim:traffic?corrupt=2", "sim:traffic: corrupt must lie within 0 and 1, got 2"),
    ],
)
def test_a_wrong_option_is_refused_with_the_nearest_right_one(spec: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        TrafficSource.from_spec(spec)
    assert words in str(refusal.value)


def test_it_is_a_source_of_pictures() -> None:
    spec = "sim:traffic?seed=3&seconds=0.5&fps=8&size=320x180"
    source: FrameSource = TrafficSource.from_spec(spec)
    assert (source.source_id, source.is_live, source.size_wh) == (spec, False, SMALL)
    assert (source.frames_per_second, source.num_frames, source.damage) == (8.0, 4, ())
    timed_pictures = list(source.pictures(threading.Event()))
    assert [timed.pts_seconds for timed in timed_pictures] == [0.0, 0.125, 0.25, 0.375]
    assert all(timed.picture.pixels.shape == (180, 320, 3) for timed in timed_pictures)
    source.close()


def test_only_the_wanted_pictures_are_painted_and_each_is_that_of_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    source = TrafficSource(TrafficOptions(seed=3, seconds=1.0, fps=8, size_wh=SMALL))
    expected = {index: source.paint(index) for index in (0, 3, 6)}
    painted: list[int] = []
    paint = source.paint

    def paint_and_note(index: int) -> PixelArray:
        painted.append(index)
        return paint(index)

    monkeypatch.setattr(source, "paint", paint_and_note)
    timed_pictures = list(source.pictures(threading.Event(), every=3))
    assert painted == [0, 3, 6]
    assert [timed.pts_seconds for timed in timed_pictures] == [0.0, 0.375, 0.75]
    assert all(
        np.array_equal(timed.picture.pixels, expected[index])
        for timed, index in zip(timed_pictures, painted, strict=True)
    )


def test_a_stopped_run_gets_no_more_pictures() -> None:
    stop = threading.Event()
    pictures = TrafficSource(TrafficOptions(seconds=float("inf"), size_wh=SMALL)).pictures(stop)
    next(pictures)
    stop.set()
    assert next(pictures, None) is None


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    program = (
        "import hashlib; from pipeline.sources.street.traffic import TrafficOptions, TrafficSource;"
        "source = TrafficSource(TrafficOptions(seed=5, size_wh=(320, 180)));"
        "print(hashlib.sha256(source.paint(40).tobytes() + source.truth(40).boxes_xyxy.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
    source = TrafficSource(TrafficOptions(seed=5, size_wh=SMALL))
    source.paint(3)  # what was asked before makes no difference
    ours = hashlib.sha256(source.paint(40).tobytes() + source.truth(40).boxes_xyxy.tobytes()).hexdigest()
    assert ours == other
    assert not np.array_equal(source.paint(40), TrafficSource(TrafficOptions(seed=6, size_wh=SMALL)).paint(40))


@pytest.mark.parametrize("size_wh", [(641, 359), (240, 426), (400, 400), (32, 32), (1920, 1080)])
def test_any_size_can_be_drawn(size_wh: tuple[int, int]) -> None:
    source = TrafficSource(TrafficOptions(seed=2, size_wh=size_wh))
    pixels, truth = source.paint(9), source.truth(9)
    assert pixels.shape == (size_wh[1], size_wh[0], 3)
    assert pixels.std() > 20
    assert (truth.boxes_xyxy >= 0).all()
    assert (truth.boxes_xyxy <= np.array(size_wh * 2)).all()


def test_the_light_can_be_chosen() -> None:
    day, dusk = (TrafficSource(TrafficOptions(light=light, size_wh=SMALL)).paint(0).mean() for light in ("day", "dusk"))
    assert day > 1.5 * dusk


def test_labelled_objects_are_big_enough_and_of_every_class() -> None:
    counts = np.zeros(len(CLASS_NAMES), np.int64)
    for seed in range(4):
        source = TrafficSource(TrafficOptions(seed=seed))
        for frame_index in (0, 200, 400):
            truth = source.truth(frame_index)
            sides = truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2]
            assert (sides.max(axis=1) >= LEAST_LONG_SIDE * 360).all()
            assert (sides.min(axis=1) >= LEAST_SHORT_SIDE * 360).all()
            assert (truth.scores == 1).all()
            counts += np.bincount(truth.class_ids, minlength=len(CLASS_NAMES))
    assert source.class_names == CLASS_NAMES
    assert (counts >= 5).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_boxes_reach_exactly_as_far_as_something_is_to_be_seen(seed: int) -> None:
    crowded = TrafficSource(TrafficOptions(seed=seed))
    empty = TrafficSource(TrafficOptions(seed=seed, density=0))
    for frame_index in (0, 90):
        change = np.abs(crowded.paint(frame_index).astype(int) - empty.paint(frame_index)).max(axis=2)  # [H, W]
        truth = crowded.truth(frame_index)
        for x0, y0, x1, y1 in truth.boxes_xyxy.astype(int):
            inside = change[y0:y1, x0:x1] > 4
            assert inside.mean() > 0.2
            assert inside[:2].any()
            assert inside[-2:].any()
            assert inside[:, :2].any()
            assert inside[:, -2:].any()
        outside = np.ones_like(change, bool)
        for x0, y0, x1, y1 in np.concatenate([truth.boxes_xyxy, crowded.ignored(frame_index).boxes_xyxy]).astype(int):
            outside[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = False
        assert (change[outside] > 80).mean() < 0.002  # no more than shadows, lamps and parts too small to own a pixel
    assert len(empty.truth(0)) == len(empty.ignored(0)) == 0


class Staged(Street):
    """A street on which exactly these road users are, furthest first."""

    def __init__(self, *users: RoadUser) -> None:
        super().__init__(seed=4, density=0, light="day")
        self.users = users

    def road_users(self, seconds: float) -> Iterator[RoadUser]:
        yield from self.users


def test_what_is_hidden_is_not_labelled_and_what_is_half_hidden_gets_the_box_of_its_visible_part() -> None:
    far, bus = RoadUser((0, 1), "car", 25.0, 16.0, 1, 0.0), RoadUser((1, 1), "bus", 15.0, 9.5, 1, 0.0)
    alone, _ = StreetView(Staged(far), size_wh=(640, 360)).visible(0)
    assert [CLASS_NAMES[class_id] for class_id in alone.class_ids] == ["car"]
    hidden, ignored = StreetView(Staged(far, bus), size_wh=(640, 360)).visible(0)
    assert [CLASS_NAMES[class_id] for class_id in hidden.class_ids] == ["bus"]
    assert len(ignored) == 0
    half = RoadUser((0, 2), "car", 14.5, 16.0, 1, 0.0)
    whole_box = StreetView(Staged(half), size_wh=(640, 360)).visible(0)[0].boxes_xyxy[0]
    seen, _ = StreetView(Staged(half, bus), size_wh=(640, 360)).visible(0)
    assert sorted(CLASS_NAMES[class_id] for class_id in seen.class_ids) == ["bus", "car"]
    box = seen.boxes_xyxy[CLASS_NAMES.index("car") == seen.class_ids][0]
    assert 0.2 < (box[2] - box[0]) / (whole_box[2] - whole_box[0]) < 0.9


def test_an_outline_encloses_what_is_visible_and_is_there_for_the_hidden_too() -> None:
    source = TrafficSource(TrafficOptions(seed=4, density=2))
    num_hidden = 0
    for frame_index in (0, 90):
        visible = (source.truth(frame_index), source.ignored(frame_index))
        outlines = source.outlines(frame_index)
        box_of = dict(zip(identities(outlines), outlines.boxes_xyxy.tolist(), strict=True))
        for detections in visible:
            for identity, (x0, y0, x1, y1) in zip(identities(detections), detections.boxes_xyxy.tolist(), strict=True):
                left, top, right, bottom = box_of[identity]
                assert min(x0 - left, y0 - top, right - x1, bottom - y1) >= -2  # pixels
        num_hidden += len(outlines) - sum(map(len, visible))
        assert (outlines.boxes_xyxy == outlines.boxes_xyxy.clip(0, (640, 360, 640, 360))).all()
    assert num_hidden > 0
    assert len(TrafficSource(TrafficOptions(density=0)).outlines(0)) == 0


def identities(detections: Detections) -> list[tuple[int, int]]:
    """Cyclist and bicycle share a track id."""
    return list(zip(track_ids_of(detections).tolist(), detections.class_ids.tolist(), strict=True))


def test_a_cyclist_is_a_bicycle_and_a_person() -> None:
    rider = RoadUser((0, 1), "cyclist", 16.0, 7.0, -1, 3.0)
    truth, _ = StreetView(Staged(rider), size_wh=(640, 360)).visible(0)
    assert sorted(CLASS_NAMES[class_id] for class_id in truth.class_ids) == ["bicycle", "person"]
    bicycle, person = (
        truth.boxes_xyxy[truth.class_ids == CLASS_NAMES.index(name)][0] for name in ("bicycle", "person")
    )
    assert person[1] < bicycle[1] < person[3] < bicycle[3] + 1


def test_everybody_keeps_an_identity_of_their_own_from_frame_to_frame() -> None:
    source = TrafficSource(TrafficOptions(seed=3, seconds=4, fps=10, size_wh=SMALL))
    truths = [source.truth(index) for index in range(40)]
    seen: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for index, truth in enumerate(truths):
        assert truth.track_ids is not None
        who = list(zip(truth.class_ids.tolist(), truth.track_ids.tolist(), strict=True))
        assert len(set(who)) == len(who)  # nobody twice in a frame
        for track, box in zip(who, truth.boxes_xyxy, strict=True):
            seen.setdefault(track, []).append((index, float(box[0] + box[2]) / 2))
    assert len(seen) > 5
    assert max(len(frames) for frames in seen.values()) > 20
    for frames in seen.values():  # nobody jumps
        assert all(abs(there - here) < 80 * (later - index) for (index, here), (later, there) in pairwise(frames))


def test_a_vehicle_that_passes_the_camera_is_cut_off_and_not_turned_inside_out() -> None:
    street = Staged()
    view = StreetView(street, size_wh=SMALL)
    shares = []
    for step in range(30):
        street.users = (RoadUser((0, 1), "bus", 9.0 - 0.7 * step, 6.5, 1, 0.0),)
        detections = view.visible(float(step))[0]
        sides = detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2]
        shares.append(float(sides.prod(axis=1).sum()) / (SMALL[0] * SMALL[1]))
    assert max(shares) > 0.3
    assert shares[-1] == 0
    assert max(abs(b - a) for a, b in pairwise(shares)) < 0.3  # it leaves step by step


def test_nobody_runs_into_anybody_and_everybody_comes_furthest_first() -> None:
    for seed in range(6):
        street = Street(seed=seed, density=2)
        for seconds in (0.0, 3.3, 500.0):
            users = list(street.road_users(seconds))
            assert len(users) > 50
            assert [user.y_m for user in users] == sorted((user.y_m for user in users), reverse=True)
            for behind, ahead in pairwise(sorted(users, key=lambda user: (user.y_m, user.x_m))):
                if behind.y_m == ahead.y_m:
                    gap = ahead.x_m - behind.x_m - (KIND_LENGTH_M[ahead.kind] + KIND_LENGTH_M[behind.kind]) / 2
                    assert gap > 0.5


def test_road_users_move_ahead_at_a_believable_pace() -> None:
    street = Street(seed=1)
    before = {user.key: user for user in street.road_users(10.0)}
    moved = [(before[user.key], user) for user in street.road_users(10.1) if user.key in before]
    assert len(moved) > 30
    for old, new in moved:
        pace_mps = (new.x_m - old.x_m) * new.heading / 0.1
        lowest, highest = {"walker": (1.0, 1.7), "cyclist": (3.9, 5.7)}.get(new.kind, (0.0, 16.0))
        assert lowest <= pace_mps <= highest


def test_in_real_time_every_picture_comes_when_it_is_due() -> None:
    assert arrivals("sim:traffic?realtime=1&seconds=1&fps=5&size=64x64", FakeTime()) == pytest.approx(
        [0.0, 0.2, 0.4, 0.6, 0.8]
    )
    assert TrafficSource.from_spec("sim:traffic?realtime=1&size=64x64").is_live


def test_a_stop_wakes_the_source_while_it_waits() -> None:
    times = arrivals("sim:traffic?realtime=1&seconds=inf&fps=5&size=64x64", FakeTime(stops_at_seconds=0.5))
    assert times == pytest.approx([0.0, 0.2, 0.4])


def test_after_a_stall_what_was_due_comes_at_once() -> None:
    times = arrivals("sim:traffic?realtime=1&seconds=2&fps=5&stall=0.45/1&size=64x64", FakeTime())
    assert times == pytest.approx([0.0, 0.2, 0.4, 1.0, 1.0, 1.0, 1.2, 1.4, 2.0, 2.0])


def test_jitter_delays_by_no_more_than_was_asked_and_keeps_media_time() -> None:
    time = FakeTime()
    source = TrafficSource.from_spec("sim:traffic?realtime=1&seconds=2&fps=10&jitter=0.05&size=64x64", clock=time)
    delays = [time.now_seconds - 100.0 - timed.pts_seconds for timed in source.pictures(time)]
    assert min(delays) >= -1e-9
    assert max(delays) <= 0.05 + 1e-9
    assert len({round(delay, 6) for delay in delays}) > 10


def test_corrupt_frames_have_broken_bands_and_are_reported_and_the_truth_stays() -> None:
    unbroken = TrafficSource(TrafficOptions(seed=8, seconds=2, size_wh=SMALL))
    broken = TrafficSource(TrafficOptions(seed=8, seconds=2, size_wh=SMALL, corrupt=0.2))
    differs = [
        not np.array_equal(a.picture.pixels, b.picture.pixels)
        for a, b in zip(unbroken.pictures(threading.Event()), broken.pictures(threading.Event()), strict=True)
    ]
    assert 4 <= sum(differs) <= 22
    assert broken.damage == (f"{sum(differs)} frames were broken on request (corrupt=0.2)",)
    first = differs.index(True)
    changed_rows = (unbroken.paint(first) != broken.paint(first)).any(axis=(1, 2)).mean()
    assert 0.04 < changed_rows < 0.8
    assert np.array_equal(unbroken.truth(first).boxes_xyxy, broken.truth(first).boxes_xyxy)


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_the_ground_under_a_pixel_is_projected_back_onto_it(is_mirrored: bool) -> None:
    camera = Camera.aimed(
        (160, 90), field_of_view_degrees=60, horizon=0.25, height_m=5.5, yaw_degrees=30, is_mirrored=is_mirrored
    )
    ground = camera.ground_under_pixels()  # [90, 160, 2]
    assert np.isinf(ground[:20]).any()
    rows, columns = np.mgrid[30:90, 0:160]
    there = ground[30:]
    back = camera.project(np.concatenate([there, np.zeros((60, 160, 1))], axis=2))
    np.testing.assert_allclose(back, np.stack([columns + 0.5, rows + 0.5], axis=2), atol=1e-6)


def test_a_polygon_is_cut_where_it_comes_too_near() -> None:
    square = np.array([(0.0, 0.0, -1.0), (1.0, 0.0, -1.0), (1.0, 0.0, 3.0), (0.0, 0.0, 3.0)])
    cut = cut_at_near(square)
    assert cut[:, 2].min() == pytest.approx(NEAR_M)
    assert len(cut) == 4
    assert len(cut_at_near(square - np.array((0, 0, 9.0)))) == 0


def test_a_scene_longer_than_any_number_of_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="seconds must be at most 1e9, or inf"):
        TrafficOptions(seconds=1e308, fps=1000)


def test_a_frame_that_would_be_late_by_more_than_an_hour_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"jitter must be at most an hour, got 1e\+300"):
        TrafficOptions(jitter_seconds=1e300, realtime=True)
