"""ONNX activation: an ONNX file, a picture and an object → Grad-CAM or CAM, without gradients.

ONNX Runtime has none, and none is needed: the mean of the gradient over a channel (equation 1 of Grad-CAM) is how much
the score changes when the same is added to all cells of the channel. So what comes behind the map runs twice for each
channel, with a little more and a little less in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export.activation.heat import Activation, Method, log_odds, maps_of_picture, refuse_layers, row_of_object
from export.activation.onnx_graph import behind, feature_maps, part_of, scored_maps
from pipeline.detector.heads import HEADS
from pipeline.detector.installation import load_runtime
from pipeline.detector.proposals import propose
from pipeline.detector.runtime_types import Array
from pipeline.detector.tensor import TensorWriter
from pipeline.errors import ModelError
from pipeline.picture.boxes import FloatArray
from pipeline.picture.candidates import Candidates
from pipeline.picture.detector_spec import ROIS_INPUT, DetectorSpec
from pipeline.picture.frame import ArrayPicture, PixelArray

# Of the root mean square of the map, to begin with: above the rounding of a score, and little to a ReLU behind the map.
# What is behind the map of CAM is linear.
_STEPS: Mapping[Method, float] = {"gradcam": 0.03, "cam": 0.3}
_MOST_DIFFERENCE = 1.0  # in log odds; a score near 1 has no digits left to say more
_TRIAL_STEP = 0.03  # of a trial whether a map counts at all
_LEAST_EFFECT = 1e-6  # of the trial, in log odds
_LEAST_SCORE = 0.005


def onnx_activation(
    path: Path,
    spec: DetectorSpec,
    pixels: PixelArray,
    box_xyxy: FloatArray,
    class_id: int,
    *,
    method: Method = "gradcam",
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Activation:
    """The activation that explains an object, of box [4] in pixels of the picture uint8 [H, W, 3] BGR.

    on_step: is called with the channels that are done, and all. Raises ModelError for a file without a feature map of
    the picture, for quantised and float16 ones, whose steps are too coarse, and for one that resizes pictures itself.
    """
    behind_map = _chosen(_Network(path, spec, pixels, box_xyxy, class_id), method)
    maps = behind_map.maps
    step = _STEPS[method] * behind_map.size
    weights = np.zeros(len(maps), np.float32)
    for channel in range(len(maps)):
        if maps[channel].any():  # adds nothing to the heat otherwise
            direction = np.zeros(len(maps), np.float32)
            direction[channel] = 1
            weights[channel] = behind_map.slope(direction, step) / maps[channel].size
        on_step(channel + 1, len(maps))
    return Activation(behind_map.layer, maps, weights)


class _Network:
    """One file on one picture."""

    def __init__(self, path: Path, spec: DetectorSpec, pixels: PixelArray, box_xyxy: FloatArray, class_id: int) -> None:
        if spec.resize == "in-graph" or spec.pixels == "nv12":
            raise ModelError(f"{path} must take pictures of the network's size; export it with --form boxes")
        self.path, self.spec, self.class_id = path, spec, class_id
        self.model = onnx.load(str(path))
        if any("Quant" in node.op_type or "Integer" in node.op_type for node in self.model.graph.node):
            raise ModelError(f"{path} is quantised, in steps that are coarser than a gradient; explain it in float32")
        letterbox, tensor = TensorWriter(spec).tensor_of(ArrayPicture(pixels))
        self._box_xyxy = letterbox.boxes_to_network(box_xyxy[None])[0]
        self._threshold = _LEAST_SCORE
        batch = tensor if spec.batch is None else np.repeat(tensor, spec.batch, axis=0)
        self.feed = {spec.input_name: batch if spec.takes_batch else tensor[0], **spec.extra_feed(len(batch))}
        if spec.num_rois:
            self.feed[ROIS_INPUT] = propose(tensor, letterbox, spec)
        self.output_names = [output.name for output in self.model.graph.output]
        self._follow_one_candidate()

    def values(self, names: Sequence[str]) -> dict[str, Array]:
        """Tensors of the graph by name."""
        computed = [name for name in dict.fromkeys(names) if name not in self.feed]
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed if name not in self.output_names)
        outputs = _session(model).run(computed, self.feed) if computed else []
        return {**dict(zip(computed, outputs, strict=True)), **self.feed}

    def _follow_one_candidate(self) -> None:
        """Of the candidates that are the object, take the one that it comes from: others may outrun it in a trial."""
        candidates = self._candidates(self.values(self.output_names))
        row = row_of_object(candidates, self._box_xyxy, self.class_id)
        self._box_xyxy = candidates.boxes_xyxy[row]
        self._threshold = float(candidates.scores[row]) / 2  # weak ones take most of the time

    def _candidates(self, outputs: Mapping[str, Array]) -> Candidates:
        return HEADS[self.spec.head](dict(outputs), self.spec, score_threshold=self._threshold, batch_index=0)

    def score(self, outputs: Mapping[str, Array]) -> float:
        """The log odds of the object."""
        candidates = self._candidates(outputs)
        row = row_of_object(candidates, self._box_xyxy, self.class_id, by_overlap_alone=True)
        return log_odds(float(candidates.scores[row]))


@dataclass(frozen=True, slots=True)
class _BehindMap:
    """What comes behind a feature map, with everything else as it is on the picture."""

    network: _Network
    layer: str
    values: Mapping[str, Array]  # of the map itself, of what else is read, and of the network's outputs
    session: Any  # onnxruntime.InferenceSession
    inputs: tuple[str, ...]

    @classmethod
    def of(cls, network: _Network, layer: str) -> _BehindMap:
        nodes, needed = behind(network.model, layer)
        values = network.values([*needed, *network.output_names])
        part = part_of(network.model, nodes, {name: values[name] for name in needed})
        return cls(network, layer, values, _session(part), tuple(needed))

    @property
    def maps(self) -> FloatArray:
        """[K, h, w]."""
        return np.asarray(self.values[self.layer][0], np.float32)

    @property
    def size(self) -> float:
        """The root mean square of the maps; 1 of maps of nothing."""
        return float(np.sqrt(np.mean(np.square(self.maps.astype(np.float64))))) or 1.0

    def slope(self, direction: FloatArray, step: float) -> float:
        """How fast the score changes in a direction [K], by a step both ways, smaller if that is a leap."""
        difference = self.difference(step * direction)
        if abs(difference) > _MOST_DIFFERENCE:
            step = step * _MOST_DIFFERENCE / abs(difference)
            difference = self.difference(step * direction)
        return difference / (2 * step)

    def difference(self, shift: FloatArray) -> float:
        """How much more the score is with a shift [K] of the channels than with its opposite."""
        more, less = (self._score(sign * shift[None, :, None, None]) for sign in (1, -1))
        return more - less

    def _score(self, shift: FloatArray) -> float:
        feed = {name: self.values[name] for name in self.inputs}
        feed[self.layer] = feed[self.layer] + shift.astype(np.float32)
        names = [output.name for output in self.session.get_outputs()]
        changed = dict(zip(names, self.session.run(names, feed), strict=True))
        unchanged = {name: self.values[name] for name in self.network.output_names}
        return self.network.score({**unchanged, **changed})

    def counts(self) -> bool:
        """Whether the score changes at all when the map does."""
        direction = np.random.default_rng(0).standard_normal(len(self.maps)).astype(np.float32)
        return abs(self.difference(_TRIAL_STEP * self.size * direction)) > _LEAST_EFFECT


def _chosen(network: _Network, method: Method) -> _BehindMap:
    """The map to explain by, and what comes behind it."""
    graph = network.model.graph
    names = scored_maps(graph) if method == "cam" else feature_maps(graph)
    tensors = network.values(names)
    batch = network.spec.batch or 1
    shapes = [(len(tensors[name]) // batch, *tensors[name].shape[1:]) for name in names]
    chosen: list[_BehindMap] = []
    for index in maps_of_picture(shapes, network.spec.network_wh):
        if chosen and (method == "gradcam" or shapes[index][2:] != chosen[0].maps.shape[1:]):
            continue  # on another grid it counts by way of the last one
        if tensors[names[index]].dtype != np.float32:
            raise ModelError(f"{network.path} must compute in float32, whose steps are fine enough for a gradient")
        behind_map = _BehindMap.of(network, names[index])
        chosen += [behind_map] if behind_map.counts() else []
    refuse_layers(len(chosen), method, str(network.path))
    return chosen[0]


def _session(model: onnx.ModelProto) -> Any:
    return load_runtime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
