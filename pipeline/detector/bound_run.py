"""Bound runs: inputs → outputs of a session, in buffers that stay where they are: nothing is allocated for a frame.

A frame goes up once, through pinned memory, and what a decoder left on the device is gathered there: the planes of a
batch lie apart, and beside each other they are a batch of one shape at one address, which a CUDA graph can be recorded
for. What comes back is copied down in the run, which waits for the device once.

Each thread has a `BoundRun` of its own, and two of them overlap: copies have a stream of their own, and ONNX Runtime
computes on another for each run, which waits for none of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.detector.device_copies import Copies, DeviceType, copies_for
from pipeline.detector.installation import load_runtime
from pipeline.detector.runtime_types import Array, ElementType, OnDevice, RunOptions, Session
from pipeline.errors import DeviceError
from pipeline.picture.nv12 import DevicePlane, PlaneBatch

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
    """Numbers the runs of one engine that are recorded as CUDA graphs, and played back from then on.

    CUDA plays one graph of a session at a time, and ONNX Runtime knows a recording by thread and number: one thread has
    all runs that share this.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def run_options(self) -> RunOptions:
        """Options under which the first run records and all further ones play back."""
        options: RunOptions = load_runtime().RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(next(self._numbers)))
        return options


Inputs = Mapping[str, Array | PlaneBatch]
"""By name: host arrays, and planes wherever their decoder left them."""
Shape = tuple[int, ...]
DeclaredShape = Sequence[int | str | None]
"""As `Declared.shape` of `pipeline.detector.runtime_types`."""


class BoundRun:
    """Runs a session with inputs and outputs bound. For one thread."""

    def __init__(
        self,
        session: Session,
        output_names: Sequence[str],
        device: DeviceType,
        capture: GraphCapture | None = None,
        *,
        copies: Copies | None = None,
    ) -> None:
        self._session = session
        self._output_names = list(output_names)
        self._device: DeviceType = device
        self._capture = capture
        self._copies = copies or copies_for(device)
        self._kept: dict[tuple[tuple[str, Shape], ...], _Buffers] = {}  # by the inputs' shapes, the last used last

    def __call__(self, inputs: Inputs, *, batch: int | None = None) -> list[Array]:
        """The outputs, in new arrays. Raises DeviceError for a plane that lies on another device.

        batch: how many images the buffers hold where that is more than there are, so that few shapes occur; what the
        network finds in the others means nothing. Beside planes, only planes are filled up; else every input is.
        """
        shapes = _buffer_shapes(inputs, batch)
        key = tuple(shapes.items())
        buffers = self._kept.pop(key, None) or self._new_buffers(inputs, shapes)
        self._kept[key] = buffers
        return buffers.run(inputs)

    def _new_buffers(self, inputs: Inputs, shapes: Mapping[str, Shape]) -> _Buffers:
        if len(self._kept) == _MOST_SHAPES:
            del self._kept[next(iter(self._kept))]
        dtypes = {
            name: np.dtype(np.uint8) if isinstance(value, PlaneBatch) else value.dtype for name, value in inputs.items()
        }
        return _Buffers(self._session, self._output_names, shapes, dtypes, self._device, self._copies, self._capture)


def _buffer_shapes(inputs: Inputs, batch: int | None) -> dict[str, Shape]:
    """The shapes of the inputs, filled up to a batch as `BoundRun` says."""
    if batch is None:
        return {name: value.shape for name, value in inputs.items()}
    has_planes = any(isinstance(value, PlaneBatch) for value in inputs.values())
    return {
        name: (batch, *value.shape[1:]) if isinstance(value, PlaneBatch) or not has_planes else value.shape
        for name, value in inputs.items()
    }


