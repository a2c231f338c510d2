"""Pack stages: frames of which parts have changed → small network inputs of those → candidates of the whole frame.

They stand where `Preprocess` and `Detect` stand otherwise, and treat whole frames as these do. NMS sees the candidates
where they are in the letterboxed frame, and does not know of the packing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.detector.detector import EngineDetector
from pipeline.detector.tensor import Tensor, TensorWriter
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.picture.gate.packing import Packing, Part, Size
from pipeline.picture.letterbox import Letterbox
from pipeline.stages.detect import Detect, RawDetections
from pipeline.stages.gate import GatedFrame
from pipeline.stages.preprocess import NetworkInput, Preprocess


@dataclass(frozen=True, slots=True)
class PackedInput:
    """A frame, and the network input that was made of its parts."""

    frame: Frame
    packing: Packing
    tensor: Tensor  # batch of 1


class PreprocessParts:
    """Resizes, pads and normalises frames as the spec says, or of those that are packed, their parts."""

    def __init__(self, spec: DetectorSpec) -> None:
        self._spec = spec
        self._preprocess = Preprocess(spec)
        self._writer = TensorWriter(spec)

    def process(self, frame: Frame) -> Iterable[NetworkInput | PackedInput]:
        """One input. May be called from several threads at once."""
        if not isinstance(frame, GatedFrame) or frame.packing is None:
            return self._preprocess.process(frame)
        packing = frame.packing
        content = frame.picture.resized(packing.letterbox.content_wh, colour=self._spec.colour)  # [h, w, 3]
        canvas = Letterbox(packing.canvas_wh, packing.canvas_wh, packing.canvas_wh, 0, 0)
        tensor = self._writer.new_tensor(canvas)
        self._writer.pad(tensor)
        for part in packing.parts:
            rows, columns, lies = _content_of(part, packing)
            self._writer.write(content[rows, columns], tensor[0], lies)
        return (PackedInput(frame, packing, tensor),)

    def drain(self) -> Iterable[NetworkInput | PackedInput]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Forget the buffers."""
        self._preprocess.close()


class DetectParts:
    """Runs the network on whole frames, and on packed ones the same network of their size; owns the engines."""

    def __init__(self, detect: Detect, of_parts: Mapping[Size, EngineDetector]) -> None:
        self._detect, self._of_parts = detect, of_parts

    @property
    def score_threshold(self) -> float:
        """The least score of a candidate; may be set while it runs, from any thread."""
        return self._detect.score_threshold

    @score_threshold.setter
    def score_threshold(self, threshold: float) -> None:
        self._detect.score_threshold = threshold
        for detector in self._of_parts.values():
            detector.score_threshold = threshold

    def process(self, network_input: NetworkInput | PackedInput) -> Iterable[RawDetections]:
        """One RawDetections. May be called from several threads at once."""
        return self.process_batch((network_input,))

    def process_batch(self, network_inputs: Sequence[NetworkInput | PackedInput]) -> Sequence[RawDetections]:
        """One RawDetections for each input, in order; inputs of one size are run at once."""
        raw: dict[int, RawDetections] = {}
        indices = [index for index, item in enumerate(network_inputs) if isinstance(item, NetworkInput)]
        if indices:
            inputs = [item for item in network_inputs if isinstance(item, NetworkInput)]
            raw |= dict(zip(indices, self._detect.process_batch(inputs), strict=True))
        packed = [(index, item) for index, item in enumerate(network_inputs) if isinstance(item, PackedInput)]
        for canvas_wh in dict.fromkeys(item.packing.canvas_wh for _, item in packed):
            of_size = [(index, item) for index, item in packed if item.packing.canvas_wh == canvas_wh]
            candidates = self._of_parts[canvas_wh].candidates_in([item.tensor for _, item in of_size])
            for (index, item), proposed in zip(of_size, candidates, strict=True):
                packing = item.packing
                raw[index] = RawDetections(item.frame, packing.letterbox, packing.letterboxed(proposed))
        return [raw[index] for index in range(len(network_inputs))]

    def drain(self) -> Iterable[RawDetections]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Close the engines."""
        self._detect.close()
        for detector in self._of_parts.values():
            detector.close()


def _content_of(part: Part, packing: Packing) -> tuple[slice, slice, Letterbox]:
    """The rows and columns of the resized frame that are in a part, and where they lie in the packed image."""
    window, letterbox = part.window, packing.letterbox
    (width, height), pad_left, pad_top = letterbox.content_wh, letterbox.pad_left, letterbox.pad_top
    left, right = max(0, window.left - pad_left), min(width, window.right - pad_left)
    top, bottom = max(0, window.top - pad_top), min(height, window.bottom - pad_top)
    size_wh = max(0, right - left), max(0, bottom - top)
    shift_x, shift_y = part.shift_xy
    lies = replace(
        letterbox,
        source_wh=size_wh,
        network_wh=packing.canvas_wh,
        content_wh=size_wh,
        pad_left=left + pad_left - shift_x,
        pad_top=top + pad_top - shift_y,
    )
    return slice(top, bottom), slice(left, right), lies
