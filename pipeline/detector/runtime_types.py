"""Runtime types: ONNX Runtime, which has no types of its own → the part of its interface that is used here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
"""A tensor on the host: its element type is the file's, so known only when it runs."""
ElementType = np.dtype[Any]


class Declared(Protocol):
    """An input or output as the graph declares it: `onnxruntime.NodeArg`."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Sequence[int | str | None]: ...  # a dynamic side is a name, or nothing
    @property
    def type(self) -> str: ...  # tensor(float)


class ModelMetadata(Protocol):
    """`onnxruntime.ModelMetadata`."""

    @property
    def custom_metadata_map(self) -> Mapping[str, str]: ...


class OnDevice(Protocol):
    """A tensor wherever it lies: `onnxruntime.OrtValue`."""

    def data_ptr(self) -> int: ...


class Binding(Protocol):
    """The buffers of a run: `onnxruntime.IOBinding`."""

    def bind_ortvalue_input(self, name: str, ortvalue: OnDevice) -> None: ...
    def bind_ortvalue_output(self, name: str, ortvalue: OnDevice) -> None: ...
    def bind_output(
        self,
        name: str,
        device_type: str = ...,
        device_id: int = ...,
        element_type: npt.DTypeLike = ...,
        shape: list[int] | None = ...,
        buffer_ptr: int | None = ...,
    ) -> None: ...
    def copy_outputs_to_cpu(self) -> list[Array]: ...


class RunOptions(Protocol):
    """`onnxruntime.RunOptions`."""

    def add_run_config_entry(self, key: str, value: str) -> None: ...
    def get_run_config_entry(self, key: str) -> str: ...


class AssignedNode(Protocol):
    """A node of the graph that was given to a provider."""

    @property
    def op_type(self) -> str: ...


class AssignedPart(Protocol):
    """A part of the graph, and the provider that it was given to."""

    @property
    def ep_name(self) -> str: ...
    def get_nodes(self) -> Iterable[AssignedNode]: ...


class Session(Protocol):
    """A network that can be run: `onnxruntime.InferenceSession`."""

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Array]) -> Sequence[Array]: ...
    def run_with_iobinding(self, iobinding: Binding, run_options: RunOptions | None = ...) -> None: ...
    def io_binding(self) -> Binding: ...
    def get_inputs(self) -> Sequence[Declared]: ...
    def get_outputs(self) -> Sequence[Declared]: ...
    def get_modelmeta(self) -> ModelMetadata: ...
    def get_providers(self) -> Sequence[str]: ...
    def get_provider_graph_assignment_info(self) -> Iterable[AssignedPart]: ...
    def disable_fallback(self) -> None: ...


class SessionOptions(Protocol):
    """`onnxruntime.SessionOptions`."""

    log_severity_level: int
    intra_op_num_threads: int

    def add_session_config_entry(self, key: str, value: str) -> None: ...
    def add_provider_for_devices(self, ep_devices: Sequence[ProviderDevice], options: Mapping[str, str]) -> None: ...


class ProviderDevice(Protocol):
    """A device that a plugin offers: `onnxruntime.OrtEpDevice`."""

    @property
    def ep_name(self) -> str: ...
