"""How is a network run, and on what?"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pipeline.detector.bound_run import BoundRun, DeviceType, GraphCapture
from pipeline.detector.choosing import open_best
from pipeline.detector.heads import Outputs
from pipeline.detector.providers import Device, OpenedSession, Precision, load_runtime, open_session
from pipeline.detector.tensorrt import input_shapes
from pipeline.errors import DeviceError
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.nv12 import BT601, DevicePlane, Nv12, yuv_to_bgr

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

    def infer(self, tensor: npt.NDArray[Any]) -> Outputs:
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

    def infer_planes(self, planes: Nv12) -> Outputs:
        """Run the network on the planes of one picture, for a spec whose `pixels` are `nv12`; else as `infer`."""


class OrtEngine:
    """A network on ONNX Runtime.

    `device` is what runs it, or DeviceError says why not; `auto` is CUDA where it truly works, else whatever runs it
    faster on the CPU, and `reason` says why. For the other options see `pipeline.detector.providers.open_session`.

    max_batch: the most images that are run at once where the model takes any number, which TensorRT must know before.
    Raises ModelError for a file that ONNX Runtime cannot load.
    """

    def __init__(
        self,
        path: str | Path,
        spec: DetectorSpec,
        *,
        device: Device | Literal["auto"] = "auto",
        intra_op_threads: int | None = None,
        spin_microseconds: int | None = 200,
        precision: Precision | None = None,
        max_batch: int = 1,
        cuda_graph: bool = False,
    ) -> None:
        self.spec = spec
        self.path = Path(path)
        if cuda_graph and (spec.form == "frame" or spec.resize == "in-graph"):
            raise DeviceError(
                f"engine.cuda_graph needs inputs and outputs of fixed shapes at fixed places, {self.path} takes frames "
                "of any size; leave it out, or export --form boxes"
            )

        def opened_on(device: Device) -> OpenedSession:
            return open_session(
                self.path,
                device,
                intra_op_threads=intra_op_threads,
                spin_microseconds=spin_microseconds,
                precision=precision,
                shapes=input_shapes(spec, max_batch=max_batch),
                cuda_graph=cuda_graph,
            )

        if device == "auto":
            opened, self.reason = open_best(
                opened_on,
                self._run_blank_on,
                model=self.path,
                settings=f"{intra_op_threads} threads, {spin_microseconds} us, {precision}, batch {max_batch}",
            )
        else:
            opened, self.reason = opened_on(device), f"{device}: as asked for"
        self.device, self.precision, self.remarks = opened.device, opened.precision, opened.remarks
        self._session = opened.session
        self._output_names = [each.name for each in self._session.get_outputs()]
        self._each_thread = threading.local()
        self._device_type: DeviceType = "cuda" if self.device in ("cuda", "tensorrt") else "cpu"
        self._capture = GraphCapture() if cuda_graph else None
        logger.info("%s", self.describe())
        logger.info("%s", self.reason)
        for remark in self.remarks:
            logger.warning("%s: %s", self.path.name, remark)

    def infer(self, tensor: npt.NDArray[Any]) -> Outputs:
        """See `Engine.infer`."""
        return self._run(self._inputs_of(tensor))

    def infer_planes(self, planes: Nv12) -> Outputs:
        """See `PlanesEngine.infer_planes`. Raises DeviceError for planes that lie where the network does not run."""
        return self._run(planes.inputs)

    def infer_blank(self) -> Outputs:
        """Run the network on zeros of the shape and dtype that it takes; frames of any size have the network's."""
        return self._run(self._blank_inputs())

    def warm_up(self, runs: int = 2) -> None:
        """Run on zeros, so that the first frame does not pay for kernels, arenas and algorithm searches."""
        for _ in range(runs):
            self.infer_blank()

    def blank_input(self) -> npt.NDArray[Any]:
        """Zeros of the shape and dtype that a network that takes pixels takes."""
        width, height = self.spec.network_wh
        shape = (3, height, width) if self.spec.layout in ("nchw", "chw") else (height, width, 3)
        return np.zeros((self.spec.batch or 1, *shape), self.spec.dtype)

    def _run_blank_on(self, opened: OpenedSession) -> None:
        """One run of a session that is only tried."""
        opened.session.run(None, self._blank_inputs())

    def _run(self, inputs: Mapping[str, npt.NDArray[Any] | DevicePlane]) -> Outputs:
        on_host = {name: value for name, value in inputs.items() if not isinstance(value, DevicePlane)}
        if self._device_type == "cpu" and len(on_host) == len(inputs):
            values = self._session.run(self._output_names, on_host)
        else:
            if not hasattr(self._each_thread, "run"):
                self._each_thread.run = BoundRun(self._session, self._output_names, self._device_type, self._capture)
            values = self._each_thread.run(inputs)
        return dict(zip(self._output_names, values, strict=True))

    def _blank_inputs(self) -> Mapping[str, npt.NDArray[Any] | DevicePlane]:
        if self.spec.pixels == "packed":
            return self._inputs_of(self.blank_input())
        width, height = self.spec.network_wh
        y, uv = (np.zeros((1, rows, width + width % 2), np.uint8) for rows in (height, (height + 1) // 2))
        return Nv12(y, uv, (width, height), yuv_to_bgr(BT601, full_range=False)).inputs

    def _inputs_of(self, tensor: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        extra = self._extra_inputs(len(tensor))
        return {self.spec.input_name: tensor[0] if self.spec.layout in ("chw", "hwc") else tensor, **extra}

    def _extra_inputs(self, batch: int) -> dict[str, npt.NDArray[Any]]:
        """What the network wants to be told beside the images, for so many of them."""
        return {each.name: np.tile(np.array(each.values, each.dtype), (batch, 1)) for each in self.spec.extra_inputs}

    def describe(self) -> str:
        """One line: model, device, precision, versions."""
        version = load_runtime().__version__
        return f"{self.spec.model_name or self.path.name} on {self.device}, {self.precision}, ONNX Runtime {version}"

    def close(self) -> None:
        """Let go of the network. May be called more than once; `infer` must not be called after."""
        self._session = None
        self._each_thread = threading.local()
