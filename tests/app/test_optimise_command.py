"""`streamdet optimise`: the fastest file that detects the same is written, and nothing where there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("pycocotools", reason="AP needs pycocotools")

import av

from pipeline.app.config.loading import load_config
from pipeline.app.config.run import RunConfig
from pipeline.app.measure_apart import Case
from pipeline.app.optimise.candidates import Candidate, ModelVariant
from pipeline.app.optimise.command import run_optimise
from pipeline.app.optimise.options import OptimiseOptions
from pipeline.app.optimise.result import Optimised
from pipeline.detector.recognise import recognise
from pipeline.errors import ConfigError, ModelError, SinkError
from pipeline.measure.measured import Measured
from pipeline.picture.detector_spec import DetectorSpec
from tests.support.command_line import Streamdet
from tests.support.float_detector import write_float_detector
from tests.support.grid_detector import write_grid_detector
from tests.support.measured import a_run


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of 128 × 64 with a red square that goes from cell to cell."""
    path = tmp_path_factory.mktemp("red") / "red.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(10), options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for index in range(12):
            pixels = np.zeros((64, 128, 3), np.uint8)
            x, y = 32 * (index % 4), 32 * (index // 4 % 2)
            pixels[y : y + 32, x : x + 32] = (0, 0, 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid_detector(tmp_path_factory.mktemp("square") / "square.onnx", (128, 128))


def speeds(of: Callable[[tuple[int, int]], float]) -> Callable[[Case], Measured]:
    """A made-up machine, on which the rate depends on the size of the network."""

    def measure(case: Case) -> Measured:
        model = RunConfig.model_validate(case.config).model
        assert model is not None
        return a_run(of(recognise(model).network_wh))

    return measure


by_pixels = speeds(lambda network_wh: 1e6 / (network_wh[0] * network_wh[1]))


def options(model: Path, video: Path, output: Path, **others: object) -> OptimiseOptions:
    fields: dict[str, object] = {"int8": False, "frames": 6, "output": output, "report": output.with_suffix(".json")}
    return OptimiseOptions(model, str(video), **{**fields, **others})  # type: ignore[arg-type]


def test_the_shape_of_the_video_is_made_proved_and_written(
    video: Path, square: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_optimise(options(square, video, tmp_path / "best.yaml"), measure=by_pixels) == 0
    spec = recognise(tmp_path / "best.onnx")
    assert spec.network_wh == (128, 64)
    assert spec.parity is not None
    assert spec.parity["passed"]
    config = load_config(str(tmp_path / "best.yaml"))
    assert (config.model, config.sources) == (str(tmp_path / "best.onnx"), ())
    report = json.loads((tmp_path / "best.json").read_text())
    rows = [(row["network_wh"], row["factor"], row["ap"], row["ap50"]) for row in report["candidates"]]
    assert rows == [([128, 128], 1.0, 1.0, 1.0), ([128, 64], 2.0, 1.0, 1.0)]
    assert re.search(r"Take 128 × 64, float, cpu, fp32: 2\.00× .* AP 100\.0 and AP50 100\.0", capsys.readouterr().out)


def test_where_nothing_is_faster_nothing_is_written(
    video: Path, square: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_optimise(options(square, video, tmp_path / "best.yaml"), measure=speeds(lambda _: 10.0)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.json"]
    assert "Nothing that detects the same is faster than square.onnx as it is" in capsys.readouterr().out


def test_int8_is_made_of_the_shape_and_said_to_have_gained_nothing_where_it_is_no_faster(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_float_detector(tmp_path / "m.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        asked = options(model, video, tmp_path / "best.yaml", int8=True, max_drop=100.0)
        assert run_optimise(asked, measure=by_pixels) == 0
    text = capsys.readouterr().out
    assert "64 × 32, INT8, cpu, int8: 5 of 5 layers in INT8: it has gained nothing" in text


def test_bad_input_is_one_line_before_any_work(video: Path, square: Path, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"--output must be a \.yaml file, .* got .*best\.onnx"):
        run_optimise(options(square, video, tmp_path / "best.onnx"), measure=by_pixels)
    (tmp_path / "best.onnx").write_bytes(b"mine")
    with pytest.raises(SinkError, match=r"best\.onnx"):
        run_optimise(options(square, video, tmp_path / "best.yaml"), measure=by_pixels)
    assert (tmp_path / "best.onnx").read_bytes() == b"mine"
    with pytest.raises(ModelError, match="no such file"):
        run_optimise(options(tmp_path / "none.onnx", video, tmp_path / "a.yaml"), measure=by_pixels)


def test_a_speed_that_cannot_be_measured_ends_it_with_the_reason(video: Path, square: Path, tmp_path: Path) -> None:
    def fails(case: Case) -> Measured:
        raise ConfigError("the source has ended")

    with pytest.raises(ConfigError, match=r"128 × 128, float, cpu, fp32: its speed cannot be measured: the source has"):
        run_optimise(options(square, video, tmp_path / "best.yaml"), measure=fails)
    assert not list(tmp_path.iterdir())


def candidates() -> Iterator[Candidate]:
    spec = DetectorSpec("images", (64, 64), "yolox", ("a",))
    float_file, int8_file = (ModelVariant(Path("m"), spec, numbers) for numbers in ("float", "INT8"))
    yield Candidate(float_file, "cpu", "fp32", {}, is_own=True, agreement=(1.0, 1.0), rates=[10.0, 20.0, 10.0])
    yield Candidate(int8_file, "cpu", "int8", {}, agreement=(0.99, 1.0), rates=[10.2, 20.5, 10.1])
    yield Candidate(float_file, "openvino", "bf16", {}, refusal="it detects something else", rates=[])


def test_a_factor_is_the_median_over_turns_and_small_ones_are_none() -> None:
    optimised = Optimised("m.onnx", "v.mp4", 6, list(candidates()), ())
    assert optimised.factor(optimised.candidates[1]) == pytest.approx(1.02)
    assert optimised.chosen is None
    assert "it has gained nothing" in optimised.remark(optimised.candidates[1])
    optimised.candidates[1].rates[:] = [30.0, 30.0, 30.0]
    assert optimised.chosen is optimised.candidates[1]
    assert "gained nothing" not in optimised.remark(optimised.candidates[1])
    assert optimised.factor(optimised.candidates[2]) is None


def test_the_command_line_has_it(streamdet: Streamdet) -> None:
    done = streamdet("optimise", "--help")
    assert done.returncode == 0
    assert "--for" in done.stdout
