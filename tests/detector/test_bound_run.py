"""Do runs in kept buffers answer as plain runs do, and is what a GPU needs asked of it in its own words?

Where there is no GPU, the buffers lie in host memory: everything but the copies is the same.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.detector import engine as engine_module
from pipeline.detector.bound_run import BoundRun, GraphCapture, Inputs, fixed_shapes
from pipeline.detector.device_copies import CudaCopies
from pipeline.detector.devices import DEVICES, Device, SessionSettings, add_device, cuda_options
from pipeline.detector.engine import OrtEngine
from pipeline.detector.pinned import pinned_array
from pipeline.detector.recognise import recognise
from pipeline.detector.runtime_types import Array, Session, SessionOptions
from pipeline.detector.session import OpenedSession, open_session
from pipeline.detector.tensorrt import (
    Machine,
    ShapeRange,
    engine_folder,
    has_engine,
    input_shapes,
    tensorrt_options,
)
from pipeline.errors import DeviceError, ModelError
from pipeline.picture.detector_spec import DetectorSpec, ExtraInput
from pipeline.picture.nv12 import DevicePlane
from tests.support.tiny_detector import write_boxes_detector, write_detector

ROWS = [(1.0, 2.0, 30.0, 40.0, 0.5, 1)]


def image(value: float, *, batch: int = 1) -> npt.NDArray[np.float32]:
    return np.full((batch, 3, 64, 64), value, np.float32)


def open_run(folder: Path, capture: GraphCapture | None = None) -> BoundRun:
    session = open_session(write_boxes_detector(folder / "pets.onnx", ROWS), "cpu").session
    return BoundRun(session, ["scores", "class_ids"], "cpu", capture)


@pytest.mark.parametrize("captures", [False, True])
def test_every_answer_is_its_own_array(tmp_path: Path, captures: bool) -> None:
    run = open_run(tmp_path, GraphCapture() if captures else None)
    values = [0.0, 0.25, 0.5, 0.0, 0.25]
    answers = [run({"images": image(value)}) for value in values]
    assert [scores.tolist() for scores, _ in answers] == [[[0.5 + value]] for value in values]
    assert all(class_ids.tolist() == [[1]] for _, class_ids in answers)


def test_what_was_given_is_not_written_to(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    first, second = image(0.25), image(0.5)
    for given in (first, second, first):
        run({"images": given})
    assert (first == 0.25).all()
    assert (second == 0.5).all()


def test_a_bound_input_buffer_gives_the_same_answers_also_when_the_batch_changes(tmp_path: Path) -> None:
    session = open_session(write_boxes_detector(tmp_path / "pets.onnx", ROWS), "cpu").session
    run = BoundRun(session, ["scores", "boxes"], "cpu")
    kept = [
        run({"images": image(value, batch=batch)})[0] for value, batch in ((0.0, 1), (0.25, 1), (0.25, 3), (0.5, 1))
    ]
    assert [answer.tolist() for answer in kept] == [[[0.5]], [[0.75]], [[0.75]] * 3, [[1.0]]]


def test_more_shapes_than_are_kept_still_answer_right(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    for batch in [*range(1, 13), 1, 5, 12, 1]:
        (scores, _) = run({"images": image(0.25, batch=batch)})
        assert scores.tolist() == [[0.75]] * batch


def test_an_output_of_another_size_each_time_is_read_whole(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="writes an ONNX file")
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["places"])],
        "g",
        [helper.make_tensor_value_info("x", kinds.FLOAT, ("n",))],
        [helper.make_tensor_value_info("places", kinds.INT64, (1, "found"))],
    )
    path = tmp_path / "nonzero.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    session = open_session(path, "cpu").session
    run = BoundRun(session, ["places"], "cpu")
    for row in ([0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]):
        (places,) = run({"x": np.array(row, np.float32)})
        assert places[0].tolist() == np.flatnonzero(row).tolist()
    with pytest.raises(DeviceError, match=r"engine\.cuda_graph needs outputs of fixed shapes"):
        BoundRun(session, ["places"], "cpu", GraphCapture())({"x": np.zeros(4, np.float32)})


def test_an_output_that_the_file_declares_wrongly_is_read_as_it_is(tmp_path: Path) -> None:
    outputs: dict[str, npt.NDArray[Any]] = {"boxes": np.ones((3, 4), np.float32)}
    path = write_detector(
        tmp_path / "open.onnx", outputs, adds_mean=False, declared_shapes={"boxes": (1, "boxes_count", 4)}
    )
    run = BoundRun(open_session(path, "cpu").session, ["boxes"], "cpu")
    for _ in range(3):
        assert run({"images": image(0)})[0].shape == (1, 3, 4)


def run_told_the_size(folder: Path) -> BoundRun:
    """Of a detector whose one box grows with its second input."""
    path = write_detector(
        folder / "detr.onnx",
        {"boxes": np.array([[0.25, 0.5, 0.5, 1]], np.float32)},
        input_shape=("n", 3, 32, 64),
        adds_mean=False,
        extra_inputs={"sizes": ("float32", ("n", 2))},
        scaled_by={"boxes": "sizes"},
    )
    return BoundRun(open_session(path, "cpu").session, ["boxes"], "cpu")


def test_small_inputs_that_change_are_seen(tmp_path: Path) -> None:
    run = run_told_the_size(tmp_path)
    pixels = np.zeros((1, 3, 32, 64), np.float32)
    for width in (64, 64, 128, 64):
        (boxes,) = run({"images": pixels, "sizes": np.array([[width, 32]], np.float32)})
        assert boxes.tolist() == [[[width / 4, 16, width / 2, 32]]]


def test_a_bound_run_is_told_the_extra_inputs_too(tmp_path: Path) -> None:
    run = run_told_the_size(tmp_path)
    for batch in (1, 1, 2):
        sizes = np.tile(np.array([64, 32], np.float32), (batch, 1))
        (boxes,) = run({"images": np.zeros((batch, 3, 32, 64), np.float32), "sizes": sizes})
        assert boxes.tolist() == [[[16, 16, 32, 32]]] * batch


def test_recordings_are_numbered_apart() -> None:
    capture = GraphCapture()
    numbers = [capture.run_options().get_run_config_entry("gpu_graph_id") for _ in range(3)]
    assert numbers == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("declared", "given", "outputs", "fixed"),
    [
        pytest.param({"x": ["batch", 3, 4, 4]}, {"x": (2, 3, 4, 4)}, {"o": ["batch", 9]}, {"o": (2, 9)}, id="batch"),
        pytest.param({"x": [1, 3, 4, 4]}, {"x": (1, 3, 4, 4)}, {"o": [1, 9]}, {"o": (1, 9)}, id="fixed"),
        pytest.param({"x": ["n", 3]}, {"x": (2, 3)}, {"o": ["m", 9]}, None, id="a name that no input has"),
        pytest.param({"x": ["n", 3]}, {"x": (2, 3)}, {"o": [None, 9]}, None, id="no name"),
        pytest.param({"x": ["n", 3]}, {"x": (2, 3)}, {"o": ["n"], "p": ["m"]}, None, id="one of two"),
        pytest.param({"x": ["n"]}, {"x": (0,)}, {"o": ["n", 4]}, {"o": (0, 4)}, id="none"),
        pytest.param({"x": ["n"]}, {"x": (2,)}, {"o": []}, None, id="a single number"),
    ],
)
def test_output_shapes_follow_from_the_names_of_sides(declared: Any, given: Any, outputs: Any, fixed: Any) -> None:
    assert fixed_shapes(declared, given, outputs) == fixed


def test_a_smaller_batch_in_larger_buffers_gives_its_own_answers(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    for values in ([0.0, 0.25, 0.5], [0.25], [0.5, 0.0]):
        (scores, _) = run({"images": np.concatenate([image(value) for value in values])}, batch=4)
        assert scores[: len(values), 0].tolist() == [0.5 + value for value in values]
        assert scores.shape == (4, 1)  # one shape, whatever comes


def test_batches_are_filled_up_to_one_of_few(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    sizes = {most: OrtEngine(path, recognise(path), device="cpu", max_batch=most).batch_sizes for most in (1, 2, 6, 16)}
    assert sizes == {1: (1,), 2: (1, 2), 6: (1, 4, 6), 16: (1, 4, 8, 16)}


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_on_cuda_each_batch_has_a_session_of_its_own_whoever_asks(
    cuda_graph: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    shapes: dict[int, set[int]] = defaultdict(set)
    threads = set()

    def open_on_host(model: Path, device: Device, **_: object) -> OpenedSession:
        return replace(open_session(model, "cpu"), device=device)

    class HostRun(BoundRun):
        def __init__(self, session: Session, names: Sequence[str], *_: object) -> None:
            super().__init__(session, names, "cpu")
            self.id = id(session)

        def __call__(self, inputs: Inputs, *, batch: int | None = None) -> list[Array]:
            shapes[self.id].add(batch or 0)
            threads.add(threading.current_thread().name)
            return super().__call__(inputs, batch=batch)

    monkeypatch.setattr(engine_module, "open_session", open_on_host)
    monkeypatch.setattr(engine_module, "BoundRun", HostRun)
    engine = OrtEngine(path, recognise(path), device="cuda", max_batch=6, cuda_graph=cuda_graph)
    engine.warm_up()
    assert sorted(shapes.values(), key=min) == [{1}, {4}, {6}]
    images = np.random.default_rng(0).random((6, 3, 64, 64)).astype(np.float32)
    with ThreadPoolExecutor(3) as asking:
        for number, outputs in zip(
            range(1, 7), asking.map(lambda n: engine.infer(images[:n]), range(1, 7)), strict=True
        ):
            expected = OrtEngine(path, recognise(path)).infer(images[:number])
            for name, values in outputs.items():
                assert np.array_equal(values[:number], expected[name])
    assert sorted(shapes.values(), key=min) == [{1}, {4}, {6}]
    assert len(threads) == 1 or not cuda_graph
    engine.close()
    engine.close()


@pytest.mark.parametrize("device", [name for name, provider in DEVICES.items() if provider.plugin is None])
def test_no_provider_is_named_twice(device: Device) -> None:
    providers = add_device(cast(SessionOptions, object()), device, SessionSettings())
    assert providers is not None
    names = [name for name, _ in providers]
    assert names == list(dict.fromkeys(names))
    assert names[-1] == "CPUExecutionProvider"


class Cudart:
    """The functions of CUDA's runtime that are used, over the C library's memory."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.sizes, self.freed = status, list[int](), list[int]()
        self.num_copies = self.num_waits = 0
        self._blocks: dict[int, Any] = {}

    def cudaStreamCreate(self, place: Any) -> int:  # noqa: N802
        place._obj.value = 7
        return 0

    def cudaStreamSynchronize(self, stream: ctypes.c_void_p) -> int:  # noqa: N802
        self.num_waits += 1
        return self.status

    def cudaGetErrorString(self, status: ctypes.c_int) -> bytes:  # noqa: N802
        return b"an illegal memory access was encountered"

    def cudaMemcpyAsync(self, target: Any, source: Any, size: Any, kind: Any, stream: Any) -> int:  # noqa: N802
        self.num_copies += 1
        ctypes.memmove(target, source, size.value)
        return self.status

    def cudaMemcpy2DAsync(  # noqa: N802
        self, target: Any, pitch: Any, source: Any, source_pitch: Any, width: Any, height: Any, kind: Any, stream: Any
    ) -> int:
        self.num_copies += 1
        for row in range(height.value):
            ctypes.memmove(target.value + row * pitch.value, source.value + row * source_pitch.value, width.value)
        return self.status

    def cudaHostAlloc(self, place: Any, size: ctypes.c_size_t, flags: ctypes.c_uint) -> int:  # noqa: N802
        if not self.status:
            block = ctypes.create_string_buffer(size.value)
            self._blocks[ctypes.addressof(block)] = block
            place._obj.value = ctypes.addressof(block)
        self.sizes.append(size.value)
        return self.status

    def cudaFreeHost(self, address: ctypes.c_void_p) -> int:  # noqa: N802
        assert address.value is not None
        self.freed.append(address.value)
        return 0


