"""NV12: a graph that takes a decoder's planes sees what OpenCV and swscale make of them, whatever their pitch."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame

from pipeline.errors import SourceError
from pipeline.picture.frame import ArrayPicture, PixelArray
from pipeline.picture.nv12 import BT601, BT709, HasNv12, LumaWeights, Nv12, inputs_of, nv12_of, yuv_to_bgr
from pipeline.sources.video.picture import VideoPicture, colours_of
from pipeline.sources.video.source import VideoSource
from tests.support.pictures import smooth

Bytes = npt.NDArray[np.uint8]


def planes_of(pixels: PixelArray, *, spare: tuple[int, int] = (0, 0)) -> Nv12:
    """BT.601 planes by OpenCV, with so many bytes of 255 behind the rows of y and of uv. Even sizes only."""
    height, width = pixels.shape[:2]
    i420 = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420), np.uint8)
    u, v = i420[height:].reshape(2, height // 2, width // 2)
    both = (i420[:height], np.stack([u, v], axis=2).reshape(height // 2, width))
    y, uv = (
        np.pad(plane, ((0, 0), (0, more)), constant_values=255)[None] for plane, more in zip(both, spare, strict=True)
    )
    return Nv12(y, uv, (width, height), yuv_to_bgr(BT601, full_range=False))


def opencv_pixels(planes: Nv12) -> PixelArray:
    width, height = planes.size_wh
    assert isinstance(planes.y, np.ndarray)
    assert isinstance(planes.uv, np.ndarray)
    y, uv = planes.y[0, :height, :width], planes.uv[0, : height // 2, :width].reshape(height // 2, width // 2, 2)
    return np.asarray(
        cv2.cvtColorTwoPlane(np.ascontiguousarray(y), np.ascontiguousarray(uv), cv2.COLOR_YUV2BGR_NV12), np.uint8
    )


@pytest.mark.parametrize(
    ("weights", "full_range", "yuv", "bgr"),
    [  # the primaries and white of ITU-R BT.601 and BT.709 in 8 bits, and JFIF's red
        pytest.param(BT601, False, (81, 90, 240), (0, 0, 255), id="red, 601"),
        pytest.param(BT601, False, (41, 240, 110), (255, 0, 0), id="blue, 601"),
        pytest.param(BT709, False, (63, 102, 240), (0, 0, 255), id="red, 709"),
        pytest.param(BT709, False, (173, 42, 26), (0, 255, 0), id="green, 709"),
        pytest.param(BT709, False, (235, 128, 128), (255, 255, 255), id="white, 709"),
        pytest.param(BT709, False, (16, 128, 128), (0, 0, 0), id="black, 709"),
        pytest.param(BT601, True, (76, 85, 255), (0, 0, 254), id="red, full range"),
        pytest.param(BT709, True, (255, 128, 128), (255, 255, 255), id="white, full range"),
    ],
)
def test_the_colours_of_the_standards_come_out(
    weights: LumaWeights, full_range: bool, yuv: tuple[int, int, int], bgr: tuple[int, int, int]
) -> None:
    made = yuv_to_bgr(weights, full_range=full_range) @ np.array([*yuv, 1], np.float32)
    assert np.abs(made - bgr).max() < 1.5


@pytest.mark.parametrize(
    ("y", "uv", "said"),
    [
        ((1, 4, 5), (1, 2, 6), r"y of 6 × 4 must be at least \[1, 4, 6\], got \[1, 4, 5\]"),
        ((1, 4, 6), (1, 1, 6), r"uv of 6 × 4 must be at least \[1, 2, 6\]"),
        ((4, 6), (1, 2, 6), "y of 6 × 4"),
        ((2, 4, 6), (1, 2, 6), "y of 6 × 4"),
    ],
)
def test_planes_that_hold_no_such_picture_are_refused(y: tuple[int, ...], uv: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Nv12(np.zeros(y, np.uint8), np.zeros(uv, np.uint8), (6, 4), yuv_to_bgr(BT601, full_range=False))


def test_a_picture_without_planes_is_refused_with_the_way_out() -> None:
    with pytest.raises(SourceError, match=r"this source gives BGR pixels: export the model with --pixels packed"):
        nv12_of(ArrayPicture(smooth(8, 8)))


@pytest.mark.parametrize("kind", ["yuv420p", "nv12", "yuvj420p"])
@pytest.mark.parametrize("size_wh", [(64, 48), (96, 34), (63, 47)])
@pytest.mark.parametrize("colorspace", [1, 5, 9, 2])
def test_a_decoded_frame_gives_its_planes_and_what_they_mean(
    kind: str, size_wh: tuple[int, int], colorspace: int
) -> None:
    frame = VideoFrame.from_ndarray(smooth(64, 48), format="bgr24").reformat(*size_wh, format=kind)
    frame.colorspace = colorspace
    planes = VideoPicture(frame).nv12()
    assert planes.size_wh == size_wh
    width, height = size_wh
    assert isinstance(planes.y, np.ndarray)
    assert isinstance(planes.uv, np.ndarray)
    # By swscale at every pixel whose colour has a sample of its own in the middle of four.
    by_swscale = VideoPicture(frame).pixels
    uv = planes.uv[0, :, : width + width % 2].reshape(planes.uv.shape[1], -1, 2)
    uv = uv.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    yuv = np.concatenate([planes.y[0, :height, :width, None], uv, np.ones((height, width, 1))], axis=2)
    assert np.abs((yuv @ planes.yuv_to_bgr.T).clip(0, 255) - by_swscale).mean() < 2
    assert np.array_equal(planes.yuv_to_bgr, colours_of(frame))


@pytest.mark.parametrize("kind", ["yuv444p", "yuv420p10le", "rgb24"])
def test_a_video_of_another_kind_is_refused(kind: str) -> None:
    frame = VideoFrame.from_ndarray(smooth(64, 48), format="bgr24").reformat(format=kind)
    picture = VideoPicture(frame)
    assert isinstance(picture, HasNv12)
    with pytest.raises(SourceError, match=f"4:2:0, got {kind} from this video; export the model with --pixels"):
        nv12_of(picture)


def test_planes_of_a_video_that_was_filmed_on_its_side_stand_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(25), options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)
        frame = VideoFrame.from_ndarray(smooth(64, 48), format="bgr24").reformat(format="yuv420p")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    source = VideoSource(path)
    picture = next(iter(source.pictures(threading.Event()))).picture
    planes = nv12_of(picture)
    assert planes.size_wh == (48, 64) == picture.size_wh
    assert np.abs(opencv_pixels(planes).astype(int) - picture.pixels).mean() < 2
    source.close()


torch = pytest.importorskip("torch", reason="the extra export is not installed")
pytest.importorskip("torchvision", reason="the extra export is not installed")

from export.exporting import Exported, export_detector  # noqa: E402
from export.graph.forms import FitNv12  # noqa: E402
from export.proof.images import ProofImage, as_decoded  # noqa: E402
from pipeline.app.assemble import assemble  # noqa: E402
from pipeline.app.config.loading import load_config  # noqa: E402
from pipeline.app.model_files import DEMO_MODEL  # noqa: E402
from pipeline.app.models.inspect import print_model  # noqa: E402
from pipeline.detector.detector import EngineDetector  # noqa: E402
from pipeline.detector.engine import OrtEngine, on_host  # noqa: E402
from pipeline.detector.heads import HEADS, Outputs  # noqa: E402
from pipeline.detector.onnx_file import copy_with_metadata  # noqa: E402
from pipeline.detector.postprocess import Postprocess  # noqa: E402
from pipeline.detector.recognise import recognise  # noqa: E402
from pipeline.detector.tensor import TensorWriter  # noqa: E402
from pipeline.errors import ModelError  # noqa: E402
from pipeline.flow.running import Running  # noqa: E402
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec  # noqa: E402
from pipeline.picture.frame import Frame  # noqa: E402
from pipeline.picture.letterbox import Letterbox, ResizeMode  # noqa: E402
from pipeline.picture.nv12_picture import Nv12Picture  # noqa: E402
from pipeline.picture.parity import FP32_BAR, Bar, compare  # noqa: E402
from pipeline.sources.street.traffic import TrafficSource  # noqa: E402
from pipeline.stages.detect_planes import DetectPlanes  # noqa: E402
from tests.support.small_exportable import NETWORK_WH, exportable, proof_images  # noqa: E402
from tests.support.tiny_detector import write_boxes_detector  # noqa: E402


@dataclasses.dataclass
class Decoded:
    """A picture whose planes are these, and whose pixels are what OpenCV makes of them."""

    planes: Nv12

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.planes.size_wh

    @property
    def pixels(self) -> PixelArray:
        return opencv_pixels(self.planes)

    def copy_pixels(self) -> PixelArray:
        return self.pixels

    def resized(self, size_wh: tuple[int, int], *, colour: str) -> PixelArray:
        return ArrayPicture(self.pixels).resized(size_wh, colour=colour)  # type: ignore[arg-type]

    def nv12(self) -> Nv12:
        return self.planes


def fitted(planes: Nv12, spec: DetectorSpec) -> npt.NDArray[np.float32]:
    inputs = (torch.from_numpy(np.array(value)) for value in on_host(inputs_of([planes])).values())
    return np.asarray(FitNv12(spec)(*inputs)[0].numpy()[0], np.float32)


@pytest.mark.parametrize("resize", ["letterbox-center", "letterbox-topleft", "stretch"])
@pytest.mark.parametrize("spare", [(0, 0), (1, 3), (64, 64)])
@pytest.mark.parametrize("size_wh", [(640, 360), (200, 320), (96, 64), (50, 38)])
def test_planes_are_laid_as_opencv_lays_their_pixels(
    resize: ResizeMode, spare: tuple[int, int], size_wh: tuple[int, int]
) -> None:
    spec = DetectorSpec("x", NETWORK_WH, "boxes", ("a",), layout="nhwc", dtype="uint8", colour="bgr", resize=resize)
    planes = planes_of(smooth(*size_wh), spare=spare)
    by_opencv = TensorWriter(spec).tensor_of(ArrayPicture(opencv_pixels(planes)))[1][0]
    difference = np.abs(fitted(planes, spec) - by_opencv)
    assert difference.max() <= 4  # OpenCV gives four pixels one colour, the graph goes from one to the next
    assert difference.mean() < 1


def test_colour_lies_in_the_middle_of_its_four_pixels() -> None:
    spec = DetectorSpec("x", (8, 4), "boxes", ("a",), layout="nhwc", dtype="uint8", colour="bgr", resize="stretch")
    y = np.full((1, 4, 9), 100, np.uint8)
    uv = np.full((1, 2, 9), 128, np.uint8)
    uv[0, :, 1:8:2] = [128, 148, 168, 188]  # V of the four samples of a row
    red = fitted(Nv12(y, uv, (8, 4), yuv_to_bgr(BT601, full_range=True)), spec)[0, :, 2] - 100
    # By hand: pixel x lies at sample (x + .5) / 2 - .5, and full-range red is 1.402 times V - 128.
    positions = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    assert red == pytest.approx(np.round(1.402 * 20 * positions), abs=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("nv12") / "planes.onnx"
    return export_detector(exportable(), path, images=proof_images(), form="frame", pixels="nv12")


def test_the_file_is_shown_to_say_what_pytorch_says(exported: Exported) -> None:
    assert exported.evidence.passes
    assert exported.evidence.parity.num_detections > 200
    assert exported.evidence.batch_sizes == (1, 2, 3, 4)
    spec = recognise(exported.path)
    assert (spec.form, spec.pixels, spec.resize, spec.needs_nms, spec.input_name) == (
        "frame",
        "nv12",
        "in-graph",
        False,
        "y",
    )


@pytest.mark.parametrize("spare", [(0, 0), (5, 7)])
def test_a_trained_detector_finds_in_planes_what_it_finds_in_the_pixels_that_opencv_makes(
    spare: tuple[int, int],
) -> None:
    engine = OrtEngine(DEMO_MODEL, recognise(DEMO_MODEL), device="cpu")
    with contextlib.closing(TrafficSource.from_spec("sim:traffic?seed=3&seconds=8")) as source:
        timed_pictures = list(itertools.islice(source.pictures(threading.Event()), 30, 240, 35))
    options = dataclasses.replace(engine.spec.suppression, score_threshold=0.2)
    found, expected = [], []
    for timed in timed_pictures:
        planes = planes_of(np.asarray(cv2.GaussianBlur(even(timed.picture.pixels), (0, 0), 1), np.uint8), spare=spare)
        letterbox = Letterbox.fit(planes.size_wh, engine.spec.network_wh, engine.spec.resize)
        pixels = fitted(planes, engine.spec).astype(np.uint8)[None, :, :, ::-1]
        candidates = HEADS["boxes"](engine.infer(pixels.copy()), engine.spec, score_threshold=0.2, batch_index=0)
        found.append(Postprocess(engine.spec, options)(candidates, letterbox))
        expected += EngineDetector(engine, score_threshold=0.2)([ArrayPicture(opencv_pixels(planes))])
    # OpenCV gives four pixels one colour, the graph goes from one to the next.
    bar = Bar(score_from=0.25, least_iou=0.9, largest_score_difference=0.1, least_matched_share=0.97, least_mask_iou=0)
    parity = compare(found, expected, bar=bar, iou_threshold=engine.spec.iou_threshold)
    assert parity.num_detections > 20
    assert bar.passed_by(parity), parity


def even(pixels: PixelArray) -> PixelArray:
    height, width = pixels.shape[:2]
    return pixels[: height - height % 2, : width - width % 2]


def test_what_lies_behind_the_rows_is_never_looked_at(exported: Exported) -> None:
    engine = OrtEngine(exported.path, exported.spec, device="cpu")
    pixels = even(proof_images()[0].picture.pixels)
    answers = [engine.infer_planes([planes_of(pixels, spare=spare)]) for spare in ((0, 0), (1, 0), (0, 33), (512, 256))]
    for answer in answers[1:]:
        for name, values in answers[0].items():
            assert np.array_equal(answer[name], values), name


def test_a_batch_says_of_each_frame_what_is_said_of_it_alone(exported: Exported) -> None:
    engine = OrtEngine(exported.path, exported.spec, device="cpu")
    frames = [planes_of(np.roll(smooth(120, 80), step, axis=1), spare=(step, 5)) for step in (0, 30, 60)]
    together = engine.infer_planes(frames)
    for place, frame in enumerate(frames):
        for name, values in engine.infer_planes([frame]).items():
            assert np.allclose(together[name][place], values[0], atol=1e-3)


def test_inspect_says_that_it_takes_planes(exported: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    print_model(exported.path)
    printed = " ".join(capsys.readouterr().out.split())
    assert "NV12 planes of frames of any size and pitch, resized to 96 × 64 in the graph" in printed
    assert "BT.601, BT.709 or BT.2020 as the video says" in printed


def test_the_stage_refuses_a_frame_without_planes(exported: Exported) -> None:
    stage = DetectPlanes(OrtEngine(exported.path, exported.spec, device="cpu"))
    with pytest.raises(SourceError, match="takes NV12 planes, which only a decoded video has"):
        stage.process(Frame.from_pixels(smooth(32, 32)))


def test_the_stage_runs_frames_of_one_size_and_colours_together_and_gives_all_back_in_order(
    exported: Exported,
) -> None:
    class Counting(OrtEngine):
        batches: ClassVar[list[int]] = []

        def infer_planes(self, pictures: Sequence[Nv12]) -> Outputs:
            self.batches.append(len(pictures))
            return super().infer_planes(pictures)

    stage = DetectPlanes(Counting(exported.path, exported.spec, device="cpu"), score_threshold=0.05)
    planes = [planes_of(np.roll(smooth(*wh), step, axis=1)) for step, wh in enumerate([(120, 80), (64, 48)] * 3)]
    planes.append(dataclasses.replace(planes[0], yuv_to_bgr=yuv_to_bgr(BT709, full_range=False)))
    frames = [Frame(Decoded(each), "camera", index, 0.0, 0.0) for index, each in enumerate(planes)]
    together = stage.process_batch(frames)
    assert sorted(Counting.batches) == [1, 3, 3]
    assert [each.frame.index for each in together] == list(range(7))
    for frame, ours in zip(frames, together, strict=True):
        (alone,) = stage.process(frame)
        assert ours.letterbox == alone.letterbox
        assert np.allclose(ours.candidates.boxes_xyxy, alone.candidates.boxes_xyxy, atol=1e-3)


def test_the_stage_gives_boxes_in_pixels_of_the_source(exported: Exported) -> None:
    stage = DetectPlanes(OrtEngine(exported.path, exported.spec, device="cpu"), score_threshold=0.05)
    picture = Nv12Picture(proof_images()[0].picture)
    (detected,) = stage.process(Frame(picture, "camera", 3, 0.1, 0.2))
    width, height = picture.size_wh
    assert detected.letterbox.source_wh == detected.letterbox.network_wh == (width, height)
    boxes = detected.candidates.boxes_xyxy
    assert len(boxes) > 3
    assert (boxes >= 0).all()
    assert (boxes <= np.array([width, height] * 2)).all()


def test_the_boxes_form_of_planes_finds_what_the_frame_form_finds(exported: Exported, tmp_path: Path) -> None:
    boxes = export_detector(exportable(), tmp_path / "boxes.onnx", images=proof_images(), pixels="nv12")
    assert boxes.evidence.passes
    spec = recognise(boxes.path)
    assert (spec.form, spec.pixels, spec.resize, spec.needs_nms) == ("boxes", "nv12", "letterbox-center", True)
    images = [each.picture for each in as_decoded(proof_images())]
    found, expected = (
        EngineDetector(OrtEngine(each.path, each.spec, device="cpu"))(images) for each in (boxes, exported)
    )
    parity = compare(found, expected, bar=FP32_BAR, iou_threshold=spec.iou_threshold)
    assert parity.num_detections > 100
    assert FP32_BAR.passed_by(parity), parity


def test_planes_need_a_form_that_takes_pixels(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"--pixels nv12 needs --form boxes or --form frame, .*; got --form body"):
        export_detector(exportable(), tmp_path / "no.onnx", images=proof_images(), form="body", pixels="nv12")


def test_metadata_of_another_graph_is_refused(exported: Exported, tmp_path: Path) -> None:
    boxes = write_boxes_detector(tmp_path / "boxes.onnx", [])
    copy_with_metadata(boxes, tmp_path / "lies.onnx", {METADATA_KEY: exported.spec.to_json()})
    with pytest.raises(ModelError, match="describes the inputs y, uv, frame_wh, yuv_to_bgr, the graph has images"):
        recognise(tmp_path / "lies.onnx")


def test_proof_images_keep_their_own_pixels() -> None:
    image = ProofImage("odd", ArrayPicture(smooth(9, 7)))
    picture = Nv12Picture(image.picture)
    assert np.array_equal(picture.pixels, image.picture.pixels)
    assert (picture.nv12().y.shape, picture.nv12().uv.shape) == ((1, 7, 34), (1, 4, 34))


@pytest.fixture
def street(tmp_path: Path) -> Path:
    path = tmp_path / "street.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(25), options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        pixels = proof_images()[0].picture.resized((160, 96), colour="bgr")
        for index in range(5):
            frame = VideoFrame.from_ndarray(np.roll(pixels, 8 * index, axis=1), format="bgr24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("batch", [1, 4])
def test_a_run_on_a_video_needs_no_preprocessing_and_finds_what_the_file_finds(
    exported: Exported, street: Path, batch: int
) -> None:
    config = load_config(
        options={
            "sources": (str(street),),
            "model": str(exported.path),
            "output.show": False,
            "engine.device": "cpu",
            "engine.batch": batch,
            "detection.score_threshold": 0.05,
        }
    )
    assembly = assemble(config)
    assert [node.name for node in assembly.flow.nodes if "stage" in node.kind] == ["detect", "nms"]
    with Running(assembly.flow, results=True) as running:
        results = list(running)
    assert len(results) == 5
    whole = EngineDetector(OrtEngine(exported.path, exported.spec, device="cpu"), score_threshold=0.05)
    for result in results:
        (expected,) = whole([result.frame.picture])
        assert len(expected) > 0
        assert np.allclose(result.detections.boxes_xyxy, expected.boxes_xyxy, atol=1e-3)


def test_a_run_on_images_says_that_they_have_no_planes(exported: Exported, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), smooth(64, 48))
    options = {"sources": (str(tmp_path),), "model": str(exported.path), "engine.device": "cpu", "output.show": False}
    with (
        pytest.raises(SourceError, match="takes NV12 planes, which only a decoded video has"),
        Running(assemble(load_config(options=options)).flow) as running,
    ):
        running.wait()
