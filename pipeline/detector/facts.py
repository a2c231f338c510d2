"""Facts: an ONNX file → its inputs, outputs and metadata, and the input that takes the image."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from pipeline.detector.installation import load_runtime
from pipeline.detector.metadata_names import class_names_of
from pipeline.detector.runtime_types import Declared, Session
from pipeline.errors import ModelError, first_line, reason_of
from pipeline.picture.detector_spec import ROIS_INPUT, InputType, Layout

_MOST_OUTPUTS = 3  # in an error
_LONGEST_NAME = 200  # of a file, in an error
_INPUT_TYPES: Mapping[str, InputType] = {"float": "float32", "float16": "float16", "uint8": "uint8"}


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output as the graph declares it; a dynamic side is None."""

    name: str
    shape: tuple[int | None, ...]
    element_type: str  # ONNX's word: float, float16, uint8, int64

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.element_type} [{sides}]"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The inputs, outputs and metadata of an ONNX file."""

    path: Path
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    metadata: Mapping[str, str]

    def __str__(self) -> str:
        return f"inputs: {'; '.join(map(str, self.inputs))}; {self.outputs_in_words}"

    @property
    def outputs_in_words(self) -> str:
        """The first outputs by name, type and shape, and how many more there are."""
        more = len(self.outputs) - _MOST_OUTPUTS
        shown = [*map(str, self.outputs[:_MOST_OUTPUTS]), *([f"{more} more"] if more > 0 else [])]
        return f"outputs: {'; '.join(shown)}"

    def names_of_exporter(self) -> tuple[str, ...] | None:
        """The class names in the metadata, or None where there are none that can be read."""
        return class_names_of(self.metadata)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input that takes the image."""

    name: str
    layout: Layout
    dtype: InputType
    batch: int | None  # None: any
    size_wh: tuple[int | None, int | None]  # None: any


def read_facts(path: str | Path) -> ModelFacts:
    """Read inputs, outputs and metadata. Raises ModelError for a missing file and for one that is not an ONNX model."""
    return facts_of(open_plainly(path), Path(path))


def model_path(path: object) -> Path:
    """The path of a model. Raises ModelError for what is not a path."""
    if not isinstance(path, str | PathLike):
        raise ModelError(f"a model must be the path of an ONNX file, got {type(path).__name__}")
    return Path(path)


def open_plainly(path: str | Path) -> Session:
    """A session that was not optimised, for a look. Raises ModelError as `read_facts`."""
    path = model_path(path)
    try:
        reason = None if path.is_file() else "is a folder" if path.is_dir() else "no such file"
    except OSError as error:
        reason = reason_of(error)
    if reason is not None:
        name = str(path) if len(str(path)) <= _LONGEST_NAME else f"{str(path)[:_LONGEST_NAME]}…"
        raise ModelError(f"{name}: {reason}; a model must be an ONNX file")
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session: Session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelError(
            f"{path} must be an ONNX model: {first_line(error)}; a PyTorch model is exported with streamdet export"
        ) from error
    return session


def facts_of(session: Session, path: Path) -> ModelFacts:
    """The facts of the file of an open session. Raises ModelError where its names or metadata are not UTF-8."""
    try:
        return ModelFacts(
            path,
            tuple(_tensor_facts(declared) for declared in session.get_inputs()),
            tuple(_tensor_facts(declared) for declared in session.get_outputs()),
            session.get_modelmeta().custom_metadata_map,
        )
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} must be an ONNX model, whose names and metadata are UTF-8: {error}") from error


def image_input(facts: ModelFacts) -> ImageInput:
    """The one input that can be an image. Raises ModelError where there is none, or several."""
    images = [image for image in map(_as_image, facts.inputs) if image is not None]
    if len(images) == 1:
        return images[0]
    raise ModelError(
        "a detector has one image among its inputs, [batch, 3, height, width] or [batch, height, width, 3] of "
        f"{', '.join(_INPUT_TYPES)}, with or without the batch; this file has {len(images)}"
    )


def _as_image(declared: TensorFacts) -> ImageInput | None:
    dtype = _INPUT_TYPES.get(declared.element_type)
    if dtype is None or len(declared.shape) not in (3, 4) or declared.name == ROIS_INPUT:
        return None
    batched = len(declared.shape) == 4
    batch, first, second, third = declared.shape if batched else (1, *declared.shape)
    layout: Layout
    if third == 3 and first != 3:
        layout = "nhwc" if batched else "hwc"
        return ImageInput(declared.name, layout, dtype, batch, (second, first))
    if first == 3 or (first is None and dtype != "uint8"):
        layout = "nchw" if batched else "chw"
        return ImageInput(declared.name, layout, dtype, batch, (third, second))
    return None


def literal(text: str) -> object:
    """The Python literal in a text, or None."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _tensor_facts(declared: Declared) -> TensorFacts:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in declared.shape)
    return TensorFacts(declared.name, shape, declared.type.removeprefix("tensor(").removesuffix(")"))