def test_pinned_memory_is_freed_with_its_last_view() -> None:
    cuda = Cudart()
    array = pinned_array((2, 3, 5), np.float32, cuda=cuda)
    assert (array.shape, array.dtype.name, cuda.sizes) == ((2, 3, 5), "float32", [120])
    address = array.ctypes.data
    array[:] = 7
    view = array[1:, ::2]
    del array
    gc.collect()
    assert cuda.freed == []
    assert (view == 7).all()
    del view
    gc.collect()
    assert cuda.freed == [address]


def test_without_pinned_memory_ordinary_memory_serves() -> None:
    for array in (
        pinned_array((4, 4), np.int64, cuda=Cudart(status=2)),
        pinned_array((0, 4), np.float32, cuda=Cudart()),
        pinned_array((3,), np.uint8),
    ):
        array[...] = 1
        assert array.flags.writeable


def test_cuda_gathers_planes_by_address_and_pitch_and_waits_once() -> None:
    cuda = Cudart()
    copies = CudaCopies(cuda)
    source = np.arange(6 * 40, dtype=np.uint8).reshape(1, 6, 40)
    plane = DevicePlane(source.ctypes.data, source.shape, "cuda", 0, source)
    buffer = copies.host_array((2, 4, 32), np.uint8)
    copies.gather(buffer.ctypes.data + buffer[0].nbytes, plane, num_rows=4, num_bytes=30, pitch=32)
    copies.wait()
    assert (buffer[0] == 0).all()
    assert (buffer[1, :, :30] == source[0, :4, :30]).all()
    assert (buffer[1, :, 30:] == 0).all()
    assert (cuda.num_copies, cuda.num_waits) == (1, 1)


