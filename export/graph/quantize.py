"""How does a float32 file become an INT8 one that is still right?

Static quantisation with QuantizeLinear and DequantizeLinear nodes, weights by channel (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877). What decodes boxes stays in float, because boxes and scores that share one scale lose
both; so do the layers that hurt most, as many as it takes to keep the accuracy within a bound.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.proof.images import ProofImage, images_hash
from export.proof.verify import ASKED_SHARE, Evidence, certificate
from pipeline.accuracy.coco import precision_against, precision_on_labels
from pipeline.accuracy.truth import LabelledData
from pipeline.detector.detector import Detector
from pipeline.detector.engine import OrtEngine
from pipeline.detector.onnx_file import copy_with_metadata, graph_hash
from pipeline.detector.providers import first_line
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.parity import FP16_BAR, compare

logger = logging.getLogger(__name__)

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What is quantised, so that values stay in INT8 from one convolution to the next. Not Sigmoid and its product: of a
# steep curve, 256 steps are not enough (https://github.com/microsoft/onnxruntime/issues/14233).
_QUANTISED = (*_WEIGHTED, "Add", "Clip", "Concat", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Relu", "Resize")
_LEAST_OPSET = 13
_NUM_BLOCKS = 16  # layers are left in float block by block
_NUM_PROBES = 8  # images on which the blocks are ranked
_MOST_CALIBRATION_IMAGES = 32

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Quantised:
    """An INT8 file, and what it cost."""

    path: Path
    spec: DetectorSpec
    evidence: Evidence
    num_layers: int
    kept_in_float: tuple[str, ...]  # layers, besides the decoding
    tail: tuple[str, ...]  # nodes after the last layers, which are never quantised


def quantise(
    model: Path,
    spec: DetectorSpec,
    output: Path,
    *,
    images: Sequence[ProofImage],
    labels: LabelledData | None,
    largest_drop: float,
    say: Say = logger.info,
) -> Quantised:
    """Write an INT8 file that loses at most `largest_drop` AP (0..1) on these images against the float32 file.

    Half of the images, at most 32, calibrate the ranges; all of them judge. AP is that of the labels, or, without any,
    that against what the float32 file is sure of. Raises ModelError, and writes no file, if even the fewest layers
    lose more, and for a model that is not float32.
    """
    if spec.dtype == "float16":
        raise ModelError(f"{model} must be float32, its input is float16")
    with tempfile.TemporaryDirectory(prefix="streamdet-quantise-") as folder:
        search = _Search(model, spec, Path(folder), images, labels, say)
        kept, trial, judged = search.least_in_float(largest_drop)
        evidence = search.evidence(judged, largest_drop)
        described = dataclasses.replace(
            spec,
            parity=certificate(evidence, against=f"{model.name} in float32", graph_sha256=graph_hash(trial)),
            provenance=(
                *spec.provenance,
                f"INT8: {len(search.layers) - len(kept)} of {len(search.layers)} layers, float32: the decoding"
                + (f" and {', '.join(kept)}" if kept else ""),
            ),
        )
        copy_with_metadata(trial, output, {METADATA_KEY: described.to_json()})
        return Quantised(output, described, evidence, len(search.layers), kept, tuple(sorted(search.tail)))


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a file found in all images, and how accurate that is."""

    found: list[Detections]
    ap: float
    ap50: float


