"""Classifier: crops of pictures → the score of each class, by an ONNX file of logits or probabilities [N, classes].

A file is read by its declared shapes, its metadata, and a run on noise; what remains in
doubt is asked for, never guessed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.detector.engine import OrtEngine
from pipeline.detector.facts import ImageInput, ModelFacts, TensorFacts, image_input, literal, read_facts
from pipeline.detector.heads.activation import activated
from pipeline.detector.heads.recipes import IMAGENET_MEAN, IMAGENET_STD
from pipeline.detector.runtime_types import Array
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError, OutputError, first_line
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec, ScoreActivation
from pipeline.picture.frame import ArrayPicture, ColourOrder, PixelArray
from pipeline.picture.letterbox import ResizeMode

logger = logging.getLogger(__name__)

_USUAL_SIDE = 224  # pixels, of networks for ImageNet
_SUM_TOLERANCE = 0.01  # of probabilities in fp16 or int8
_KEYS_OF_NORMALISATION = (("mean", "std"), ("image_mean", "image_std"))  # timm's words, and transformers'

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ClassifierHints:
    """What a user says about a classifier; None: as its file says. mean, std: in 0..255, in the order of `colour`."""

    network_wh: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    colour: ColourOrder | None = None
    resize: ResizeMode | None = None
    class_names: tuple[str, ...] | None = None
    scores: ScoreActivation | None = None


class Classifier:
    """A network that names what a crop shows. May be called from several threads at once.

    spec: how crops are prepared, and the classes. output: the one that has the scores. most_at_once: crops that run
    together where the network takes any number.
    """

    def __init__(self, engine: OrtEngine, spec: DetectorSpec, output: str, *, most_at_once: int = 32) -> None:
        self._engine, self._output = engine, output
        self._writer = TensorWriter(spec)
        self._size = spec.batch or most_at_once
        self.spec = spec

    def scores_of(self, crops: Sequence[PixelArray]) -> FloatArray:
        """The score of each class, float32 [N, classes], of crops uint8 [h, w, 3] BGR; N may be 0.

        Raises OutputError for scores that are NaN or infinite.
        """
        if not crops:
            return np.zeros((0, len(self.spec.class_names)), np.float32)
        tensors = [self._writer.tensor_of(ArrayPicture(crop))[1] for crop in crops]
        parts = [self._run(tensors[start : start + self._size]) for start in range(0, len(crops), self._size)]
        scores = activated(np.concatenate(parts), self.spec.score_activation)
        return np.asarray(np.clip(scores, 0, 1), np.float32)

    def _run(self, tensors: Sequence[Array]) -> FloatArray:
        num_missing = (self.spec.batch or len(tensors)) - len(tensors)
        batch = np.concatenate([*tensors, *[tensors[-1]] * num_missing])
        values = _rows(self._engine.infer(batch)[self._output], len(batch), self._engine.path)[: len(tensors)]
        if not np.isfinite(values).all():
            raise OutputError(f"{self._engine.path}: the scores of a class must be numbers, got NaN or infinity")
        return values

    def close(self) -> None:
        """Let go of the network. May be called more than once."""
        self._engine.close()


def open_classifier(path: Path, hints: ClassifierHints, *, threads: int | None = None) -> Classifier:
    """The classifier in a file, on the CPU. threads: of one run; None: one a core.

    Raises ModelError for a file that is not a classifier, and for one whose scores or classes stay in doubt.
    """
    facts = read_facts(path)
    output = _output_of(facts)
    spec = _input_spec(facts, hints)
    engine = OrtEngine(path, spec, device="cpu", intra_op_threads=threads)
    try:
        values = _trial(engine, spec, output)
        names = _class_names(facts, hints, values.shape[1])
        activation = hints.scores or _activation(values, path)
    except BaseException:
        engine.close()
        raise
    spec = replace(spec, class_names=names, score_activation=activation)
    logger.info("%s: a classifier of %d classes, scores: %s", path, len(names), activation)
    return Classifier(engine, spec, output)


def _output_of(facts: ModelFacts) -> str:
    """The output that has a row of scores for each picture. Raises ModelError for a file of another kind."""
    task = facts.metadata.get("task", "classify").strip().lower()
    rows = [output for output in facts.outputs if len(_shape_of(output)) == 2]
    if METADATA_KEY in facts.metadata or len(rows) != len(facts.outputs) or task not in ("classify", ""):
        raise _not_a_classifier(facts.path, facts.outputs_in_words)
    if len(rows) > 1:
        raise ModelError(f"{facts.path}: a classifier must have one output [N, classes], it has {len(rows)}: {facts}")
    return rows[0].name


def _shape_of(output: TensorFacts) -> tuple[int | None, ...]:
    """The declared shape without the sides of 1 behind the classes, as a pooling leaves them."""
    shape = output.shape
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _not_a_classifier(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path}: --then needs a classifier, whose one output is [N, classes]; this looks like a detector or another "
        f"kind of model ({reason}); a detector is run with --model"
    )


def _input_spec(facts: ModelFacts, hints: ClassifierHints) -> DetectorSpec:
    """How crops are prepared; the classes are not known yet."""
    image = image_input(facts)
    if len(facts.inputs) > 1:
        raise ModelError(f"{facts.path}: a classifier must have one input, the picture, it has {facts}")
    colour = hints.colour or "rgb"
    mean, std = _normalisation(facts, image, hints, colour)
    return DetectorSpec(
        input_name=image.name,
        network_wh=_network_wh(facts, image, hints),
        head="classes",
        class_names=("?",),
        layout=image.layout,
        dtype=image.dtype,
        batch=image.batch,
        resize=hints.resize or "stretch",
        colour=colour,
        mean=mean,
        std=std,
        model_name=facts.path.stem,
    )


def _network_wh(facts: ModelFacts, image: ImageInput, hints: ClassifierHints) -> tuple[int, int]:
    """The size that the file fixes, the user names, the metadata has, or that networks for ImageNet usually have."""
    width, height = image.size_wh
    wished = hints.network_wh
    if width is not None and height is not None:
        if wished not in (None, (width, height)):
            raise ModelError(
                f"{facts.path}: then.size must be {width}x{height}, which is fixed in the file; leave it out"
            )
        return width, height
    if wished is None:
        wished = _size_in(facts.metadata) or (_USUAL_SIDE, _USUAL_SIDE)
    return width or wished[0], height or wished[1]


def _size_in(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Width and height of `imgsz`, [height, width], as Ultralytics writes it."""
    value = literal(metadata.get("imgsz", ""))
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, list | tuple) or len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides):
        return None
    return sides[1], sides[0]


