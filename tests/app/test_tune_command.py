"""Does `streamdet tune` write what is better when measured again, and nothing else?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import ConfigRequest, load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.measure_apart import Case
from pipeline.app.model_files import DEMO_MODEL
from pipeline.app.options import duration
from pipeline.app.tune.command import run_tune
from pipeline.app.tune.options import TuneOptions
from pipeline.app.tune.promise import promise_of
from pipeline.app.tune.verdict import Goal, judge_trials
from pipeline.errors import ConfigError
from pipeline.measure.measured import Measured, Percentiles
from pipeline.measure.search import Knob, Setting, Trial
from tests.support.command_line import Streamdet
from tests.support.measured import a_run
from tests.support.tiny_detector import write_boxes_detector

CAT = (8.0, 16.0, 24.0, 32.0, 0.9, 0)


def measured(
    fps: float, *, p95: float | None = 50.0, cpu: float = 10.0, dropped: int = 0, limited_by: str = "detect"
) -> Measured:
    latency: Percentiles = {"p50": 5.0, "p95": p95, "p99": 90.0}
    return a_run(fps, cpu_ms_per_frame=cpu, latency_ms=latency, num_stale=dropped, limited_by=limited_by)


def by_config(told: Callable[[RunConfig], Measured]) -> Callable[[Case], Measured]:
    return lambda case: told(RunConfig.model_validate(case.config))


def batches_pay(config: RunConfig) -> Measured:
    """A made-up machine: batches of 4 are best, and longer queues help a little."""
    return measured(10.0 * {1: 1.0, 2: 1.2, 4: 1.5}[config.engine.batch or 1] + config.flow.queue_capacity)


@pytest.fixture
def options(small_video: Path, small_detector: Path, tmp_path: Path) -> Callable[..., TuneOptions]:
    def given(**others: Any) -> TuneOptions:
        values = {"models": (str(small_detector),), "output": tmp_path / "tuned.yaml", **others}
        return TuneOptions(str(small_video), **values)

    return given


def test_the_best_is_written_as_a_configuration_that_run_takes(
    options: Callable[..., TuneOptions], tmp_path: Path, small_detector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tune(options(report=tmp_path / "report.json"), measure=by_config(batches_pay)) == 0
    config = load_config(str(tmp_path / "tuned.yaml"))
    assert (config.engine.batch, config.flow.queue_capacity, config.model) == (4, 4, str(small_detector))
    assert config.sources == ()
    assert config.engine.threads is None  # only what matters
    comments = [line for line in (tmp_path / "tuned.yaml").read_text().splitlines() if line.startswith("#")]
    assert "19.0 frames/s instead of 12.0 frames/s, 1.58× better than the defaults" in comments[1]
    assert "Take engine.batch=4 flow.queue_capacity=4" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["chosen"] == {"engine.batch": 4, "flow.queue_capacity": 4}
    assert {len(each["repeats"]) for each in report["finals"]} == {5}


def test_where_nothing_is_better_the_defaults_stay_and_nothing_is_written(
    options: Callable[..., TuneOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tune(options(), measure=lambda _: measured(12.0)) == 0
    assert not (tmp_path / "tuned.yaml").exists()
    assert re.search(r"The defaults were best of \d+ settings: 12\.0 frames/s", capsys.readouterr().out)


def test_a_gain_that_does_not_come_again_is_none(
    options: Callable[..., TuneOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: set[str] = set()

    def lucky_at_first(config: RunConfig) -> Measured:
        key = config.model_dump_json()
        is_new = key not in seen
        seen.add(key)
        return measured(15.0 if is_new and config.engine.batch == 2 else 12.0)

    assert run_tune(options(), measure=by_config(lucky_at_first)) == 0
    assert not (tmp_path / "tuned.yaml").exists()
    assert "engine.batch=2 looked better, but measured again it comes to 12.0 frames/s" in capsys.readouterr().out


def test_interrupted_it_writes_the_best_until_then_and_says_that_it_was_measured_once(
    options: Callable[..., TuneOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def until_batches_of_four(config: RunConfig) -> Measured:
        if config.engine.batch == 4:
            raise KeyboardInterrupt
        return batches_pay(config)

    with pytest.raises(KeyboardInterrupt):
        run_tune(options(), measure=by_config(until_batches_of_four))
    assert load_config(str(tmp_path / "tuned.yaml")).engine.batch == 2
    assert "measured once and not again" in capsys.readouterr().out


def test_interrupted_with_nothing_better_it_writes_nothing(options: Callable[..., TuneOptions], tmp_path: Path) -> None:
    def at_batches(config: RunConfig) -> Measured:
        if (config.engine.batch or 1) > 1:
            raise KeyboardInterrupt
        return measured(12.0)

    with pytest.raises(KeyboardInterrupt):
        run_tune(options(), measure=by_config(at_batches))
    assert not (tmp_path / "tuned.yaml").exists()


def test_with_a_least_rate_the_cheapest_that_holds_it_wins(
    options: Callable[..., TuneOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cheap_or_fast(config: RunConfig) -> Measured:
        fps, cpu = {1: (40.0, 20.0), 2: (35.0, 12.0), 4: (25.0, 6.0)}[config.engine.batch or 1]
        return measured(fps, cpu=cpu)

    assert run_tune(options(min_fps=30.0), measure=by_config(cheap_or_fast)) == 0
    assert load_config(str(tmp_path / "tuned.yaml")).engine.batch == 2
    out = capsys.readouterr().out
    assert "rejected engine.batch=4: 25.0 frames/s are less than 30" in out
    assert "goal: least CPU time per frame with at least 30 frames/s" in out


def test_where_nothing_keeps_the_limits_that_is_said_and_the_command_fails(
    options: Callable[..., TuneOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tune(options(min_fps=30.0), measure=by_config(batches_pay)) == 1
    assert not (tmp_path / "tuned.yaml").exists()
    assert "Nothing that was tried keeps the limits; the nearest is engine.batch=4" in capsys.readouterr().out
    assert run_tune(options(max_latency_seconds=0.02), measure=lambda _: measured(12.0)) == 1
    assert "p95 of 50.0 ms is more than 20 with the defaults" in capsys.readouterr().out


def test_what_cannot_run_is_rejected_with_its_reason_but_the_start_must_run(
    options: Callable[..., TuneOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_twos(config: RunConfig) -> Measured:
        if config.engine.batch == 2:
            raise ConfigError("two is one too many")
        return batches_pay(config)

    assert run_tune(options(), measure=by_config(no_twos)) == 0
    assert "rejected engine.batch=2: two is one too many" in capsys.readouterr().out
    assert load_config(str(tmp_path / "tuned.yaml")).engine.batch == 4

    def never(_: Case) -> Measured:
        raise ConfigError("it does not run")

    with pytest.raises(ConfigError, match="it does not run"):
        run_tune(options(overwrite=True), measure=never)


def test_what_the_user_has_set_is_left_alone(options: Callable[..., TuneOptions], tmp_path: Path) -> None:
    tried: list[RunConfig] = []

    def told(config: RunConfig) -> Measured:
        tried.append(config)
        return batches_pay(config)

    assert (
        run_tune(
            options(config=ConfigRequest(settings=("engine.batch=2", "engine.threads=1"))), measure=by_config(told)
        )
        == 0
    )
    assert {config.engine.batch for config in tried} == {2}
    assert {config.engine.threads for config in tried} == {1}
    assert len({config.engine.inflight for config in tried}) > 1
    config = load_config(str(tmp_path / "tuned.yaml"))
    assert (config.engine.batch, config.engine.threads, config.flow.queue_capacity) == (2, 1, 4)


def test_another_file_is_taken_only_if_it_finds_the_same(
    options: Callable[..., TuneOptions], tmp_path: Path, small_detector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dog = (32.0, 24.0, 56.0, 44.0, 0.4, 1)
    same = write_boxes_detector(tmp_path / "same.onnx", [CAT, dog], dtype="uint8")
    other = write_boxes_detector(tmp_path / "other.onnx", [CAT], dtype="uint8")

    def others_are_faster(config: RunConfig) -> Measured:
        return measured({"cats": 10.0, "same": 15.0, "other": 40.0}[Path(config.model or "").stem])

    models = (str(small_detector), str(same), str(other))
    assert run_tune(options(models=models), measure=by_config(others_are_faster)) == 0
    assert load_config(str(tmp_path / "tuned.yaml")).model == str(same)
    # Of a cat and a dog on one side and a cat on the other, two of three agree.
    assert f"rejected model={other}: only 66.7% of its detections agree" in capsys.readouterr().out
    assert (
        run_tune(options(models=models, min_agreement=0.6, overwrite=True), measure=by_config(others_are_faster)) == 0
    )
    assert load_config(str(tmp_path / "tuned.yaml")).model == str(other)


def test_where_nothing_is_found_no_other_file_can_be_shown_to_agree(
    options: Callable[..., TuneOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faint = (*CAT[:4], 0.1, 0)
    models = [write_boxes_detector(tmp_path / f"{name}.onnx", [faint], dtype="uint8") for name in ("one", "two")]
    assert run_tune(options(models=tuple(map(str, models))), measure=lambda _: measured(12.0)) == 0
    assert "nothing is found in 24 sampled frames, so that no agreement can be shown" in capsys.readouterr().out


def test_behind_a_camera_the_lowest_latency_without_drops_wins(
    options: Callable[..., TuneOptions], tmp_path: Path
) -> None:
    def told(config: RunConfig) -> Measured:
        assert config.flow.mode == "live"
        assert config.flow.rate_fps == 10
        assert config.engine.batch is None  # a frame waits for no other
        if config.engine.inflight is not None:
            return measured(10.0, p95=1.0, dropped=1)
        return measured(10.0, p95=30.0 if config.flow.queue_capacity == 1 else 50.0)

    assert run_tune(options(rate=10.0), measure=by_config(told)) == 0
    config = load_config(str(tmp_path / "tuned.yaml"))
    assert (config.flow.queue_capacity, config.flow.mode, config.engine.inflight) == (1, "live", None)
    assert config.flow.rate_fps is None  # a real camera has its own


def test_a_rate_that_does_not_come_is_not_held() -> None:
    goal = Goal("latency", rate=30.0)
    assert goal.judge({}, measured(29.9)).reason is None
    assert goal.judge({}, measured(20.0)).reason == "only 67% of the camera's frames were captured"
    assert Goal("latency", rate=30.0, every=3).judge({}, measured(10.0)).reason is None  # that is each third frame
    assert goal.judge({}, measured(30.0, dropped=3)).shortfall == pytest.approx(0.03)


def test_without_frames_or_latencies_there_is_nothing_to_judge() -> None:
    for told in (measured(0.0), measured(10.0, p95=None)):
        trial = Goal("throughput").judge({}, told)
        assert trial.reason == "too few frames were delivered to judge it"
        assert not trial.beats(Trial({}, 5.0))


def test_the_costs_are_milliseconds_of_what_is_wanted() -> None:
    told = measured(20.0, p95=80.0, cpu=7.0)
    costs = {wants: Goal(wants).judge({}, told).cost for wants in ("throughput", "latency", "cpu")}
    assert costs == {"throughput": 50.0, "latency": 80.0, "cpu": 7.0}


KNOBS = ("device", "model", "cores", "spinning", "batch", "queues")


def knobs(*names: str) -> list[Knob]:
    """All knobs, of which those named can be turned."""
    there: tuple[Setting, ...] = ({"x": 1},)
    none: tuple[Setting, ...] = ({}, {"x": None})
    return [Knob(each, (lambda _: there) if each in names else (lambda _: none)) for each in KNOBS]


@pytest.mark.parametrize(
    ("limited_by", "is_live", "can_turn", "promising"),
    [
        ("detect", False, KNOBS, "device"),
        ("detect", False, ("queues", "batch", "cores"), "cores"),
        ("source a.mp4", False, KNOBS, "cores"),
        ("source a.mp4", True, ("cores", "queues"), "cores"),
        ("source a.mp4", True, KNOBS, "device"),
        ("record out.mp4", False, KNOBS, "cores"),
        ("waiting", False, KNOBS, "queues"),
    ],
)
def test_the_most_promising_knob_follows_from_what_limits(
    limited_by: str, is_live: bool, can_turn: tuple[str, ...], promising: str
) -> None:
    promise = promise_of(measured(10.0, limited_by=limited_by), knobs(*can_turn), is_live=is_live)
    assert promise is not None
    assert promise.knob.name == promising


def test_where_no_knob_can_be_turned_none_is_promising() -> None:
    assert promise_of(measured(10.0), knobs(), is_live=False) is None


def test_whatever_the_budget_the_most_promising_knob_is_tried_and_that_is_said(
    options: Callable[..., TuneOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ConfigRequest(settings=("engine.device=cpu",))  # so that how inferences share the cores promises most
    report = tmp_path / "report.json"

    def told(config: RunConfig) -> Measured:
        return measured(15.0 if config.engine.inflight else 10.0)

    hurried = options(budget_seconds=1e-9, config=config, report=report)
    assert run_tune(hurried, measure=by_config(told)) == 0
    captured = capsys.readouterr()
    assert (
        "The budget allowed only the most promising setting: cores, as the defaults are limited by detect"
        in captured.out
    )
    written = json.loads(report.read_text())
    assert written["most_promising"] == {"knob": "cores", "limited_by": "detect"}
    assert written["budget_allowed_only_that"]
    turned = {key for trial in written["trials"] for key in trial["setting"]}
    assert turned == {"engine.threads", "engine.inflight"}
    assert load_config(str(tmp_path / "tuned.yaml")).engine.inflight is not None
    assert run_tune(options(config=config, report=report, overwrite=True), measure=by_config(told)) == 0
    assert "The budget allowed only" not in capsys.readouterr().out
    assert not json.loads(report.read_text())["budget_allowed_only_that"]


def test_only_the_defaults_is_no_praise_of_them() -> None:
    outcome = judge_trials([Trial({}, 5.0)], {}, Goal("throughput"))
    assert outcome.chosen is None
    assert "Only the defaults could be tried" in outcome.sentence


def test_durations_have_units() -> None:
    assert [duration(text, "--budget") for text in ("80ms", "2s", "1.5 min")] == [0.08, 2.0, 90.0]
    for text in ("80", "0s", "-1s", "s", "1h", "nan s"):
        with pytest.raises(ConfigError, match="--budget must be a duration with its unit"):
            duration(text, "--budget")


def test_what_cannot_be_tuned_is_said_in_one_line(
    streamdet: Streamdet,
    monkeypatch: pytest.MonkeyPatch,
    small_video: Path,
    small_detector: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    mistakes = {
        (small_video, "--max-latency", "80"): "--max-latency must be a duration with its unit",
        (small_video, "--output", "tuned.json"): "--output must be a .yaml file",
        (small_video, "-m", small_detector, "-m", DEMO_MODEL): "knows other classes than",
        ("-",): "which stdin does not allow",
        ("gone.mp4",): "gone.mp4",
    }
    for words, message in mistakes.items():
        done = streamdet("tune", *words)
        assert done.returncode == 1, words
        assert message in done.stderr, words


def test_a_real_run_on_drawn_traffic_ends_in_time_and_tells_what_it_tried(streamdet: Streamdet, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    source = "sim:traffic?size=160x120&seconds=4"
    words = ("--device", "cpu", "--budget", "3s", "--seconds", "0.5", "-o", tmp_path / "tuned.yaml", "--report", report)
    done = streamdet("tune", source, *words)
    assert done.returncode == 0, done.stderr
    trials = json.loads(report.read_text())["trials"]
    assert trials[0]["setting"] == {}
    assert trials[0]["fps"]["delivered"] > 0
    assert "the defaults" in done.stdout


@pytest.mark.parametrize(("spin_us", "said"), [(None, "200"), (1000, "1000")])
def test_how_long_an_idle_thread_burns_its_core_reaches_the_network(
    small_video: Path, small_detector: Path, spin_us: int | None, said: str
) -> None:
    options = {"sources": (str(small_video),), "model": str(small_detector), "engine.spin_us": spin_us}
    assembly = assemble(load_config(options={**options, "output.show": False}))
    entry = "session.intra_op.spin_duration_us"
    assert assembly.engine._session.get_session_options().get_session_config_entry(entry) == said
    assembly.close()
