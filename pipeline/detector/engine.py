"""Engine: input tensors or planes → a network's outputs, on the device that runs it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pipeline.detector.bound_run import BoundRun, GraphCapture, Inputs
from pipeline.detector.device_copies import DeviceType
from pipeline.detector.devices import Device, Precision
from pipeline.detector.facts import model_path
from pipeline.detector.heads import Outputs
from pipeline.detector.installation import load_runtime
from pipeline.detector.proposals import whole_picture
from pipeline.detector.runtime_types import Array
from pipeline.detector.session import open_session
from pipeline.detector.tensorrt import input_shapes
from pipeline.errors import DeviceError
from pipeline.picture.detector_spec import ROIS_INPUT, DetectorSpec
from pipeline.picture.nv12 import DevicePlane, Nv12, Plane, PlaneBatch, blank_nv12, inputs_of
from pipeline.turns import Turns

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """A network on a device."""

    @property
    def spec(self) -> DetectorSpec:
        """What it expects and returns."""

    @property
    def device(self) -> str:
        """What it truly runs on."""

    @property
    def precision(self) -> str:
        """What it truly computes in."""

    def infer(self, tensor: Array) -> Outputs:
        """Run the network on a tensor of the spec's layout and dtype, batch first.

        Returns new arrays by output name. May be called from several threads at once.
        """

    def describe(self) -> str:
        """One line: model, device, precision, versions."""

    def close(self) -> None:
        """Let go of the network. May be called more than once."""


@runtime_checkable
class PlanesEngine(Engine, Protocol):
    """A network that takes frames as their decoder left them."""

    def infer_planes(self, pictures: Sequence[Nv12]) -> Outputs:
        """Run the network on a batch of pictures of one `Nv12.kind`, for a spec whose `pixels` are `nv12`.

        Else as `infer`.
        """


@runtime_checkable
class RoisEngine(Engine, Protocol):
    """A network that classifies boxes which somebody else proposes."""

    def infer_rois(self, tensor: Array, rois: Array) -> Outputs:
        """Run the network on a tensor and its proposals [batch, num_rois, 4], for a spec that takes them.

        Else as `infer`.
        """


class OrtEngine:
    """A network on ONNX Runtime.

    `device` is what runs it, or DeviceError says why not; `reason` says why it was taken, and `agreement` how its
    detections agree with the CPU's in fp32, where somebody has looked. For the other options see
    `pipeline.detector.session.open_session`.

    max_batch: the most images that are run at once where the model takes any number, which TensorRT must know before.
    Raises ModelError for what is not a path, and for a file that ONNX Runtime cannot load.
    """

    def __init__(
        self,
        path: str | Path,
        spec: DetectorSpec,
        *,
        device: Device = "cpu",
        intra_op_threads: int | None = None,
        spin_microseconds: int | None = 200,
        precision: Precision | None = None,
        max_batch: int = 1,
        cuda_graph: bool = False,
        channels_last: bool = False,
    ) -> None:
        self.spec = spec
        self.path = model_path(path)
        self.batch_sizes = _batches(max_batch)
        """The batches that are run on a GPU, where a smaller one is filled up: few shapes, each ready before a run."""
        if cuda_graph and spec.pixels == "packed" and (spec.form == "frame" or spec.resize == "in-graph"):
            raise DeviceError(
                f"engine.cuda_graph needs inputs and outputs of fixed shapes at fixed places, {self.path} takes frames "
                "of any size; leave it out, or export --form boxes"
            )

        # ONNX Runtime on CUDA plans every convolution anew when the size of a batch changes, which takes seconds, and
        # what was recorded for another size before that may then run into memory that is gone.
        self._has_sessions = device == "cuda" and spec.batch is None  # one for each batch
        self._open = partial(
            open_session,
            self.path,
            device,
            intra_op_threads=intra_op_threads,
            spin_microseconds=spin_microseconds,
            precision=precision,
            shapes=input_shapes(spec, max_batch=max_batch),
            cuda_graph=cuda_graph,
            channels_last=channels_last,
        )
        opened = self._open()
        self.reason = f"{device}: as asked for"
        self.agreement: str | None = None  # in words
        self.device, self.precision, self.remarks = opened.device, opened.precision, opened.remarks
        self._session: Any = opened.session  # of the largest batch, or of any; None once it is closed
        self._smaller: dict[int, Any] = {}  # the other batches' sessions, each opened when it is first needed
        self._opening = threading.Lock()
        self._output_names = [output.name for output in self._session.get_outputs()]
        self._each_thread = threading.local()
        self._device_type: DeviceType = "cuda" if self.device in ("cuda", "tensorrt") else "cpu"
        self._capture = GraphCapture() if cuda_graph else None
        # ONNX Runtime knows a recording by the thread that made it, so that one thread records and plays all of them.
        self._player = ThreadPoolExecutor(1, thread_name_prefix="cuda graphs") if cuda_graph else None
        self.turns = Turns() if cuda_graph else None
        """Turns of those who have batches run, where one runs at a time; each ends behind the run."""
        logger.info("%s", self.describe())
        for remark in self.remarks:
            logger.warning("%s: %s", self.path.name, remark)

    def infer(self, tensor: Array) -> Outputs:
        """See `Engine.infer`; a network that takes proposals gets the whole picture as the only one."""
        return self.infer_rois(tensor, whole_picture(self.spec, len(tensor)) if self.spec.num_rois else None)

    def infer_rois(self, tensor: Array, rois: Array | None) -> Outputs:
        """See `RoisEngine.infer_rois`; None: the network takes none."""
        spec, batch = self.spec, len(tensor)
        image = tensor if spec.takes_batch else tensor[0]
        inputs = {spec.input_name: image, **spec.extra_feed(batch)}
        if rois is not None:
            inputs[ROIS_INPUT] = rois
        return self._run(inputs, batch)

    def infer_planes(self, pictures: Sequence[Nv12]) -> Outputs:
        """See `PlanesEngine.infer_planes`. Raises DeviceError for planes that lie where the network does not run."""
        return self._run(inputs_of(pictures), len(pictures))

    def infer_blank(self, batch: int = 1, *, frame_wh: tuple[int, int] | None = None) -> Outputs:
        """Run the network on zeros of the shape and dtype that it takes, `batch` images at once.

        frame_wh: the size of the frames of a network that takes any; None: the network's own.
        """
        if self.spec.pixels == "packed":
            return self.infer(np.repeat(self.blank_input()[:1], self.spec.batch or batch, axis=0))
        return self.infer_planes([self.blank_planes(frame_wh or self.spec.network_wh)] * batch)

    def warm_up(
        self, runs: int = 2, *, frame_wh: tuple[int, int] | None = None, batches: Sequence[int] | None = None
    ) -> None:
        """Run on zeros, so that the first frame does not pay for kernels, arenas and algorithm searches.

        On a GPU with every batch that will occur, or those that are given; what is recorded as a CUDA graph is recorded
        here.
        """
        for batch in self.batch_sizes if batches is None else batches:
            for _ in range(runs):
                self.infer_blank(batch, frame_wh=frame_wh)

    def blank_input(self) -> Array:
        """Zeros of the shape and dtype that a network that takes pixels takes."""
        width, height = self.spec.network_wh
        shape = (3, height, width) if self.spec.channels_first else (height, width, 3)
        return np.zeros((self.spec.batch or 1, *shape), self.spec.dtype)

    def blank_planes(self, frame_wh: tuple[int, int], *, on_device: bool = False) -> Nv12:
        """Planes of zeros of a picture of that size; on_device: where the network runs, else on the host."""
        blank = blank_nv12(frame_wh)
        if not on_device or self._device_type == "cpu":
            return blank
        return replace(blank, y=_on_device(blank.y), uv=_on_device(blank.uv))

    def infer_noise(self) -> Outputs:
        """Run the network on noise, the same each time, of the shape and dtype that it takes."""
        random = np.random.default_rng(0)
        if self.spec.pixels == "packed":
            blank = self.blank_input()
            return self.infer((255 * random.random(blank.shape)).astype(blank.dtype))
        blank_planes = blank_nv12(self.spec.network_wh)
        y, uv = (random.integers(16, 236, plane.shape).astype(np.uint8) for plane in (blank_planes.y, blank_planes.uv))
        return self.infer_planes([replace(blank_planes, y=y, uv=uv)])

    def _run(self, inputs: Inputs, batch: int) -> Outputs:
        if self._device_type == "cpu":
            values = self._session.run(self._output_names, on_host(inputs))
        elif self._player is not None and self.turns is not None:
            values = self._player.submit(self._run_bound, inputs, batch).result()
            self.turns.end()
        else:
            values = self._run_bound(inputs, batch)
        return dict(zip(self._output_names, values, strict=True))

    def _run_bound(self, inputs: Inputs, batch: int) -> list[Array]:
        """With the buffers of this thread."""
        size = self._filled_up(batch)
        session = self._session_of(size)
        runs: dict[int, BoundRun] = self._each_thread.__dict__.setdefault("runs", {})
        if id(session) not in runs:
            runs[id(session)] = BoundRun(session, self._output_names, self._device_type, self._capture)
        return runs[id(session)](inputs, batch=size)

    def _session_of(self, size: int | None) -> Any:
        if not self._has_sessions or size in (None, self.batch_sizes[-1]):
            return self._session
        with self._opening:
            if size not in self._smaller:
                self._smaller[size] = self._open().session
            return self._smaller[size]

    def _filled_up(self, batch: int) -> int | None:
        """The least batch that is run anyway; None for one that is larger than any, or of a network of fixed batch."""
        return next((size for size in self.batch_sizes if size >= batch), None) if self.spec.batch is None else None

    def describe(self) -> str:
        """One line: model, device, precision, versions."""
        version = load_runtime().__version__
        return f"{self.spec.model_name or self.path.name} on {self.device}, {self.precision}, ONNX Runtime {version}"

    def close(self) -> None:
        """Let go of the network. May be called more than once; `infer` must not be called after."""
        if self._player is not None:
            self._player.shutdown()
        self._session = None
        self._smaller = {}
        self._each_thread = threading.local()


def _batches(max_batch: int) -> tuple[int, ...]:
    """1, the powers of two from 4 on that are smaller than a batch, and itself: 2 run as 4 cost little more."""
    return tuple(sorted({1, *(2**power for power in range(2, (max_batch - 1).bit_length())), max_batch}))


def on_host(inputs: Inputs) -> dict[str, Array]:
    """Inputs as arrays. Raises DeviceError for planes that lie on another device."""
    return {name: value.gathered() if isinstance(value, PlaneBatch) else value for name, value in inputs.items()}


def _on_device(plane: Plane) -> DevicePlane:
    value = load_runtime().OrtValue.ortvalue_from_numpy(plane, "cuda", 0)
    return DevicePlane(value.data_ptr(), (1, *plane.shape[1:]), "cuda", 0, value)