class _Buffers:
    """The buffers for inputs of certain shapes."""

    def __init__(
        self,
        session: Session,
        output_names: list[str],
        shapes: Mapping[str, Shape],
        dtypes: Mapping[str, ElementType],
        device: DeviceType,
        copies: Copies,
        capture: GraphCapture | None,
    ) -> None:
        self._session = session
        self._copies = copies
        self._output_names = output_names
        self._binding = session.io_binding()
        self._inputs = {name: _Input(shape, dtypes[name], device, copies) for name, shape in shapes.items()}
        for name, buffer in self._inputs.items():
            self._binding.bind_ortvalue_input(name, buffer.on_device)
        self._run_options = None if capture is None else capture.run_options()
        declared = {output.name: output for output in session.get_outputs()}
        self._dtypes = {name: _DTYPES[declared[name].type] for name in output_names if declared[name].type in _DTYPES}
        self._expected = fixed_shapes(
            {node.name: node.shape for node in session.get_inputs()},
            shapes,
            {name: declared[name].shape for name in output_names},
        )
        self._on_host: dict[str, Array] = {}  # outputs of known shape, in memory that copies are fast into
        self._on_device: dict[str, OnDevice] = {}  # outputs that stay there, because a graph is played without a copy
        if capture is not None:
            self._bind_outputs_on(device)

    @property
    def _has_all_dtypes(self) -> bool:
        """Whether numpy has the element type of every output."""
        return len(self._dtypes) == len(self._output_names)

    def _bind_outputs_on(self, device: DeviceType) -> None:
        if self._expected is None or not self._has_all_dtypes:
            raise DeviceError("engine.cuda_graph needs outputs of fixed shapes, which this model has not")
        for name, shape in self._expected.items():
            self._on_host[name] = self._copies.host_array(shape, self._dtypes[name])
            self._on_device[name] = _device_value(self._on_host[name], device)
            self._binding.bind_ortvalue_output(name, self._on_device[name])

    def run(self, inputs: Inputs) -> list[Array]:
        for name, value in inputs.items():
            self._inputs[name].write(value)
        self._copies.wait()
        if not self._on_host:
            return self._run_for_the_first_time()
        self._session.run_with_iobinding(self._binding, self._run_options)
        for name, output in self._on_device.items():
            self._copies.download(self._on_host[name], output.data_ptr())
        self._copies.wait()
        return [self._on_host[name].copy() for name in self._output_names]

    def _run_for_the_first_time(self) -> list[Array]:
        """Into memory of ONNX Runtime's choice; again each time where a file does not say, or not truly, how much."""
        for name in self._output_names:  # anew: a bound output of the last run would be written over
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding)
        values = list(self._binding.copy_outputs_to_cpu())
        shapes = {name: value.shape for name, value in zip(self._output_names, values, strict=True)}
        if shapes == self._expected and self._has_all_dtypes:
            for name, shape in shapes.items():
                array = self._on_host[name] = self._copies.host_array(shape, self._dtypes[name])
                self._binding.bind_output(name, "cpu", 0, self._dtypes[name], list(shape), array.ctypes.data)
        return values


class _Input:
    """One input's buffer on the device, and the host memory that it is filled from where it comes from there."""

    def __init__(self, shape: Shape, dtype: ElementType, device: DeviceType, copies: Copies) -> None:
        self._copies = copies
        self._on_host = copies.host_array(shape, dtype)
        self._is_written = False
        self.on_device = _device_value(self._on_host, device)
        self._address: int = self.on_device.data_ptr()

    def write(self, values: Array | PlaneBatch) -> None:
        if isinstance(values, PlaneBatch):
            self._write_planes(values)
            return
        part = self._on_host if values.shape == self._on_host.shape else self._on_host[: len(values)]
        if self._is_written and values.nbytes <= _SMALL_BYTES and np.array_equal(values, part):
            return
        np.copyto(part, values)
        self._copies.upload(self._address, part if self._is_written else self._on_host)
        self._is_written = True

    def _write_planes(self, batch: PlaneBatch) -> None:
        """Each plane to its place; those on the host through the host's buffer."""
        size, pitch = self._on_host[0].nbytes, self._on_host.shape[2]
        num_rows, num_bytes = batch.num_rows, batch.num_bytes
        for index, plane in enumerate(batch.planes):
            address = self._address + index * size
            if isinstance(plane, DevicePlane):
                self._copies.gather(address, plane, num_rows=num_rows, num_bytes=num_bytes, pitch=pitch)
            else:
                self._on_host[index, :, :num_bytes] = plane[0, :num_rows, :num_bytes]
                self._copies.upload(address, self._on_host[index])


def _device_value(on_host: Array, device: DeviceType) -> OnDevice:
    """An OrtValue of the same shape and type: on the host the same memory, elsewhere its own, not yet written."""
    values = load_runtime().OrtValue
    value: OnDevice = (
        values.ortvalue_from_numpy(on_host)
        if device == "cpu"
        else values.ortvalue_from_shape_and_type(list(on_host.shape), on_host.dtype.type, device, 0)
    )
    return value


def fixed_shapes(
    declared_inputs: Mapping[str, DeclaredShape],
    inputs: Mapping[str, Sequence[int]],
    declared_outputs: Mapping[str, DeclaredShape],
) -> dict[str, Shape] | None:
    """The outputs' shapes where they follow from the inputs' by the names of sides, such as `batch`; else None."""
    sides = {
        side_name: side
        for name, shape in inputs.items()
        for side_name, side in zip(declared_inputs.get(name, ()), shape, strict=False)
        if isinstance(side_name, str) and side_name
    }
    return _shapes_by_sides(declared_outputs, sides)


def _shapes_by_sides(outputs: Mapping[str, DeclaredShape], sides: Mapping[str, int]) -> dict[str, Shape] | None:
    """The shapes with a number for each named side; None where a side is not among them, or a shape is empty."""
    shapes: dict[str, Shape] = {}
    for name, declared in outputs.items():
        shape = tuple(side if isinstance(side, int) else sides.get(side or "", -1) for side in declared)
        if not shape or min(shape) < 0:
            return None
        shapes[name] = shape
    return shapes
