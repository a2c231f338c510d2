"""GPU decoding: a frame on the device reaches the network by its address, and a refusal names the missing part."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.detector.bound_run import BoundRun
from pipeline.errors import DeviceError, SourceError
from pipeline.picture.frame import Picture
from pipeline.picture.nv12 import DevicePlane, HasNv12, inputs_of, nv12_of
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.on_gpu import GpuPicture, gpu_decoder, what_is_missing
from pipeline.sources.video.source import VideoSource
from tests.support.cuda_driver import Driver
from tests.support.pictures import smooth

onnx = pytest.importorskip("onnx", reason="writes an ONNX file")

needs_no_gpu = pytest.mark.skipif(what_is_missing() is None, reason="this machine can decode on a GPU")
needs_gpu = pytest.mark.skipif(what_is_missing() is not None, reason=f"needs NVDEC: {what_is_missing()}")


def decoded(width: int = 70, height: int = 48, *, colorspace: int = 5) -> VideoFrame:
    """As NVDEC leaves a frame, but in host memory: NV12, in rows that are longer than the picture."""
    frame = VideoFrame.from_ndarray(smooth(width, height), format="bgr24").reformat(format="nv12")
    frame.colorspace, frame.color_range = colorspace, 1
    assert frame.planes[0].line_size > width
    return frame


def sums(path: Path) -> BoundRun:
    """A network that adds up each row of both planes, true columns only, with the width from `frame_wh`."""
    helper, kinds = onnx.helper, onnx.TensorProto
    inputs = [
        helper.make_tensor_value_info("y", kinds.UINT8, ("n", "h", "w")),
        helper.make_tensor_value_info("uv", kinds.UINT8, ("n", "h2", "w2")),
        helper.make_tensor_value_info("frame_wh", kinds.FLOAT, (2,)),
        helper.make_tensor_value_info("yuv_to_bgr", kinds.FLOAT, (3, 4)),
    ]
    nodes = [
        helper.make_node("Slice", ["frame_wh", "zero", "one"], ["width_float"]),
        helper.make_node("Cast", ["width_float"], ["width"], to=kinds.INT64),
        helper.make_node("ReduceSum", ["yuv_to_bgr"], ["colours"], keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("colours", kinds.FLOAT, ())]
    for name, rows in (("y", "h"), ("uv", "h2")):
        nodes += [
            helper.make_node("Slice", [name, "zero", "width", "two"], [f"{name}_true"]),
            helper.make_node("Cast", [f"{name}_true"], [f"{name}_float"], to=kinds.FLOAT),
            helper.make_node("ReduceSum", [f"{name}_float", "two"], [f"{name}_sum"], keepdims=0),
        ]
        outputs.append(helper.make_tensor_value_info(f"{name}_sum", kinds.FLOAT, ("n", rows)))
    constants = [onnx.numpy_helper.from_array(np.array([i]), name) for i, name in enumerate(("zero", "one", "two"))]
    graph = helper.make_graph(nodes, "sums", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    from pipeline.detector.session import open_session

    return BoundRun(open_session(path, "cpu").session, ["y_sum", "uv_sum"], "cpu")


def test_a_frame_is_read_where_it_lies_by_address_and_pitch(tmp_path: Path) -> None:
    run = sums(tmp_path / "sums.onnx")
    for width, height in ((70, 48), (70, 48), (34, 20)):
        frame = decoded(width, height)
        planes = nv12_of(GpuPicture(frame))
        assert isinstance(planes.y, DevicePlane)
        assert planes.y.shape == (1, height, frame.planes[0].line_size)
        assert planes.uv.shape == (1, height // 2, frame.planes[1].line_size)
        for answer, plane in zip(run(inputs_of([planes])), frame.planes, strict=True):
            true = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :width]  # type: ignore[call-overload]
            assert answer.tolist() == [true.sum(axis=1, dtype=np.float64).tolist()]


def test_the_planes_keep_the_frame(tmp_path: Path) -> None:
    run = sums(tmp_path / "sums.onnx")
    planes = nv12_of(GpuPicture(decoded()))
    before = [values.copy() for values in run(inputs_of([planes]))]
    gc.collect()
    others = [decoded() for _ in range(20)]  # would take its memory, were it free
    assert all(np.array_equal(a, b) for a, b in zip(before, run(inputs_of([planes])), strict=True))
    assert len(others) == 20


def test_the_colours_are_those_that_the_video_says() -> None:
    frame = decoded(colorspace=1)
    by_709 = nv12_of(GpuPicture(frame)).yuv_to_bgr
    frame.colorspace = 5
    by_601 = nv12_of(GpuPicture(frame)).yuv_to_bgr
    assert by_709[2, 2] == pytest.approx(1.793, abs=1e-3)  # red from V, as ITU-R BT.709 and BT.601 have it
    assert by_601[2, 2] == pytest.approx(1.596, abs=1e-3)


def test_pixels_are_downloaded_when_somebody_wants_them() -> None:
    picture: Picture = GpuPicture(decoded())
    assert isinstance(picture, HasNv12)
    assert picture.size_wh == (70, 48)
    assert np.abs(picture.pixels.astype(int) - smooth(70, 48)).mean() < 3
    assert picture.pixels is picture.pixels
    assert picture.resized((35, 24), colour="rgb").shape == (24, 35, 3)
    assert picture.copy_pixels().flags.writeable


def test_ten_bits_are_refused() -> None:
    frame = VideoFrame.from_ndarray(smooth(64, 48), format="bgr24").reformat(format="p010le")
    with pytest.raises(SourceError, match="got p010le from this video; export the model with --pixels packed"):
        nv12_of(GpuPicture(frame))


def test_planes_on_another_device_than_the_network_are_refused(tmp_path: Path) -> None:
    run = sums(tmp_path / "sums.onnx")
    planes = nv12_of(GpuPicture(decoded()))
    inputs = inputs_of([replace(planes, y=DevicePlane(0, (1, 48, 96), "cuda", 0, None))])
    with pytest.raises(DeviceError, match=r"got cuda and cpu; set decode\.device=cpu, or engine\.device=cuda"):
        run(inputs)


def test_the_decoder_is_asked_not_to_fall_back() -> None:
    with gpu_decoder() as decoder:
        assert decoder.is_hw_owned
        assert decoder.device_id == 0
        assert decoder.options == {"primary_ctx": "1"}


@needs_no_gpu
def test_a_context_that_libav_would_refuse_is_given_to_it_as_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cuda_driver.cuda_driver", lambda: Driver(state=(0, 1)))
    with gpu_decoder() as decoder:
        assert decoder.options == {"primary_ctx": "0", "current_ctx": "1"}


@needs_no_gpu
def test_what_is_missing_is_said_in_a_line(small_video: Path) -> None:
    with pytest.raises(
        SourceError, match=r"cannot be decoded on the GPU: .*driver.*; set decode\.device=cpu"
    ) as raised:
        VideoSource(small_video, decode=DecodeOptions(device="cuda"))
    assert "\n" not in str(raised.value)


@needs_no_gpu
def test_the_setting_reaches_the_source(small_video: Path) -> None:
    config = load_config(settings=["decode.device=cuda"], options={"sources": (str(small_video),)})
    with pytest.raises(SourceError, match="cannot be decoded on the GPU"):
        assemble(config)


def test_a_codec_that_no_gpu_decodes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "raw.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = VideoFrame.from_ndarray(smooth(64, 48), format="bgr24").reformat(format="yuv420p")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(SourceError, match=r"raw\.avi: the GPU decodes none of its streams; set decode\.device=cpu"):
        VideoSource(path, decode=DecodeOptions(device="cuda"))


@pytest.mark.gpu
@needs_gpu
def test_frames_of_the_gpu_are_those_of_the_processor(small_video: Path) -> None:
    sources = [VideoSource(small_video, decode=DecodeOptions(device=device)) for device in ("cuda", "cpu")]
    timed_pictures = [[*source.pictures(threading.Event())] for source in sources]
    assert len(timed_pictures[0]) == len(timed_pictures[1])
    for ours, theirs in zip(*timed_pictures, strict=True):
        planes = nv12_of(ours.picture)
        assert isinstance(planes.y, DevicePlane)
        assert planes.y.device == "cuda"
        assert np.abs(ours.picture.pixels.astype(int) - theirs.picture.pixels).max() <= 2