class _Search:
    """Tries which layers may be INT8."""

    def __init__(
        self,
        model: Path,
        spec: DetectorSpec,
        folder: Path,
        images: Sequence[ProofImage],
        labels: LabelledData | None,
        say: Say,
    ) -> None:
        self._spec, self._folder, self._images, self._labels, self._say = spec, folder, images, labels, say
        if _has_half_weights(onnx.load(model, load_external_data=False)):
            raise ModelError(f"{model} must be float32, its layers are float16")
        prepared = folder / "prepared.onnx"
        quant_pre_process(_with_opset(model, folder), str(prepared), skip_symbolic_shape=True)
        self._graph = onnx.load(prepared)
        if any(node.op_type in ("QuantizeLinear", "ConvInteger", "MatMulInteger") for node in self._graph.graph.node):
            raise ModelError(f"{model} must be float32, it is quantised already")
        _name_all_nodes(self._graph)
        onnx.save(self._graph, prepared)
        self.tail = _tail_of(self._graph)
        self.layers = tuple(
            node.name
            for node in self._graph.graph.node
            if node.op_type in _WEIGHTED and node.name not in self.tail and _has_weights(node, self._graph)
        )
        if not self.layers:
            raise ModelError(f"{model} has no layer that could be quantised")
        self._writer = TensorWriter(spec)
        say(f"calibrating on {min(len(images) // 2, _MOST_CALIBRATION_IMAGES)} images")
        self._ranges = self._calibrated(prepared)
        self._reference = self._detect(model)
        self._original = self._judge(self._reference)

    def least_in_float(self, largest_drop: float) -> tuple[tuple[str, ...], Path, _Judged]:
        """The layers that must stay in float, the fewest blocks of them, and the file that has the others in INT8."""
        blocks = [tuple(map(str, each)) for each in np.array_split(self.layers, min(_NUM_BLOCKS, len(self.layers)))]
        tried: dict[int, tuple[tuple[str, ...], Path, _Judged]] = {}

        def attempt(num: int) -> bool:
            kept = tuple(layer for block in ranked[:num] for layer in block)
            path = self._quantised(set(self.layers) - set(kept), f"trial-{num}")
            judged = self._judge(self._detect(path))
            tried[num] = (tuple(each for each in self.layers if each in kept), path, judged)
            drop = self._original.ap - judged.ap
            share = f"{len(self.layers) - len(kept)} of {len(self.layers)} layers in INT8"
            self._say(f"{share}: AP {judged.ap:.4f} ({-drop:+.4f})")
            return drop <= largest_drop

        ranked: list[tuple[str, ...]] = []
        if attempt(0):
            return tried[0]
        self._say(f"ranking {len(blocks)} blocks of layers by what they cost")
        harm = {block: self._harm_of(block) for block in blocks}
        ranked += sorted(blocks, key=lambda block: -harm[block])
        # One by one: accuracy does not fall evenly with the number of layers, so that halving would miss the least.
        for num in range(1, len(blocks)):
            if attempt(num):
                return tried[num]
        judged_last = tried[max(tried)][2]
        best = max(judged.ap for _, _, judged in tried.values())
        raise ModelError(
            f"no file was written: even with {len(ranked[-1])} layers in INT8, AP falls from {self._original.ap:.4f} "
            f"to {judged_last.ap:.4f} (best: {best:.4f}), more than the {100 * largest_drop:g} points of --max-drop"
        )

    def evidence(self, judged: _Judged, largest_drop: float) -> Evidence:
        """What the file that was chosen came to."""
        parity = compare(judged.found, self._reference, FP16_BAR)
        original = self._original
        return Evidence(
            parity,
            FP16_BAR,
            len(self._images),
            images_hash(self._images),
            (1,),
            None if parity.worst_image is None else self._images[parity.worst_image].name,
            {
                "ap": round(judged.ap, 5),
                "ap50": round(judged.ap50, 5),
                "reference_ap": round(original.ap, 5),
                "reference_ap50": round(original.ap50, 5),
                "difference_ap": round(judged.ap - original.ap, 5),
            },
            largest_ap_drop=largest_drop,
        )

    def _calibrated(self, prepared: Path) -> Any:
        calibrator = create_calibrator(
            str(prepared),
            list(_QUANTISED),
            augmented_model_path=str(self._folder / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"symmetric": False},
        )
        calibrator.collect_data(
            _Reader(self._spec, self._tensors(min(len(self._images) // 2, _MOST_CALIBRATION_IMAGES)))
        )
        return calibrator.compute_data()

    def _quantised(self, layers: set[str], name: str) -> Path:
        """A file in which these layers, and what lies between them, are INT8."""
        nodes = []
        in_int8: set[str] = set()  # tensors that come out of INT8 layers, or of what passes them on
        for node in self._graph.graph.node:
            passes_on = node.op_type not in _WEIGHTED and any(each in in_int8 for each in node.input)
            if node.op_type in _QUANTISED and node.name not in self.tail and (node.name in layers or passes_on):
                nodes.append(node.name)
                in_int8.update(node.output)
        graph = onnx.ModelProto()
        graph.CopyFrom(self._graph)
        quantiser = QDQQuantizer(
            graph,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=nodes if layers else [],
            nodes_to_exclude=[],
            op_types_to_quantize=list(_QUANTISED),
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        quantiser.quantize_model()
        path = self._folder / f"{name}.onnx"
        quantiser.model.save_model_to_file(str(path), False)
        return path

    def _harm_of(self, block: tuple[str, ...]) -> float:
        """How much it costs, alone, to have a block in INT8: the mean change of the network's outputs."""
        rough = OrtEngine(self._quantised(set(block), "probe"), self._spec, device="cpu")
        plain = OrtEngine(self._folder / "prepared.onnx", self._spec, device="cpu")
        changes = []
        for tensor in self._tensors(_NUM_PROBES):
            ours, theirs = rough.infer(tensor), plain.infer(tensor)
            for output, values in theirs.items():
                if values.dtype.kind == "f" and ours[output].shape == values.shape:
                    wrong = np.linalg.norm((ours[output] - values).astype(np.float64))
                    changes.append(float(wrong / (np.linalg.norm(values.astype(np.float64)) + 1e-9)))
        return float(np.mean(changes)) if changes else 0.0

    def _tensors(self, num: int) -> Iterator[Any]:
        """The network's input for so many images, spread over all."""
        num = min(num, len(self._images))
        for place in range(num):
            image = self._images[place * len(self._images) // num]
            yield np.repeat(self._writer.tensor_of(image.picture)[1], self._spec.batch or 1, axis=0)

    def _detect(self, path: Path) -> list[Detections]:
        engine = OrtEngine(path, self._spec, device="cpu")
        whole_path = Detector(engine, score_threshold=FP16_BAR.score_from * ASKED_SHARE)
        return [whole_path([image.picture])[0] for image in self._images]

    def _judge(self, found: list[Detections]) -> _Judged:
        if self._labels is None:
            ap, ap50 = precision_against(found, self._reference, score_threshold=self._spec.score_threshold)
        else:
            names = [image.name for image in self._images]
            ap, ap50 = precision_on_labels(found, names, self._spec.class_names, self._labels)
        return _Judged(found, ap, ap50)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands tensors to the calibrator one by one."""

    def __init__(self, spec: DetectorSpec, tensors: Iterator[Any]) -> None:
        self._spec = spec
        self._tensors = tensors

    def get_next(self) -> dict[str, Any] | None:
        tensor = next(self._tensors, None)
        if tensor is None:
            return None
        extra = {
            each.name: np.tile(np.array(each.values, each.dtype), (len(tensor), 1)) for each in self._spec.extra_inputs
        }
        return {self._spec.input_name: tensor, **extra}


def _with_opset(path: Path, folder: Path) -> str:
    """The file, or a copy in the operator set from which on weights can be quantised by channel."""
    model = onnx.load(path)
    if all(each.version >= _LEAST_OPSET for each in model.opset_import if each.domain in ("", "ai.onnx")):
        return str(path)
    newer = folder / "newer.onnx"
    try:
        onnx.save(onnx.version_converter.convert_version(model, _LEAST_OPSET), newer)
    except Exception as error:  # the converter's errors have no common base
        raise ModelError(
            f"{path}: must be of operator set {_LEAST_OPSET} or newer, or be convertible to it: {first_line(error)}; "
            "export it again with a newer --opset"
        ) from error
    return str(newer)


def _name_all_nodes(model: onnx.ModelProto) -> None:
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)


def _has_weights(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    constants = {each.name for each in model.graph.initializer}
    return any(name in constants for name in node.input[:2])


def _has_half_weights(model: onnx.ModelProto) -> bool:
    halves = {each.name for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT16}
    return any(node.op_type in _WEIGHTED and halves & set(node.input) for node in model.graph.node)


def _tail_of(model: onnx.ModelProto) -> set[str]:
    """The nodes from which no layer with weights follows, but for these layers themselves: what decodes."""
    constants = {each.name for each in model.graph.initializer}
    leads_on: set[str] = set()  # tensors from which a layer can be reached
    tail: set[str] = set()
    for node in reversed(model.graph.node):
        is_layer = node.op_type in _WEIGHTED and any(name in constants for name in node.input[:2])
        if is_layer or any(name in leads_on for name in node.output):
            leads_on.update(node.input)
        else:
            tail.add(node.name)
    return tail
