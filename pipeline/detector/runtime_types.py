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
    def name(self) -> str:
        """As the graph has it."""

    @property
    def shape(self) -> Sequence[int | str | None]:
        """A dynamic side is a name, or None."""

    @property
    def type(self) -> str:
        """In ONNX Runtime's words: tensor(float)."""


class ModelMetadata(Protocol):
    """`onnxruntime.ModelMetadata`."""

    @property
    def custom_metadata_map(self) -> Mapping[str, str]:
        """What the file says of itself, by key."""


class OnDevice(Protocol):
    """A tensor wherever it lies: `onnxruntime.OrtValue`."""

    def data_ptr(self) -> int:
        """The address of its memory."""


class Binding(Protocol):
    """The buffers of a run: `onnxruntime.IOBinding`."""

    def bind_ortvalue_input(self, name: str, ortvalue: OnDevice) -> None:
        """Read an input from there."""

    def bind_ortvalue_output(self, name: str, ortvalue: OnDevice) -> None:
        """Write an output there."""

    def bind_output(
        self,
        name: str,
        device_type: str = ...,
        device_id: int = ...,
        element_type: npt.DTypeLike = ...,
        shape: list[int] | None = ...,
        buffer_ptr: int | None = ...,
    ) -> None:
        """Write an output into memory of ONNX Runtime's choice, or of a shape, at an address."""

    def copy_outputs_to_cpu(self) -> list[Array]:
        """The outputs of the last run, on the host."""


class RunOptions(Protocol):
    """`onnxruntime.RunOptions`."""

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Set an option."""

    def get_run_config_entry(self, key: str) -> str:
        """The value of an option."""


class AssignedNode(Protocol):
    """A node of the graph that was given to a provider."""

    @property
    def op_type(self) -> str:
        """The operator: Conv."""


class AssignedPart(Protocol):
    """A part of the graph, and the provider that it was given to."""

    @property
    def ep_name(self) -> str:
        """The name of the provider."""

    def get_nodes(self) -> Iterable[AssignedNode]:
        """The nodes of the part."""


class Session(Protocol):
    """A network that can be run: `onnxruntime.InferenceSession`."""

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Array]) -> Sequence[Array]:
        """The outputs by name, all of them for None, in their order."""

    def run_with_iobinding(self, iobinding: Binding, run_options: RunOptions | None = ...) -> None:
        """Run with bound inputs and outputs."""

    def io_binding(self) -> Binding:
        """A new binding."""

    def get_inputs(self) -> Sequence[Declared]:
        """In the order of the graph."""

    def get_outputs(self) -> Sequence[Declared]:
        """In the order of the graph."""

    def get_modelmeta(self) -> ModelMetadata:
        """The metadata of the file."""

    def get_providers(self) -> Sequence[str]:
        """The providers that it runs on, the first choice first."""

    def get_provider_graph_assignment_info(self) -> Iterable[AssignedPart]:
        """Which provider runs which nodes."""

    def disable_fallback(self) -> None:
        """Fail instead of going on with another provider."""


class SessionOptions(Protocol):
    """`onnxruntime.SessionOptions`."""

    log_severity_level: int
    intra_op_num_threads: int

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Set an option."""

    def add_provider_for_devices(self, ep_devices: Sequence[ProviderDevice], options: Mapping[str, str]) -> None:
        """Run on devices of a plugin."""


class ProviderDevice(Protocol):
    """A device that a plugin offers: `onnxruntime.OrtEpDevice`."""

    @property
    def ep_name(self) -> str:
        """The name of the provider."""
