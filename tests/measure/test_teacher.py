"""Teacher: tiles show it more, its doubt is nobody's mistake, and sampled frames stand for the video."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.flow.stage import Stop
from pipeline.measure.sampling import take_sample
from pipeline.measure.teacher import (
    SMALL_SHARE,
    Labels,
    TeacherAgreement,
    Tiled,
    disagreement,
    shown,
    tiles_of,
)
from pipeline.picture.detections import Detections
from pipeline.picture.frame import ArrayPicture, Picture, TimedPicture

Row = tuple[float, float, float, float, float, int]  # x1, y1, x2, y2, score, class

WIDE, HIGH = 200, 100


def detections(*rows: Row) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int64))


def picture_of_places() -> ArrayPicture:
    """Each pixel says where it is, so that who sees a tile knows which."""
    pixels = np.zeros((HIGH, WIDE, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(WIDE)[None], np.arange(HIGH)[:, None]
    return ArrayPicture(pixels)


class Eyes:
    """Sees the part of each object that is in the picture, if that is at least `least` of the picture's width."""

    def __init__(self, *objects: Row, least: float = 0.0) -> None:
        self.objects, self.least = objects, least

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        return [self.look(picture) for picture in pictures]

    def look(self, picture: Picture) -> Detections:
        (width, height), (left, top) = picture.size_wh, picture.pixels[0, 0, :2].astype(int).tolist()
        seen = []
        for x1, y1, x2, y2, score, class_id in self.objects:
            a, b = max(0, x1 - left), max(0, y1 - top)
            c, d = min(width, x2 - left), min(height, y2 - top)
            if c > a and d > b and (c - a) / width >= self.least:
                # Whoever sees a part of something may be surer of it than whoever sees all.
                part = (c - a) * (d - b) / ((x2 - x1) * (y2 - y1))
                seen.append((a, b, c, d, score + 0.05 * (part < 1), class_id))
        return detections(*seen)


def rows_of(found: Detections) -> list[list[float]]:
    return sorted(np.column_stack([found.boxes_xyxy, found.class_ids]).tolist())


def test_tiles_cover_the_frame_and_overlap_by_a_fifth() -> None:
    assert tiles_of((100, 100), rows=1, columns=1) == []
    assert tiles_of((100, 100), rows=2, columns=2) == [
        (0, 0, 56, 56),  # 56 = 100 / 1.8, rounded up
        (44, 0, 100, 56),
        (0, 44, 56, 100),
        (44, 44, 100, 100),
    ]
    assert tiles_of((300, 100), rows=1, columns=3) == [(0, 0, 116, 100), (92, 0, 208, 100), (184, 0, 300, 100)]
    assert tiles_of((2, 1), rows=9, columns=1)[0] == (0, 0, 2, 1)  # more tiles than pixels


def test_what_is_too_small_in_the_whole_frame_is_found_in_a_tile_and_shifted_back() -> None:
    small: Row = (150, 70, 162, 82, 0.8, 0)
    eyes = Eyes(small, least=0.1)
    assert len(eyes.look(picture_of_places())) == 0
    (found,) = Tiled(eyes, rows=2, columns=2)([picture_of_places()])
    assert rows_of(found) == [[150, 70, 162, 82, 0]]


def test_what_tiles_have_cut_gives_way_to_the_whole_even_where_they_are_surer() -> None:
    large: Row = (20, 20, 180, 80, 0.8, 0)
    (found,) = Tiled(Eyes(large), rows=2, columns=2)([picture_of_places()])
    assert rows_of(found) == [[20, 20, 180, 80, 0]]


def test_what_lies_in_the_overlap_counts_once_and_another_class_in_it_stays() -> None:
    twice: Row = (92, 46, 106, 54, 0.8, 0)
    (found,) = Tiled(Eyes(twice, (93, 47, 105, 53, 0.7, 1)), rows=2, columns=2)([picture_of_places()])
    assert rows_of(found) == [[92, 46, 106, 54, 0], [93, 47, 105, 53, 1]]


