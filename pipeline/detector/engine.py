"""How is a network run, and on what?"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.detector.heads import Outputs
from pipeline.detector.providers import Device, OpenedSession, Precision, load_runtime, open_session
from pipeline.errors import DeviceError
from pipeline.picture.detector_spec import DetectorSpec

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


class OrtEngine:
    """A network on ONNX Runtime.

    `device` is what runs it, or DeviceError says why not; `auto` is CUDA where it truly works, else the CPU, and
    `reason` says why. For the other options see `pipeline.detector.providers.open_session`.

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
    ) -> None:
        self.spec = spec
        self.path = Path(path)

        def opened_on(device: Device) -> OpenedSession:
            return open_session(
                self.path,
                device,
                intra_op_threads=intra_op_threads,
                spin_microseconds=spin_microseconds,
                precision=precision,
            )

        if device == "auto":
            opened, self.reason = _open_best(opened_on)
        else:
            opened, self.reason = opened_on(device), f"{device}: as asked for"
        self.device, self.precision, self.remarks = opened.device, opened.precision, opened.remarks
        self._session = opened.session
        self._output_names = [each.name for each in self._session.get_outputs()]
        self._each_thread = threading.local()
        logger.info("%s", self.describe())
        logger.info("%s", self.reason)
        for remark in self.remarks:
            logger.warning("%s: %s", self.path.name, remark)

    def infer(self, tensor: npt.NDArray[Any]) -> Outputs:
        """See `Engine.infer`."""
        batch = len(tensor)
        if self.spec.layout in ("chw", "hwc"):
            tensor = tensor[0]
        if self.device in ("cuda", "tensorrt"):
            if not hasattr(self._each_thread, "run"):
                self._each_thread.run = _BoundRun(self._session, self.spec.input_name, self._output_names, "cuda")
            values = self._each_thread.run(tensor, self._extra_inputs(batch))
        else:
            feed = {self.spec.input_name: tensor, **self._extra_inputs(batch)}
            values = self._session.run(self._output_names, feed)
        return dict(zip(self._output_names, values, strict=True))

    def warm_up(self, runs: int = 2) -> None:
        """Run on zeros, so that the first frame does not pay for kernels, arenas and algorithm searches."""
        for _ in range(runs):
            self.infer(self.blank_input())

    def blank_input(self) -> npt.NDArray[Any]:
        """Zeros of the shape and dtype that the network takes."""
        width, height = self.spec.network_wh
        shape = (3, height, width) if self.spec.layout in ("nchw", "chw") else (height, width, 3)
        return np.zeros((self.spec.batch or 1, *shape), self.spec.dtype)

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


class _BoundRun:
    """Runs with the input in a device buffer that is kept, so that nothing is allocated there for a frame.

    For one thread. `device_type` is ONNX Runtime's word for where the buffer lies: `cuda` or `cpu`.
    """

    def __init__(self, session: Any, input_name: str, output_names: list[str], device_type: str) -> None:
        self._session = session
        self._input_name = input_name
        self._output_names = output_names
        self._device_type = device_type
        self._binding = session.io_binding()
        self._input: Any = None

    def __call__(
        self, tensor: npt.NDArray[Any], extra_inputs: Mapping[str, npt.NDArray[Any]] | None = None
    ) -> list[npt.NDArray[Any]]:
        if self._input is None or tuple(self._input.shape()) != tensor.shape:
            self._input = load_runtime().OrtValue.ortvalue_from_numpy(tensor, self._device_type, 0)
            self._binding.bind_ortvalue_input(self._input_name, self._input)
        else:
            self._input.update_inplace(tensor)
        for name, values in (extra_inputs or {}).items():  # small, and the same each time
            self._binding.bind_cpu_input(name, values)
        for name in self._output_names:  # again each time: a bound output of the last shape would be written over
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding)
        return list(self._binding.copy_outputs_to_cpu())


def _open_best(opened_on: Callable[[Device], OpenedSession]) -> tuple[OpenedSession, str]:
    """CUDA where it truly works, else the CPU; and why."""
    if "CUDAExecutionProvider" not in load_runtime().get_available_providers():
        return opened_on("cpu"), "cpu: the installed ONNX Runtime is built without CUDA"
    try:
        return opened_on("cuda"), "cuda: it works on this machine"
    except DeviceError as error:
        return opened_on("cpu"), f"cpu: {error}"
