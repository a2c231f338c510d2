"""The shape of a network that leaves it open: that of the video, unless somebody says otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from tests.support.command_line import Streamdet, refused
from tests.support.videos import write_video

pytest.importorskip("onnx", reason="writes an ONNX file")

import onnx
from onnx import helper, numpy_helper

from tests.support.grid_detector import write_grid_detector


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("wide") / "wide.mp4", num_frames=3, size_wh=(128, 64))


@pytest.fixture(scope="module")
def open_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOX, whose grid is ours, of any size: as its authors export it with dynamic sides."""
    path = tmp_path_factory.mktemp("open") / "open.onnx"
    return write_open_yolox(path)


def write_open_yolox(path: Path) -> Path:
    """Convolutions of strides 8, 16 and 32 to 5 + 2 channels, flattened; 640 × 640 where nobody names a size."""
    nodes, levels, constants = [], [], [numpy_helper.from_array(np.array([1, 7, -1]), "flat")]
    for stride in (8, 16, 32):
        kernel = np.random.default_rng(stride).normal(0, 0.1 / stride, (7, 3, stride, stride)).astype(np.float32)
        constants.append(numpy_helper.from_array(kernel / 255, f"kernel{stride}"))
        nodes += [
            helper.make_node("Conv", ["images", f"kernel{stride}"], [f"cells{stride}"], strides=[stride] * 2),
            helper.make_node("Reshape", [f"cells{stride}", "flat"], [f"rows{stride}"]),
        ]
        levels.append(f"rows{stride}")
    nodes += [
        helper.make_node("Concat", levels, ["all"], axis=2),
        helper.make_node("Transpose", ["all"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["turned"], ["output"]),
    ]
    image = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, "height", "width"))
    output = helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, (1, "cells", 7))
    graph = helper.make_graph(nodes, "yolox", [image], [output], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def network_wh(model: Path, *sources: Path, **settings: object) -> tuple[int, int]:
    keys = {"shape": "engine.shape", "gate": "gate.kind"}
    options = {keys.get(name, f"hints.{name}"): value for name, value in settings.items()}
    config = load_config(
        options={
            "sources": tuple(map(str, sources)),
            "model": str(model),
            "engine.device": "cpu",
            "output.show": False,
            **options,
        }
    )
    assembly = assemble(config)
    try:
        return assembly.engine.spec.network_wh
    finally:
        assembly.close()
        assembly.engine.close()


def test_a_model_of_any_size_runs_in_the_shape_of_the_video(open_size: Path, wide: Path) -> None:
    assert network_wh(open_size, wide, head="yolox") == (640, 320)


def test_a_size_or_shape_that_the_user_names_stays(open_size: Path, wide: Path) -> None:
    assert network_wh(open_size, wide, head="yolox", shape="model") == (640, 640)
    assert network_wh(open_size, wide, head="yolox", size="128x128") == (128, 128)


def test_sources_of_several_shapes_share_the_size_of_the_model(open_size: Path, wide: Path, small_video: Path) -> None:
    assert network_wh(open_size, wide, small_video, head="yolox") == (640, 640)


def test_a_model_of_fixed_size_is_made_anew_for_the_video_on_request_and_behind_gates_that_may_differ(
    tmp_path: Path, wide: Path, small_video: Path
) -> None:
    model = write_grid_detector(tmp_path / "m.onnx", (256, 256))
    assert network_wh(model, wide) == (256, 256)
    assert network_wh(model, wide, shape="video") == (256, 128)
    assert [network_wh(model, wide, gate=kind) for kind in ("pack", "between", "between-pack")] == [(256, 128)] * 3
    assert network_wh(model, wide, gate="frames") == (256, 256)  # what it looks at has the boxes of every frame
    assert network_wh(model, wide, gate="frames", shape="video") == (256, 128)
    assert network_wh(model, wide, gate="between", shape="model") == (256, 256)
    assert network_wh(model, wide, small_video, gate="between") == (256, 256)  # of two shapes
    assert model.read_bytes() == write_grid_detector(tmp_path / "same.onnx", (256, 256)).read_bytes()


def test_what_cannot_have_the_shape_of_the_video_is_refused_on_request_alone(
    tmp_path: Path, wide: Path, small_video: Path, streamdet: Streamdet
) -> None:
    model = write_grid_detector(tmp_path / "m.onnx", (256, 256))
    words = ("--shape", "video", "--no-show")
    for rest, reason in [
        ((wide, small_video, "-m", model), "several shapes"),
        ((wide, "-m", model, "--tiles", "1x2"), "--tiles"),
        ((wide, "-m", "demo"), "streamdet exported it"),
    ]:
        assert refused(streamdet("run", *rest, *words), "--shape video", reason, "leave")
    assert network_wh(Path("demo"), wide, gate="between") == network_wh(Path("demo"), wide)


def test_a_run_says_in_which_shape_the_network_runs(tmp_path: Path, wide: Path, streamdet: Streamdet) -> None:
    model = write_grid_detector(tmp_path / "m.onnx", (256, 256))
    done = streamdet("run", wide, "-m", model, "--shape", "video", "--no-show")
    assert done.returncode == 0, done.stderr
    assert "256 x 128 instead of 256 x 256, as the video is" in done.stdout