def test_what_ends_at_the_edge_of_the_frame_is_not_cut() -> None:
    at_edge: Row = (0, 0, 20, 20, 0.8, 0)
    (found,) = Tiled(Eyes(at_edge, (0, 0, 60, 60, 0.5, 0), least=0.1), rows=2, columns=2)([picture_of_places()])
    assert [0, 0, 20, 20, 0] in rows_of(found)


def test_a_cut_object_that_nobody_saw_whole_is_kept() -> None:
    def only_in_tiles(pictures: Sequence[Picture]) -> list[Detections]:
        return [
            Detections.empty() if picture.size_wh == (WIDE, HIGH) else Eyes((20, 20, 180, 30, 0.8, 0)).look(picture)
            for picture in pictures
        ]

    (found,) = Tiled(only_in_tiles, rows=1, columns=2)([picture_of_places()])
    assert rows_of(found) == [[20, 20, 112, 30, 0], [88, 20, 180, 30, 0]]


def test_nothing_in_any_tile_is_nothing() -> None:
    (found,) = Tiled(Eyes(), rows=3, columns=2)([picture_of_places()])
    assert len(found) == 0


def test_a_teacher_is_sure_unsure_or_silent() -> None:
    found = detections((0, 0, 9, 9, 0.7, 0), (0, 0, 9, 9, 0.69, 1), (0, 0, 9, 9, 0.35, 2), (0, 0, 9, 9, 0.34, 3))
    labels = Labels.of(found, sure_score=0.7)
    assert labels.sure.class_ids.tolist() == [0]
    assert labels.unsure.class_ids.tolist() == [1, 2]


def test_missed_and_extra_are_told_apart_and_weighed_by_score() -> None:
    labels = Labels(detections((0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.6, 0)), detections((50, 50, 70, 70, 0.4, 0)))
    found = detections(
        (0, 0, 10, 6, 0.5, 0),  # IoU .6 with the first, but a surer one takes it
        (0, 0, 10, 9, 0.8, 0),
        (20, 0, 30, 10, 0.7, 1),  # the right place, the wrong class
        (50, 50, 60, 60, 0.95, 0),  # where the teacher is unsure
    )
    differs = disagreement(found, labels)
    assert differs.is_missed.tolist() == [False, True]
    assert differs.is_extra.tolist() == [True, False, True, False]
    assert differs.weight == pytest.approx(0.6 + 0.5 + 0.7)


def test_nobody_disagrees_about_nothing() -> None:
    nothing = Labels(Detections.empty(), Detections.empty())
    assert disagreement(Detections.empty(), nothing).weight == 0
    assert disagreement(detections((0, 0, 9, 9, 0.5, 0)), nothing).is_extra.tolist() == [True]
    labels = Labels(detections((0, 0, 9, 9, 0.5, 0)), Detections.empty())
    assert disagreement(Detections.empty(), labels).is_missed.tolist() == [True]


def test_precision_is_cocos_and_the_unsure_is_neither_right_nor_wrong() -> None:
    pytest.importorskip("pycocotools", reason="AP needs pycocotools")
    labels = Labels(detections((0, 0, 50, 50, 0.9, 0), (100, 0, 150, 50, 0.9, 0)), detections((0, 60, 40, 100, 0.4, 0)))
    one_of_two = [detections((0, 0, 50, 50, 0.8, 0), (0, 60, 40, 100, 0.9, 0))]
    near = TeacherAgreement.of(one_of_two, [labels], [(200, 100)], shown_score=0.25)
    assert near.ap == near.ap50 == pytest.approx(51 / 101)  # precision 1 up to recall 1/2
    assert (near.all.num_found, near.all.num_objects, near.all.share) == (1, 2, 0.5)
    with_extra = [detections((0, 0, 50, 50, 0.8, 0), (160, 60, 199, 100, 0.9, 0))]
    assert TeacherAgreement.of(with_extra, [labels], [(200, 100)], shown_score=0.25).ap == pytest.approx(51 / 101 / 2)
    itself = TeacherAgreement.of([labels.sure], [labels], [(200, 100)], shown_score=0.25)
    assert itself.ap == pytest.approx(1)
    assert itself.frames[0].weight == 0


