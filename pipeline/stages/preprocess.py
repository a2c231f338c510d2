"""Preprocessing stage: frames → network inputs, in buffers that are used again.

Here a frame is letterboxed, or stretched, to the network's size. `pipeline.detector.tensor` writes the pixels into the
buffer; networks exported by `export.graph.forms` to take frames of any size resize in the graph instead.

`NetworkInput.give_back` is the one call that goes against the flow: the stage that has read a tensor returns its
buffer to this one. A frame that is dropped on the way takes its buffer with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from pipeline.detector.tensor import Tensor, TensorWriter
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Frame
from pipeline.picture.letterbox import Letterbox


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """A frame and the network input that was made of it.

    Whoever has read `tensor` for the last time calls `give_back`, once, and another frame is written into it. One
    that is never given back, because its frame was dropped, is simply garbage.
    """

    frame: Frame
    letterbox: Letterbox
    tensor: Tensor  # batch of 1
    give_back: Callable[[], None]
    rois: FloatArray | None = None  # [1, num_rois, 4], which `Propose` adds


class Preprocess:
    """Resizes, pads and normalises frames as the spec says, into buffers that are used again."""

    def __init__(self, spec: DetectorSpec) -> None:
        self._spec = spec
        self._writer = TensorWriter(spec)
        self._free: list[tuple[Letterbox, Tensor]] = []  # padding is in place for that letterbox
        self._free_lock = threading.Lock()

    def process(self, frame: Frame) -> Iterable[NetworkInput]:
        """One NetworkInput. May be called from several threads at once."""
        letterbox = Letterbox.fit(frame.size_wh, self._spec.network_wh, self._spec.resize)
        content = frame.picture.resized(letterbox.content_wh, colour=self._spec.colour)  # [h, w, 3]
        tensor = self._padded_tensor(letterbox)
        self._writer.write(content, tensor[0], letterbox)
        return (NetworkInput(frame, letterbox, tensor, partial(self._free.append, (letterbox, tensor))),)

    def drain(self) -> Iterable[NetworkInput]:
        """Nothing is held."""
        return ()

    def close(self) -> None:
        """Forget the buffers."""
        self._free.clear()

    def _padded_tensor(self, letterbox: Letterbox) -> Tensor:
        """A buffer whose padding is in place, best one that was used for the same geometry."""
        with self._free_lock:
            for index in reversed(range(len(self._free))):  # the last one back is still in the cache
                if self._free[index][0] == letterbox:
                    return self._free.pop(index)[1]
            fitting = [index for index, (other, _) in enumerate(self._free) if other.network_wh == letterbox.network_wh]
            tensor = self._free.pop(fitting[0])[1] if fitting else self._writer.new_tensor(letterbox)
        self._writer.pad(tensor)
        return tensor