def _normalisation(
    facts: ModelFacts, image: ImageInput, hints: ClassifierHints, colour: ColourOrder
) -> tuple[Triple, Triple]:
    """Mean and std in 0..255, in the order of `colour`: the user's, the file's, or ImageNet's."""
    if hints.mean is not None and hints.std is not None:
        return hints.mean, hints.std
    if image.dtype == "uint8":  # which takes pixels as they are
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    of_file = _normalisation_in(facts.metadata)
    if of_file is not None:
        return of_file
    logger.warning(
        "%s does not say how its pixels are normalised; ImageNet's mean and std are assumed, else set then.mean and "
        "then.std",
        facts.path,
    )
    return (IMAGENET_MEAN, IMAGENET_STD) if colour == "rgb" else (_turned(IMAGENET_MEAN), _turned(IMAGENET_STD))


def _turned(triple: Triple) -> Triple:
    return triple[2], triple[1], triple[0]


def _normalisation_in(metadata: Mapping[str, str]) -> tuple[Triple, Triple] | None:
    """Mean and std in the metadata, in 0..255; None where there are none that can be read.

    Ultralytics' classifiers, which have a task and no mean, take pixels in 0..1.
    """
    for mean_key, std_key in _KEYS_OF_NORMALISATION:
        mean, std = (_triple(literal(metadata.get(key, ""))) for key in (mean_key, std_key))
        if mean is not None and std is not None and min(std) > 0:
            unit = 255.0 if max(std) <= 1 else 1.0  # both libraries write them for pixels in 0..1
            return _scaled(mean, unit), _scaled(std, unit)
    if metadata.get("task", "").strip().lower() == "classify":
        return (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)
    return None


def _triple(value: object) -> Triple | None:
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(isinstance(v, int | float) for v in value):
        return None
    return float(value[0]), float(value[1]), float(value[2])


def _scaled(triple: Triple, unit: float) -> Triple:
    return triple[0] * unit, triple[1] * unit, triple[2] * unit


def _trial(engine: OrtEngine, spec: DetectorSpec, output: str) -> FloatArray:
    """The raw values [N, classes] for pictures of noise. Raises ModelError for another kind of output."""
    random, (width, height) = np.random.default_rng(0), spec.network_wh
    num = spec.batch or 2
    noise = [random.integers(0, 256, (height, width, 3), np.uint8) for _ in range(num)]
    writer = TensorWriter(spec)
    try:
        answers = engine.infer(np.concatenate([writer.tensor_of(ArrayPicture(pixels))[1] for pixels in noise]))
    except ModelError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelError(
            f"{engine.path} must run on {num} pictures of {width}x{height}: {first_line(error)}; set then.size "
            "if it takes another size"
        ) from error
    values = _rows(answers[output], num, engine.path)
    if not np.isfinite(values).all():
        raise ModelError(f"{engine.path}: the scores of a class must be numbers, got NaN or infinity for noise")
    return values


def _rows(values: Array, num: int, path: Path) -> FloatArray:
    """An output as float32 [N, classes]. Raises ModelError where it is not a row of each of `num` pictures."""
    rows = values.reshape(1, -1) if values.ndim == 1 and num == 1 else values
    if rows.ndim < 2 or rows.shape[0] != num or rows.size != num * rows.shape[1] or not rows.size:
        raise _not_a_classifier(path, f"{num} pictures gave {list(values.shape)}")
    return np.asarray(rows, np.float32).reshape(num, -1)


def _class_names(facts: ModelFacts, hints: ClassifierHints, num: int) -> tuple[str, ...]:
    """As many names as there are classes: the user's, the file's, or numbers."""
    if hints.class_names is not None and len(hints.class_names) != num:
        raise ModelError(
            f"{facts.path}: then.class_names must name its {num} classes, got {len(hints.class_names)} names"
        )
    names = hints.class_names or facts.names_of_exporter()
    if names is not None and len(names) != num:
        logger.warning("%s names %d classes and has %d; they are numbered", facts.path, len(names), num)
        names = None
    return names or tuple(f"class {class_id}" for class_id in range(num))


def _activation(values: FloatArray, path: Path) -> ScoreActivation:
    """What raw values [N, classes] still need: nothing if they are probabilities, softmax if they can be none."""
    if values.shape[1] == 1:
        raise ModelError(f"{path} has one class; set then.scores=sigmoid for logits, or none for a score in 0..1")
    is_share = values.min() >= 0 and values.max() <= 1
    if is_share and np.abs(values.sum(axis=1) - 1).max() <= _SUM_TOLERANCE:
        return "none"
    if is_share:
        raise ModelError(
            f"{path}: the scores of noise lie in 0..1 and do not add up to 1; set then.scores=none if they are scores "
            "already, or softmax or sigmoid if they are logits"
        )
    return "softmax"