def test_recall_counts_what_is_shown_and_small_is_of_pixels_or_of_the_frame() -> None:
    pytest.importorskip("pycocotools", reason="AP needs pycocotools")
    sure = detections((0, 0, 31, 31, 0.9, 0), (100, 0, 133, 33, 0.9, 0), (300, 300, 500, 500, 0.9, 0))
    labels = Labels(sure, Detections.empty())
    found = detections((0, 0, 31, 31, 0.2, 0), (100, 0, 133, 33, 0.6, 0), (300, 300, 500, 500, 0.9, 0))
    full_hd = TeacherAgreement.of([found], [labels], [(1920, 1080)], shown_score=0.25)
    assert (full_hd.small.num_found, full_hd.small.num_objects) == (
        0,
        1,
    )  # 31² < 32² ≤ 33²; what scores .2 is not shown
    assert 33**2 < SMALL_SHARE * 1920 * 1080 < 200**2
    assert (full_hd.small_for_frame.num_found, full_hd.small_for_frame.num_objects) == (1, 2)
    large = Labels(detections((0, 0, 100, 100, 0.9, 0)), Detections.empty())
    assert TeacherAgreement.of([Detections.empty()], [large], [(640, 480)], shown_score=0.25).small.share is None


def test_what_scores_just_the_threshold_is_shown() -> None:
    assert len(shown(detections((0, 0, 9, 9, 0.7, 0)), 0.7)) == 1


class Film:
    """So many frames, whatever it says of their number."""

    is_live = False
    size_wh = (1, 1)
    frames_per_second = 10.0
    damage = ()
    source_id = "film"

    def __init__(self, length: int, *, says: int | None, is_live: bool = False) -> None:
        self.length, self.num_frames, self.is_live = length, says, is_live
        self.is_closed = False

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        for index in range(0, self.length, every):
            yield TimedPicture(ArrayPicture(np.full((1, 1, 3), index % 256, np.uint8)), index / 10)

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("says", [None, 0, 100, 10, 150])
def test_sampled_frames_lie_evenly_even_where_the_length_is_not_what_it_says(says: int | None) -> None:
    film = Film(100, says=says)
    sample = take_sample(film, 10)
    gaps = np.diff(sample.frame_indices)
    assert 6 <= len(sample.frame_indices) <= 10
    assert gaps.max() <= 2 * gaps.min()
    assert sample.frame_indices[0] < 20
    assert sample.frame_indices[-1] >= 80
    assert film.is_closed


def test_a_sample_is_a_source_that_can_be_read_again() -> None:
    sample = take_sample(Film(5, says=5), 10)
    for _ in range(2):
        timed_pictures = list(sample.pictures(threading.Event()))
        assert [int(timed.picture.pixels[0, 0, 0]) for timed in timed_pictures] == [0, 1, 2, 3, 4]
    assert sample.frame_indices == (0, 1, 2, 3, 4)


def test_only_the_first_frames_are_read_where_that_is_wanted() -> None:
    assert take_sample(Film(100, says=100), 3, of_first=9).frame_indices == (0, 3, 6)


def test_of_a_live_source_the_next_frames_are_taken() -> None:
    sample = take_sample(Film(10**9, says=None, is_live=True), 3)
    assert sample.frame_indices == (0, 5, 10)
    assert sample.is_of_live


def test_a_source_without_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="film: must have at least one frame"):
        take_sample(Film(0, says=7), 3)
