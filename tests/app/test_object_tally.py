"""Object tally: what was detected is counted as one would by hand, and put into words that are true."""

from __future__ import annotations

import io
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.app.config.detection import DetectionConfig
from pipeline.app.run.object_tally import NO_OBJECTS, ClassCount, ObjectCounts, ObjectTally
from pipeline.app.run.objects_in_words import counts_line, print_counts, why_nothing
from pipeline.detector.recognise import recognise
from pipeline.picture.detections import Result
from tests.support.results import CLASS_NAMES, result_of


def tally_of(*results: Result) -> ObjectTally:
    tally = ObjectTally()
    for result in results:
        tally(result)
    return tally


def printed(tally: ObjectTally, *, width: int = 80) -> str:
    text = io.StringIO()
    print_counts(tally.counts(), tally.images(), Console(file=text, width=width), nothing="kept is any class")
    return text.getvalue()


def test_frames_most_at_once_and_boxes_of_each_class_are_counted() -> None:
    counts = tally_of(result_of(0, 0, 1), result_of(), result_of(1), result_of(1, 1)).counts()
    assert (counts.num_frames, counts.num_frames_with_objects) == (4, 3)
    assert counts.classes == (ClassCount("car", 3, 2, 4, None), ClassCount("person", 1, 2, 2, None))


def test_sources_are_counted_apart_and_together() -> None:
    tally = tally_of(result_of(0, 0, source_id="a"), result_of(0, source_id="b"), result_of(source_id="b"))
    by_source = tally.counts_by_source()
    assert by_source["a"].classes == (ClassCount("person", 1, 2, 2, None),)
    assert (by_source["b"].num_frames, by_source["b"].num_frames_with_objects) == (2, 1)
    assert tally.counts().classes == (ClassCount("person", 2, 2, 3, None),)


def test_the_files_of_a_folder_count_for_the_folder() -> None:
    tally = ObjectTally({"clips/a.mp4": "clips", "clips/b.mp4": "clips"})
    for source_id in ("clips/a.mp4", "clips/b.mp4", "clips/b.mp4", "other.mp4"):
        tally(result_of(0, source_id=source_id))
    by_source = tally.counts_by_source()
    assert {name: counts.num_frames for name, counts in by_source.items()} == {"clips": 3, "other.mp4": 1}


def test_identities_are_counted_once_in_a_source_and_apart_in_two() -> None:
    tally = tally_of(
        result_of(0, 0, source_id="a", track_ids=[7, 8]),
        result_of(0, 1, source_id="a", track_ids=[8, 7]),
        result_of(0, 0, source_id="b", track_ids=[7, -1]),
    )
    assert {count.name: count.num_tracks for count in tally.counts().classes} == {"person": 3, "car": 1}
    assert "distinct" in printed(tally)


def test_identities_that_come_back_with_another_class_are_counted_as_if_all_were_remembered() -> None:
    tally, randomness = ObjectTally(), np.random.default_rng(4)
    seen: dict[str, set[int]] = {name: set() for name in CLASS_NAMES}
    for first in range(0, 30_000, 100):
        before = randomness.integers(max(0, first - 4000), first + 1, 100).tolist()
        track_ids = list(dict.fromkeys([*range(first, first + 100), *before]))
        class_ids = randomness.integers(0, len(CLASS_NAMES), len(track_ids)).tolist()
        tally(result_of(*class_ids, track_ids=track_ids))
        for class_id, track_id in zip(class_ids, track_ids, strict=True):
            seen[CLASS_NAMES[class_id]].add(track_id)
    counts = {count.name: count.num_tracks for count in tally.counts().classes}
    assert counts == {name: len(track_ids) for name, track_ids in seen.items()}


def test_identities_of_a_run_of_months_take_no_more_memory_than_those_of_a_day() -> None:
    tally, sizes = ObjectTally(), []
    tracemalloc.start()
    try:
        for day in range(3):
            for first in range(12_000 * day, 12_000 * (day + 1), 500):
                tally(result_of(*[0] * 500, track_ids=range(first, first + 500)))
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[-1] < 1.05 * sizes[0] < 3_000_000
    assert [count.num_tracks for count in tally.counts().classes] == [36_000]