def test_cuda_uploads_and_downloads_and_says_what_it_refused() -> None:
    cuda = Cudart()
    copies = CudaCopies(cuda)
    up, down = copies.host_array((3, 2), np.float32), copies.host_array((3, 2), np.float32)
    up[:] = 7
    device = np.zeros((3, 2), np.float32)
    copies.upload(device.ctypes.data, up)
    copies.download(down, device.ctypes.data)
    assert (down == 7).all()
    cuda.status = 700
    with pytest.raises(DeviceError, match="the GPU refused waiting for copies: an illegal memory"):
        copies.wait()
    with pytest.raises(DeviceError, match="frames must lie where the network runs, got cpu and cuda"):
        copies.gather(0, DevicePlane(0, (1, 1, 1), "cpu", 0, None), num_rows=1, num_bytes=1, pitch=1)
    with pytest.raises(DeviceError, match=r'runtime library cannot be loaded; pip install "streamdet\[cuda\]"'):
        CudaCopies(None)


def test_cuda_is_told_how_exact_and_whether_to_record() -> None:
    plain = cuda_options(precision=None, cuda_graph=False)
    assert plain == {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    last = cuda_options(precision=None, cuda_graph=False, channels_last=True)
    assert (last["prefer_nhwc"], last["fuse_conv_bias"]) == ("1", "1")
    assert cuda_options(precision="fp32", cuda_graph=False)["use_tf32"] == "0"
    assert cuda_options(precision=None, cuda_graph=True)["enable_cuda_graph"] == "1"


def test_tensorrt_is_told_the_batches_to_come() -> None:
    spec = DetectorSpec("pixels", (640, 384), "boxes", ("a",), layout="nhwc", dtype="uint8", batch=None)
    shapes = input_shapes(spec, max_batch=4)
    assert shapes == {"pixels": ShapeRange((1, 384, 640, 3), (4, 384, 640, 3), (4, 384, 640, 3))}
    options = tensorrt_options(Path("/cache"), precision="fp16", shapes=shapes)
    assert options["trt_profile_min_shapes"] == "pixels:1x384x640x3"
    assert options["trt_profile_opt_shapes"] == options["trt_profile_max_shapes"] == "pixels:4x384x640x3"
    assert (options["trt_fp16_enable"], options["trt_bf16_enable"]) == ("1", "0")
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == "/cache"
    assert "trt_cuda_graph_enable" not in options
    assert tensorrt_options(None, precision=None, shapes={}, cuda_graph=True) == {
        "trt_fp16_enable": "0",
        "trt_bf16_enable": "0",
        "trt_cuda_graph_enable": "1",
    }


def test_every_input_of_an_open_batch_has_its_shapes() -> None:
    sizes = (ExtraInput("sizes", "int64", (64.0, 32.0)),)
    spec = DetectorSpec("images", (64, 32), "detr", ("a",), batch=None, extra_inputs=sizes)
    options = tensorrt_options(None, precision=None, shapes=input_shapes(spec, max_batch=2))
    assert options["trt_profile_max_shapes"] == "images:2x3x32x64,sizes:2x2"


@pytest.mark.parametrize(
    "fixed", [{"batch": 1}, {"batch": None, "resize": "in-graph"}, {"batch": None, "pixels": "nv12"}]
)
def test_shapes_that_the_file_or_only_a_run_knows_are_not_said(fixed: dict[str, Any]) -> None:
    assert input_shapes(DetectorSpec("x", (64, 32), "boxes", ("a",), **fixed), max_batch=4) == {}


def test_an_engine_is_kept_by_all_that_it_is_tied_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine, elsewhere = Machine("NVIDIA L4", 13000, 101601, "1.31.1"), Machine("NVIDIA T4", 12090, 101300, "1.30.0")
    model = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    other = write_boxes_detector(tmp_path / "others.onnx", [(1.0, 2.0, 30.0, 40.0, 0.25, 1)])
    shapes = {"x": ShapeRange((1, 3), (4, 3), (4, 3))}

    def folder(path: Path = model, **changed: Any) -> Path:
        return engine_folder(path, **{"precision": "fp16", "shapes": shapes, "machine": machine, **changed})

    others = [
        folder(other),
        folder(precision="fp32"),
        folder(precision=None),
        folder(shapes={}),
        folder(shapes={"x": ShapeRange((1, 3), (8, 3), (8, 3))}),
        *(folder(machine=machine._replace(**{name: value})) for name, value in elsewhere._asdict().items()),
    ]
    assert len({folder(), *others}) == 1 + len(others)
    copy = tmp_path / "copy" / "pets.onnx"
    copy.parent.mkdir()
    copy.write_bytes(model.read_bytes())
    assert folder(copy) == folder()  # wherever the file is
    assert not has_engine(folder())
    folder().mkdir(parents=True)
    (folder() / "TensorrtExecutionProvider_sm89.engine").touch()
    assert has_engine(folder())


def test_graphs_need_a_gpu_and_fixed_shapes(tmp_path: Path) -> None:
    path = write_boxes_detector(tmp_path / "pets.onnx", ROWS)
    with pytest.raises(DeviceError, match=r"engine\.cuda_graph needs engine\.device cuda or tensorrt, got cpu"):
        OrtEngine(path, recognise(path), device="cpu", cuda_graph=True)
    frames = DetectorSpec("images", (64, 64), "boxes", ("a",), resize="in-graph")
    with pytest.raises(DeviceError, match=r"takes frames of any size; leave it out, or export --form boxes"):
        OrtEngine(path, frames, device="cuda", cuda_graph=True)


def test_an_engine_of_a_missing_file_has_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        engine_folder(tmp_path / "no.onnx", precision=None, shapes={}, machine=Machine("", 0, 0, ""))
