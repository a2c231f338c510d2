"""Does `streamdet compare` judge by the teacher, say so, and advise by the numbers alone?"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from pipeline.app.compare.command import run_compare, tiles_of_text
from pipeline.app.compare.options import CompareOptions
from pipeline.app.compare.report import no_truth, table_of_candidates
from pipeline.app.compare.result import Candidate
from pipeline.app.compare.verdict import Row, verdict
from pipeline.app.config.run import RunConfig
from pipeline.app.measure_apart import Case, Measure
from pipeline.app.terminal import print_numbers
from pipeline.errors import ConfigError
from pipeline.measure.measured import Measured
from pipeline.measure.side_by_side import side_by_side
from pipeline.measure.summary import Figure, Summary
from pipeline.measure.teacher import Labels, Recall, TeacherAgreement, disagreement
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.sources.images import read_image
from tests.support.assets import ASSETS, MODELS, needs_assets
from tests.support.command_line import Streamdet
from tests.support.measured import a_run
from tests.support.tiny_detector import write_boxes_detector

pytest.importorskip("pycocotools", reason="AP needs pycocotools")

RED, ORANGE, GREEN = (60, 50, 230), (0, 150, 255), (96, 174, 39)


def row(name: str, ap: float, fps: float | None, *, is_teacher: bool = False, apart: float = 0.0) -> Row:
    return Row(name, ap, None if fps is None else Figure(fps, fps * (1 - apart), fps * (1 + apart)), is_teacher)


def test_a_little_less_accurate_and_much_faster_is_to_be_taken() -> None:
    rows = [row("A", 0.600, 10), row("B", 0.592, 21), row("C", 0.3, 99)]
    assert verdict(rows) == "take B: 2.1× faster than A, −0.8 AP on this video."


def test_of_several_that_lose_little_the_fastest_is_to_be_taken() -> None:
    assert verdict([row("A", 0.6, 10), row("B", 0.595, 20), row("C", 0.59, 30)]).startswith("take C: 3.0× faster")


def test_what_loses_much_is_to_be_left_unless_speed_is_worth_it() -> None:
    sentence = verdict([row("A", 0.6, 10), row("B", 0.39, 24), row("C", 0.1, 99)])
    assert sentence == "B loses 21.0 AP on this video against A: keep A unless 2.4× the speed is worth that."


def test_what_is_nearer_and_no_slower_is_to_be_taken() -> None:
    assert verdict([row("B", 0.50, 10), row("A", 0.53, 20)]) == (
        "take A: it is 2.0× faster than B and nearer to the teacher (+3.0 AP on this video)."
    )
    assert "as fast as B and nearer" in verdict([row("A", 0.6, 10), row("B", 0.5, 10.4)])


def test_a_speed_that_repeats_do_not_agree_on_is_no_faster() -> None:
    rows = [row("A", 0.6, 10, apart=0.2), row("B", 0.595, 12, apart=0.2)]
    assert "as fast as B" in verdict(rows)


def test_the_teacher_among_the_candidates_is_named_as_what_it_is() -> None:
    rows = [row("A", 1.0, 10, is_teacher=True), row("B", 0.62, 37)]
    assert verdict(rows) == (
        "B loses 38.0 AP on this video against A, which is the teacher itself: keep A unless 3.7× the speed "
        "is worth that."
    )
    assert verdict([row("A", 1.0, 40, is_teacher=True), row("B", 0.62, 10)]) == (
        "take A: it is the teacher itself and 4.0× faster than B."
    )


def test_without_speeds_the_nearest_is_to_be_taken() -> None:
    assert verdict([row("A", 0.6, None), row("B", 0.7, None)]).startswith("take B: it is nearest to the teacher")
    assert verdict([row("A", 0.6, 10)]).startswith("take A")


@pytest.mark.parametrize("text", ["2", "0x2", "2x", "axb", "10x1", "-1x2", ""])
def test_tiles_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--tiles must be ROWSxCOLUMNS"):
        tiles_of_text(text)


def test_tiles_are_rows_by_columns() -> None:
    assert tiles_of_text("2x3") == (2, 3)


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int64))


def drawn(labels: Labels, detections: Detections, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
    return side_by_side(
        pixels,
        labels,
        detections,
        disagreement(detections, labels),
        class_names=("cat", "dog"),
        teacher="A",
        candidate="B",
        where="frame 7",
    )


def has_colour(picture: np.ndarray[Any, Any], colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour)).all(axis=2).any())


def test_the_worst_frames_show_teacher_left_and_candidate_right_with_what_differs() -> None:
    pixels = np.zeros((240, 320, 3), np.uint8)
    labels = Labels(found((20, 20, 120, 120, 0.9, 0), (150, 20, 200, 90, 0.8, 1)), Detections.empty())
    picture = drawn(labels, found((20, 20, 120, 120, 0.7, 0), (200, 150, 300, 230, 0.6, 0)), pixels)
    height, half = picture.shape[0], picture.shape[1] // 2
    body = picture[40 : height - 40]
    left, right = body[:, : half - 3], body[:, half + 3 :]
    assert left.shape[1] == 960  # 320 scaled up
    assert [has_colour(left, each) for each in (GREEN, RED, ORANGE)] == [True, True, False]
    assert [has_colour(right, each) for each in (GREEN, RED, ORANGE)] == [True, True, True]
    assert not pixels.any()


@pytest.mark.parametrize("size", [(2160, 3840), (900, 300), (1, 1)])
def test_pictures_of_any_size_fit_a_screen_even_with_nothing_in_them(size: tuple[int, int]) -> None:
    nothing = Labels(Detections.empty(), Detections.empty())
    picture = drawn(nothing, Detections.empty(), np.zeros((*size, 3), np.uint8))
    assert picture.shape[0] <= 720 + 68
    assert picture.shape[1] <= 2 * 960 + 6


def by_model(speeds: Mapping[str, float]) -> Measure:
    def measure(case: Case) -> Measured:
        fps = speeds[Path(RunConfig.model_validate(case.config).model or "").stem]
        return a_run(fps, cpu_ms_per_frame=1000 / fps, detect_ms=500 / fps)

    return measure


@pytest.fixture
def rival(tmp_path: Path) -> Path:
    """Finds the cat of `small_detector` at IoU 11/16, and a dog where nothing is."""
    rows = [(8.0, 16.0, 24.0, 27.0, 0.8, 0), (40.0, 40.0, 60.0, 60.0, 0.3, 1)]
    return write_boxes_detector(tmp_path / "rival.onnx", rows, dtype="uint8")


def test_candidates_are_judged_by_what_the_teacher_is_sure_of(
    small_video: Path, small_detector: Path, rival: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = CompareOptions(
        (str(small_detector), str(rival)),
        str(small_video),
        teacher=str(small_detector),
        frames=5,
        worst=2,
        output=tmp_path / "worst",
        report=tmp_path / "report.json",
        repeats=2,
    )
    run_compare(options, measure=by_model({"cats": 10.0, "rival": 21.0}))
    report = json.loads((tmp_path / "report.json").read_text())
    itself, other = report["candidates"]
    assert report["frames"] == [0, 6, 12, 18, 24]
    assert (itself["is_teacher"], itself["AP"], itself["missed"], itself["extra"]) == (True, 1.0, 0, 0)
    assert other["AP"] == pytest.approx(0.4)  # at IoU .5, .55, .6 and .65 of ten
    assert other["AP50"] == pytest.approx(1.0)
    assert other["recall"]["all"] == {"found": 5, "of": 5}  # the dog of .4 counts for nothing
    assert (other["missed"], other["extra"]) == (0, 5)
    assert other["fps"]["median"] == 21
    assert report["teacher"]["num_sure"] == report["teacher"]["num_unsure"] == 5
    assert "loses 60.0 AP" in report["verdict"]
    out = capsys.readouterr().out
    assert no_truth("cats") in out
    assert "teacher 100.0" in out
    assert "cats is the teacher's own network, so its row is not a fair comparison" in out
    assert "sure of 5 objects only" in out
    pictures = sorted((tmp_path / "worst").iterdir())
    assert [each.name for each in pictures] == ["rival-worst-1-frame-0.png", "rival-worst-2-frame-6.png"]
    assert [str(each) for each in pictures] == other["worst_frames"]
    assert has_colour(read_image(pictures[0]), ORANGE)


def test_a_video_too_short_for_its_speed_is_still_judged(
    small_video: Path, small_detector: Path, rival: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_short(_: Case) -> Measured:
        raise ConfigError("the sources must last longer")

    options = CompareOptions((str(small_detector), str(rival)), str(small_video), output=tmp_path, worst=0, frames=3)
    run_compare(options, measure=too_short)
    captured = capsys.readouterr()
    assert "its speed cannot be measured: the sources must last longer" in captured.err
    assert "nothing was measured that is faster" in captured.out


def test_what_cannot_be_compared_is_said_in_one_line(
    streamdet: Streamdet,
    monkeypatch: pytest.MonkeyPatch,
    small_video: Path,
    small_detector: Path,
    rival: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    both = (small_detector, rival)
    mistakes = {
        (small_detector, "--on", small_video): "compare needs two models or more",
        (small_detector, small_detector, "--on", small_video): "every model must be listed only once",
        (*both, "--on", "-"): "which stdin does not allow",
        (*both, "--on", "sim:traffic?realtime=1"): "--on must be a recorded source",
        (*both, "--on", "sim:traffic?seconds=inf"): "must end: give it seconds=20",
        (*both, "--on", small_video, "--sure-score", "0.95"): "must be sure of something, from score 0.95 on",
        (*both, "--on", small_video, "--tiles", "2"): "--tiles must be ROWSxCOLUMNS",
        (*both, "--on", small_video, "--output", small_video): "--output must be a folder",
    }
    for words, message in mistakes.items():
        done = streamdet("compare", *words)
        assert done.returncode == 1, words
        assert message in done.stderr.splitlines()[-1], words


@needs_assets
def test_models_without_a_class_in_common_are_refused_and_few_common_ones_are_said(
    small_detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces, coco = MODELS / "ulfd_rfb_face_320.onnx", MODELS / "yolox_nano_coco_416.onnx"
    folder = ASSETS / "images" / "stills" / "dog_bike_car.jpg"
    with pytest.raises(ConfigError, match="must have a class in common, ulfd_rfb_face_320"):
        run_compare(CompareOptions((str(faces), str(coco)), str(folder), teacher=str(coco), output=tmp_path))
    options = CompareOptions((str(small_detector),), str(folder), teacher=str(coco), output=tmp_path)
    run_compare(options, measure=by_model({"cats": 10.0}))
    assert "only the 2 classes that all know are compared: yolox_nano_coco_416 knows 80, cats knows 2" in (
        capsys.readouterr().out
    )


@needs_assets
def test_a_tiled_teacher_labels_more_of_a_real_photograph(tmp_path: Path) -> None:
    model = MODELS / "yolox_nano_coco_416.onnx"
    photograph = str(ASSETS / "images" / "stills" / "pedestrians.jpg")
    sure = []
    for tiles in ("1x1", "2x2"):
        report = tmp_path / "report.json"
        options = CompareOptions(
            (str(model),), photograph, teacher=str(model), tiles=tiles, output=tmp_path, report=report, overwrite=True
        )
        run_compare(options, measure=by_model({model.stem: 10.0}))
        sure.append(json.loads(report.read_text())["teacher"]["num_sure"])
    assert cv2.imread(photograph) is not None
    assert sure[1] > sure[0]


def a_candidate(name: str, ap: float, fps: float) -> Candidate:
    recall = Recall(1234, 1234)
    agreement = TeacherAgreement(ap=ap, ap50=1.0, all=recall, small=recall, small_for_frame=recall, frames=())
    spec = DetectorSpec(input_name="x", head="yolox", class_names=("cat",), network_wh=(32, 32))
    summary = Summary.of([a_run(fps), a_run(1.5 * fps)], None)
    return Candidate(name, RunConfig(), spec, ap == 1, [], agreement, summary)


def printed_candidates(candidates: list[Candidate], width: int) -> str:
    screen = io.StringIO()
    print_numbers(Console(file=screen, width=width), table_of_candidates(candidates))
    return screen.getvalue()


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_has_every_name_and_number_whole_in_tables_below_one_another(width: int) -> None:
    names = ("yolox_small_coco_640_fp16", "rtdetr_v2_r18vd_coco_640")
    candidates = [a_candidate(name, ap, 1234.5) for name, ap in zip(names, (1.0, 0.456), strict=True)]
    wide, narrow = (printed_candidates(candidates, each) for each in (160, width))
    assert len(wide.splitlines()) == 3
    assert set(wide.split()) == set(narrow.split())  # headings, names and numbers
    assert "teacher 100.0" in narrow
    assert max(map(len, narrow.splitlines())) <= width


def test_a_name_too_long_for_a_narrow_terminal_keeps_its_ends() -> None:
    printed = printed_candidates([a_candidate(f"first_{'x' * 99}_last", 0.456, 30.0)], 80)
    assert all(line.startswith("first_x") for line in printed.splitlines()[1::3])
    assert all(re.search(r"x_last  +\d", line) for line in printed.splitlines()[1::3])
    assert "45.6" in printed