def test_two_ids_of_one_name_are_one_class() -> None:
    tally = tally_of(result_of(0, 1, class_names=("car", "car")))
    assert tally.counts().classes == (ClassCount("car", 1, 2, 2, None),)


def test_counts_can_be_read_while_results_come() -> None:
    tally = ObjectTally()

    def count() -> None:
        for index in range(2000):
            tally(result_of(0, 0, source_id=str(index % 50)))

    thread = threading.Thread(target=count)
    thread.start()
    while thread.is_alive():
        counts = tally.counts()  # never half a result
        assert sum(row.num_boxes for row in counts.classes) == 2 * counts.num_frames
    assert sum(row.num_frames for row in tally.counts_by_source().values()) == 2000


def test_a_run_of_video_says_how_many_frames_have_objects_and_of_which_classes() -> None:
    lines = printed(tally_of(result_of(0, 0, 1), result_of(), result_of(1))).splitlines()
    assert lines[0] == "found    objects in 2 of 3 frames"
    assert [line.split() for line in lines[1:]] == [
        ["class", "frames", "most", "at", "once", "boxes"],
        ["car", "2", "1", "2"],
        ["person", "1", "2", "2"],
    ]


def test_rare_classes_are_summed() -> None:
    names = tuple(f"class {index}" for index in range(30))
    results = [result_of(*range(num), class_names=names) for num in range(1, 31)]
    *_, rest = printed(tally_of(*results)).splitlines()
    assert rest.split() == ["20", "more", str(sum(range(1, 21)))]


def test_nothing_says_what_would_have_been_kept(small_detector: Path) -> None:
    assert printed(tally_of(result_of())) == "found    nothing in 1 frames: kept is any class\n"
    assert "no frame was delivered" in printed(tally_of())
    spec = recognise(small_detector)
    hint = why_nothing(DetectionConfig(score_threshold=0.4, classes=(spec.class_names[0],)), spec)
    assert f"kept is {spec.class_names[0]} (--classes) with a score of at least 0.4 (--score-threshold)" in hint
    assert f"the model knows {len(spec.class_names)} classes" in hint


def test_one_image_is_a_list_of_its_detections_the_surest_first() -> None:
    lines = printed(tally_of(result_of(2, 0, image="a photo [of] 100 %.jpg"))).splitlines()
    assert lines[0] == "found    2 objects in a photo [of] 100 %.jpg, 8×6"
    assert [line.split() for line in lines[2:]] == [
        ["dog", "0.90", "0", "0", "2", "2"],
        ["person", "0.80", "1", "0", "3", "2"],
    ]


def test_from_four_images_on_there_are_counts_and_those_without_an_object() -> None:
    images = [result_of(*([0] if index else []), image=f"photos/{index}.jpg") for index in range(4)]
    assert "0.jpg, 8×6" in printed(tally_of(*images[:3]))
    text = printed(tally_of(*images))
    assert "objects in 3 of 4 images" in text
    assert "nothing in 1: 0.jpg" in text


def test_a_video_beside_an_image_is_a_run_of_video() -> None:
    assert tally_of(result_of(0, image="a.jpg"), result_of(0)).images() is None


@pytest.mark.parametrize("width", [20, 40, 73, 200])
def test_a_line_takes_the_classes_that_fit(width: int) -> None:
    classes = tuple(ClassCount(f"kind{index}", 100 - index, 3, 300, None) for index in range(12))
    line = counts_line(ObjectCounts(100, 100, classes), width=width)
    shown = line.count(" in ")
    assert len(line) <= max(width, len("kind0 3 in 100 frames, 11 more"))
    assert line.startswith("kind0 3 in 100 frames")
    assert line.endswith(f"{12 - shown} more") or shown == 12
    assert counts_line(NO_OBJECTS, width=width) == "nothing yet"
