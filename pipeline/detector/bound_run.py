"""How is a network run in buffers that stay where they are, so that nothing is allocated for a frame?

A frame goes up once, through pinned memory; what comes back is copied down in the run, which waits for the device once.
What a decoder left on the device is read there, by its address.

Each thread has a `BoundRun` of its own, and two of them overlap: ONNX Runtime uploads on CUDA's default stream and
computes on a stream of its own for each run, which does not wait for the default one.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.detector.pinned import pinned_array
from pipeline.detector.providers import load_runtime
from pipeline.errors import DeviceError
from pipeline.picture.nv12 import DevicePlane

Array = npt.NDArray[Any]
DeviceType = Literal["cpu", "cuda"]
"""ONNX Runtime's word for where buffers lie."""

_MOST_SHAPES = 8  # that buffers are kept for: sizes of frames, batches
_SMALL_BYTES = 4096  # what is worth a look whether it changed at all
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}


class GraphCapture:
    """What the runs of one session share that are recorded as CUDA graphs, and played back from then on.

    CUDA plays one graph of a session at a time, and ONNX Runtime knows a recording by thread and number.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._numbers = itertools.count(1)

    def run_options(self) -> Any:
        """Options under which the first run records and all further ones play back."""
        options = load_runtime().RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(next(self._numbers)))
        return options


class BoundRun:
    """Runs a session with inputs and outputs bound. For one thread."""

    def __init__(
        self, session: Any, output_names: Sequence[str], device: DeviceType, capture: GraphCapture | None = None
    ) -> None:
        self._session = session
        self._output_names = list(output_names)
        self._device: DeviceType = device
        self._capture = capture
        self._kept: dict[tuple[Any, ...], _Buffers] = {}  # by the inputs' shapes, the last used last

    def __call__(self, inputs: Mapping[str, Array | DevicePlane]) -> list[Array]:
        """The outputs, in new arrays. Raises DeviceError for a plane that lies on another device."""
        key = tuple((name, value.shape, isinstance(value, DevicePlane)) for name, value in inputs.items())
        buffers = self._kept.pop(key, None)
        if buffers is None:
            if len(self._kept) == _MOST_SHAPES:
                del self._kept[next(iter(self._kept))]
            buffers = _Buffers(self._session, self._output_names, inputs, self._device, self._capture)
        self._kept[key] = buffers
        return buffers.run(inputs)


class _Buffers:
    """The buffers for inputs of certain shapes."""

    def __init__(
        self,
        session: Any,
        output_names: list[str],
        inputs: Mapping[str, Array | DevicePlane],
        device: DeviceType,
        capture: GraphCapture | None,
    ) -> None:
        self._session = session
        self._device = device
        self._output_names = output_names
        self._binding = session.io_binding()
        self._inputs: dict[str, _Input] = {}
        for name, value in inputs.items():
            if not isinstance(value, DevicePlane):
                self._inputs[name] = _Input(value.shape, value.dtype, device)
                self._binding.bind_ortvalue_input(name, self._inputs[name].on_device)
            elif value.device != device:
                raise DeviceError(
                    f"frames must lie where the network runs, got {value.device} and {device}; set decode.device=cpu, "
                    "or engine.device=cuda"
                )
        self._lock: AbstractContextManager[Any] = nullcontext() if capture is None else capture.lock
        self._run_options = None if capture is None else capture.run_options()
        declared = {each.name: each for each in session.get_outputs()}
        self._dtypes = {name: _DTYPES.get(declared[name].type) for name in output_names}
        self._expected = fixed_shapes(
            {each.name: each.shape for each in session.get_inputs()},
            {name: value.shape for name, value in inputs.items()},
            {name: declared[name].shape for name in output_names},
        )
        self._on_host: dict[str, Array] = {}  # outputs that the run copies into pinned memory
        self._on_device: dict[str, Any] = {}  # outputs that stay there, because a graph is played without a copy
        if capture is not None:
            if self._expected is None or None in self._dtypes.values():
                raise DeviceError("engine.cuda_graph needs outputs of fixed shapes, which this model has not")
            for name, shape in self._expected.items():
                value = load_runtime().OrtValue.ortvalue_from_shape_and_type(shape, self._dtypes[name], device, 0)
                self._on_device[name] = value
                self._binding.bind_ortvalue_output(name, value)

    def run(self, inputs: Mapping[str, Array | DevicePlane]) -> list[Array]:
        with self._lock:  # of everything, because CUDA records no graph while another thread uploads
            waits_for_decoder = False
            for name, value in inputs.items():
                if isinstance(value, DevicePlane):
                    place = (value.device, value.device_id, np.uint8, list(value.shape), value.address)
                    self._binding.bind_input(name, *place)
                    waits_for_decoder = True
                else:
                    self._inputs[name].write(value)
            if waits_for_decoder:
                self._binding.synchronize_inputs()
            if not self._on_host and not self._on_device:
                return self._run_for_the_first_time()
            self._session.run_with_iobinding(self._binding, self._run_options)
            if self._on_device:
                return [np.array(self._on_device[name].numpy()) for name in self._output_names]
            return [self._on_host[name].copy() for name in self._output_names]

    def _run_for_the_first_time(self) -> list[Array]:
        """Into memory of ONNX Runtime's choice; again each time where a file does not say, or not truly, how much."""
        for name in self._output_names:  # anew: a bound output of the last run would be written over
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding)
        values = list(self._binding.copy_outputs_to_cpu())
        found = {name: value.shape for name, value in zip(self._output_names, values, strict=True)}
        if found == self._expected and None not in self._dtypes.values():
            for name, shape in found.items():
                array = self._on_host[name] = _host_array(shape, self._dtypes[name], self._device)
                self._binding.bind_output(name, "cpu", 0, self._dtypes[name], list(shape), array.ctypes.data)
        return values


class _Input:
    """One input's place on the device, and the host memory that it is filled from."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], device: DeviceType) -> None:
        self._on_host = _host_array(shape, dtype, device)
        self._is_written = False
        self._is_the_same = device == "cpu"
        values = load_runtime().OrtValue
        if self._is_the_same:
            self.on_device = values.ortvalue_from_numpy(self._on_host)
        else:
            self.on_device = values.ortvalue_from_shape_and_type(list(shape), dtype.type, device, 0)

    def write(self, values: Array) -> None:
        if self._is_written and values.nbytes <= _SMALL_BYTES and np.array_equal(values, self._on_host):
            return
        np.copyto(self._on_host, values)
        if not self._is_the_same:
            self.on_device.update_inplace(self._on_host)
        self._is_written = True


def fixed_shapes(
    declared_inputs: Mapping[str, Sequence[Any]],
    inputs: Mapping[str, Sequence[int]],
    declared_outputs: Mapping[str, Sequence[Any]],
) -> dict[str, tuple[int, ...]] | None:
    """The outputs' shapes where they follow from the inputs' by the names of sides, such as `batch`; else None."""
    sides: dict[Any, int] = {}
    for name, shape in inputs.items():
        for said, side in zip(declared_inputs.get(name, ()), shape, strict=False):
            if isinstance(said, str) and said:
                sides[said] = side
    shapes: dict[str, tuple[int, ...]] = {}
    for name, declared in declared_outputs.items():
        shape = tuple(side if isinstance(side, int) else sides.get(side, -1) for side in declared)
        if not shape or min(shape) < 0:
            return None
        shapes[name] = shape
    return shapes


def _host_array(shape: tuple[int, ...], dtype: Any, device: DeviceType) -> Array:
    return np.empty(shape, dtype) if device == "cpu" else pinned_array(shape, dtype)
