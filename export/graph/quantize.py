"""Quantize: a float32 file → an INT8 file whose accuracy stays within a bound.

Static quantization with QuantizeLinear and DequantizeLinear nodes, weights by channel (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877). The decoding of boxes stays in float, because boxes and scores that share one scale
lose their precision; so do the layers that cost the most accuracy, as few as the bound allows.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from export.graph.float_graph import WEIGHTED, has_weights, prepare, tail_of
from export.proof.images import ProofImage, images_hash
from export.proof.verify import ASKED_SHARE, Evidence, accuracy_of, certificate, no_report
from pipeline.accuracy.coco import precision_against, precision_on_labels
from pipeline.accuracy.truth import LabelledData
from pipeline.detector.detector import EngineDetector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.onnx_file import copy_with_metadata, graph_hash
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.parity import FP16_BAR, compare

logger = logging.getLogger(__name__)

# These are quantized, so that values stay in INT8 from one convolution to the next. Not Sigmoid and its product: 256
# steps are not enough for a steep curve (https://github.com/microsoft/onnxruntime/issues/14233).
_QUANTIZED = (*WEIGHTED, "Add", "Clip", "Concat", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Relu", "Resize")
_NUM_BLOCKS = 16  # layers are left in float block by block
_NUM_PROBES = 8  # images on which the blocks are ranked
_MOST_CALIBRATION_IMAGES = 32


@dataclass(frozen=True, slots=True)
class Quantized:
    """An INT8 file and its cost."""

    path: Path
    spec: DetectorSpec
    evidence: Evidence
    num_layers: int
    kept_in_float: tuple[str, ...]  # layers, besides the decoding
    tail: tuple[str, ...]  # the nodes after the last layers, never quantized


def quantize(
    model: Path,
    spec: DetectorSpec,
    output: Path,
    *,
    images: Sequence[ProofImage],
    labels: LabelledData | None,
    largest_drop: float,
    say: Callable[[str], None] = logger.info,
    on_step: Callable[[int, int], None] = no_report,
) -> Quantized:
    """Write an INT8 file that loses at most `largest_drop` AP (0..1) on these images against the float32 file.

    Half of the images, at most 32, calibrate the ranges; all of them measure AP: against the labels or, without any,
    against the confident detections of the float32 file. Raises ModelError, and writes no file, if every choice of
    layers loses more and for a model that is not float32. on_step: is called with how many steps are done, and how many
    there are at most.
    """
    if spec.dtype == "float16":
        raise ModelError(f"{model} must be float32, its input is float16")
    if spec.num_rois:
        raise ModelError(f"{model} must take pixels alone, it takes proposals as well, which calibration does not make")
    with tempfile.TemporaryDirectory(prefix="streamdet-quantize-") as folder:
        search = _Search(model, spec, Path(folder), images, labels, say, on_step)
        trial = search.least_in_float(largest_drop)
        kept, evidence = trial.kept_in_float, search.evidence(trial.judged, largest_drop)
        described = dataclasses.replace(
            spec,
            parity=certificate(evidence, against=f"{model.name} in float32", graph_sha256=graph_hash(trial.path)),
            provenance=(
                *spec.provenance,
                f"INT8: {len(search.layers) - len(kept)} of {len(search.layers)} layers, float32: the decoding"
                + (f" and {', '.join(kept)}" if kept else ""),
            ),
        )
        copy_with_metadata(trial.path, output, {METADATA_KEY: described.to_json()})
        return Quantized(output, described, evidence, len(search.layers), kept, tuple(sorted(search.tail)))


@dataclass(frozen=True, slots=True)
class _Judged:
    """The detections of a file in all images, and their accuracy."""

    detections: list[Detections]
    ap: float
    ap50: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """A file in which all layers but these are INT8."""

    kept_in_float: tuple[str, ...]
    path: Path
    judged: _Judged


class _Search:
    """Trials of which layers may be INT8."""

    def __init__(
        self,
        model: Path,
        spec: DetectorSpec,
        folder: Path,
        images: Sequence[ProofImage],
        labels: LabelledData | None,
        say: Callable[[str], None],
        on_step: Callable[[int, int], None],
    ) -> None:
        self._on_step, self._num_steps = on_step, 0
        self._spec, self._folder, self._images, self._labels, self._say = spec, folder, images, labels, say
        prepared = folder / "prepared.onnx"
        self._graph = prepare(model, prepared)
        self.tail = tail_of(self._graph)
        self.layers = tuple(
            node.name
            for node in self._graph.graph.node
            if has_weights(node, self._graph) and node.name not in self.tail
        )
        if not self.layers:
            raise ModelError(f"{model} has no layer that can be quantized")
        self._writer = TensorWriter(spec)
        say(f"calibrating on {min(len(images) // 2, _MOST_CALIBRATION_IMAGES)} images")
        self._ranges = self._calibrated(prepared)
        self._reference = self._detect(model)
        self._original = self._judge(self._reference)
        self._step()

    def least_in_float(self, largest_drop: float) -> _Trial:
        """The trial with the fewest blocks of layers in float that loses at most `largest_drop` AP.

        Raises ModelError if none does.
        """
        trials = [self._attempt((), "trial-0")]
        if self._drop_of(trials[0]) <= largest_drop:
            return trials[0]
        ranked = self._ranked_blocks()
        # One by one: accuracy does not fall evenly with the number of layers, so that halving would miss the least.
        for num in range(1, len(ranked)):
            trial = self._attempt([layer for block in ranked[:num] for layer in block], f"trial-{num}")
            if self._drop_of(trial) <= largest_drop:
                return trial
            trials.append(trial)
        best = max(trial.judged.ap for trial in trials)
        raise ModelError(
            f"no file was written: even with {len(ranked[-1])} layers in INT8, AP falls from {self._original.ap:.4f} "
            f"to {trials[-1].judged.ap:.4f} (best: {best:.4f}), by more than the {100 * largest_drop:g} points of "
            "--max-drop"
        )

    def _attempt(self, kept: Sequence[str], name: str) -> _Trial:
        path = self._quantized(set(self.layers) - set(kept), name)
        trial = _Trial(tuple(layer for layer in self.layers if layer in kept), path, self._judge(self._detect(path)))
        self._step()
        share = f"{len(self.layers) - len(kept)} of {len(self.layers)} layers in INT8"
        self._say(f"{share}: AP {trial.judged.ap:.4f} ({-self._drop_of(trial):+.4f})")
        return trial

    def _drop_of(self, trial: _Trial) -> float:
        """The AP that a trial loses against the float32 file, 0 to 1; below 0 if it gains some."""
        return self._original.ap - trial.judged.ap

    def _ranked_blocks(self) -> list[tuple[str, ...]]:
        """The layers in blocks of neighbours, the block whose quantization costs most first."""
        blocks = [tuple(map(str, block)) for block in np.array_split(self.layers, self._num_blocks)]
        self._say(f"ranking {len(blocks)} blocks of layers by their cost")
        cost = {block: self._cost_of(block) for block in blocks}
        return sorted(blocks, key=lambda block: -cost[block])

    @property
    def _num_blocks(self) -> int:
        return min(_NUM_BLOCKS, len(self.layers))

    def _step(self) -> None:
        """The original is judged, a trial too, or a block's cost is known."""
        self._num_steps += 1
        self._on_step(self._num_steps, 1 + self._num_blocks + self._num_blocks)  # as many trials as blocks at most

    def evidence(self, judged: _Judged, largest_drop: float) -> Evidence:
        """The comparison of the chosen file with the original."""
        parity = compare(judged.detections, self._reference, FP16_BAR)
        original = self._original
        return Evidence(
            parity,
            FP16_BAR,
            len(self._images),
            images_hash(self._images),
            (1,),
            None if parity.worst_image is None else self._images[parity.worst_image].name,
            accuracy_of((judged.ap, judged.ap50), (original.ap, original.ap50)),
            largest_ap_drop=largest_drop,
        )

    def _calibrated(self, prepared: Path) -> TensorsData:
        calibrator = create_calibrator(
            str(prepared),
            list(_QUANTIZED),
            augmented_model_path=str(self._folder / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"symmetric": False},
        )
        calibrator.collect_data(
            _Reader(self._spec, self._tensors(min(len(self._images) // 2, _MOST_CALIBRATION_IMAGES)))
        )
        return calibrator.compute_data()

    def _quantized(self, layers: set[str], name: str) -> Path:
        """A file in which these layers and the nodes between them are INT8."""
        graph = onnx.ModelProto()
        graph.CopyFrom(self._graph)
        quantizer = QDQQuantizer(
            graph,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=self._nodes_between(layers) if layers else [],
            nodes_to_exclude=[],
            op_types_to_quantize=list(_QUANTIZED),
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        quantizer.quantize_model()
        path = self._folder / f"{name}.onnx"
        quantizer.model.save_model_to_file(str(path), False)
        return path

    def _nodes_between(self, layers: set[str]) -> list[str]:
        """The names of these layers and of the nodes that pass their outputs on."""
        names: list[str] = []
        in_int8: set[str] = set()  # outputs of these nodes
        for node in self._graph.graph.node:
            passes_on = node.op_type not in WEIGHTED and any(name in in_int8 for name in node.input)
            if node.op_type in _QUANTIZED and node.name not in self.tail and (node.name in layers or passes_on):
                names.append(node.name)
                in_int8.update(node.output)
        return names

    def _cost_of(self, block: tuple[str, ...]) -> float:
        """The cost of one block in INT8, the others in float: the mean relative change of the network's outputs."""
        rough = OrtEngine(self._quantized(set(block), "probe"), self._spec, device="cpu")
        plain = OrtEngine(self._folder / "prepared.onnx", self._spec, device="cpu")
        changes = []
        for tensor in self._tensors(_NUM_PROBES):
            ours, theirs = rough.infer(tensor), plain.infer(tensor)
            for output, values in theirs.items():
                if values.dtype.kind == "f" and ours[output].shape == values.shape:
                    change = np.linalg.norm((ours[output] - values).astype(np.float64))
                    changes.append(float(change / (np.linalg.norm(values.astype(np.float64)) + 1e-9)))
        self._step()
        return float(np.mean(changes)) if changes else 0.0

    def _tensors(self, num: int) -> Iterator[npt.NDArray[np.generic]]:
        """The network's input for `num` images, spread evenly over all."""
        num = min(num, len(self._images))
        for index in range(num):
            image = self._images[index * len(self._images) // num]
            yield np.repeat(self._writer.tensor_of(image.picture)[1], self._spec.batch or 1, axis=0)

    def _detect(self, path: Path) -> list[Detections]:
        engine = OrtEngine(path, self._spec, device="cpu")
        detector = EngineDetector(engine, score_threshold=FP16_BAR.score_from * ASKED_SHARE)
        return [detector([image.picture])[0] for image in self._images]

    def _judge(self, detections: list[Detections]) -> _Judged:
        if self._labels is None:
            ap, ap50 = precision_against(detections, self._reference, score_threshold=self._spec.score_threshold)
        else:
            names = [image.name for image in self._images]
            ap, ap50 = precision_on_labels(detections, names, self._spec.class_names, self._labels)
        return _Judged(detections, ap, ap50)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands tensors to the calibrator one by one."""

    def __init__(self, spec: DetectorSpec, tensors: Iterator[npt.NDArray[np.generic]]) -> None:
        self._spec = spec
        self._tensors = tensors

    def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
        tensor = next(self._tensors, None)
        if tensor is None:
            return None
        return {self._spec.input_name: tensor, **self._spec.extra_feed(len(tensor))}
